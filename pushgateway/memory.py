"""How does memory that was needed for a while become the system's again, and who may need much of it?

What a large push has taken is free when it is stored, and still the process's: CPython keeps arenas of which a single
object is alive, and its lists of free tuples and floats keep many so; glibc returns only what lies at the end of its
heaps. For 100 000 samples 50 of 126 MB stayed; after a full collection, which empties those lists, and malloc_trim, 6.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Final, Protocol, cast

__all__ = ["LargeTurns", "OneProcess", "give_memory_back", "map_large_blocks", "share_with_forks", "trim_heap"]


_MAPPED_BYTES: Final = 512 << 10
"""From which size on a block of memory is the system's again as soon as it is freed."""

_HEAPS: Final = 1
"""How many heaps the threads of a process share. glibc gives each its own, of which each keeps what is free: with two
5 MB more with 10 000 groups. Little is allocated by two threads at once, since most is under the interpreter's lock."""

_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
"""In glibc's malloc.h."""


class _Trim(Protocol):
    def __call__(self, keep_bytes: int, /) -> int:
        """Return free memory to the system (malloc_trim(3))."""


def map_large_blocks() -> None:
    """Let blocks from 512 KiB on never stay with the process, nor with those that it forks.

    glibc does so at 128 KiB, until one is freed: from then on it keeps what is not larger, up to 32 MiB. Two workers
    that had sent expositions of 17 MB kept 65 MB of them, and with a fixed threshold nothing.
    """
    with suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
        mallopt(_M_ARENA_MAX, _HEAPS)


def give_memory_back() -> None:
    """Return memory to the system that this process has freed. Takes some 20 ms after a large push."""
    gc.collect()
    trim_heap()


def trim_heap() -> None:
    """Return to the system what was freed and lies in the C library's heap. Takes 0.4 to 1.4 ms."""
    trim = _find_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _find_trim() -> _Trim | None:
    try:
        return cast("_Trim", ctypes.CDLL(None).malloc_trim)
    except (AttributeError, OSError):
        return None  # another C library than glibc


def share_with_forks() -> None:
    """Keep the cycle collector off all that there is, so that processes forked from now on share more of it.

    The collector writes to the header of each object that it looks at, and the system then copies the page. With two
    workers all processes together took 72 MB where they had taken 96. Garbage among what there is stays: 600 of 57 000
    objects, to find which would take 60 ms.
    """
    gc.freeze()


class LargeTurns:
    """Turns that the threads of a process take one after the other, as long as what they make is large.

    How large it will be is not known before: it counts what was made last.

    Args:
        large_bytes: What is large.
    """

    def __init__(self, *, large_bytes: int) -> None:
        self._large_bytes = large_bytes
        self._last_bytes = 0
        self._lock = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Be alone in this, or not, until the end of the block."""
        with self._lock if self.is_large else nullcontext():
            yield

    @property
    def is_large(self) -> bool:
        """Whether what was made last is large."""
        return self._last_bytes > self._large_bytes

    def made(self, size_bytes: int) -> None:
        """Note how large it has become."""
        self._last_bytes = size_bytes


class OneProcess:
    """A context manager that one process at a time can be in; made before the fork, for one thread of each.

    The lock goes with the process that holds it, also when that is killed.
    """

    def __init__(self) -> None:
        self._fd = os.memfd_create("pushgateway-giants", os.MFD_CLOEXEC)

    def __enter__(self) -> None:
        # Not flock: the processes share the descriptor, and would share its lock.
        fcntl.lockf(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN)
