"""Where could a series of a push already be stored, under another group?

Every series carries the labels of its group. So two groups with the same label names in their keys never hold the same
series, and for any other set of names (a shape) each series names at most one group that could hold it: the one whose
key is the series cut down to those names. That makes the search as long as the push, whatever is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

from pushgateway.model import GroupingKey, Labels, Push
from pushgateway.rules.labels import HASH_BYTES

__all__ = ["Projector", "project"]

_Pick: TypeAlias = Callable[[Labels], Labels]
_NOTHING: Final[Mapping[str, Mapping[str, frozenset[bytes]]]] = {}


class _Alike(NamedTuple):
    """The series of a family that have the same label names."""

    family: str
    identities: list[Labels]
    members: list[bytes]


class Projector:
    """The series of a push, sorted by their label names once, so that a shape costs only the series that have its own.

    Args:
        push: With the labels of its key in every identity, as `label` leaves them.
    """

    def __init__(self, push: Push) -> None:
        self._key = push.key
        self._fixed = dict(push.key.labels)
        self._alike: dict[tuple[str, ...], list[_Alike]] = {}
        for family in push.families:
            of_family: dict[tuple[str, ...], _Alike] = {}
            for at, identity in enumerate(family.identities):
                names = tuple([name for name, _ in identity])
                alike = of_family.get(names)
                if alike is None:
                    alike = of_family[names] = _Alike(family.name, [], [])
                    self._alike.setdefault(names, []).append(alike)
                alike.identities.append(identity)
                alike.members.append(family.hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES])
        self._sets = [(frozenset(names), names) for names in self._alike]

    @property
    def label_sets(self) -> int:
        """How many sets of label names the series have: each costs every shape a comparison."""
        return len(self._sets)

    def covered(self, shape: tuple[str, ...]) -> int:
        """Return how many series have all label names of a shape, and so have to be cut down to them."""
        return sum(len(alike.members) for names in self._covering(shape) for alike in self._alike[names])

    def onto(self, shape: tuple[str, ...]) -> Mapping[str, Mapping[str, frozenset[bytes]]]:
        """Find the groups of one shape that could hold a series of the push.

        Args:
            shape: Sorted label names, `job` among them.

        Returns:
            For the key (`GroupingKey.key`) of each such group, and each family that is concerned: the hashes to look
            for. Never the push's own group: {} for its own shape.
        """
        if shape == self._key.shape:
            return _NOTHING
        fixed = self._fixed
        loose = tuple(name for name in shape if name not in fixed)
        found: dict[Labels, dict[str, list[bytes]]] = {}
        for names in self._covering(shape):
            pick = _make_pick(names, loose)
            for family, identities, members in self._alike[names]:
                if pick is None:
                    found.setdefault((), {}).setdefault(family, []).extend(members)
                    continue
                for pairs, member in zip(map(pick, identities), members, strict=True):
                    found.setdefault(pairs, {}).setdefault(family, []).append(member)
        shared = [(name, fixed[name]) for name in shape if name in fixed]
        return {
            GroupingKey.of((*shared, *pairs)).key: {name: frozenset(members) for name, members in families.items()}
            for pairs, families in found.items()
        }

    def _covering(self, shape: tuple[str, ...]) -> list[tuple[str, ...]]:
        wanted = frozenset(shape)
        return [names for as_set, names in self._sets if wanted <= as_set]


def project(push: Push, shape: tuple[str, ...]) -> Mapping[str, Mapping[str, frozenset[bytes]]]:
    """Find the groups of one shape that could hold a series of the push; see `Projector.onto`."""
    return Projector(push).onto(shape)


def _make_pick(names: tuple[str, ...], loose: tuple[str, ...]) -> _Pick | None:
    """Return what takes the labels `loose` out of a series with the label names `names`; None if it is to take none."""
    if not loose:
        return None
    positions = {name: position for position, name in enumerate(names)}
    first, *others = [positions[name] for name in loose]
    # itemgetter returns a bare pair for one index.
    return itemgetter(first, *others) if others else lambda identity: (identity[first],)
