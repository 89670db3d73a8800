"""What does a list of groups say, and is anything else refused?"""

from __future__ import annotations

import contextlib
import json
import math
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushgateway.errors import ParseError
from pushgateway.formats.json_api import render_groups
from pushgateway.formats.json_groups import ListedGroup, parse_groups
from pushgateway.formats.protobuf import encode_metrics
from pushgateway.model import (
    FamilyBlock,
    Group,
    GroupContents,
    GroupingKey,
    Histogram,
    Metric,
    MetricFamily,
    MetricType,
    Sample,
    Summary,
)
from tests.unit.formats.format_strategies import family_lists

some = settings(max_examples=60, deadline=None)

JOB = {"instance": "", "job": "a"}
LABELS = (("instance", ""), ("job", "a"))
TIME = {"time_stamp": "2026-11-27T19:26:08.024721339Z", "type": "GAUGE", "metrics": [{"labels": JOB, "value": "0"}]}


def one(**members: Any) -> ListedGroup:
    """Parse a list of one group."""
    group = {"labels": {"job": "a"}, "last_push_successful": True, "push_time_seconds": TIME} | members
    [parsed] = parse_groups(json.dumps({"status": "success", "data": [group]}).encode())
    return parsed


def family(type: str, *metrics: dict[str, Any]) -> dict[str, Any]:
    """Write a family as the original does."""
    stamp = "2026-11-27T20:26:08.5+01:00"
    return {
        "time_stamp": stamp,
        "type": type,
        "help": "h",
        "metrics": [{"labels": JOB, **metric} for metric in metrics],
    }


def test_a_group_of_the_original() -> None:
    """Key, times and values are read with all of their digits."""
    failed = {"time_stamp": TIME["time_stamp"], "type": "GAUGE", "metrics": [{"labels": JOB, "value": "1.7e+09"}]}
    pushed = {**TIME, "metrics": [{"labels": JOB, "value": "1.7958075680247214e+09"}]}
    group = one(push_time_seconds=pushed, push_failure_time_seconds=failed, x=family("COUNTER", {"value": "1e+21"}))
    assert group[:3] == ((("job", "a"),), 1795807568.0247214, 1.7e9)
    [x] = group.families
    assert x[:4] == ("x", MetricType.COUNTER, "h", 1795807568.5)
    assert x.series == ((LABELS, Sample(LABELS, 1e21)),)


def test_times_are_made_as_the_original_makes_them() -> None:
    """A time stamp becomes the double that push_time_seconds of the same push is."""
    stamp = {**TIME, "type": "UNTYPED"}
    assert one(x=stamp).families[0].pushed_at_seconds == 1795807568024721339 / 1e9 == 1.7958075680247214e09


@pytest.mark.parametrize(
    ("type", "metric", "expected"),
    [
        ("GAUGE", {"value": "+Inf"}, Sample(LABELS, math.inf)),
        (
            "SUMMARY",
            {"quantiles": {"0.9": "2", "0.5": "1"}, "count": "3", "sum": "4.5"},
            Summary(LABELS, ((0.5, 1.0), (0.9, 2.0)), 4.5, 3),
        ),
        ("SUMMARY", {"count": "0", "sum": "0"}, Summary(LABELS, (), 0.0, 0)),
        (
            "HISTOGRAM",
            {"buckets": {"10": "2", "2.5": "1", "+Inf": "4"}, "count": "4", "sum": "1e-05"},
            Histogram(LABELS, ((2.5, 1), (10.0, 2), (math.inf, 4)), 1e-05, 4),
        ),
        (
            "HISTOGRAM",
            {"buckets": {"1": "0.5"}, "count": "1.5", "sum": "1"},
            Histogram(LABELS, ((1.0, 0.5),), 1.0, 1.5),
        ),
        ("HISTOGRAM", {"buckets": [[0, "0.5", "1", "2"]], "count": "2", "sum": "1"}, None),
        ("GAUGE_HISTOGRAM", {"value": "0"}, None),
    ],
)
def test_values(type: str, metric: dict[str, Any], expected: Metric | None) -> None:
    """Each type is read as far as the list tells it; of a native or gauge histogram it tells too little."""
    [x] = one(x=family(type, metric)).families
    assert x.series == ((LABELS, expected),)


