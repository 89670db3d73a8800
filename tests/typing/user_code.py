"""User code as mypy --strict sees it: what is decorated keeps its type, and mistakes are found.

Not run, only checked: each ``reveal_type`` is compared with the comment behind it by test_user_code.py, and each
``type: ignore`` must be needed.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import reveal_type

from pymetrics_sdk import (
    SLO,
    Counter,
    Job,
    WSGIMiddleware,
    current_run,
    instrument,
    measure,
    skip,
    track_http,
)

billing = Job("nightly-billing", schedule="0 2 * * *", tz="Europe/Berlin", grace="30m", max_runtime="2h")
refunds = Counter("billing_refunds_total", "Refunds issued.", ["currency"], max_series=20)


@billing
def plain(count: int, *, name: str = "x") -> list[str]:
    return [name] * count


@measure
async def coroutine(value: int) -> str:
    return str(value)


@measure(slo=SLO(success=99.9, latency=("250ms", 99)))
def generator(stop: int) -> Iterator[int]:
    yield from range(stop)


@billing
@measure
async def async_generator() -> AsyncIterator[bytes]:
    yield b"x"


class Shop:
    @measure
    def method(self, amount: float) -> float:
        """Be measured."""
        return amount

    @measure
    @staticmethod
    def static(amount: int) -> int:
        """Be measured."""
        return amount

    @classmethod
    @measure
    def made(cls) -> Shop:
        """Be measured."""
        return cls()


def load() -> list[int]:
    return []


def uses() -> None:
    reveal_type(plain)  # def (count: int, *, name: str =) -> list[str]
    reveal_type(coroutine)  # def (value: int) -> typing.Coroutine[Any, Any, str]
    reveal_type(generator)  # def (stop: int) -> typing.Iterator[int]
    reveal_type(async_generator)  # def () -> typing.AsyncIterator[bytes]
    reveal_type(Shop().method)  # def (amount: float) -> float
    reveal_type(Shop.static(1))  # int
    reveal_type(Shop.made())  # user_code.Shop
    reveal_type(measure(functools.partial(plain, 3)))  # functools.partial[list[str]]
    plain("three")  # type: ignore[arg-type]
    refunds.labels("EUR").inc(3)
    refunds.inc("1")  # type: ignore[arg-type]
    instrument("requests")


@billing
def job() -> None:
    run = current_run()
    with run.stage("extract"):
        rows = load() or skip("nothing to bill")
    reveal_type(rows)  # list[int]
    for row in run.track(rows, expected=len(rows)):
        reveal_type(row)  # int
        try:
            with track_http("GET", "https://api.example.com/") as call:
                call.status = 200
        except OSError as error:
            run.record("failed", error=error)
    run.record("lost")  # type: ignore[arg-type]
    run.watermark(datetime.now(UTC))
    run.gauge("rates", "Rates.").set(2)


async def asynchronous(rows: AsyncIterator[str]) -> None:
    async with Job("fx-rates", every="15m") as run:
        async for row in run.track(rows):
            reveal_type(row)  # str


Job("x", on_push_error="explode")  # type: ignore[arg-type]
application = WSGIMiddleware(lambda environ, start_response: [b"x"])
