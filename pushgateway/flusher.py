"""How do the requests that wait for a flush share one?

A flush takes as long as the disk does, 0.1 to 10 ms, and covers all that was committed before it began. So one thread
flushes, and whoever comes meanwhile waits for the next flush: two cover all that can wait at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias

__all__ = ["Flusher"]

_Waiting: TypeAlias = "list[asyncio.Future[Exception | None]]"


class Flusher:
    """Flushes for the requests of one event loop; make it in the process that uses it, since it starts a thread.

    Args:
        flush: Returns when all that was committed before is safe; is called in the thread.
    """

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush
        self._waiting: _Waiting = []
        self._is_flushing = False
        self._turns: SimpleQueue[_Waiting | None] = SimpleQueue()
        # A daemon, as are all threads that may wait for a disk for ever: the interpreter joins others at exit.
        threading.Thread(target=self._work, name="flush", daemon=True).start()

    def flush(self) -> asyncio.Future[Exception | None]:
        """Return what becomes None after a flush that begins from now on, or the error in which that ended."""
        done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        if not self._is_flushing:
            self._begin()
        return done

    def close(self) -> None:
        """Let the thread end; does not wait for it."""
        self._turns.put(None)

    def _begin(self) -> None:
        self._is_flushing = True
        self._turns.put(self._waiting)
        self._waiting = []

    def _work(self) -> None:
        while (waiting := self._turns.get()) is not None:
            problem: Exception | None = None
            try:
                self._flush()
            except Exception as error:
                problem = error  # whatever it is, nobody may be told that his push is safe
            # RuntimeError: the worker's grace time is over and the loop is closed, so that nobody waits any more.
            with contextlib.suppress(RuntimeError):
                waiting[0].get_loop().call_soon_threadsafe(self._end, waiting, problem)

    def _end(self, waiting: _Waiting, problem: Exception | None) -> None:
        self._is_flushing = False
        if self._waiting:
            self._begin()
        for done in waiting:
            if not done.done():
                done.set_result(problem)