def test_families_that_overwrite_keys() -> None:
    """Families named like the keys that are no families are found, and the labels then elsewhere."""
    group = one(labels=family("GAUGE", {"value": "1"}), last_push_successful=family("GAUGE", {"value": "2"}))
    assert group.labels == (("job", "a"),)
    assert [one.name for one in group.families] == ["labels", "last_push_successful"]
    aside = one(**{"metric/labels": family("GAUGE", {"value": "1"})})
    assert [one.name for one in aside.families] == ["labels"]


def test_a_label_may_be_named_like_a_member() -> None:
    """A grouping label named metrics does not make a family of the labels."""
    assert one(labels={"job": "a", "metrics": "x"}).labels == (("job", "a"), ("metrics", "x"))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not whole JSON"),
        (b"<html>", "not whole JSON"),
        (b'{"status":"success","data":[{"labels"', "not whole JSON"),
        (b"\xff", "not whole JSON"),
        (b"[" * 100_000, "not whole JSON"),
        (b"[]", "not a list of groups"),
        (b'{"status":"error"}', "status is 'error'"),
        (b'{"status":"success","data":7}', "not a list of groups"),
        (b'{"status":"success","data":[{}]}', "not a list of groups"),
        (b'{"status":"success","data":[{"labels":{},"x":{"metrics":[{}],"type":"GAUGE"}}]}', "not a list of groups"),
        (b'{"status":"success","data":[{"labels":{},"x":{"metrics":[],"type":"ODD"}}]}', "not a list of groups"),
    ],
)
def test_what_is_no_list(body: bytes, reason: str) -> None:
    """What is cut short, not JSON or of another shape is refused with what is wrong."""
    with pytest.raises(ParseError, match=reason):
        parse_groups(body)


members = st.sampled_from(["status", "data", "labels", "x", "metrics", "type", "value"]) | st.text(max_size=3)
documents = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(members, inner, max_size=3),
    max_leaves=8,
)


@some
@given(documents)
def test_no_document_breaks_it(document: Any) -> None:
    """Whatever JSON it is given, the result is groups or a ParseError."""
    for data in (document, {"status": "success", "data": document}, {"status": "success", "data": [document]}):
        with contextlib.suppress(ParseError):
            parse_groups(json.dumps(data).encode())


@some
@given(family_lists(), st.floats(1, 2e9), st.floats(0, 2e9))
def test_what_the_api_renders_is_read_back(families: list[MetricFamily], pushed: float, failed: float) -> None:
    """Our own list of groups is read back: everything that it can say."""
    key = GroupingKey.of({"job": "j", "a": "1"})
    plain = [without_what_json_lacks(one) for one in families]
    blocks = [
        FamilyBlock(one.name, one.type, one.help, encode_metrics(one), key.key, pushed, pushed, False) for one in plain
    ]
    contents = GroupContents(Group(key.key, b"", pushed, failed, ""), blocks)
    [group] = parse_groups(render_groups([contents], zone=UTC))
    assert group[:3] == (key.labels, pushed, failed)
    told = {one.name: repr([(labels, in_floats(metric)) for labels, metric in one.series]) for one in group.families}
    assert told == {one.name: repr(expected(one)) for one in plain}


def without_what_json_lacks(family: MetricFamily) -> MetricFamily:
    """Return a family of what the list can say: no duplicate bounds, no exemplars, no times of series."""
    metrics: list[Metric] = []
    for metric in family.metrics:
        match metric:
            case Sample():
                metrics.append(Sample(metric.labels, metric.value))
            case Summary():
                quantiles = tuple(sorted({repr(at): (at, value) for at, value in metric.quantiles}.values()))
                metrics.append(Summary(metric.labels, quantiles, metric.sum, metric.count))
            case Histogram():
                buckets = tuple(sorted({repr(at): (at, count) for at, count in metric.buckets}.values()))
                metrics.append(Histogram(metric.labels, buckets, metric.sum, metric.count, native=metric.native))
    return MetricFamily(family.name, family.type, family.help, tuple(metrics))


def expected(family: MetricFamily) -> list[object]:
    """Return what is to be read of a family."""
    lacking = family.type is MetricType.GAUGE_HISTOGRAM
    return [
        (metric.labels, None if lacking or getattr(metric, "native", None) is not None else in_floats(metric))
        for metric in family.metrics
    ]


def in_floats(metric: Metric | None) -> Metric | None:
    """Return a metric whose counts are floats: a list does not tell whole ones from integers."""
    if not isinstance(metric, Histogram):
        return metric
    buckets = tuple((at, float(count)) for at, count in metric.buckets)
    return metric._replace(buckets=buckets, count=float(metric.count))
