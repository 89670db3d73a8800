"""Do changes happen one after the other, whoever makes them, and do reads see whole ones only?"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pushgateway.errors import InconsistentPushError, StoreBusyError, WouldBlockError
from pushgateway.model import Form, GroupingKey, MetricType, Push, Wipe
from pushgateway.storage import Store, Ticket
from tests.contract.conftest import Database
from tests.contract.values import family, key, push
from tests.contract.workers import WHOLE, numbered, race

ROUNDS = 40
REPOSITORY = Path(__file__).parents[2]


def test_clashing_types_of_racing_processes(database: Database) -> None:
    """Of processes that push one name with different types, exactly one wins, in every round."""
    types = (MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM)
    outcomes = race(
        database.url,
        [
            [
                push(key(type_.value), family(f"x{number}", type_, group=key(type_.value)), replace=False)
                for number in range(ROUNDS)
            ]
            for type_ in types
        ],
    )
    for of_round in zip(*outcomes, strict=True):
        assert sorted(of_round) == ["", "InconsistentPushError", "InconsistentPushError"]
    views = database.open().families(Form.TEXT).families
    assert Counter(len(view.bodies) for view in views) == {1: ROUNDS}


def test_suffix_clashes_of_racing_processes(database: Database) -> None:
    """Of processes of which one pushes h and one h_count, exactly one wins, in every round."""
    wanted = [("", MetricType.HISTOGRAM), ("_count", MetricType.COUNTER)]
    outcomes = race(
        database.url,
        [
            [
                push(key(f"j{suffix}"), family(f"h{n}{suffix}", type_, group=key(f"j{suffix}")), replace=False)
                for n in range(ROUNDS)
            ]
            for suffix, type_ in wanted
        ],
    )
    for of_round in zip(*outcomes, strict=True):
        assert sorted(of_round) == ["", "InconsistentPushError"]


def test_twins_of_racing_processes(database: Database) -> None:
    """Of processes that push one series to groups of different shapes, exactly one wins, in every round."""

    def twin(number: int, group: GroupingKey) -> Push:
        series = ({"l": "1", "m": "2"},)
        return push(group, family(f"x{number}", group=group, series=series), replace=False)

    groups = (key("a"), key("a", l="1"), key("a", l="1", m="2"))
    outcomes = race(database.url, [[twin(number, group) for number in range(ROUNDS)] for group in groups])
    for of_round in zip(*outcomes, strict=True):
        assert sorted(of_round) == ["", "InconsistentPushError", "InconsistentPushError"]


def test_no_errors_under_contention(database: Database) -> None:
    """Processes that overwrite the same groups never see an error of the database."""
    outcomes = race(
        database.url,
        [[numbered(100 * n + process, group=str(n % 3)) for n in range(ROUNDS)] for process in range(3)],
    )
    assert Counter(outcome for of_process in outcomes for outcome in of_process) == {"": 3 * ROUNDS}
    store = database.open()
    for contents in store.groups():
        assert len({block.pushed_at_seconds for block in contents.families}) == 1


def test_threads_share_a_store(store: Store) -> None:
    """All threads of a process may write and read at once."""

    def work(thread: int) -> None:
        for number in range(20):
            store.apply(numbered(number, group=str(thread)), Ticket())
            store.families(Form.TEXT)
            store.groups()
            store.ping()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    assert len(store.groups()) == 6


def test_reads_see_whole_changes(database: Database) -> None:
    """A read during pushes and wipes of others sees all of a change or nothing of it."""
    writer, reader = database.open(), database.open()
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for group in "ab":
                writer.apply(numbered(number, group=group), Ticket())
            if number % 5 == 0:
                writer.apply(Wipe(), Ticket())

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        try:
            for _ in range(150):
                for contents in reader.groups():
                    assert len(contents.families) == WHOLE
                    assert {block.pushed_at_seconds for block in contents.families} == {
                        contents.group.pushed_at_seconds
                    }
                snapshot = reader.families(Form.TEXT)
                assert len(snapshot.families) in {0, WHOLE}
                assert {len(view.bodies) for view in snapshot.families} <= {len(snapshot.groups)}
        finally:
            stop.set()
        writing.result()


def test_no_ticket_does_not_wait(database: Database) -> None:
    """Without a ticket a change does not wait for another writer, and nothing of it is stored."""
    store = database.open()
    with database.writers_held_up(), pytest.raises(WouldBlockError):
        store.apply(numbered(1), None)
    assert store.groups() == []
    store.apply(numbered(1), None)
    assert store.unwritable_reason() == ""


def test_reads_do_not_wait(database: Database) -> None:
    """Reads of all kinds go on while another process writes."""
    store = database.open()
    store.apply(numbered(1), None)
    with database.writers_held_up():
        store.ping()
        assert len(store.groups()) == 1
        assert len(store.families(Form.TEXT).groups) == 1


def test_a_ticket_waits(database: Database) -> None:
    """With a ticket a change waits for its turn; then the ticket is claimed and can no longer expire."""
    store, ticket = database.open(), Ticket()
    with ThreadPoolExecutor(1) as threads:
        with database.writers_held_up():
            waiting = threads.submit(store.apply, numbered(1), ticket)
            with pytest.raises(WouldBlockError):
                store.apply(numbered(2), None)
        waiting.result(timeout=30)
    assert not ticket.expire()
    assert store.groups()[0].group.pushed_at_seconds == 1.0


def test_an_expired_ticket(database: Database) -> None:
    """A change whose ticket expired while it waited is not applied."""
    store, ticket = database.open(), Ticket()
    with ThreadPoolExecutor(1) as threads:
        with database.writers_held_up():
            waiting = threads.submit(store.apply, numbered(1), ticket)
            assert ticket.expire()
        with pytest.raises(StoreBusyError):
            waiting.result(timeout=30)
    assert store.groups() == []
    store.apply(numbered(2), None)
    with pytest.raises(StoreBusyError):
        store.apply(numbered(3), ticket)
    assert store.groups()[0].group.pushed_at_seconds == 2.0


def test_tickets_expire_or_are_applied(store: Store) -> None:
    """In a race of expiry and turn exactly one wins: an expired change is never found, any other is."""
    expired = []
    with ThreadPoolExecutor(4) as threads:
        for number in range(1, 101):
            ticket = Ticket()
            applying = [
                threads.submit(store.apply, numbered(number, group="other"), Ticket()) for _ in range(number % 3)
            ]
            applying.append(threads.submit(store.apply, numbered(number, group=str(number)), ticket))
            expired.append(ticket.expire())
            if expired[-1]:
                with pytest.raises(StoreBusyError):
                    applying.pop().result()
            for one in applying:
                one.result()
    found = {contents.group.key for contents in store.groups()}
    assert [key(str(number)).key in found for number in range(1, 101)] == [not late for late in expired]


def test_refusals_race_with_pushes(store: Store) -> None:
    """Threads that push clashing types get a refusal each but for one type, and the state stays whole."""
    types = list(MetricType)

    def work(thread: int) -> int:
        won = 0
        group = key(str(thread))
        for number in range(15):
            try:
                store.apply(push(group, family(f"x{number}", types[thread], group=group), replace=False), Ticket())
                won += 1
            except InconsistentPushError:
                continue
        return won

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(work, range(4))) == 15
    assert [len(view.bodies) for view in store.families(Form.TEXT).families] == [1] * 15


def test_answered_pushes_survive_a_kill(database: Database) -> None:
    """After kill -9 of the writing process every push whose apply had returned is there, whole."""
    stored: dict[str, int] = {}
    for lines in (1, 20, 150):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.contract.workers", database.url],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        ) as process:
            assert process.stdout is not None
            for _ in range(lines):
                process.stdout.readline()
            process.kill()
            printed = process.stdout.read().splitlines()
        newest = lines + len(printed)
        stored |= {str(number % 7): number for number in range(1, newest + 1)}
        found = {contents.group.key: contents for contents in database.open().groups()}
        for group, number in stored.items():
            contents = found[key(group).key]
            assert len(contents.families) == WHOLE
            # The push that was under way may have been stored without its number being printed.
            later = contents.group.pushed_at_seconds
            assert later == number or later == newest + 1
            assert {block.pushed_at_seconds for block in contents.families} == {later}
            stored[group] = int(later)
