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

_METRIC: Final = 4
_LABEL: Final = 1
_MOST_LABELS: Final = 32
_LONGEST: Final = 128
"""Below, a length is one byte. A label that is longer is not read here."""

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
    pattern = _pattern(found.labels, value)
    rest, draft = found.rest, None
    while rest:
        if check is not None:
            check()
        window = str(rest[:_WINDOW_BYTES], "latin-1")
        rows: list[tuple[str, ...]] = pattern.findall(window)
        left = len(rows.pop()[-1]) if rows[-1][-1] else 0
        if not rows:
            break
        sizes, *pairs, numbers, _ = zip(*rows, strict=True)
        starts, columns = pairs[::2], pairs[1::2]
        if draft is None:
            names = [start[0][4:-2] for start in starts]
            order = sorted(range(len(names)), key=names.__getitem__)
            draft = TableDraft(tuple([names[at] for at in order]))
            if len(set(names)) < len(names) or max(map(len, names)) > limits.name_bytes:
                return None
        if not _is_exact(sizes, names, starts, columns):
            return None
        draft.add([columns[at] for at in order], _doubles("".join(numbers)))
        rest = rest[len(window) - left :]
    if draft is None or len(draft.values) < FEWEST:
        return None
    behind = [number for number, _, _ in islice(fields(rest), _MOST_FIELDS + 1)]
    if _METRIC in behind or len(behind) > _MOST_FIELDS:
        return None
    return draft.table(), rest


@lru_cache(maxsize=3 * _MOST_LABELS)
def _pattern(labels: int, value: bytes) -> re.Pattern[str]:
    """Return what takes metrics apart; all from the first one on that is another is in the last group."""
    before = re.escape(value.decode("latin-1"))
    return re.compile(rf'"({_LENGTH}){_PAIR * labels}{before}(.{{{_DOUBLE_BYTES}}})|(.+)', re.DOTALL)


def _is_exact(
    sizes: Sequence[str], names: Sequence[str], starts: Sequence[Sequence[str]], columns: Sequence[Sequence[str]]
) -> bool:
    """Return whether all lengths and names are as they should be."""
    fixed, varying = _VALUE_BYTES, []
    for name, before, column in zip(names, starts, columns, strict=True):
        expected = _starts(name)
        lengths = set(map(len, column))
        if max(lengths) >= len(expected):
            return False
        fixed += len(expected[0])
        if len(lengths) == 1:
            (length,) = lengths
            fixed += length
            if set(before) != {expected[length]}:
                return False
        else:
            varying.append(list(map(len, column)))
            if list(map(expected.__getitem__, varying[-1])) != list(before):
                return False
    if not varying:
        return set(sizes) == {_varint(fixed)}
    totals = varying[0] if len(varying) == 1 else list(map(sum, zip(*varying, strict=True)))
    varints = {total: _varint(fixed + total) for total in set(totals)}
    return list(map(varints.__getitem__, totals)) == list(sizes)


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
