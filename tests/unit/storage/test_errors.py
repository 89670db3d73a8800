"""What do failures of SQLite mean to an operator?"""

from __future__ import annotations

import errno
import os
import sqlite3

import pytest

from pushgateway.errors import StoreBusyError, StoreError, StoreUnreadableError, StoreUnwritableError
from pushgateway.storage.schema import SchemaError
from pushgateway.storage.sqlite_errors import Doing, translate

READING, WRITING, COMMITTING = Doing.READING, Doing.WRITING, Doing.COMMITTING
BUSY, UNREADABLE, UNWRITABLE = StoreBusyError, StoreUnreadableError, StoreUnwritableError


def failure(name: str, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> sqlite3.Error:
    error = kind("as SQLite says")
    error.sqlite_errorname = name
    error.sqlite_errorcode = getattr(sqlite3, name)
    return error


@pytest.mark.parametrize(
    ("name", "doing", "expected", "words"),
    [
        ("SQLITE_FULL", WRITING, UNWRITABLE, "full"),
        ("SQLITE_FULL", COMMITTING, UNWRITABLE, "full"),
        ("SQLITE_READONLY", WRITING, UNWRITABLE, "read-only"),
        ("SQLITE_READONLY_DBMOVED", WRITING, UNWRITABLE, "read-only"),
        ("SQLITE_IOERR_WRITE", WRITING, UNWRITABLE, "SQLITE_IOERR_WRITE"),
        ("SQLITE_IOERR_FSYNC", COMMITTING, UNWRITABLE, "whether the change was stored is unknown"),
        ("SQLITE_IOERR_READ", READING, UNREADABLE, "SQLITE_IOERR_READ"),
        ("SQLITE_CANTOPEN", WRITING, UNWRITABLE, "cannot be opened"),
        ("SQLITE_CANTOPEN", READING, UNREADABLE, "cannot be opened"),
        ("SQLITE_CORRUPT", READING, UNREADABLE, "damaged"),
        ("SQLITE_CORRUPT_INDEX", WRITING, UNREADABLE, "damaged"),
        ("SQLITE_NOTADB", WRITING, UNREADABLE, "not a database"),
        ("SQLITE_BUSY", WRITING, BUSY, "locked"),
        ("SQLITE_BUSY_SNAPSHOT", COMMITTING, BUSY, "locked"),
        ("SQLITE_BUSY_RECOVERY", READING, UNREADABLE, "locked"),
        ("SQLITE_ERROR", WRITING, UNWRITABLE, "as SQLite says"),
        ("SQLITE_ERROR", READING, UNREADABLE, "as SQLite says"),
    ],
)
def test_the_table(name: str, doing: Doing, expected: type[StoreError], words: str) -> None:
    """Each result code becomes the error that its situation asks for, naming the file and the code."""
    translated = translate(failure(name), "/data/x.db", doing)
    assert type(translated) is expected
    assert words in translated.reason
    assert "/data/x.db" in translated.reason
    assert name in translated.reason
    assert ("unknown" in translated.reason) == (doing is COMMITTING and "IOERR" in name)


@pytest.mark.parametrize(("code", "words"), [(errno.EROFS, ": Read-only file system"), (errno.EACCES, "")])
def test_a_disk_that_has_become_read_only(code: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error on an open file says so where nothing can be opened for writing any more."""

    def refuse(path: str, flags: int) -> int:
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(os, "open", refuse)
    translated = translate(failure("SQLITE_IOERR_WRITE"), "/data/x.db", WRITING)
    assert isinstance(translated, StoreUnwritableError)
    assert translated.reason.endswith(f"(SQLITE_IOERR_WRITE: as SQLite says){words}")


def test_mistakes_of_the_program_are_not_hidden() -> None:
    """What no operator can mend is raised as it is."""
    assert translate(failure("SQLITE_MISUSE", sqlite3.ProgrammingError), "x", WRITING) is None
    assert translate(sqlite3.ProgrammingError("closed"), "x", READING) is None


def test_other_failures() -> None:
    """Failures of the file system, another layout and text that is not UTF-8 have reasons, too."""
    missing = FileNotFoundError(errno.ENOENT, "no", "/data/x.db")
    assert isinstance(translate(missing, "x", READING), StoreUnreadableError)
    unwritable = translate(missing, "x", WRITING)
    assert isinstance(unwritable, StoreUnwritableError)
    assert unwritable.reason == "/data/x.db: No such file or directory"
    foreign = translate(SchemaError("it is not ours"), "/data/x.db", WRITING)
    assert isinstance(foreign, StoreUnwritableError)
    assert foreign.reason == "/data/x.db cannot be used: it is not ours"


@pytest.mark.parametrize("doing", Doing)
@pytest.mark.parametrize(
    "error",
    [
        failure("SQLITE_CONSTRAINT_UNIQUE", sqlite3.IntegrityError),
        sqlite3.OperationalError("Could not decode to UTF-8 column"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        KeyError(17),
        TypeError("tuple indices must be integers"),
    ],
)
def test_rows_that_make_no_sense(error: Exception, doing: Doing) -> None:
    """What only a damaged page can bring about is reported as damage."""
    translated = translate(error, "/data/x.db", doing)
    assert isinstance(translated, StoreUnreadableError)
    assert "/data/x.db is damaged" in translated.reason
