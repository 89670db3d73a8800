"""Which families of a body of protobuf are tables, and what is in them?

Nearly all large families are counters, gauges or untyped, with a few labels each and nothing else. One regular
expression takes their metrics apart, as text in which a character is a byte, and what it has found is then compared
with the lengths that stand before it: so the outcome is what the wire format says, and nothing else. By way of message
objects a sample takes six times as long.

Whatever is unusual is not read here, and nobody is told why: `pushgateway.formats.protobuf` reads it once more.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import islice
from operator import add
from typing import Final, NamedTuple

from pushgateway.formats.protobuf_encode import encode_varint
from pushgateway.formats.protobuf_fields import fields, inside
from pushgateway.limits import Limits
from pushgateway.tables import FEWEST, SampleTable, TableDraft

__all__ = ["FEWEST_BYTES", "FoundMetrics", "find_metrics", "read_metrics"]

FEWEST_BYTES: Final = 1 << 11
"""Smaller families are not worth a look."""

_WINDOW_BYTES: Final = 1 << 16
"""How much is taken apart at a time; a metric that is larger is none of these."""

_MOST_FIELDS: Final = 64
"""How many fields may stand before the metrics of a table, behind them, and in the first: there are four others, and 32
labels with a value. A body may have millions, each of which takes 0.5 us to find."""

_MOST_LAYOUTS: Final = 4
"""How many expressions may be made for one family: up to 5 ms each, in which several windows are read without."""

_METRIC: Final = 4
_LABEL: Final = 1
_MOST_LABELS: Final = 32
_LONGEST: Final = 128
"""Below, a length is one byte. A label that is longer is not read here."""

_LONGEST_NAME: Final = _LONGEST - 5
"""With an empty value it is a label that is not longer."""

_DOUBLE_BYTES: Final = 8
_VALUE_BYTES: Final = 11
"""The tag of the message with the value, its length, the tag of the value, and the value."""

_LENGTH: Final = r"[\x00-\x7f]|[\x80-\xff][\x01-\x7f]"
# What stands before a label's value, and the value.
_PAIR: Final = r"(\n[\x00-\x7f]\n[\x00-\x7f][a-zA-Z0-9_]++\x12[\x00-\x7f])([ -~]*)"


class FoundMetrics(NamedTuple):
    """A family that may be a table.

    Attributes:
        head: The fields before its metrics.
        rest: The others.
        labels: How many labels the first metric has.
        fields: How many fields stand in `head`.
    """

    head: memoryview
    rest: memoryview
    labels: int
    fields: int


def find_metrics(message: memoryview) -> FoundMetrics | None:
    """Look at the first metric of a family; None if it is not to be read here.

    Raises:
        CutShortError: The message is damaged where it was looked at.
    """
    for count, (number, begin, end) in enumerate(islice(fields(message), _MOST_FIELDS)):
        if number == _METRIC:
            first = islice(fields(inside(message[begin:end])), _MOST_FIELDS)
            labels = sum(1 for number, _, _ in first if number == _LABEL)
            if not 0 < labels <= _MOST_LABELS:
                return None
            return FoundMetrics(message[:begin], message[begin:], labels, count)
    return None


def read_metrics(
    found: FoundMetrics, value: bytes, *, limits: Limits, check: Callable[[], None] | None
) -> tuple[SampleTable, memoryview] | None:
    """Read the metrics of a family.

    Args:
        found: The family.
        value: What stands before the number in a metric of its type.
        limits: What names and values may be; beyond these nothing is read.
        check: Called for each window of 64 KiB.

    Returns:
        The metrics, and what stands behind them; None if they are no table.

    Raises:
        CutShortError: What stands behind them is damaged.
    """
    if found.labels > limits.labels_per_series or limits.value_bytes < _LONGEST:
        return None
    most = min(limits.name_bytes, _LONGEST_NAME)
    rest, draft = found.rest, None
    layout, layouts, is_alike = _Layout((), ()), 1, False
    while rest:
        if check is not None:
            check()
        window = str(rest[:_WINDOW_BYTES], "latin-1")
        pattern = _alike_pattern(layout, value) if is_alike else _pattern(found.labels, value)
        length, (sizes, *pairs, numbers) = _split(pattern, window)
        if not length and not is_alike:
            break
        if not length:
            is_alike = False
            continue
        starts, columns = pairs[::2], pairs[1::2]
        if draft is None:
            layout = _Layout.of([start[0][4:-2] for start in starts], columns)
            draft = TableDraft(tuple(sorted(layout.names)))
            order = sorted(range(found.labels), key=layout.names.__getitem__)
            if len(set(layout.names)) < found.labels or max(map(len, layout.names)) > most:
                return None
        elif not is_alike and (narrowed := layout.narrowed(columns)) != layout:
            layout, layouts = narrowed, layouts + 1
        if not _is_exact(sizes, starts, columns, layout if is_alike else layout.open()):
            return None
        whole = layout.completed(columns, len(sizes)) if is_alike else columns
        draft.add([whole[at] for at in order], _doubles("".join(numbers)))
        rest = rest[length:]
        is_alike = len(rest) >= _WINDOW_BYTES and layouts <= _MOST_LAYOUTS
    if draft is None or len(draft.values) < FEWEST:
        return None
    behind = [number for number, _, _ in islice(fields(rest), _MOST_FIELDS + 1)]
    if _METRIC in behind or len(behind) > _MOST_FIELDS:
        return None
    return draft.table(), rest


class _Layout(NamedTuple):
    """What the metrics of a family have in common.

    Attributes:
        names: The names of their labels, in their order.
        values: The value of each that was the same in all metrics so far, None for the others.
    """

    names: tuple[str, ...]
    values: tuple[str | None, ...]

    @classmethod
    def of(cls, names: Sequence[str], columns: Sequence[Sequence[str]]) -> _Layout:
        """Return the layout of the first metrics."""
        return cls(tuple(names), tuple([column[0] for column in columns])).narrowed(columns)

    def narrowed(self, columns: Sequence[Sequence[str]]) -> _Layout:
        """Return the layout of the metrics so far and some more, of which all values are given."""
        pairs = zip(self.values, columns, strict=True)
        return self._replace(values=tuple([one if {one} == set(column) else None for one, column in pairs]))

    def open(self) -> _Layout:
        """Return it without the values."""
        return self._replace(values=(None,) * len(self.names))

    def completed(self, columns: Sequence[Sequence[str]], count: int) -> list[Sequence[str]]:
        """Return all columns, given those in which not all values are the same."""
        varying = iter(columns)
        return [next(varying) if value is None else [value] * count for value in self.values]


def _split(pattern: re.Pattern[str], window: str) -> tuple[int, list[list[str]]]:
    """Take metrics apart, up to the first one that is another.

    What splitting returns is one list, of which columns are slices: 140 ms for 100 000 metrics became 62, since tuples
    are neither made nor turned.

    Returns:
        How long they are together, and what each group of the pattern has found.
    """
    flat = pattern.split(window)
    width = pattern.groups + 1
    *between, behind = flat[::width]
    count, length = len(between), len(window) - len(behind)
    if between.count("") < count:
        count = next(at for at, text in enumerate(between) if text)
        length = next(islice(pattern.finditer(window), count - 1, None)).end() if count else 0
    return length, [flat[at : count * width : width] for at in range(1, width)]


@lru_cache(maxsize=3 * _MOST_LABELS)
def _pattern(labels: int, value: bytes) -> re.Pattern[str]:
    """Return what takes metrics apart."""
    return _compiled(f"({_LENGTH}){_PAIR * labels}", value)


@lru_cache(maxsize=64)
def _alike_pattern(layout: _Layout, value: bytes) -> re.Pattern[str]:
    """Return what takes metrics of a layout apart, without the values that all have: in a third of the time."""
    pairs = [
        rf"(\n[\x00-\x7f]\n{re.escape(chr(len(name)) + name)}\x12[\x00-\x7f])([ -~]*)"
        if same is None
        else re.escape(_starts(name)[len(same)] + same)
        for name, same in zip(layout.names, layout.values, strict=True)
    ]
    return _compiled(rf"([\x80-\xff]?+.){''.join(pairs)}", value)


def _compiled(before: str, value: bytes) -> re.Pattern[str]:
    return re.compile(rf'"{before}{re.escape(value.decode("latin-1"))}(.{{{_DOUBLE_BYTES}}})', re.DOTALL)


def _is_exact(sizes: list[str], starts: Sequence[list[str]], columns: Sequence[Sequence[str]], layout: _Layout) -> bool:
    """Return whether all lengths and names are as they should be; columns are those that have no value in `layout`."""
    fixed, names = _VALUE_BYTES, list[str]()
    for name, value in zip(layout.names, layout.values, strict=True):
        if value is None:
            names.append(name)
        fixed += len(_starts(name)[len(value or "")]) + len(value or "")
    totals = [fixed] * len(sizes)
    for name, before, column in zip(names, starts, columns, strict=True):
        expected = _starts(name)
        lengths = list(map(len, column))
        if max(lengths) >= len(expected) or list(map(expected.__getitem__, lengths)) != before:
            return False
        totals = list(map(add, totals, lengths))
    varints = {total: _varint(total) for total in set(totals)}
    return list(map(varints.__getitem__, totals)) == sizes


def _varint(number: int) -> str:
    return str(encode_varint(number), "latin-1")


@lru_cache(maxsize=64)
def _starts(name: str) -> Sequence[str]:
    """Return what stands before a value of each length, as far as one byte says the length of both."""
    start = f"\n{chr(len(name))}{name}\x12"
    return [f"\n{chr(len(start) + 1 + size)}{start}{chr(size)}" for size in range(_LONGEST - 4 - len(name))]


def _doubles(text: str) -> array[float]:
    values = array("d")
    values.frombytes(text.encode("latin-1"))
    if sys.byteorder == "big":
        values.byteswap()
    return values
