"""Does the gateway stay as it is, in memory, on disk and in its answers, when everything that clients do goes on?"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.harness import Gateway
from tests.load import Client, Load
from tests.memory import pss_bytes

pytestmark = pytest.mark.alone

GROUPS = 60
"""Those of the small pushes; each is overwritten, and now and then deleted, again and again."""
SHORT_SECONDS = 15.0
LONG_SECONDS = float(os.environ.get("SOAK_SECONDS", "1800"))
SAMPLE_SECONDS = 0.5
PAUSE_SECONDS = 0.005
"""After each request of a client, so that the clients of all kinds get their turns."""

WAIT_SECONDS = 5.0
BUSY = "other writers were before this request for 5 s (limit lock-wait-seconds); nothing was stored, try again"
"""Why a push or delete may be 503: it has waited for its turn for 5 s, which happens where the machine is starved."""
MOST_BUSY = 0.01
"""The part of all changes that may be."""

GROWTH = 1.1
WARM_UP_BYTES = 64 << 20
"""What all workers together may still take on in the short form, while threads, connections and caches are used for the
first time: it finds what leaks tens of KiB a request."""
GROWTH_BYTES = 12 << 20
"""What they may in the long form, since allocators breathe: that finds what leaks some 50 bytes a request."""
DATABASE_BYTES = 1 << 20
LOG_BYTES = 24 << 20
"""It is folded into the database at some 16 MB, and may hold what came meanwhile."""


@dataclass
class Tally:
    """What clients of each kind were answered, and how long pushes took; 0 stands for no answer."""

    answers: dict[str, Counter[int]] = field(default_factory=dict)
    push_seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, kind: str, status: int | None) -> None:
        """Count one answer."""
        with self.lock:
            self.answers.setdefault(kind, Counter())[status or 0] += 1


def body_of(families: int, samples: int) -> bytes:
    """A body of gauges with random values."""
    lines = [
        f'soak_{number}{{l="{label}"}} {random.random()}\n' for number in range(families) for label in range(samples)
    ]
    return "".join(lines).encode()


def pushes(tally: Tally) -> Callable[[Client, int], None]:
    """Small pushes, a large one among a hundred, and deletes, on a keep-alive connection."""

    def work(client: Client, number: int) -> None:
        path = f"job/soak/instance/{random.randrange(GROUPS)}"
        begun = time.monotonic()
        if number % 20 == 19:
            tally.count("delete", client.send("DELETE", path))
        elif number % 100 == 50:
            tally.count("large push", client.send("PUT", "job/large", body_of(40, 100)))
        else:
            tally.count("push", client.send(random.choice(("PUT", "POST")), path, body_of(5, 4)))
            tally.push_seconds.append(time.monotonic() - begun)
        time.sleep(PAUSE_SECONDS)

    return work


def refused(tally: Tally) -> Callable[[Client, int], None]:
    """Pushes that are refused: for their text, their path, and what they contradict."""
    wrong = (
        ("job/refused", b"x 1\nx\n"),
        ("job/refused/l", b"x 1\n"),
        ("job/refused", b"x 1\nx 1\n"),
        ("job/refused", b"# TYPE soak_0 counter\nsoak_0 1\n"),
    )

    def work(client: Client, number: int) -> None:
        tally.count("wrong push", client.send("PUT", *wrong[number % len(wrong)]))
        time.sleep(4 * PAUSE_SECONDS)

    return work


def reads(gateway: Gateway, tally: Tally) -> Callable[[Client, int], None]:
    """Scrapes, compressed and plain, and the other readers."""
    targets = (
        "/metrics",
        "/metrics",
        "/metrics",
        "/api/v1/metrics",
        "/api/v1/failures",
        "/api/v1/activity",
        "/",
        "/-/ready",
    )

    def work(_: Client, number: int) -> None:
        headers = {"Accept-Encoding": "gzip"} if number % 2 else {}
        tally.count("read", gateway.get(targets[number % len(targets)], headers).status)
        time.sleep(20 * PAUSE_SECONDS)

    return work


def drops(gateway: Gateway, tally: Tally) -> Callable[[Client, int], None]:
    """Clients that go away in the middle of a body, of the headers, or without reading their answer."""
    body = body_of(5, 4)
    head = f"PUT /metrics/job/dropped HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    messages = (head + body[: len(body) // 2], head[:30], head + body, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")

    def work(_: Client, number: int) -> None:
        with contextlib.suppress(OSError), socket.create_connection(gateway.address, timeout=10) as connection:
            connection.sendall(messages[number % len(messages)])
        tally.count("dropped connection", 0)
        time.sleep(4 * PAUSE_SECONDS)

    return work


def slow(gateway: Gateway, tally: Tally) -> Callable[[Client, int], None]:
    """A client whose body comes a few bytes at a time, and which reads its answer."""
    body = body_of(5, 4)
    head = b"PUT /metrics/job/slow HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)

    def work(_: Client, number: int) -> None:
        with socket.create_connection(gateway.address, timeout=20) as connection:
            connection.sendall(head)
            for start in range(0, len(body), 100):
                connection.sendall(body[start : start + 100])
                time.sleep(20 * PAUSE_SECONDS)
            tally.count("slow push", int(connection.recv(1 << 16)[9:12] or b"0"))

    return work


@dataclass
class Course:
    """How large the gateway was, over time."""

    memory_bytes: list[int] = field(default_factory=list)
    database_bytes: list[int] = field(default_factory=list)
    log_bytes: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def sample(self, gateway: Gateway) -> None:
        """Look once."""
        self.memory_bytes.append(pss_bytes(gateway.pid))
        database = gateway.directory / "pushgateway.db"
        self.database_bytes.append(database.stat().st_size)
        self.log_bytes.append(database.with_name("pushgateway.db-wal").stat().st_size)
        pids = (gateway.pid, *gateway.workers())
        self.files.append(sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids))


def halves(values: list[int]) -> tuple[int, int]:
    """Return the medians of the second and of the last quarter; in the first, everything is used for the first time."""
    quarter = len(values) // 4
    return round(statistics.median(values[quarter : 2 * quarter])), round(statistics.median(values[-quarter:]))


@pytest.mark.parametrize(
    ("seconds", "growth_bytes"),
    [(SHORT_SECONDS, WARM_UP_BYTES), pytest.param(LONG_SECONDS, GROWTH_BYTES, marks=pytest.mark.soak)],
    ids=["short", "long"],
)
def test_nothing_grows_and_nothing_fails(
    seconds: float, growth_bytes: int, record_property: Callable[[str, object], None]
) -> None:
    """Pushes, deletes, reads, refusals, slow and vanishing clients go on: no 5xx, and neither memory nor disk grow.

    But for a 503 to what has waited for 5 s, as the reference says, since a machine may have others to serve.
    """
    tally, course = Tally(), Course()
    with Gateway() as gateway:
        workers = gateway.all_workers()
        works = [
            *(pushes(tally) for _ in range(4)),
            refused(tally),
            reads(gateway, tally),
            drops(gateway, tally),
            *(slow(gateway, tally) for _ in range(3)),
        ]
        with Load(gateway, works):
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                time.sleep(SAMPLE_SECONDS)
                course.sample(gateway)
        exposition = gateway.scrape()
        assert exposition.problems() == []
        dropped = [line for line in exposition["soak_0"].lines if line.label_map["job"] == "dropped"]
        assert len(dropped) in {0, 4}, "half a body was stored"
        assert gateway.workers() == workers, "a worker has died"
        troubles = [line for line in gateway.log().splitlines() if " status=5" in line or "Traceback" in line]
        unexpected = [line for line in troubles if not is_busy(line)]
        assert not unexpected, (len(unexpected), unexpected[:5])
    record_property("figure", figure(tally, course, seconds))
    check_answers(tally, busy=len(troubles))
    check_growth(course.memory_bytes, allowed=growth_bytes)
    check_growth(course.database_bytes, allowed=DATABASE_BYTES)
    check_growth(course.files, allowed=50)
    assert max(course.log_bytes) < LOG_BYTES


def check_growth(values: list[int], *, allowed: int) -> None:
    """In the end it is no more than it was once everything had been used."""
    before, after = halves(values)
    assert after < before * GROWTH + allowed


def is_busy(line: str) -> bool:
    """Whether a line of the log tells of a change that is 503 since it has waited for its turn for so long."""
    duration = re.search(r" duration=([0-9.e+-]+)", line)
    return " status=503 " in line and BUSY in line and duration is not None and float(duration[1]) >= WAIT_SECONDS


def check_answers(tally: Tally, *, busy: int) -> None:
    """Each kind of request was answered as it should be, every time but for the few changes that waited too long."""
    expected = {
        "push": 200,
        "large push": 200,
        "slow push": 200,
        "delete": 202,
        "wrong push": 400,
        "read": 200,
        "dropped connection": 0,
    }
    assert tally.answers.keys() == expected.keys()
    changes = [tally.answers[kind] for kind in ("push", "slow push", "delete", "wrong push")]
    refused_count = sum(found[503] for found in changes)
    assert refused_count <= busy <= MOST_BUSY * sum(found.total() for found in changes)
    for kind, found in tally.answers.items():
        others = {503} if found in changes else set()
        assert set(found) - others == {expected[kind]}, (kind, found)


def figure(tally: Tally, course: Course, seconds: float) -> str:
    """Say what was done and what it came to."""
    times = sorted(tally.push_seconds)
    counts = ", ".join(f"{found.total()} {kind}" for kind, found in tally.answers.items())
    sizes = "; ".join(
        f"{name} {before / 2**20:.1f} and {after / 2**20:.1f} MiB"
        for name, values in (
            ("memory", course.memory_bytes),
            ("database", course.database_bytes),
            ("its log", course.log_bytes),
        )
        for before, after in [halves(values)]
    )
    return (
        f"mixed load for {seconds:g} s: {counts}; a push took {1e3 * statistics.median(times):.1f} ms (median), "
        f"{1e3 * times[len(times) * 99 // 100]:.0f} ms (99th percentile); second and last quarter: {sizes}; "
        f"open files {' and '.join(map(str, halves(course.files)))}"
    )
