"""Where does the gateway keep what was pushed?

    base.py     the contract, `Store`, in prose, and `Ticket`
    prepare.py  whether a file may be used; creation and migration, before the workers start
    copies.py   copies of a store that is in use; restoration.py, how they take its place; no gateway needs either
    status.py   the board on which any worker notes why writes fail
    schema.py   tables, version, migrations
    checks.py   what a push is decided by, whatever the database: with series.py, twins.py, growth.py over lookups.py
    sqlite.py   `SqliteStore`; its docstring lists the modules it is made of
    postgres.py `PostgresStore`; the same. Imported when it is used: psycopg comes with an extra

The process that starts the workers calls `prepare_store`; each worker calls `open_store` with the URL of the result.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Final

from pushgateway.errors import CommandError, ConfigError, StartError
from pushgateway.limits import Limits
from pushgateway.model import MetricType
from pushgateway.storage.base import Store, Ticket
from pushgateway.storage.prepare import PreparedStore, prepare_file, prepare_temporary
from pushgateway.storage.sqlite import SqliteStore
from pushgateway.storage.sqlite_files import in_use, log_problem
from pushgateway.storage.status import StatusBoard
from pushgateway.values import is_shared, redact, shown

__all__ = [
    "PreparedStore",
    "StatusBoard",
    "Store",
    "Ticket",
    "is_shared",
    "join_store",
    "open_store",
    "parse_url",
    "prepare_store",
]

_STANDARD: Final = Limits()

_MEMORY: Final = "memory:"
_SQLITE: Final = "sqlite:"
_SETTING: Final = "--storage.url"
_EXPECTED: Final = "expected sqlite:FILE, sqlite:///absolute/FILE, postgresql://... or memory:"


def parse_url(url: str) -> str:
    """Return the file that a storage URL names, "" for ``memory:`` and ``postgresql://...``, which name none.

    Args:
        url: ``sqlite:F`` (relative to the working directory), ``sqlite:/abs`` or ``sqlite:///abs``, which are the same,
            also with more slashes (SQLAlchemy wants four), ``memory:``, ``postgresql://...`` or ``postgres://...``.
            What follows sqlite: is taken as it is, without percent-decoding; what libpq makes of the last two is
            looked at when the store is prepared.

    Raises:
        ConfigError: It is none of these.
    """
    if url == _MEMORY or is_shared(url):
        return ""
    if not url.startswith(_SQLITE):
        raise ConfigError(_SETTING, f"unknown storage {shown(url)}; {_EXPECTED}")
    path = url.removeprefix(_SQLITE)
    if path.startswith("//"):
        if not path.startswith("///"):
            raise ConfigError(_SETTING, f"{shown(url)} names a host; {_EXPECTED}")
        path = f"/{path.lstrip('/')}"
    if not path or path.endswith("/") or "\0" in path:
        raise ConfigError(_SETTING, f"{shown(url)} names no file; {_EXPECTED}")
    return path


def prepare_store(url: str, *, password_file: str = "") -> PreparedStore:
    """Create a database, or check one and bring it up to date; call it once, before the workers start.

    Never call it in a process that has a store open on the file: it reads the file itself, and SQLite's locks are gone
    when a process closes any descriptor of a file (https://sqlite.org/howtocorrupt.html, 2.2).

    Args:
        url: See `parse_url`.
        password_file: Holds the password of a database server; "" if there is none.

    Returns:
        What the workers open; its `cleanup` is to be called at exit.

    Raises:
        ConfigError: The URL names no store.
        StartError: The store cannot be used; nothing that is not ours has been touched. See `prepare_file`.
    """
    if is_shared(url):
        return PreparedStore(url, problem=_postgres().prepare_database(url, password_file))
    path = parse_url(url)
    return prepare_file(path) if path else prepare_temporary()


def open_store(
    url: str,
    *,
    board: StatusBoard,
    own: Mapping[str, MetricType],
    limits: Limits = _STANDARD,
    password_file: str = "",
) -> Store:
    """Open a prepared store in a worker, after the fork and before it serves, since that may take 5 seconds.

    Never fails: the store does, when it is used, and tries again.

    Args:
        url: `PreparedStore.url`.
        board: Made before the fork.
        own: Names and types of the gateway's own families, also of those without series yet.
        limits: How much may be stored: `shapes_per_job`, `groups`, `families`, `series`.
        password_file: As in `prepare_store`.

    Raises:
        ConfigError: The URL names no store that could be opened.
    """
    if is_shared(url):
        shared: Store = _postgres().open_database(url, password_file, board=board, own=own, limits=limits)
        return shared
    path = parse_url(url)
    if not path:
        raise ConfigError(_SETTING, f"{_MEMORY} has to be prepared first")
    store = SqliteStore(path, board=board, own=own, limits=limits)
    store.open()
    return store


@contextmanager
def join_store(
    url: str, *, own: Mapping[str, MetricType], limits: Limits = _STANDARD, prepare: bool, password_file: str = ""
) -> Iterator[Store]:
    """Open a store in a process that is no gateway, beside gateways that may be running on it.

    Never call it in a process that has the store open: see `prepare_store`.

    Args:
        url: See `parse_url`; not ``memory:``.
        own: As in `open_store`.
        limits: As in `open_store`.
        prepare: Whether to create the store, or bring it up to date, if no gateway is running on its file.
        password_file: As in `prepare_store`.

    Raises:
        CommandError: There is none and none is to be made, or a gateway is running on it whose log was removed, or the
            database server cannot be asked.
        ConfigError: The URL names no store.
        StartError: The store cannot be used; see `prepare_file`.
    """
    path = parse_url(url)
    used = False
    if path:
        path = os.path.abspath(path)
        url = f"{_SQLITE}//{path}"
        if not prepare and not os.path.exists(path):
            raise CommandError(f"{path} does not exist")
        used = os.path.exists(path) and in_use(path)
        if used and (problem := log_problem(path)):
            raise CommandError(f"cannot use {path}: {problem}")
    if prepare and not used:
        problem = prepare_store(url, password_file=password_file).problem
        if problem:
            raise CommandError(f"{redact(url)} cannot be used: {problem}")
    store = open_store(url, board=StatusBoard(), own=own, limits=limits, password_file=password_file)
    try:
        yield store
    finally:
        store.close()


def _postgres() -> ModuleType:
    """Return the module `postgres`, which needs psycopg.

    Raises:
        StartError: psycopg, which comes with an extra, is not installed.
    """
    try:
        # Not at the top: most gateways have no psycopg, and need none.
        return importlib.import_module("pushgateway.storage.postgres")
    except ImportError as error:
        raise StartError(
            f"a store in PostgreSQL needs psycopg ({error}); run: pip install 'pymetrics-pushgateway[gateway,postgres]'"
        ) from error
