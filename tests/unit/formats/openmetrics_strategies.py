"""Families for the tests of OpenMetrics: those that it can say, and those that try to break it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st

from pushgateway.model import Exemplar, Histogram, Metric, MetricFamily, MetricType, Sample, Summary
from pushgateway.rules import suffix_rivals
from tests.unit.formats.format_strategies import METRICS, label_sets, values, without_bounds

broad = settings(max_examples=60, deadline=None)
"""Families take 20 ms to draw: a third of what cheaper bodies get."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
# The years 1 to 9999, which OpenMetrics can say in seconds and protobuf in a Timestamp.
instants_ns = st.integers(-62_135_596_800 * 10**9, 253_402_300_799 * 10**9)
moments = st.none() | instants_ns
timestamps_ms = st.none() | instants_ns.map(lambda at: at // 10**6)
never_negative = st.floats(min_value=0) | st.just(-0.0)
# Text carries counts as doubles, in which those near 2**64 would become that.
counts = st.integers(0, 2**63)
exemplar_labels = label_sets.filter(lambda labels: all('"' not in value for _, value in labels))


def exemplars(at_most: float = math.inf) -> st.SearchStrategy[Exemplar]:
    """Exemplars of a bucket."""
    return st.builds(Exemplar, exemplar_labels, st.floats(max_value=at_most, allow_nan=False), moments)


gauges = st.builds(Sample, label_sets, values, timestamps_ms, st.none(), st.none())
counters = st.builds(Sample, label_sets, never_negative, timestamps_ms, st.none() | exemplars(), moments)
summaries = st.builds(
    Summary,
    label_sets.map(without_bounds),
    st.lists(
        st.tuples(st.floats(0, 1), never_negative | st.just(math.nan)), max_size=3, unique_by=lambda pair: pair[0]
    ).map(tuple),
    never_negative,
    counts,
    timestamps_ms,
    moments,
)


@st.composite
def histograms(draw: st.DrawFn, *, negative: bool) -> Histogram:
    """Histograms in order, with their +Inf bucket."""
    lowest = None if negative else 0
    bounds = sorted(draw(st.sets(st.floats(lowest, allow_nan=False, allow_infinity=False), max_size=3)))
    numbers = sorted(draw(st.lists(counts, min_size=len(bounds) + 1, max_size=len(bounds) + 1)))
    buckets = tuple(zip([*bounds, math.inf], numbers, strict=True))
    found = tuple(draw(st.none() | exemplars(bound)) for bound, _ in buckets)
    may_fall = bool(bounds) and bounds[0] < 0
    return Histogram(
        draw(label_sets.map(without_bounds)),
        buckets,
        draw(values.filter(lambda sum: not math.isnan(sum)) if may_fall else never_negative),
        numbers[-1],
        draw(timestamps_ms),
        found if any(found) else (),
        created_ns=None if negative else draw(moments),
    )


SAYABLE = {
    MetricType.COUNTER: counters,
    MetricType.GAUGE: gauges,
    MetricType.UNTYPED: gauges,
    MetricType.SUMMARY: summaries,
    MetricType.HISTOGRAM: histograms(negative=False),
    MetricType.GAUGE_HISTOGRAM: histograms(negative=True),
}


@st.composite
def sayable_families(draw: st.DrawFn) -> list[MetricFamily]:
    """Families that OpenMetrics can say as they are, in the order of their names."""
    families = []
    for stem in draw(st.lists(st.from_regex(r"[a-zA-Z_:][a-z0-9_:]{0,6}x", fullmatch=True), unique=True, max_size=4)):
        type_ = draw(st.sampled_from(MetricType))
        unit = draw(st.sampled_from(["", "x"]))
        name = f"{stem}_x" if unit else stem
        metrics: Sequence[Metric] = draw(
            st.lists(SAYABLE[type_], min_size=1, max_size=4, unique_by=lambda metric: metric.labels)
        )
        suffix = "_total" if type_ is MetricType.COUNTER else ""
        families.append(MetricFamily(name + suffix, type_, draw(texts), tuple(metrics), unit))
    unique = {family.name.removesuffix("_total"): family for family in families}
    return sorted(unique.values(), key=lambda family: family.name)


hostile_names = st.builds(
    lambda stem, suffixes: stem + "".join(suffixes),
    st.sampled_from(["a", "b", "a_b", "_", ":"]),
    st.lists(
        st.sampled_from(
            ["_total", "_created", "_info", "_bucket", "_sum", "_count", "_gsum", "_gcount", "_seconds", "_total_total"]
        ),
        max_size=2,
    ),
)


@st.composite
def hostile_families(draw: st.DrawFn) -> list[MetricFamily]:
    """Families that text 0.0.4 can say beside one another, with names and numbers that OpenMetrics may not like."""
    families: dict[str, MetricFamily] = {}
    for name in draw(st.lists(hostile_names, unique=True, max_size=6)):
        type_ = draw(st.sampled_from(MetricType))
        rivals = suffix_rivals(name, type_)
        if any(one in families and (types is None or families[one].type in types) for one, types in rivals):
            continue
        either = METRICS[type_] | SAYABLE[type_]
        metrics = draw(st.lists(either, max_size=3, unique_by=lambda metric: metric.labels))
        still = tuple(metric._replace(timestamp_ms=None) for metric in metrics)
        unit = draw(st.sampled_from(["", "seconds", "total", "b"]))
        families[name] = MetricFamily(name, type_, draw(texts), still, unit)
    return list(families.values())
