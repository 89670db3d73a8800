"""How do all workers together keep to one rate of requests?

With a token bucket in memory that they share: made before the fork, inherited by each. What is kept is one number, the
time at which the bucket is full again (the "theoretical arrival time" of GCRA, ITU-T I.371), so that a reload may
change rate and burst at any moment.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    # Not at run time: it brings yaml, and most gateways have no such file.
    from pushgateway.webconfig import RateLimit

__all__ = ["Throttle"]

_TIME: Final = struct.Struct("=d")

_PATIENCE_SECONDS: Final = 0.005
"""Another worker holds the lock for some microseconds. Who finds it taken for longer, since that worker is not being
run, goes on without it: the event loop must not wait, and at worst one request too many is answered."""


class Throttle:
    """One bucket for every process that is forked after this was made.

    Args:
        clock: Returns seconds, the same in all processes and never going back, as time.monotonic does on Linux.
        patience_seconds: How long to try for the lock.
    """

    def __init__(self, clock: Callable[[], float], *, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._clock = clock
        self._patience_seconds = patience_seconds
        # A lock of the process (lockf): unlike a semaphore it goes with a process that is killed.
        self._file = os.memfd_create("throttle", os.MFD_CLOEXEC)
        os.ftruncate(self._file, _TIME.size)
        self._memory = mmap.mmap(self._file, _TIME.size)

    def allow(self, limit: RateLimit) -> bool:
        """Take a token if there is one; a bucket that was never used is full."""
        locked = self._lock()
        try:
            now = self._clock()
            full_at: float = max(_TIME.unpack_from(self._memory)[0], now)
            # A billionth more: what is added up in floating point must not fall short of a whole token.
            if full_at - now > (limit.burst - 1) * limit.interval_seconds * (1 + 1e-9) + 1e-9:
                return False
            _TIME.pack_into(self._memory, 0, full_at + limit.interval_seconds)
            return True
        finally:
            if locked:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _lock(self) -> bool:
        late = time.monotonic() + self._patience_seconds
        while True:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                if time.monotonic() > late:
                    return False
                os.sched_yield()
            else:
                return True
