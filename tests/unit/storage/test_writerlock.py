"""Does one writer at a time hold the lock, and do the others get it afterwards?"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pushgateway.errors import StoreBusyError, WouldBlockError
from pushgateway.storage import Ticket
from pushgateway.storage.writerlock import WriterLock


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "x-lock")


@pytest.fixture
def lock(path: str) -> Iterator[WriterLock]:
    """A lock of one process."""
    lock = WriterLock(path)
    yield lock
    lock.close()


def test_not_made_before_it_is_needed(lock: WriterLock, path: str) -> None:
    """The file appears with the first turn, and stays."""
    assert not os.path.exists(path)
    with lock.turn(None):
        assert os.path.exists(path)
    lock.close()
    assert os.path.exists(path)


def test_excludes_threads(lock: WriterLock) -> None:
    """Threads of one process exclude each other."""
    with lock.turn(None), ThreadPoolExecutor(1) as threads, pytest.raises(WouldBlockError):
        threads.submit(lock.acquire, None).result()
    with lock.turn(None):
        pass


def test_excludes_processes(lock: WriterLock, path: str) -> None:
    """A lock of another open file, as another process has it, excludes this one."""
    other = WriterLock(path)
    with other.turn(None), pytest.raises(WouldBlockError):
        lock.acquire(None)
    with lock.turn(None), pytest.raises(WouldBlockError):
        other.acquire(None)
    other.close()


def test_given_back_on_errors(lock: WriterLock) -> None:
    """An exception in the turn, an expired ticket and a turn not taken all leave the lock free."""
    with pytest.raises(ZeroDivisionError), lock.turn(None):
        raise ZeroDivisionError
    ticket = Ticket()
    assert ticket.expire()
    with pytest.raises(StoreBusyError, match="nothing was stored"):
        lock.acquire(ticket)
    with lock.turn(None), pytest.raises(WouldBlockError):
        lock.acquire(None)
    with lock.turn(Ticket()):
        pass


def test_no_overtaking(lock: WriterLock, path: str) -> None:
    """While a thread of the process queues for other processes, one that may not wait is turned away."""
    other = WriterLock(path)
    with ThreadPoolExecutor(1) as threads:
        with other.turn(None):
            queued = threads.submit(lock.acquire, Ticket())
            while not lock._mutex.locked():
                os.sched_yield()
        with pytest.raises(WouldBlockError):
            lock.acquire(None)
        queued.result()
    lock.release()
    other.close()


def test_yields_in_vain_once(lock: WriterLock, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that may not wait one yields to a writer that takes long, and the others give up at once."""
    yields: list[None] = []
    yield_ = os.sched_yield

    def counted() -> None:
        yields.append(None)
        yield_()

    def yielded() -> bool:
        yields.clear()
        with pytest.raises(WouldBlockError):
            lock.acquire(None)
        return bool(yields)

    monkeypatch.setattr("pushgateway.storage.writerlock._MOMENT_SECONDS", 0.002)
    monkeypatch.setattr(os, "sched_yield", counted)
    other = WriterLock(path)
    for ticket in (None, Ticket()):
        with other.turn(None):
            assert [yielded() for _ in range(3)] == [True, False, False]
        with lock.turn(ticket):
            pass
    other.close()


def test_a_removed_file(lock: WriterLock, path: str) -> None:
    """If the file is removed, the lock moves to the one that others will find."""
    with lock.turn(None):
        pass
    os.unlink(path)
    with lock.turn(None), open(path, "rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_renamed_file(lock: WriterLock, path: str) -> None:
    """If the file is moved away, or another one takes its name, the lock moves to what others will find."""
    for replacement in (False, True):
        with lock.turn(None):
            pass
        os.rename(path, path + "-away")
        if replacement:
            open(path, "wb").close()
        other = WriterLock(path)
        with lock.turn(None), pytest.raises(WouldBlockError):
            other.acquire(None)
        other.close()


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    """Failing to make the file raises what the system says, and leaves the threads' lock free."""
    lock = WriterLock(str(tmp_path / "missing" / "x-lock"))
    for ticket in (None, Ticket(), None):
        with pytest.raises(FileNotFoundError):
            lock.acquire(ticket)
