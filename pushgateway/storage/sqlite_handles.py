"""Which connections does a process hold, and do they still belong to the file that has the database's name?

SQLite goes on with a file that was deleted or replaced, and commits into nowhere. So `Handles` remembers the device and
inode of the database and of the two files beside it, and `displaced` compares them with the path.

A process never opens the database but through SQLite: closing any other descriptor of it would drop the POSIX locks of
all its connections (https://sqlite.org/howtocorrupt.html, 2.2). os.stat is harmless.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import quote

from pushgateway.errors import StoreUnwritableError
from pushgateway.storage import schema

__all__ = ["BUSY_SECONDS", "WAL_BYTES_KEPT", "Handles", "connect"]

BUSY_SECONDS: Final = 5.0
"""The net under the writers' lock: recovery of the log after a crash, and programs that are not the gateway."""

WAL_BYTES_KEPT: Final = 24 << 20
"""To what a log that grew under a long read or a large push is cut when it starts again; usually it has 16 MiB."""

_PRAGMAS: Final = (
    "PRAGMA synchronous = FULL",
    # The push that reaches it makes the checkpoint. Over 3 000 groups that took 4 ms at 250 pages, 7 at 1 000 and 9 at
    # 4 000, but the mean over all pushes was 0.45, 0.38 and 0.28 ms: a page written often moves once.
    "PRAGMA wal_autocheckpoint = 4000",
    f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}",
    # Debian compiles SQLite with it on, which overwrites freed pages with zeros: 0.07 ms a push.
    "PRAGMA secure_delete = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA temp_store = MEMORY",
    # KiB. Memory mapping is left off: a file that shrinks under it kills the process (SIGBUS).
    "PRAGMA cache_size = -8192",
)
# The write-ahead log and its index.
_BESIDE: Final = ("-wal", "-shm")


def connect(path: str, *, mode: str) -> sqlite3.Connection:
    """Open a database with the settings of the gateway, in autocommit mode, for use by any thread (one at a time).

    Args:
        path: The file.
        mode: ``rw``, or ``rwc`` to create it.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    db = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )
    try:
        for pragma in _PRAGMAS:
            db.execute(pragma)
    except BaseException:
        db.close()
        raise
    return db


class Handles:
    """One connection that writes and as many that read as there are readers at a time, on one file.

    Args:
        path: The database, which must exist and be ours.

    Raises:
        OSError: There is no such file.
        SchemaError: It is not ours, or of another version.
        sqlite3.Error: It cannot be opened or read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._real_path = os.path.realpath(path)
        self._beside = [self._real_path + suffix for suffix in _BESIDE]
        self._idle: list[sqlite3.Connection] = []
        self._returned = threading.Condition()
        self._users = 0
        self._retired = False
        file = _identity(path)
        self.writer = connect(self._real_path, mode="rw")
        try:
            schema.verify(self.writer)
            # One reader from the start: reads go on when the file is deleted before the first of them.
            self._idle.append(self._open_reader())
            self._files = {path: file} | {beside: _identity(beside) for beside in self._beside}
            self._check_in_place()
        except BaseException:
            self._close()
            raise

    def displaced(self) -> str:
        """Return why what is committed here would be lost, "" if the database is where it was.

        One os.stat, since it is asked twice a push; `log_bytes` looks at the log.
        """
        problem = self._problem_with(self._path)
        if problem:
            left = [beside for beside in self._beside if _is(beside, self._files[beside])]
            if left and os.path.exists(self._path):
                problem += f"; remove {' and '.join(left)}, which belong to the file before"
        return problem

    def log_bytes(self) -> int:
        """Return the size of the write-ahead log; call as the writer.

        Raises:
            StoreUnwritableError: Somebody has removed it. What it held has been moved into the database, if possible.
        """
        log = self._beside[0]
        with suppress(OSError):
            found = os.stat(log)
            if (found.st_dev, found.st_ino) == self._files[log]:
                return found.st_size
        self.flush_log()
        raise StoreUnwritableError(f"{self._problem_with(log)}; restart the gateway")

    def may_be_replaced(self) -> bool:
        """Return whether another file has the database's name, and nothing of the file before stands beside it.

        With the old log or its index in place SQLite would read the old pages as those of the new file.
        """
        return os.path.exists(self._path) and not any(_is(path, file) for path, file in self._files.items())

    def restart_log(self) -> bool:
        """Move the log into the database and cut it, waiting for reads; call as the writer.

        Returns:
            False if a read was still under way after `BUSY_SECONDS`, and the log goes on.
        """
        busy, _, _ = self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def flush_log(self) -> None:
        """Move what can be moved of the log into the database, without waiting; call as the writer.

        A failure changes nothing: the log stays, and is read or replayed.
        """
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

    @contextmanager
    def reader(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that reads, in a transaction that sees one state.

        Raises:
            sqlite3.Error: None can be had, or what the caller does with it fails.
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

    def _check_in_place(self) -> None:
        for path in self._files:
            if problem := self._problem_with(path):
                raise schema.SchemaError(f"{problem} while it was being opened")

    def _problem_with(self, path: str) -> str:
        try:
            found = os.stat(path)
        except OSError as error:
            return f"{path} has been deleted or cannot be reached ({error.strerror})"
        same = (found.st_dev, found.st_ino) == self._files[path]
        return "" if same else f"{path} has been replaced by another file"

    def _borrow(self) -> sqlite3.Connection:
        with self._returned:
            if self._idle:
                return self._idle.pop()
            if self.displaced():  # a new connection would open another file, or none
                self._returned.wait_for(lambda: bool(self._idle), timeout=BUSY_SECONDS)
                if self._idle:
                    return self._idle.pop()
        return self._open_reader()

    def _open_reader(self) -> sqlite3.Connection:
        db = connect(self._real_path, mode="rw")
        try:
            db.execute("PRAGMA query_only = ON")
            # KiB. A scrape passes over everything once: with four times as much it took as long (9.6 ms).
            db.execute("PRAGMA cache_size = -2048")
            db.execute("SELECT 1 FROM groups LIMIT 1").fetchone()
        except BaseException:
            db.close()
            raise
        return db

    def _close(self) -> None:
        for db in self._idle:
            db.close()
        self._idle.clear()
        self.writer.close()


def _is(path: str, file: tuple[int, int]) -> bool:
    try:
        return _identity(path) == file
    except OSError:
        return False


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino
