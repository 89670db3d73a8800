"""Which two gateways are compared, how do they get equally full, and how are they measured in turn?"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.benchmarks.figures import Column, Figure
from tests.harness import Gateway, Original, Service, processes, require_program
from tests.load import Client

__all__ = [
    "BODY",
    "FilledGateway",
    "PersistentOriginal",
    "Sides",
    "bodies",
    "cpu_seconds",
    "fetch",
    "fill",
    "group_path",
]

BODY = b"""# HELP backup_duration_seconds How long the backup took.
# TYPE backup_duration_seconds gauge
backup_duration_seconds 1834.2
# HELP backup_size_bytes How large it is.
# TYPE backup_size_bytes gauge
backup_size_bytes 1.5e9
# TYPE backup_last_success_timestamp_seconds gauge
backup_last_success_timestamp_seconds 1.7e9
# TYPE backup_exit_code gauge
backup_exit_code 0
# HELP backup_rows_total Rows read from each table.
# TYPE backup_rows_total counter
backup_rows_total{table="users"} 18342
backup_rows_total{table="orders"} 918342
backup_rows_total{table="payments"} 817263
backup_rows_total{table="audit"} 98127361
# HELP backup_request_duration_seconds How long requests to the object store took.
# TYPE backup_request_duration_seconds histogram
backup_request_duration_seconds_bucket{le="0.01"} 3
backup_request_duration_seconds_bucket{le="0.05"} 34
backup_request_duration_seconds_bucket{le="0.1"} 201
backup_request_duration_seconds_bucket{le="0.25"} 290
backup_request_duration_seconds_bucket{le="0.5"} 334
backup_request_duration_seconds_bucket{le="1"} 340
backup_request_duration_seconds_bucket{le="2.5"} 340
backup_request_duration_seconds_bucket{le="5"} 341
backup_request_duration_seconds_bucket{le="10"} 341
backup_request_duration_seconds_bucket{le="+Inf"} 341
backup_request_duration_seconds_sum 61.23
backup_request_duration_seconds_count 341
"""
"""20 samples, nine series, in six families, as some job pushes them; 100 000 groups of it are within the limits."""

STOP_SECONDS = 600.0
"""How long a stop may take: the original writes its whole state."""

_VALUE = re.compile(rb"(?m)^([a-z][^\n]*) ([0-9.e+]+)$")


def bodies(count: int) -> list[bytes]:
    """Return BODY with `count` sets of other values: a push that changed nothing might be cheaper than real ones."""

    def other(number: int) -> Callable[[re.Match[bytes]], bytes]:
        def value(match: re.Match[bytes]) -> bytes:
            old = match[2]
            return match[1] + b" " + (b"%d" % (int(old) + number) if old.isdigit() else b"%r" % (float(old) + number))

        return value

    return [_VALUE.sub(other(number), BODY) for number in range(count)]


def group_path(number: int) -> str:
    """Return where a group is, below /metrics/."""
    return f"job/bench/instance/host-{number}"


UNFLUSHED = """
import sys
from pushgateway.__main__ import main
from pushgateway.storage import sqlite_handles as handles
handles._PRAGMAS = tuple(each.replace("synchronous = NORMAL", "synchronous = OFF") for each in handles._PRAGMAS)
handles.Handles.flush_commits = lambda self: None
sys.exit(main())
"""


class FilledGateway(Gateway):
    """Ours, which while it is filled does not wait for the disk."""

    filling = False

    def command(self) -> list[str]:
        """The command line that starts it."""
        usual = super().command()
        return [sys.executable, "-c", UNFLUSHED, *usual[3:]] if self.filling else usual


class PersistentOriginal(Original):
    """The original with its persistence file, so that it can be filled unchecked and restarted checked.

    While it is measured it never writes that file, since its interval is a day.
    """

    filling = False

    def command(self) -> list[str]:
        """The command line that starts it."""
        unchecked = ["--push.disable-consistency-check"] if self.filling else []
        return [
            require_program("prometheus-pushgateway"),
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--persistence.file=pushgateway.gob",
            "--persistence.interval=24h",
            *unchecked,
        ]


@dataclass(frozen=True, slots=True)
class Fetched:
    """An exchange on a connection of its own.

    Attributes:
        seconds: From before connecting to the last byte.
        status: Of the answer.
        body_bytes: Of the answer, as sent.
    """

    seconds: float
    status: int
    body_bytes: int


def fetch(
    service: Service, method: str, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
) -> Fetched:
    """Exchange one request for its answer with as little work on this side as can be, equal for both services."""
    fields = {"Host": f"127.0.0.1:{service.port}", "Connection": "close", **(headers or {})}
    if method != "GET":
        fields["Content-Length"] = str(len(body))
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    begun = time.perf_counter()
    answer, size = bytearray(), 0
    with socket.create_connection(service.address, timeout=STOP_SECONDS) as connection:
        connection.sendall(head.encode() + b"\r\n" + body)
        while chunk := connection.recv(1 << 20):
            size += len(chunk)
            if b"\r\n\r\n" not in answer:
                answer += chunk
    seconds = time.perf_counter() - begun
    return Fetched(seconds, int(answer.split(b" ", 2)[1]), size - answer.index(b"\r\n\r\n") - 4)


class Sides:
    """Ours and the original, both running; a context manager.

    Args:
        alone: Leave the original out.

    Attributes:
        groups: How many groups each of them holds.
    """

    def __init__(self, *, alone: bool = False) -> None:
        self.ours = FilledGateway()
        self.theirs = None if alone else PersistentOriginal()
        self.groups = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for service in self.services():
                stack.enter_context(service)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def services(self) -> Iterable[FilledGateway | PersistentOriginal]:
        """Return those that are compared, ours first."""
        return (self.ours,) if self.theirs is None else (self.ours, self.theirs)

    def fill(self, groups: int) -> None:
        """Bring both to so many groups, then start both again as they are measured.

        Meanwhile ours does not flush and the original does not check, which costs it all that is stored each time.
        """
        numbers = range(self.groups, groups)
        if not numbers:
            return
        for service in self.services():
            for service.filling in (True, False):
                service.terminate(timeout_seconds=STOP_SECONDS)
                start_seconds(service)
                if service.filling:
                    fill(service, numbers)
        self.groups = groups

    def in_turn(
        self,
        measure: Callable[[Service], Mapping[Column, float]],
        *,
        rounds: int,
        theirs: Callable[[Service], Mapping[Column, float]] | None = None,
        their_rounds: int | None = None,
    ) -> dict[str, Figure]:
        """Measure ours, then the original, and so on, and return what came out of each round.

        Args:
            measure: Does it once and returns the figures.
            rounds: How often.
            theirs: Does it to the original, where `measure` would take too long.
            their_rounds: How often the original; 0 leaves it out.
        """
        found: dict[Column, tuple[list[float], list[float]]] = {}
        their_rounds = rounds if their_rounds is None else their_rounds
        for number in range(rounds):
            for side, service in enumerate(self.services()):
                if side and number >= their_rounds:
                    continue
                for column, value in ((theirs or measure) if side else measure)(service).items():
                    found.setdefault(column, ([], []))[side].append(value)
        return {
            column.name: Figure(column, tuple(ours), tuple(others)) for column, (ours, others) in found.items() if ours
        }


def fill(service: Service, numbers: range) -> None:
    """Push to groups that are not there yet, over four connections."""
    kept = bodies(4)

    def some(begin: int) -> None:
        client = Client(service)
        for number in numbers[begin::4]:
            status = client.send("PUT", group_path(number), kept[begin])
            assert status in (200, 202), status
        client.close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(some, range(4)))


def start_seconds(service: Service) -> float:
    """Start a service that has been stopped, and return how long it took until it said that it was ready."""
    begun = time.perf_counter()
    service.start(wait=False)
    while time.perf_counter() - begun < STOP_SECONDS:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, IndexError):
            if fetch(service, "GET", "/-/ready").status == 200:
                return time.perf_counter() - begun
        time.sleep(0.005)
    raise RuntimeError(f"{service.name} did not become ready; its log:\n{service.log()[-3000:]}")


def cpu_seconds(service: Service) -> float:
    """Return the CPU time, user and system, that all living threads of a gateway have used."""
    nanoseconds = 0
    for pid in processes(service.pid):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                # The kernel's sched-stats.rst: the first field is the time on a CPU; stat has ticks of 10 ms only.
                nanoseconds += int((task / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9
