"""Does another group hold a series of the push already?

`series` has found out which groups could: what is left are look-ups, and a limit on how many. They are made for all
groups at once, and not a group at a time: each kind of them may cost a round trip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from pushgateway.errors import LimitError
from pushgateway.rules import HASH_BYTES
from pushgateway.storage.lookups import Lookups
from pushgateway.storage.series import Projection

__all__ = ["Twin", "find_twins"]

_LOOK_UPS: Final = 50_000
"""For one push while it keeps others out, 3 to 5 microseconds each in SQLite."""

_FEW_KEYS: Final = 8
"""Up to so many keys are looked up without asking first how many groups the shape has."""

Twin: TypeAlias = tuple[str, bytes, str]
"""A family's name, the hash of a series, and the key of the group that holds it too."""


def find_twins(lookups: Lookups, projections: Mapping[str, Projection]) -> list[Twin]:
    """Look for series of a push in the groups of other shapes that they would have to be in.

    Args:
        lookups: In the write transaction.
        projections: For each shape of the push's job, as a JSON array, the groups and hashes to look for.

    Returns:
        One series for each group and family that holds some.

    Raises:
        LimitError: That would take too many look-ups.
    """
    return _Search(lookups).twins(projections)


class _Search:
    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups
        self._spent = 0

    def twins(self, projections: Mapping[str, Projection]) -> list[Twin]:
        wanted = [
            (key, name, hashes)
            for key, families in self._groups(projections).items()
            for name, hashes in families.items()
        ]
        if not wanted:
            return []
        self._count(len(wanted))
        twins = []
        rows = self._lookups.hashes([(key, name) for key, name, _ in wanted])
        for (key, name, hashes), row in zip(wanted, rows, strict=True):
            twin = None if row is None else self._twin(key, name, hashes, row[0])
            if twin is not None:
                twins.append((name, twin, key))
        return twins

    def _groups(self, projections: Mapping[str, Projection]) -> Projection:
        """Return the groups that are there, looking at the smaller side: at the shape's groups or at keys."""
        there: dict[str, Mapping[str, frozenset[bytes]]] = {}
        by_key: dict[str, Mapping[str, frozenset[bytes]]] = {}
        for shape, projection in projections.items():
            if len(projection) > _FEW_KEYS:
                most = min(len(projection) // 2, _LOOK_UPS)
                keys = self._lookups.groups_of_shape(shape, most)
                self._count(len(keys))
                if len(keys) < most:
                    there.update((key, projection[key]) for key in keys if key in projection)
                    continue
            by_key.update(projection)
        if by_key:
            self._count(len(by_key))
            there.update((key, by_key[key]) for key in self._lookups.known_groups(by_key))
        return there

    def _twin(self, key: str, name: str, wanted: frozenset[bytes], hashes: bytes | None) -> bytes | None:
        """Return the smallest of the wanted hashes that a family of a group has."""
        if hashes is not None:
            return min(wanted & _split(hashes), default=None)
        for page in self._lookups.pages(key, name, sorted(wanted)):
            self._count(1)
            if found := wanted & _split(page):
                return min(found)
        return None

    def _count(self, look_ups: int) -> None:
        self._spent += look_ups
        if self._spent > _LOOK_UPS:
            raise LimitError("twin-lookups", allowed=_LOOK_UPS)


def _split(data: bytes) -> frozenset[bytes]:
    return frozenset([data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)])
