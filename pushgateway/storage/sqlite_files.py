"""Are the database and the files beside it still those that this process, and the other workers, have open?

SQLite goes on with a file that was deleted or replaced. It commits into a database or a log that nobody will find
again; two processes with different logs, or different indexes of one log, overwrite each other's pages. So `Files`
remembers the device and inode of all three files, compares them with the paths before and after each write, and keeps
them on the board that the workers share: one that comes later does not open a log that the others do not have.

The board counts only as long as somebody has the database open, which a lock on a byte of it tells that SQLite does
not use. Its descriptor outlives the connections: closing any descriptor of a file drops the POSIX locks that the
process has on it (https://sqlite.org/howtocorrupt.html, 2.2). os.stat is harmless.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from pushgateway.storage.schema import SchemaError
from pushgateway.storage.status import FileIdentity, StatusBoard

__all__ = ["Files", "in_use", "log_problem", "present"]

_OPEN_BYTE: Final = 1 << 62
"""Locked in shared mode by each process that has the database open; far behind any page."""

_SHARED_FIRST: Final = 0x40000002
_SHARED_SIZE: Final = 510
"""The bytes that SQLite locks in shared mode to read, exclusively to fold the log at the last close (os_unix.c)."""

_PENDING_BYTE: Final = 0x40000000
_INDEX_IN_USE: Final = 128
"""The byte of the log's index that each connection locks in shared mode (UNIX_SHM_DMS in os_unix.c)."""

_OPENING_SECONDS: Final = 1.0
"""How long a process may take from showing that it opens a database to having its log open."""

# struct flock of Linux, padded: l_type, l_whence, l_start, l_len, l_pid.
_FLOCK: Final = struct.Struct("hhqqi4x")
_RESTART: Final = "restart the gateway"


class Files:
    """The database, its write-ahead log and the index of that, as one process has them open.

    Make it before the first connection, call `opened` after it, and `close` when the last one is closed.

    Args:
        path: The database.
        board: Where the workers keep which files they have open.

    Raises:
        OSError: There is no such file, or it cannot be opened.
        SchemaError: The other workers have another log or index open than the one beside the database.
    """

    def __init__(self, path: str, board: StatusBoard) -> None:
        self.path = path
        self.real_path = os.path.realpath(path)
        self.log_bytes = 0
        self._board = board
        self.log_path = self.real_path + "-wal"
        self._beside = (self.log_path, self.real_path + "-shm")
        self._presence = _enter(path, board)
        self._used: tuple[FileIdentity | None, ...] = (self._presence.identity, None, None)
        try:
            self._compare_with_board()
        except BaseException:
            _leave(self._presence)
            raise

    def opened(self) -> None:
        """Take what lies at the paths now for what the connections use.

        Raises:
            SchemaError: Something was replaced meanwhile.
        """
        used = (self._presence.identity, *(_identity(path) for path in self._beside))
        self._used = used
        if problem := self.displaced() or self.displaced_beside():
            raise SchemaError(f"{problem} while it was being opened")
        self._compare_with_board()
        if self._board.files() != used:
            self._board.note_files(used)

    def displaced(self) -> str:
        """Return why the database would be lost, "" if it is where it was: one os.stat."""
        problem = _problem(self.path, self._used[0])
        if problem:
            left = self._left_beside(self._used)
            if left and os.path.exists(self.path):
                problem += f"; remove {left}, which belong to the file before"
        return problem

    def displaced_beside(self) -> str:
        """Return which of the log and its index is not where it was, "" if both are: two calls of os.stat.

        Keeps the size of the log in `log_bytes`, which one of them tells.
        """
        _, used_log, used_index = self._used
        log, index = self._beside
        try:
            found = os.stat(log)
            self.log_bytes = found.st_size
            if (found.st_dev, found.st_ino) == used_log and _identity(index) == used_index:
                return ""
        except OSError:
            self.log_bytes = 0
        return f"{_problem(log, used_log) or _problem(index, used_index)}; {_RESTART}"

    def may_be_replaced(self) -> bool:
        """Return whether another file has the database's name, and nothing of the file before stands beside it.

        With the old log or its index in place SQLite would read the old pages as those of the new file.
        """
        return os.path.exists(self.path) and not _is(self.path, self._used[0]) and not self._left_beside(self._used)

    def may_fold_log(self) -> bool:
        """Return whether the log may be moved into the database: nobody can have opened another log or index.

        A log that was deleted is still whole behind its descriptor. Once another one has its name, its index, which is
        shared, may describe that one.
        """
        return all(
            not os.path.lexists(path) or _is(path, used)
            for path, used in zip(self._beside, self._used[1:], strict=True)
        )

    def keep_from_folding(self) -> None:
        """Keep SQLite from moving the log into the database when the last connection is closed.

        Python 3.11 has no other way (SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE comes with 3.12): to do so SQLite locks the
        database exclusively, which it gives up on when somebody holds a shared lock.
        """
        with suppress(OSError):
            _lock(self._presence.fd, fcntl.F_RDLCK, start=_SHARED_FIRST, size=_SHARED_SIZE)

    def close(self) -> None:
        """Let go of the database; call it when no connection is left."""
        _leave(self._presence)

    def _compare_with_board(self) -> None:
        known = self._board.files()
        if not known:
            return
        if known[0] == self._presence.identity:
            for path, used in zip(self._beside, known[1:], strict=True):
                if problem := _problem(path, used):
                    raise SchemaError(f"{problem}; {_RESTART}")
        elif left := self._left_beside(known):
            raise SchemaError(
                f"{self.path} has been replaced by another file; remove {left}, which belong to the one before"
            )

    def _left_beside(self, files: tuple[FileIdentity | None, ...]) -> str:
        left = [path for path, file in zip(self._beside, files[1:], strict=True) if _is(path, file)]
        return " and ".join(left)


