"""Which message classes does io.prometheus.client have?

The field numbers are those of
https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from pushgateway.model import MetricType

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto

__all__ = ["METRIC_TYPES", "decode_error", "family_class", "is_loaded"]

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

METRIC_TYPES: Final = {
    MetricType.COUNTER: 0,
    MetricType.GAUGE: 1,
    MetricType.SUMMARY: 2,
    MetricType.UNTYPED: 3,
    MetricType.HISTOGRAM: 4,
    MetricType.GAUGE_HISTOGRAM: 5,
}
"""The numbers of the enum MetricType."""

_SCALARS: Final = frozenset(("string", "double", "uint64", "int64", "sint64", "sint32", "uint32"))


@functools.cache
def family_class() -> Any:
    """Return the message class of io.prometheus.client.MetricFamily; the others are reached through its fields.

    It is made when it is first asked for, in a pool of its own: the default pool is shared by the process, in which
    another library that brings its own metrics.proto would clash with ours.
    """
    # Not at the top: most gateways never read protobuf, and these take 15 of 370 ms of the start.
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2  # noqa: PLC0415

    file = descriptor_pb2.FileDescriptorProto(
        name="pushgateway/metrics.proto",
        package=_PACKAGE,
        syntax="proto2",
        dependency=["google/protobuf/timestamp.proto"],
    )
    values = [descriptor_pb2.EnumValueDescriptorProto(name=kind.name, number=n) for kind, n in METRIC_TYPES.items()]
    file.enum_type.add(name="MetricType", value=values)
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for declaration in fields.split():
            _declare(message.field.add(), declaration)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.MetricFamily"))


def is_loaded() -> bool:
    """Return whether the classes have been made, so that nobody waits for them any more."""
    return family_class.cache_info().currsize > 0


def decode_error() -> type[Exception]:
    """Return what the messages raise when bytes are damaged."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - see family_class

    return DecodeError


def _declare(field: FieldDescriptorProto, declaration: str) -> None:
    """Fill in a field that is declared as in `_SCHEMA`."""
    field.name, _, rest = declaration.partition(":")
    kind, _, number = rest.partition("=")
    field.number, field.label = int(number), field.LABEL_OPTIONAL
    if kind.endswith("*"):
        kind, field.label = kind[:-1], field.LABEL_REPEATED
    if kind in _SCALARS:
        field.type = field.Type.Value(f"TYPE_{kind.upper()}")
    elif kind == "MetricType":
        field.type, field.type_name = field.TYPE_ENUM, f".{_PACKAGE}.MetricType"
    else:
        package = "google.protobuf" if kind == "Timestamp" else _PACKAGE
        field.type, field.type_name = field.TYPE_MESSAGE, f".{package}.{kind}"
