"""Which databases is the contract of `Store` tested on?

To add one: a subclass of `Database`, and its name in `databases`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pushgateway.model import MetricType
from pushgateway.storage import StatusBoard, Store, open_store, prepare_store

__all__ = ["Database"]


class Database:
    """One prepared, empty database, and the stores that a test opens on it: each stands for a worker."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.board = StatusBoard()
        self._stores: list[Store] = []

    def open(self, *, own: Mapping[str, MetricType] | None = None, shapes_per_job: int = 64) -> Store:
        """Open one more store."""
        store = open_store(self.url, board=self.board, own=own or {}, shapes_per_job=shapes_per_job)
        self._stores.append(store)
        return store

    def close(self) -> None:
        """Close all of them."""
        for store in self._stores:
            store.close()


@pytest.fixture(params=["sqlite"])
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    database = Database(prepare_store(f"sqlite:{tmp_path}/store.db").url)
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Store:
    """A store on an empty database."""
    return database.open()
