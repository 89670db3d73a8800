"""What do the bodies of /api/v1/status and /api/v1/metrics look like?"""

from __future__ import annotations

import json
import time
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.formats.json_api import render_groups, render_status
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
    NativeBuckets,
    NativeHistogram,
    Sample,
    Summary,
)

KEY = GroupingKey.of({"job": "j", "a": "1"})
GAUGE = MetricType.GAUGE


def contents(
    *families: MetricFamily, key: GroupingKey = KEY, pushed_at: float = 1.5, failed_at: float = 0.0
) -> GroupContents:
    """Make a group as a store returns it."""
    blocks = [
        FamilyBlock(one.name, one.type, one.help, encode_metrics(one), key.key, pushed_at, pushed_at, suspect=False)
        for one in families
    ]
    return GroupContents(Group(key.key, b"", pushed_at, failed_at, ""), blocks)


def gauge(name: str, *values: float, help: str = "") -> MetricFamily:
    return MetricFamily(name, GAUGE, help, tuple(Sample((("n", str(at)),), value) for at, value in enumerate(values)))


def rendered(*groups: GroupContents) -> list[dict[str, Any]]:
    """Render groups and read the data back."""
    document = json.loads(render_groups(groups, zone=UTC))
    assert document["status"] == "success"
    return document["data"]


