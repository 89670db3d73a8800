"""Who waits for which flush?"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

from pushgateway.flusher import Flusher


class Disk:
    """A disk whose flushes begin and end as the test says."""

    def __init__(self) -> None:
        self.begun: SimpleQueue[None] = SimpleQueue()
        self.may_end = threading.Semaphore(0)
        self.count = 0
        self.problem: Exception | None = None

    def flush(self) -> None:
        """Wait until the flush may end."""
        self.count += 1
        self.begun.put(None)
        assert self.may_end.acquire(timeout=10)
        if self.problem is not None:
            raise self.problem


@contextmanager
def flushing(flush: Callable[[], None]) -> Iterator[Flusher]:
    """Make a flusher in a running loop, and end its thread."""
    flusher = Flusher(flush)
    yield flusher
    flusher.close()


def test_who_comes_during_a_flush_shares_the_next_one() -> None:
    """A flush covers only those that asked before it began; all that come during it wait for one more."""
    disk = Disk()

    async def talk() -> None:
        with flushing(disk.flush) as flusher:
            first = flusher.flush()
            await asyncio.to_thread(disk.begun.get)
            later = [flusher.flush() for _ in range(5)]
            disk.may_end.release()
            assert await first is None
            await asyncio.to_thread(disk.begun.get)
            assert not any(one.done() for one in later)
            disk.may_end.release()
            assert [await one for one in later] == [None] * 5
        assert disk.count == 2

    asyncio.run(asyncio.wait_for(talk(), 10))


def test_a_flush_that_fails_is_told_to_all_that_waited_for_it() -> None:
    """Its error is what they get, and the next flush is a new one."""
    disk = Disk()
    disk.problem = OSError(5, "no")
    disk.may_end.release(2)

    async def talk() -> None:
        with flushing(disk.flush) as flusher:
            assert await flusher.flush() is disk.problem
            disk.problem = None
            assert await flusher.flush() is None

    asyncio.run(asyncio.wait_for(talk(), 10))


def test_who_gives_up_keeps_nobody_from_the_flush() -> None:
    """A waiting request may be cancelled; the others are told all the same."""
    disk = Disk()
    disk.may_end.release(2)

    async def talk() -> None:
        with flushing(disk.flush) as flusher:
            gone, there = flusher.flush(), flusher.flush()
            gone.cancel()
            assert await there is None

    asyncio.run(asyncio.wait_for(talk(), 10))
