"""What does each change do to the tables?

Runs inside a write transaction that the store begins and commits. A push looks first and writes afterwards, so that a
refusal has nothing to undo. What `checks` decides rests on a promise kept here: a header exists only while some family
has it, so that a name's types are found without looking at its groups.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Set
from typing import Final, NamedTuple, TypeAlias

from pushgateway.errors import RequestError
from pushgateway.limits import Limits
from pushgateway.model import Change, Delete, GroupingKey, MetricType, Push, Refusal, StoredFamily, Totals
from pushgateway.rules import HASH_BYTES
from pushgateway.storage.checks import QUICK_BYTES, Beside, Rules, check_quick, judge, overtaken, shape_text
from pushgateway.storage.growth import ONE_GROUP, exceeded
from pushgateway.storage.listing import labels_of
from pushgateway.storage.packing import pack
from pushgateway.storage.schema import STAMP, TYPE_CODES, TYPES
from pushgateway.storage.series import PushedSeries, cut_pages
from pushgateway.storage.sqlite_lookups import NO_GROUP, SqliteLookups, paged_hashes, shapes_of
from pushgateway.storage.sqlite_totals import SERIES_OF_FAMILY, add_totals, read_totals

__all__ = ["MAX_FAMILY_BYTES", "Prepared", "apply_change", "give_back_space"]

_FIND_GROUP: Final = "SELECT id, shape, families, family_series, bytes, pushed_at FROM groups WHERE key = ?"
_ADD_GROUP: Final = """
    INSERT INTO groups (
        key, labels, job, legacy, shape, series, families, family_series, bytes, pushed_at, signature,
        failed_at, failure_reason
    )
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PUSHED: Final = f"""
    series = ?, families = ?, family_series = ?, bytes = ?, pushed_at = ?, signature = ?, stamp = {STAMP}
"""
_TOUCH_GROUP: Final = f"UPDATE groups SET {_PUSHED} WHERE id = ?"  # noqa: S608 - the constant above
_FIRST_PUSH: Final = f"UPDATE groups SET {_PUSHED}, shape = ? WHERE id = ?"  # noqa: S608 - the constant above
_FAIL_GROUP: Final = f"UPDATE groups SET failed_at = ?, failure_reason = ?, stamp = {STAMP} WHERE id = ?"  # noqa: S608 - the constant
_PUSH_AGAIN: Final = f"""
    UPDATE groups SET bytes = ?, pushed_at = ?, stamp = {STAMP}
    WHERE key = ? AND signature = ? AND NOT EXISTS (SELECT 1 FROM families INDEXED BY families_suspect WHERE suspect)
    RETURNING id
"""  # noqa: S608 - the constant
_REPLACE_VALUES: Final = "UPDATE families SET pushed_at = ?, text = ?, metrics = ? WHERE group_id = ? AND name = ?"

_COLUMNS: Final = f"""
    f.name, f.header, h.type, h.help, h.unit, h.legacy, f.suspect, f.typed_at, f.hashes IS NULL, f.large,
    {SERIES_OF_FAMILY}
"""
_JOINED: Final = "FROM families f CROSS JOIN headers h WHERE h.id = f.header AND f.group_id = ?"
# Of what a PUT replaces the group's row tells the size. The length of a blob is read without the blob.
_ROWS: Final = f"SELECT {_COLUMNS}, 0 {_JOINED}"
_ROW: Final = f"""
    SELECT {_COLUMNS}, coalesce(
        length(f.text) + length(f.metrics),
        (SELECT b.bytes FROM large_bodies b WHERE b.id = f.large)
    )
    {_JOINED} AND f.name = ?
"""  # noqa: S608 - the constants above
_REPLACE_BODY: Final = """
    UPDATE families SET pushed_at = ?, large = ?, hashes = ?, text = ?, metrics = ? WHERE group_id = ? AND name = ?
"""
_REPLACE_ROW: Final = """
    REPLACE INTO families (group_id, name, header, suspect, pushed_at, typed_at, large, hashes, text, metrics)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_REMOVE_ROW: Final = "DELETE FROM families WHERE group_id = ? AND name = ?"
_ADD_LARGE: Final = "INSERT INTO large_bodies (bytes, text, metrics) VALUES (0, x'', x'')"
_REPLACE_LARGE: Final = "UPDATE large_bodies SET bytes = ?, text = ?, metrics = ? WHERE id = ?"
_REMOVE_LARGE: Final = "DELETE FROM large_bodies WHERE id = ?"
_LARGE_OF_GROUP: Final = "SELECT large FROM families WHERE group_id = ? AND large IS NOT NULL"
_ADD_HASHES: Final = "INSERT INTO hash_pages (group_id, name, first, hashes) VALUES (?, ?, ?, ?)"
_REMOVE_HASHES: Final = "DELETE FROM hash_pages WHERE group_id = ? AND name = ?"
_FIND_HEADER: Final = """
    SELECT id FROM headers WHERE name = ? AND type = ? AND help = ? AND unit = ? AND legacy = ?
