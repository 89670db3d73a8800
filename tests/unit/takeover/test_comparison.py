"""Is every difference between two gateways found, and nothing else?"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pushgateway.model import (
    Exemplar,
    GroupingKey,
    Histogram,
    Labels,
    Metric,
    MetricFamily,
    MetricType,
    NativeHistogram,
    Sample,
    Summary,
)
from pushgateway.takeover import HeldGroup, compare

KEY = GroupingKey.of({"job": "a"})
LABELS: Labels = (("instance", ""), ("job", "a"))
TYPES = {Sample: MetricType.GAUGE, Summary: MetricType.SUMMARY, Histogram: MetricType.HISTOGRAM}


def group(*metrics: Metric, help: str = "h", name: str = "x") -> HeldGroup:
    """Make a group of one family."""
    kind = TYPES[type(metrics[0])] if metrics else MetricType.GAUGE
    return HeldGroup(KEY, 5.0, 1.0, (MetricFamily(name, kind, help, metrics),))


SAME = [
    (Sample(LABELS, 1.0), Sample(LABELS, 1.0)),
    (Sample(LABELS, math.nan), Sample(LABELS, -math.nan)),
    (Sample((*LABELS, ("z", "")), 1.0), Sample(LABELS[1:], 1.0)),
    (Histogram(LABELS, ((1.0, 1),), 2.0, 3), Histogram(LABELS, ((1.0, 1), (math.inf, 3)), 2.0, 3)),
    (Histogram(LABELS, ((2.0, 2), (1.0, 1)), 2.0, 3), Histogram(LABELS, ((1.0, 1), (2.0, 2)), 2.0, 3)),
    (Summary(LABELS, ((0.5, math.nan),), 1.0, 2), Summary(LABELS, ((0.5, math.nan),), 1.0, 2)),
]
DIFFERENT = [
    (Sample(LABELS, 1.0), Sample(LABELS, math.nextafter(1.0, 2.0))),
    (Sample(LABELS, 0.0), Sample(LABELS, -0.0)),
    (Sample(LABELS, math.nan), Sample(LABELS, math.inf)),
    (Sample(LABELS, 1.0), Sample(LABELS, 1.0, exemplar=Exemplar((), 1.0))),
    (Sample(LABELS, 1.0), Sample(LABELS, 1.0, created_ns=1)),
    (Summary(LABELS, ((0.5, 1.0),), 1.0, 2), Summary(LABELS, ((0.5, 1.0),), 1.0, 3)),
    (Summary(LABELS, ((0.5, 1.0),), 1.0, 2), Summary(LABELS, (), 1.0, 2)),
    (Histogram(LABELS, ((1.0, 1),), 2.0, 3), Histogram(LABELS, ((1.0, 2),), 2.0, 3)),
    (Histogram(LABELS, ((1.0, 1),), 2.0, 3), Histogram(LABELS, ((1.0, 1), (math.inf, 2)), 2.0, 3)),
    (Histogram(LABELS, (), 2.0, 3), Histogram(LABELS, (), 2.0, 3, native=NativeHistogram(0, 0.0, 3))),
]


@pytest.mark.parametrize(("before", "after"), SAME)
def test_the_same(before: Metric, after: Metric) -> None:
    """What means the same is no difference: NaN, an empty label, an implied bucket, the order of buckets."""
    found = compare([group(before)], [group(after)])
    assert (found.groups, found.series, found.differences) == (1, 1, ())


@pytest.mark.parametrize(("before", "after"), DIFFERENT)
def test_different_values(before: Metric, after: Metric) -> None:
    """The last bit of a value counts, and all that only protobuf can say."""
    [difference] = compare([group(before)], [group(after)]).differences
    assert difference.startswith('{job="a"} in x of {job="a"}: ')
    assert " in the old one, " in difference


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"pushed_at_seconds": 6.0}, 'push_time_seconds of {job="a"}: 5.0 in the old one, 6.0 in the new one'),
        ({"failed_at_seconds": 0.0}, 'push_failure_time_seconds of {job="a"}: 1.0 in the old one, 0.0 in the new one'),
        ({"families": group(Sample(LABELS, 1.0), name="y").families}, 'x of {job="a"} is only in the old one'),
        ({"families": group(Sample(LABELS, 1.0), help="g").families}, "HELP of x of {job=\"a\"}: 'h' in the old one"),
        (
            {"families": group(Summary(LABELS, (), 1.0, 1)).families},
            'x of {job="a"} is a gauge in the old one, a summary in the new one',
        ),
        ({"families": group(Sample((("job", "a"), ("l", "1")), 1.0)).families}, "is only in the old one"),
        ({"problem": "it is odd"}, '{job="a"} cannot be compared: it is odd'),
    ],
)
def test_other_differences(change: dict[str, object], expected: str) -> None:
    """Times, families, HELP, types and series are compared, in both directions, but for later failures."""
    old = group(Sample(LABELS, 1.0))
    differences = compare([old], [replace(old, **change)]).differences  # type: ignore[arg-type]  # any of its fields
    assert expected in differences[0]
    if "failed_at_seconds" not in change:
        assert compare([replace(old, **change)], [old]).differences  # type: ignore[arg-type]


def test_a_push_that_the_new_one_has_refused() -> None:
    """A failure that only the new gateway has met is no difference, so that an import can be repeated."""
    old = group(Sample(LABELS, 1.0))
    assert compare([old], [replace(old, failed_at_seconds=9.0)]).differences == ()


def test_groups() -> None:
    """A group that is missing is a difference, one more is none, and one that is left out is not looked at."""
    old, other = group(Sample(LABELS, 1.0)), replace(group(), key=GroupingKey.of({"job": "b"}))
    assert compare([old], []).differences == ('{job="a"} is only in the old one',)
    assert compare([old], [old, other]).differences == ()
    found = compare([old, other], [other], left_out=[KEY])
    assert (found.groups, found.differences) == (1, ())
