"""Which databases is the contract of `Store` tested on?

To add one: a class like `SqliteDatabase`, and its name among the parameters of `database`.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from pushgateway.limits import Limits
from pushgateway.model import MetricType
from pushgateway.storage import StatusBoard, Store, open_store, parse_url, prepare_store
from pushgateway.storage.writerlock import LOCK_SUFFIX

__all__ = ["Database"]


class SqliteDatabase:
    """One prepared, empty SQLite database, and the stores that a test opens on it: each stands for a worker."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.board = StatusBoard()
        self._stores: list[Store] = []

    def open(self, *, own: Mapping[str, MetricType] | None = None, limits: Limits | None = None) -> Store:
        """Open one more store."""
        store = open_store(self.url, board=self.board, own=own or {}, limits=limits or Limits())
        self._stores.append(store)
        return store

    @contextmanager
    def writers_held_up(self) -> Iterator[None]:
        """Be another process that is writing."""
        with open(parse_url(self.url) + LOCK_SUFFIX, "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def close(self) -> None:
        """Close all of them."""
        for store in self._stores:
            store.close()


Database: TypeAlias = SqliteDatabase


@pytest.fixture(params=["sqlite"])
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    database = SqliteDatabase(prepare_store(f"sqlite:{tmp_path}/store.db").url)
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Store:
    """A store on an empty database."""
    return database.open()
