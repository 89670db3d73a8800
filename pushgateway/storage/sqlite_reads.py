"""How does one state of the store become a snapshot?

Runs inside a read transaction that the store begins and ends, and fetches everything, so that no slow scraper keeps a
transaction open, which would keep the log from starting again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, TypeAlias

from pushgateway.model import FamilyBlock, FamilyView, Form, Group, GroupContents, GroupPage, GroupQuery, Snapshot
from pushgateway.rules import contested_names
from pushgateway.storage.listing import Dialect, Listing
from pushgateway.storage.packing import unpacked
from pushgateway.storage.schema import TYPES
from pushgateway.storage.sqlite_totals import read_totals

__all__ = ["COLUMNS", "TEXT", "Header", "find_groups", "newest_headers", "read_group", "read_groups", "read_snapshot"]

Header: TypeAlias = tuple[int, str, int, str, str, int]

COLUMNS: Final = "key, series, pushed_at, failed_at, failure_reason, legacy"
_GROUPS: Final = f"SELECT {COLUMNS} FROM groups ORDER BY key"  # noqa: S608 - the constant above
_SIZED: Final = f"SELECT {COLUMNS}, bytes FROM groups"  # noqa: S608 - the constant above
_SIZED_GROUPS: Final = f"{_SIZED} ORDER BY key"
_GROUP: Final = f"{_SIZED} WHERE key = ?"
_HEADERS: Final = "SELECT id, name, type, help, unit, legacy FROM headers ORDER BY name, id"
_SUSPECTS: Final = """
    SELECT DISTINCT h.name, h.type FROM families f INDEXED BY families_suspect CROSS JOIN headers h
    WHERE f.suspect AND h.id = f.header
"""
# The rows of most families hold their bodies; a subquery in coalesce runs for the others only.
_LARGE: Final = "FROM large_bodies b WHERE b.id = f.large"
TEXT: Final = f"coalesce(f.text, (SELECT {unpacked('b.text')} {_LARGE}))"
_METRICS: Final = f"coalesce(f.metrics, (SELECT {unpacked('b.metrics')} {_LARGE}))"
# Bodies in the order of the groups' keys: appended to a list a family, they need no sorting.
_BODIES: Final = {
    # S608: one of the two constants above.
    form: f"SELECT f.header, {body} FROM groups g CROSS JOIN families f WHERE f.group_id = g.id ORDER BY g.key"  # noqa: S608
    for form, body in ((Form.TEXT, TEXT), (Form.METRICS, _METRICS))
}
_PUSHED_LAST: Final = """
    SELECT max(f.pushed_at) FROM families f INDEXED BY families_by_header WHERE f.header = ?
"""
_BLOCKS: Final = f"""
    SELECT h.name, h.type, h.help, {_METRICS}, g.key, f.pushed_at, f.typed_at, f.suspect, h.unit
    FROM headers h CROSS JOIN families f INDEXED BY families_by_header CROSS JOIN groups g
    WHERE h.name = ? AND f.header = h.id AND g.id = f.group_id ORDER BY g.key
"""  # noqa: S608 - the constant above
_ALL_FAMILIES: Final = f"""
    SELECT h.name, h.type, h.help, {_METRICS}, g.key, f.pushed_at, f.typed_at, f.suspect, h.unit
    FROM groups g CROSS JOIN families f CROSS JOIN headers h
    WHERE f.group_id = g.id AND h.id = f.header
