"""Where does each column of a chart stand?

Pure: counts in, coordinates and words out; templates/charts.html draws them. The drawing has no text in it, since it is
stretched to the width that there is; the scale and the times stand around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

__all__ = ["HEIGHT", "WIDTH", "Chart", "Column", "columns", "share"]

WIDTH: Final = 600
HEIGHT: Final = 100

_GAP: Final = 0.2
"""Which part of its place a column leaves free."""

_LEAST: Final = 2.0
"""A column of 1 beside one of 10 000 is to be seen."""

_STEPS: Final = (2, 4, 10)


class Column(NamedTuple):
    """One column: a rectangle in a drawing of `WIDTH` by `HEIGHT`, and what it says on hover."""

    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of counts over time.

    Attributes:
        title: What is counted.
        description: What a reader who does not see it should know.
        columns: Those that are not 0, the oldest first.
        top: What the full height stands for, an even number.
        total: All counts together.
        times: When it begins, its middle and its end, as time of day in UTC.
    """

    title: str
    description: str
    columns: tuple[Column, ...]
    top: int
    total: int
    times: tuple[str, str, str]


def columns(title: str, counts: Sequence[tuple[float, int]], *, noun: str) -> Chart:
    """Return a chart with one column a minute.

    Args:
        title: What is counted, `Pushes a minute`.
        counts: Unix time of the minute's beginning and the count; at least one, the oldest first.
        noun: What a count counts, in the plural: `pushes`.
    """
    top = _top(max(count for _, count in counts))
    place = WIDTH / len(counts)
    drawn = []
    for number, (at_seconds, count) in enumerate(counts):
        if count:
            height = max(_LEAST, count / top * HEIGHT)
            x, width = number * place + place * _GAP / 2, place * (1 - _GAP)
            words = f"{_clock(at_seconds)}: {count} {noun}"
            drawn.append(Column(round(x, 2), round(HEIGHT - height, 2), round(width, 2), round(height, 2), words))
    times = (counts[0][0], counts[len(counts) // 2][0], counts[-1][0])
    return Chart(
        title=title,
        description=_description(counts, noun),
        columns=tuple(drawn),
        top=top,
        total=sum(count for _, count in counts),
        times=(_clock(times[0]), _clock(times[1]), _clock(times[2])),
    )


def share(used: float, limit: float) -> float:
    """Return how much of a limit is used, in percent from 0 to 100; without a limit (0) that is nothing."""
    return min(100.0, max(0.0, round(100 * used / limit, 3))) if limit else 0.0


def _description(counts: Sequence[tuple[float, int]], noun: str) -> str:
    total = sum(count for _, count in counts)
    span = f"In {len(counts)} minutes from {_clock(counts[0][0])} to {_clock(counts[-1][0])} UTC"
    if not total:
        return f"{span}: no {noun}."
    at_seconds, most = max(counts, key=lambda one: one[1])
    return f"{span}: {total} {noun}, at most {most} in a minute, at {_clock(at_seconds)}."


def _top(most: int) -> int:
    """Return the least of 2, 4, 10, 20, 40, 100, ... that is not exceeded: it can be halved."""
    power = 1
    while True:
        for step in _STEPS:
            if step * power >= most:
                return step * power
        power *= 10


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M")
