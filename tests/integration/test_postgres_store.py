"""What does a store in PostgreSQL promise beyond the contract of every store?"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from pushgateway.errors import InconsistentPushError, StartError, StoreBusyError, StoreUnwritableError
from pushgateway.limits import Limits
from pushgateway.model import Change, Delete, Form, Refusal, Totals, Wipe
from pushgateway.storage import StatusBoard, Ticket, open_store, postgres, postgres_schema, prepare_store
from pushgateway.storage.base import UNKNOWN_OUTCOME
from pushgateway.storage.postgres import PostgresStore
from pushgateway.storage.postgres_connections import Link, Patience
from pushgateway.storage.postgres_schema import VERSION, set_up
from tests.contract.values import family, key, push
from tests.harness import poll
from tests.postgres import Postgres

STARTS = 10


@pytest.fixture
def url(postgres: Postgres) -> str:
    """An empty database without tables."""
    return postgres.create_database()


@contextmanager
def opened(url: str, *, board: StatusBoard | None = None, limits: Limits | None = None) -> Iterator[PostgresStore]:
    store = open_store(url, board=board or StatusBoard(), own={}, limits=limits or Limits())
    assert isinstance(store, PostgresStore)
    try:
        yield store
    finally:
        store.close()


def put(store: PostgresStore, job: str = "a", *, value: str = "1") -> None:
    store.apply(push(key(job), family("x", group=key(job), value=value)), Ticket())


def version(url: str) -> int:
    with psycopg.connect(url) as db:
        row = db.execute("SELECT version FROM pushgateway_meta").fetchone()
        assert row
        return int(row[0])


def test_ten_gateways_start_at_once(url: str) -> None:
    """The tables are made once, whole, however many gateways find that there are none."""
    start = threading.Barrier(STARTS)

    def prepare(_: int) -> str:
        start.wait(30)
        return prepare_store(url).problem

    for _ in range(3):
        with ThreadPoolExecutor(STARTS) as threads:
            assert list(threads.map(prepare, range(STARTS))) == [""] * STARTS
        with psycopg.connect(url, autocommit=True) as db:
            assert db.execute("SELECT count(*) FROM pushgateway_meta").fetchone() == (1,)
            assert db.execute("SELECT count(*) FROM pushgateway_locks").fetchone() == (2048,)
            tables = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            for (table,) in tables:
                db.execute(f"DROP TABLE {table}")  # type: ignore[call-overload] # no literal


def test_an_older_layout_is_migrated_once(url: str) -> None:
    """Of several that find an older layout, one takes the step, and the others wait for it."""
    prepare_store(url)
    taken: list[int] = []

    def step(db: psycopg.Connection[object]) -> None:
        taken.append(1)
        db.execute("ALTER TABLE pushgateway_groups ADD COLUMN more integer")

    def migrate(_: int) -> None:
        with closing(Link.made_of(url)) as db:
            set_up(db, target=VERSION + 1, steps={**postgres_schema.MIGRATIONS, VERSION: step})

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(migrate, range(4)))
    assert len(taken) == 1
    assert version(url) == VERSION + 1


def test_a_failed_migration_leaves_everything_as_it_was(url: str) -> None:
    """A step that fails half way has changed nothing."""
    prepare_store(url)

    def step(db: psycopg.Connection[object]) -> None:
        db.execute("ALTER TABLE pushgateway_groups ADD COLUMN more integer")
        db.execute("SELECT no_such_column")

    with closing(Link.made_of(url)) as db, pytest.raises(psycopg.errors.UndefinedColumn):
        set_up(db, target=VERSION + 1, steps={VERSION: step})
    assert version(url) == VERSION
    with psycopg.connect(url) as db, pytest.raises(psycopg.errors.UndefinedColumn):
        db.execute("SELECT more FROM pushgateway_groups")


def test_a_newer_layout_is_refused(url: str) -> None:
    """A gateway does not start on a newer layout; one that runs stops writing and reading when it is migrated."""
    prepare_store(url)
    with opened(url) as store:
        put(store)
        with psycopg.connect(url) as db:
            db.execute("UPDATE pushgateway_meta SET version = version + 1")
        changes: list[Change] = [
            push(key("a"), family("x", group=key("a"))),
            Delete(key("a")),
            Refusal(key("b"), 1.0, b"", "no"),
            Wipe(),
        ]
        for change in changes:
            with pytest.raises(StoreUnwritableError, match="made by a newer release"):
                store.apply(change, Ticket())
        assert "newer release" in store.unwritable_reason()
        with psycopg.connect(url) as db:
            assert db.execute("SELECT count(*) FROM pushgateway_groups").fetchone() == (1,)
    with pytest.raises(StartError, match="made by a newer release") as raised:
        prepare_store(url.replace("postgres@", "postgres:geheim@"))
    assert "geheim" not in str(raised.value)


def test_a_database_that_comes_later(postgres: Postgres) -> None:
    """A store whose server cannot be reached says so, and works as soon as it can, tables and all."""
    with Postgres() as server:
        url = server.create_database()
        server.stop()
        problem = prepare_store(url).problem
        assert "Connection refused" in problem
        board = StatusBoard()
        with opened(url, board=board) as store:
            with pytest.raises(StoreUnwritableError, match="Connection refused"):
                put(store)
            assert "Connection refused" in board.reason()
            server.start()
            put(store)
            assert board.reason() == ""
            # All connections break while they are not used: nobody notices.
            server.stop()
            server.start()
            put(store, value="2")
            assert b"2" in store.families(Form.TEXT).families[0].bodies[0]


def test_a_wrong_password(postgres: Postgres, url: str, tmp_path: Path) -> None:
    """A password is refused with the server's words, and taken from the file when it is right there."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS keeper")
        db.execute("CREATE ROLE keeper LOGIN PASSWORD 'geheim'")
        db.execute("GRANT ALL ON SCHEMA public TO keeper")
    mine = url.replace("postgres@", "keeper@")
    file = tmp_path / "password"
    file.write_text("falsch\n")
    assert "password authentication failed" in prepare_store(mine, password_file=str(file)).problem
    file.write_text("geheim\n")
    assert prepare_store(mine, password_file=str(file)).problem == ""


