"""Which groups does another gateway's ``/api/v1/metrics`` list?

What it says of values is not all: native histograms come as ranges, gauge histograms not at all, the order of buckets,
exemplars and start times are gone. Such metrics are `None` here; what it does say is exact, since the original writes
each double with as many digits as it needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from pushgateway.errors import ParseError
from pushgateway.model import Histogram, Labels, Metric, MetricType, Sample, Summary
from pushgateway.names import PUSH_FAILURE_TIME, PUSH_TIME, TIME_FAMILIES

__all__ = ["ListedFamily", "ListedGroup", "parse_groups"]

_LABELS: Final = "labels"
_SUCCESSFUL: Final = "last_push_successful"
_SHOWN_CHARACTERS: Final = 100


class ListedFamily(NamedTuple):
    """A family of a group: `series` are the labels of each metric with what the list says of it, None if too little."""

    name: str
    type: MetricType
    help: str
    pushed_at_seconds: float
    series: tuple[tuple[Labels, Metric | None], ...]


class ListedGroup(NamedTuple):
    """A group; `labels` are those of its key, times are Unix seconds, 0 if it never happened."""

    labels: Labels
    pushed_at_seconds: float
    failed_at_seconds: float
    families: tuple[ListedFamily, ...]


def parse_groups(body: bytes) -> tuple[ListedGroup, ...]:
    """Read the answer of the Go Pushgateway 1.x, or of this gateway.

    A family named like one of the two keys that are no families has overwritten that key in the original, which this
    gateway puts aside as ``metric/NAME``: both are read. The labels are then those of push_time_seconds.

    Args:
        body: The answer's body.

    Returns:
        The groups, in their order.

    Raises:
        ParseError: It is not such a list.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ParseError(f"it is not whole JSON: {error}") from error
    try:
        if answer["status"] != "success":
            raise ParseError(f"its status is {str(answer['status'])[:_SHOWN_CHARACTERS]!r}")
        return tuple(_group(members) for members in answer["data"])
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise ParseError(f"it is not a list of groups: {type(error).__name__}: {error}") from error


def _group(members: Mapping[str, Any]) -> ListedGroup:
    families = tuple(_families(members))
    labels = members[_LABELS]
    if _is_family(labels):
        labels = members[PUSH_TIME]["metrics"][0]["labels"]
    return ListedGroup(
        tuple(sorted((str(name), str(value)) for name, value in labels.items() if value)),
        _time(members, PUSH_TIME),
        _time(members, PUSH_FAILURE_TIME),
        families,
    )


def _is_family(member: Any) -> bool:
    return isinstance(member, dict) and isinstance(member.get("metrics"), list)


def _time(members: Mapping[str, Any], name: str) -> float:
    # Of a pushed family of this name the original may show another type, or nothing at all.
    for metric in members.get(name, {}).get("metrics", ()):
        if "value" in metric:
            return float(metric["value"])
    return 0.0


def _families(members: Mapping[str, Any]) -> Iterator[ListedFamily]:
    aside = {f"metric/{name}": name for name in (_LABELS, _SUCCESSFUL)}
    for name, family in members.items():
        if name in TIME_FAMILIES or not _is_family(family):
            continue
        type_ = MetricType[family["type"]]
        series = tuple(_series(type_, metric) for metric in family["metrics"])
        yield ListedFamily(
            aside.get(name, name), type_, str(family.get("help", "")), _unix_seconds(family["time_stamp"]), series
        )


def _series(type: MetricType, metric: Mapping[str, Any]) -> tuple[Labels, Metric | None]:
    labels = tuple(sorted((str(name), str(value)) for name, value in metric["labels"].items()))
    match type:
        case MetricType.HISTOGRAM:
            return labels, _histogram(labels, metric)
        case MetricType.SUMMARY:
            quantiles = sorted((float(at), float(value)) for at, value in metric.get("quantiles", {}).items())
            return labels, Summary(labels, tuple(quantiles), float(metric["sum"]), int(metric["count"]))
        case MetricType.GAUGE_HISTOGRAM:
            return labels, None
    return labels, Sample(labels, float(metric["value"]))


def _histogram(labels: Labels, metric: Mapping[str, Any]) -> Histogram | None:
    buckets = metric.get("buckets", {})
    if not isinstance(buckets, dict):
        return None  # ranges of a native histogram
    bounds = sorted((float(bound), _count(count)) for bound, count in buckets.items())
    return Histogram(labels, tuple(bounds), float(metric["sum"]), _count(metric["count"]))


def _count(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)


def _unix_seconds(text: str) -> float:
    """Read a time in RFC 3339 as the original makes its seconds: nanoseconds as a double, divided by 10^9."""
    moment = datetime.fromisoformat(text)
    fraction = text.partition(".")[2]
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
    whole = round(moment.replace(microsecond=0).timestamp())
    return (whole * 10**9 + int(digits[:9].ljust(9, "0"))) / 1e9
