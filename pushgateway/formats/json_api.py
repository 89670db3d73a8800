"""What do the bodies of ``/api/v1/status``, ``metrics``, ``failures`` and ``activity`` look like?

As those of the Go Pushgateway 1.11 (its README, "Query API", and observed): all numbers are strings, keys are sorted,
and characters that matter in HTML are escaped. Differences: a gauge histogram is rendered as the histogram that it is;
and a family that is named like a key of the group object moves aside: see `render_groups`. The failures and
the activity are ours.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Final, TypeAlias

from pushgateway.activity import Activity, Pusher
from pushgateway.failures import Failure
from pushgateway.formats.numbers import format_value
from pushgateway.formats.protobuf import decode_metrics
from pushgateway.model import (
    FamilyBlock,
    GroupContents,
    GroupingKey,
    GroupPage,
    GroupSummary,
    Labels,
    Metric,
    MetricType,
    Sample,
    Summary,
)
from pushgateway.names import PUSH_FAILURE_TIME, PUSH_FAILURE_TIME_HELP, PUSH_TIME, PUSH_TIME_HELP
from pushgateway.rules import group_labels, native

__all__ = ["render_activity", "render_failures", "render_group_page", "render_groups", "render_status"]

_Json: TypeAlias = "str | int | bool | float | Mapping[str, _Json] | Sequence[_Json] | None"

# Keys of a group's object that are not families.
_LABELS: Final = "labels"
_SUCCESSFUL: Final = "last_push_successful"
_ASIDE: Final = "metric/"
# What Go's encoding/json escapes and Python's json does not; none of it occurs outside strings.
_ESCAPES: Final = tuple((char, f"\\u{ord(char):04x}") for char in "<>&\u2028\u2029")


def render_status(
    *,
    build_information: Mapping[str, str],
    flags: Mapping[str, str],
    start_time_seconds: float,
    extensions: Sequence[str] = (),
    zone: tzinfo | None = None,
) -> bytes:
    """Render the body of ``/api/v1/status``.

    Args:
        build_information: branch, buildDate, buildUser, goVersion, revision and version.
        flags: Every flag with its value, as the command line would take it.
        start_time_seconds: Unix time of the start.
        extensions: What this gateway can do beyond the original; not there in the original.
        zone: The zone of times; None is the process' local zone.
    """
    return _success(
        _dump(
            {
                "build_information": dict(sorted(build_information.items())),
                "extensions": list(extensions),
                "flags": dict(sorted(flags.items())),
                "start_time": _time(start_time_seconds, zone),
            }
        )
    )


def render_groups(groups: Iterable[GroupContents], *, zone: tzinfo | None = None) -> bytes:
    """Render the body of ``/api/v1/metrics``.

    Each group is an object with the keys ``labels`` (those of its key), ``last_push_successful``, and one a family. A
    family named like one of these two keys, which the original lets overwrite them, stands under ``metric/labels`` or
    ``metric/last_push_successful``; so that no two families ever share a key, one that is named ``metric/...`` itself
    (not possible in the legacy grammar) gets the prefix too.

    Args:
        groups: As a store returns them; their order is kept.
        zone: The zone of times; None is the process' local zone.

    Raises:
        google.protobuf.message.DecodeError: A stored body is damaged.
    """
    return _success("[" + ",".join(_dump(_group(contents, zone)) for contents in groups) + "]")


def render_group(contents: GroupContents, *, zone: tzinfo | None = None) -> bytes:
    """Render the body of ``/api/v1/groups/...``: one group, as in `render_groups`.

    Args:
        contents: As a store returns it.
        zone: The zone of times; None is the process' local zone.

    Raises:
        google.protobuf.message.DecodeError: A stored body is damaged.
    """
    return _success(_dump(_group(contents, zone)))


def render_failures(failures: Iterable[Failure]) -> bytes:
    """Render the body of ``/api/v1/failures``, whose numbers are numbers.

    Args:
        failures: As they are to be listed.
    """
    return _success("[" + ",".join(_dump(_failure(failure)) for failure in failures) + "]")


def render_activity(activity: Activity) -> bytes:
    """Render the body of ``/api/v1/activity``, whose numbers are numbers.

    Args:
        activity: What the board tells.
    """
    minutes = [
        {"time_seconds": one.at_seconds, "pushes": one.pushes, "refusals": one.refusals} for one in activity.minutes
    ]
    slowest, largest = ([_pusher(one) for one in ranking] for ranking in (activity.slowest, activity.largest))
    return _success(_dump({"minutes": minutes, "slowest": slowest, "largest": largest}))


def render_group_page(page: GroupPage) -> bytes:
    """Render the body of ``/api/v1/groups``, whose numbers are numbers.

    Args:
        page: As a store returns it.
    """
    members: dict[str, _Json] = {
        "groups": [_summary(one) for one in page.groups],
        "matching": page.matching,
        "next_cursor": page.next_cursor,
        "previous_cursor": page.previous_cursor,
    }
    return _success(_dump(members))


def _summary(group: GroupSummary) -> _Json:
    pushed_at, failed_at = group.pushed_at_seconds, group.failed_at_seconds
    return {
        _LABELS: dict(json.loads(group.key)),
        _SUCCESSFUL: failed_at <= pushed_at,
        "push_time": _time(pushed_at, UTC) if pushed_at else None,
        PUSH_TIME: pushed_at,
        "push_failure_time": _time(failed_at, UTC) if failed_at else None,
        PUSH_FAILURE_TIME: failed_at,
        "failure_reason": group.failure_reason,
        "families": group.families,
        "series": group.series,
        "bytes": group.bytes,
    }


def _pusher(pusher: Pusher) -> _Json:
    return {
        "time": _time(pusher.at_seconds, UTC),
        "time_seconds": pusher.at_seconds,
        "group": dict(pusher.group),
        "group_is_cut": pusher.cut,
        "duration_seconds": pusher.duration_seconds,
        "body_bytes": pusher.body_bytes,
        "samples": pusher.samples,
    }


def _failure(failure: Failure) -> _Json:
    return {
        "time": _time(failure.at_seconds, UTC),
        "time_seconds": failure.at_seconds,
        "group": None if failure.group is None else dict(failure.group),
        "path": failure.path,
        "method": failure.method,
        "source": failure.source,
        "status": failure.status,
        "errorType": failure.kind,
        "reason": failure.reason,
        **failure.data,
    }


def _success(data: str) -> bytes:
    return f'{{"status":"success","data":{data}}}'.encode()


def _dump(value: _Json) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char, escape in _ESCAPES:
        text = text.replace(char, escape)
    return text


def _group(contents: GroupContents, zone: tzinfo | None) -> _Json:
    group = contents.group
    labels = GroupingKey.of((name, value) for name, value in json.loads(group.key))
    own = group_labels(labels)
    # What never happened is as old as the other: the group began with it.
    pushed_at, failed_at = group.pushed_at_seconds, group.failed_at_seconds
    members: dict[str, _Json] = {
        _LABELS: dict(labels.labels),
        _SUCCESSFUL: failed_at <= pushed_at,
        PUSH_TIME: _own_family(own, pushed_at, time=_time(pushed_at or failed_at, zone), help=PUSH_TIME_HELP),
        PUSH_FAILURE_TIME: _own_family(
            own, failed_at, time=_time(failed_at or pushed_at, zone), help=PUSH_FAILURE_TIME_HELP
        ),
    }
    members |= {_key(block.name): _block(block, zone) for block in contents.families}
    return dict(sorted(members.items()))


def _key(name: str) -> str:
    return _ASIDE + name if name in {_LABELS, _SUCCESSFUL} or name.startswith(_ASIDE) else name


def _block(block: FamilyBlock, zone: tzinfo | None) -> _Json:
    metrics = [_metric(metric) for metric in decode_metrics(block.type, block.body)]
    return _family(block.type, metrics, time=_time(block.pushed_at_seconds, zone), help=block.help)


def _own_family(labels: Labels, value: float, *, time: str, help: str) -> _Json:
    return _family(MetricType.GAUGE, [_metric(Sample(labels, value))], time=time, help=help)


def _family(type: MetricType, metrics: Sequence[_Json], *, time: str, help: str) -> _Json:
    described: dict[str, _Json] = {"help": help} if help else {}
    return {"time_stamp": time, "type": type.name, **described, "metrics": metrics}


def _metric(metric: Metric) -> _Json:
    labels = dict(metric.labels)
    if isinstance(metric, Sample):
        return {"labels": labels, "value": _double(metric.value)}
    shares: _Json
    if isinstance(metric, Summary):
        name, shares = "quantiles", _shares(metric.quantiles)
    elif metric.native is None:
        name, shares = "buckets", _shares(metric.buckets)
    else:
        name, shares = "buckets", [_bucket(bucket) for bucket in native.buckets(metric.native)]
    members: dict[str, _Json] = {
        name: shares,
        "count": _count(metric.count),
        "labels": labels,
        "sum": _double(metric.sum),
    }
    return dict(sorted(members.items()))


def _shares(pairs: Iterable[tuple[float, float]]) -> _Json:
    return dict(sorted({_double(at): _count(value) for at, value in pairs}.items()))


def _bucket(bucket: native.Bucket) -> _Json:
    """Write a native bucket as Prometheus' own API does: which bounds belong to it, the bounds, and the count."""
    boundaries = _BOUNDARIES[bucket.includes_lower, bucket.includes_upper]
    return [boundaries, _double(bucket.lower), _double(bucket.upper), _double(bucket.observations)]


_BOUNDARIES: Final = {(False, True): 0, (True, False): 1, (False, False): 2, (True, True): 3}


def _count(value: float) -> str:
    """Format as Go's ``%v``: an integer in full, the count of a float histogram as a double."""
    return str(value) if isinstance(value, int) else _double(value)


def _double(value: float) -> str:
    """Format as Go's ``%v``: as in the exposition, but minus zero keeps its sign."""
    return "-0" if value == 0 and math.copysign(1, value) < 0 else format_value(value)


def _time(seconds: float, zone: tzinfo | None) -> str:
    """Format as RFC 3339 with as many digits of the second as the double has, as Go's time.RFC3339Nano."""
    whole, _, fraction = f"{Decimal(repr(seconds)):f}".partition(".")
    moment = datetime.fromtimestamp(int(whole), UTC).astimezone(zone).isoformat()
    clock, offset = moment[:19], moment[19:]
    fraction = fraction[:9].rstrip("0")
    return clock + (f".{fraction}" if fraction else "") + ("Z" if offset == "+00:00" else offset)
