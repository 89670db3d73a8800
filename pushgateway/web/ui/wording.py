"""How do pages show times and numbers: short to read, exact on hover and to programs?

Everything here returns markup around what `display.quantities` writes. Nothing depends on the language or the time zone
of the machine.
"""

from __future__ import annotations

from typing import Final

from markupsafe import Markup

from pushgateway.display.quantities import Quantity, as_moment, exact
from pushgateway.display.quantities import readable as readable_text

__all__ = [
    "ago",
    "data_size",
    "duration",
    "is_moment",
    "moment",
    "percent",
    "plural",
    "quantile_name",
    "readable",
    "with_code",
]

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"))


def ago(seconds: float, *, now_seconds: float) -> Markup:
    """Return a time relative to now, `3 min ago` or `in 2 h`.

    Args:
        seconds: Unix time; 0 means never. What no calendar has is shown as a number.
        now_seconds: Unix time.
    """
    if not seconds:
        return Markup("never")
    if as_moment(seconds) is None:
        return readable(seconds)
    apart = now_seconds - seconds
    if abs(apart) < 1:
        return _time(seconds, "just now")
    return _time(seconds, f"{_largest(apart)} ago" if apart > 0 else f"in {_largest(-apart)}")


def moment(seconds: float) -> Markup:
    """Return a Unix time as date and time of day in UTC; 0 means never."""
    return _time(seconds, readable_text(seconds, Quantity.MOMENT)) if seconds else Markup("never")


def duration(seconds: float) -> Markup:
    """Return a length of time in its two largest units, `1 h 2 min` or `3.42 s`."""
    return _data(seconds, readable_text(seconds, Quantity.SECONDS), f"{exact(seconds)} s")


def data_size(count: float) -> Markup:
    """Return a number of bytes, `4.6 MB`."""
    return _data(count, readable_text(count, Quantity.BYTES), f"{exact(count)} bytes")


def readable(value: float, quantity: Quantity = Quantity.NUMBER) -> Markup:
    """Return a number in a few digits: `1 234`, `5.68 M`, `0.124`."""
    return _data(value, readable_text(value, quantity), exact(value))


def percent(share: float) -> str:
    """Return a share of 1 in percent."""
    return readable_text(share, Quantity.RATIO)


def quantile_name(share: float) -> str:
    """Return 0.99 as p99, and what is no share as it is."""
    return f"p{100 * share:.6g}" if 0 <= share <= 1 else exact(share)


def is_moment(value: float) -> bool:
    """Return whether a Unix time is one that a calendar has."""
    return as_moment(value) is not None


def plural(count: int, word: str, several: str = "") -> Markup:
    """Return a number with its noun: `1 group`, `2 groups`."""
    return readable(count) + " " + (word if count == 1 else several or f"{word}s")


def with_code(text: str) -> Markup:
    """Return a text with what stands between backticks as code."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def _largest(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _time(seconds: float, text: str) -> Markup:
    date = as_moment(seconds)
    if date is None:
        return readable(seconds)
    absolute = readable_text(seconds, Quantity.MOMENT)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(f"{date:%Y-%m-%dT%H:%M:%SZ}", absolute, text)


def _data(value: float, text: str, title: str) -> Markup:
    return Markup('<data value="{}" title="{}">{}</data>').format(exact(value), title, text)
