"""Families for the tests of formats, and what a text format makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st

from pushgateway.model import (
    Exemplar,
    Histogram,
    Labels,
    Metric,
    MetricFamily,
    MetricType,
    NativeBuckets,
    NativeHistogram,
    Sample,
    Summary,
)

thorough = settings(max_examples=100, deadline=None)

HISTOGRAMS = (MetricType.HISTOGRAM, MetricType.GAUGE_HISTOGRAM)
BOUND_LABELS = {"le", "quantile"}

# A name that ends in x is no part of a histogram or summary, so that names never mean one another's families.
family_names = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", fullmatch=True).map(lambda name: f"{name}x")
label_names = st.one_of(
    st.sampled_from(["a", "b", "instance", "job", "le", "quantile"]),
    st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,5}", fullmatch=True),
)
label_values = st.one_of(
    st.sampled_from(["", "1", "a b", '"', "\\", "\n", "}", "} 1", ",", '",', "\\n", "é"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
label_sets = st.dictionaries(label_names, label_values, max_size=4).map(lambda labels: tuple(sorted(labels.items())))
values = st.floats(allow_subnormal=True)
timestamps = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
# Text carries counts as doubles: larger integers would come back rounded.
integer_counts = st.integers(0, 2**53)
float_counts = st.floats(min_value=0)


def without_bounds(labels: Labels) -> Labels:
    return tuple(pair for pair in labels if pair[0] not in BOUND_LABELS)


moments = st.none() | st.integers(0, 2**62)
exemplars = st.builds(Exemplar, label_sets, values, moments)
samples = st.builds(Sample, label_sets, values, timestamps, st.none(), st.none())
counters = st.builds(Sample, label_sets, values, timestamps, st.none() | exemplars, moments)
bounds = st.floats(allow_nan=False)
summaries = st.builds(
    Summary,
    label_sets.map(without_bounds),
    st.lists(st.tuples(bounds, values), max_size=3).map(tuple),
    values,
    integer_counts,
    timestamps,
    moments,
)


@st.composite
def native_histograms(draw: st.DrawFn, counts: st.SearchStrategy[float], *, floats: bool) -> NativeHistogram:
    """Native sides whose spans have as many buckets as there are counts."""

    def side() -> NativeBuckets:
        lengths = draw(st.lists(st.integers(0, 4), max_size=3))
        spans = tuple((draw(st.integers(-9 if at == 0 else 0, 9)), length) for at, length in enumerate(lengths))
        found = [draw(counts) for _ in range(sum(lengths))]
        if floats:
            return NativeBuckets(spans, counts=tuple(found))
        return NativeBuckets(spans, deltas=tuple(int(b - a) for a, b in zip([0, *found], found, strict=False)))

    return NativeHistogram(
        schema=draw(st.integers(-4, 8)),
        # 0 with nothing in any bucket would be no native histogram.
        zero_threshold=draw(st.sampled_from([2.0**-128, 0.5])),
        zero_count=draw(counts),
        negative=side(),
        positive=side(),
        exemplars=tuple(draw(st.lists(exemplars, max_size=2))),
    )


@st.composite
def histograms_counted_in(draw: st.DrawFn, counts: st.SearchStrategy[float], *, floats: bool) -> Histogram:
    """Histograms with classic buckets, native ones, both or neither."""
    buckets = tuple(draw(st.lists(st.tuples(bounds, counts), max_size=4)))
    examples = tuple(draw(st.none() | exemplars) for _ in buckets)
    native = draw(st.none() | native_histograms(counts, floats=floats))
    # A native histogram in floats that counts nothing is none of floats.
    least = 0 if not floats else 0.0 if native is None else 0.5
    return Histogram(
        draw(label_sets.map(without_bounds)),
        buckets,
        draw(values),
        draw(counts) or least,
        draw(timestamps),
        examples if any(examples) else (),
        native,
        draw(moments),
    )


histograms = histograms_counted_in(integer_counts, floats=False) | histograms_counted_in(float_counts, floats=True)
METRICS = {
    MetricType.COUNTER: counters,
    MetricType.GAUGE: samples,
    MetricType.UNTYPED: samples,
    MetricType.SUMMARY: summaries,
    MetricType.HISTOGRAM: histograms,
    MetricType.GAUGE_HISTOGRAM: histograms,
}


@st.composite
def family_lists(draw: st.DrawFn) -> list[MetricFamily]:
    """Families with distinct names, whose metrics have distinct labels."""
    families = []
    for name in draw(st.lists(family_names, unique=True, max_size=4)):
        type_ = draw(st.sampled_from(MetricType))
        metrics: Sequence[Metric] = draw(st.lists(METRICS[type_], max_size=4, unique_by=lambda metric: metric.labels))
        help_ = draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=10))
        families.append(MetricFamily(name, type_, help_, tuple(metrics)))
    return families


def as_text_says(families: Sequence[MetricFamily]) -> list[str]:
    """Return what text 0.0.4 can say of families, in an order that does not depend on theirs.

    As text, since NaN equals nothing. Text knows no gauge histogram, no native one, no exemplar, no time of creation,
    no minus zero, no float count that is whole, no blanks before a help text and no family without metrics, and always
    writes a bucket of +Inf.
    """
    said = []
    for family in families:
        type_ = MetricType.HISTOGRAM if family.type is MetricType.GAUGE_HISTOGRAM else family.type
        metrics = sorted(repr(_metric_as_text_says(metric)) for metric in family.metrics)
        if metrics:
            said.append(repr((family.name, type_, family.help.lstrip(" \t"), metrics)))
    return sorted(said)


def _metric_as_text_says(metric: Metric) -> Metric:
    if isinstance(metric, Sample):
        return metric._replace(value=metric.value + 0.0, exemplar=None, created_ns=None)
    if isinstance(metric, Summary):
        quantiles = tuple((bound + 0.0, value + 0.0) for bound, value in metric.quantiles)
        return metric._replace(quantiles=quantiles, sum=metric.sum + 0.0, created_ns=None)
    buckets = metric.buckets
    if not any(bound == math.inf for bound, _ in buckets):
        buckets = (*buckets, (math.inf, metric.count))
    counts = [metric.count, *(count for _, count in buckets)]
    kind = int if all(math.isfinite(count) and count == int(count) < 2**64 for count in counts) else float
    buckets = tuple((bound + 0.0, kind(count)) for bound, count in buckets)
    return Histogram(metric.labels, buckets, metric.sum + 0.0, kind(metric.count), metric.timestamp_ms)
