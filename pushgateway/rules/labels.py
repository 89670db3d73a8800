"""Which labels does a pushed series end up with, and when are two series the same?

`label`, `identity` and `hashes` run for every sample of every push, so that nanoseconds count here; the figures are
those of tests/benchmarks/bench_rules.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from itertools import chain
from operator import itemgetter
from typing import Any, Final, TypeAlias, TypeVar

from pushgateway.errors import LimitError
from pushgateway.model import GroupingKey, Histogram, Labels, Metric, MetricFamily, MetricType, Summary
from pushgateway.names import TIME_FAMILIES, is_legacy_label_name
from pushgateway.tables import ROWS_AT_ONCE, Column, LabelTable, SampleTable, join_rows

__all__ = ["HASH_BYTES", "check_size", "group_labels", "hashes", "identities", "identity", "label", "likeness"]

HASH_BYTES: Final = 8
"""The width of one hash in `hashes`: 64 bits make a false twin among a million series a 1 in 30 million chance."""

_LIKENESS_BYTES: Final = 16

_INSTANCE: Final = "instance"
# Copying an empty state takes 0.13 us less a sample than the constructor.
_new_hash: Final = blake2b(digest_size=HASH_BYTES).copy
_T = TypeVar("_T")
_Pick: TypeAlias = Callable[[tuple[_T, ...]], tuple[_T, ...]]
"""Labels are pairs of names and values, or in a table of names and columns."""


def check_size(families: Iterable[MetricFamily], key: GroupingKey, *, rendered_bytes: int) -> None:
    """Refuse a push of which `label` would make too much: of a short path and a short body, their product.

    Counted is what the group's labels take in text, once a sample line. The rest of the output is not counted, for it
    is about as long as the body was.

    Args:
        families: As parsed.
        key: The group.
        rendered_bytes: How much that may be.

    Raises:
        LimitError: It is more (`rendered-bytes`).
    """
    # An equals sign, two quotes and a comma a label; characters that are escaped count twice.
    each = sum(_name_bytes(name) + len(value.encode()) + _escaped(value) + 4 for name, value in group_labels(key))
    needed = each * sum(map(_line_count, families))
    if needed > rendered_bytes:
        raise LimitError("rendered-bytes", allowed=rendered_bytes, seen=needed)


def _name_bytes(name: str) -> int:
    return len(name) if is_legacy_label_name(name) else len(name.encode()) + _escaped(name) + 2


def _escaped(value: str) -> int:
    return value.count("\\") + value.count('"') + value.count("\n")


def _line_count(family: MetricFamily) -> int:
    """Return how many lines a family has in text, +Inf buckets that nobody sent not included."""
    lines = len(family.metrics)
    for metric in family.metrics:
        if isinstance(metric, Histogram):
            lines += len(metric.buckets) + 1
        elif isinstance(metric, Summary):
            lines += len(metric.quantiles) + 1
        else:
            break  # samples have a line each, and stand in families of their own
    return lines


def label(families: Iterable[MetricFamily], key: GroupingKey) -> tuple[MetricFamily, ...]:
    """Give every series the labels of its group.

    Labels of the key replace labels of the same name, so that two series that differ in such a label alone become the
    same (`check` refuses them then). ``instance=""`` is added where neither the body nor the key has an instance: it
    stops Prometheus from attaching the gateway's own (README of the Go Pushgateway, "About the job and instance
    labels"). A family named push_time_seconds or push_failure_time_seconds is dropped: those belong to the gateway.

    Args:
        families: As parsed.
        key: The group.

    Returns:
        The families, in the same order, their metrics too, the labels of each sorted by name.
    """
    instance = () if any(name == _INSTANCE for name, _ in key.labels) else ((_INSTANCE, ""),)
    extra = instance + key.labels
    # Series of one family nearly always have the same label names, and then one itemgetter does the merge in C:
    # 0.7 us a sample, where sorting the pairs of each took 1.1 us.
    picks: dict[tuple[str, ...], _Pick[Any]] = {}
    labelled = []
    for family in families:
        if family.name in TIME_FAMILIES:
            continue
        if isinstance(family.metrics, SampleTable):
            table = _label_table(family.metrics, extra)
            labelled.append(MetricFamily(family.name, family.type, family.help, table, family.unit))
            continue
        metrics: list[Metric] = []
        for metric in family.metrics:
            labels = metric.labels
            names = tuple([name for name, _ in labels])
            pick = picks.get(names)
            if pick is None:
                pick = picks[names] = _make_pick(names, extra)
            metrics.append(type(metric)._make((pick(labels + extra), *metric[1:])))
        labelled.append(MetricFamily(family.name, family.type, family.help, tuple(metrics), family.unit))
    return tuple(labelled)


def _label_table(table: SampleTable, extra: Labels) -> SampleTable:
    labels = table.labels
    own = tuple[tuple[str, Column], ...](zip(labels.names, labels.columns, strict=True))
    names, columns = zip(*_make_pick(labels.names, extra)(own + extra), strict=True)
    return SampleTable(LabelTable(names, columns, len(table)), table.values)


def _make_pick(names: tuple[str, ...], extra: Labels) -> _Pick[Any]:
    """Return what picks the final labels from a series' own followed by `extra`, whose instance yields to its own."""
    offset = len(names)
    position = {name: offset + index for index, (name, value) in enumerate(extra) if not value}
    position |= {name: index for index, name in enumerate(names)}
    position |= {name: offset + index for index, (name, value) in enumerate(extra) if value}
    # At least two positions, job and instance, without which itemgetter would return a bare pair.
    return itemgetter(*(position[name] for name in sorted(position)))


