"""What may a push hold, looked at alone and beside the gateway's own metrics?

`validate` refuses what would break a scrape by itself and therefore holds whatever the settings say. `check` refuses
what would be inconsistent, and is what ``--push.disable-consistency-check`` leaves out. Both list everything they
find. What needs the stored groups is the store's part: it asks `suffix_rivals` and `project` where to look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from pushgateway.model import GroupingKey, Histogram, Labels, MetricFamily, MetricType
from pushgateway.names import TIME_FAMILIES, is_label_name, is_metric_name
from pushgateway.rules import conflicts, native
from pushgateway.rules.conflicts import Findings
from pushgateway.rules.labels import identities as identities_of
from pushgateway.tables import SampleTable, label_shapes

__all__ = ["check", "suffix_rivals", "validate"]

_HISTOGRAMS: Final = frozenset({MetricType.HISTOGRAM, MetricType.GAUGE_HISTOGRAM})
_WITH_SUM: Final = _HISTOGRAMS | {MetricType.SUMMARY}
# Which suffixes the lines of a type carry (Prometheus text format 0.0.4), with the types that do.
_SUFFIXES: Final = {"_count": _WITH_SUM, "_sum": _WITH_SUM, "_bucket": _HISTOGRAMS}
# The label that a type's own lines carry.
_RESERVED_LABELS: Final = {
    MetricType.SUMMARY: "quantile",
    MetricType.HISTOGRAM: "le",
    MetricType.GAUGE_HISTOGRAM: "le",
}


def validate(families: Sequence[MetricFamily], key: GroupingKey, *, utf8_names: bool = False) -> None:
    """Refuse what no push may hold.

    Of push_time_seconds and push_failure_time_seconds, which `label` drops, only timestamps and names are looked at.

    Args:
        families: As parsed, or as labelled.
        key: The group, whose labels every series gets or has.
        utf8_names: Whether names may have any characters.

    Raises:
        InconsistentPushError: A sample has a timestamp; a metric or label name is outside the grammar or reserved; a
            series has a label twice; a histogram would get the label `le` or a summary `quantile`, from the body or the
            key; a native histogram is none that Prometheus takes; two families have one name.
    """
    findings = Findings()
    names = [family.name for family in families]
    for name in names:
        if not is_metric_name(name, utf8=utf8_names):
            findings.add(conflicts.invalid_metric_name, name, utf8=utf8_names)
    for name in _repeated(names):
        findings.add(conflicts.repeated_family, name)
    known: set[tuple[str, ...]] = set()
    for family in families:
        if not isinstance(family.metrics, SampleTable):
            stamped = [metric for metric in family.metrics if metric.timestamp_ms is not None]
            if stamped:
                findings.add(conflicts.timestamp, family.name, stamped[0].labels)
        if family.name not in TIME_FAMILIES:
            _validate_labels(family, key, known=known, findings=findings, utf8_names=utf8_names)
        if family.type in _HISTOGRAMS:
            _validate_native(family, findings)
    findings.raise_any()


def _validate_labels(
    family: MetricFamily,
    key: GroupingKey,
    *,
    known: set[tuple[str, ...]],
    findings: Findings,
    utf8_names: bool,
) -> None:
    """Look at the label names of a family; `known` remembers those combinations that are fine for every type.

    A push has few combinations, and so this takes 0.3 us a sample.
    """
    shapes = label_shapes(family.metrics)
    new = shapes - known
    invalid = {name for shape in new for name in shape if not is_label_name(name, utf8=utf8_names)}
    repeated = {name for shape in new for name in _repeated(shape)}
    if not invalid and not repeated:
        known |= new
    for name in sorted(invalid):
        findings.add(conflicts.invalid_label_name, family.name, name, utf8=utf8_names)
    for name in sorted(repeated):
        findings.add(conflicts.repeated_label, family.name, name)
    reserved = _RESERVED_LABELS.get(family.type)
    if reserved is not None and (reserved in key.shape or any(reserved in shape for shape in shapes)):
        findings.add(conflicts.reserved_label, family.name, reserved, type=family.type, in_key=reserved in key.shape)


def _validate_native(family: MetricFamily, findings: Findings) -> None:
    for metric in family.metrics:
        if isinstance(metric, Histogram) and (found := native.problem(metric)):
            findings.add(conflicts.invalid_native, family.name, metric.labels, problem=found)


def _repeated(names: Sequence[str]) -> list[str]:
    if len(set(names)) == len(names):
        return []
    return [name for name, times in Counter(names).items() if times > 1]


def check(
    families: Sequence[MetricFamily],
    own: Mapping[str, MetricType],
    *,
    identities: Sequence[Sequence[Labels]] | None = None,
    hashes: Sequence[bytes] | None = None,
) -> None:
    """Refuse a push that is inconsistent in itself or with the gateway's own metrics.

    A family of the same name and type as one of the gateway's own is welcome: its series stand beside ours.

    Args:
        families: As labelled: grouping labels in place, names unique.
        own: The gateway's own families, those without series too.
        identities: The result of `identities` for each family, if the caller has them; None computes them.
        hashes: The result of `hashes` for each of them, if the caller has them, which saves comparing the series of
            families in which all are different.

    Raises:
        InconsistentPushError: A series is there twice (an empty label counts as absent); a name collides through
            _bucket, _sum or _count with a summary or histogram of the push or of the gateway's own; a family of the
            gateway's own has another type. Rules of client_golang's registry (Gather), which the original applies.
    """
    findings = Findings()
    if identities is None:
        identities = [identities_of(family) for family in families]
    for at, (family, series) in enumerate(zip(families, identities, strict=True)):
        if hashes is not None and _all_differ(hashes[at]):
            continue
        if len(set(series)) < len(series):
            for labels, times in Counter(series).items():
                if times > 1:
                    findings.add(conflicts.duplicate, family.name, labels)
    types = {family.name: family.type for family in families}
    for name, pushed in types.items():
        if own.get(name, pushed) is not pushed:
            findings.add(conflicts.own_type, name, pushed, own=own[name])
    _check_suffixes(types, own, findings)
    findings.raise_any()


def _all_differ(hashes: bytes) -> bool:
    words = memoryview(hashes).cast("Q")
    return len(set(words)) == len(words)


def _check_suffixes(types: Mapping[str, MetricType], own: Mapping[str, MetricType], findings: Findings) -> None:
    # From the side of summaries and histograms, of which there are few: each collision is met once.
    for name, pushed in types.items():
        for claimed in _claimed(name, pushed):
            if claimed in types:
                findings.add(
                    conflicts.suffix_collision,
                    claimed,
                    types[claimed],
                    rival=name,
                    rival_type=pushed,
                    where=conflicts.IN_PUSH,
                )
            if claimed in own:
                findings.add(
                    conflicts.suffix_collision,
                    name,
                    pushed,
                    rival=claimed,
                    rival_type=own[claimed],
                    where=conflicts.OWN,
                )
    for name, own_type in own.items():
        for claimed in _claimed(name, own_type):
            if claimed in types:
                findings.add(
                    conflicts.suffix_collision,
                    claimed,
                    types[claimed],
                    rival=name,
                    rival_type=own_type,
                    where=conflicts.OWN,
                )


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
    claimed = tuple([(one, None) for one in _claimed(name, type)])
    for suffix, types in _SUFFIXES.items():
        if name.endswith(suffix) and name != suffix:
            return ((name.removesuffix(suffix), types), *claimed)
    return claimed


def _claimed(name: str, type: MetricType) -> tuple[str, ...]:
    """Return the names of the lines of a summary or histogram, but for its own."""
    if type not in _WITH_SUM:
        return ()
    return tuple([name + suffix for suffix, types in _SUFFIXES.items() if type in types])