def test_a_commit_that_was_not_replicated_is_no_success() -> None:
    """A commit that returns with the warning that it has not waited for its standby is told as an unknown outcome.

    Also where the user is to get no warnings.
    """
    quiet: LiteralString = "ALTER ROLE postgres SET client_min_messages = error"
    with waiting_for_a_standby(quiet) as (url, store), ThreadPoolExecutor(1) as threads:
        pushing = threads.submit(put, store, value="2")
        with psycopg.connect(url, autocommit=True) as db:
            waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            poll(lambda: db.execute(waiting).fetchall(), seconds=10, what="the commit to wait for its standby")
        with pytest.raises(StoreUnwritableError, match=f"synchronous replication.*{UNKNOWN_OUTCOME}"):
            pushing.result()
        assert UNKNOWN_OUTCOME in store.unwritable_reason()


@pytest.mark.alone
def test_a_commit_that_waits_too_long_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that does not return in time is told as an unknown outcome."""
    monkeypatch.setattr(postgres, "_SHORT", Patience(0.5, 0.5, 0.5))
    with waiting_for_a_standby() as (_, store):
        with pytest.raises(StoreUnwritableError, match=f"did not answer in time; {UNKNOWN_OUTCOME}"):
            put(store, value="2")
        assert UNKNOWN_OUTCOME in store.unwritable_reason()


@contextmanager
def waiting_for_a_standby(before: LiteralString = "SELECT 1") -> Iterator[tuple[str, PostgresStore]]:
    """Have a server on which no commit returns, since it waits for a standby that is not there."""
    with Postgres() as server:
        url = server.create_database()
        with psycopg.connect(url, autocommit=True) as db:
            db.execute(before)
        prepare_store(url)
        with opened(url) as store:
            put(store)
            with psycopg.connect(url, autocommit=True) as db:
                db.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
                db.execute("SELECT pg_reload_conf()")
                show = "SHOW synchronous_standby_names"
                poll(lambda: db.execute(show).fetchone() == ("nobody",), seconds=10, what="the setting to be read")
            yield url, store


@pytest.mark.alone
def test_a_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer is given up in time, and used again when it is back."""
    monkeypatch.setattr(postgres, "_SHORT", Patience(0.5, 0.5, 0.5))
    with Postgres() as server:
        url = server.create_database()
        prepare_store(url)
        with opened(url) as store:
            put(store)
            with psycopg.connect(url) as db:
                rows = db.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'").fetchall()
            send(signal.SIGSTOP, rows)
            try:
                with pytest.raises(StoreUnwritableError, match="did not answer in time"):
                    put(store)
            finally:
                send(signal.SIGCONT, rows)
            put(store)


