"""Do two gateways hold the same groups?

What is compared is what the formats say, not their bytes: of each group its times, its families with type, HELP and
unit, and of each series the value, exactly, NaN being NaN. An empty label counts as none, and the +Inf bucket that
every histogram has as told.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from pushgateway.formats import protobuf
from pushgateway.model import (
    FamilyBlock,
    Group,
    GroupContents,
    GroupingKey,
    Histogram,
    Labels,
    Metric,
    MetricFamily,
    Sample,
)
from pushgateway.names import PUSH_FAILURE_TIME, PUSH_TIME
from pushgateway.rules import identity
from pushgateway.takeover.merging import HeldGroup

__all__ = ["Comparison", "compare", "family_of", "key_of", "stored_groups"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison has found.

    Attributes:
        groups: How many groups were compared.
        series: How many series they have, a histogram or summary counting as one.
        differences: A sentence each.
    """

    groups: int
    series: int
    differences: tuple[str, ...]


def stored_groups(stored: Iterable[GroupContents]) -> list[HeldGroup]:
    """Return what a store holds.

    Raises:
        google.protobuf.message.DecodeError: A stored body is damaged.
    """
    return [_stored(contents) for contents in stored]


def key_of(group: Group) -> GroupingKey:
    """Return the key of a stored group."""
    return GroupingKey.of((name, value) for name, value in json.loads(group.key))


def family_of(block: FamilyBlock) -> MetricFamily:
    """Return a stored family as a format would have read it, the group's labels in each series.

    Raises:
        google.protobuf.message.DecodeError: Its body is damaged.
    """
    metrics = protobuf.decode_metrics(block.type, block.body)
    return MetricFamily(block.name, block.type, block.help, metrics, block.unit)


def _stored(contents: GroupContents) -> HeldGroup:
    group, blocks, _ = contents
    return HeldGroup(
        key_of(group),
        group.pushed_at_seconds,
        group.failed_at_seconds,
        tuple(map(family_of, blocks)),
        {block.name: block.pushed_at_seconds for block in blocks},
    )


def compare(
    old: Iterable[HeldGroup], new: Iterable[HeldGroup], *, left_out: Collection[GroupingKey] = ()
) -> Comparison:
    """Compare the groups of one gateway with those that another has of the same keys.

    Args:
        old: What the one holds.
        new: What the other holds, and it may hold more groups.
        left_out: Groups that are not looked at.
    """
    here = {group.key: group for group in new}
    groups = series = 0
    differences: list[str] = []
    for group in old:
        if group.key in left_out:
            continue
        groups += 1
        series += sum(len(family.metrics) for family in group.families)
        differences += _group_differences(group, here.get(group.key))
    return Comparison(groups, series, tuple(differences))


def _group_differences(old: HeldGroup, new: HeldGroup | None) -> Iterator[str]:
    if new is None:
        yield f"{old.key} is only in the old one"
        return
    for group in (old, new):
        if group.problem:
            yield f"{group.key} cannot be compared: {group.problem}"
            return
    for name, before, after in (
        (PUSH_TIME, old.pushed_at_seconds, new.pushed_at_seconds),
        # A later one is the new gateway's own, like a group that only it has.
        (PUSH_FAILURE_TIME, old.failed_at_seconds, min(old.failed_at_seconds, new.failed_at_seconds)),
    ):
        if before != after:
            yield f"{name} of {old.key}: {before!r} in the old one, {after!r} in the new one"
    befores, afters = ({family.name: family for family in group.families} for group in (old, new))
    for name in sorted(befores.keys() | afters.keys()):
        yield from _family_differences(f"{name} of {old.key}", befores.get(name), afters.get(name))


def _family_differences(what: str, old: MetricFamily | None, new: MetricFamily | None) -> Iterator[str]:
    if old is None or new is None:
        yield f"{what} is only in the {'new' if old is None else 'old'} one"
        return
    if old.type is not new.type:
        yield f"{what} is a {old.type.value} in the old one, a {new.type.value} in the new one"
        return
    if old.help != new.help:
        yield f"HELP of {what}: {old.help!r} in the old one, {new.help!r} in the new one"
    if old.unit != new.unit:
        yield f"unit of {what}: {old.unit!r} in the old one, {new.unit!r} in the new one"
    befores, afters = ({identity(metric.labels): metric for metric in family.metrics} for family in (old, new))
    for labels in sorted(befores.keys() | afters.keys()):
        before, after = befores.get(labels), afters.get(labels)
        if before is None or after is None:
            yield f"{_shown(labels)} in {what} is only in the {'new' if before is None else 'old'} one"
        elif _canonical(before) != _canonical(after):
            yield f"{_shown(labels)} in {what}: {_told(before)} in the old one, {_told(after)} in the new one"


def _shown(labels: Labels) -> str:
    return "{" + ",".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels) + "}"


def _told(metric: Metric) -> str:
    if isinstance(metric, Sample):
        return repr(metric.value)
    return ", ".join(f"{name} {value!r}" for name, value in metric._asdict().items() if name != "labels" and value)


def _canonical(metric: Metric) -> object:
    """Return something that is equal for equal metrics."""
    if isinstance(metric, Histogram):
        buckets = tuple(sorted(bucket for bucket in metric.buckets if bucket != (math.inf, metric.count)))
        exemplars = tuple(exemplar for exemplar in metric.exemplars if exemplar is not None)
        metric = metric._replace(buckets=buckets, exemplars=exemplars)
    return _exact(tuple(metric)[1:])


def _exact(value: object) -> object:
    """Return a value in which NaN equals NaN and -0 does not equal 0."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else ("-0" if value == 0 and math.copysign(1, value) < 0 else value)
    return tuple(map(_exact, value)) if isinstance(value, tuple) else value