class TestGroups:
    def test_no_groups_are_an_empty_list(self) -> None:
        """The body has the original's bytes."""
        assert render_groups([]) == b'{"status":"success","data":[]}'

    def test_a_group_is_rendered_as_the_original_renders_it(self) -> None:
        """Order of keys, omitted help and the group's own families are those of the original."""
        group = contents(gauge("x", 1e6, help="h"), gauge("labels_", -0.0), key=GroupingKey.of({"job": "j"}))
        own = (
            b'"push_failure_time_seconds":{"time_stamp":"1970-01-01T00:00:01.5Z","type":"GAUGE",'
            b'"help":"Last Unix time when changing this group in the Pushgateway failed.",'
            b'"metrics":[{"labels":{"instance":"","job":"j"},"value":"0"}]},'
            b'"push_time_seconds":{"time_stamp":"1970-01-01T00:00:01.5Z","type":"GAUGE",'
            b'"help":"Last Unix time when changing this group in the Pushgateway succeeded.",'
            b'"metrics":[{"labels":{"instance":"","job":"j"},"value":"1.5"}]}'
        )
        assert render_groups([group], zone=UTC) == (
            b'{"status":"success","data":[{"labels":{"job":"j"},'
            b'"labels_":{"time_stamp":"1970-01-01T00:00:01.5Z","type":"GAUGE",'
            b'"metrics":[{"labels":{"n":"0"},"value":"-0"}]},"last_push_successful":true,' + own + b","
            b'"x":{"time_stamp":"1970-01-01T00:00:01.5Z","type":"GAUGE","help":"h",'
            b'"metrics":[{"labels":{"n":"0"},"value":"1e+06"}]}}]}'
        )

    @pytest.mark.parametrize(
        ("pushed_at", "failed_at", "successful", "stamps"),
        [
            (2.0, 0.0, True, ("1970-01-01T00:00:02Z", "1970-01-01T00:00:02Z")),
            (2.0, 1.0, True, ("1970-01-01T00:00:02Z", "1970-01-01T00:00:01Z")),
            (2.0, 2.0, True, ("1970-01-01T00:00:02Z", "1970-01-01T00:00:02Z")),
            (2.0, 3.0, False, ("1970-01-01T00:00:02Z", "1970-01-01T00:00:03Z")),
            (0.0, 3.0, False, ("1970-01-01T00:00:03Z", "1970-01-01T00:00:03Z")),
        ],
    )
    def test_the_groups_times_are_families_and_decide_about_success(
        self, pushed_at: float, failed_at: float, successful: bool, stamps: tuple[str, str]
    ) -> None:
        """The last push was successful unless a failure is newer; a time that never was has the other's stamp."""
        (group,) = rendered(contents(pushed_at=pushed_at, failed_at=failed_at))
        assert group["last_push_successful"] is successful
        own = group["push_time_seconds"], group["push_failure_time_seconds"]
        assert tuple(family["time_stamp"] for family in own) == stamps
        assert [family["metrics"][0]["value"] for family in own] == [f"{pushed_at:g}", f"{failed_at:g}"]
        assert own[0]["metrics"][0]["labels"] == {"a": "1", "instance": "", "job": "j"}
        assert group["labels"] == {"a": "1", "job": "j"}

    @pytest.mark.parametrize(
        ("type_", "metric", "expected"),
        [
            (MetricType.COUNTER, Sample((), 1.0), {"labels": {}, "value": "1"}),
            (MetricType.UNTYPED, Sample((), float("nan")), {"labels": {}, "value": "NaN"}),
            (
                MetricType.SUMMARY,
                Summary((("a", "1"),), ((0.99, 1e21), (0.5, float("nan"))), -0.0, 2**64 - 1),
                {
                    "labels": {"a": "1"},
                    "quantiles": {"0.5": "NaN", "0.99": "1e+21"},
                    "count": "18446744073709551615",
                    "sum": "-0",
                },
            ),
            (
                MetricType.HISTOGRAM,
                Histogram((), ((0.1, 1), (float("inf"), 2_000_000)), 1e6, 2_000_000),
                {"labels": {}, "buckets": {"0.1": "1", "+Inf": "2000000"}, "count": "2000000", "sum": "1e+06"},
            ),
            (
                MetricType.HISTOGRAM,
                Histogram((), ((1.0, 1.5), (2.0, 2.0)), 0.0, 1e6),
                {"labels": {}, "buckets": {"1": "1.5", "2": "2"}, "count": "1e+06", "sum": "0"},
            ),
            (
                MetricType.HISTOGRAM,
                Histogram(
                    (),
                    ((1.0, 2), (float("inf"), 9)),
                    3.0,
                    9,
                    native=NativeHistogram(
                        schema=1,
                        zero_threshold=0.001,
                        zero_count=2,
                        negative=NativeBuckets(((0, 2),), (1, 1)),
                        positive=NativeBuckets(((-1, 2), (1, 1)), (3, -3, 1)),
                    ),
                ),
                {
                    "labels": {},
                    "buckets": [
                        [1, "-1.4142135623730951", "-1", "2"],
                        [1, "-1", "-0.7071067811865476", "1"],
                        [3, "-0.001", "0.001", "2"],
                        [0, "0.5", "0.7071067811865476", "3"],
                        [0, "1.4142135623730951", "2", "1"],
                    ],
                    "count": "9",
                    "sum": "3",
                },
            ),
            (
                MetricType.GAUGE_HISTOGRAM,
                Histogram((), (), 3.0, 0),
                {"labels": {}, "buckets": {}, "count": "0", "sum": "3"},
            ),
        ],
    )
    def test_each_type_has_its_own_metric_objects_with_strings_for_numbers(
        self, type_: MetricType, metric: Metric, expected: dict[str, Any]
    ) -> None:
        """Integers are written in full, doubles as in the exposition but for minus zero, and no bucket is added."""
        (group,) = rendered(contents(MetricFamily("x", type_, "", (metric,))))
        assert group["x"] == {"time_stamp": "1970-01-01T00:00:01.5Z", "type": type_.name, "metrics": [expected]}
        members = list(group["x"]["metrics"][0])
        assert members == sorted(members)

    def test_of_two_buckets_with_one_bound_the_last_is_shown(self) -> None:
        """An object has no room for both."""
        metric = Histogram((), ((1.0, 9), (1.0, 3)), 0.0, 9)
        (group,) = rendered(contents(MetricFamily("x", MetricType.HISTOGRAM, "", (metric,))))
        assert group["x"]["metrics"][0]["buckets"] == {"1": "3"}

    def test_no_family_overwrites_a_key_of_the_group(self) -> None:
        """Families named like the keys move aside, and two families never share a key (Q6)."""
        names = ["labels", "last_push_successful", "metric/labels", "metric:labels"]
        (group,) = rendered(contents(*(gauge(name, float(at)) for at, name in enumerate(names))))
        assert group["labels"] == {"a": "1", "job": "j"}
        assert group["last_push_successful"] is True
        shown = {key: group[key]["metrics"][0]["value"] for key in group if "metric" in key}
        assert shown == {
            "metric/labels": "0",
            "metric/last_push_successful": "1",
            "metric/metric/labels": "2",
            "metric:labels": "3",
        }

    def test_characters_that_matter_in_html_are_escaped(self) -> None:
        """As Go's encoder does it, in label values, help texts and nowhere else."""
        family = MetricFamily("x", GAUGE, "a<b>&\u2028\u2029é", (Sample((("a", '<"\\\n\x01\u2028'),), 1.0),))
        body = render_groups([contents(family)], zone=UTC)
        assert b'"help":"a\\u003cb\\u003e\\u0026\\u2028\\u2029\xc3\xa9"' in body
        assert b'"labels":{"a":"\\u003c\\"\\\\\\n\\u0001\\u2028"}' in body

    def test_groups_keep_their_order(self) -> None:
        """The order is the store's, by key."""
        keys = [GroupingKey.of({"job": job}) for job in "cab"]
        assert [group["labels"]["job"] for group in rendered(*(contents(key=key) for key in keys))] == ["c", "a", "b"]

    @given(st.dictionaries(st.sampled_from(["a", "b"]), st.text(st.characters(codec="utf-8"))), st.floats())
    def test_any_label_and_any_value_can_be_read_back(self, labels: dict[str, str], value: float) -> None:
        """The document is JSON whatever was pushed, and its strings are the pushed ones."""
        family = MetricFamily("x", GAUGE, "", (Sample(tuple(sorted(labels.items())), value),))
        (group,) = rendered(contents(family))
        (metric,) = group["x"]["metrics"]
        assert metric["labels"] == labels
        assert repr(float(metric["value"])) == repr(value)


