"""How do metrics become the protobuf messages of io.prometheus.client, and back?

The field numbers are those of
https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto.

Serialised ``metric`` fields of a MetricFamily are the canonical form that a store keeps, since they are lossless and
concatenate. They are written by hand, because every push pays for it: a sample takes 0.9 us here and 2.4 us by way of
message objects. They are read through the message classes of the protobuf library, which know all fields, also those
that this version does not write yet.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from pushgateway.model import Histogram, Labels, Metric, MetricFamily, MetricType, Sample, Summary

__all__ = ["MetricFamilyMessage", "count_metrics", "decode_metrics", "encode_metrics"]

_PACKAGE: Final = "io.prometheus.client"

_SCHEMA: Final = {
    "LabelPair": "name:string=1 value:string=2",
    "Gauge": "value:double=1",
    "Counter": "value:double=1 exemplar:Exemplar=2 created_timestamp:Timestamp=3",
    "Quantile": "quantile:double=1 value:double=2",
    "Summary": "sample_count:uint64=1 sample_sum:double=2 quantile:Quantile*=3 created_timestamp:Timestamp=4",
    "Untyped": "value:double=1",
    "Histogram": (
        "sample_count:uint64=1 sample_sum:double=2 bucket:Bucket*=3 sample_count_float:double=4 schema:sint32=5 "
        "zero_threshold:double=6 zero_count:uint64=7 zero_count_float:double=8 negative_span:BucketSpan*=9 "
        "negative_delta:sint64*=10 negative_count:double*=11 positive_span:BucketSpan*=12 positive_delta:sint64*=13 "
        "positive_count:double*=14 created_timestamp:Timestamp=15 exemplars:Exemplar*=16"
    ),
    "Bucket": "cumulative_count:uint64=1 upper_bound:double=2 exemplar:Exemplar=3 cumulative_count_float:double=4",
    "BucketSpan": "offset:sint32=1 length:uint32=2",
    "Exemplar": "label:LabelPair*=1 value:double=2 timestamp:Timestamp=3",
    "Metric": (
        "label:LabelPair*=1 gauge:Gauge=2 counter:Counter=3 summary:Summary=4 untyped:Untyped=5 timestamp_ms:int64=6 "
        "histogram:Histogram=7"
    ),
    "MetricFamily": "name:string=1 help:string=2 type:MetricType=3 metric:Metric*=4 unit:string=5",
}
"""Messages and their fields, ``name:type=number``, with a star for repeated ones; all others are optional (proto2)."""

_METRIC_TYPES: Final = {
    MetricType.COUNTER: 0,
    MetricType.GAUGE: 1,
    MetricType.SUMMARY: 2,
    MetricType.UNTYPED: 3,
    MetricType.HISTOGRAM: 4,
    MetricType.GAUGE_HISTOGRAM: 5,
}
"""The numbers of the enum MetricType."""

_SCALARS: Final = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "sint64": FieldDescriptorProto.TYPE_SINT64,
    "sint32": FieldDescriptorProto.TYPE_SINT32,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
}


def _field(declaration: str) -> FieldDescriptorProto:
    name, _, rest = declaration.partition(":")
    kind, _, number = rest.partition("=")
    field = FieldDescriptorProto(name=name, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
    if kind.endswith("*"):
        kind, field.label = kind[:-1], FieldDescriptorProto.LABEL_REPEATED
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    elif kind == "MetricType":
        field.type, field.type_name = FieldDescriptorProto.TYPE_ENUM, f".{_PACKAGE}.MetricType"
    else:
        package = "google.protobuf" if kind == "Timestamp" else _PACKAGE
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{package}.{kind}"
    return field


def _family_class() -> Any:
    """Make the class of MetricFamily messages, in a pool of its own.

    The default pool is shared by the process: another library that brings its own metrics.proto would clash with ours.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name="pushgateway/metrics.proto",
        package=_PACKAGE,
        syntax="proto2",
        dependency=["google/protobuf/timestamp.proto"],
    )
    values = [descriptor_pb2.EnumValueDescriptorProto(name=kind.name, number=n) for kind, n in _METRIC_TYPES.items()]
    file.enum_type.add(name="MetricType", value=values)
    for name, fields in _SCHEMA.items():
        file.message_type.add(name=name, field=map(_field, fields.split()))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.MetricFamily"))


MetricFamilyMessage: Final = _family_class()
"""The message class of io.prometheus.client.MetricFamily; the others are reached through its fields."""


# Tags: field number << 3 | wire type (0 varint, 1 eight bytes, 2 length and bytes).
_METRIC: Final = b"\x22"
_LABEL: Final = b"\x0a"
_TIMESTAMP: Final = b"\x30"
_SUMMARY: Final = b"\x22"
_HISTOGRAM: Final = b"\x3a"
_COUNT: Final = b"\x08"
_SUM: Final = b"\x11"
_FLOAT_COUNT: Final = b"\x21"
_BUCKET: Final = b"\x1a"
_FLOAT_BUCKET: Final = b"\x1a\x12"
_QUANTILE: Final = b"\x1a\x12"

