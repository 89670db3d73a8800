import math
import struct
from collections.abc import Iterable
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.formats.protobuf import count_metrics, decode_metrics, encode_metrics, encode_starts
from pushgateway.formats.protobuf_encode import VALUES
from pushgateway.formats.protobuf_messages import family_class
from pushgateway.model import (
    Exemplar,
    Histogram,
    MetricFamily,
    MetricType,
    NativeBuckets,
    NativeHistogram,
    Sample,
    Summary,
)
from tests.unit.formats.format_strategies import family_lists, label_sets, thorough

MetricFamilyMessage = family_class()

KINDS = {MetricType.COUNTER: "counter", MetricType.GAUGE: "gauge", MetricType.UNTYPED: "untyped"}


def family(type: MetricType, *metrics: Any) -> MetricFamily:
    return MetricFamily("x", type, "", metrics)


def by_message_classes(families: Iterable[MetricFamily]) -> bytes:
    """Serialise metrics the slow way, by setting the fields of messages."""
    whole = MetricFamilyMessage()
    for one in families:
        for metric in one.metrics:
            message = whole.metric.add()
            for name, value in metric.labels:
                message.label.add(name=name, value=value)
            if metric.timestamp_ms is not None:
                message.timestamp_ms = metric.timestamp_ms
            if isinstance(metric, Sample):
                value = getattr(message, KINDS[one.type])
                value.value = metric.value
                set_created(value, metric.created_ns)
                if metric.exemplar is not None:
                    set_exemplar(value.exemplar, metric.exemplar)
            elif isinstance(metric, Summary):
                message.summary.sample_count, message.summary.sample_sum = metric.count, metric.sum
                set_created(message.summary, metric.created_ns)
                for quantile, value in metric.quantiles:
                    message.summary.quantile.add(quantile=quantile, value=value)
            else:
                is_float = type(metric.count) is float
                setattr(message.histogram, "sample_count_float" if is_float else "sample_count", metric.count)
                message.histogram.sample_sum = metric.sum
                for at, (bound, count) in enumerate(metric.buckets):
                    counted = {"cumulative_count_float" if is_float else "cumulative_count": count}
                    bucket = message.histogram.bucket.add(upper_bound=bound, **counted)
                    if metric.exemplars and (exemplar := metric.exemplars[at]) is not None:
                        set_exemplar(bucket.exemplar, exemplar)
                if metric.native is not None:
                    set_native(message.histogram, metric.native, is_float=is_float)
                set_created(message.histogram, metric.created_ns)
    return bytes(whole.SerializeToString())


def set_created(message: Any, created_ns: int | None) -> None:
    if created_ns is not None:
        message.created_timestamp.seconds, message.created_timestamp.nanos = divmod(created_ns, 10**9)


def set_exemplar(message: Any, exemplar: Exemplar) -> None:
    for name, value in exemplar.labels:
        message.label.add(name=name, value=value)
    message.value = exemplar.value
    if exemplar.timestamp_ns is not None:
        message.timestamp.seconds, message.timestamp.nanos = divmod(exemplar.timestamp_ns, 10**9)


def set_native(message: Any, native: NativeHistogram, *, is_float: bool) -> None:
    message.schema, message.zero_threshold = native.schema, native.zero_threshold
    setattr(message, "zero_count_float" if is_float else "zero_count", native.zero_count)
    for sign, side in (("negative", native.negative), ("positive", native.positive)):
        for offset, length in side.spans:
            getattr(message, f"{sign}_span").add(offset=offset, length=length)
        getattr(message, f"{sign}_delta").extend(side.deltas)
        getattr(message, f"{sign}_count").extend(side.counts)
    for exemplar in native.exemplars:
        set_exemplar(message.exemplars.add(), exemplar)


@thorough
@given(family_lists())
def test_the_protobuf_library_reads_what_is_encoded_by_hand(families: list[MetricFamily]) -> None:
    """Bytes written by hand are, once read, the same message as one made of the library's objects."""
    by_hand = b"".join(map(encode_metrics, families))
    assert MetricFamilyMessage.FromString(by_hand).SerializeToString() == by_message_classes(families)


@thorough
@given(family_lists())
def test_the_start_of_a_sample_and_its_value_are_the_sample(families: list[MetricFamily]) -> None:
    """What is encoded before a value is known is what is encoded with it, but for its eight bytes."""
    for one in families:
        if one.type in VALUES:
            plain = [Sample(metric.labels, 0.5) for metric in one.metrics]
            starts = encode_starts(one.type, [metric.labels for metric in plain])
            whole = encode_metrics(MetricFamily(one.name, one.type, one.help, plain))
            assert b"".join(start + struct.pack("<d", 0.5) for start in starts) == whole


@thorough
@given(family_lists())
def test_encoding_loses_nothing(families: list[MetricFamily]) -> None:
    """Decoding gives back every metric: order, minus zero, NaN, infinities, float counts and timestamps."""
    for one in families:
        assert repr(decode_metrics(one.type, encode_metrics(one))) == repr(one.metrics)


