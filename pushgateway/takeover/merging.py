"""What does a group hold, by the list of groups and the scrape together?

The list tells the groups, their families, HELP and times; the scrape tells the values as they are stored. Between the
two answers somebody may push: of such a group, which the scrape shows with another push time, the list's values count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pushgateway.formats.json_groups import ListedFamily, ListedGroup
from pushgateway.model import GroupingKey, Labels, Metric, MetricFamily, Sample
from pushgateway.names import PUSH_FAILURE_TIME, PUSH_TIME, TIME_FAMILIES
from pushgateway.rules import identity

__all__ = ["HeldGroup", "merge"]

_REPLACEMENT: Final = "\ufffd"
"""What JSON has in place of each byte that is not UTF-8."""

_NOT_UTF8: Final = "a label is not UTF-8"


@dataclass(frozen=True, slots=True)
class HeldGroup:
    """A group as a gateway holds it.

    Attributes:
        key: Its key, without labels of empty value.
        pushed_at_seconds: Its push_time_seconds, 0 if it was never pushed.
        failed_at_seconds: Its push_failure_time_seconds, 0 if no push of it was ever refused.
        families: What it holds.
        family_times: When each family was pushed.
        problem: Why it cannot be taken over; "" if nothing is known against it.
    """

    key: GroupingKey
    pushed_at_seconds: float
    failed_at_seconds: float
    families: tuple[MetricFamily, ...] = ()
    family_times: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""


def merge(listed: Iterable[ListedGroup], scraped: Sequence[MetricFamily]) -> list[HeldGroup]:
    """Put the groups of a list and the values of a scrape together.

    Args:
        listed: The groups.
        scraped: What is exposed; () if that cannot be had, and the list has to do.

    Returns:
        The groups in the order of their push times, each key once without a problem: an empty label in a key counts as
        none, and of two groups that are the same then the one that was pushed last counts.
    """
    scrape = _Scrape(scraped)
    groups = sorted(
        (_group(group, scrape) for group in listed),
        key=lambda group: (group.pushed_at_seconds, group.failed_at_seconds, group.key.key),
    )
    last = {group.key.key: group for group in groups}
    return [group if last[group.key.key] is group else _twin(group) for group in groups]


def _twin(group: HeldGroup) -> HeldGroup:
    problem = "another group with the same labels, but for an empty one, which counts as none, was pushed later"
    return HeldGroup(group.key, group.pushed_at_seconds, group.failed_at_seconds, problem=problem)


class _Scrape:
    """What is exposed, to be looked up by family and labels."""

    def __init__(self, families: Sequence[MetricFamily]) -> None:
        self.exists = bool(families)
        self.units = {family.name: family.unit for family in families}
        self._series = {
            (family.name, family.type): {metric.labels: metric for metric in family.metrics} for family in families
        }
        self._times: dict[str, dict[Labels, float]] = {PUSH_TIME: {}, PUSH_FAILURE_TIME: {}}
        for family in families:
            if family.name in TIME_FAMILIES:
                self._times[family.name] |= {
                    identity(metric.labels): metric.value for metric in family.metrics if isinstance(metric, Sample)
                }

    def shows(self, listed: ListedGroup) -> bool:
        """Return whether it shows a group as it is listed: no push came between."""
        pushed, failed = (self._times[name].get(listed.labels) for name in (PUSH_TIME, PUSH_FAILURE_TIME))
        return (pushed, failed) == (listed.pushed_at_seconds, listed.failed_at_seconds)

    def metric(self, family: ListedFamily, labels: Labels) -> Metric | None:
        """Return what it shows of a listed series, None if that is not there."""
        return self._series.get((family.name, family.type), {}).get(labels)


def _group(listed: ListedGroup, scrape: _Scrape) -> HeldGroup:
    key = GroupingKey.of(listed.labels)
    times = listed.pushed_at_seconds, listed.failed_at_seconds
    current = scrape.shows(listed)
    problem = ""
    if "job" not in dict(key.labels):
        problem = "it has no job"
    elif not current and any(_REPLACEMENT in value for _, value in key.labels):
        problem = _NOT_UTF8
    families = []
    for family in listed.families:
        metrics = []
        for labels, told in family.series:
            metric = (scrape.metric(family, labels) if current else None) or told
            if metric is None or (not current and any(_REPLACEMENT in value for _, value in labels)):
                problem = problem or _problem(family, labels, told, scraped=scrape.exists)
            else:
                metrics.append(metric)
        families.append(
            MetricFamily(family.name, family.type, family.help, tuple(metrics), scrape.units.get(family.name, ""))
        )
    if problem:
        return HeldGroup(key, *times, problem=problem)
    family_times = {family.name: family.pushed_at_seconds for family in listed.families}
    return HeldGroup(key, *times, tuple(families), family_times)


def _problem(family: ListedFamily, labels: Labels, told: Metric | None, *, scraped: bool) -> str:
    """Say why the list alone does not do for a metric."""
    series = f"{family.name}{{{','.join(f'{name}={value!r}' for name, value in labels)}}}"
    if told is not None:
        return f"{_NOT_UTF8}: {series}"
    why = "it was pushed while it was read; import again" if scraped else "there is no scrape to tell its values"
    return f"of {series}, a {family.type.value}, the list of groups says too little, and {why}"
