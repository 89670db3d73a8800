"""Where could a series of a push already be stored, under another group?

Every series carries the labels of its group. So two groups with the same label names in their keys never hold the same
series, and for any other set of names (a shape) each series names at most one group that could hold it: the one whose
key is the series cut down to those names. That makes the search as long as the push, whatever is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import TypeAlias

from pushgateway.model import GroupingKey, Labels, Push, StoredFamily
from pushgateway.rules.labels import HASH_BYTES

__all__ = ["project"]

_Pick: TypeAlias = Callable[[Labels], Labels]


def project(push: Push, shape: tuple[str, ...]) -> Mapping[str, Mapping[str, frozenset[bytes]]]:
    """Find the groups of one shape that could hold a series of the push.

    Args:
        push: With the labels of its key in every identity, as `label` leaves them.
        shape: Sorted label names, `job` among them.

    Returns:
        For the key (`GroupingKey.key`) of each such group, and each family that is concerned: the hashes to look for.
        Never the push's own group: {} for its own shape.
    """
    if shape == push.key.shape:
        return {}
    fixed = dict(push.key.labels)
    loose = tuple(name for name in shape if name not in fixed)
    found: dict[Labels, dict[str, frozenset[bytes]]] = {}
    picks: dict[tuple[str, ...], _Pick | None] = {}
    for family in push.families:
        for pairs, members in _split(family, loose, picks).items():
            found.setdefault(pairs, {})[family.name] = frozenset(members)
    return {
        GroupingKey.of((*((name, fixed[name]) for name in shape if name in fixed), *pairs)).key: families
        for pairs, families in found.items()
    }


def _split(
    family: StoredFamily, loose: tuple[str, ...], picks: dict[tuple[str, ...], _Pick | None]
) -> Mapping[Labels, Iterable[bytes]]:
    """Sort a family's hashes by their series' labels of the names `loose`; leave out series that lack one of them.

    `picks` remembers, for each set of label names met, how to take these labels out (None: they are not all there).
    """
    members = [family.hashes[at : at + HASH_BYTES] for at in range(0, len(family.hashes), HASH_BYTES)]
    if not loose:
        return {(): members} if members else {}
    split: dict[Labels, list[bytes]] = {}
    for identity, member in zip(family.identities, members, strict=True):
        names = tuple([name for name, _ in identity])
        if names not in picks:
            picks[names] = _make_pick(names, loose)
        pick = picks[names]
        if pick is not None:
            split.setdefault(pick(identity), []).append(member)
    return split


def _make_pick(names: tuple[str, ...], loose: tuple[str, ...]) -> _Pick | None:
    positions = {name: position for position, name in enumerate(names)}
    if not positions.keys() >= set(loose):
        return None
    first, *others = [positions[name] for name in loose]
    # itemgetter returns a bare pair for one index.
    return itemgetter(first, *others) if others else lambda identity: (identity[first],)
