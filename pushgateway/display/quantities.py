"""How does a number read that was made for machines: 1.2 M, 3.4 GB, 4 min 5 s, a date?

What a number measures is told by the unit or the name of its family, as the Prometheus guide has them
(https://prometheus.io/docs/practices/naming/). A reader who needs all digits finds them in `exact`.
"""

from __future__ import annotations

import enum
import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from pushgateway.model import MetricType

__all__ = ["Quantity", "as_moment", "exact", "quantity_of", "readable"]


class Quantity(enum.Enum):
    """What a number measures; MOMENT is a Unix time in seconds."""

    NUMBER = "number"
    BYTES = "bytes"
    SECONDS = "seconds"
    RATIO = "ratio"
    MOMENT = "moment"


_PREFIXES: Final = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")

_WHOLE_DIGITS: Final = 1_000_000
"""Numbers from 1000 to here are short enough to be shown as whole ones: 184 633 says more than 185 k."""

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_LONGEST_SECONDS: Final = 1e11
"""3000 years; nobody counts more than that in days."""

_EARLIEST: Final = datetime(1980, 1, 1, tzinfo=UTC).timestamp()
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC).timestamp()
"""Times outside of these are no times: 0 for never, or milliseconds by mistake."""

_MOST_RATIO: Final = 10
"""What is larger, such as a compression ratio of 30, is not read as a percentage."""

_STEADY: Final = frozenset({MetricType.GAUGE, MetricType.UNTYPED})
"""Types whose value can be a time; a counter or histogram of seconds has durations."""

_ending = re.compile(r"(?:^|[_.:])(bytes|seconds|ratio)$").search
_moment_ending = re.compile(r"(?:^|[_.:])(?:time|timestamp)[_.:]seconds$").search


def quantity_of(name: str, type: MetricType, *, unit: str = "") -> Quantity:
    """Return what the values of a family measure.

    Args:
        name: The family's name.
        type: Its type.
        unit: Its unit, "" if that is not known; it counts before the name.
    """
    base = name.removesuffix("_total")
    if type in _STEADY and _moment_ending(base):
        return Quantity.MOMENT
    ending = _ending(unit) or _ending(base)
    return Quantity(ending[1]) if ending else Quantity.NUMBER


def readable(value: float, quantity: Quantity = Quantity.NUMBER) -> str:
    """Write a number for people: three digits that count, and the unit if there is one.

    Args:
        value: Any double or integer.
        quantity: What it measures. What cannot be one is written as a number: a moment that is none, a ratio above 10.
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else '+'}Inf"
    match quantity:
        case Quantity.BYTES:
            return _scaled(value, "B")
        case Quantity.SECONDS:
            return _duration(value)
        case Quantity.RATIO if abs(value) <= _MOST_RATIO:
            return f"{_digits(100 * value)} %"
        case Quantity.MOMENT if (moment := as_moment(value)) is not None:
            return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    return _scaled(value, "")


def as_moment(seconds: float) -> datetime | None:
    """Return a Unix time as a date; None for what cannot be meant as one (before 1980 or after 2200)."""
    return datetime.fromtimestamp(seconds, UTC) if _EARLIEST <= seconds <= _LATEST else None


def exact(value: float) -> str:
    """Write a number with all of its digits, and with an exponent only beyond 21 of them."""
    if not math.isfinite(value):
        return readable(value)
    if isinstance(value, int):
        return str(value)
    if value and not 1e-7 <= abs(value) < 1e21:
        return repr(value)
    return f"{Decimal(repr(value)):f}".removesuffix(".0")


def _scaled(value: float, unit: str) -> str:
    """Write a number with a prefix of the SI; tiny ones, and those beyond all prefixes, with an exponent."""
    size = abs(value)
    if value == 0 or (not unit and 999.5 <= size < _WHOLE_DIGITS - 0.5):
        return _joined(f"{round(value):,}".replace(",", " "), unit)
    power = 0
    while power + 1 < len(_PREFIXES) and abs(_rounded(value / 1000**power)) >= 1000:
        power += 1
    scaled = value / 1000**power
    if size < 1e-3 or abs(_rounded(scaled)) >= 1000:
        return _joined(_digits(value), unit)
    return _joined(_digits(scaled), _PREFIXES[power] + unit)


def _joined(digits: str, unit: str) -> str:
    return f"{digits} {unit}" if unit else digits


def _duration(value: float) -> str:
    size, sign = abs(value), "-" if value < 0 else ""
    if size == 0:
        return "0 s"
    for unit, seconds in (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3)):
        if _rounded(size / seconds) < 1000:
            return f"{sign}{_digits(size / seconds)} {unit}"
    if _rounded(size) < _MINUTE:
        return f"{sign}{_digits(size)} s"
    if size >= _LONGEST_SECONDS:
        return _scaled(value, "s")
    whole = round(size)
    if whole < _HOUR:
        return sign + _two(whole // _MINUTE, "min", whole % _MINUTE, "s")
    minutes = round(size / _MINUTE)
    if minutes < _DAY // _MINUTE:
        return sign + _two(minutes // 60, "h", minutes % 60, "min")
    hours = round(size / _HOUR)
    return sign + _two(hours // 24, "d", hours % 24 if hours < 24 * 100 else 0, "h")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    head = f"{large:,} {large_unit}".replace(",", " ")
    return f"{head} {small} {small_unit}" if small else head


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _digits(value: float) -> str:
    """Write up to three digits that count, without an exponent for anything from 0.0001 to 999."""
    digits, _, power = f"{value:.3g}".partition("e")
    return f"{digits}e{int(power)}" if power else digits
