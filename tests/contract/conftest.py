"""Which databases is the contract of `Store` tested on?

To add one: a class like those here, and its name among the parameters of `database`.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import psycopg
import pytest

from pushgateway.limits import Limits
from pushgateway.model import MetricType
from pushgateway.storage import StatusBoard, Store, open_store, parse_url, prepare_store
from pushgateway.storage.postgres_schema import TABLES
from pushgateway.storage.writerlock import LOCK_SUFFIX
from tests.postgres import PgBouncer, Postgres

__all__ = ["Database"]


class Database(Protocol):
    """One prepared, empty database, and the stores that a test opens on it: each stands for a worker."""

    url: str

    def open(self, *, own: Mapping[str, MetricType] | None = None, limits: Limits | None = None) -> Store:
        """Open one more store."""

    def writers_held_up(self) -> AbstractContextManager[None]:
        """Be another process that is writing."""

    def close(self) -> None:
        """Close all of them."""


class _Stores:
    """The stores that are open on a database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.board = StatusBoard()
        self._stores: list[Store] = []

    def open(self, *, own: Mapping[str, MetricType] | None = None, limits: Limits | None = None) -> Store:
        """Open one more store."""
        store = open_store(self.url, board=self.board, own=own or {}, limits=limits or Limits())
        self._stores.append(store)
        return store

    def close(self) -> None:
        """Close all of them."""
        for store in self._stores:
            store.close()


class SqliteDatabase(_Stores):
    """A file."""

    @contextmanager
    def writers_held_up(self) -> Iterator[None]:
        """Be another process that is writing."""
        with open(parse_url(self.url) + LOCK_SUFFIX, "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class PostgresDatabase(_Stores):
    """A database of a server, which is emptied for each test."""

    def empty(self) -> None:
        """Remove what earlier tests have left."""
        tables = ", ".join(f"pushgateway_{table}" for table in TABLES if table not in ("meta", "locks", "totals"))
        with psycopg.connect(self.url) as db:
            db.execute(f"TRUNCATE {tables}")
            db.execute("UPDATE pushgateway_totals SET groups = 0, families = 0, series = 0")

    @contextmanager
    def writers_held_up(self) -> Iterator[None]:
        """Be a gateway that is wiping the store, and has not committed yet."""
        with psycopg.connect(self.url) as db:
            db.execute("SELECT id FROM pushgateway_locks ORDER BY id FOR UPDATE")
            yield
            db.rollback()


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> str:
    """A database of the server that has the tables."""
    return prepare_store(postgres.create_database()).url


POOLED = ("test_store_concurrency",)
"""The modules whose tests run through pgbouncer too."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test of a database each kind of it."""
    if "database" in metafunc.fixturenames:
        pooled = ["pgbouncer"] if metafunc.module.__name__.rpartition(".")[2] in POOLED else []
        metafunc.parametrize("database", ["sqlite", "postgres", *pooled], indirect=True)


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    database: SqliteDatabase | PostgresDatabase
    if request.param == "sqlite":
        database = SqliteDatabase(prepare_store(f"sqlite:{tmp_path}/store.db").url)
    else:
        url: str = request.getfixturevalue("postgres_url")
        if request.param == "pgbouncer":
            pooler: PgBouncer = request.getfixturevalue("pgbouncer")
            url = pooler.url_of(url.rpartition("/")[2])
        database = PostgresDatabase(url)
        database.empty()
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Store:
    """A store on an empty database."""
    return database.open()
