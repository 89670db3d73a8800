"""What do other processes do to a store while a test looks on?

Each function is the body of a spawned process, so it takes and returns what pickles.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.managers import SyncManager
from threading import Barrier

from pushgateway.errors import PushgatewayError, WouldBlockError
from pushgateway.model import Change, Form
from pushgateway.storage import StatusBoard, Ticket, open_store
from tests.contract.values import family, key, push

__all__ = ["WHOLE", "numbered", "push_for_ever", "race"]

WHOLE = 5
"""How many families a numbered push has."""


def numbered(number: int, *, group: str = "a") -> Change:
    """Make a push whose every family says the number."""
    to = key(group)
    return push(to, *(family(f"x{i}", group=to, value=str(number)) for i in range(WHOLE)), at=float(number))


def race(url: str, changes: Sequence[Sequence[Change]]) -> list[list[str]]:
    """Apply several lists of changes, each list in a process of its own, all at once.

    Returns:
        For each list, the outcome of each change: "" or the name of the error.
    """
    context = multiprocessing.get_context("spawn")
    with SyncManager(ctx=context) as manager, ProcessPoolExecutor(len(changes), mp_context=context) as pool:
        barrier = manager.Barrier(len(changes))
        return list(pool.map(_apply_all, [url] * len(changes), changes, [barrier] * len(changes)))


def _apply_all(url: str, changes: Sequence[Change], start: Barrier) -> list[str]:
    store = open_store(url, board=StatusBoard(), own={})
    store.ping()
    start.wait(timeout=30)
    outcomes = []
    for change in changes:
        try:
            try:
                store.apply(change, None)
            except WouldBlockError:
                store.apply(change, Ticket())
            outcomes.append("")
        except PushgatewayError as error:
            outcomes.append(type(error).__name__)
    store.families(Form.TEXT)
    store.close()
    return outcomes


def push_for_ever(url: str) -> None:
    """Apply numbered pushes to the group of the number modulo 7, and print each number once its push is stored."""
    store = open_store(url, board=StatusBoard(), own={})
    number = 0
    while True:
        number += 1
        store.apply(numbered(number, group=str(number % 7)), Ticket())
        print(number, flush=True)


if __name__ == "__main__":
    push_for_ever(sys.argv[1])
