"""Does the database grow when the same groups are overwritten, up to a million times?

Only ours keeps a database. A shorter run says how many overwrites it made; the size should be the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.benchmarks.figures import Column, Figure, Row, number
from tests.benchmarks.plan import Plan
from tests.benchmarks.scenarios.footprint import stored_bytes
from tests.benchmarks.sides import Sides
from tests.benchmarks.wrk import LOADS, put_under_load

__all__ = ["measure"]

GROUPS = 1000
TITLE = f"Overwriting {number(GROUPS)} groups, ours alone"
SIZE = Column("on disk with the write-ahead log, MB")
RATE = Column("pushes/s", more_is_better=True)
CHUNK_SECONDS = 20.0
MOST_SECONDS = 2400.0
"""On a slow disk the run ends with fewer overwrites, and says how many."""


def measure(plan: Plan) -> Iterator[Row]:
    """Overwrite as often as the plan says, and weigh the database ten times on the way."""
    with Sides(alone=True) as sides:
        sides.fill(GROUPS)
        yield row("at the beginning", {SIZE: stored_bytes(sides.ours) / 1e6})
        made, shown, rate = 0, 0, plan.overwrites / 1.0
        deadline = time.monotonic() + MOST_SECONDS
        while made < plan.overwrites and time.monotonic() < deadline:
            seconds = min(CHUNK_SECONDS, (plan.overwrites - made) / rate)
            outcome = put_under_load(sides.ours, LOADS["put-64-keep"], groups=GROUPS, seconds=seconds)
            made, rate = made + outcome.requests, outcome.pushes_per_second
            if made >= plan.overwrites or made - shown >= plan.overwrites / 10:
                shown = made
                yield row(
                    f"{number(made)} overwrites",
                    {SIZE: stored_bytes(sides.ours) / 1e6, RATE: outcome.pushes_per_second},
                )


def row(subject: str, values: dict[Column, float]) -> Row:
    """Make a row of what was measured once."""
    return Row(TITLE, subject, {column.name: Figure(column, (value,)) for column, value in values.items()})