"""  # noqa: S608 - the constant above
_CONTENTS: Final = f"{_ALL_FAMILIES} ORDER BY g.key, f.name"
_CONTENTS_OF_GROUP: Final = f"{_ALL_FAMILIES} AND g.key = ? ORDER BY f.name"


def _read_id(text: str) -> int:
    if not -(1 << 63) <= (number := int(text)) < 1 << 63:
        raise ValueError("SQLite has 64 bits for an integer")
    return number


_DIALECT: Final = Dialect(
    "groups",
    mark="?",
    contains="instr(labels, ?)",
    write_id=str,
    read_id=_read_id,
    # Groups that were pushed one after the other come newest first, so that few of them replace another in the page:
    # 55 ms for 100 000, where the other way round took 105.
    scan="ORDER BY id DESC LIMIT -1",
)


def read_snapshot(db: sqlite3.Connection, form: Form, *, legacy_only: bool) -> Snapshot:
    """Return all families, all groups, and apart from them what suspects concern, or has names that are not legacy."""
    named, many_helps = newest_headers(db)
    contested = contested_names((name, TYPES[code]) for name, code in db.execute(_SUSPECTS))
    if legacy_only:
        contested.update(name for name, (_, same) in named.items() if not all(header[5] for header in same))
    # Headers of one name share a list.
    lists: dict[str, list[bytes]] = {name: [] for name in named}
    bodies = {header[0]: lists[name] for name, (_, same) in named.items() for header in same}
    for header_id, body in db.execute(_BODIES[form]):
        bodies[header_id].append(body)
    views = [
        FamilyView(name, TYPES[newest[2]], newest[3], lists[name], newest[4])
        for name, (newest, _) in named.items()
        if name not in contested
    ]
    groups = _groups(db)
    blocks = [_block(row) for name in sorted(contested) for row in db.execute(_BLOCKS, (name,))]
    return Snapshot(views, groups, blocks, many_helps)


def newest_headers(db: sqlite3.Connection) -> tuple[dict[str, tuple[Header, list[Header]]], list[str]]:
    """Return for each name the header that was pushed last, and all; and the names whose help is not one."""
    named: dict[str, list[Header]] = {}
    for header in db.execute(_HEADERS):
        named.setdefault(header[1], []).append(header)
    many_helps = [name for name, same in named.items() if len(same) > 1 and len({header[3] for header in same}) > 1]
    return {name: (_newest(db, same), same) for name, same in named.items()}, many_helps


def read_groups(db: sqlite3.Connection) -> Sequence[GroupContents]:
    """Return all groups with their families."""
    families: dict[str, list[FamilyBlock]] = {}
    groups = db.execute(_SIZED_GROUPS).fetchall()
    for row in db.execute(_CONTENTS):
        families.setdefault(row[4], []).append(_block(row))
    return [GroupContents(Group._make(row), families.get(row[0], ()), size) for *row, size in groups]


def read_group(db: sqlite3.Connection, key: str) -> GroupContents | None:
    """Return one group with its families; None if it is not stored."""
    row = db.execute(_GROUP, (key,)).fetchone()
    if row is None:
        return None
    families = [_block(family) for family in db.execute(_CONTENTS_OF_GROUP, (key,))]
    return GroupContents(Group._make(row[:-1]), families or (), row[-1])


def find_groups(db: sqlite3.Connection, query: GroupQuery) -> GroupPage:
    """Return a page of the groups that a query is about.

    Raises:
        RequestError: The cursor is none of ours for this order.
    """
    listing = Listing(query, _DIALECT)
    matching: int = read_totals(db).groups if listing.is_all else db.execute(*listing.count()).fetchone()[0]
    if not (matching or query.cursor):
        return listing.result((), 0)
    rows = db.execute(*listing.page()).fetchall()
    from_start = listing.is_short(rows)
    if from_start:
        rows = db.execute(*listing.page(from_start=True)).fetchall()
    return listing.result(rows, matching, from_start=from_start)


def _groups(db: sqlite3.Connection) -> list[Group]:
    # The number stands for the truth value: a call of bool a group would cost more than it tells.
    return [Group._make(row) for row in db.execute(_GROUPS)]


def _newest(db: sqlite3.Connection, headers: Sequence[Header]) -> Header:
    """Return of the headers of one name the one that was pushed last."""
    if len(headers) == 1:
        return headers[0]
    return max((db.execute(_PUSHED_LAST, (header[0],)).fetchone()[0] or 0.0, header[0], header) for header in headers)[
        2
    ]


def _block(row: tuple[str, int, str, bytes, str, float, float, int, str]) -> FamilyBlock:
    name, code, help_, body, key, pushed_at, typed_at, suspect, unit = row
    return FamilyBlock(name, TYPES[code], help_, body, key, pushed_at, typed_at, bool(suspect), unit)
