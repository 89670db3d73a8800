"""Which values do tests of stores push? Made of literals: a store reads no format, so none is needed."""

from __future__ import annotations

import random

from pushgateway.model import GroupingKey, Labels, MetricType, Push, StoredFamily
from pushgateway.rules import hashes, likeness

__all__ = ["family", "key", "push"]


def key(job: str = "a", **labels: str) -> GroupingKey:
    return GroupingKey.of({"job": job, **labels})


def family(
    name: str,
    type: MetricType = MetricType.GAUGE,
    *,
    group: GroupingKey,
    series: tuple[dict[str, str], ...] = ({},),
    help: str = "",
    value: str = "1",
    padding: int = 0,
    dense: bool = False,
    legacy: bool = True,
) -> StoredFamily:
    """Make a family as the web side would hand it over: labels of the group in every identity.

    Args:
        name: Its name.
        type: Its type.
        group: Whose labels the series get.
        series: The other labels of each series.
        help: Its help.
        value: What stands in its text, to tell pushes apart.
        padding: By how many bytes to lengthen both forms.
        dense: Whether these are bytes that cannot be compressed.
        legacy: What its maker says of its names.
    """
    identities = tuple(_identity(labels, group) for labels in series)
    more = random.Random(padding).randbytes(padding).replace(b"\n", b"#") if dense else b"#" * padding
    text = "".join(f"{name}{_format(labels)} {value}\n" for labels in identities).encode() + more
    metrics = repr((name, identities, value)).encode() + more
    return StoredFamily(name, type, help, text, metrics, identities, hashes(identities), len(series), legacy=legacy)


def push(
    group: GroupingKey,
    *families: StoredFamily,
    replace: bool = True,
    at: float = 1.0,
    checked: bool = True,
) -> Push:
    series = _format(tuple(sorted({"instance": "", **dict(group.labels)}.items()))).encode()
    like = likeness([(one.name, one.type, one.help, one.unit, one.legacy, one.hashes) for one in families])
    return Push(group, families, replace, at, series, checked, likeness=like)


def _identity(labels: dict[str, str], group: GroupingKey) -> Labels:
    return tuple(sorted((name, value) for name, value in {**labels, **dict(group.labels)}.items() if value))


def _format(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels) + "}"
