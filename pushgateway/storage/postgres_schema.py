"""How is the database laid out on PostgreSQL, and how is it made when ten gateways start at once?

    pushgateway_meta        one row: the version of the layout; locked while the layout is made or changed
    pushgateway_groups      one row a group: its key, how large it is, and when it was pushed and refused; its labels
                            stand there once more, as `listing` searches them;
                            `stamp` is a random number, another one with each change of the group
    pushgateway_families    one row a family of a group: type, help, hashes, finished text and canonical form
    pushgateway_hash_pages  sorted hashes, some to a row, where they are many; pushgateway_families then has NULL
    pushgateway_suspects    one row for each family that is suspect
    pushgateway_totals      how many groups, families and series there are: the sum of some rows
    pushgateway_locks       rows that are locked and never changed: 1 024 for jobs, 1 024 for names

What differs from SQLite's layout, and why:

- Ids are the first 16 bytes of a hash (BLAKE2b) of what they stand for. So a gateway knows them without asking, two
  gateways agree on them, and an index never holds a key, name or help, which may be longer than an index row may be.
- Type and help stand in each family's row and not in a row that many groups share: rows that are shared, and go with
  their last user, would be one more thing for writers to meet at.
- A row that is locked for a job or a name stands for all whose hashes end alike: nothing has to be made, and later be
  removed, for a name that comes and goes. 1 024 of each: two of ten writers at work meet by chance in 4 of 100 cases.
- A row that is overwritten finds room in its page (fillfactor), so that its indexes stay as they are: all of 8 000
  updates in a test, where without room it was 6 of 10.
- All text is bytea: PostgreSQL's text can hold no NUL, and sorts as the database's locale says.

Nothing here is PostgreSQL's alone: no advisory locks (a pooler such as pgbouncer breaks those), no triggers, no LOCK
TABLE, no sequences.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors

from pushgateway.model import GroupingKey
from pushgateway.storage.listing import labels_of
from pushgateway.storage.schema import SchemaError, newer

__all__ = [
    "FIND_VERSION",
    "ID_BYTES",
    "JOB_LOCKS",
    "MIGRATIONS",
    "TABLES",
    "TOTALS_ROWS",
    "VERSION",
    "check_version",
    "identity",
    "job_lock",
    "name_lock",
    "set_up",
    "totals_row",
]

VERSION: Final = 2
"""The layout that this program reads and writes; counted apart from SQLite's."""

TABLES: Final = ("meta", "groups", "families", "hash_pages", "suspects", "totals", "locks")
"""The tables, without their prefix."""

JOB_LOCKS: Final = 1024
_NAME_LOCKS: Final = 1024

TOTALS_ROWS: Final = 64
"""Over how many rows the totals are spread: pushes that make something more meet only if they share one of them."""

ID_BYTES: Final = 16

_TRIES: Final = 20
_PAUSE_SECONDS: Final = 0.05
"""For starts that make the first table at the same time: of ten, nine meet the tenth once."""

_IN_THE_WAY: Final = (
    errors.UniqueViolation,
    errors.DuplicateTable,
    errors.DuplicateObject,
    errors.SerializationFailure,
    errors.DeadlockDetected,
)

_META: Final = "CREATE TABLE IF NOT EXISTS pushgateway_meta (id integer PRIMARY KEY, version integer NOT NULL)"
_ADD_META: Final = "INSERT INTO pushgateway_meta VALUES (1, 0) ON CONFLICT (id) DO NOTHING"
FIND_VERSION: Final = "SELECT version FROM pushgateway_meta WHERE id = 1"
"""For `check_version`."""

_LOCK_VERSION: Final = "SELECT version FROM pushgateway_meta WHERE id = 1 FOR UPDATE"
_SET_VERSION: Final = "UPDATE pushgateway_meta SET version = %s WHERE id = 1"

_SET_LABELS: Final = """
    UPDATE pushgateway_groups SET labels = made.labels FROM unnest(%b::bytea[], %b::bytea[]) AS made (id, labels)
    WHERE pushgateway_groups.id = made.id
"""
_ROWS_AT_ONCE: Final = 1000

