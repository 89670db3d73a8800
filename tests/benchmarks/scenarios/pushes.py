"""How many pushes of 20 samples does each side take a second, and how long do they wait, with how much stored?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tests.benchmarks.figures import Column, Row
from tests.benchmarks.plan import SLOW_GROUPS, VERY_SLOW_GROUPS, Plan, amount
from tests.benchmarks.sides import BODY, Sides, fetch, group_path
from tests.benchmarks.wrk import LOADS, Load, put_under_load
from tests.harness import Service

__all__ = ["CPU", "P50", "P99", "RATE", "TITLE", "measure"]

TITLE = "Pushes of 20 samples"
RATE = Column("pushes/s", more_is_better=True)
P50 = Column("p50, ms")
P99 = Column("p99, ms")
P999 = Column("p99.9, ms")
CPU = Column("CPU a push, ms")
FEW_PUSHES = 5
FEW_PUSHES_SECONDS = 60.0


def measure(plan: Plan, sides: Sides) -> Iterator[Row]:
    """Put both under each load, in turn.

    Where the original is slow it gets a few pushes, one after the other. It takes one at a time, however many clients
    there are, so that their rate stands in the rows of all loads.
    """
    slow = sides.groups >= SLOW_GROUPS
    few = {RATE: few_pushes(sides.theirs, sides.groups)} if slow and sides.theirs is not None else {}
    for name in plan.loads:
        yield Row(
            TITLE,
            f"{amount(sides.groups)}, {name}",
            sides.in_turn(
                partial(under_load, load=LOADS[name], groups=sides.groups, seconds=plan.seconds),
                rounds=plan.rounds,
                theirs=(lambda _: few) if slow else None,
                their_rounds=1 if slow else None,
            ),
        )


def under_load(service: Service, *, load: Load, groups: int, seconds: float) -> dict[Column, float]:
    """Put one gateway under one load."""
    outcome = put_under_load(service, load, groups=groups, seconds=seconds)
    return {
        RATE: outcome.pushes_per_second,
        P50: 1e3 * outcome.p50_seconds,
        P99: 1e3 * outcome.p99_seconds,
        P999: 1e3 * outcome.p999_seconds,
        CPU: 1e3 * outcome.cpu_seconds,
    }


def few_pushes(service: Service, groups: int) -> float:
    """Return how many pushes a second a service takes that are sent one after the other, each on its own connection."""
    most = 1 if groups >= VERY_SLOW_GROUPS else FEW_PUSHES
    seconds, count = 0.0, 0
    while count < most and (seconds < FEW_PUSHES_SECONDS or not count):
        done = fetch(service, "PUT", f"/metrics/{group_path(count)}", BODY)
        assert done.status in (200, 202), done
        seconds += done.seconds
        count += 1
    return count / seconds
