"""How does "30m" become seconds?"""

from __future__ import annotations

import math
import re
from datetime import timedelta

from pymetrics_sdk.errors import ConfigError

__all__ = ["Duration", "seconds"]

Duration = str | float | timedelta
"""What every duration argument takes: ``"1h30m"``, ``"250ms"``, ``90`` (seconds) or a timedelta."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def seconds(value: Duration, *, setting: str) -> float:
    """Return a duration in seconds.

    Args:
        value: ``"30m"``, ``"1h30m"``, ``"250ms"`` (units ms, s, m, h, d, w), a bare number of seconds (``"90"``, 90)
            or a timedelta.
        setting: The argument's or variable's name, for the error.

    Returns:
        A finite number of seconds greater than zero.

    Raises:
        ConfigError: The text is no duration, or it is not finite and positive.
    """
    if isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, str):
        result = _parse(value.strip(), setting)
    else:
        result = float(value)
    if not math.isfinite(result) or result <= 0:
        raise ConfigError(setting, f"{value!r} is not a positive duration")
    return result


def _parse(text: str, setting: str) -> float:
    if _WHOLE.fullmatch(text):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    try:
        return float(text)
    except ValueError:
        raise ConfigError(
            setting, f"{text!r} is no duration; expected something like 90, 250ms, 30m or 1h30m"
        ) from None
