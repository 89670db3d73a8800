"""How does SQLite keep the contract of `base.Store`?

    writerlock      whose turn it is                     sqlite_lookups  what a decision on a push asks for
    sqlite_files    whether the files are still ours     sqlite_writes   what a change does to the tables
    sqlite_handles  the connections                      sqlite_reads    how a snapshot is read
    sqlite_errors   what a failure means                 sqlite_totals   how much is stored in all
    sqlite_sections what a scrape has to read again

Beyond the contract: the database is opened when it is first needed (`open_store` tries at once), and again whenever
another file of ours has taken its name. So a store whose file is missing answers errors, and recovers by itself.

Nothing waits on an event loop: pings and changes without a ticket neither wait for a thread that opens the database
nor, for SQLite's own locks, in its busy handler.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Final, TypeVar

from pushgateway.errors import (
    RequestError,
    StoreBusyError,
    StoreError,
    StoreUnreadableError,
    StoreUnwritableError,
    WouldBlockError,
)
from pushgateway.limits import Limits
from pushgateway.model import (
    Change,
    Form,
    GroupContents,
    GroupPage,
    GroupQuery,
    Known,
    MetricType,
    Push,
    Section,
    Sections,
    Snapshot,
    Totals,
)
from pushgateway.storage.base import UNKNOWN_OUTCOME, Ticket, Version
from pushgateway.storage.checks import OwnFamilies, Rules
from pushgateway.storage.series import PushedSeries
from pushgateway.storage.sqlite_errors import FAILURES, Doing, translate
from pushgateway.storage.sqlite_handles import BUSY_SECONDS, Handles
from pushgateway.storage.sqlite_lookups import shapes_of, stored_hashes
from pushgateway.storage.sqlite_reads import find_groups, read_group, read_groups, read_snapshot
from pushgateway.storage.sqlite_sections import read_sections
from pushgateway.storage.sqlite_totals import read_all_totals
from pushgateway.storage.sqlite_writes import MAX_FAMILY_BYTES, Prepared, apply_change, give_back_space
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
        limits: How much may be stored: `shapes_per_job`, each of which costs every push of the job a lookup, `groups`,
            `families` and `series`.
    """

    inline = True

    def __init__(self, path: str, *, board: StatusBoard, own: Mapping[str, MetricType], limits: Limits) -> None:
        self._path = path
        self._board = board
        self._own = OwnFamilies(own)
        self._limits = limits
        self._lock = WriterLock(os.path.realpath(path) + LOCK_SUFFIX)
        self._opening = threading.Lock()  # held while the database is opened
        self._current = threading.Lock()  # held to look at the two below, never during I/O
        self._handles: Handles | None = None
        self._closed = False
        self._log_limit_bytes = LOG_LIMIT_BYTES

    def open(self) -> None:
        """Open the database now, if that is possible; else its first use will say why not."""
        with suppress(StoreError):
            self._read(lambda handles: handles.ping(), may_wait=True)

    def apply(self, change: Change, ticket: Ticket | None) -> None:
        """Apply one change; see `base.Store`."""
        try:
            self.commit(change, ticket)
        except RequestError:
            self.flush()
            raise
        self.flush()

    def flush(self) -> None:
        """Wait until what is committed is on stable storage; see `base.Store`."""
        try:
            handles = self._entered()
        except StoreUnreadableError as error:
            raise StoreUnreadableError(f"{error.reason}; {UNKNOWN_OUTCOME}") from None
        if handles is None:
            return  # and so nothing was committed since it was opened
        try:
            handles.flush_commits()
        except OSError as error:
            reason = f"{self._translated(error, Doing.WRITING)}; {UNKNOWN_OUTCOME}"
            raise self._noted(StoreUnwritableError(reason)) from error
        finally:
            handles.leave()

    def commit(self, change: Change, ticket: Ticket | None) -> None:
        """Apply one change without the flush, for which nobody else has to wait; see `base.Store`."""
        if self._closed:
            raise StoreUnreadableError(_CLOSED)
        may_wait = ticket is not None
        prepared = Prepared(change)
        if may_wait and isinstance(change, Push) and prepared.series is not None:
            self._make_ready(change, prepared.series)
        try:
            with self._lock.turn(ticket):
                refusal = self._write(prepared, may_wait=may_wait)
        except OSError as error:
            raise self._noted(self._translated(error, Doing.WRITING)) from error
        if refusal is not None:
            raise refusal

    def families(self, form: Form, *, legacy_only: bool = False) -> Snapshot:
        """Return one consistent state of everything; see `base.Store`."""
        return self._read_state(lambda db: read_snapshot(db, form, legacy_only=legacy_only))

    def sections(self, known: Sequence[Known], take: Callable[[Section], _T]) -> Sections[_T] | None:
        """Return one state in sections, of which those that have changed are read; see `base.Store`."""
        return self._read_state(lambda db: read_sections(db, known, take))

    def version(self) -> Version | None:
        """Return which state of the store this is; see `base.Store`."""
        return self._read(lambda handles: handles.version(), may_wait=True)

    def groups(self) -> Sequence[GroupContents]:
        """Return one consistent state of everything, a group at a time; see `base.Store`."""
        return self._read_state(read_groups)

    def group(self, key: str) -> GroupContents | None:
        """Return one group; see `base.Store`."""
        return self._read_state(lambda db: read_group(db, key))

    def find_groups(self, query: GroupQuery) -> GroupPage:
        """Return a page of the groups that a query is about; see `base.Store`."""
        return self._read_state(lambda db: find_groups(db, query))

    def totals(self) -> Totals:
        """Return how much is stored; see `base.Store`."""
        return self._read_state(read_all_totals)

    def ping(self) -> None:
        """Read a little; see `base.Store`."""
        self._read(lambda handles: handles.ping(), may_wait=False)

    def unwritable_reason(self) -> str:
        """Return why the last write of any process failed; see `base.Store`."""
        return self._board.reason()

    def close(self) -> None:
        """Close all connections, after the change in progress; see `base.Store`."""
        with self._current:
            self._closed = True
            handles, self._handles = self._handles, None
        if handles is not None:
            # Never beside another process that writes: SQLite before 3.51.3 may then lose what that one commits (the
            # "WAL reset bug", https://sqlite.org/wal.html). If it is not our turn, the log is moved later.
            with suppress(WouldBlockError, OSError), self._lock.turn(None):
                handles.flush_log()
        self._lock.close()
        if handles is not None:
            handles.retire()

    def _read_state(self, read: Callable[[sqlite3.Connection], _T]) -> _T:
        def with_reader(handles: Handles) -> _T:
            with handles.reader() as db:
                return read(db)

        return self._read(with_reader, may_wait=True)

    def _read(self, read: Callable[[Handles], _T], *, may_wait: bool) -> _T:
        try:
            with self._using(may_wait=may_wait) as (handles, _):
                return read(handles)
        except StoreBusyError as error:
            raise StoreUnreadableError(error.reason) from error
        except FAILURES as error:
            raise self._translated(error, Doing.READING) from error

    def _make_ready(self, push: Push, series: PushedSeries) -> None:
        """Compare what takes long to compare with the state before the lock; under it only what is new is."""
        if series.paged:
            series.sort(self._before_lock(lambda db: stored_hashes(db, push.key.key, series.paged)) or {})
        if not series.is_quick(self._limits.shapes_per_job):
            series.project(self._before_lock(lambda db: shapes_of(db, push.key.job)) or ())

    def _before_lock(self, read: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """Read something; None if that is not possible: a write will say why."""
        try:
            return self._read_state(read)
        except StoreUnreadableError:
            return None

    def _write(self, prepared: Prepared, *, may_wait: bool) -> RequestError | None:
        """Apply a change while the lock is ours, and note whether that worked."""
        try:
            with self._using(may_wait=may_wait) as (handles, problem):
                refusal = self._write_to(handles, problem, prepared, may_wait=may_wait)
        except (*FAILURES, StoreError) as error:
            failure = error if isinstance(error, StoreError) else self._translated(error, Doing.WRITING)
            if isinstance(failure, StoreBusyError) and not may_wait:
                raise WouldBlockError(failure.reason) from error
            self._noted(failure)
            raise failure from error.__cause__ if failure is error else error
        if self._board.reason():
            self._board.note("")
        return refusal

    def _write_to(self, handles: Handles, problem: str, prepared: Prepared, *, may_wait: bool) -> RequestError | None:
        files = handles.files
        if problem := problem or files.displaced_beside():
            handles.flush_log()
            raise StoreUnwritableError(problem)
        with handles.waiting() if may_wait else nullcontext():
            self._mend_log(handles, may_wait=may_wait)
            self._keep_log_short(handles, may_wait=may_wait)
            refusal = self._transact_twice(handles, prepared, may_wait=may_wait)
        if problem := files.displaced() or files.displaced_beside():
            raise StoreUnwritableError(f"{problem}; a change was being stored meanwhile, and {UNKNOWN_OUTCOME}")
        return refusal

    def _transact_twice(self, handles: Handles, prepared: Prepared, *, may_wait: bool) -> RequestError | None:
        try:
            return self._transact(handles, prepared, may_wait=may_wait)
        except StoreUnwritableError as error:
            first = error
        # If it was the log that filled the disk, there is room once it has moved into the database.
        handles.flush_log()
        try:
            return self._transact(handles, prepared, may_wait=may_wait)
        except StoreError as error:
            if UNKNOWN_OUTCOME in first.reason and UNKNOWN_OUTCOME not in error.reason:
                raise StoreUnwritableError(f"{error.reason}; before that: {first.reason}") from first
            raise

    def _transact(self, handles: Handles, prepared: Prepared, *, may_wait: bool) -> RequestError | None:
        db = handles.writer
        doing = Doing.WRITING
        try:
            db.execute("BEGIN IMMEDIATE")
            refusal = apply_change(db, prepared, Rules(self._own, self._limits, may_wait, MAX_FAMILY_BYTES))
            give_back_space(db, may_wait=may_wait)
            doing = Doing.COMMITTING
            db.execute("COMMIT")
        except FAILURES as error:
            raise self._translated(error, doing) from error
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
        return refusal

    def _mend_log(self, handles: Handles, *, may_wait: bool) -> None:
        """Start the log again after a flush of it has failed.

        The system takes pages for written that were not, and flushes later ones without an error: after a loss of power
        the log would end before these, whatever its end was told to be. What moves into the database is written anew.
        """
        if not handles.log_is_torn:
            return
        if not may_wait:
            raise WouldBlockError("the database's log has to start again first, since it could not be flushed")
        if not handles.restart_log():
            raise StoreUnwritableError(f"the log of {self._path} could not be flushed, and is still being read")

    def _keep_log_short(self, handles: Handles, *, may_wait: bool) -> None:
        """Start the log again if reads that overlap without a gap have kept the checkpoints from doing so.

        That waits for the reads under way, so whoever may not wait is sent to where waiting is allowed.
        """
        size = handles.files.log_bytes
        if size > self._log_limit_bytes:
            if not may_wait:
                raise WouldBlockError("the database's log has to start again first")
            # Somebody who never stops reading costs a wait now and then, not with every write.
            self._log_limit_bytes = LOG_LIMIT_BYTES if handles.restart_log() else size + LOG_LIMIT_BYTES

    @contextmanager
    def _using(self, *, may_wait: bool) -> Iterator[tuple[Handles, str]]:
        """Lend the open database, and say why nothing may be written to it ("" if it may)."""
        handles = self._entered()
        problem = handles.files.displaced() if handles is not None else ""
        if handles is None:
            handles = self._opened(None, may_wait=may_wait)
        elif problem and handles.files.may_be_replaced():
            # If the new file cannot be used, reads go on from the old one; writes say what is wrong.
            with suppress(*FAILURES, StoreError):
                handles, problem = self._opened(handles, may_wait=may_wait), ""
        try:
            yield handles, problem
        finally:
            handles.leave()

    def _entered(self) -> Handles | None:
        """Return what is open, for one more user."""
        with self._current:
            if self._closed:
                raise StoreUnreadableError(_CLOSED)
            if self._handles is not None:
                self._handles.enter()
            return self._handles

    def _opened(self, old: Handles | None, *, may_wait: bool) -> Handles:
        """Open the file that has the database's name, in place of what its caller has used, for one user.

        Raises:
            StoreBusyError: Another thread is opening it, and the caller may not wait.
        """
        if not self._opening.acquire(blocking=may_wait):
            raise StoreBusyError(f"{self._path} is being opened")
        try:
            current = self._entered()
            if current is None or current is old:
                if current is not None:
                    current.leave()
                current = self._replace(old, Handles(self._path, self._board, busy_seconds=BUSY_SECONDS * may_wait))
        finally:
            self._opening.release()
        if old is not None:
            old.leave()
        return current

    def _replace(self, old: Handles | None, new: Handles) -> Handles:
        with self._current:
            closed = self._closed
            if not closed:
                new.enter()
                self._handles = new
        if closed:
            new.retire()
            raise StoreUnreadableError(_CLOSED)
        if old is not None:
            old.retire()
        return new

    def _translated(self, error: Exception, doing: Doing) -> Exception:
        return translate(error, self._path, doing) or error

    def _noted(self, error: Exception) -> Exception:
        """Put a failure on the board, unless it only means to try again."""
        lasting = isinstance(error, StoreUnwritableError | StoreUnreadableError) and not self._closed
        if lasting and self._board.reason() != str(error):
            self._board.note(str(error))
        return error
