"""Does a layout lead to the next, and is any other refused?"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushgateway.model import GroupingKey, MetricType
from pushgateway.storage import schema
from pushgateway.storage.listing import labels_of
from pushgateway.storage.packing import add_unpacking, unpacked
from pushgateway.storage.schema import SchemaError

A, B = '[["job","a"]]', '[["instance","B"],["job","b"]]'
FIRST_LAYOUT = Path(__file__).parents[2] / "data" / "schema" / "version-1.sql"


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    """A database of today's layout."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    schema.create(db)
    yield db
    db.close()


@pytest.fixture
def first_layout() -> Iterator[sqlite3.Connection]:
    """A database of the layout of version 1."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(FIRST_LAYOUT.read_text())
    yield db
    db.close()


def test_create(db: sqlite3.Connection) -> None:
    """What `create` lays out is what `verify` expects."""
    schema.verify(db)
    assert schema.version(db) == schema.VERSION
    assert schema.application_id(db) == int.from_bytes(b"PGMS", "big")


def test_every_type_has_a_code() -> None:
    """Each metric type is stored as a number of its own."""
    assert set(schema.TYPES) == set(MetricType)
    assert [schema.TYPES[schema.TYPE_CODES[type_]] for type_ in MetricType] == list(MetricType)


def test_every_older_version_has_a_step() -> None:
    """A step leads on from each version that was ever released."""
    assert set(schema.MIGRATIONS) == set(range(1, schema.VERSION))


def test_migrate(db: sqlite3.Connection) -> None:
    """Steps are taken in order from the version found, and the version follows."""
    db.execute("INSERT INTO headers (name, type, help, unit, legacy) VALUES ('x', 0, '', '', 1)")
    newest = schema.VERSION
    steps = {
        newest: lambda db: db.execute("ALTER TABLE groups ADD COLUMN expires_at REAL"),
        newest + 1: lambda db: db.execute("UPDATE headers SET help = 'migrated'"),
    }
    schema.migrate(db, target=newest + 2, steps=steps)
    assert schema.version(db) == newest + 2
    assert db.execute("SELECT help FROM headers").fetchall() == [("migrated",)]
    assert db.execute("SELECT expires_at FROM groups").fetchall() == []
    schema.migrate(db, target=newest + 2, steps=steps)


def test_a_step_that_fails(db: sqlite3.Connection) -> None:
    """A migration that fails in the middle leaves the layout as it was, rolled back by the caller."""
    newest = schema.VERSION
    steps = {
        newest: lambda db: db.execute("CREATE TABLE more (x)"),
        newest + 1: lambda db: db.execute("ALTER TABLE missing ADD COLUMN x"),
    }
    db.execute("BEGIN")
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(db, target=newest + 2, steps=steps)
    db.execute("ROLLBACK")
    schema.verify(db)
    assert db.execute("SELECT name FROM sqlite_master WHERE name = 'more'").fetchall() == []


def test_newer_than_the_program(db: sqlite3.Connection) -> None:
    """A newer layout is refused, and says both versions."""
    db.execute("PRAGMA user_version = 7")
    with pytest.raises(SchemaError, match=rf"version 7, made by a newer release; .* up to {schema.VERSION}"):
        schema.migrate(db)
    with pytest.raises(SchemaError, match="version 7"):
        schema.verify(db)


def test_a_missing_step(db: sqlite3.Connection) -> None:
    """A version that no step leads on from is refused."""
    newest = schema.VERSION
    with pytest.raises(SchemaError, match=f"version {newest}, from which no migration to {newest + 1}"):
        schema.migrate(db, target=newest + 1, steps={})


def test_verify(db: sqlite3.Connection) -> None:
    """A database of another program, of another version, or without one of the tables, is refused."""
    for version, words in ((schema.VERSION - 1, "a start of the gateway brings it to"), (99, "by a newer release")):
        db.execute(f"PRAGMA user_version = {version}")
        with pytest.raises(SchemaError, match=f"its schema has version {version}.*{words}"):
            schema.verify(db)
    db.execute(f"PRAGMA user_version = {schema.VERSION}")
    db.execute("DROP TABLE families")
    with pytest.raises(SchemaError, match="no table families"):
        schema.verify(db)
    db.execute("PRAGMA application_id = 17")
    with pytest.raises(SchemaError, match="application_id is 0x11 where 0x50474d53 was expected"):
        schema.verify(db)


def test_a_file_of_version_1_is_reckoned_once_when_it_is_opened(first_layout: sqlite3.Connection) -> None:
    """A file of the first layout gets its totals, and those of each group, from what it holds, also from pages."""
    db = first_layout
    db.execute(
        "INSERT INTO groups VALUES (1, ?, 'a', '[]', x'', 7, 1.0, 0.0, ''), (2, ?, 'b', NULL, x'', 0, 0, 1, 'why')",
        (A, B),
    )
    db.execute("INSERT INTO families VALUES (1, 'x', 1, 0, 1.0, 1.0, NULL, ?, x'', x'')", (bytes(24),))
    db.execute("INSERT INTO families VALUES (1, 'y', 1, 0, 1.0, 1.0, NULL, NULL, x'', x'')")
    db.execute("INSERT INTO hash_pages VALUES (1, 'y', x'00', ?), (1, 'y', x'01', ?)", (bytes(96 * 8), bytes(32)))
    schema.migrate(db)
    schema.verify(db)
    assert db.execute("SELECT * FROM totals").fetchall() == [(2, 2, 3 + 96 + 4)]
    found = db.execute(
        "SELECT id, key, families, family_series, bytes, pushed_at, failed_at, failure_reason FROM groups"
    )
    assert found.fetchall() == [(1, A, 2, 3 + 96 + 4, 7, 1.0, 0.0, ""), (2, B, 0, 0, 0, 0.0, 1.0, "why")]
    labels = db.execute("SELECT labels FROM groups ORDER BY id").fetchall()
    assert labels == [(labels_of(GroupingKey.of(json.loads(key))),) for key in (A, B)]


def test_what_is_large_is_compressed_when_it_is_opened(first_layout: sqlite3.Connection) -> None:
    """Bodies of an older file are read as they were, the larger ones from frames, and their sizes are known."""
    db = first_layout
    bodies = {1: (b"a 1\n" * 5_000, b"m" * 100), 2: (b"b 2\n" * 50_000, b"n" * 70_000)}
    db.executemany("INSERT INTO large_bodies VALUES (?, ?, ?)", [(id_, *both) for id_, both in bodies.items()])
    schema.migrate(db)
    add_unpacking(db)
    read = f"SELECT id, bytes, {unpacked('text')}, {unpacked('metrics')} FROM large_bodies"  # noqa: S608 - constants
    assert db.execute(read).fetchall() == [(1, 20_100, *bodies[1]), (2, 270_000, *bodies[2])]
    stored = dict(db.execute("SELECT id, length(text) + length(metrics) FROM large_bodies"))
    assert stored[1] == 20_100
    assert stored[2] < 1_000


def test_all_names_of_version_1_are_legacy(first_layout: sqlite3.Connection) -> None:
    """Groups and headers keep their ids and columns, and their names count as legacy; the layout is today's then."""
    db = first_layout
    db.execute("INSERT INTO groups VALUES (7, ?, 'a', '[]', x'', 0, 1.0, 0.0, '')", (A,))
    db.execute("INSERT INTO headers VALUES (3, 'x', 1, 'An x.', 's')")
    schema.migrate(db)
    assert db.execute("SELECT id, key, legacy FROM groups").fetchall() == [(7, A, 1)]
    assert db.execute("SELECT * FROM headers").fetchall() == [(3, "x", 1, "An x.", "s", 1)]
    db.execute("INSERT INTO headers (name, type, help, unit, legacy) VALUES ('x', 1, 'An x.', 's', 0)")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO headers (name, type, help, unit, legacy) VALUES ('x', 1, 'An x.', 's', 0)")


def test_a_migrated_layout_has_what_a_new_one_has(db: sqlite3.Connection, first_layout: sqlite3.Connection) -> None:
    """Tables and indexes have the same columns, whichever version a file began with."""
    schema.migrate(first_layout)

    def layout(one: sqlite3.Connection) -> dict[str, set[str]]:
        names = [name for (name,) in one.execute("SELECT name FROM sqlite_master ORDER BY name")]
        return {name: {row[1] for row in one.execute(f"PRAGMA table_info({name})")} for name in names}

    assert layout(first_layout) == layout(db)