_LAYOUT: Final = (
    """
    CREATE TABLE pushgateway_groups (
        id bytea PRIMARY KEY,
        key bytea NOT NULL,
        job bytea NOT NULL,
        shape_id bytea,
        shape bytea,
        series bytea NOT NULL,
        families integer NOT NULL,
        family_series bigint NOT NULL,
        bytes bigint NOT NULL,
        pushed_at double precision NOT NULL,
        failed_at double precision NOT NULL,
        failure_reason bytea NOT NULL,
        legacy boolean NOT NULL
    ) WITH (fillfactor = 70)
    """,
    # A group that no push has reached has no shape, and counts for nothing when twins are looked for.
    "CREATE INDEX pushgateway_groups_by_shape ON pushgateway_groups (job, shape_id)",
    """
    CREATE TABLE pushgateway_families (
        group_id bytea NOT NULL,
        name_id bytea NOT NULL,
        type smallint NOT NULL,
        suspect boolean NOT NULL,
        series integer NOT NULL,
        bytes bigint NOT NULL,
        pushed_at double precision NOT NULL,
        typed_at double precision NOT NULL,
        name bytea NOT NULL,
        help bytea NOT NULL,
        unit bytea NOT NULL,
        legacy boolean NOT NULL,
        hashes bytea,
        text bytea NOT NULL,
        metrics bytea NOT NULL,
        PRIMARY KEY (group_id, name_id)
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX pushgateway_families_by_name ON pushgateway_families (name_id, type)",
    """
    CREATE TABLE pushgateway_hash_pages (
        group_id bytea NOT NULL,
        name_id bytea NOT NULL,
        first bytea NOT NULL,
        hashes bytea NOT NULL,
        PRIMARY KEY (group_id, name_id, first)
    )
    """,
    # A table and not a partial index: whether it is empty is seen at once, whatever statistics the planner has.
    """
    CREATE TABLE pushgateway_suspects (
        group_id bytea NOT NULL,
        name_id bytea NOT NULL,
        PRIMARY KEY (group_id, name_id)
    )
    """,
    """
    CREATE TABLE pushgateway_totals (
        id integer PRIMARY KEY,
        groups bigint NOT NULL,
        families bigint NOT NULL,
        series bigint NOT NULL
    )
    """,
    f"INSERT INTO pushgateway_totals SELECT n, 0, 0, 0 FROM generate_series(0, {TOTALS_ROWS - 1}) n",  # noqa: S608 - a number
    "CREATE TABLE pushgateway_locks (id integer PRIMARY KEY)",
    f"INSERT INTO pushgateway_locks SELECT n FROM generate_series(0, {JOB_LOCKS + _NAME_LOCKS - 1}) n",  # noqa: S608 - a number
)

_Connection: TypeAlias = psycopg.Connection[Any]
Migration: TypeAlias = Callable[[_Connection], None]


def _lay_out(db: _Connection) -> None:
    for statement in _LAYOUT:
        db.execute(statement)


def _add_labels_and_stamps(db: _Connection) -> None:
    db.execute("ALTER TABLE pushgateway_groups ADD COLUMN labels bytea NOT NULL DEFAULT ''::bytea")
    db.execute("ALTER TABLE pushgateway_groups ADD COLUMN stamp bigint NOT NULL DEFAULT 0")
    rows = db.execute("SELECT id, key FROM pushgateway_groups").fetchall()
    for at in range(0, len(rows), _ROWS_AT_ONCE):
        ids, keys = zip(*rows[at : at + _ROWS_AT_ONCE], strict=True)
        labels = [labels_of(GroupingKey.of(json.loads(bytes(key)))) for key in keys]
        db.execute(_SET_LABELS, (list(ids), labels))


MIGRATIONS: Final[Mapping[int, Migration]] = {0: _lay_out, 1: _add_labels_and_stamps}
"""From which version each step leads to the next; 0 is a database without tables of ours."""


def identity(text: str) -> bytes:
    """Return the id of a key, job, name or shape."""
    return blake2b(text.encode(), digest_size=ID_BYTES).digest()


def job_lock(job_id: bytes) -> int:
    """Return which row is locked for a job."""
    return int.from_bytes(job_id[-2:]) % JOB_LOCKS


def name_lock(name_id: bytes) -> int:
    """Return which row is locked for a family's name; all of these rows come after those of jobs."""
    return JOB_LOCKS + int.from_bytes(name_id[-2:]) % _NAME_LOCKS


def totals_row(group_id: bytes) -> int:
    """Return in which row a group is counted."""
    return group_id[-1] % TOTALS_ROWS


def check_version(rows: Sequence[tuple[Any, ...]]) -> None:
    """Look at what `FIND_VERSION` has found: the layout may have been brought up to date while a gateway runs.

    Raises:
        SchemaError: A newer release has changed the layout.
    """
    found = rows[0][0] if rows else 0
    if found != VERSION:
        raise SchemaError(newer(found, VERSION))


def set_up(db: _Connection, *, target: int = VERSION, steps: Mapping[int, Migration] = MIGRATIONS) -> None:
    """Lay an empty database out, or bring an older layout up to date; nothing if that has been done.

    Of many that call this at the same time one does it, and the others wait for it: it is one transaction, in which the
    row of pushgateway_meta is locked.

    Args:
        db: In autocommit mode.
        target: The version to reach.
        steps: A step for every version below it.

    Raises:
        SchemaError: The layout is newer than the program.
        psycopg.Error: It cannot be done.
    """
    for more in reversed(range(_TRIES)):
        try:
            if _version(db) != target:
                _migrate(db, target, steps)
        except _IN_THE_WAY:
            # CREATE TABLE IF NOT EXISTS looks first and creates then; of two at the same time one fails, in whichever
            # of its catalogs it meets the other.
            if not more:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _version(db: _Connection) -> int:
    try:
        row = db.execute(FIND_VERSION).fetchone()
    except errors.UndefinedTable:
        return 0
    return 0 if row is None else int(row[0])


def _migrate(db: _Connection, target: int, steps: Mapping[int, Migration]) -> None:
    if _version(db) == 0:
        db.execute(_META)
        db.execute(_ADD_META)
    with db.transaction():
        row = db.execute(_LOCK_VERSION).fetchone()
        found = 0 if row is None else int(row[0])
        if found > target:
            raise SchemaError(newer(found, target))
        for number in range(found, target):
            steps[number](db)
            db.execute(_SET_VERSION, (number + 1,))
