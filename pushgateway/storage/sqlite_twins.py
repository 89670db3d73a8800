"""Does another group hold a series of the push already?

The costly part is done before the lock: cutting the series down to the label names of the job's other shapes, and
sorting the hashes of large families. Under the lock there are look-ups only, and a limit on how many.

Hashes are stored in one of two ways: with the family, if there are few, or as sorted pages of a table of their own, of
which a look-up reads one. (Incremental blob I/O, the other way to read a part, takes no tables without rowid.)
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from pushgateway.errors import LimitError, StoreBusyError
from pushgateway.model import Push, StoredFamily
from pushgateway.rules import HASH_BYTES, Projector

__all__ = ["HASHES_IN_ROW", "PushedSeries", "Twin", "find_twins", "hash_pages"]

HASHES_IN_ROW: Final = 128
"""How many hashes stand in their family's row: a look-up that compares them all takes 10 microseconds."""

_HASHES_IN_PAGE: Final = 96
"""With the name they stay below the 1 002 bytes at which SQLite would put a row of such a table on further pages."""

_LOOK_UPS: Final = 50_000
"""Under the lock, for one push, 3 to 5 microseconds each."""

_PROJECTIONS: Final = 4_000_000
"""Before the lock, for one push, about 3 s: series times shapes whose label names they have, and what follows."""

_A_KEY: Final = 20
"""What a group's key weighs among the projections: making it takes 16 microseconds."""

_PROJECTIONS_UNDER_LOCK: Final = 2_000
"""For shapes that were not there, or not looked for, before the lock: 2 ms, or 24 ms where a series has 63 labels."""

_FEW_KEYS: Final = 8
"""Up to so many keys are looked up without asking first how many groups the shape has."""

_Projection: TypeAlias = Mapping[str, Mapping[str, frozenset[bytes]]]
Twin: TypeAlias = tuple[str, bytes, str]
"""A family's name, the hash of a series, and the key of the group that holds it too."""

_GROUP_ID: Final = "SELECT id FROM groups WHERE key = ?"
_GROUPS_OF_SHAPE: Final = """
    SELECT key, id FROM groups INDEXED BY groups_by_shape WHERE job = ? AND shape = ? LIMIT ?
"""
_HASHES: Final = "SELECT hashes FROM families WHERE group_id = ? AND name = ?"
_PAGE: Final = """
    SELECT hashes FROM hash_pages WHERE group_id = ? AND name = ? AND first <= ? ORDER BY first DESC LIMIT 1
"""


class PushedSeries:
    """The series of a push, as far as they can be made ready before the lock.

    Args:
        push: What is to be stored.

    Attributes:
        count: How many there are.
        pages: The hashes of its large families as `hash_pages`.
        sizes: The bytes of each family in both forms.
        refusal: Set if the search would be too much work.
    """

    __slots__ = ("_made", "_projector", "_push", "_spent", "count", "pages", "refusal", "sizes")

    def __init__(self, push: Push) -> None:
        self._push = push
        self._projector: Projector | None = None
        self._made: dict[str, _Projection] = {}
        self._spent = 0
        self.count = sum(len(family.identities) for family in push.families)
        self.pages = {family.name: hash_pages(family) for family in push.families if _is_large(family)}
        self.sizes = [len(family.text) + len(family.metrics) for family in push.families]
        self.refusal: LimitError | None = None

    @property
    def job(self) -> str:
        """The push's job."""
        return self._push.key.job

    def is_quick(self, shapes: int) -> bool:
        """Return whether so many shapes may be left to be looked at under the lock."""
        return self.count * shapes <= _PROJECTIONS_UNDER_LOCK

    def project(self, shapes: Iterable[str]) -> None:
        """Find the groups of these shapes that could hold a series; sets `refusal` if that is too much work."""
        own = self._push.key.shape
        for text in shapes:
            shape = tuple(json.loads(text))
            if text in self._made or shape == own or self.refusal is not None or not self.count:
                continue
            projector = self._projector = self._projector or Projector(self._push)
            self._spent += projector.label_sets
            if self._spent <= _PROJECTIONS:
                self._spent += projector.covered(shape)
            if self._spent > _PROJECTIONS:
                self.refusal = LimitError("twin-projections", allowed=_PROJECTIONS)
            else:
                self._made[text] = projector.onto(shape)
                self._spent += _A_KEY * len(self._made[text])

    def onto(self, shapes: Sequence[str]) -> Mapping[str, _Projection]:
        """Return what was found for these shapes, looking at new ones only if that is quick.

        Raises:
            StoreBusyError: It is not. The caller is to come again without the lock.
        """
        new = [shape for shape in shapes if shape not in self._made]
        if new and self.count:
            if not self.is_quick(len(new)):
                raise StoreBusyError("the job has other shapes of groups than before the push; nothing was stored")
            self.project(new)
        return {shape: self._made[shape] for shape in shapes if shape in self._made}


