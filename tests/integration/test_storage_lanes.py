"""Does a running gateway stay responsive while another program holds SQLite's own lock, not the writers'?"""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pushgateway.errors import StoreUnreadableError, StoreUnwritableError, WouldBlockError
from pushgateway.limits import Limits
from pushgateway.model import Form
from pushgateway.storage import StatusBoard, Ticket, open_store, prepare_store, sqlite_handles
from pushgateway.storage.sqlite import SqliteStore
from tests.contract.values import family, key, push
from tests.harness import Gateway

HOLD_SECONDS = 3.0
LATENCY_SECONDS = 0.2
CHANGE = push(key(), family("x", group=key()))


@contextmanager
def sqlite_locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Be a program that is writing to the database without standing in the queue of writers."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as db:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


@pytest.mark.alone
def test_health_and_scrapes_while_sqlite_is_locked() -> None:
    """While pushes wait for SQLite's lock, health and scrapes answer at once, and the pushes are stored afterwards."""
    with Gateway() as gateway, ThreadPoolExecutor(8) as threads:
        assert gateway.push("job/first", b"x 1\n").status == 200
        times: dict[str, list[float]] = {path: [] for path in ("/-/healthy", "/-/ready", "/metrics")}
        with sqlite_locked(gateway.directory / "pushgateway.db"):
            pushes = [threads.submit(gateway.push, f"job/waiting/n/{n}", b"x 1\n") for n in range(8)]
            deadline = time.monotonic() + HOLD_SECONDS
            while time.monotonic() < deadline:
                for path, measured in times.items():
                    begun = time.monotonic()
                    assert gateway.get(path).status == 200
                    measured.append(time.monotonic() - begun)
                time.sleep(0.02)
            assert not any(reply.done() for reply in pushes)
        assert [reply.result().status for reply in pushes] == [200] * len(pushes)
    # The sleeper would answer a handful of requests, most of them after seconds.
    slow = {path for path, measured in times.items() if statistics.quantiles(measured, n=10)[-1] > LATENCY_SECONDS}
    assert slow == set()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    prepare_store(f"sqlite:{tmp_path}/x.db")
    return tmp_path / "x.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = open_store(f"sqlite:{path}", board=StatusBoard(), own={})
    assert isinstance(store, SqliteStore)
    yield store
    store.close()


def test_no_ticket_does_not_wait_for_sqlite(path: Path, store: SqliteStore) -> None:
    """Without a ticket a locked database is a reason to come again with one, which waits; it is no failure."""
    with ThreadPoolExecutor(1) as threads:
        with sqlite_locked(path):
            for _ in range(2):
                with pytest.raises(WouldBlockError, match="locked"):
                    store.apply(CHANGE, None)
            store.ping()
            waiting = threads.submit(store.apply, CHANGE, Ticket())
            with pytest.raises(WouldBlockError):
                store.apply(CHANGE, None)
        waiting.result(timeout=30)
    assert len(store.groups()) == 1
    assert store.unwritable_reason() == ""


def test_pings_and_pushes_do_not_wait_for_a_thread_that_opens(path: Path) -> None:
    """While a thread opens the database, a ping says so and a push without a ticket is sent to where it may wait."""
    store = SqliteStore(str(path), board=StatusBoard(), own={}, limits=Limits())
    with store._opening:
        with pytest.raises(StoreUnreadableError, match="being opened"):
            store.ping()
        with pytest.raises(WouldBlockError, match="being opened"):
            store.apply(CHANGE, None)
    store.ping()
    store.close()


def test_pings_have_a_connection_of_their_own(path: Path, store: SqliteStore) -> None:
    """Pings are answered from the open file, at once, although it has been deleted and all readers are at work."""
    store.apply(CHANGE, None)
    assert store._handles is not None
    with store._handles.reader():
        path.unlink()
        store.ping()
    assert len(store.families(Form.TEXT).families) == 1


def test_no_reader_is_opened_beside_other_files(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read for which no connection is left waits for one, and then fails: a new one would mix two databases."""
    store.apply(CHANGE, None)
    monkeypatch.setattr(sqlite_handles, "BUSY_SECONDS", 0.05)
    assert store._handles is not None
    with store._handles.reader():
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
        with pytest.raises(StoreUnreadableError, match=r"replaced.*remove .*-wal"):
            store.families(Form.TEXT)
        with pytest.raises(StoreUnwritableError, match="replaced"):
            store.apply(CHANGE, None)
    assert len(store.families(Form.TEXT).families) == 1
