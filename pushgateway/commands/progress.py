"""How far is a command that takes a while?"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TextIO

__all__ = ["Progress"]

_SECONDS_BETWEEN: Final = 0.1
"""How often a line on a terminal changes."""

_CLEAR_LINE: Final = "\r\x1b[K"
_TENTHS: Final = 10


class Progress:
    """Progress on a terminal as a line that changes and goes at the end, elsewhere as a line every 10 %.

    Args:
        what: What is being done, as in ``copying``.
        unit: What is counted.
        stream: Where to write.
        lines: Whether to write anything where there is no terminal.
        clock: Seconds, from anywhere.
    """

    def __init__(
        self,
        what: str,
        unit: str,
        *,
        stream: TextIO,
        lines: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._head = f"pushgateway: {what}"
        self._unit = unit
        self._stream = stream
        self._terminal = stream.isatty()
        self._lines = lines
        self._clock = clock
        self._next_at = self._clock()
        self._tenth = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal:
            self._write(_CLEAR_LINE)

    def show(self, done: int, total: int) -> None:
        """Say how far it is.

        Args:
            done: How many units are done.
            total: How many there are, 0 if there is nothing to do.
        """
        text = f"{self._head}: {done} of {total} {self._unit}"
        if self._terminal:
            now = self._clock()
            if now >= self._next_at:
                self._next_at = now + _SECONDS_BETWEEN
                self._write(_CLEAR_LINE + text)
        elif self._lines and total:
            tenth = _TENTHS * done // total
            if tenth > self._tenth:
                self._tenth = tenth
                self._write(text + "\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
