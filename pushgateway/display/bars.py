"""How are the buckets of a histogram drawn?

As one bar a bucket, as long as its own observations are many: not as the cumulative counts that are stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pushgateway.display.quantiles import cumulative
from pushgateway.model import Histogram
from pushgateway.rules import native

__all__ = ["MOST_BARS", "Bar", "Bars", "draw"]

MOST_BARS: Final = 40
"""More cannot be taken in at a glance; a native histogram may have a hundred thousand buckets."""

_FULL: Final = 100.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One bucket, or several that are next to each other.

    Attributes:
        lower: Where it begins; -inf for the first one of a classic histogram.
        upper: Where it ends; inf for the last one of a classic histogram.
        observations: How many it holds.
        share: Of all observations, from 0 to 1; 0 if that cannot be told.
        length: From 0 to 100; the fullest bar has 100. One with anything in it has 1 at least, to be seen.
    """

    lower: float
    upper: float
    observations: float
    share: float
    length: float


@dataclass(frozen=True, slots=True)
class Bars:
    """A histogram drawn: `buckets` is how many it has, of which `joined` (1 or more) make a bar.

    Empty ones at its ends are a single bar on each side, however many they are, and count as one in `buckets`.
    """

    bars: tuple[Bar, ...]
    buckets: int
    joined: int = 1


def draw(histogram: Histogram, *, most: int = MOST_BARS) -> Bars:
    """Draw a histogram from its lowest bucket to its highest.

    Args:
        histogram: Its native side is drawn if it has one, without empty buckets; else its classic ones.
        most: How many bars there may be; where there are more buckets, neighbours are joined.
    """
    buckets = _native(histogram) if histogram.native is not None else _with_short_ends(_classic(histogram))
    joined = max(1, -(-len(buckets) // most))
    parts = [buckets[at : at + joined] for at in range(0, len(buckets), joined)]
    sums = [sum(count for _, _, count in part) for part in parts]
    total, fullest = sum(sums), max(sums, default=0)
    bars = [
        Bar(part[0][0], part[-1][1], count, _part(count, total), _length(_part(count, fullest)))
        for part, count in zip(parts, sums, strict=True)
    ]
    return Bars(tuple(bars), len(buckets), joined)


def _native(histogram: Histogram) -> Sequence[tuple[float, float, float]]:
    found = native.buckets(histogram.native) if histogram.native is not None else ()
    return [(bucket.lower, bucket.upper, bucket.observations) for bucket in found]


def _classic(histogram: Histogram) -> Sequence[tuple[float, float, float]]:
    found: list[tuple[float, float, float]] = []
    lower, below = -math.inf, 0.0
    for upper, count in cumulative(histogram):
        # Where both are infinite nothing can be said of what lies between.
        found.append((lower, upper, count - below if math.isfinite(below) else 0.0))
        lower, below = upper, count
    return found


def _with_short_ends(buckets: Sequence[tuple[float, float, float]]) -> Sequence[tuple[float, float, float]]:
    """Join the empty buckets before the first one with anything in it, and those behind the last one."""
    filled = [index for index, (_, _, count) in enumerate(buckets) if count]
    first, last = (filled[0], filled[-1]) if filled else (len(buckets), len(buckets))
    ends = (buckets[:first], buckets[last + 1 :])
    before, behind = ([(end[0][0], end[-1][1], 0.0)] if end else [] for end in ends)
    return [*before, *buckets[first : last + 1], *behind]


def _part(count: float, whole: float) -> float:
    return count / whole if whole and math.isfinite(whole) else 0.0


def _length(part: float) -> float:
    return round(max(1.0, _FULL * part), 1) if part else 0.0
