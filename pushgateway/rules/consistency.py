"""What may a push hold, looked at alone and beside the gateway's own metrics?

`validate` refuses what would break a scrape by itself and therefore holds whatever the settings say. `check` refuses
what would be inconsistent, and is what ``--push.disable-consistency-check`` leaves out. Both list everything they
find. What needs the stored groups is the store's part: it asks `suffix_rivals` and `project` where to look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from pushgateway.model import GroupingKey, Labels, MetricFamily, MetricType
from pushgateway.names import is_label_name, is_metric_name
from pushgateway.rules import conflicts
from pushgateway.rules.conflicts import Findings
from pushgateway.rules.labels import identities as identities_of

__all__ = ["check", "suffix_rivals", "validate"]

_HISTOGRAMS: Final = frozenset({MetricType.HISTOGRAM, MetricType.GAUGE_HISTOGRAM})
_WITH_SUM: Final = _HISTOGRAMS | {MetricType.SUMMARY}
# Which suffixes the lines of a type carry (Prometheus text format 0.0.4), with the types that do.
_SUFFIXES: Final = (("_count", _WITH_SUM), ("_sum", _WITH_SUM), ("_bucket", _HISTOGRAMS))
# The label that a type's own lines carry.
_RESERVED_LABELS: Final = {
    MetricType.SUMMARY: "quantile",
    MetricType.HISTOGRAM: "le",
    MetricType.GAUGE_HISTOGRAM: "le",
}


def validate(families: Sequence[MetricFamily], key: GroupingKey) -> None:
    """Refuse what no push may hold.

    Args:
        families: As parsed, or as labelled.
        key: The group, whose labels every series gets or has.

    Raises:
        InconsistentPushError: A sample has a timestamp; a metric or label name is outside the grammar or reserved; a
            series has a label twice; a histogram would get the label `le` or a summary `quantile`, from the body or the
            key; two families have one name.
    """
    findings = Findings()
    for name, times in Counter(family.name for family in families).items():
        if not is_metric_name(name):
            findings.add(conflicts.invalid_metric_name, name)
        if times > 1:
            findings.add(conflicts.repeated_family, name)
    for family in families:
        stamped = next((metric for metric in family.metrics if metric.timestamp_ms is not None), None)
        if stamped is not None:
            findings.add(conflicts.timestamp, family.name, stamped.labels)
        _validate_labels(family, key, findings)
    findings.raise_any()


def _validate_labels(family: MetricFamily, key: GroupingKey, findings: Findings) -> None:
    # A family's series have few different sets of names: looking at those makes this 0.3 us a sample.
    shapes = {tuple([name for name, _ in metric.labels]) for metric in family.metrics}
    names = set().union(*shapes)
    for name in sorted(names):
        if not is_label_name(name):
            findings.add(conflicts.invalid_label_name, family.name, name)
    for name in sorted({name for shape in shapes for name, times in Counter(shape).items() if times > 1}):
        findings.add(conflicts.repeated_label, family.name, name)
    reserved = _RESERVED_LABELS.get(family.type)
    if reserved is not None and (reserved in key.shape or reserved in names):
        findings.add(conflicts.reserved_label, family.name, reserved, type=family.type, in_key=reserved in key.shape)


def check(
    families: Sequence[MetricFamily],
    own: Mapping[str, MetricType],
    *,
    identities: Sequence[Sequence[Labels]] | None = None,
) -> None:
    """Refuse a push that is inconsistent in itself or with the gateway's own metrics.

    A family of the same name and type as one of the gateway's own is welcome: its series stand beside ours.

    Args:
        families: As labelled: grouping labels in place, names unique.
        own: The gateway's own families, those without series too.
        identities: The result of `identities` for each family, if the caller has them; None computes them.

    Raises:
        InconsistentPushError: A series is there twice (an empty label counts as absent); a name collides through
            _bucket, _sum or _count with a summary or histogram of the push or of the gateway's own; a family of the
            gateway's own has another type. Rules of client_golang's registry (Gather), which the original applies.
    """
    findings = Findings()
    if identities is None:
        identities = [identities_of(family) for family in families]
    for family, series in zip(families, identities, strict=True):
        if len(set(series)) < len(series):
            for labels, times in Counter(series).items():
                if times > 1:
                    findings.add(conflicts.duplicate, family.name, labels)
    types = {family.name: family.type for family in families}
    for name, type_ in types.items():
        _check_names(name, type_, types=types, own=own, findings=findings)
    findings.raise_any()


def _check_names(
    name: str, pushed: MetricType, *, types: Mapping[str, MetricType], own: Mapping[str, MetricType], findings: Findings
) -> None:
    own_type = own.get(name)
    if own_type is not None and own_type is not pushed:
        findings.add(conflicts.own_type, name, pushed, own=own_type)
    for where, present in ((conflicts.IN_PUSH, types), (conflicts.OWN, own)):
        for rival, rival_types in suffix_rivals(name, pushed):
            rival_type = present.get(rival)
            if rival_type is None or (rival_types is not None and rival_type not in rival_types):
                continue
            # Two families of one push see each other; the one with the suffix speaks.
            if present is own or rival_types is not None:
                findings.add(conflicts.suffix_collision, name, pushed, rival=rival, rival_type=rival_type, where=where)


def suffix_rivals(name: str, type: MetricType) -> tuple[tuple[str, frozenset[MetricType] | None], ...]:
    """Return the names that may not stand beside a family, as client_golang's checkSuffixCollisions has them.

    A summary or histogram claims its name with _count and _sum, a histogram also with _bucket. Gauge histograms count
    as histograms.

    Args:
        name: The family's name.
        type: Its type.

    Returns:
        Pairs of a name and the types with which it collides; None for any type. At most four.
    """
    stems = tuple(
        (name.removesuffix(suffix), types) for suffix, types in _SUFFIXES if name.endswith(suffix) and name != suffix
    )
    return (*stems, *((name + suffix, None) for suffix, types in _SUFFIXES if type in types))
