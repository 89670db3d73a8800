"""Values for the tests of rules: few names and few values, so that series, groups and types meet often."""

from __future__ import annotations

from hypothesis import strategies as st

from pushgateway.model import (
    GroupingKey,
    Histogram,
    Labels,
    Metric,
    MetricFamily,
    MetricType,
    Sample,
    Summary,
)

label_values = st.sampled_from(["", "1", "2"])
body_labels = st.dictionaries(st.sampled_from(["a", "b", "instance", "job", "zone"]), label_values, max_size=4).map(
    lambda labels: tuple(sorted(labels.items()))
)
keys = st.dictionaries(st.sampled_from(["a", "b", "instance", "zone"]), label_values, max_size=3).map(
    lambda labels: GroupingKey.of({**labels, "job": "j"})
)
family_names = st.sampled_from(["x", "x_count", "x_sum", "x_bucket", "x_count_sum", "y"])


def metric(type: MetricType, labels: Labels, value: float = 1.0) -> Metric:
    """Make the kind of metric that a family of `type` holds."""
    if type is MetricType.SUMMARY:
        return Summary(labels, ((0.5, value),), value, 1)
    if type in {MetricType.HISTOGRAM, MetricType.GAUGE_HISTOGRAM}:
        return Histogram(labels, ((1.0, 1),), value, 1)
    return Sample(labels, value)


def family(name: str, type: MetricType, *series: Labels) -> MetricFamily:
    """Make a family of one metric a label set."""
    return MetricFamily(name, type, "", tuple(metric(type, labels) for labels in series))


families = st.lists(
    st.builds(
        lambda name, type, series: family(name, type, *series),
        family_names,
        st.sampled_from(MetricType),
        st.lists(body_labels, max_size=4),
    ),
    max_size=4,
    unique_by=lambda family: family.name,
).map(tuple)
