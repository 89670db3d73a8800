"""How is the database laid out, and how does an older layout become today's?

    groups        one row a group: its key, what its families come to, and when it was pushed and refused
    headers       one row for each (name, type, help, unit) that some family has: its HELP and TYPE lines, stored once;
                  and once more if some families have names beyond the legacy grammar, of labels too (`legacy`)
    families      one row a family of a group: its series' hashes, its finished text and its canonical form
    large_bodies  text and canonical form where they are large, and how large they are together; the largest are
                  compressed (`packing`). `families` then has NULL and the id
    hash_pages    sorted hashes, some to a row, where they are many; `families` then has NULL
    totals        one row: how many groups, families and series there are

Measured with 1 000 groups of 10 families and 20 samples, the reasons for this layout:

- `families` is clustered by group, so that a push dirties two or three pages: 0.32 ms a push, where clustering by name
  took 0.43 ms and dirtied ten.
- A search compares whole rows of a table without rowid, so a large row would be read by the searches that pass it:
  beside a family of 9 MB the pushes of others took 4 to 10 ms longer. So no row of such a table is large.
- Overwriting a family changes no index: only rows that come, go or change their header touch one.
- A scrape reads one small integer beside each body: 5.9 ms, where name, type, help and time in each row took 11.1 ms.
- `groups.shape` is NULL until a push has succeeded. So a group that only ever failed, which holds no series, counts
  for nothing when twins are looked for, and cannot use up the shapes of its job.
- What a group's families come to stands in its row, which a push writes anyway, and its labels stand there once more,
  as `listing` searches them. So a list of 100 000 groups looks at no family. What the list always looks at comes first
  in the row: behind a long key or reason is a chain of overflow pages.
- `groups.signature` tells, while no family is suspect, that a push brings the series that its group has, and no others:
  then there is nothing to look up but that (`sqlite_writes`), 0.08 ms a push of 20 samples where it was 0.13.
- The shapes of a job come from a loose scan of an index (0.01 ms, and 0.001 more for each shape), not from a table of
  their own, which every group that comes or goes would have to keep in step.

The version is SQLite's user_version; application_id marks the file as ours (https://sqlite.org/pragma.html).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Final

from pushgateway.model import GroupingKey, MetricType
from pushgateway.storage.listing import labels_of
from pushgateway.storage.packing import pack

__all__ = [
    "APPLICATION_ID",
    "MIGRATIONS",
    "STAMP",
    "TABLES",
    "TYPES",
    "TYPE_CODES",
    "VERSION",
    "SchemaError",
    "application_id",
    "create",
    "migrate",
    "newer",
    "verify",
    "version",
]

APPLICATION_ID: Final = 0x50474D53
"""``PGMS``, at offset 68 of the file."""

VERSION: Final = 5
"""The layout that this program reads and writes."""

TABLES: Final = frozenset({"groups", "headers", "families", "large_bodies", "hash_pages", "totals"})

_HASH_BYTES: Final = 8
"""The hash of one series, as it was when version 1 was laid out: a step keeps to the layouts that it knows."""

TYPES: Final = (
    MetricType.COUNTER,
    MetricType.GAUGE,
    MetricType.SUMMARY,
    MetricType.UNTYPED,
    MetricType.HISTOGRAM,
    MetricType.GAUGE_HISTOGRAM,
)
"""A type's index here is how it is stored: the numbers of io.prometheus.client.MetricType."""

TYPE_CODES: Final[Mapping[MetricType, int]] = {type_: code for code, type_ in enumerate(TYPES)}

STAMP: Final = "random() >> 18"
"""What gives a group another stamp: of 46 bits, so that 100 000 of them add up to an integer."""

_GROUPS: Final = (
    f"""
    CREATE TABLE groups (
        id INTEGER PRIMARY KEY,
        pushed_at REAL NOT NULL,
        failed_at REAL NOT NULL,
        families INTEGER NOT NULL,
        family_series INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        legacy INTEGER NOT NULL,
        stamp INTEGER NOT NULL DEFAULT ({STAMP}),
        labels BLOB NOT NULL,
        key TEXT NOT NULL UNIQUE,
        job TEXT NOT NULL,
        shape TEXT,
        series BLOB NOT NULL,
        failure_reason TEXT NOT NULL
    )
    """,
    "CREATE INDEX groups_by_shape ON groups (job, shape) WHERE shape IS NOT NULL",
)