@pytest.mark.parametrize("value", [0.0, -0.0, math.inf, -math.inf, 5e-324, 1.7976931348623157e308])
@pytest.mark.parametrize("type", KINDS)
def test_every_double_survives(type: MetricType, value: float) -> None:
    """The eight bytes of a value come back as they were."""
    (metric,) = decode_metrics(type, encode_metrics(family(type, Sample((), value))))
    assert isinstance(metric, Sample)
    assert struct.pack("<d", metric.value) == struct.pack("<d", value)


@given(st.integers(0, 2**64 - 1))
def test_every_count_survives(count: int) -> None:
    """Counts are unsigned 64-bit integers, also beyond what a double can hold."""
    histogram = Histogram((), ((1.0, count),), 0.0, count)
    assert decode_metrics(MetricType.HISTOGRAM, encode_metrics(family(MetricType.HISTOGRAM, histogram))) == (histogram,)


def test_a_native_histogram_in_floats_that_counts_nothing_is_one_in_integers() -> None:
    """Prometheus cannot tell which it is, and would drop the scrape if the buckets were floats."""
    empty = NativeBuckets(((0, 2),), counts=(0.0, 0.0))
    native = NativeHistogram(0, 0.001, 0.0, negative=empty, positive=empty)
    histogram = Histogram((), ((1.0, 0.0),), 0.0, 0.0, native=native)
    (read,) = decode_metrics(MetricType.HISTOGRAM, encode_metrics(family(MetricType.HISTOGRAM, histogram)))
    zeros = NativeBuckets(((0, 2),), deltas=(0, 0))
    assert repr(read) == repr(
        Histogram((), ((1.0, 0),), 0.0, 0, native=NativeHistogram(0, 0.001, 0, negative=zeros, positive=zeros))
    )
    assert decode_metrics(MetricType.HISTOGRAM, encode_metrics(family(MetricType.HISTOGRAM, read))) == (read,)


def test_families_concatenate() -> None:
    """The bytes of two families, one after the other, decode to the metrics of both."""
    first, second = Sample((("a", "1"),), 1.0), Sample((("a", "2"),), 2.0, 3)
    data = encode_metrics(family(MetricType.GAUGE, first)) + encode_metrics(family(MetricType.GAUGE, second))
    assert decode_metrics(MetricType.GAUGE, data) == (first, second)


def test_no_metrics_are_no_bytes() -> None:
    """A family without metrics is empty, and so it is read."""
    assert encode_metrics(family(MetricType.GAUGE)) == b""
    assert decode_metrics(MetricType.GAUGE, b"") == ()


@pytest.mark.parametrize("length", [0, 61, 62, 122, 123, 124, 127, 128, 16_383, 16_384, 100_000])
def test_lengths_of_any_number_of_bytes(length: int) -> None:
    """Lengths at the borders of varints, of values, pairs and metrics, are encoded right."""
    sample = Sample((("a" * (length // 2 + 1), "é" * length), ("b", "x" * length)), 1.0)
    assert decode_metrics(MetricType.GAUGE, encode_metrics(family(MetricType.GAUGE, sample))) == (sample,)


@thorough
@given(st.lists(label_sets, max_size=3))
def test_more_pairs_than_are_remembered(more: list[tuple[tuple[str, str], ...]]) -> None:
    """A family with thousands of different labels is encoded as any other."""
    labels = [(("id", str(number)),) for number in range(1_200)] + more
    samples = tuple(Sample(pairs, 1.0) for pairs in labels)
    assert decode_metrics(MetricType.GAUGE, encode_metrics(family(MetricType.GAUGE, *samples))) == samples


def test_damaged_bytes_are_an_error() -> None:
    """Bytes that are cut short are not taken for metrics."""
    data = encode_metrics(family(MetricType.GAUGE, Sample((("a", "b"),), 1.0)))
    with pytest.raises(DecodeError):
        decode_metrics(MetricType.GAUGE, data[:-1])


def test_fields_of_native_histograms_are_kept_in_messages() -> None:
    """The message classes know native histograms, exemplars and start times, which later versions write."""
    message = MetricFamilyMessage()
    histogram = message.metric.add().histogram
    histogram.schema = -1
    histogram.positive_span.add(offset=-2, length=3)
    histogram.positive_delta.extend([1, -1, 2])
    histogram.exemplars.add(value=1.5).timestamp.seconds = 7
    histogram.created_timestamp.nanos = 9
    assert MetricFamilyMessage.FromString(message.SerializeToString()) == message


@given(family_lists())
def test_metrics_are_counted_as_they_stand(families: tuple[MetricFamily, ...]) -> None:
    """Serialised metrics, however long, are counted without being decoded."""
    for one in families:
        assert count_metrics(encode_metrics(one)) == len(one.metrics)
    long = family(MetricType.GAUGE, *[Sample((("a", "x" * size),), 1.0) for size in (0, 100, 128, 16_384, 3_000_000)])
    assert count_metrics(encode_metrics(long)) == 5
