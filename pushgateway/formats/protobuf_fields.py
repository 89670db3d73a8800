"""Where do the fields of a serialised protobuf message begin and end, before anything is made of them?

The wire format: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

__all__ = ["CutShortError", "count_fields", "fields", "inside", "split_delimited"]

_VARINT: Final = 0
_EIGHT_BYTES: Final = 1
_LENGTH: Final = 2
_FOUR_BYTES: Final = 5

_LONGEST_SHIFT: Final = 63
"""A varint has at most ten bytes, of seven bits each."""


class CutShortError(Exception):
    """The bytes end where more were announced, or are no wire format."""


def split_delimited(body: bytes) -> Iterator[memoryview]:
    """Yield the messages of a body, each of which stands behind its length as a varint.

    Raises:
        CutShortError: The body ends in a message or a length, or a length is none.
    """
    whole = memoryview(body)
    position = 0
    while position < len(whole):
        size, position = _varint(whole, position)
        if size > len(whole) - position:
            raise CutShortError
        yield whole[position : position + size]
        position += size


def fields(message: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield the number, the beginning (of the tag) and the end of each field of a message.

    Raises:
        CutShortError: The message is damaged. Groups, which proto2 has and MetricFamily has not, count as damage.
    """
    position = 0
    while position < len(message):
        begin = position
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == _LENGTH:
            size, position = _varint(message, position)
            position += size
        elif kind == _VARINT:
            _, position = _varint(message, position)
        elif kind == _EIGHT_BYTES:
            position += 8
        elif kind == _FOUR_BYTES:
            position += 4
        else:
            raise CutShortError
        if position > len(message):
            raise CutShortError
        yield tag >> 3, begin, position


def count_fields(message: memoryview, descriptor: Any, *, at_most: int) -> int:
    """Count the fields of a message, those of the messages in it included, and numbers in packed ones each.

    Args:
        message: The serialised message.
        descriptor: Its descriptor.
        at_most: Where to stop counting.

    Returns:
        How many there are; some number above `at_most` if there are more than that.

    Raises:
        CutShortError: The message is damaged.
    """
    total = 0
    known = descriptor.fields_by_number
    for number, begin, end in fields(message):
        total += 1
        field = known.get(number)
        if field is not None and field.message_type is not None:
            total += count_fields(inside(message[begin:end]), field.message_type, at_most=at_most - total)
        elif field is not None and field.is_repeated:
            total += end - begin  # at least as many as packed numbers
        if total > at_most:
            break
    return total


def inside(field: memoryview) -> memoryview:
    """Return the message in a field.

    Raises:
        CutShortError: The field is no message.
    """
    tag, position = _varint(field, 0)
    if tag & 7 != _LENGTH:
        raise CutShortError
    _, position = _varint(field, position)
    return field[position:]


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """Read a varint; returns the number and the position behind it."""
    number = shift = 0
    try:
        while (byte := data[position]) >= 0x80:
            number |= (byte & 0x7F) << shift
            shift += 7
            position += 1
            if shift > _LONGEST_SHIFT:
                raise CutShortError
        return number | byte << shift, position + 1
    except IndexError:
        raise CutShortError from None
