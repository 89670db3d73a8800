"""How does a benchmark end that is told to: with nothing left running that it has started?"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

__all__ = ["stoppable"]

_STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def stoppable() -> Iterator[None]:
    """Leave through all context managers at SIGTERM, SIGINT and SIGHUP; a second one does not disturb that.

    SIGTERM would end the process at once, and a shell lets what it runs in the background ignore SIGINT: in both cases
    gateways, which have sessions of their own, went on. A SIGHUP that is ignored, as nohup has it, stays so.
    """
    before = {number: signal.getsignal(number) for number in _STOPS}
    caught = [number for number in _STOPS if number != signal.SIGHUP or before[number] != signal.SIG_IGN]

    def leave(number: int, _frame: FrameType | None) -> None:
        for one in caught:
            signal.signal(one, signal.SIG_IGN)
        sys.exit(128 + number)

    for number in caught:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, before[number])
