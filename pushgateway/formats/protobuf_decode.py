"""How are protobuf messages of metrics read?

Through the message classes of the protobuf library, which know all fields. `decode_metrics` reads the canonical form
that a store keeps, `read_metric` one message of a push.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pushgateway.formats.protobuf_messages import family_class
from pushgateway.model import (
    Exemplar,
    Histogram,
    Labels,
    Metric,
    MetricType,
    NativeBuckets,
    NativeHistogram,
    Sample,
    Summary,
)

__all__ = ["decode_metrics", "read_metric"]


def decode_metrics(type: MetricType, data: bytes) -> tuple[Metric, ...]:
    """Read serialised ``metric`` fields of MetricFamily.

    Args:
        type: The type of the family; metrics of another kind come out as zeros.
        data: Fields as `encode_metrics` writes them, of any number of families.

    Returns:
        The metrics, in their order, labels in the order in which they are stored.

    Raises:
        google.protobuf.message.DecodeError: The bytes are damaged.
    """
    return tuple([read_metric(type, metric) for metric in family_class().FromString(data).metric])


def read_metric(type: MetricType, metric: Any) -> Metric:
    """Read one message of class Metric.

    Args:
        type: The type of its family; a metric of another kind comes out as zero.
        metric: The message.

    Returns:
        The metric, its labels in the order of the message. Names and values that are not UTF-8 are bytes.
    """
    stamp = metric.timestamp_ms if metric.HasField("timestamp_ms") else None
    return _READERS[type](metric, _labels(metric.label), stamp)


def _labels(pairs: Iterable[Any]) -> Labels:
    return tuple([(label.name, label.value) for label in pairs])


def _read_counter(metric: Any, labels: Labels, timestamp_ms: int | None) -> Sample:
    counter = metric.counter
    exemplar = _exemplar(counter.exemplar) if counter.HasField("exemplar") else None
    return Sample(labels, counter.value, timestamp_ms, exemplar, _created_ns(counter))


def _read_summary(metric: Any, labels: Labels, timestamp_ms: int | None) -> Summary:
    summary = metric.summary
    quantiles = tuple((entry.quantile, entry.value) for entry in summary.quantile)
    created_ns = _created_ns(summary)
    return Summary(labels, quantiles, summary.sample_sum, summary.sample_count, timestamp_ms, created_ns)


def _read_histogram(metric: Any, labels: Labels, timestamp_ms: int | None) -> Histogram:
    message = metric.histogram
    buckets, count = message.bucket, message.sample_count
    if _counts_in_floats(message):
        count = message.sample_count_float if message.HasField("sample_count_float") else float(count)
        bounds = tuple((entry.upper_bound, _float_count(entry)) for entry in buckets)
    else:
        bounds = tuple((entry.upper_bound, entry.cumulative_count) for entry in buckets)
    exemplars = tuple(_exemplar(entry.exemplar) if entry.HasField("exemplar") else None for entry in buckets)
    native = _read_native(message)
    histogram = Histogram(
        labels,
        bounds,
        message.sample_sum,
        count,
        timestamp_ms,
        exemplars if any(exemplars) else (),
        native,
        _created_ns(message),
    )
    return histogram if native is None or count else _as_integers(histogram, native)


def _as_integers(histogram: Histogram, native: NativeHistogram) -> Histogram:
    """Return a native histogram in floats that has counted nothing as one in integers.

    Prometheus takes it for that, since only counts above 0 tell it which kind it is, and drops a scrape in which the
    buckets are then in floats.
    """
    negative, positive = native.negative, native.positive
    counted = (native.zero_count, *negative.counts, *positive.counts, *(count for _, count in histogram.buckets))
    if any(counted) or negative.deltas or positive.deltas:
        return histogram
    return histogram._replace(
        count=0,
        buckets=tuple((bound, 0) for bound, _ in histogram.buckets),
        native=native._replace(
            zero_count=0,
            negative=NativeBuckets(negative.spans, (0,) * len(negative.counts)),
            positive=NativeBuckets(positive.spans, (0,) * len(positive.counts)),
        ),
    )


def _counts_in_floats(message: Any) -> bool:
    return (
        message.HasField("sample_count_float")
        or message.HasField("zero_count_float")
        or any(entry.HasField("cumulative_count_float") for entry in message.bucket)
        or bool(message.positive_count or message.negative_count)
    )


def _float_count(bucket: Any) -> float:
    if bucket.HasField("cumulative_count_float"):
        return float(bucket.cumulative_count_float)
    return float(bucket.cumulative_count)


def _read_native(message: Any) -> NativeHistogram | None:
    """Read the native side, if there is one: what makes it one is the same as for Prometheus, and not the schema."""
    if not (
        message.positive_span
        or message.negative_span
        or message.zero_threshold
        or message.zero_count
        or message.zero_count_float
    ):
        return None
    negative = NativeBuckets(
        _spans(message.negative_span), tuple(message.negative_delta), tuple(message.negative_count)
    )
    positive = NativeBuckets(
        _spans(message.positive_span), tuple(message.positive_delta), tuple(message.positive_count)
    )
    zero_count = message.zero_count
    if _counts_in_floats(message):
        zero_count = message.zero_count_float or float(zero_count)
    exemplars = tuple(map(_exemplar, message.exemplars))
    return NativeHistogram(message.schema, message.zero_threshold, zero_count, negative, positive, exemplars)


def _spans(spans: Iterable[Any]) -> tuple[tuple[int, int], ...]:
    return tuple([(span.offset, span.length) for span in spans])


def _exemplar(message: Any) -> Exemplar:
    timestamp_ns = _nanoseconds(message.timestamp) if message.HasField("timestamp") else None
    return Exemplar(_labels(message.label), message.value, timestamp_ns)


def _created_ns(message: Any) -> int | None:
    return _nanoseconds(message.created_timestamp) if message.HasField("created_timestamp") else None


def _nanoseconds(timestamp: Any) -> int:
    return int(timestamp.seconds) * 10**9 + int(timestamp.nanos)


_READERS: Final[Mapping[MetricType, Callable[[Any, Labels, int | None], Metric]]] = {
    MetricType.COUNTER: _read_counter,
    MetricType.GAUGE: lambda metric, labels, stamp: Sample(labels, metric.gauge.value, stamp),
    MetricType.UNTYPED: lambda metric, labels, stamp: Sample(labels, metric.untyped.value, stamp),
    MetricType.SUMMARY: _read_summary,
    MetricType.HISTOGRAM: _read_histogram,
    MetricType.GAUGE_HISTOGRAM: _read_histogram,
}