"""
_ADD_HEADER: Final = "INSERT INTO headers (name, type, help, unit, legacy) VALUES (?, ?, ?, ?, ?)"
_RELEASE_HEADER: Final = """
    DELETE FROM headers WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM families WHERE header = ?1)
"""

_NO_BODY: Final = -1
"""An id that no row of large_bodies has."""

MAX_FAMILY_BYTES: Final = 900_000_000
"""Both forms of a family in a group. SQLite's limit is 10^9 for a row (https://sqlite.org/limits.html)."""

_BYTES_IN_ROW: Final = 16 << 10
"""Both forms of a family that stay in its row, on up to two pages beside it that a search has to read."""

_FREE_PAGES_KEPT: Final = 512
"""4 MiB, or 2 of an older file, whose pages are smaller: what a group that is deleted and pushed again may use without
the file shrinking and growing each time."""

_PAGES_GIVEN_BACK: Final = 8
_PAGES_GIVEN_BACK_WAITING: Final = 128
"""With each write, the larger number where waiting is allowed: giving a page back means moving another, 0.08 ms."""


_Row: TypeAlias = tuple[str, int, int, str, str, int, int, float, int, int | None, int, int]


class _StoredRow(NamedTuple):
    """What the push's own group has under a name already: `paged` if its hashes are in pages.

    `large` is where its bodies are, None if they are in its row; `series` is how many it has; `bytes` is how large both
    bodies are (0 in a PUT, to which the group's row tells it).
    """

    header: int
    type: MetricType
    help: str
    unit: str
    legacy: bool
    suspect: bool
    typed_at_seconds: float
    paged: bool
    large: int | None
    series: int
    bytes: int


class _Large(NamedTuple):
    """How large both forms of a family are together, and what is stored of them."""

    size_bytes: int
    text: bytes
    metrics: bytes


class Prepared:
    """A change with all that can be done about it before the lock.

    Args:
        change: What to do.

    Attributes:
        series: Those of a push.
        large: Those of its families that are too large for a row, by name.
        signature: What a push has in common with those that differ from it in values alone; None if it is not to be
            compared with its group's last one.
    """

    __slots__ = ("change", "large", "series", "signature")

    def __init__(self, change: Change) -> None:
        self.change = change
        self.series: PushedSeries | None = None
        self.large: dict[str, _Large] = {}
        self.signature: bytes | None = None
        if isinstance(change, Push):
            self.series = PushedSeries(change)
            for family, size in zip(change.families, self.series.sizes, strict=True):
                if size > _BYTES_IN_ROW:
                    self.large[family.name] = _Large(size, *pack(size, family.text, family.metrics))
            self.signature = _signature(change, self.series)


def apply_change(db: sqlite3.Connection, prepared: Prepared, rules: Rules) -> RequestError | None:
    """Carry a change out.

    Returns:
        Why a push was refused, to be raised once the failure time, which was written instead, is committed.

    Raises:
        StoreBusyError: The change is not quick, and the caller may not wait, or it has to be prepared again. Nothing
            has been changed.
    """
    change = prepared.change
    if isinstance(change, Push):
        series = prepared.series or PushedSeries(change)
        if prepared.signature is not None and _push_again(db, change, series, prepared.signature, rules):
            return None
        return _push(db, change, series, prepared, rules)
    if isinstance(change, Refusal):
        _fail(db, change, change.reason, rules.limits)
    elif isinstance(change, Delete):
        _delete(db, change.key, rules)
    else:
        for table in ("families", "large_bodies", "hash_pages", "headers", "groups"):
            db.execute(f"DELETE FROM {table}")  # noqa: S608 - one of five names
        db.execute("UPDATE totals SET groups = 0, families = 0, series = 0")
    return None


def give_back_space(db: sqlite3.Connection, *, may_wait: bool) -> None:
    """Let the file shrink a little if more than a quarter of it, and more than 4 MiB, is free.

    Rejected: VACUUM, which copies everything and locks everybody out; auto_vacuum = FULL, which does all at once.
    """
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    if free > _FREE_PAGES_KEPT and 4 * free > db.execute("PRAGMA page_count").fetchone()[0]:
        # A page a call: the statement stops after each, and the sqlite3 module takes that for its end.
        for _ in range(_PAGES_GIVEN_BACK_WAITING if may_wait else _PAGES_GIVEN_BACK):
            db.execute("PRAGMA incremental_vacuum(1)")


