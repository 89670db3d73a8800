"""Do the files stay small, whatever is overwritten, read meanwhile, or wiped?"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pushgateway.errors import WouldBlockError
from pushgateway.model import Delete, Form, Wipe
from pushgateway.storage import StatusBoard, Store, Ticket, open_store, prepare_store, sqlite, sqlite_handles
from pushgateway.storage.sqlite import SqliteStore
from tests.contract.values import family, key, push

MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """A store on an empty database."""
    store = open_store(prepare_store(f"sqlite:{path}").url, board=StatusBoard(), own={})
    assert isinstance(store, SqliteStore)
    yield store
    store.close()


def log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def put(store: Store, job: str, number: int, *, padding: int = 100, ticket: Ticket | None = None) -> None:
    families = (
        family(f"x_{i}", group=key(job), value=str(number), padding=(number * 7919 * (i + 1)) % (2 * padding))
        for i in range(3)
    )
    store.apply(push(key(job), *families, at=float(number)), ticket)


def test_overwriting_for_a_day(store: SqliteStore, path: Path) -> None:
    """Twenty thousand overwrites of groups, with deletes between them, leave database and log as large as before."""
    # What is written is the same without waiting for the disk.
    assert store._handles is not None
    store._handles.writer.execute("PRAGMA synchronous = OFF")
    sizes = []
    for number in range(20_001):
        put(store, str(number % 50), number)
        if number % 97 == 0:
            store.apply(Delete(key(str(number % 50))), None)
        if number % 4_000 == 0:
            store.families(Form.TEXT)
            sizes.append((path.stat().st_size, log(path).stat().st_size))
    databases, logs = zip(*sizes[1:], strict=True)
    assert max(databases) <= 1.25 * databases[0]
    assert max(logs) <= sqlite_handles.WAL_BYTES_KEPT


def test_reads_without_a_gap(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads that overlap without a gap make the log longer only to its limit, where a write waits for them."""
    monkeypatch.setattr(sqlite, "LOG_LIMIT_BYTES", MIB)
    store._log_limit_bytes = MIB
    put(store, "a", 0)
    largest, turned_away = 0, 0
    with closing(reading(path)) as first, closing(reading(path)) as second:
        current, other = first, second
        for number in range(500):
            if number % 10 == 0:
                begin(other)
                current.execute("COMMIT")
                current, other = other, current
            try:
                put(store, "a", number, padding=1_000)
            except WouldBlockError:
                turned_away += 1
                ending = threading.Timer(0.05, current.execute, ["COMMIT"])
                ending.start()
                put(store, "a", number, ticket=Ticket())
                ending.join()
                begin(current)
            largest = max(largest, log(path).stat().st_size)
        current.execute("COMMIT")
    assert turned_away > 2
    assert largest < 2 * MIB


def reading(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    begin(db)
    return db


def begin(db: sqlite3.Connection) -> None:
    if not db.in_transaction:
        db.execute("BEGIN")
    db.execute("SELECT count(*) FROM groups").fetchone()


def test_a_read_that_never_ends(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that never stops reading costs one wait for each further piece of the log, not one for each write."""
    monkeypatch.setattr(sqlite, "LOG_LIMIT_BYTES", MIB)
    store._log_limit_bytes = MIB
    put(store, "a", 0)
    waits = []
    restart = sqlite_handles.Handles.restart_log

    def restart_at_once(handles: sqlite_handles.Handles) -> bool:
        handles.writer.execute("PRAGMA busy_timeout = 0")
        waits.append(restart(handles))
        return waits[-1]

    monkeypatch.setattr(sqlite_handles.Handles, "restart_log", restart_at_once)
    with closing(reading(path)):
        for number in range(400):
            put(store, "a", number, padding=1_000, ticket=Ticket())
    assert 2 < len(waits) < 30
    assert not any(waits)
    put(store, "a", 0, padding=1_000, ticket=Ticket())
    for number in range(100):
        put(store, "a", number, padding=1_000, ticket=Ticket())
    assert log(path).stat().st_size <= sqlite_handles.WAL_BYTES_KEPT


@pytest.mark.parametrize("change", [Wipe(), Delete(key("giant"))])
def test_a_giant_gives_its_space_back(store: Store, path: Path, change: Wipe | Delete) -> None:
    """After a giant is wiped or deleted the file shrinks with the pushes that follow, a little with each."""
    put(store, "small", 1)
    giant = key("giant")
    store.apply(push(giant, *(family(f"g_{i}", group=giant, padding=50_000, dense=True) for i in range(200))), None)
    put(store, "small", 2)
    assert path.stat().st_size > 19 * MIB
    store.apply(change, Ticket())
    for number in range(350):
        put(store, "small", number)
    store.close()
    assert path.stat().st_size < 6 * MIB
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
