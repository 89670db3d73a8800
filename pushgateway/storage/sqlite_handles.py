"""Which connections does a process hold on the database, and who may use them when?

A commit writes the log and does not flush it: `flush_commits` does, when nobody waits for the writers' lock any more.

Nothing here waits on the event loop. The connection that writes has no busy timeout but while its user may wait
(`waiting`); pings have a connection of their own, so that they never queue behind a scrape.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import quote

from pushgateway.errors import StoreUnreadableError
from pushgateway.storage import schema
from pushgateway.storage.packing import add_unpacking
from pushgateway.storage.sqlite_files import Files
from pushgateway.storage.status import StatusBoard

__all__ = ["BUSY_SECONDS", "WAL_BYTES_KEPT", "Handles", "connect"]

BUSY_SECONDS: Final = 5.0
"""The net under the writers' lock: recovery of the log after a crash, and programs that are not the gateway."""

WAL_BYTES_KEPT: Final = 24 << 20
"""To what a log that grew under a long read or a large push is cut when it starts again; usually it has 16 MiB."""

_LOG_BYTES: Final = 16 << 20
_LEAST_LOG_BYTES: Final = 256 << 10
"""The push that reaches it moves the log into the database. Over 3 000 groups that took 4 ms at 1 MiB, 7 at 4 and 9 at
16, but the mean over all pushes was 0.45, 0.38 and 0.28 ms: a page written often moves once. The smaller one is for a
disk with less room than four logs."""

_PRAGMAS: Final = (
    # Flushes when pages move from the log into the database, and not at each commit: that is left to `flush_commits`.
    "PRAGMA synchronous = NORMAL",
    f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}",
    # Debian compiles SQLite with it on, which overwrites freed pages with zeros: 0.07 ms a push.
    "PRAGMA secure_delete = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA temp_store = MEMORY",
    # KiB, in each worker; what another commits empties it. With 10 000 groups a push took 1.24 ms of processor time
    # with 8 MiB, 1.27 with 4, 1.34 with 2. Memory mapping is left off: a file that shrinks under it kills the process
    # (SIGBUS).
    "PRAGMA cache_size = -4096",
)