class TestStatus:
    def test_the_status_has_build_information_extensions_flags_and_start_time(self) -> None:
        """Keys are sorted, and the original's are all there."""
        body = render_status(
            build_information={"version": "1", "branch": "main"},
            flags={"web.threads": "4", "a": ""},
            start_time_seconds=0.25,
            zone=UTC,
        )
        assert body == (
            b'{"status":"success","data":{"build_information":{"branch":"main","version":"1"},"extensions":[],'
            b'"flags":{"a":"","web.threads":"4"},"start_time":"1970-01-01T00:00:00.25Z"}}'
        )

    def test_extensions_are_listed(self) -> None:
        """Clients find out there what this gateway can do beyond the original."""
        body = render_status(build_information={}, flags={}, start_time_seconds=1.0, extensions=["ttl"], zone=UTC)
        assert json.loads(body)["data"]["extensions"] == ["ttl"]

    @pytest.mark.parametrize(
        ("seconds", "hours", "expected"),
        [
            (1700000000.0, 0, "2023-11-14T22:13:20Z"),
            (1700000000.1234567, 0, "2023-11-14T22:13:20.1234567Z"),
            (1700000000.5, 2, "2023-11-15T00:13:20.5+02:00"),
            (1700000000.0, -3.5, "2023-11-14T18:43:20-03:30"),
            (1e-05, 0, "1970-01-01T00:00:00.00001Z"),
            (0.0, 0, "1970-01-01T00:00:00Z"),
        ],
    )
    def test_times_are_rfc_3339_in_their_zone_without_needless_digits(
        self, seconds: float, hours: float, expected: str
    ) -> None:
        """As Go's RFC3339Nano: digits of the second as far as the double has any, Z for no offset."""
        zone = timezone(timedelta(hours=hours))
        body = render_status(build_information={}, flags={}, start_time_seconds=seconds, zone=zone)
        assert json.loads(body)["data"]["start_time"] == expected

    def test_without_a_zone_times_are_local(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The process' own zone is used, as the original does."""
        monkeypatch.setenv("TZ", "XYZ-02")
        time.tzset()
        try:
            body = render_status(build_information={}, flags={}, start_time_seconds=0.0)
        finally:
            monkeypatch.undo()
            time.tzset()
        assert json.loads(body)["data"]["start_time"] == "1970-01-01T02:00:00+02:00"
