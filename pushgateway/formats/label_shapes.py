"""Is what stands around the label values of a line well formed, and in which order do the values belong?

A label set without escapes, split at its quotes, is separators and values in turn: ``a="1",b="2"`` has the separators
``a=``, ``,b=`` and the empty end. The lines of a family differ in their values and hardly ever in their separators, so
each list of separators is checked once and remembered, and a line costs a split and a comparison.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from pushgateway.config import Limits
from pushgateway.names import LABEL_NAME_RE

__all__ = ["Shape", "find_shape"]


class Shape(NamedTuple):
    """The valid separators of a label set.

    Attributes:
        names: The label names, sorted.
        sort: Brings the values of a line, or columns of them, into the order of `names`; None if they are in it.
        parts: How many parts a line of this shape has when it is split at its quotes.
        longest_name: The length of the longest name, which is ASCII.
    """

    names: tuple[str, ...]
    sort: Callable[[Sequence[Any]], tuple[Any, ...]] | None
    parts: int
    longest_name: int


_MAX_SHAPES: Final = 4096
_MAX_CHARACTERS: Final = 1024
"""Longer separators are checked anew each time, so that what is remembered stays below a few megabytes."""

_shapes: dict[tuple[str, ...], Shape] = {}

_separator = re.compile(rf"[ \t]*(,?)[ \t]*({LABEL_NAME_RE})[ \t]*=[ \t]*").fullmatch
_end = re.compile(r"[ \t]*,?[ \t]*").fullmatch


def find_shape(separators: list[str], limits: Limits) -> Shape | None:
    """Return the shape of a label set.

    Args:
        separators: Every other part of a label set that was split at its quotes, beginning with the first.
        limits: How many labels there may be, and how long their names.

    Returns:
        None if they are not those of a valid label set within the limits, or of one without labels.
    """
    if len(separators) > limits.labels_per_series + 1:
        return None
    key = tuple(separators)
    shape = _shapes.get(key)
    if shape is None:
        shape = _check(key)
        if shape is not None and sum(map(len, key)) <= _MAX_CHARACTERS:
            if len(_shapes) >= _MAX_SHAPES:
                _shapes.clear()
            _shapes[key] = shape
    return shape if shape is not None and shape.longest_name <= limits.name_bytes else None


def _check(separators: tuple[str, ...]) -> Shape | None:
    names = []
    for index, separator in enumerate(separators[:-1]):
        match = _separator(separator)
        if match is None or bool(match[1]) != (index > 0):
            return None
        names.append(match[2])
    if not names or not _end(separators[-1]) or len(set(names)) < len(names) or "__name__" in names:
        return None
    ordered = sorted(names)
    positions = {name: position for position, name in enumerate(names)}
    sort = None if ordered == names else itemgetter(*[positions[name] for name in ordered])
    return Shape(tuple(ordered), sort, 2 * len(names) + 1, max(map(len, names)))
