"""Under which names are families exposed to a scraper that takes legacy names only?

Names beyond the legacy grammar are escaped as the scraper asks for. Two names may come out the same (``a.b`` and
``a-b``), or as a name that somebody pushed, and an exposition with two families of one name, or with a series twice,
is dropped whole or in part. So a name that collides in the scheme asked for is written in that of `Escaping.VALUES`,
which is reversible, and if even that is taken, with a number behind it. What collides depends on the set of names
alone, and not on their order: each worker and each scrape writes the same.

A legacy name never changes. A label's name has to differ only from the other label names of its family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Final, TypeAlias

from pushgateway.model import Labels, Metric, MetricFamily, MetricType
from pushgateway.names import (
    RESERVED_PREFIX,
    Escaping,
    escape_label_name,
    escape_metric_name,
    is_legacy_label_name,
    is_metric_name,
)
from pushgateway.rules.consistency import suffix_rivals
from pushgateway.tables import label_shapes

__all__ = ["escape", "escape_labels", "is_legacy", "rename"]

_Escape: TypeAlias = Callable[[str, Escaping], str]

_NOTHING: Final[Mapping[str, str]] = {}


def is_legacy(family: MetricFamily) -> bool:
    """Return whether a family's name and the names of all its labels are of the legacy grammar."""
    return is_metric_name(family.name) and all(map(is_legacy_label_name, _label_names(family)))


def escape(
    families: Iterable[MetricFamily], others: Mapping[str, MetricType], escaping: Escaping
) -> tuple[MetricFamily, ...]:
    """Give families names, and their labels too, that a scraper takes.

    Args:
        families: Names unique; they may be legacy throughout.
        others: What else is exposed, by name: all legacy.
        escaping: The scheme that the scraper asks for, not ALLOW_UTF_8.

    Returns:
        The families, in the same order. Names that collide with no other name, of `others` too, also through
        _bucket, _sum and _count; inside a family each series is still there, and no two have become the same.
    """
    families = tuple(families)
    types = {family.name: family.type for family in families}
    foreign = {name: type_ for name, type_ in types.items() if not is_metric_name(name)}
    written = _NOTHING
    if foreign:
        legacy = {**types, **others}
        for name in foreign:
            del legacy[name]
        written = _Names(legacy, escape_metric_name).assign(foreign, escaping)
    return tuple(_renamed(family, written.get(family.name, family.name), escaping) for family in families)


def escape_labels(names: Iterable[str], escaping: Escaping) -> Mapping[str, str]:
    """Choose how the label names of one family are written.

    Args:
        names: All of them.
        escaping: The scheme, not ALLOW_UTF_8.

    Returns:
        What is written for each that is not legacy: legacy names, which differ from each other and from all of `names`,
        and of which none has the reserved prefix.
    """
    # As families of a type for which suffixes mean nothing.
    kinds = dict.fromkeys(names, MetricType.UNTYPED)
    foreign = {name: kind for name, kind in kinds.items() if not is_legacy_label_name(name)}
    if not foreign:
        return _NOTHING
    legacy = {name: kind for name, kind in kinds.items() if name not in foreign}
    return _Names(legacy, escape_label_name, reserved_prefix=RESERVED_PREFIX).assign(foreign, escaping)


def rename(labels: Labels, written: Mapping[str, str]) -> Labels:
    """Write label names as a result of `escape_labels` says; the labels are sorted by name again."""
    return tuple(sorted([(written.get(name, name), value) for name, value in labels]))


class _Names:
    """Names that have to differ, of families or of the labels of one family.

    Args:
        legacy: Those that do not change, each with its type.
        escape_name: What escapes the others.
        reserved_prefix: With what none may begin.
    """

    def __init__(self, legacy: Mapping[str, MetricType], escape_name: _Escape, *, reserved_prefix: str = "\0") -> None:
        self._legacy = legacy
        self._escape_name = escape_name
        self._reserved_prefix = reserved_prefix
        self._used: dict[str, list[MetricType]] = {}

    def assign(self, foreign: Mapping[str, MetricType], escaping: Escaping) -> Mapping[str, str]:
        """Choose how each name is written: in the scheme where that is possible.

        Written by VALUES, names never collide with each other: what stands behind U__ can be read back, and with _sum,
        _count or _bucket behind it no more. They may collide with what is written in the scheme, which moves as well
        then, until nothing does: each move makes a name longer, and so there are few. What is left collides with legacy
        names.

        Args:
            foreign: The names that are not legacy, each with its type.
            escaping: The scheme.
        """
        written = {name: self._escape_name(name, escaping) for name in foreign}
        by_value = {name: self._escape_name(name, Escaping.VALUES) for name in foreign}
        while True:
            self._use(written, foreign)
            colliding = [name for name in written if self._collides(written[name], foreign[name])]
            moving = [name for name in colliding if written[name] != by_value[name]]
            if not moving:
                break
            written |= {name: by_value[name] for name in moving}
        for name in sorted(colliding):
            written[name] = self._numbered(by_value[name], foreign[name])
        return written

    def _use(self, written: Mapping[str, str], foreign: Mapping[str, MetricType]) -> None:
        self._used = {name: [type_] for name, type_ in self._legacy.items()}
        for name, as_written in written.items():
            self._used.setdefault(as_written, []).append(foreign[name])

    def _collides(self, as_written: str, type: MetricType) -> bool:
        """Return whether a name that is in use collides with another one."""
        used = self._used
        return (
            len(used[as_written]) > 1
            or as_written.startswith(self._reserved_prefix)
            or any(
                rival in used and (types is None or not types.isdisjoint(used[rival]))
                for rival, types in suffix_rivals(as_written, type)
            )
        )

    def _numbered(self, by_value: str, type: MetricType) -> str:
        """Return the first name with a number that collides with none, and use it."""
        for number in count(1):
            # No name is written so by VALUES: a lone underscore stands before the number.
            candidate = f"{by_value}_{number}"
            if candidate in self._used:
                continue
            self._used[candidate] = [type]
            if not self._collides(candidate, type):
                return candidate
            del self._used[candidate]
        raise AssertionError("numbers do not end")


def _renamed(family: MetricFamily, name: str, escaping: Escaping) -> MetricFamily:
    written = escape_labels(_label_names(family), escaping)
    metrics: Sequence[Metric] = family.metrics
    if written:
        metrics = [metric._replace(labels=rename(metric.labels, written)) for metric in metrics]
    return MetricFamily(name, family.type, family.help, tuple(metrics), family.unit)


def _label_names(family: MetricFamily) -> frozenset[str]:
    return frozenset().union(*label_shapes(family.metrics))
