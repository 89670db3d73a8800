"""What does a failure of SQLite or of the file system mean to whoever pushes, scrapes or operates?

The one table from SQLite's result codes (https://sqlite.org/rescode.html) to our errors, and the one place where they
are translated: around each operation of the store.
"""

from __future__ import annotations

import enum
import errno
import os
import sqlite3
from collections.abc import Mapping
from typing import Final

from pushgateway.errors import StoreBusyError, StoreError, StoreUnreadableError, StoreUnwritableError
from pushgateway.storage.base import UNKNOWN_OUTCOME
from pushgateway.storage.packing import UNPACKING_FAILED
from pushgateway.storage.schema import SchemaError
from pushgateway.storage.writerlock import LOCK_SUFFIX

__all__ = ["FAILURES", "Doing", "translate"]

FAILURES: Final = (sqlite3.DatabaseError, OSError, SchemaError, ValueError, LookupError, TypeError)
"""What `translate` is for. The last three come of rows that make no sense: a damaged page may still look like one."""


class Doing(enum.Enum):
    """What was being done when it failed."""

    READING = "reading"
    WRITING = "writing"
    COMMITTING = "committing"


_REASONS: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_FULL: "the disk that holds {path} is full",
    sqlite3.SQLITE_READONLY: "{path} is read-only",
    sqlite3.SQLITE_CANTOPEN: "{path} or a file beside it cannot be opened",
    sqlite3.SQLITE_PERM: "access to {path} is denied",
    sqlite3.SQLITE_AUTH: "access to {path} is denied",
    sqlite3.SQLITE_IOERR: "the system reported an error on a file of {path}",
    sqlite3.SQLITE_BUSY: "another program has locked {path}",
    sqlite3.SQLITE_LOCKED: "another program has locked {path}",
    sqlite3.SQLITE_PROTOCOL: "another program has locked {path}",
    sqlite3.SQLITE_CORRUPT: "{path} is damaged; restore it from a backup",
    sqlite3.SQLITE_CONSTRAINT: "{path} is damaged; restore it from a backup",
    sqlite3.SQLITE_NOTADB: "{path} is not a database any more; restore it from a backup",
}
# Nothing that the gateway writes violates a constraint, unless an index and its table contradict each other.
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT})
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
# The programmer's mistakes, which no operator can mend and no retry helps.
_OURS: Final = frozenset({sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE})
# After these a commit may have reached the disk or not: the log was written, and flushing it failed.
_MAY_HAVE_COMMITTED: Final = frozenset({sqlite3.SQLITE_IOERR})


def translate(error: Exception, path: str, doing: Doing) -> StoreError | None:
    """Return the error to raise in place of one of `FAILURES`.

    Args:
        error: What SQLite or the file system raised.
        path: The database, for the reason.
        doing: What was being done.

    Returns:
        None if the error is a mistake of the program, to be raised as it is.
    """
    reading = doing is Doing.READING
    if isinstance(error, SchemaError):
        return (StoreUnreadableError if reading else StoreUnwritableError)(f"{path} cannot be used: {error}")
    if isinstance(error, OSError):
        reason = f"{error.filename or path}: {os.strerror(error.errno) if error.errno else error}"
        return (StoreUnreadableError if reading else StoreUnwritableError)(reason)
    code = getattr(error, "sqlite_errorcode", None)
    # Without a code OperationalError is the module's own, for text that is not UTF-8.
    if not isinstance(error, sqlite3.Error) or (code is None and type(error) is sqlite3.OperationalError):
        return StoreUnreadableError(f"{path} is damaged; restore it from a backup ({type(error).__name__}: {error})")
    if code is None or code & 0xFF in _OURS:
        return None
    primary = code & 0xFF
    name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
    reason = f"{_REASONS.get(primary, '{path} failed').format(path=path)} ({name}: {error})"
    if str(error) == UNPACKING_FAILED:
        return StoreUnreadableError(f"{path} is damaged; restore it from a backup (a large family cannot be unpacked)")
    if primary in _DAMAGE:
        return StoreUnreadableError(reason)
    if reading:
        return StoreUnreadableError(reason)
    if primary in _BUSY:
        return StoreBusyError(reason)
    if primary == sqlite3.SQLITE_IOERR and _is_read_only(path):
        reason += f": {os.strerror(errno.EROFS)}"
    if doing is Doing.COMMITTING and primary in _MAY_HAVE_COMMITTED:
        reason += f"; {UNKNOWN_OUTCOME}"
    return StoreUnwritableError(reason)


def _is_read_only(path: str) -> bool:
    """Return whether no file can be opened for writing any more, which SQLite calls an error of the disk once they are.

    Asked of the writers' lock: closing a descriptor of the database would drop SQLite's locks. And not of statvfs: in
    Linux 6.18 that does not tell of a file system which has become read-only by an error.
    """
    try:
        os.close(os.open(os.path.realpath(path) + LOCK_SUFFIX, os.O_RDWR))
    except OSError as error:
        return error.errno == errno.EROFS
    return False
