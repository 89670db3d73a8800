"""How long does a start take, how much memory do all processes take, and how much is on disk, with how much stored?"""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.figures import Column, Row
from tests.benchmarks.plan import SLOW_GROUPS, VERY_SLOW_GROUPS, Plan, amount
from tests.benchmarks.scenarios.pushes import few_pushes
from tests.benchmarks.scenarios.scrapes import scrape
from tests.benchmarks.sides import STOP_SECONDS, Sides, cpu_seconds, start_seconds
from tests.benchmarks.wrk import LOADS, put_under_load
from tests.harness import Service
from tests.memory import pss_bytes

__all__ = ["MEMORY", "START", "TITLE", "measure", "stored_bytes"]

TITLE = "Start, memory and disk"
START = Column("start to ready, ms")
CPU = Column("CPU of the start, ms")
FIRST = Column("first scrape after it, ms")
FIRST_CPU = Column("CPU of that, ms")
FRESH = Column("memory after the start, MB")
MEMORY = Column("memory after pushes and scrapes, MB")
DISK = Column("on disk, MB")
LOAD = "put-4-close"


def measure(plan: Plan, sides: Sides) -> Iterator[Row]:
    """Stop and start both in turn on what they hold, and weigh them before and after some work."""

    def restart(service: Service) -> dict[Column, float]:
        service.terminate(timeout_seconds=STOP_SECONDS)
        disk = stored_bytes(service)
        found = {
            START: 1e3 * start_seconds(service),
            CPU: 1e3 * cpu_seconds(service),
            FRESH: pss_bytes(service.pid) / 1e6,
        }
        used = cpu_seconds(service)
        found[FIRST] = 1e3 * scrape(service, "gzip")[0]
        found[FIRST_CPU] = 1e3 * (cpu_seconds(service) - used)
        if service is sides.ours or sides.groups < SLOW_GROUPS:
            put_under_load(service, LOADS[LOAD], groups=sides.groups, seconds=plan.seconds)
        elif sides.groups < VERY_SLOW_GROUPS:
            few_pushes(service, sides.groups)
        for _ in range(3):
            scrape(service, "gzip")
        return found | {MEMORY: pss_bytes(service.pid) / 1e6, DISK: disk / 1e6}

    very_slow = sides.groups >= VERY_SLOW_GROUPS
    figures = sides.in_turn(restart, rounds=plan.rounds, their_rounds=1 if very_slow else None)
    yield Row(TITLE, amount(sides.groups), figures)


def stored_bytes(service: Service) -> int:
    """Return the size of all files that a service keeps."""
    return sum(path.stat().st_size for path in service.directory.rglob("*") if path.is_file())