# What is looked up without the bodies stands before them.
_LARGE_BODIES: Final = """
    CREATE TABLE large_bodies (
        id INTEGER PRIMARY KEY,
        bytes INTEGER NOT NULL,
        text BLOB NOT NULL,
        metrics BLOB NOT NULL
    )
"""

_ADD_SIGNATURES: Final = "ALTER TABLE groups ADD COLUMN signature BLOB"

_STATEMENTS: Final = (
    *_GROUPS,
    _ADD_SIGNATURES,
    """
    CREATE TABLE headers (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        type INTEGER NOT NULL,
        help TEXT NOT NULL,
        unit TEXT NOT NULL,
        legacy INTEGER NOT NULL,
        UNIQUE (name, type, help, unit, legacy)
    )
    """,
    # The bodies stand last: what is looked up without them then never follows a chain of overflow pages.
    """
    CREATE TABLE families (
        group_id INTEGER NOT NULL,
        name TEXT NOT NULL,
        header INTEGER NOT NULL,
        suspect INTEGER NOT NULL,
        pushed_at REAL NOT NULL,
        typed_at REAL NOT NULL,
        large INTEGER,
        hashes BLOB,
        text BLOB,
        metrics BLOB,
        PRIMARY KEY (group_id, name)
    ) WITHOUT ROWID
    """,
    _LARGE_BODIES,
    """
    CREATE TABLE hash_pages (
        group_id INTEGER NOT NULL,
        name TEXT NOT NULL,
        first BLOB NOT NULL,
        hashes BLOB NOT NULL,
        PRIMARY KEY (group_id, name, first)
    ) WITHOUT ROWID
    """,
    "CREATE TABLE totals (groups INTEGER NOT NULL, families INTEGER NOT NULL, series INTEGER NOT NULL)",
    "INSERT INTO totals VALUES (0, 0, 0)",
    "CREATE INDEX families_by_header ON families (header)",
    "CREATE INDEX families_suspect ON families (header) WHERE suspect",
)

Migration = Callable[[sqlite3.Connection], None]


def _to_version_2(db: sqlite3.Connection) -> None:
    """Add the totals, and whether names are legacy, as all are in version 1."""
    _count_what_is_stored(db)
    db.execute("ALTER TABLE groups ADD COLUMN legacy INTEGER NOT NULL DEFAULT 1")
    db.execute("ALTER TABLE headers RENAME TO headers_1")
    db.execute(
        """
        CREATE TABLE headers (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            type INTEGER NOT NULL,
            help TEXT NOT NULL,
            unit TEXT NOT NULL,
            legacy INTEGER NOT NULL,
            UNIQUE (name, type, help, unit, legacy)
        )
        """
    )
    db.execute("INSERT INTO headers SELECT id, name, type, help, unit, 1 FROM headers_1")
    db.execute("DROP TABLE headers_1")


def _count_what_is_stored(db: sqlite3.Connection) -> None:
    """Add the totals, and reckon them once."""
    db.execute("CREATE TABLE totals (groups INTEGER NOT NULL, families INTEGER NOT NULL, series INTEGER NOT NULL)")
    db.execute(
        f"""
        INSERT INTO totals SELECT
            (SELECT count(*) FROM groups),
            (SELECT count(*) FROM families),
            (
                (SELECT coalesce(sum(length(hashes)), 0) FROM families)
                + (SELECT coalesce(sum(length(hashes)), 0) FROM hash_pages)
            ) / {_HASH_BYTES}
        """  # noqa: S608 - the constant
    )


