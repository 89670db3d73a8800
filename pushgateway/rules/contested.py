"""What is exposed of families that an unchecked push brought into conflict?

With ``--push.disable-consistency-check`` the store takes what conflicts and marks it. A scrape must stay valid all the
same, so that part of it is left out, and which part depends on nothing but what is stored: the same at every scrape, in
every worker and replica.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from pushgateway.model import FamilyBlock, Labels, Metric, MetricFamily, MetricType
from pushgateway.rules.consistency import suffix_rivals
from pushgateway.rules.labels import identity

__all__ = ["Contested", "Resolution", "contested_names", "resolve"]


def contested_names(suspects: Iterable[tuple[str, MetricType]]) -> set[str]:
    """Return the names of suspects and all that could collide with them by suffix.

    One step is enough: of two families that conflict at least one is suspect.
    """
    names: set[str] = set()
    for name, type in suspects:
        names.add(name)
        names.update(rival for rival, _ in suffix_rivals(name, type))
    return names


class Contested(NamedTuple):
    """A block of a snapshot's `contested` with what its body decodes to; rules know no format."""

    block: FamilyBlock
    metrics: tuple[Metric, ...]


class Resolution(NamedTuple):
    """What to expose and what not.

    `families` are sorted by name, names unique; the metrics of each by group, and in pushed order inside a group.
    `left_out` is the number of series that are not exposed.
    """

    families: tuple[MetricFamily, ...]
    left_out: int


def resolve(contested: Iterable[Contested], own: Mapping[str, MetricType]) -> Resolution:
    """Choose what to expose of families that conflict, so that the result could be the answer to a scrape.

    Of one name, the type that is oldest wins, so that a series on which alerts rely is not replaced by a stray push. Of
    two names that collide through _bucket, _sum or _count, the older family wins. The gateway's own families beat all.
    Of the same series, what was pushed last wins, as in a group; inside one block the last one. Equal times are decided
    by group key and name. Never raises.

    Args:
        contested: The decoded blocks, in any order.
        own: The gateway's own families. A family of the same name and type is exposed beside ours: the caller merges.

    Returns:
        The families, HELP being that of the newest push, and the number of series left out.
    """
    ordered = sorted(contested, key=lambda one: (one.block.name, one.block.group))
    candidates = [
        _oldest_type(list(blocks), own.get(name)) for name, blocks in groupby(ordered, key=attrgetter("block.name"))
    ]
    winners = _without_collisions([blocks for blocks in candidates if blocks], own)
    families = tuple(_merge(blocks) for blocks in winners)
    exposed = sum(len(family.metrics) for family in families)
    return Resolution(families, sum(len(one.metrics) for one in ordered) - exposed)


def _typed_at(one: Contested) -> tuple[float, str]:
    return one.block.typed_at_seconds, one.block.group


def _oldest_type(blocks: list[Contested], own_type: MetricType | None) -> list[Contested]:
    winner = own_type or min(blocks, key=_typed_at).block.type
    return [one for one in blocks if one.block.type is winner]


def _without_collisions(families: list[list[Contested]], own: Mapping[str, MetricType]) -> list[list[Contested]]:
    """Drop, from the youngest on, families whose names collide with an older one that stays; return them by name."""
    accepted = dict(own)
    kept = []
    for blocks in sorted(families, key=lambda blocks: (min(map(_typed_at, blocks))[0], blocks[0].block.name)):
        block = blocks[0].block
        if not any(
            rival in accepted and (types is None or accepted[rival] in types)
            for rival, types in suffix_rivals(block.name, block.type)
        ):
            accepted[block.name] = block.type
            kept.append(blocks)
    return sorted(kept, key=lambda blocks: blocks[0].block.name)


def _merge(blocks: Sequence[Contested]) -> MetricFamily:
    """Join the blocks of one name and type, given in the order of their groups."""
    by_age = sorted(range(len(blocks)), key=lambda at: (blocks[at].block.pushed_at_seconds, blocks[at].block.group))
    holder: dict[Labels, tuple[int, int]] = {}
    for at in by_age:
        for index, metric in enumerate(blocks[at].metrics):
            holder[identity(metric.labels)] = (at, index)
    newest = blocks[by_age[-1]].block
    metrics = tuple(blocks[at].metrics[index] for at, index in sorted(holder.values()))
    return MetricFamily(newest.name, newest.type, newest.help, metrics, newest.unit)
