"""Where do files live that must not outlive the gateway, and who removes those of one that was killed?

A directory made here holds a file that is locked for as long as any process of its gateway lives; the kernel frees the
lock of the killed. Each start removes the directories whose lock is free. Only a directory with our prefix, of our
user, with that file in it is ever removed: an operator may well have a directory of a similar name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from pushgateway.errors import StartError

__all__ = ["MEMORY_DIRECTORY", "TemporaryDirectory", "disk_directories", "make_directory"]

MEMORY_DIRECTORY: Final = "/dev/shm"  # noqa: S108 - only directories with random names are made there
"""A file system in memory, on Linux: neither slow nor full because a disk is."""

_PREFIX: Final = "pushgateway-tmp-"
_LOCK: Final = "gateway.lock"
_TRIES: Final = 10


class TemporaryDirectory:
    """A directory of this gateway alone; a context manager that removes it.

    Processes forked after it was made keep it locked too.

    Args:
        path: Where it is.
        lock: The descriptor of its lock.
    """

    def __init__(self, path: str, lock: int) -> None:
        self.path = path
        self._lock = lock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove it with all that is in it; what cannot be removed stays. May be called again."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def disk_directories() -> list[str]:
    """Return the directory that TMPDIR or the system names for temporary files, if there is one to write to."""
    try:
        return [tempfile.gettempdir()]
    except FileNotFoundError:
        return []


def make_directory(parents: Sequence[str], *, room_bytes: int, purpose: str) -> TemporaryDirectory:
    """Make a directory in the first of several that will do, and remove what killed gateways have left in any of them.

    Args:
        parents: Where it may be, the best first.
        room_bytes: How much must be free there.
        purpose: What it is for, as an error says it.

    Raises:
        StartError: It can be made in none of them.
    """
    for parent in parents:
        _remove_abandoned(parent)
    problems = []
    for parent in parents:
        try:
            free = os.statvfs(parent)
            if free.f_bavail * free.f_frsize < room_bytes:
                problems.append(f"{parent} has less than {room_bytes} bytes free")
                continue
            return _make(parent)
        except OSError as error:
            problems.append(f"{parent}: {error.strerror}")
    tried = "; ".join(problems) or "no directory for temporary files is writable, set TMPDIR"
    raise StartError(f"cannot make a temporary directory for {purpose}: {tried}")


def _make(parent: str) -> TemporaryDirectory:
    for _ in range(_TRIES):
        path = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
        lock = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_CREAT, 0o600)
        # Another gateway that starts may have taken it for abandoned before it was locked.
        if _locks(lock) and os.fstat(lock).st_nlink:
            return TemporaryDirectory(path, lock)
        os.close(lock)
    raise OSError(0, "every directory made there was removed at once")


def _remove_abandoned(parent: str) -> None:
    """Remove the directories of killed gateways; what cannot be looked at or removed stays."""
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):
            path = os.path.join(parent, name)
            if name.startswith(_PREFIX) and _is_ours(path):
                _remove_unless_locked(path)


def _is_ours(path: str) -> bool:
    status = os.lstat(path)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _remove_unless_locked(path: str) -> None:
    try:
        lock = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return  # not made here, or just being made
    try:
        if _locks(lock):
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)


def _locks(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
