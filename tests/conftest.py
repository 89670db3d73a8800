"""Which services may tests share?"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.harness import Gateway, Original, Service
from tests.postgres import PgBouncer, Postgres
from tests.rows import FLAG_SETS, PREFIXES

# How long an example takes says nothing where other tests run beside it.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """Our gateway with an in-memory store and both optional APIs, shared by the tests of a module."""
    with Gateway("--storage.url=memory:", "--web.enable-admin-api", "--web.enable-lifecycle") as service:
        yield service


@pytest.fixture(scope="module")
def original() -> Iterator[Original]:
    """The Go Pushgateway with both optional APIs, shared by the tests of a module."""
    with Original("--web.enable-admin-api", "--web.enable-lifecycle") as service:
        yield service


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server that all tests share; each makes a database of its own."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres: Postgres) -> Iterator[PgBouncer]:
    """A pgbouncer in transaction mode before that server."""
    with PgBouncer(postgres) as pooler:
        yield pooler


class Pool:
    """Services that are started when first asked for and live until the tests end, one a kind and flag set."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self._stack = contextlib.ExitStack()
        self._services: dict[tuple[str, str], Service] = {}

    def get(self, kind: str, flags: str) -> Service:
        """Return the service of a kind ("gateway", "postgres" or "original") with a flag set of `tests.rows`."""
        if (kind, flags) not in self._services:
            prefix = PREFIXES.get(flags, "")
            service: Service
            if kind == "original":
                service = Original(*FLAG_SETS[flags], prefix=prefix)
            else:
                service = Gateway(f"--storage.url={self._storage(kind)}", *FLAG_SETS[flags], prefix=prefix)
            self._services[kind, flags] = self._stack.enter_context(service)
        return self._services[kind, flags]

    def _storage(self, kind: str) -> str:
        if kind == "gateway":
            return "memory:"
        server: Postgres = self._request.getfixturevalue("postgres")
        return server.create_database()

    def close(self) -> None:
        """Stop them all."""
        self._stack.close()


@pytest.fixture(scope="session")
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """The services that all contract tests share."""
    services = Pool(request)
    yield services
    services.close()


@pytest.fixture
def service(pool: Pool, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Service:
    """The service of a contract row, whose parameter is (kind, flag set)."""
    kind, flags = request.param
    record_property("contract_row", kind)
    return pool.get(kind, flags)


def pytest_configure() -> None:
    """Let tests send signals also where nohup or a shell's background has them ignored for good."""
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a test by what it is given, but not by what gzip has made: that holds the time, and changes every second.

    Processes that share a run of tests have to know each test by the same name.
    """
    return argname if isinstance(val, bytes) and val.startswith(b"\x1f\x8b") else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests have recorded and how many rows of the contract have held; note what has failed."""
    properties = [pair for report in terminalreporter.stats.get("passed", []) for pair in report.user_properties]
    for name, value in properties:
        if name == "figure":
            terminalreporter.write_line(str(value))
    if os.environ.get("FAILED_TESTS") and "PYTEST_XDIST_WORKER" not in os.environ:
        # `make test` repeats them when all suites have ended. Processes that share a run have a summary each.
        failed = [report for kind in ("failed", "error") for report in terminalreporter.stats.get(kind, [])]
        with Path(os.environ["FAILED_TESTS"]).open("a") as file:
            file.writelines(f"{report.nodeid}\n" for report in failed)
    kinds = Counter(value for name, value in properties if name == "contract_row")
    if kinds:
        terminalreporter.write_line(
            f"contract rows tested: {kinds['gateway']} on ours, {kinds['postgres']} on ours with PostgreSQL, "
            f"{kinds['original']} of them on the original too"
        )
