"""How does "30m" become seconds?"""

from __future__ import annotations

import math
import re
from datetime import timedelta

from pymetrics_sdk.errors import ConfigError

__all__ = ["Duration", "seconds"]

Duration = str | float | timedelta
"""What every duration argument takes: ``"1h30m"``, ``"250ms"``, ``90`` (seconds) or a timedelta."""

MAX_SECONDS = 10 * 366 * 86400.0
"""Ten years. Longer than any schedule, and short of what timers, conditions and dates of the system refuse."""

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
        Seconds, greater than zero and at most `MAX_SECONDS`.

    Raises:
        ConfigError: The text is no duration, or it is not positive, or it is longer than ten years.
    """
    if isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, str):
        result = _parse(value.strip(), setting)
    else:
        result = _number(value, setting)
    if not math.isfinite(result) or result <= 0:
        raise ConfigError(setting, f"{value!r:.60} is not a positive duration")
    if result > MAX_SECONDS:
        raise ConfigError(setting, f"{value!r:.60} is longer than ten years")
    return result


def _number(value: object, setting: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        raise ConfigError(setting, f"{value!r:.60} is no duration; expected something like 90 or '30m'") from None


def _parse(text: str, setting: str) -> float:
    if _WHOLE.fullmatch(text):
        total: float = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
        return total
    try:
        return float(text)
    except ValueError:
        raise ConfigError(
            setting, f"{text!r:.60} is no duration; expected something like 90, 250ms, 30m or 1h30m"
        ) from None
