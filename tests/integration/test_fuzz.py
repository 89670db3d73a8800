"""Can any bytes in a body, a path or an encoding bring the gateway to an error, a hang or a growth?

Bodies in all formats and encodings, damaged or made of noise: each is answered 200, 202 or 4xx within the limit of a
request, and the gateway's memory stays what it was. `make fuzz` goes on for FUZZ_SECONDS with new ones each time.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from pushgateway.config import Limits
from tests.harness import Gateway, processes
from tests.hostile import OPENMETRICS, Request, mutations
from tests.rows import PROTOBUF

SHORT = settings(
    max_examples=1500,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
)
"""Derandomised, as in test_differential. A smaller number is no simpler request, so that nothing is shrunk."""

LONG = settings(SHORT, derandomize=False, print_blob=True)

ANSWER_SECONDS = Limits().request_seconds + 10
"""The limit of a request, and time for its answer."""

WIPE_EVERY = 100
"""Requests."""

GROWTH_BYTES = 32 << 20
"""What the processes may take more after many requests than after some: heaps, and SQLite's caches. Measured: 3
to 11 after 1 500 requests, 19 after 6 000, 20 after 24 000, 20.7 MiB after 36 000."""


class Target:
    """A gateway under fire.

    Args:
        gateway: Which one.
        warm_up: How many requests its memory is measured after for the first time.
    """

    def __init__(self, gateway: Gateway, *, warm_up: int) -> None:
        self._gateway = gateway
        self._warm_up = warm_up
        self._warm_bytes = 0
        self.answers: Counter[int] = Counter()
        self.taken: Counter[str] = Counter()

    def fire(self, request: Request) -> None:
        """Send a request; TimeoutError if it hangs, AssertionError for an answer that blames the gateway."""
        reply = self._gateway.request(
            request.method, request.target, request.body, request.headers, timeout_seconds=ANSWER_SECONDS
        )
        assert reply.status in (200, 202) or 400 <= reply.status < 500, (request, reply)
        self.answers[reply.status] += 1
        if reply.status == 200:
            kind, encoding = (request.headers.get(name, "") for name in ("Content-Type", "Content-Encoding"))
            self.taken.update([{PROTOBUF: "protobuf", OPENMETRICS: "openmetrics"}.get(kind, "text"), encoding])
        if self.answers.total() % WIPE_EVERY == 0:
            # What is stored is read whole now and then, and is not to add up.
            for escaping in ("underscores", "dots", "values", "allow-utf-8"):
                accept = {"Accept": f"text/plain;escaping={escaping}"}
                scrape = self._gateway.scrape(accept, quoted_names=escaping == "allow-utf-8")
                assert scrape.problems(twin_buckets=True) == []
            self._gateway.wipe()
        if self.answers.total() == self._warm_up:
            self._warm_bytes = self._memory_bytes()

    def _memory_bytes(self) -> int:
        """What all processes of the gateway take, shared pages divided among them, files left out."""
        total = 0
        for pid in processes(self._gateway.pid):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += sum(int(size) << 10 for size in re.findall(r"^Pss_(?:Anon|Shmem): +(\d+) kB", text, re.MULTILINE))
        return total

    def growth_bytes(self) -> int:
        """What the processes take more than after the warm-up."""
        assert self._warm_bytes, f"only {self.answers.total()} requests"
        return self._memory_bytes() - self._warm_bytes


@contextlib.contextmanager
def target(*, warm_up: int) -> Iterator[Target]:
    """A gateway of its own, for its memory, that takes all it can; none of its processes may end or be surprised."""
    with Gateway("--web.enable-admin-api", "--push.enable-utf8-names") as gateway:
        workers = gateway.all_workers()
        yield Target(gateway, warm_up=warm_up)
        assert gateway.workers() == workers, "a worker has died"
        assert "Traceback" not in gateway.log()


def test_no_bytes_bring_an_error_or_growth(record_property: Callable[[str, object], None]) -> None:
    """Damaged requests in all formats and encodings: each is taken or refused, and none is remembered."""
    with target(warm_up=SHORT.max_examples // 3) as fired:
        SHORT(given(mutations())(fired.fire))()
        growth = fired.growth_bytes()
        record_property("figure", f"fuzz: {dict(fired.answers)}, grown by {growth >> 10} KiB")
        assert growth < GROWTH_BYTES
        # Not everything may be refused for its path or its encoding before it is parsed.
        assert (
            min(fired.taken[kind] for kind in ("text", "openmetrics", "protobuf", "", "gzip", "snappy", "zstd")) > 20
        ), fired.taken


@pytest.mark.soak
def test_no_bytes_bring_an_error_or_growth_for_long(record_property: Callable[[str, object], None]) -> None:
    """The same, for FUZZ_SECONDS (60 by default) and with other requests each time."""
    deadline = time.monotonic() + float(os.environ.get("FUZZ_SECONDS", "60"))
    with target(warm_up=LONG.max_examples // 2) as fired:
        fuzz = LONG(given(mutations())(fired.fire))
        fuzz()
        while time.monotonic() < deadline:
            fuzz()
        growth = fired.growth_bytes()
        record_property("figure", f"fuzz: {dict(fired.answers)}, grown by {growth >> 10} KiB")
        assert growth < GROWTH_BYTES