def _signature(push: Push, series: PushedSeries) -> bytes | None:
    """Return the likeness of a push, if it is known and no more than the rows of its group and families may change."""
    if push.contradictory or push.family_times is not None or push.yields_after_seconds is not None or series.paged:
        return None
    if max(series.sizes, default=0) > _BYTES_IN_ROW or sum(series.sizes) > QUICK_BYTES:
        return None
    return push.likeness or None


def _push_again(db: sqlite3.Connection, push: Push, series: PushedSeries, signature: bytes, rules: Rules) -> bool:
    """Store a push that brings just the families and series that its group has; returns False if it does not.

    There is nothing to decide: while no family is suspect, those that are stored do not conflict with each other.
    """
    if any(rules.own.may_concern(family.name) for family in push.families):
        return False
    values = (sum(series.sizes), push.received_at_seconds, push.key.key, signature)
    found = db.execute(_PUSH_AGAIN, values).fetchall()
    if not found:
        return False
    group_id, now = found[0][0], push.received_at_seconds
    rows = [(now, family.text, family.metrics, group_id, family.name) for family in push.families]
    db.executemany(_REPLACE_VALUES, rows)
    return True


def _push(
    db: sqlite3.Connection, push: Push, series: PushedSeries, prepared: Prepared, rules: Rules
) -> RequestError | None:
    found = db.execute(_FIND_GROUP, (push.key.key,)).fetchone()
    group_id, shape, families, count, size, pushed_at = found or (NO_GROUP, None, 0, 0, 0, 0.0)
    if (later := overtaken(push, pushed_at)) is not None:
        return later
    if push.replace:
        check_quick(size, rules)
    stored = _stored_rows(db, push, group_id)
    replaced = size if push.replace else sum(row.bytes for row in stored.values())
    check_quick(replaced, rules)
    beside = Beside(group_id == NO_GROUP, shape, stored, shapes_of(db, push.key.job))
    lookups = SqliteLookups(db, job=push.key.job, group_id=group_id)
    refusal, suspects, growth = judge(lookups, push, series, beside=beside, rules=rules)
    if refusal is not None:
        if push.yields_after_seconds is None:
            _fail(db, push, str(refusal), rules.limits)
        return refusal
    size += sum(series.sizes) - replaced
    is_alike = not suspects and families + growth.families <= len(push.families)
    signature = prepared.signature if is_alike else None
    state = (push.series, families + growth.families, count + growth.series, size, push.received_at_seconds, signature)
    if group_id == NO_GROUP:
        group_id = _inserted(db, _ADD_GROUP, (*_identity(push.key), shape_text(push.key), *state, 0.0, ""))
    elif shape is None:
        db.execute(_FIRST_PUSH, (*state, shape_text(push.key), group_id))
    else:
        db.execute(_TOUCH_GROUP, (*state, group_id))
    _store_families(db, push, group_id, stored, series, large=prepared.large, suspects=suspects)
    add_totals(db, growth)
    return None


def _identity(key: GroupingKey) -> tuple[object, ...]:
    """Return the columns of a group that never change."""
    return key.key, labels_of(key), key.job, key.legacy


def _stored_rows(db: sqlite3.Connection, push: Push, group_id: int) -> dict[str, _StoredRow]:
    """Return what the group has: all of it if the push replaces it, else under the pushed names only."""
    if group_id == NO_GROUP:
        return {}
    if push.replace:
        rows: Iterable[_Row] = db.execute(_ROWS, (group_id,))
    else:
        rows = (row for family in push.families for row in db.execute(_ROW, (group_id, family.name)))
    return {
        name: _StoredRow(
            header, TYPES[type_], help_, unit, bool(legacy), bool(suspect), typed_at, bool(paged), large, series, size
        )
        for name, header, type_, help_, unit, legacy, suspect, typed_at, paged, large, series, size in rows
    }


def _store_families(
    db: sqlite3.Connection,
    push: Push,
    group_id: int,
    stored: Mapping[str, _StoredRow],
    series: PushedSeries,
    *,
    large: Mapping[str, _Large],
    suspects: Set[str],
) -> None:
    times = push.family_times or {}
    bodies, rows, removed = [], [], []
    released: set[int] = set()
    _store_pages(db, group_id, stored, series)
    gone = dict(stored)
    for family in push.families:
        name, row = family.name, gone.pop(family.name, None)
        now = times.get(name, push.received_at_seconds)
        same_header = row is not None and _same_header(row, family)
        suspect = push.contradictory or name in suspects
        place: int | None = None
        text: bytes | None = family.text
        metrics: bytes | None = family.metrics
        if name in large:
            place, text, metrics = _store_large(db, large[name], row), None, None
        elif row is not None and row.large is not None:
            db.execute(_REMOVE_LARGE, (row.large,))
        values = (place, None if name in series.paged else family.hashes, text, metrics)
        if row is not None and same_header and not row.suspect and not suspect:
            bodies.append((now, *values, group_id, name))
            continue
        header = row.header if row is not None and same_header else _header(db, family)
        typed_at = row.typed_at_seconds if row is not None and row.type is family.type else now
        rows.append((group_id, name, header, suspect, now, typed_at, *values))
        if row is not None and row.header != header:
            released.add(row.header)
    for name, row in gone.items():
        removed.append((group_id, name))
        if row.large is not None:
            db.execute(_REMOVE_LARGE, (row.large,))
        released.add(row.header)
    for sql, many in ((_REPLACE_BODY, bodies), (_REPLACE_ROW, rows), (_REMOVE_ROW, removed)):
        if many:
            db.executemany(sql, many)
    _release(db, released)


