"""What is measured in one run, how long and how often?"""

from __future__ import annotations

from dataclasses import dataclass

from tests.benchmarks.figures import number

__all__ = ["SLOW_GROUPS", "VERY_SLOW_GROUPS", "Plan", "amount"]

SLOW_GROUPS = 10_000
"""From so many groups on the original takes about a second a push, and is measured with a few pushes only."""

VERY_SLOW_GROUPS = 100_000
"""From so many groups on it takes a quarter of a minute, and is measured with one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a run.

    Attributes:
        seconds: How long each load lasts.
        rounds: How often both sides are measured in turn.
        loads: Names of `wrk.LOADS`.
        samples: Sizes of the bodies of the scenario `bodies`.
        overwrites: How many pushes the scenario `overwrites` makes.
        alone: The original is left out.
        quick: Everything that has no setting of its own is as short as it can be.
    """

    seconds: float
    rounds: int
    loads: tuple[str, ...]
    samples: tuple[int, ...]
    overwrites: int
    alone: bool
    quick: bool


def amount(groups: int) -> str:
    """Say how many groups are stored, and with how many samples."""
    return f"{number(groups)} groups ({number(20 * groups)} samples)" if groups > 1 else "1 group (20 samples)"
