"""Does a push cost the same, whatever is stored, and a first scrape no more for each group?

Counted in steps of SQLite's virtual machine, which are the same on every machine, not in time.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pushgateway.limits import Limits
from pushgateway.model import Change, Delete, GroupingKey, MetricType, Push, Refusal
from pushgateway.storage import schema, sqlite_lookups, sqlite_writes
from pushgateway.storage.checks import OwnFamilies, Rules
from pushgateway.storage.listing import labels_of
from pushgateway.storage.packing import add_unpacking
from pushgateway.storage.sqlite_sections import read_sections
from pushgateway.storage.sqlite_writes import MAX_FAMILY_BYTES, Prepared, apply_change
from tests.contract.values import family, key, push

FEW, MANY = 10, 100_000
SHAPES = 5


def fill(db: sqlite3.Connection, groups: int) -> None:
    """Store so many groups of one job, in several shapes, with two families of three in each, and helps that differ."""
    schema.create(db)
    db.execute("INSERT INTO headers VALUES (1, 'x', 1, '', '', 1), (2, 'h', 4, '', '', 1)")
    db.executemany(
        "INSERT INTO headers VALUES (?, 'y', 1, ?, '', 1)",
        ((10 + n, f"help {n}") for n in range(groups)),
    )
    for n in range(groups):
        group = key("a", **{f"l{n % SHAPES}": str(n)})
        hashes = family("x", group=group).hashes
        db.execute(
            "INSERT INTO groups VALUES (?, 1.0, 0.0, 2, 2, 0, 1, 7, ?, ?, 'a', ?, x'', '', NULL)",
            (n, labels_of(group), group.key, re.sub(r"\s", "", str(list(group.shape))).replace("'", '"')),
        )
        header, name = ((10 + n, "y"), (2, "h"))[n % 2]
        db.execute("INSERT INTO families VALUES (?, 'x', 1, 0, 1.0, 1.0, NULL, ?, x'', x'')", (n, hashes))
        db.execute("INSERT INTO families VALUES (?, ?, ?, 0, 1.0, 1.0, NULL, ?, x'', x'')", (n, name, header, hashes))


def database(path: Path, groups: int) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    add_unpacking(db)
    db.execute("PRAGMA synchronous = OFF")
    db.execute("BEGIN")
    fill(db, groups)
    db.execute("COMMIT")
    return db


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    """A database with few groups, and one with 100 000."""
    directory = tmp_path_factory.mktemp("cost")
    with closing(database(directory / "few.db", FEW)) as few, closing(database(directory / "many.db", MANY)) as many:
        yield few, many


def counted(db: sqlite3.Connection, work: Callable[[], object], *, every: int = 1) -> int:
    """Return how many steps some work takes, counted by so many; it is undone afterwards."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += every
        return 0

    db.execute("BEGIN IMMEDIATE")
    db.set_progress_handler(tick, every)
    try:
        work()
    finally:
        db.set_progress_handler(None, 0)
        db.execute("ROLLBACK")
    return count


def steps(db: sqlite3.Connection, change: Change) -> int:
    """Return how many steps a change takes; it is undone afterwards."""
    rules = Rules(OwnFamilies({"own": MetricType.GAUGE}), Limits(), may_wait=False, family_bytes=MAX_FAMILY_BYTES)
    return counted(db, lambda: apply_change(db, Prepared(change), rules))


def pushed(group: GroupingKey, *, replace: bool = True, checked: bool = True) -> Push:
    families = (
        family("x", group=group, series=({"l0": "7"}, {"m": "1"})),
        family("y", group=group, help="help 3"),
        family("h", MetricType.HISTOGRAM, group=group),
        family("z_total", MetricType.COUNTER, group=group),
    )
    return push(group, *families, replace=replace, checked=checked)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: pushed(key("a", l0="0")), "an old group is replaced"),
        (lambda: pushed(key("a", l0="5"), replace=False), "an old group is merged into"),
        (lambda: pushed(key("a", l0="new")), "a new group"),
        (lambda: pushed(key("a", new="1")), "a new group of a new shape"),
        (lambda: pushed(key("a", l1="1", l2="2")), "a group that could hold twins of two shapes"),
        (lambda: pushed(key("b")), "a new job"),
        (lambda: pushed(key("a", l0="0"), checked=False), "unchecked"),
        (lambda: push(key("b"), family("x", MetricType.COUNTER, group=key("b"))), "another type"),
        (lambda: push(key("b"), family("h_count", group=key("b"))), "a suffix of a histogram"),
        (lambda: push(key("a"), family("x", group=key("a"), series=({"l3": "3"},))), "a twin"),
        (lambda: push(key("a", l0="0")), "an empty push"),
        (lambda: Delete(key("a", l0="5")), "a delete"),
        (lambda: Refusal(key("a", l0="0"), 1.0, b"", ""), "a refusal"),
    ],
)
def test_steps(databases: tuple[sqlite3.Connection, sqlite3.Connection], make: Callable[[], Change], what: str) -> None:
    """A change takes nearly as many steps beside 100 000 groups of its job as beside 10."""
    few, many = databases
    assert 0 < steps(many, make()) <= 1.1 * steps(few, make()) + 10, what