def _store_large(db: sqlite3.Connection, family: _Large, row: _StoredRow | None) -> int:
    """Store a large family, where what it replaces is if that is large; return where it is."""
    place = None if row is None else row.large
    if place is None:
        place = _inserted(db, _ADD_LARGE, ())
    db.execute(_REPLACE_LARGE, (*family, place))
    if len(family.text) + len(family.metrics) > QUICK_BYTES:
        # sqlite3 keeps statements, and a statement keeps copies of what it was last given: 64 MB after such a family.
        db.execute(_REPLACE_LARGE, (0, b"", b"", _NO_BODY))
    return place


def _store_pages(db: sqlite3.Connection, group_id: int, stored: Mapping[str, _StoredRow], series: PushedSeries) -> None:
    """Replace the hashes that stand in pages: of `stored`, which the push replaces or removes, and of the push."""
    kept = {name for name in series.paged if _has_pages(db, group_id, stored.get(name), series, name)}
    for name, row in stored.items():
        if row.paged and name not in kept:
            db.execute(_REMOVE_HASHES, (group_id, name))
    for name in series.paged.keys() - kept:
        db.executemany(
            _ADD_HASHES, [(group_id, name, first, hashes) for first, hashes in cut_pages(series.sorted_hashes(name))]
        )


def _has_pages(db: sqlite3.Connection, group_id: int, row: _StoredRow | None, series: PushedSeries, name: str) -> bool:
    """Return whether a family has the pages of a pushed one: to see that takes a tenth of the time of writing them."""
    if row is None or not row.paged or row.series * HASH_BYTES != len(series.paged[name].hashes):
        return False
    return paged_hashes(db, group_id, name) == series.sorted_hashes(name)


def _same_header(row: _StoredRow, family: StoredFamily) -> bool:
    return (
        row.type is family.type and row.help == family.help and row.unit == family.unit and row.legacy is family.legacy
    )


def _header(db: sqlite3.Connection, family: StoredFamily) -> int:
    values = (family.name, TYPE_CODES[family.type], family.help, family.unit, family.legacy)
    row = db.execute(_FIND_HEADER, values).fetchone()
    return _inserted(db, _ADD_HEADER, values) if row is None else int(row[0])


def _release(db: sqlite3.Connection, headers: Iterable[int]) -> None:
    """Remove the headers that no family has any more."""
    for header in headers:
        db.execute(_RELEASE_HEADER, (header,))


def _fail(db: sqlite3.Connection, change: Push | Refusal, reason: str, limits: Limits) -> None:
    """Store a failure time, in a new group if need be, unless there are as many groups as there may be."""
    key, at_seconds = change.key, change.received_at_seconds
    row = db.execute(_FIND_GROUP, (key.key,)).fetchone()
    if row is not None:
        db.execute(_FAIL_GROUP, (at_seconds, reason, row[0]))
    elif exceeded(ONE_GROUP, limits, lambda: read_totals(db)) is None:
        db.execute(_ADD_GROUP, (*_identity(key), None, change.series, 0, 0, 0, 0.0, None, at_seconds, reason))
        add_totals(db, ONE_GROUP)


def _delete(db: sqlite3.Connection, key: GroupingKey, rules: Rules) -> None:
    row = db.execute(_FIND_GROUP, (key.key,)).fetchone()
    if row is None:
        return
    _, _, families, series, size, _ = row
    check_quick(size, rules)
    headers = [header for (header,) in db.execute("SELECT DISTINCT header FROM families WHERE group_id = ?", row[:1])]
    db.executemany(_REMOVE_LARGE, db.execute(_LARGE_OF_GROUP, row[:1]).fetchall())
    db.execute("DELETE FROM families WHERE group_id = ?", row[:1])
    db.execute("DELETE FROM hash_pages WHERE group_id = ?", row[:1])
    db.execute("DELETE FROM groups WHERE id = ?", row[:1])
    _release(db, headers)
    add_totals(db, Totals(-1, -families, -series))


def _inserted(db: sqlite3.Connection, sql: str, values: tuple[object, ...]) -> int:
    row_id = db.execute(sql, values).lastrowid
    assert row_id is not None  # noqa: S101 - an INSERT has one
    return row_id
