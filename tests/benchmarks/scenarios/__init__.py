"""Which scenarios are there?

Those of AT_EACH_SIZE are measured with each number of groups stored, on the same two gateways; those of APART bring
their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tests.benchmarks.figures import Row
from tests.benchmarks.plan import Plan
from tests.benchmarks.scenarios import footprint, large, overwrites, pushes, scrapes, sdk
from tests.benchmarks.sides import Sides

__all__ = ["APART", "AT_EACH_SIZE"]

AT_EACH_SIZE: Mapping[str, Callable[[Plan, Sides], Iterator[Row]]] = {
    "pushes": pushes.measure,
    "scrapes": scrapes.measure,
    "footprint": footprint.measure,
}
APART: Mapping[str, Callable[[Plan], Iterator[Row]]] = {
    "large": large.measure,
    "sdk": sdk.measure,
    "overwrites": overwrites.measure,
}
