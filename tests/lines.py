"""What has been logged?"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["logged"]


@contextmanager
def logged(*, level: int = logging.DEBUG) -> Iterator[list[dict[str, Any]]]:
    """Collect what is logged from a level on: `event`, `log_level`, what belongs to the event, `has_traceback`."""
    found: list[dict[str, Any]] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = {"event": record.getMessage(), "log_level": record.levelname.lower(), **getattr(record, "data", {})}
            found.append(line | {"has_traceback": True} if record.exc_info else line)

    root, collector = logging.getLogger(), Collector()
    before = root.level
    root.addHandler(collector)
    root.setLevel(level)
    try:
        yield found
    finally:
        root.setLevel(before)
        root.removeHandler(collector)
