"""May the gateway use this file, and if so, is it ready for the workers?

Runs once, in the process that starts the workers, before any of them opens the database. Whatever is not ours is
refused without a byte of it, or beside it, being changed.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Final, NamedTuple

from pushgateway.errors import StartError
from pushgateway.storage import schema
from pushgateway.storage.sqlite_files import in_use
from pushgateway.storage.sqlite_handles import BUSY_SECONDS, connect
from pushgateway.storage.writerlock import LOCK_SUFFIX
from pushgateway.temporary import MEMORY_DIRECTORY, TemporaryDirectory, disk_directories, make_directory

__all__ = [
    "PreparedStore",
    "check_directory",
    "file_system",
    "foreign",
    "prepare_file",
    "prepare_temporary",
    "set_up",
    "writers_lock",
]

NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "glusterfs", "lustre", "ceph", "ocfs2", "gfs2", "davfs"}
)
"""Where locks or shared memory reach one machine only, or fsync reaches nothing. 9p is none of them: sandboxes use it
for local disks, and where it cannot share memory SQLite says so."""

_REMOTE_FUSE: Final = frozenset({"fuse.sshfs", "fuse.s3fs", "fuse.glusterfs", "fuse.rclone", "fuse.ceph-fuse"})
_MOUNTINFO: Final = "/proc/self/mountinfo"
_MAGIC: Final = b"SQLite format 3\0"
_APPLICATION_ID_AT: Final = 68  # https://sqlite.org/fileformat.html, 1.3
_HEADER_BYTES: Final = 100
_LOOKED_AT_BYTES: Final = 4096
# encoding/gob begins with the name of the type that it holds.
_GOB_TYPE: Final = b"GroupingKeyToMetricGroup"
_ROOM_BYTES: Final = 1 << 20  # a database of 50 KB, its log and its shared memory
_PAGE_BYTES: Final = 8192
"""Twice SQLite's own: a family of some ten buckets then lies in its row, which pages of 4 KiB hold up to 1 002 bytes. A
push of 20 samples over another wrote 4.75 pages of those, since what lies beside its row changes the list of free pages
and the map of pages as well, and writes 2 of these."""
_MIGRATION_PAGE: Final = "docs/how-to/migrate-from-the-go-pushgateway.md"
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


class PreparedStore(NamedTuple):
    """A database that exists, is ours and is up to date.

    Attributes:
        url: What `open_store` takes in the workers.
        temporary: What `cleanup` removes; None for a database that stays.
        problem: Why a database server could not be asked yet, which the workers will do; "" if all is ready.
    """

    url: str
    temporary: TemporaryDirectory | None = None
    problem: str = ""

    def cleanup(self) -> None:
        """Remove a temporary database; call it when all workers have ended."""
        if self.temporary is not None:
            self.temporary.remove()


def prepare_temporary() -> PreparedStore:
    """Make a database in a fresh temporary directory.

    On disk where there is one to write to: memory is scarcer, and whoever wants it there sets TMPDIR.

    Raises:
        StartError: There is no room for one.
    """
    directory = make_directory([*disk_directories(), MEMORY_DIRECTORY], room_bytes=_ROOM_BYTES, purpose="the store")
    try:
        prepared = prepare_file(os.path.join(directory.path, "pushgateway.db"))
    except StartError:
        directory.remove()
        raise
    return PreparedStore(prepared.url, temporary=directory)


def prepare_file(path: str, *, mountinfo: str = _MOUNTINFO) -> PreparedStore:
    """Create a database, or check one and bring it up to date.

    Args:
        path: Where; relative paths are resolved now.
        mountinfo: The table of mounts (proc(5)).

    Raises:
        StartError: The directory is missing or not writable, or on a network file system; the path is not a file,
            cannot be read and written, or holds what is not ours or newer than this program, or older while another
            process has it open; another process has held the writers' lock for 5 seconds.
    """
    path = os.path.abspath(path)
    check_directory(path, mountinfo)
    _check_file(path)
    real_path = os.path.realpath(path)
    try:
        with writers_lock(real_path):
            is_used = os.path.exists(real_path) and in_use(real_path)  # asked before it is open here, too
            with closing(connect(real_path, mode="rwc")) as db:
                if is_used and 0 < schema.version(db) < schema.VERSION:
                    # An older gateway would go on: its scrapes had frames in them, and what it wrote was no frame.
                    raise StartError(
                        f"{path} is of an older release, and a gateway uses it, or another program; stop it first"
                    )
                set_up(db)
    except schema.SchemaError as error:
        raise StartError(
            f"{path} cannot be used: {error}; expected a database of this release or an older one"
        ) from error
    except (sqlite3.Error, OSError) as error:
        raise StartError(f"{path} cannot be opened as a database: {error}") from error
    return PreparedStore(f"sqlite:{path}")


def file_system(path: str, *, mountinfo: str = _MOUNTINFO) -> str:
    """Return the type of the file system that holds a path, "" if it cannot be told.

    Args:
        path: An absolute path without symbolic links.
        mountinfo: The table of mounts; where several are on one directory, the last is the one in use.
    """
    found, depth = "", -1
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                fields, _, after = line.partition(" - ")
                mounted_at = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields.split(" ")[4])
                inside = path == mounted_at or path.startswith(mounted_at.rstrip("/") + "/")
                if inside and len(mounted_at) >= depth:
                    found, depth = after.split(" ")[0], len(mounted_at)
    except OSError:
        return ""  # not Linux, or /proc is hidden: the operator's word has to do
    return found


def check_directory(path: str, mountinfo: str = _MOUNTINFO) -> None:
    """Refuse a directory in which no store can be.

    Args:
        path: The store's file.
        mountinfo: See `file_system`.

    Raises:
        StartError: It is missing, not writable, or on a network file system.
    """
    directory = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(directory):
        raise StartError(f"cannot store in {path}: there is no directory {directory}")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StartError(f"cannot store in {path}: the directory {directory} is not writable")
    kind = file_system(directory, mountinfo=mountinfo)
    if kind in NETWORK_FILE_SYSTEMS or kind in _REMOTE_FUSE:
        raise StartError(
            f"cannot store in {path}: {directory} is on a network file system ({kind}), whose locks and fsync a "
            "database cannot rely on; expected a local disk"
        )


def _check_file(path: str) -> None:
    """Refuse what is there and not ours. The only place that reads the file itself: no connection exists yet."""
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise StartError(f"cannot store in {path}: it is {_kind(mode)}; expected a file")
        with open(path, "rb") as file:
            head = file.read(_LOOKED_AT_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StartError(f"cannot read {path}: {error.strerror}") from error
    if problem := foreign(head):
        raise StartError(f"{path} is not a pushgateway database: {problem}; it has not been changed")
    if not os.access(path, os.W_OK):
        raise StartError(f"cannot store in {path}: the file is read-only")


def foreign(head: bytes) -> str:
    """Say what a file is that begins with `head` (its first 4 KiB, or all of it), "" if it is empty or ours."""
    if not head:
        return ""
    if not head.startswith(_MAGIC):
        if _GOB_TYPE in head:
            return f"it looks like the Go Pushgateway's persistence file; see {_MIGRATION_PAGE}"
        return f"it begins with {head[:16]!r} where {_MAGIC!r} was expected"
    found = int.from_bytes(head[_APPLICATION_ID_AT : _APPLICATION_ID_AT + 4], "big")
    if len(head) < _HEADER_BYTES or found != schema.APPLICATION_ID:
        return (
            f"it is an SQLite database of another program (application_id {found:#x} where "
            f"{schema.APPLICATION_ID:#x} was expected)"
        )
    return ""


def _kind(mode: int) -> str:
    kinds: Sequence[tuple[bool, str]] = (
        (stat.S_ISDIR(mode), "a directory"),
        (stat.S_ISFIFO(mode), "a pipe"),
        (stat.S_ISSOCK(mode), "a socket"),
    )
    return next((text for matches, text in kinds if matches), "a device")


@contextmanager
def writers_lock(path: str) -> Iterator[None]:
    """Hold the writers' lock, so that no other gateway writes to a database, or sets it up too.

    Raises:
        StartError: Another process has held it for 5 seconds.
        OSError: It cannot be opened.
    """
    fd = os.open(path + LOCK_SUFFIX, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StartError(
                        f"cannot store in {path}: another process has held {path}{LOCK_SUFFIX} for {BUSY_SECONDS:g} s"
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(fd)


def set_up(db: sqlite3.Connection) -> None:
    """Lay a database out if it is empty, or bring it up to date; whoever calls holds the lock, or has it alone.

    Raises:
        SchemaError: It is newer than the program, or its file system cannot share memory.
        sqlite3.Error: It cannot be read or written.
    """
    db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # heeded while the file is empty
    # Deferred, and auto_vacuum within: a start that is killed leaves an empty file, or one that carries our mark.
    db.execute("BEGIN")
    try:
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            schema.create(db)
        else:
            schema.migrate(db)
            schema.verify(db)
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise schema.SchemaError("its file system cannot share memory between processes, which the log needs")
