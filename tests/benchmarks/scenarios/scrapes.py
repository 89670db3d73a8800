"""How long does a scrape take, how large is it, and what do scrapes and pushes do to each other?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.benchmarks.figures import Column, Row
from tests.benchmarks.plan import SLOW_GROUPS, VERY_SLOW_GROUPS, Plan, amount
from tests.benchmarks.scenarios.pushes import P50, P99, RATE
from tests.benchmarks.sides import Sides, bodies, cpu_seconds, fetch, group_path
from tests.benchmarks.wrk import LOADS, put_under_load
from tests.harness import Service

__all__ = ["SECONDS", "TITLE", "measure"]

TITLE = "Scrapes"
SECONDS = Column("scrape, ms")
SLOWEST = Column("slowest, ms")
CPU = Column("CPU a scrape, ms")
SIZE = Column("sent, MB")
PUSH_P99 = Column("push " + P99.name)
PUSH_P50 = Column("push " + P50.name)
FEWEST_GROUPS = 1000
"""Below 20 000 samples a scrape takes what a connection takes."""

LOAD = "put-4-close"


def measure(plan: Plan, sides: Sides) -> Iterator[Row]:
    """Scrape both in turn, plain and compressed: just after a push, again, and while pushes run."""
    if sides.groups < FEWEST_GROUPS:
        return
    # Each scrape after a push costs the original that push, too.
    very_slow = sides.groups >= VERY_SLOW_GROUPS
    for encoding in ("identity", "gzip"):
        subject = f"{amount(sides.groups)}, {'plain' if encoding == 'identity' else encoding}"
        for again in (False, True):
            one = partial(idle, encoding=encoding, again=again)
            figures = sides.in_turn(
                partial(one, seconds=plan.seconds),
                rounds=plan.rounds,
                theirs=partial(one, seconds=0) if very_slow else None,
                their_rounds=1 if very_slow else None,
            )
            yield Row(TITLE, f"{subject}, {'nothing changed' if again else 'after a push'}", figures)
        figures = sides.in_turn(
            partial(busy, encoding=encoding, groups=sides.groups, seconds=plan.seconds),
            rounds=plan.rounds,
            their_rounds=0 if very_slow else 1 if sides.groups >= SLOW_GROUPS else None,
        )
        yield Row(TITLE, f"{subject}, while {LOAD} runs", figures)


def scrape(service: Service, encoding: str) -> tuple[float, int]:
    """Return the seconds and bytes of one scrape on a connection of its own."""
    done = fetch(service, "GET", "/metrics", headers={"Accept-Encoding": encoding, "Accept": "text/plain"})
    assert done.status == 200, done
    return done.seconds, done.body_bytes


def idle(service: Service, *, encoding: str, seconds: float, again: bool) -> dict[Column, float]:
    """Scrape a gateway that does nothing else, each time just after one push, or once more after that scrape."""
    times: list[float] = []
    sizes: list[int] = []
    used = 0.0
    scrape(service, encoding)  # what is made once after a start is a figure of the footprint
    changing = bodies(20)
    deadline = time.monotonic() + seconds
    while not times or (time.monotonic() < deadline and len(times) < len(changing)):
        pushed = fetch(service, "PUT", f"/metrics/{group_path(len(times))}", changing[len(times)])
        assert pushed.status in (200, 202), pushed
        if again:
            scrape(service, encoding)
        before = cpu_seconds(service)
        took, size = scrape(service, encoding)
        used += cpu_seconds(service) - before
        times.append(took)
        sizes.append(size)
    return {
        SECONDS: 1e3 * statistics.median(times),
        SLOWEST: 1e3 * max(times),
        CPU: 1e3 * used / len(times),
        SIZE: statistics.median(sizes) / 1e6,
    }


def busy(service: Service, *, encoding: str, groups: int, seconds: float) -> dict[Column, float]:
    """Scrape without a pause while pushes run."""
    times: list[float] = []
    sizes: list[int] = []
    with ThreadPoolExecutor(1) as threads:
        pushing = threads.submit(put_under_load, service, LOADS[LOAD], groups=groups, seconds=seconds)
        while not pushing.done() or not times:
            took, size = scrape(service, encoding)
            times.append(took)
            sizes.append(size)
        outcome = pushing.result()
    return {
        SECONDS: 1e3 * statistics.median(times),
        SLOWEST: 1e3 * max(times),
        SIZE: statistics.median(sizes) / 1e6,
        RATE: outcome.pushes_per_second,
        PUSH_P50: 1e3 * outcome.p50_seconds,
        PUSH_P99: 1e3 * outcome.p99_seconds,
    }
