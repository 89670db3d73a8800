"""Which stores do tests of files work on, and who else has them open?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pushgateway.storage import StatusBoard, open_store, prepare_store
from tests.contract.values import family, key, push

__all__ = ["GROUPS", "HOLD_IN_SQLITE", "PUSH_AND_DIE", "fill_store", "used_by_another"]

GROUPS = 30

HOLD = """
import sys
from pushgateway.storage import StatusBoard, open_store

store = open_store(f"sqlite:{sys.argv[1]}", board=StatusBoard(), own={})
print("open", flush=True)
sys.stdin.read()
"""
"""Have a store open as a gateway has."""

HOLD_IN_SQLITE = """
import sqlite3, sys

db = sqlite3.connect(sys.argv[1])
db.execute("SELECT * FROM groups")
print("open", flush=True)
sys.stdin.read()
"""

PUSH_AND_DIE = """
import os, signal, sys
from pushgateway.storage import StatusBoard, open_store
from tests.contract.values import family, key, push

store = open_store(f"sqlite:{sys.argv[1]}", board=StatusBoard(), own={})
group = key("late")
store.apply(push(group, family("x", group=group)), None)
os.kill(os.getpid(), signal.SIGKILL)
"""


def fill_store(path: Path, groups: int = GROUPS) -> Path:
    """Make a store with some groups of two families each."""
    store = open_store(prepare_store(f"sqlite:{path}").url, board=StatusBoard(), own={})
    for number in range(groups):
        group = key(instance=str(number))
        store.apply(push(group, family("x", group=group), family("y", group=group, padding=20_000)), None)
    store.close()
    return path


@contextmanager
def used_by_another(path: Path, code: str = HOLD) -> Iterator[None]:
    """Have another process hold a store open."""
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield
        process.communicate("", timeout=30)