def hash_pages(family: StoredFamily) -> list[tuple[bytes, bytes]]:
    """Return the hashes of a large family, sorted, as pages with the first hash of each; [] if they fit its row."""
    if not _is_large(family):
        return []
    data = family.hashes
    hashes = sorted(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))
    pages = range(0, len(hashes), _HASHES_IN_PAGE)
    return [(hashes[at], b"".join(hashes[at : at + _HASHES_IN_PAGE])) for at in pages]


def find_twins(db: sqlite3.Connection, job: str, projections: Mapping[str, _Projection]) -> list[Twin]:
    """Look for series of a push in the groups of other shapes that they would have to be in.

    Args:
        db: In the write transaction.
        job: The push's job.
        projections: For each shape, as a JSON array, the groups and hashes to look for.

    Returns:
        One series for each group and family that holds some.

    Raises:
        LimitError: That would take too many look-ups.
    """
    search = _Search(db, job)
    return [twin for shape, projection in projections.items() for twin in search.twins(shape, projection)]


class _Search:
    def __init__(self, db: sqlite3.Connection, job: str) -> None:
        self._db = db
        self._job = job
        self._look_ups = 0

    def twins(self, shape: str, projection: _Projection) -> Iterable[Twin]:
        for key, group_id in self._groups(shape, projection):
            for name, wanted in projection[key].items():
                twin = self._twin(group_id, name, wanted)
                if twin is not None:
                    yield name, twin, key

    def _groups(self, shape: str, projection: _Projection) -> Iterable[tuple[str, int]]:
        """Return the groups of a shape that are there, looking at the smaller side: at groups or at keys."""
        if len(projection) > _FEW_KEYS:
            most = min(len(projection) // 2, _LOOK_UPS)
            rows = self._db.execute(_GROUPS_OF_SHAPE, (self._job, shape, most)).fetchall()
            self._count(len(rows))
            if len(rows) < most:
                return [row for row in rows if row[0] in projection]
        return self._groups_by_key(projection)

    def _groups_by_key(self, keys: Iterable[str]) -> Iterable[tuple[str, int]]:
        for key in keys:
            self._count(1)
            row = self._db.execute(_GROUP_ID, (key,)).fetchone()
            if row is not None:
                yield key, row[0]

    def _twin(self, group_id: int, name: str, wanted: frozenset[bytes]) -> bytes | None:
        """Return the smallest of the wanted hashes that a family of a group has."""
        self._count(1)
        row = self._db.execute(_HASHES, (group_id, name)).fetchone()
        if row is None:
            return None
        if row[0] is None:
            return self._twin_in_pages(group_id, name, sorted(wanted))
        return min(wanted & _split(row[0]), default=None)

    def _twin_in_pages(self, group_id: int, name: str, wanted: Sequence[bytes]) -> bytes | None:
        page: frozenset[bytes] = frozenset()
        last = b""
        for one in wanted:
            if one > last:
                self._count(1)
                row = self._db.execute(_PAGE, (group_id, name, one)).fetchone()
                if row is None:
                    continue
                page, last = _split(row[0]), row[0][-HASH_BYTES:]
            if one in page:
                return one
        return None

    def _count(self, look_ups: int) -> None:
        self._look_ups += look_ups
        if self._look_ups > _LOOK_UPS:
            raise LimitError("twin-lookups", allowed=_LOOK_UPS)


def _split(data: bytes) -> frozenset[bytes]:
    return frozenset([data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)])


def _is_large(family: StoredFamily) -> bool:
    return len(family.hashes) > HASHES_IN_ROW * HASH_BYTES