def test_steps_beside_suspects(databases: tuple[sqlite3.Connection, sqlite3.Connection]) -> None:
    """The same holds when everything stored is suspect."""
    for db in databases:
        db.execute("BEGIN")
        db.execute("UPDATE families SET suspect = 1")
        db.execute("COMMIT")
    try:
        for change in (pushed(key("a", l0="0")), pushed(key("a", l0="new")), pushed(key("b"), checked=False)):
            few, many = (steps(db, change) for db in databases)
            assert 0 < many <= 1.1 * few + 10
    finally:
        for db in databases:
            db.execute("UPDATE families SET suspect = 0")


def test_steps_of_a_first_scrape(databases: tuple[sqlite3.Connection, sqlite3.Connection]) -> None:
    """To read 100 000 groups in sections takes no more steps a group than to read 10."""
    few, many = (
        counted(db, lambda db=db: read_sections(db, (), lambda one: None), every=every)  # type: ignore[misc]
        for db, every in zip(databases, (1, 1000), strict=True)
    )
    assert 0 < many / MANY <= few / FEW


def test_no_scans(databases: tuple[sqlite3.Connection, sqlite3.Connection]) -> None:
    """Every statement of a write finds its rows by an index, whatever an ANALYZE may have recorded."""
    db = databases[0]
    db.execute("ANALYZE")
    statements = [
        sql
        for module in (sqlite_writes, sqlite_lookups)
        for sql in vars(module).values()
        if isinstance(sql, str) and re.match(r"\s*(SELECT|UPDATE|DELETE|WITH)\b", sql)
    ]
    assert len(statements) > 10
    for sql in statements:
        parameters = [None] * (max(sql.count("?") - sql.count("?1"), 0) + ("?1" in sql))
        for *_, step in db.execute(f"EXPLAIN QUERY PLAN {sql}", parameters):
            allowed = step in {"SCAN found", "SCAN CONSTANT ROW"} or "INDEX families_suspect" in step
            assert not step.startswith("SCAN") or allowed, (sql, step)


def stored_series(path: Path, count: int) -> sqlite3.Connection:
    """Make a database with one group of job a that has one family of so many series."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    schema.create(db)
    group = key("a", l="1")
    change = push(group, family("x", group=group, series=tuple({"n": str(n)} for n in range(count))))
    db.execute("BEGIN")
    assert (
        apply_change(
            db, Prepared(change), Rules(OwnFamilies({}), Limits(), may_wait=True, family_bytes=MAX_FAMILY_BYTES)
        )
        is None
    )
    db.execute("COMMIT")
    return db


@pytest.mark.parametrize("twin", [{"l": "1", "n": "7"}, {"l": "1", "n": "x"}, {"l": "2", "n": "7"}])
def test_bytes_read_beside_a_large_family(tmp_path: Path, twin: dict[str, str]) -> None:
    """A push of one series reads a page of hashes of a family of 100 000 in another group, not all of them."""
    group = key("a")
    change = push(group, family("x", group=group, series=(twin,)))
    with closing(stored_series(tmp_path / "many.db", 100_000)) as db:
        sizes = "SELECT max(length(hashes)) FROM families UNION ALL SELECT max(length(hashes)) FROM hash_pages"
        # All that a step may read: nothing longer is stored.
        assert max(size or 0 for (size,) in db.execute(sizes)) <= 1024
        assert steps(db, change) < 1_000
