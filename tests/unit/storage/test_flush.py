"""When is what was committed to SQLite on the disk, and what if the disk says that it is not?"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushgateway.errors import StoreUnwritableError, WouldBlockError
from pushgateway.limits import Limits
from pushgateway.model import Form
from pushgateway.storage import StatusBoard, Ticket, prepare_store
from pushgateway.storage.base import UNKNOWN_OUTCOME
from pushgateway.storage.sqlite import SqliteStore
from tests.contract.values import family, key, push


class Disk:
    """Counts flushes, and lets them fail."""

    def __init__(self) -> None:
        self.flushes = 0
        self.broken = False

    def fdatasync(self, fd: int) -> None:
        """Take the place of os.fdatasync."""
        self.flushes += 1
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk whose flushes are counted."""
    disk = Disk()
    monkeypatch.setattr(os, "fdatasync", disk.fdatasync)
    return disk


@pytest.fixture
def store(tmp_path: Path, disk: Disk) -> Iterator[SqliteStore]:
    """A store in a fresh file."""
    prepare_store(f"sqlite:{tmp_path / 'store.db'}")
    store = SqliteStore(str(tmp_path / "store.db"), board=StatusBoard(), own={}, limits=Limits())
    store.open()
    yield store
    store.close()


def pushed(store: SqliteStore) -> list[str]:
    return [group.key for group in store.families(Form.TEXT).groups]


def test_apply_flushes_and_commit_does_not(store: SqliteStore, disk: Disk) -> None:
    """`apply` has flushed when it returns; what is committed is read at once, and flushed by the next flush."""
    store.apply(push(key("a"), family("x", group=key("a"))), None)
    assert disk.flushes == 1
    store.commit(push(key("b"), family("x", group=key("b"))), None)
    assert (disk.flushes, pushed(store)) == (1, [key("a").key, key("b").key])
    store.flush()
    assert disk.flushes == 2


def test_a_failed_flush_leaves_the_outcome_unknown(store: SqliteStore, disk: Disk) -> None:
    """Whoever pushed hears that it is unknown whether the push was stored, and so does whoever looks at the store."""
    disk.broken = True
    with pytest.raises(StoreUnwritableError, match=f"Input/output error; {UNKNOWN_OUTCOME}"):
        store.apply(push(key("a"), family("x", group=key("a"))), None)
    assert UNKNOWN_OUTCOME in store.unwritable_reason()


def test_nothing_is_appended_to_a_log_that_was_not_flushed(store: SqliteStore, disk: Disk) -> None:
    """After a failed flush the log is moved into the database first: what stood in it may be lost in mid-log.

    That waits for reads, and so a push that may not wait is sent to where it may.
    """
    disk.broken = True
    store.commit(push(key("a"), family("x", group=key("a"))), None)
    for _ in range(2):
        # The second time the system would say that all is well.
        with pytest.raises(StoreUnwritableError, match=UNKNOWN_OUTCOME):
            store.flush()
        disk.broken = False
    with pytest.raises(WouldBlockError, match="start again"):
        store.commit(push(key("b"), family("x", group=key("b"))), None)
    store.apply(push(key("b"), family("x", group=key("b"))), Ticket())
    assert pushed(store) == [key("a").key, key("b").key]
    assert store.unwritable_reason() == ""