def connect(path: str, *, mode: str, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Open a database with the settings of the gateway, in autocommit mode, for use by any thread (one at a time).

    Args:
        path: The file.
        mode: ``rw``, or ``rwc`` to create it.
        busy_seconds: How long its statements wait for a lock of SQLite.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    db = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode={mode}",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )
    try:
        for pragma in _PRAGMAS:
            db.execute(pragma)
        add_unpacking(db)
    except BaseException:
        db.close()
        raise
    return db


class Handles:
    """One connection that writes, one for pings, and as many that read as there are readers at a time, on one file.

    Args:
        path: The database, which must exist and be ours.
        board: Where the workers keep which files they have open.
        busy_seconds: How long opening waits for a lock of SQLite.

    Raises:
        OSError: There is no such file.
        SchemaError: It is not ours, or of another version, or the other workers have other files open.
        sqlite3.Error: It cannot be opened or read.
    """

    def __init__(self, path: str, board: StatusBoard, *, busy_seconds: float) -> None:
        self.files = Files(path, board)
        self._all: list[sqlite3.Connection] = []
        self._idle: list[sqlite3.Connection] = []
        self._returned = threading.Condition()
        self._pinging = threading.Lock()
        self._serial = object()  # equal to nothing else: another file, opened later, counts from the start
        self._users = 0
        self._retired = False
        self._flushing = threading.Lock()  # held during a flush
        self._asking = threading.Lock()  # held to count, never during I/O
        self._flushes_asked = self._flushes_done = 0
        self._log_fd = -1
        self.log_is_torn = False
        """Whether a flush of the log has failed, so that what is appended to it may be lost whatever is flushed."""
        try:
            self.writer = self._connect(busy_seconds)
            schema.verify(self.writer)
            self._limit_log()
            self._pinger = self._open_reader(busy_seconds)
            # One reader from the start: reads go on when the file is deleted before the first of them.
            self._idle.append(self._open_reader(busy_seconds))
            with suppress(OSError):  # where it is missing nothing can be written either
                self._log_fd = os.open(self.files.log_path, os.O_RDONLY)
            self.files.opened()
            for db in (self.writer, self._pinger):
                _set_busy_timeout(db, 0)
        except BaseException:
            self._close()
            raise

    def _limit_log(self) -> None:
        """Say at which size the log moves into the database: before it has taken the room that the database needs."""
        disk = os.statvfs(os.path.dirname(self.files.real_path))
        size = max(_LEAST_LOG_BYTES, min(_LOG_BYTES, disk.f_bavail * disk.f_frsize // 4))
        (page_bytes,) = self.writer.execute("PRAGMA page_size").fetchone()
        self.writer.execute(f"PRAGMA wal_autocheckpoint = {size // page_bytes}")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let the connection that writes wait for locks of SQLite, which programs other than the gateway may hold."""
        _set_busy_timeout(self.writer, BUSY_SECONDS)
        try:
            yield
        finally:
            _set_busy_timeout(self.writer, 0)

    def restart_log(self) -> bool:
        """Move the log into the database and cut it, waiting for reads; call as the writer, `waiting`.

        Returns:
            False if a read was still under way after `BUSY_SECONDS`, and the log goes on.
        """
        busy, _, _ = self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            self.log_is_torn = False
        return not busy

    def flush_commits(self) -> None:
        """Wait until all that was committed before is on stable storage; any thread may call it.

        Threads that wait for a flush share the next one.

        Raises:
            OSError: It cannot be flushed, or was not when it last was to be.
        """
        with self._asking:
            self._flushes_asked += 1
            asked = self._flushes_asked
        with self._flushing:
            if self._flushes_done >= asked:
                return
            if self.log_is_torn:
                raise OSError(errno.EIO, os.strerror(errno.EIO), self.files.log_path)
            covered = self._flushes_asked
            try:
                os.fdatasync(self._log_fd)
            except OSError as error:
                self.log_is_torn = True
                raise OSError(error.errno, error.strerror, self.files.log_path) from error
            self._flushes_done = covered

    def flush_log(self) -> None:
        """Move what can be moved of the log into the database, without waiting; call as the writer.

        A failure changes nothing: the log stays, and is read or replayed.
        """
        if self.files.may_fold_log():
            with suppress(sqlite3.Error):
                self.writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def enter(self) -> None:
        """Count a user, for whom the connections stay open."""
        with self._returned:
            self._users += 1

    def leave(self) -> None:
        """Count a user less; the last one of retired handles closes them."""
        with self._returned:
            self._users -= 1
            last = self._retired and not self._users
        if last:
            self._close()

    def ping(self) -> None:
        """Read a little.

        Raises:
            sqlite3.Error: It cannot be read.
        """
        with self._pinging:
            self._pinger.execute("SELECT key FROM groups LIMIT 1").fetchone()

    def version(self) -> Hashable | None:
        """Return what differs from all that was returned before once anybody has committed anything.

        SQLite counts for each connection how often it has found the database changed by others, and the connection of
        pings changes nothing itself. The count is not written anywhere: a column of ours, which every change would set,
        would be one page more for each push. None while another program has the database locked: whoever reads it then
        waits.

        Raises:
            sqlite3.Error: It cannot be read.
        """
        with self._pinging, suppress(sqlite3.OperationalError):
            return self._serial, self._pinger.execute("PRAGMA data_version").fetchone()[0]
        return None

    @contextmanager
    def reader(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that reads, in a transaction that sees one state.

        Raises:
            sqlite3.Error: None can be had, or what the caller does with it fails.
            StoreUnreadableError: All are lent, and a new one would open other files.
        """
        db = self._borrow()
        try:
            db.execute("BEGIN")
            try:
                yield db
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
        finally:
            with self._returned:
                self._idle.append(db)
                self._returned.notify()

    def retire(self) -> None:
        """Close all connections as soon as nobody uses them."""
        with self._returned:
            self._retired = True
            unused = not self._users
        if unused:
            self._close()

    def _borrow(self) -> sqlite3.Connection:
        with self._returned:
            if self._idle:
                return self._idle.pop()
            if problem := self._displaced():
                self._returned.wait_for(lambda: bool(self._idle), timeout=BUSY_SECONDS)
                if self._idle:
                    return self._idle.pop()
                raise StoreUnreadableError(f"{problem}; all connections to the file before are reading")
        db = self._open_reader(BUSY_SECONDS)
        if problem := self._displaced():
            self._discard(db)
            raise StoreUnreadableError(f"{problem} while it was being opened")
        return db

    def _displaced(self) -> str:
        return self.files.displaced() or self.files.displaced_beside()

    def _connect(self, busy_seconds: float) -> sqlite3.Connection:
        db = connect(self.files.real_path, mode="rw", busy_seconds=busy_seconds)
        with self._returned:
            self._all.append(db)
        return db

    def _open_reader(self, busy_seconds: float) -> sqlite3.Connection:
        db = self._connect(busy_seconds)
        try:
            db.execute("PRAGMA query_only = ON")
            # KiB. A scrape passes over everything once: with 4 MiB it took as long, and each worker 6 MB more.
            db.execute("PRAGMA cache_size = -512")
            db.execute("SELECT 1 FROM groups LIMIT 1").fetchone()
        except BaseException:
            self._discard(db)
            raise
        return db

    def _discard(self, db: sqlite3.Connection) -> None:
        with self._returned:
            self._all.remove(db)
        db.close()

    def _close(self) -> None:
        if not self.files.may_fold_log():
            self.files.keep_from_folding()
        for db in self._all:
            db.close()
        self._all.clear()
        self._idle.clear()
        if self._log_fd >= 0:
            os.close(self._log_fd)
        self.files.close()


def _set_busy_timeout(db: sqlite3.Connection, seconds: float) -> None:
    db.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")
