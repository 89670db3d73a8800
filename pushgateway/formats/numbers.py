"""How are numbers read and written so that they look as the Go programs around Prometheus write them?

Reading is stricter than Python's `float`: no underscores, no blanks, no digits of other scripts, no sign on NaN, and a
number too large for a double is an error, not an infinity. Writing is Go's ``strconv.FormatFloat(v, 'g', -1, 64)``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

__all__ = ["UINT64_LIMIT", "format_value", "format_values", "parse_float", "uint64_or_none", "wrap_uint64"]

UINT64_LIMIT: Final = 2.0**64
"""The first double that an unsigned 64-bit integer cannot hold."""

_MANY_DIGITS: Final = 1e15
"""Below, the digits of a whole number are those of the shortest text that reads back as it."""

_EXPONENTS: Final = tuple([f"e+{digits - 1:02d}" for digits in range(17)])
"""By how many digits there are before the point."""

_decimal = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?").fullmatch
_special = re.compile(r"[+-]?inf(?:inity)?|nan", re.IGNORECASE | re.ASCII).fullmatch


def parse_float(text: str) -> float:
    """Read a number of text format 0.0.4.

    Args:
        text: The token, without blanks.

    Returns:
        The nearest double; a number too small to be one becomes zero.

    Raises:
        ValueError: The token is no decimal number, infinity or NaN, or is too large for a double.
    """
    if _decimal(text):
        value = float(text)
        if math.isinf(value):
            raise ValueError(f"{text!r} is too large for a double")
        return value
    if _special(text):
        return float(text)
    raise ValueError(f"{text!r} is not a number")


def format_value(value: float) -> str:
    """Write a number as the exposition does: the shortest digits that read back as the same double.

    Exponents are used below 1e-4 and from 1e6 on, with at least two digits. Minus zero is written as 0.
    """
    if -_MANY_DIGITS < value < _MANY_DIGITS:
        whole = int(value)
        if whole == value:
            digits = str(whole)
            if -1e6 < value < 1e6:
                return digits
            if value > 0:
                return _large_whole(digits)
        if -1e6 < value < 1e6:
            # Python's repr has the same digits, and switches to the same exponent form at the same lower end.
            return repr(float(value))
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return _with_exponent(repr(float(value)))


def format_values(values: Sequence[float]) -> list[str]:
    """Write numbers as `format_value` does each; where all are whole, as counts are, in less than half the time."""
    if not all(map(float.is_integer, values)) or min(values) < 0 or max(values) >= _MANY_DIGITS:
        return list(map(format_value, values))
    all_digits = list(map(str, map(int, values)))
    return [
        digits
        if len(digits) < 7
        else f"{digits[0]}.{digits[1:]}{_EXPONENTS[len(digits)]}"
        if digits[-1] != "0"
        else _large_whole(digits)
        for digits in all_digits
    ]


def _large_whole(digits: str) -> str:
    """Write a whole number from 1e6 to 1e15, all digits of which count: no shorter ones read back as the same."""
    kept = digits.rstrip("0")
    return f"{kept[0]}{'.' if len(kept) > 1 else ''}{kept[1:]}{_EXPONENTS[len(digits)]}"


def _with_exponent(text: str) -> str:
    """Turn a repr of 1e6 or more into exponent form; from 1e16 on it already is."""
    if "e" in text:
        return text
    sign = "-" if text[0] == "-" else ""
    integer, _, fraction = text.removeprefix("-").partition(".")
    digits = (integer + fraction).rstrip("0")
    point = "." if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{point}{digits[1:]}e+{len(integer) - 1:02d}"


def uint64_or_none(value: float) -> int | None:
    """Return `value` as an unsigned 64-bit integer, None if it is not exactly one."""
    if 0 <= value < UINT64_LIMIT:
        whole = int(value)
        return whole if whole == value else None
    return None


def wrap_uint64(value: float) -> int:
    """Cast to an unsigned 64-bit integer as Go does: truncated, negative numbers wrapped around.

    The original casts the counts of summaries so, whatever was pushed. What Go leaves open (NaN, infinities and numbers
    out of range) is 2**63, as observed on amd64.
    """
    return int(value) % 2**64 if -(2.0**63) <= value < UINT64_LIMIT else 2**63
