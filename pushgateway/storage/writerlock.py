"""Whose turn is it to write?

SQLite lets one connection write at a time, and makes the others sleep and try again, which halved the throughput of two
workers. So writers queue here, on a lock that wakes them: first among the threads of a process on a mutex, then among
the processes on flock(2) of a file beside the database. The kernel lets go of it when a process dies, however it dies.

One open file a process behind a mutex, instead of one a thread: a push that may not wait then cannot overtake those of
its own process that do, since the mutex is taken while they queue. With two processes of two threads both made as many
turns, but with a file a thread a third of them went to such pushes, and the longest wait was twice as long.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from types import TracebackType
from typing import Final

from pushgateway.errors import LockedError, StoreBusyError
from pushgateway.storage.base import Ticket

__all__ = ["LOCK_SUFFIX", "Turn", "WriterLock"]

LOCK_SUFFIX: Final = "-lock"
"""The writers' lock of FILE is FILE-lock."""

_MOMENT_SECONDS: Final = 0.0005
"""How long a push that may not wait yields the processor to a writer of another process before it gives up: that one
is through in 0.1 to 0.3 ms, since it does not flush, and a thread that waits costs more than that. A push of 20 samples
keeps the loop as long. But to a writer that takes longer only the first one yields: 300 pushes at once, each of which
tries six times, kept health checks waiting for 350 ms, and now for 80 to 170."""

_BUSY = "other writers are at work on the store"


class WriterLock:
    """The right to write to one database, over all threads and processes.

    SQLite's own lock stands behind it, so that nothing breaks if somebody removes the file; writers then sleep.

    Args:
        path: The file to lock; it is created where it is missing, and stays.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._mutex = threading.Lock()
        self._fd = -1
        # Whether a push has yielded in vain since the lock was last ours; of whoever has the mutex, as the descriptor.
        self._yielded = False

    def turn(self, ticket: Ticket | None) -> Turn:
        """Return a context manager that holds the lock; see `acquire`."""
        return Turn(self, ticket)

    def acquire(self, ticket: Ticket | None) -> None:
        """Take the lock.

        Args:
            ticket: None: do not wait but for half a millisecond, in which another process may be through, if no thread
                of this one is before us, and none has waited so in vain since the lock was last ours. Else wait for
                whoever is before us, then claim the ticket.

        Raises:
            LockedError: There is no ticket, and another thread or process has the lock.
            StoreBusyError: The ticket expired before the lock was ours.
            OSError: The file cannot be opened or locked.
        """
        if not self._mutex.acquire(blocking=ticket is not None):
            raise LockedError(_BUSY)
        try:
            if ticket is None:
                self._lock_soon()
            else:
                self._lock_file(fcntl.LOCK_EX)
        except BlockingIOError:
            self._mutex.release()
            raise LockedError(_BUSY) from None
        except BaseException:
            self._mutex.release()
            raise
        self._yielded = False
        if ticket is not None and not ticket.claim():
            self.release()
            raise StoreBusyError(f"{_BUSY}, and were until the time to wait was over; nothing was stored")

    def release(self) -> None:
        """Give the lock to the next in the queue."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        finally:
            self._mutex.release()

    def close(self) -> None:
        """Wait for the thread that has the lock, then close the file; a later `acquire` opens it again."""
        with self._mutex:
            self._close_file()

    def _lock_soon(self) -> None:
        deadline = 0.0
        while True:
            try:
                self._lock_file(fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                now = time.monotonic()
                deadline = deadline or now + _MOMENT_SECONDS
                if self._yielded or now >= deadline:
                    self._yielded = True
                    raise
                os.sched_yield()
            else:
                return

    def _lock_file(self, how: int) -> None:
        while True:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._fd, how)
            if self._in_place():
                return
            self._close_file()  # somebody removed or replaced it: whoever comes now locks another one

    def _in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Turn:
    """The lock as a context manager; a class, since contextlib's generators cost 1.5 microseconds more a push."""

    __slots__ = ("_lock", "_ticket")

    def __init__(self, lock: WriterLock, ticket: Ticket | None) -> None:
        self._lock = lock
        self._ticket = ticket

    def __enter__(self) -> None:
        self._lock.acquire(self._ticket)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
