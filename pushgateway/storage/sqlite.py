"""How does SQLite keep the contract of `base.Store`?

    writerlock      whose turn it is                     sqlite_checks   what conflicts with what is stored
    sqlite_handles  the connections and their files      sqlite_writes   what a change does to the tables
    sqlite_errors   what a failure means                 sqlite_reads    how a snapshot is read

Beyond the contract: the database is opened at the first use, not when the store is made, and again whenever another
file of ours has taken its name. So a store whose file is missing answers errors, and recovers by itself.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from pushgateway.errors import (
    RequestError,
    StoreError,
    StoreUnreadableError,
    StoreUnwritableError,
    WouldBlockError,
)
from pushgateway.model import Change, Form, GroupContents, MetricType, Snapshot
from pushgateway.storage.base import Ticket
from pushgateway.storage.sqlite_checks import OwnFamilies
from pushgateway.storage.sqlite_errors import FAILURES, Doing, translate
from pushgateway.storage.sqlite_handles import Handles
from pushgateway.storage.sqlite_reads import read_groups, read_snapshot
from pushgateway.storage.sqlite_writes import apply_change, give_back_space
from pushgateway.storage.status import StatusBoard
from pushgateway.storage.writerlock import LOCK_SUFFIX, WriterLock

__all__ = ["LOG_LIMIT_BYTES", "SqliteStore"]

LOG_LIMIT_BYTES: Final = 64 << 20
"""At which size of the log, and again after as much more, a write waits for reads, so that the log can start again."""

_CLOSED: Final = "the store is closed"
_T = TypeVar("_T")


class SqliteStore:
    """A store in one SQLite file.

    Args:
        path: The file, made by `prepare_store`.
        board: Where failures of writes are noted for all workers.
        own: The gateway's own families, which count as stored.
        shapes_per_job: How many sets of label names the groups of a job may have: each costs every push of the job a
            lookup.
    """

    inline = True

    def __init__(
        self, path: str, *, board: StatusBoard, own: Mapping[str, MetricType], shapes_per_job: int = 64
    ) -> None:
        self._path = path
        self._board = board
        self._own = OwnFamilies(own)
        self._shapes_per_job = shapes_per_job
        self._lock = WriterLock(os.path.realpath(path) + LOCK_SUFFIX)
        self._opening = threading.Lock()
        self._handles: Handles | None = None
        self._closed = False
        self._log_limit_bytes = LOG_LIMIT_BYTES

    def apply(self, change: Change, ticket: Ticket | None) -> None:
        """Apply one change; see `base.Store`."""
        if self._closed:
            raise StoreUnreadableError(_CLOSED)
        try:
            with self._lock.turn(ticket):
                refusal = self._write(change, may_wait=ticket is not None)
        except OSError as error:
            raise self._noted(self._translated(error, Doing.WRITING)) from error
        if refusal is not None:
            raise refusal

    def families(self, form: Form) -> Snapshot:
        """Return one consistent state of everything; see `base.Store`."""
        return self._read(lambda db: read_snapshot(db, form))

    def groups(self) -> Sequence[GroupContents]:
        """Return one consistent state of everything, a group at a time; see `base.Store`."""
        return self._read(read_groups)

    def ping(self) -> None:
        """Read a little; see `base.Store`."""
        self._read(lambda db: db.execute("SELECT key FROM groups LIMIT 1").fetchone())

    def unwritable_reason(self) -> str:
        """Return why the last write of any process failed; see `base.Store`."""
        return self._board.reason()

    def close(self) -> None:
        """Close all connections, after the change in progress; see `base.Store`."""
        with self._opening:
            self._closed = True
            handles, self._handles = self._handles, None
        self._lock.close()
        if handles is not None:
            handles.flush_log()
            handles.retire()

    def _read(self, read: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            with self._using() as (handles, _), handles.reader() as db:
                return read(db)
        except FAILURES as error:
            raise self._translated(error, Doing.READING) from error

    def _write(self, change: Change, *, may_wait: bool) -> RequestError | None:
        """Apply a change while the lock is ours, and note whether that worked."""
        try:
            with self._using() as (handles, problem):
                if problem:
                    handles.flush_log()
                    raise StoreUnwritableError(problem)
                self._keep_log_short(handles, may_wait=may_wait)
                try:
                    refusal = self._transact(handles, change)
                except StoreUnwritableError:
                    # If it was the log that filled the disk, there is room once it has moved into the database.
                    handles.flush_log()
                    refusal = self._transact(handles, change)
                if problem := handles.displaced():
                    raise StoreUnwritableError(f"{problem} while a change was being stored; its outcome is unknown")
        except FAILURES as error:
            raise self._noted(self._translated(error, Doing.WRITING)) from error
        except StoreError as error:
            self._noted(error)
            raise
        if self._board.reason():
            self._board.note("")
        return refusal

    def _transact(self, handles: Handles, change: Change) -> RequestError | None:
        db = handles.writer
        doing = Doing.WRITING
        try:
            db.execute("BEGIN IMMEDIATE")
            refusal = apply_change(db, change, own=self._own, shapes_per_job=self._shapes_per_job)
            give_back_space(db)
            doing = Doing.COMMITTING
            db.execute("COMMIT")
        except FAILURES as error:
            raise self._translated(error, doing) from error
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
        return refusal

    def _keep_log_short(self, handles: Handles, *, may_wait: bool) -> None:
        """Start the log again if reads that overlap without a gap have kept the checkpoints from doing so.

        That waits for the reads under way, so whoever may not wait is sent to where waiting is allowed.
        """
        size = handles.log_bytes()
        if size > self._log_limit_bytes:
            if not may_wait:
                raise WouldBlockError("the database's log has to start again first")
            # Somebody who never stops reading costs a wait now and then, not with every write.
            self._log_limit_bytes = LOG_LIMIT_BYTES if handles.restart_log() else size + LOG_LIMIT_BYTES

    @contextmanager
    def _using(self) -> Iterator[tuple[Handles, str]]:
        """Lend the open database, and say why nothing may be written to it ("" if it may)."""
        with self._opening:
            handles, problem = self._current()
            handles.enter()
        try:
            yield handles, problem
        finally:
            handles.leave()

    def _current(self) -> tuple[Handles, str]:
        """Return what is open, or open the file that has the database's name if that is another one of ours."""
        if self._closed:
            raise StoreUnreadableError(_CLOSED)
        if self._handles is None:
            self._handles = Handles(self._path)
            return self._handles, ""
        problem = self._handles.displaced()
        if problem:
            # Unless there is a new file that can be used, reads go on from the old one; writes say what is wrong.
            with suppress(*FAILURES):
                if self._handles.may_be_replaced():
                    old, self._handles, problem = self._handles, Handles(self._path), ""
                    old.retire()
        return self._handles, problem

    def _translated(self, error: Exception, doing: Doing) -> Exception:
        return translate(error, self._path, doing) or error

    def _noted(self, error: Exception) -> Exception:
        """Put a failure on the board, unless it only means to try again."""
        lasting = isinstance(error, StoreUnwritableError | StoreUnreadableError) and not self._closed
        if lasting and self._board.reason() != str(error):
            self._board.note(str(error))
        return error