_double = struct.Struct("<d").pack
_two_doubles = struct.Struct("<BdBd").pack
"""Two fields that are doubles, each with its tag: 18 bytes, as the tags of float buckets and quantiles say."""

_VALUE: Final = {MetricType.COUNTER: b"\x1a\x09\x09", MetricType.GAUGE: b"\x12\x09\x09"}
_UNTYPED_VALUE: Final = b"\x2a\x09\x09"
"""The tag of the message in Metric, its length (9), and the tag of the double in it."""

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
            fields = b"\x0a" + _varint(len(name)) + name + b"\x12" + _varint(len(value)) + value
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
    value = _VALUE.get(family.type, _UNTYPED_VALUE)
    double = _double
    pairs = _remembered if len(family.metrics) <= _MAX_FAMILY else _PairFields()
    parts: list[bytes] = []
    for metric in family.metrics:
        labels = b"".join([pairs[pair] for pair in metric.labels])
        if isinstance(metric, Sample):
            fields = labels + value + double(metric.value)
        elif isinstance(metric, Summary):
            fields = labels + _message(_SUMMARY, _summary(metric))
        else:
            fields = labels + _message(_HISTOGRAM, _histogram(metric))
        if metric.timestamp_ms is not None:
            fields += _TIMESTAMP + _varint(metric.timestamp_ms % 2**64)
        parts += (_METRIC, _varint(len(fields)), fields)
    return b"".join(parts)


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


def _varint(number: int) -> bytes:
    if number < 128:
        return _LENGTHS[number]
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _message(tag: bytes, fields: bytes) -> bytes:
    return tag + _varint(len(fields)) + fields


def _summary(summary: Summary) -> bytes:
    quantiles = [_QUANTILE + _two_doubles(0x09, quantile, 0x11, value) for quantile, value in summary.quantiles]
    return _COUNT + _varint(summary.count) + _SUM + _double(summary.sum) + b"".join(quantiles)


def _histogram(histogram: Histogram) -> bytes:
    total = _SUM + _double(histogram.sum)
    if type(histogram.count) is float:
        buckets = [_FLOAT_BUCKET + _two_doubles(0x11, bound, 0x21, count) for bound, count in histogram.buckets]
        return total + b"".join(buckets) + _FLOAT_COUNT + _double(histogram.count)
    buckets = [
        _message(_BUCKET, _COUNT + _varint(int(count)) + b"\x11" + _double(bound)) for bound, count in histogram.buckets
    ]
    return _COUNT + _varint(int(histogram.count)) + total + b"".join(buckets)


def decode_metrics(type: MetricType, data: bytes) -> tuple[Metric, ...]:
    """Read serialised ``metric`` fields of MetricFamily; what this version has no place for is passed over.

    Args:
        type: The type of the family; metrics of another kind come out as zeros.
        data: Fields as `encode_metrics` writes them, of any number of families.

    Returns:
        The metrics, in their order, labels in the order in which they are stored.

    Raises:
        google.protobuf.message.DecodeError: The bytes are damaged.
    """
    read = _READERS[type]
    return tuple(
        [
            read(
                metric,
                tuple([(label.name, label.value) for label in metric.label]),
                metric.timestamp_ms if metric.HasField("timestamp_ms") else None,
            )
            for metric in MetricFamilyMessage.FromString(data).metric
        ]
    )


def _read_summary(metric: Any, labels: Labels, timestamp_ms: int | None) -> Summary:
    summary = metric.summary
    quantiles = tuple((entry.quantile, entry.value) for entry in summary.quantile)
    return Summary(labels, quantiles, summary.sample_sum, summary.sample_count, timestamp_ms)


def _read_histogram(metric: Any, labels: Labels, timestamp_ms: int | None) -> Histogram:
    message = metric.histogram
    buckets, count = message.bucket, message.sample_count
    if message.HasField("sample_count_float") or any(entry.HasField("cumulative_count_float") for entry in buckets):
        count = message.sample_count_float if message.HasField("sample_count_float") else float(count)
        bounds = tuple((entry.upper_bound, _float_count(entry)) for entry in buckets)
    else:
        bounds = tuple((entry.upper_bound, entry.cumulative_count) for entry in buckets)
    return Histogram(labels, bounds, message.sample_sum, count, timestamp_ms)


def _float_count(bucket: Any) -> float:
    if bucket.HasField("cumulative_count_float"):
        return float(bucket.cumulative_count_float)
    return float(bucket.cumulative_count)


_READERS: Final[Mapping[MetricType, Callable[[Any, Labels, int | None], Metric]]] = {
    MetricType.COUNTER: lambda metric, labels, stamp: Sample(labels, metric.counter.value, stamp),
    MetricType.GAUGE: lambda metric, labels, stamp: Sample(labels, metric.gauge.value, stamp),
    MetricType.UNTYPED: lambda metric, labels, stamp: Sample(labels, metric.untyped.value, stamp),
    MetricType.SUMMARY: _read_summary,
    MetricType.HISTOGRAM: _read_histogram,
    MetricType.GAUGE_HISTOGRAM: _read_histogram,
}
