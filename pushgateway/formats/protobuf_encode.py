"""How do metrics become serialised protobuf, the canonical form that a store keeps?

``metric`` fields of an io.prometheus.client.MetricFamily are lossless and concatenate. They are written by hand,
because every push pays for it: a sample takes 0.9 us here and 2.4 us by way of message objects.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from typing import Final, cast

from pushgateway.model import (
    Exemplar,
    Histogram,
    Labels,
    MetricFamily,
    MetricType,
    NativeBuckets,
    NativeHistogram,
    Sample,
    Summary,
)
from pushgateway.tables import Column, SampleTable, join_rows

__all__ = ["VALUES", "count_metrics", "cut_metrics", "encode_metrics", "encode_starts", "encode_varint"]

# Tags: field number << 3 | wire type (0 varint, 1 eight bytes, 2 length and bytes).
_METRIC: Final = b"\x22"
_LABEL: Final = b"\x0a"
_TIMESTAMP: Final = b"\x30"
_COUNTER: Final = b"\x1a"
_SUMMARY: Final = b"\x22"
_HISTOGRAM: Final = b"\x3a"
_COUNT: Final = b"\x08"
_SUM: Final = b"\x11"
_FLOAT_COUNT: Final = b"\x21"
_BUCKET: Final = b"\x1a"
_FLOAT_BUCKET: Final = b"\x1a\x12"
_QUANTILE: Final = b"\x1a\x12"

_double = struct.Struct("<d").pack
_two_bytes = struct.Struct("BB").pack
_two_doubles = struct.Struct("<BdBd").pack
"""Two fields that are doubles, each with its tag: 18 bytes, as the tags of float buckets and quantiles say."""

VALUES: Final = {
    MetricType.COUNTER: b"\x1a\x09\x09",
    MetricType.GAUGE: b"\x12\x09\x09",
    MetricType.UNTYPED: b"\x2a\x09\x09",
}
"""What stands before a value, by type: the tag of its message in Metric, the length of that (9), the tag of the double
in it."""

_LENGTHS: Final = tuple(bytes([length]) for length in range(128))
"""Varints of one byte: nearly all lengths."""

_MAX_PAIRS: Final = 8192
_MAX_PAIR_BYTES: Final = 256
"""Limits of what is remembered between calls, together a few megabytes at most."""

_MAX_FAMILY: Final = 1000
"""A larger family brings more identifiers that never come back than pairs that do, and keeps out of that memory."""


class _PairFields(dict[tuple[str, str], bytes]):
    """Label pairs as serialised ``label`` fields: job, instance, method and so on come back in every push."""

    def __missing__(self, pair: tuple[str, str]) -> bytes:
        name, value = pair[0].encode(), pair[1].encode()
        size = len(name) + len(value) + 4
        if size < 128:  # all lengths take one byte
            parts = (_LABEL, _LENGTHS[size], b"\x0a", _LENGTHS[len(name)], name, b"\x12", _LENGTHS[len(value)], value)
            encoded = b"".join(parts)
        else:
            fields = b"\x0a" + encode_varint(len(name)) + name + b"\x12" + encode_varint(len(value)) + value
            encoded = _message(_LABEL, fields)
        if len(encoded) <= _MAX_PAIR_BYTES:
            if len(self) >= _MAX_PAIRS:
                self.clear()
            self[pair] = encoded
        return encoded


_remembered = _PairFields()


def encode_metrics(family: MetricFamily) -> bytes:
    """Serialise a family's metrics as ``metric`` fields of MetricFamily, one after the other, in their order.

    Args:
        family: Its labels hold only characters that UTF-8 can say, as those of every parser do.

    Returns:
        Bytes that concatenate with those of other families of the same name and type; b"" for no metrics.
    """
    value = VALUES.get(family.type, b"")
    if isinstance(family.metrics, SampleTable):
        pieces = [_encode_table(piece, value) for piece in family.metrics.pieces()]
        if None not in pieces:
            return b"".join(cast("list[bytes]", pieces))
    double = _double
    pairs = _remembered if len(family.metrics) <= _MAX_FAMILY else _PairFields()
    parts: list[bytes] = []
    for metric in family.metrics:
        labels = b"".join([pairs[pair] for pair in metric.labels])
        if isinstance(metric, Sample):
            if metric.created_ns is None and metric.exemplar is None:
                fields = labels + value + double(metric.value)
            else:
                fields = labels + _message(_COUNTER, _counter(metric))
        elif isinstance(metric, Summary):
            fields = labels + _message(_SUMMARY, _summary(metric))
        else:
            fields = labels + _message(_HISTOGRAM, _histogram(metric))
        if metric.timestamp_ms is not None:
            fields += _TIMESTAMP + encode_varint(metric.timestamp_ms % 2**64)
        parts += (_METRIC, encode_varint(len(fields)), fields)
    return b"".join(parts)


def encode_starts(type: MetricType, series: Iterable[Labels]) -> Iterator[bytes]:
    """Serialise samples but for their values: the eight bytes of a double, which are the last of each.

    Args:
        type: Counter, gauge or untyped.
        series: The labels of each sample.
    """
    for labels in series:
        fields = b"".join([_remembered[pair] for pair in labels]) + VALUES[type]
        yield _METRIC + encode_varint(len(fields) + 8) + fields


def _encode_table(table: SampleTable, value: bytes) -> bytes | None:
    """Serialise a table a column at a time, as text, in which a character is a byte; None if a byte would not do."""
    labels = table.labels
    pieces: list[Column] = []
    for name, column in zip(labels.names, labels.columns, strict=True):
        if isinstance(column, str):
            pieces.append(_remembered[name, column].decode("latin-1"))
            continue
        lengths = list(map(len, column))
        longest = max(lengths)
        if len(name) + longest + 4 >= 128 or not (name.isascii() and "".join(column).isascii()):
            return None
        start = f"\n{chr(len(name))}{name}\x12"
        # By the length of the value: what stands before it.
        before = [f"\n{chr(len(start) + 1 + size)}{start}{chr(size)}" for size in range(longest + 1)]
        pieces += (list(map(before.__getitem__, lengths)), column)
    fields = join_rows([*pieces, value.decode()], len(table))
    sizes = list(map(len, fields))
    heads = {size: '"' + encode_varint(size + 8).decode("latin-1") for size in set(sizes)}
    doubles = _doubles(table.values).decode("latin-1")
    parts = [""] * (3 * len(fields))
    parts[::3] = map(heads.__getitem__, sizes)
    parts[1::3] = fields
    parts[2::3] = [doubles[at : at + 8] for at in range(0, len(doubles), 8)]
    return "".join(parts).encode("latin-1")


def _doubles(values: array[float]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def count_metrics(data: bytes) -> int:
    """Count what `encode_metrics` has serialised, without decoding it.

    Args:
        data: ``metric`` fields of MetricFamily, nothing else.
    """
    count = position = 0
    while position < len(data):
        position += 1  # the tag
        size = shift = 0
        while (byte := data[position]) >= 0x80:
            size |= (byte & 0x7F) << shift
            shift += 7
            position += 1
        position += 1 + (size | byte << shift)
        count += 1
    return count


def cut_metrics(data: bytes, *, start: int, count: int) -> tuple[int, bytes]:
    """Count what `encode_metrics` has serialised, and cut some of it out.

    Args:
        data: As in `count_metrics`.
        start: How many metrics to pass over.
        count: How many to cut out, if there are as many.

    Returns:
        How many there are in all, and the serialised ones.
    """
    total = position = begin = 0
    end: int | None = None
    while position < len(data):
        if total == start:
            begin = position
        if total == start + count:
            end = position
        total += 1
        position += 1  # the tag
        size = shift = 0
        while (byte := data[position]) >= 0x80:
            size |= (byte & 0x7F) << shift
            shift += 7
            position += 1
        position += 1 + (size | byte << shift)
    return total, data[begin:end] if start < total else b""


def encode_varint(number: int) -> bytes:
    """Encode an unsigned 64-bit integer (https://protobuf.dev/programming-guides/encoding/#varints)."""
    if number < 128:
        return _LENGTHS[number]
    if number < 1 << 14:
        return _two_bytes(number & 127 | 128, number >> 7)
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _message(tag: bytes, fields: bytes) -> bytes:
    return tag + encode_varint(len(fields)) + fields


def _counter(sample: Sample) -> bytes:
    value = b"\x09" + _double(sample.value)
    if sample.exemplar is not None:
        value += _message(b"\x12", _exemplar(sample.exemplar))
    return value + _created(b"\x1a", sample.created_ns)


def _summary(summary: Summary) -> bytes:
    quantiles = [_QUANTILE + _two_doubles(0x09, quantile, 0x11, value) for quantile, value in summary.quantiles]
    total = _COUNT + encode_varint(summary.count) + _SUM + _double(summary.sum)
    return total + b"".join(quantiles) + _created(b"\x22", summary.created_ns)


def _histogram(histogram: Histogram) -> bytes:
    total = _SUM + _double(histogram.sum)
    is_float = type(histogram.count) is float
    if histogram.exemplars:
        buckets = list(map(_bucket, histogram.buckets, histogram.exemplars))
    elif is_float:
        buckets = [_FLOAT_BUCKET + _two_doubles(0x11, bound, 0x21, count) for bound, count in histogram.buckets]
    else:
        buckets = []
        for bound, count in histogram.buckets:
            number = encode_varint(int(count))
            buckets += (_BUCKET, _LENGTHS[10 + len(number)], _COUNT, number, b"\x11", _double(bound))
    if is_float:
        fields = total + b"".join(buckets) + _FLOAT_COUNT + _double(histogram.count)
    else:
        fields = _COUNT + encode_varint(int(histogram.count)) + total + b"".join(buckets)
    native = histogram.native
    if native is None and histogram.created_ns is None:
        return fields
    exemplars = native.exemplars if native is not None else ()
    return b"".join(
        (
            fields,
            b"" if native is None else _native(native),
            _created(b"\x7a", histogram.created_ns),
            *[_message(b"\x82\x01", _exemplar(exemplar)) for exemplar in exemplars],
        )
    )


def _bucket(bucket: tuple[float, float], exemplar: Exemplar | None) -> bytes:
    bound, count = bucket
    example = b"" if exemplar is None else _message(b"\x1a", _exemplar(exemplar))
    if type(count) is float:
        return _message(_BUCKET, b"\x11" + _double(bound) + example + _FLOAT_COUNT + _double(count))
    return _message(_BUCKET, _COUNT + encode_varint(int(count)) + b"\x11" + _double(bound) + example)


def _native(native: NativeHistogram) -> bytes:
    """Encode the native side but for its exemplars, whose field comes last."""
    zeros = native.zero_count
    zero_count = b"\x41" + _double(zeros) if type(zeros) is float else b"\x38" + encode_varint(int(zeros))
    return b"".join(
        (
            b"\x28" + encode_varint(_zigzag(native.schema)),
            b"\x31" + _double(native.zero_threshold),
            zero_count,
            _side(native.negative, span=b"\x4a", delta=b"\x50", count=b"\x59"),
            _side(native.positive, span=b"\x62", delta=b"\x68", count=b"\x71"),
        )
    )


def _side(buckets: NativeBuckets, *, span: bytes, delta: bytes, count: bytes) -> bytes:
    parts = [
        _message(span, b"\x08" + encode_varint(_zigzag(offset)) + b"\x10" + encode_varint(length))
        for offset, length in buckets.spans
    ]
    parts += [delta + encode_varint(_zigzag(difference)) for difference in buckets.deltas]
    parts += [count + _double(value) for value in buckets.counts]
    return b"".join(parts)


def _exemplar(exemplar: Exemplar) -> bytes:
    labels = b"".join([_remembered[pair] for pair in exemplar.labels])
    return labels + b"\x11" + _double(exemplar.value) + _created(b"\x1a", exemplar.timestamp_ns)


def _created(tag: bytes, at_ns: int | None) -> bytes:
    """Encode a google.protobuf.Timestamp, if there is one."""
    if at_ns is None:
        return b""
    seconds, nanos = divmod(at_ns, 10**9)
    return _message(tag, b"\x08" + encode_varint(seconds % 2**64) + b"\x10" + encode_varint(nanos))


def _zigzag(number: int) -> int:
    """Map a signed integer to an unsigned one, as sint32 and sint64 are encoded."""
    return 2 * number if number >= 0 else -2 * number - 1