def send(number: signal.Signals, processes: list[tuple[int]]) -> None:
    for (pid,) in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def test_locks_are_not_waited_for_without_end(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for others longer than there is time for is told so, and nothing was stored."""
    monkeypatch.setattr(postgres, "_SHORT", Patience.of(5.0, lock_seconds=0.1))
    prepare_store(url)
    with opened(url) as store:
        put(store)
        with psycopg.connect(url) as db:
            db.execute("SELECT id FROM pushgateway_groups FOR UPDATE")
            with pytest.raises(StoreBusyError, match="other writers"):
                put(store, value="2")
        assert store.unwritable_reason() == ""
        assert b"1" in store.families(Form.TEXT).families[0].bodies[0]


@pytest.mark.alone
def test_pushes_to_other_groups_do_not_wait(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one group is being written, others of its job are pushed to, new ones with known families too."""
    monkeypatch.setattr(postgres, "_SHORT", Patience.of(5.0, lock_seconds=0.1))
    prepare_store(url)
    with opened(url) as store:
        for instance in "12":
            group = key("a", instance=instance)
            store.apply(push(group, family("x", group=group)), Ticket())
        with psycopg.connect(url) as db:
            key_one = key("a", instance="1").key.encode()
            db.execute("SELECT id FROM pushgateway_groups WHERE key = %s FOR UPDATE", (key_one,))
            # What a push of a known family to a new group holds until it commits.
            db.execute("SELECT id FROM pushgateway_locks FOR SHARE")
            for instance in "23":
                group = key("a", instance=instance)
                store.apply(push(group, family("x", group=group)), Ticket())
        assert store.totals()._replace(bytes=0) == Totals(3, 3, 3)


def test_serialization_failures_are_retried(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database cannot serialize what happens at once, as CockroachDB does by default, it is tried again."""
    monkeypatch.setattr(postgres, "_WRITING", "ISOLATION LEVEL SERIALIZABLE READ WRITE")
    prepare_store(url)
    outcomes: Counter[str] = Counter()

    def work(number: int) -> None:
        with opened(url) as store:
            for at in range(20):
                group = key(f"{at % 3}")
                try:
                    store.apply(push(group, family(f"x{number}", group=group), replace=False), Ticket())
                    outcomes["stored"] += 1
                except StoreBusyError:
                    outcomes["busy"] += 1

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(work, range(3)))
    assert outcomes.total() == 60
    assert outcomes["stored"] >= 55
    with opened(url) as store:
        assert len(store.groups()) == 3


def test_totals_and_contents_agree_after_a_race(url: str) -> None:
    """Pushes, merges, deletes, refusals and wipes of several stores leave totals that are a recount, and no orphans."""
    prepare_store(url)

    def work(number: int) -> None:
        with opened(url) as store:
            for at in range(40):
                group = key("a", **({"l": str(at % 4)} if at % 3 else {}))
                change = push(group, *(family(f"x{n}", group=group) for n in range(at % 3)), replace=bool(at % 2))
                try:
                    store.apply(
                        Wipe() if at == 20 + number else Delete(group) if at % 7 == number else change, Ticket()
                    )
                except InconsistentPushError:
                    continue

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    with opened(url) as store, psycopg.connect(url) as db:
        families = [block for contents in store.groups() for block in contents.families]
        assert store.totals()._replace(bytes=0) == Totals(len(store.groups()), len(families), len(families))
        assert db.execute("SELECT count(*) FROM pushgateway_families").fetchone() == (len(families),)
        rows = db.execute("SELECT families, family_series FROM pushgateway_groups ORDER BY key").fetchall()
        assert rows == [(len(contents.families),) * 2 for contents in store.groups()]