def group_labels(key: GroupingKey) -> Labels:
    """Return the labels of the group's own series (push_time_seconds): those of the key, and an instance."""
    return tuple(sorted({_INSTANCE: "", **dict(key.labels)}.items()))


def identity(labels: Labels) -> Labels:
    """Return what makes two series of a family the same: the labels that are not empty."""
    return tuple([pair for pair in labels if pair[1]])


def identities(family: MetricFamily) -> Sequence[Labels]:
    """Return the identity of each metric of a family, in order."""
    if isinstance(family.metrics, SampleTable) and (table := _without_empty(family.metrics.labels)) is not None:
        return table
    return tuple([tuple([pair for pair in metric.labels if pair[1]]) for metric in family.metrics])


def _without_empty(table: LabelTable) -> LabelTable | None:
    """Leave the columns out that are empty; returns None if some values of a column are."""
    if any("" in column for column in table.varying):
        return None
    kept = [(name, column) for name, column in zip(table.names, table.columns, strict=True) if column]
    return LabelTable(tuple([name for name, _ in kept]), [column for _, column in kept], len(table))


def hashes(identities: Iterable[Labels]) -> bytes:
    r"""Return a 64-bit hash of each identity, the same in every process, release and machine: stores keep them.

    What is hashed is the UTF-8 of names and values joined by NUL. A value may hold a NUL itself; then there are more of
    them than joints, and lengths are hashed instead, behind a NUL, with which no name starts.

    Rejected: zlib.crc32 (0.3 us less a sample; 32 bits make false twins), repr (its escapes follow the Unicode version
    of the interpreter, and it costs 0.9 us more), marshal (not promised to stay the same).

    Args:
        identities: Results of `identity`.

    Returns:
        `HASH_BYTES` bytes an identity, one after the other.
    """
    pairs = chain.from_iterable
    joined = "\0".join
    if isinstance(identities, LabelTable) and len(identities) > ROWS_AT_ONCE:
        return b"".join(map(hashes, identities.pieces()))
    out = []
    if isinstance(identities, LabelTable) and (texts := _joined(identities)) is not None:
        for text in texts:
            state = _new_hash()
            state.update(text.encode())
            out.append(state.digest())
        return b"".join(out)
    for one in identities:
        data = joined(pairs(one)).encode()
        if data.count(0) >= 2 * len(one):
            data = b"\0" + b"".join(_sized(text) for text in pairs(one))
        state = _new_hash()
        state.update(data)
        out.append(state.digest())
    return b"".join(out)


def likeness(families: Iterable[tuple[str, MetricType, str, str, bool, bytes]]) -> bytes:
    """Return 16 bytes that are the same for two pushes only if they bring the same families with the same series.

    Stores keep it. The order of families and series counts; values do not.

    Args:
        families: Name, type, help text, unit, `StoredFamily.legacy` and `hashes` of each.
    """
    about, pushed = [], []
    for name, type_, help_, unit, legacy, own in families:
        about.append((name, type_.value, help_, unit, legacy, len(own)))
        pushed.append(own)
    return blake2b(repr(about).encode() + b"".join(pushed), digest_size=_LIKENESS_BYTES).digest()


def _joined(table: LabelTable) -> list[str] | None:
    """Return the names and values of each label set joined by NUL; None if a name or value holds one."""
    pieces: list[Column] = []
    for name, column in zip(table.names, table.columns, strict=True):
        if "\0" in name or "\0" in (column if isinstance(column, str) else "".join(column)):
            return None
        pieces += ("\0", name, "\0", column)
    return join_rows(pieces[1:], len(table))


def _sized(text: str) -> bytes:
    data = text.encode()
    return b"%d:%b" % (len(data), data)
