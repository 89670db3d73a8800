"""When does a loop over records draw a progress bar?

Only on a terminal and only where tqdm is installed: a log file full of carriage returns helps nobody.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterable
from typing import Any, TypeVar

__all__ = ["with_bar"]

logger = logging.getLogger("pymetrics_sdk")

T = TypeVar("T")


def with_bar(records: Iterable[T], *, total: float | None, wanted: bool | None) -> Iterable[T]:
    """Return `records`, drawn as a bar on standard error while they are iterated over.

    Args:
        records: Anything iterable.
        total: How many there will be; None if nobody knows.
        wanted: True or False to decide; None to draw on a terminal only.
    """
    if wanted is False or (wanted is None and not _on_terminal()):
        return records
    try:
        tqdm: Any = importlib.import_module("tqdm")
        bar: Iterable[T] = tqdm.tqdm(records, total=total)
    except ImportError:
        return records
    except Exception as error:  # a broken installation, or settings of its own in TQDM_*
        logger.warning("no progress bar: tqdm failed with %s", type(error).__name__)
        return records
    return bar


def _on_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False  # no standard error, or a closed one
