"""Are the names and values of a line within their limits?

Asked of every line that is read with care, before memory is spent on what it says.
"""

from __future__ import annotations

from pushgateway.errors import LimitError
from pushgateway.limits import Limits

__all__ = ["check_label_size", "check_name_size", "check_value_size"]


def check_label_size(name: str, value: str, *, number: int, limits: Limits) -> None:
    """Refuse the `number`-th label of a line if it is one too many, or too long.

    Raises:
        LimitError: It is.
    """
    if number > limits.labels_per_series:
        raise LimitError("labels-per-series", allowed=limits.labels_per_series)
    check_name_size(name, limits)
    check_value_size(value, limits)


def check_name_size(name: str, limits: Limits) -> None:
    """Refuse the name of a metric or a label if it is too long.

    Raises:
        LimitError: It is.
    """
    _check("name-bytes", name, limits.name_bytes)


def check_value_size(text: str, limits: Limits) -> None:
    """Refuse a label's value or a HELP text if it is too long.

    Raises:
        LimitError: It is.
    """
    _check("value-bytes", text, limits.value_bytes)


def _check(limit: str, text: str, allowed: int) -> None:
    # A character has at most four bytes: nothing is encoded that cannot be too long.
    if 4 * len(text) > allowed and (seen := len(text.encode())) > allowed:
        raise LimitError(limit, allowed=allowed, seen=seen)
