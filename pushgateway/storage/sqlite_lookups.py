"""How does SQLite look up what a decision on a push needs?

One statement a look-up: a call costs microseconds here, and there is no round trip to save.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from pushgateway.model import Totals
from pushgateway.rules import HASH_BYTES
from pushgateway.storage.lookups import Namesake, Sought
from pushgateway.storage.schema import TYPE_CODES, TYPES
from pushgateway.storage.sqlite_totals import read_totals

__all__ = ["NO_GROUP", "SqliteLookups", "paged_hashes", "shapes_of", "stored_hashes"]

NO_GROUP: Final = -1
"""An id that no group has."""

_NEXT_SHAPE: Final = """
    WITH RECURSIVE found (shape) AS (
        SELECT (SELECT shape FROM groups WHERE job = ?1 AND shape > '' ORDER BY shape LIMIT 1)
        UNION ALL
        SELECT (SELECT shape FROM groups WHERE job = ?1 AND shape > found.shape ORDER BY shape LIMIT 1)
        FROM found WHERE found.shape IS NOT NULL
    )
    SELECT shape FROM found WHERE shape IS NOT NULL
"""
_ANY_SUSPECT: Final = "SELECT 1 FROM families INDEXED BY families_suspect WHERE suspect LIMIT 1"
# CROSS JOIN keeps the order of the joins, and so the cost, whatever statistics somebody's ANALYZE has left.
_NAMESAKE: Final = """
    SELECT h.type, g.key
    FROM headers h CROSS JOIN families f INDEXED BY families_by_header CROSS JOIN groups g
    WHERE h.name = ? AND h.type IN (?, ?, ?, ?, ?, ?) AND f.header = h.id AND f.group_id <> ? AND g.id = f.group_id
    LIMIT 1
"""
_GROUP_ID: Final = "SELECT id FROM groups WHERE key = ?"
_GROUPS_OF_SHAPE: Final = """
    SELECT key, id FROM groups INDEXED BY groups_by_shape WHERE job = ? AND shape = ? LIMIT ?
"""
_HASHES: Final = "SELECT hashes FROM families WHERE group_id = ? AND name = ?"
_PAGE: Final = """
    SELECT hashes FROM hash_pages WHERE group_id = ? AND name = ? AND first <= ? ORDER BY first DESC LIMIT 1
"""
_PAGES: Final = "SELECT hashes FROM hash_pages WHERE group_id = ? AND name = ? ORDER BY first"


def shapes_of(db: sqlite3.Connection, job: str) -> list[str]:
    """Return the distinct shapes of a job's groups, as JSON arrays of label names, in one lookup a shape."""
    return [shape for (shape,) in db.execute(_NEXT_SHAPE, (job,))]


def paged_hashes(db: sqlite3.Connection, group_id: int, name: str) -> bytes:
    """Return the hashes of a family that stand in pages, sorted; b"" for none."""
    return b"".join([page for (page,) in db.execute(_PAGES, (group_id, name))])


def stored_hashes(db: sqlite3.Connection, key: str, names: Iterable[str]) -> dict[str, bytes]:
    """Return the hashes that stand in pages for families of a group."""
    row = db.execute(_GROUP_ID, (key,)).fetchone()
    return {} if row is None else {name: paged_hashes(db, row[0], name) for name in names}


class SqliteLookups:
    """The look-ups of one push; see `lookups.Lookups`.

    Args:
        db: In the write transaction.
        job: The push's job.
        group_id: Its group, `NO_GROUP` if that is new.
    """

    __slots__ = ("_db", "_group_id", "_ids", "_job")

    def __init__(self, db: sqlite3.Connection, *, job: str, group_id: int) -> None:
        self._db = db
        self._job = job
        self._group_id = group_id
        self._ids: dict[str, int] = {}

    def any_suspect(self) -> bool:
        """Return whether any stored family is suspect."""
        return self._db.execute(_ANY_SUSPECT).fetchone() is not None

    def namesakes(self, sought: Sequence[Sought]) -> Sequence[Namesake | None]:
        """Return for each whether it is stored."""
        return [self._namesake(one) for one in sought]

    def known_groups(self, keys: Collection[str]) -> Sequence[str]:
        """Return those of some groups that are stored."""
        for key in keys:
            row = self._db.execute(_GROUP_ID, (key,)).fetchone()
            if row is not None:
                self._ids[key] = row[0]
        return [key for key in keys if key in self._ids]

    def groups_of_shape(self, shape: str, most: int) -> Sequence[str]:
        """Return the keys of at most so many groups of a shape."""
        rows = self._db.execute(_GROUPS_OF_SHAPE, (self._job, shape, most)).fetchall()
        self._ids.update(rows)
        return [key for key, _ in rows]

    def hashes(self, families: Sequence[tuple[str, str]]) -> Sequence[tuple[bytes | None] | None]:
        """Return the hashes of families of these groups."""
        return [self._db.execute(_HASHES, (self._ids[key], name)).fetchone() for key, name in families]

    def pages(self, group: str, name: str, wanted: Sequence[bytes]) -> Iterable[bytes]:
        """Return the pages that may hold some hashes, each read when it is needed."""
        last = b""
        for one in wanted:
            if one > last:
                row = self._db.execute(_PAGE, (self._ids[group], name, one)).fetchone()
                page: bytes = b"" if row is None else row[0]
                last = page[-HASH_BYTES:]
                yield page

    def totals(self) -> Totals:
        """Return how much is stored in all."""
        return read_totals(self._db)

    def _namesake(self, sought: Sought) -> Namesake | None:
        codes = [TYPE_CODES[type_] for type_ in sought.types]
        codes += [codes[0]] * (len(TYPES) - len(codes))
        except_group = self._group_id if sought.elsewhere else NO_GROUP
        row = self._db.execute(_NAMESAKE, (sought.name, *codes, except_group)).fetchone()
        return None if row is None else Namesake(TYPES[row[0]], row[1])
