"""What does a gateway answer while something is wrong with its PostgreSQL, and does it recover by itself?"""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from pushgateway.storage.base import UNKNOWN_OUTCOME
from tests.harness import Gateway, poll
from tests.postgres import Postgres, SmallDiskPostgres, Standby
from tests.proxy import Failure, Proxy

RECOVERY_SECONDS = 20.0
CONNECTIONS = 40

Record = Callable[[str, str], None]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server that these tests may stop, and that takes few connections."""
    with Postgres(max_connections=str(CONNECTIONS)) as server:
        yield server


@pytest.fixture(scope="module")
def url(server: Postgres) -> str:
    """A database on it."""
    return server.create_database()


@pytest.fixture(scope="module")
def proxy(server: Postgres) -> Iterator[Proxy]:
    """The way to it."""
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def shared(url: str, proxy: Proxy) -> Iterator[Gateway]:
    """A gateway with two workers behind the proxy, which is never restarted."""
    with Gateway(f"--storage.url={proxy.through(url)}", "--web.workers=2") as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: Gateway, proxy: Proxy) -> Iterator[Gateway]:
    """The same, with one group stored and nothing wrong."""
    assert shared.push("job/a", b"x 1\n").status == 200
    yield shared
    proxy.failure = Failure.NONE
    proxy.committed.clear()


def assert_refused(gateway: Gateway, words: str, *, reads: bool) -> None:
    """A push is refused, and every part of the gateway says what is wrong: nothing but reads makes it unready."""
    push = gateway.push("job/a", b"x 2\n")
    assert (push.status, words in push.text) == (503, True), push.text
    assert int(push.header("Retry-After") or 0) > 0
    assert_told(gateway, words, reads=reads)


def assert_told(gateway: Gateway, words: str, *, reads: bool) -> None:
    """Health says what is wrong, and scrapes say it, or are refused with it."""
    healthy, ready, scrape = (gateway.get(path) for path in ("/-/healthy", "/-/ready", "/metrics"))
    assert (healthy.status, words in healthy.text) == (200, True), healthy.text
    assert (ready.status, words in ready.text) == (200 if reads else 503, True), ready.text
    if reads:
        assert writable(gateway) == 0
    else:
        assert (scrape.status, words in scrape.text) == (503, True), scrape.text


def writable(gateway: Gateway) -> float:
    """Return pushgateway_store_writable."""
    [line] = gateway.scrape()["pushgateway_store_writable"].lines
    return float(line.value)


def value(gateway: Gateway) -> float | None:
    """Return what is stored."""
    return gateway.scrape().value("x", job="a")


def assert_recovers(gateway: Gateway, what: str, record_property: Record) -> None:
    """Pushes succeed again, all by themselves, and nothing is left of the failure."""
    begun = time.monotonic()
    poll(lambda: gateway.push("job/a", b"x 3\n").status == 200, seconds=RECOVERY_SECONDS, what=f"{what}: a push")
    took = time.monotonic() - begun
    assert [gateway.get(path).text for path in ("/-/healthy", "/-/ready")] == ["OK", "OK"]
    assert writable(gateway) == 1
    assert value(gateway) == 3
    record_property("figure", f"PostgreSQL, {what}: pushes succeed again after {took:.2f} s")


def test_the_database_is_gone(gateway: Gateway, server: Postgres, proxy: Proxy, record_property: Record) -> None:
    """While the server is stopped, however rudely, all is refused with the reason; what was answered is there again."""
    server.stop(signal.SIGQUIT)
    try:
        assert_refused(gateway, "server closed the connection", reads=False)
    finally:
        server.start()
    assert value(gateway) == 1
    assert_recovers(gateway, "stopped immediately and started", record_property)


def test_a_push_that_is_cut_off_before_its_commit(gateway: Gateway, proxy: Proxy, record_property: Record) -> None:
    """A connection that breaks in the middle of a push leaves nothing of it; that is no unknown outcome."""
    proxy.failure = Failure.CUT_LOCKS
    assert_refused(gateway, "the database cannot be reached", reads=True)
    assert UNKNOWN_OUTCOME not in gateway.push("job/a", b"x 2\n").text
    proxy.failure = Failure.NONE
    assert value(gateway) == 1
    assert_recovers(gateway, "cut off before the commit", record_property)


@pytest.mark.parametrize(
    ("failure", "stored"),
    [
        (Failure.CUT_COMMIT, 1),
        (Failure.LOSE_ANSWER, 2),
        # It takes 6 s; the store's own test of a commit that waits too long does not.
        pytest.param(Failure.HOLD_ANSWER, 2, marks=pytest.mark.soak),
    ],
)
def test_a_commit_whose_answer_is_lost(
    gateway: Gateway, proxy: Proxy, record_property: Record, failure: Failure, stored: int
) -> None:
    """A push whose commit was not answered, or not in time, is a 503 that says so, whether it was stored or not."""
    proxy.failure = failure
    reply = gateway.push("job/a", b"x 2\n")
    proxy.failure = Failure.NONE
    assert (reply.status, UNKNOWN_OUTCOME in reply.text) == (503, True), reply.text
    assert int(reply.header("Retry-After") or 0) > 0
    assert proxy.committed.is_set() == (failure is not Failure.CUT_COMMIT)
    assert_told(gateway, UNKNOWN_OUTCOME, reads=True)
    assert value(gateway) == stored
    assert_recovers(gateway, failure.value, record_property)


def test_a_database_that_hangs(gateway: Gateway, proxy: Proxy, record_property: Record) -> None:
    """While nothing comes through, and nothing breaks, a push is refused in time and never applied; health says why."""
    proxy.failure = Failure.STALL
    reply = gateway.push("job/a", b"x 2\n")
    # Which of them depends on whether a connection was open.
    said = any(words in reply.text for words in ("the database did not answer", "connection timeout expired"))
    assert (reply.status, said) == (503, True), reply.text
    assert int(reply.header("Retry-After") or 0) > 0
    # The two may have asked together; what the question itself ends with after 2 s has other words.
    told = ("the database has not answered", "did not answer in time", "connection timeout expired")
    for path, status in (("/-/healthy", 200), ("/-/ready", 503)):
        health = gateway.get(path)
        assert (health.status, any(words in health.text for words in told)) == (status, True), health.text
    proxy.failure = Failure.NONE
    assert value(gateway) == 1
    assert_recovers(gateway, "hung", record_property)


@pytest.mark.alone
def test_health_is_answered_while_scrapes_wait(gateway: Gateway, server: Postgres, url: str) -> None:
    """When every thread for scrapes waits for the database, health is answered all the same."""
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(gateway.get("/metrics").status)) for _ in range(40)]
    with psycopg.connect(url) as db, psycopg.connect(server.url, autocommit=True) as observer:
        db.execute("LOCK TABLE pushgateway_families IN ACCESS EXCLUSIVE MODE")
        for thread in threads:
            thread.start()
        count = "SELECT count(*) >= 8 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        poll(lambda: observer.execute(count).fetchone() == (True,), seconds=10, what="all threads of both workers")
        assert [gateway.get(path).status for path in ("/-/healthy", "/-/ready", "/-/healthy")] == [200, 200, 200]
        assert statuses == []
    for thread in threads:
        thread.join()
    assert statuses == [200] * 40


def test_a_database_that_only_reads(gateway: Gateway, url: str, record_property: Record) -> None:
    """What an operator has set to be read only takes no pushes, and shows what it has."""
    name = url.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")  # type: ignore[call-overload]
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pushgateway'")
    assert_refused(gateway, "the database takes no writes", reads=True)
    assert value(gateway) == 1
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("SET default_transaction_read_only = off")
        db.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")  # type: ignore[call-overload]
    assert_recovers(gateway, "read only, then no longer", record_property)


def test_no_connection_is_left(gateway: Gateway, server: Postgres, record_property: Record) -> None:
    """While others have taken all connections of the server, all is refused with its words."""
    with contextlib.ExitStack() as stack:
        db = stack.enter_context(psycopg.connect(server.url, autocommit=True))
        rounds_without = 0
        # A process lives on a little after it has been told to end, and its place is free a little later still.
        while rounds_without < 2:
            ended = db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pushgateway'"
            ).fetchall()
            rounds_without = 0 if ended else rounds_without + 1
            time.sleep(0.1)
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    stack.enter_context(psycopg.connect(server.url))
        assert_refused(gateway, "too many clients", reads=False)
    assert_recovers(gateway, "all connections taken", record_property)


def test_a_full_disk(record_property: Record) -> None:
    """On a full disk pushes are refused, nothing stored is lost, scrapes go on; with room again pushes succeed."""
    large = b"".join(b'x{l="%d"} %a\n' % (number, random.random()) for number in range(5_000))
    with SmallDiskPostgres("64m") as server, Gateway(f"--storage.url={server.create_database()}") as gateway:
        assert gateway.push("job/a", b"x 1\n").status == 200
        assert gateway.push("job/b", large).status == 200
        filler = server.disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)
        reply = gateway.push("job/c", large)
        assert (reply.status, "the disk of the database is full" in reply.text) == (503, True), reply.text
        assert int(reply.header("Retry-After") or 0) > 0
        assert UNKNOWN_OUTCOME not in reply.text
        assert_told(gateway, "the disk of the database is full", reads=True)
        exposition = gateway.scrape()
        assert value(gateway) == 1
        assert {line.label_map["job"] for line in exposition["x"].lines} == {"a", "b"}
        filler.unlink()
        assert gateway.push("job/c", large).status == 200
        assert_recovers(gateway, "disk full, then room again", record_property)


def test_a_standby_takes_no_pushes_until_it_is_promoted(record_property: Record) -> None:
    """On a standby scrapes go on and pushes are refused; a commit that was not replicated is no success.

    When the standby is promoted, pushes succeed.
    """
    with Postgres(synchronous_standby_names="*") as primary:
        with psycopg.connect(primary.url, autocommit=True) as db:
            db.execute("SET synchronous_commit = local")
            db.execute("CREATE DATABASE test")
        with Standby(primary) as standby, Gateway(f"--storage.url={primary.url_of('test')}") as writer:
            assert writer.push("job/a", b"x 1\n").status == 200
            with Gateway(f"--storage.url={standby.url_of('test')}") as gateway:
                assert value(gateway) == 1
                assert_refused(gateway, "the database takes no writes; it may be a standby", reads=True)
                standby.stop()
                assert_cancelled(writer, primary)
                standby.start()
                assert_recovers(writer, "standby away, then back", record_property)
                primary.stop(signal.SIGKILL)
                assert_refused(gateway, "the database takes no writes", reads=True)
                assert value(gateway) == 3
                standby.promote()
                assert_recovers(gateway, "standby promoted", record_property)


def assert_cancelled(gateway: Gateway, primary: Postgres) -> None:
    """A push whose commit is told not to wait for the standby any longer is answered as an unknown outcome."""
    replies = []
    thread = threading.Thread(target=lambda: replies.append(gateway.push("job/a", b"x 2\n")))
    thread.start()
    with psycopg.connect(primary.url, autocommit=True) as db:
        waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        poll(lambda: db.execute(waiting).fetchall(), seconds=10, what="a commit that waits for its standby")
    thread.join()
    [reply] = replies
    assert (reply.status, UNKNOWN_OUTCOME in reply.text) == (503, True), reply.text
    assert "synchronous replication" in reply.text
    assert_told(gateway, UNKNOWN_OUTCOME, reads=True)
