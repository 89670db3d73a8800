"""Which message classes does io.prometheus.client have?

The field numbers are those of
https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from pushgateway.model import MetricType

__all__ = ["METRIC_TYPES", "MetricFamilyMessage"]

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
    values = [descriptor_pb2.EnumValueDescriptorProto(name=kind.name, number=n) for kind, n in METRIC_TYPES.items()]
    file.enum_type.add(name="MetricType", value=values)
    for name, fields in _SCHEMA.items():
        file.message_type.add(name=name, field=map(_field, fields.split()))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.MetricFamily"))


MetricFamilyMessage: Final = _family_class()
"""The message class of io.prometheus.client.MetricFamily; the others are reached through its fields."""
