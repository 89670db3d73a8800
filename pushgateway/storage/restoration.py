"""How does a copy become the store, without ever leaving neither or a mixture of both?

The log of the old database must never stand beside the new one: SQLite would read old pages as those of the new file.
So the old log is folded into the old database, or kept with it where that is damaged, and is gone before the new file
gets the name. Whoever opens the store meanwhile waits for the writers' lock, as at every start.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final

from pushgateway.errors import CommandError
from pushgateway.storage import schema
from pushgateway.storage.copies import (
    LOGS,
    Contents,
    check_copy,
    check_head,
    contents_of,
    explained,
    file_beside,
    flush,
)
from pushgateway.storage.prepare import check_directory, set_up, writers_lock
from pushgateway.storage.sqlite_files import in_use
from pushgateway.storage.sqlite_handles import connect
from pushgateway.storage.writerlock import LOCK_SUFFIX

__all__ = ["Restored", "restore_store"]

_RIGHTS: Final = 0o777
"""Of a mode: to read, write and execute."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of a restore.

    Attributes:
        contents: What the store holds now.
        kept: The file that has what it held before; "" if that was nothing.
    """

    contents: Contents
    kept: str = ""


def restore_store(copy: str, path: str, *, force: bool, at_seconds: float) -> Restored:
    """Put a copy in the place of a store that nobody uses, checked and brought up to today's layout.

    Args:
        copy: A file that `copy_store` or a program like it has made; it stays as it is.
        path: The store's file; it need not exist.
        force: Whether a store that holds groups, or cannot be read, may be replaced. It is kept beside the new one.
        at_seconds: Unix time, for the name under which it is kept.

    Raises:
        CommandError: The copy is not in order, the store is in use or may not be replaced, or something cannot be read
            or written. The store is as it was.
        StartError: The store's directory is missing, cannot be written or is on a network file system, or another
            process has held the writers' lock for 5 seconds. The store is as it was.
    """
    real_path = os.path.realpath(path)
    expected = check_copy(copy)
    if os.path.realpath(copy) == real_path:
        raise CommandError(f"cannot restore {path} from itself")
    check_directory(path)
    with explained(f"cannot restore {path}"), file_beside(real_path) as temporary:
        _refuse_if_used(path)
        shutil.copyfile(copy, temporary)
        contents = _brought_up_to_date(temporary)
        if (contents.groups, contents.families) != (expected.groups, expected.families):
            raise CommandError(f"the copy of {copy} holds {contents} where {expected} were expected")
        with writers_lock(real_path):
            _refuse_if_used(path)
            moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at_seconds))
            kept = _old_store(path, f"{real_path}.before-restore-{moment}", force=force)
            _take_over_rights(real_path, temporary)
            flush(temporary)
            _make_room(real_path, kept)
            os.replace(temporary, real_path)
            flush(os.path.dirname(real_path))
    return Restored(contents, kept)


def _refuse_if_used(path: str) -> None:
    if os.path.exists(path) and in_use(path):
        raise CommandError(f"cannot restore {path}: a gateway uses it, or another program; stop it first")


def _brought_up_to_date(path: str) -> Contents:
    with closing(connect(path, mode="rw")) as db:
        set_up(db)
        contents = contents_of(db)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return contents


def _old_store(path: str, kept: str, *, force: bool) -> str:
    """Return under which name the old store is to be kept, "" if it holds nothing, with its log folded if it can be.

    Raises:
        CommandError: It may not be replaced.
    """
    if not os.path.exists(path) or not os.stat(path).st_size:
        return ""
    check_head(path)
    try:
        with closing(connect(os.path.realpath(path), mode="rw")) as db:
            (groups,) = db.execute("SELECT count(*) FROM groups").fetchone()
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        what = f"it holds {groups} groups"
    except (sqlite3.Error, schema.SchemaError) as error:
        groups, what = -1, f"it cannot be read ({error})"
    if groups and not force:
        raise CommandError(f"cannot restore {path}: {what}; --force replaces it and keeps it as {kept}")
    return kept if groups else ""


def _take_over_rights(path: str, temporary: str) -> None:
    """Give a new file the mode of the old one, and its owner, so that root can restore for the gateway's user.

    That user may write to the directory: whatever he puts in the place of one of the files, root gives him no other.
    """
    exists = os.path.exists(path)
    old = os.stat(path if exists else os.path.dirname(path))
    handle = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if os.geteuid() == 0:
            os.fchown(handle, old.st_uid, old.st_gid)
            os.chown(path + LOCK_SUFFIX, old.st_uid, old.st_gid, follow_symlinks=False)
        if exists:
            os.fchmod(handle, stat.S_IMODE(old.st_mode) & _RIGHTS)
    finally:
        os.close(handle)


def _make_room(path: str, kept: str) -> None:
    """Keep the old files under other names, then take the log away; the database keeps its own name until the end."""
    if kept:
        for suffix in ("", *LOGS):
            if os.path.exists(path + suffix):
                _second_name(path + suffix, kept + suffix)
        flush(os.path.dirname(path))
    for suffix in (*LOGS, "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(path + suffix)
    flush(os.path.dirname(path))


def _second_name(old: str, new: str) -> None:
    try:
        os.link(old, new)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        shutil.copyfile(old, new)
        flush(new)
