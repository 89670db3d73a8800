"""How much memory do all processes of a service take, now and at most?"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness import processes

__all__ = ["Watch", "pss_bytes"]

_EVERY_SECONDS = 0.02


def pss_bytes(session: int) -> int:
    """Return the proportional set size of a session's processes: pages that they share count once."""
    total = 0
    for pid in processes(session):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


class Watch:
    """Samples the memory of a service while it is entered.

    Args:
        session: `Service.pid`.

    Attributes:
        peak_bytes: The largest sample so far.
    """

    def __init__(self, session: int) -> None:
        self.peak_bytes = 0
        self._session = session
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            self.peak_bytes = max(self.peak_bytes, pss_bytes(self._session))