@contextmanager
def present(path: str) -> Iterator[None]:
    """Show other processes that this one has a database open, so that none puts another one in its place.

    Args:
        path: The database. Connections to it are to be opened and closed within.

    Raises:
        OSError: There is no such file, or it cannot be opened.
        SchemaError: It has been replaced meanwhile.
    """
    presence = _enter(path, StatusBoard())
    try:
        yield
    finally:
        _leave(presence)


def in_use(path: str) -> bool:
    """Return whether another process has a database open: a gateway, a command of ours, or any program in SQLite.

    Never call it in a process that has the database open itself: its locks would go.

    Raises:
        OSError: There is no such file, or it cannot be opened.
    """
    own = _is_locked(path, start=_OPEN_BYTE, size=1)
    return own or _is_locked(path, start=_PENDING_BYTE, size=_SHARED_FIRST + _SHARED_SIZE - _PENDING_BYTE)


def log_problem(path: str) -> str:
    """Return why this process must not open a database that others have open, "" if it may.

    Whoever opened it beside a gateway whose log, or the index of it, was removed would make new ones: pages written to
    two logs overwrite each other, and what stands in the old log is not seen. Not for a process that has it open.

    Raises:
        OSError: There is no such file, or it cannot be opened.
    """
    path = os.path.realpath(path)
    deadline = time.monotonic() + _OPENING_SECONDS
    while in_use(path):
        for beside in (path + "-wal", path + "-shm"):
            if not os.path.exists(beside):
                problem = f"{beside} is missing while a gateway has the database open; {_RESTART}"
                break
        else:
            if _is_locked(path + "-shm", start=_INDEX_IN_USE, size=1):
                return ""
            problem = f"{path}-shm is not the one that a gateway has open; {_RESTART}"
        # Or else a gateway is being started or stopped just now.
        if time.monotonic() > deadline:
            return problem
        time.sleep(0.05)
    return ""


def _is_locked(path: str, *, start: int, size: int) -> bool:
    """Return whether some process has a lock on these bytes that keeps others from writing them."""
    fd = _open(path)
    try:
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, size, 0)
        return int(_FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, wanted))[0]) != fcntl.F_UNLCK
    finally:
        os.close(fd)


@dataclass(slots=True)
class _Presence:
    """A database that this process has open, perhaps several times; guarded by `_PRESENT_LOCK`."""

    identity: FileIdentity
    fd: int
    users: int = 1


_PRESENT: Final[dict[FileIdentity, _Presence]] = {}
_PRESENT_LOCK: Final = threading.Lock()


def _enter(path: str, board: StatusBoard) -> _Presence:
    """Show other processes that this one has a database open; forget what the board says if nobody else has."""
    with _PRESENT_LOCK:
        wanted = _identity(path)
        present = _PRESENT.get(wanted)
        if present is not None:
            present.users += 1
            return present
        fd = _open(path)
        status = os.fstat(fd)
        found = (status.st_dev, status.st_ino)
        if found != wanted:
            if found not in _PRESENT:  # else its locks would go: rather lose a descriptor, once in a lifetime
                os.close(fd)
            raise SchemaError(f"{path} has been replaced while it was being opened")
        with suppress(OSError):  # others have it open, or it may only be read
            _lock(fd, fcntl.F_WRLCK, start=_OPEN_BYTE, size=1)
            board.note_files(())
        with suppress(OSError):
            _lock(fd, fcntl.F_RDLCK, start=_OPEN_BYTE, size=1, wait=True)
        _PRESENT[found] = present = _Presence(found, fd)
        return present


def _leave(present: _Presence) -> None:
    with _PRESENT_LOCK:
        present.users -= 1
        if not present.users:
            del _PRESENT[present.identity]
            os.close(present.fd)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR)
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EROFS, errno.EPERM}:
            raise
    return os.open(path, os.O_RDONLY)


def _lock(fd: int, kind: int, *, start: int, size: int, wait: bool = False) -> None:
    """Lock bytes for this descriptor, not, as POSIX locks are, for the process (F_OFD_SETLK in fcntl(2))."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, size, 0))


def _problem(path: str, used: FileIdentity | None) -> str:
    try:
        found = _identity(path)
    except OSError as error:
        return f"{path} has been deleted or cannot be reached ({error.strerror})"
    return "" if found == used else f"{path} has been replaced by another file"


def _is(path: str, file: FileIdentity | None) -> bool:
    try:
        return _identity(path) == file
    except OSError:
        return False


def _identity(path: str) -> FileIdentity:
    found = os.stat(path)
    return found.st_dev, found.st_ino
