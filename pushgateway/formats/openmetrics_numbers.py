"""How does OpenMetrics write numbers, counts and instants?

The grammar of numbers is that of text 0.0.4 (`pushgateway.formats.numbers`). What differs: a float keeps a point or an
exponent (``1.0``), so that the bounds of buckets look the same whoever has written them; counts are integers; instants
are seconds with as many digits as are needed, and are kept as nanoseconds, in which a double of today's seconds would
lose the last hundred.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import Final

from pushgateway.formats.numbers import UINT64_LIMIT, format_value, parse_float, uint64_or_none

__all__ = ["format_count", "format_float", "format_seconds", "is_instant", "parse_count", "parse_seconds"]

_NANOSECONDS: Final = 10**9

_FIRST_SECOND: Final = -62_135_596_800
_LAST_SECOND: Final = 253_402_300_799
"""The years 1 to 9999, which google.protobuf.Timestamp can say."""

_MAX_DIGITS: Final = 12
"""Whole seconds that have fewer are before the year 9999."""

_MAX_EXACT: Final = 60
"""More characters than an instant of that range has down to far below a nanosecond; what is longer is read as a double,
since the time of an exact conversion grows with the square of the length."""

_MAX_COUNT_DIGITS: Final = 20


def parse_count(text: str) -> int | None:
    """Read a count, exactly.

    Args:
        text: A number of the grammar.

    Returns:
        The count; None if it is no unsigned 64-bit integer.
    """
    if text.isdigit() and len(text) <= _MAX_COUNT_DIGITS:
        count = int(text)
        return count if count < UINT64_LIMIT else None
    return uint64_or_none(parse_float(text))


def parse_seconds(text: str) -> int:
    """Read an instant.

    Args:
        text: Unix seconds.

    Returns:
        Unix nanoseconds; what is finer than that is cut off.

    Raises:
        ValueError: The text is no real number, or is outside of the years 1 to 9999.
    """
    whole, _, fraction = text.partition(".")
    # Nearly all: a third of the time that exact arithmetic takes.
    if whole.isdigit() and len(whole) < _MAX_DIGITS and _is_fraction(fraction) and text.isascii():
        return int(whole) * _NANOSECONDS + int(fraction.ljust(9, "0"))
    seconds = parse_float(text)
    if _FIRST_SECOND <= seconds < _LAST_SECOND + 1:
        exact = Decimal(text) if len(text) <= _MAX_EXACT else Decimal(seconds)
        nanoseconds = int((exact * _NANOSECONDS).to_integral_value(ROUND_FLOOR))
        if is_instant(nanoseconds):
            return nanoseconds
    raise ValueError(f"{text!r} is not a time in the years 1 to 9999")


def _is_fraction(text: str) -> bool:
    return not text or (len(text) <= 9 and text.isdigit())


def is_instant(nanoseconds: int) -> bool:
    """Return whether Unix nanoseconds are in the range that `parse_seconds` reads."""
    return _FIRST_SECOND <= nanoseconds // _NANOSECONDS <= _LAST_SECOND


def format_seconds(nanoseconds: int) -> str:
    """Write an instant, given in Unix nanoseconds, as exact decimal seconds."""
    seconds, fraction = divmod(abs(nanoseconds), _NANOSECONDS)
    sign = "-" if nanoseconds < 0 else ""
    return f"{sign}{seconds}.{fraction:09d}".rstrip("0") if fraction else f"{sign}{seconds}"


def format_float(value: float) -> str:
    """Write a float: Go's shortest digits, with a point or an exponent; unlike in text 0.0.4 minus zero has its sign.

    Source: OpenMetrics 1.0, "Considerations: Canonical Numbers".
    """
    if -1e6 < value < 1e6:
        return repr(float(value))
    return format_value(value)


def format_count(value: float) -> str:
    """Write a count: an integer without a point, if it is one."""
    if isinstance(value, int):
        return str(value)
    whole = uint64_or_none(value)
    return str(whole) if whole is not None else format_float(value)