def _to_version_3(db: sqlite3.Connection) -> None:
    """Lay the groups out anew, with what their families come to, reckoned once, and with their labels."""
    db.execute("ALTER TABLE groups RENAME TO groups_2")
    db.execute("DROP INDEX groups_by_shape")
    for statement in _GROUPS:
        db.execute(statement)
    db.create_function("labels_of_key", 1, _labels_of_key, deterministic=True)
    # Both tables are read in the order of their keys, which begin with the group's id.
    db.execute(
        f"""
        WITH
            paged (group_id, hashes) AS (SELECT group_id, sum(length(hashes)) FROM hash_pages GROUP BY group_id),
            counted (group_id, families, hashes) AS (
                SELECT group_id, count(*), coalesce(sum(length(hashes)), 0) FROM families GROUP BY group_id
            )
        INSERT INTO groups SELECT
            id, pushed_at, failed_at, coalesce(c.families, 0),
            (coalesce(c.hashes, 0) + coalesce(p.hashes, 0)) / {_HASH_BYTES},
            bytes, legacy, {STAMP}, labels_of_key(key), key, job, shape, series, failure_reason
        FROM groups_2 LEFT JOIN counted c ON c.group_id = id LEFT JOIN paged p ON p.group_id = id
        """  # noqa: S608 - the constants
    )
    db.execute("DROP TABLE groups_2")


def _to_version_4(db: sqlite3.Connection) -> None:
    """Add the signatures, each of which the group's next push sets."""
    db.execute(_ADD_SIGNATURES)


def _to_version_5(db: sqlite3.Connection) -> None:
    """Compress what is largest: some 2 s for a GB of it."""
    db.execute("ALTER TABLE large_bodies RENAME TO large_bodies_4")
    db.execute(_LARGE_BODIES)
    rows = db.execute("SELECT id, text, metrics FROM large_bodies_4")
    packed = ((id_, size := len(text) + len(metrics), *pack(size, text, metrics)) for id_, text, metrics in rows)
    db.executemany("INSERT INTO large_bodies VALUES (?, ?, ?, ?)", packed)
    db.execute("DROP TABLE large_bodies_4")


def _labels_of_key(key: str) -> bytes:
    return labels_of(GroupingKey.of(json.loads(key)))


MIGRATIONS: Final[Mapping[int, Migration]] = {1: _to_version_2, 2: _to_version_3, 3: _to_version_4, 4: _to_version_5}
"""From which version each step leads to the next: 1 -> 2 is under 1."""


class SchemaError(Exception):
    """The database is not one that this program can use; the message says what was found and what was expected."""


def create(db: sqlite3.Connection) -> None:
    """Lay an empty database out, inside the caller's transaction."""
    for statement in _STATEMENTS:
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")


def version(db: sqlite3.Connection) -> int:
    """Return the version of the layout."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def application_id(db: sqlite3.Connection) -> int:
    """Return whose file it says that it is."""
    return int(db.execute("PRAGMA application_id").fetchone()[0])


def migrate(db: sqlite3.Connection, *, target: int = VERSION, steps: Mapping[int, Migration] = MIGRATIONS) -> None:
    """Bring an older layout up to date, inside the caller's transaction.

    Args:
        db: A database of ours.
        target: The version to reach.
        steps: A step for every version below it.

    Raises:
        SchemaError: The layout is newer than the program, or no step leads on from it.
    """
    found = version(db)
    if found > target:
        raise SchemaError(newer(found, target))
    for number in range(found, target):
        step = steps.get(number)
        if step is None:
            raise SchemaError(f"its schema has version {number}, from which no migration to {target} is known")
        step(db)
        db.execute(f"PRAGMA user_version = {number + 1}")


def newer(found: int, target: int = VERSION) -> str:
    """Say that a layout is newer than the program."""
    return f"its schema has version {found}, made by a newer release; this one knows versions up to {target}"


def verify(db: sqlite3.Connection) -> None:
    """Check that a database is ours, up to date and complete.

    Raises:
        SchemaError: It is not.
        sqlite3.Error: It cannot be read.
    """
    found_id = application_id(db)
    if found_id != APPLICATION_ID:
        raise SchemaError(f"its application_id is {found_id:#x} where {APPLICATION_ID:#x} was expected")
    found = version(db)
    if found > VERSION:
        raise SchemaError(newer(found))
    if found < VERSION:
        raise SchemaError(f"its schema has version {found}; a start of the gateway brings it to the {VERSION} of today")
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if missing := TABLES - tables:
        raise SchemaError(f"it has no table {', '.join(sorted(missing))}")
