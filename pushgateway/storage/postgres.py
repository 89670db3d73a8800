"""How does PostgreSQL keep the contract of `base.Store`?

    postgres_urls         what the URL means         postgres_locks    what a change locks, and why that is enough
    postgres_connections  round trips and deadlines  postgres_lookups  what a decision on a push asks for
    postgres_schema       the tables                 postgres_writes   what a change does to the tables
    postgres_errors       what a failure means       postgres_reads    how a snapshot is read
                                                     postgres_totals   how much is stored in all

Beyond the contract: several gateways may use one database. A commit of which it is not known whether it has happened
(the connection broke, the server did not answer in time, or says that it has not waited for its standby) is an error.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import Final, TypeVar

import psycopg

from pushgateway.errors import (
    RequestError,
    StartError,
    StoreBusyError,
    StoreError,
    StoreUnreadableError,
    StoreUnwritableError,
    WouldBlockError,
)
from pushgateway.limits import Limits
from pushgateway.model import (
    Change,
    Delete,
    Form,
    GroupContents,
    GroupPage,
    GroupQuery,
    Known,
    MetricType,
    Push,
    Refusal,
    Section,
    Sections,
    Snapshot,
    Totals,
    Wipe,
)
from pushgateway.storage.base import UNKNOWN_OUTCOME, Ticket, Version
from pushgateway.storage.checks import OwnFamilies, Rules
from pushgateway.storage.postgres_connections import Connections, Link, Patience, Transaction
from pushgateway.storage.postgres_errors import (
    FAILURES,
    is_lost,
    is_rolled_back,
    is_worth_repeating,
    takes_no_writes,
    translate,
)
from pushgateway.storage.postgres_reads import (
    READING,
    find_groups,
    read_group,
    read_groups,
    read_snapshot,
    read_state,
    read_version,
)
from pushgateway.storage.postgres_schema import set_up
from pushgateway.storage.postgres_totals import read_all_totals
from pushgateway.storage.postgres_urls import connector
from pushgateway.storage.postgres_writes import MAX_FAMILY_BYTES, Outcome, delete, push, read_shapes, refuse, wipe
from pushgateway.storage.series import PushedSeries
from pushgateway.storage.status import StatusBoard
from pushgateway.values import shown

__all__ = ["PostgresStore", "open_database", "prepare_database"]

_WRITING: Final = "ISOLATION LEVEL READ COMMITTED"
"""Not READ WRITE: operators, and providers when a disk gets full, set default_transaction_read_only, and mean it."""

_SHORT: Final = Patience.of(5.0)
_LONG: Final = Patience.of(60.0, lock_seconds=5.0)
"""For what may be large: scrapes, wipes, pushes of more than a megabyte, and the layout."""

_NO_WAITING: Final = Patience.of(5.0, lock_seconds=0.01)
"""Without a ticket: whoever finds a lock taken comes again with one."""

_PING: Final = Patience.of(1.0)
_PING_SECONDS: Final = 1.0
"""How long a ping waits for its answer, connecting to one host after the other included: probes have little time."""

_LARGE_BYTES: Final = 1 << 20

_TRIES: Final = 10
"""For transactions that others were in the way of, which locks in a fixed order make rare, and for connections that
have broken while they were not in use."""

_PAUSE_SECONDS: Final = 0.02

_CROWDED_JOBS: Final = 10_000
"""Of how many jobs a process remembers that their groups have several shapes."""

_CLOSED: Final = "the store is closed"
_T = TypeVar("_T")


def prepare_database(url: str, password_file: str) -> str:
    """Create the tables, or bring them up to date.

    Args:
        url: Of the database.
        password_file: Holds the password; "" if there is none.

    Returns:
        Why that could not be done now; "" if it was. A database that cannot be reached is waited for by the workers.

    Raises:
        ConfigError: libpq cannot read the URL.
        StartError: The database cannot be used.
    """
    connect = connector(url, password_file)
    try:
        link = connect()
    except psycopg.Error as error:
        return translate(error, reading=True).reason
    with closing(link):
        link.deadline = time.monotonic() + _LONG.seconds
        try:
            set_up(link)
        except FAILURES as error:
            reason = translate(error, reading=True).reason
            if is_lost(error):
                return reason
            raise StartError(f"{shown(url)}: {reason}") from error
    return ""


def open_database(
    url: str, password_file: str, *, board: StatusBoard, own: Mapping[str, MetricType], limits: Limits
) -> PostgresStore:
    """Open a store; see `storage.open_store`."""
    store = PostgresStore(connector(url, password_file), board=board, own=own, limits=limits)
    store.open()
    return store


class _Turn:
    """A ticket that is claimed once, however often the transaction is repeated."""

    def __init__(self, ticket: Ticket | None) -> None:
        self._ticket = ticket
        self._claimed = False
        self.may_wait = ticket is not None

    def take(self) -> None:
        """Claim it.

        Raises:
            StoreBusyError: It has expired.
        """
        if self._ticket is not None and not self._claimed:
            if not self._ticket.claim():
                raise StoreBusyError("the time for this request is over; nothing was stored")
            self._claimed = True


class PostgresStore:
    """A store in one PostgreSQL database.

    Args:
        connect: Makes a connection.
        board: Where failures of writes are noted for all workers of this gateway.
        own: The gateway's own families, which count as stored.
        limits: How much may be stored; see `SqliteStore`.
    """

    inline = False

    def __init__(
        self, connect: Callable[[], Link], *, board: StatusBoard, own: Mapping[str, MetricType], limits: Limits
    ) -> None:
        self._connections = Connections(connect)
        self._board = board
        self._own = OwnFamilies(own)
        self._limits = limits
        self._preparing = threading.Lock()
        self._is_prepared = False
        self._crowded: dict[str, bool] = {}
        self._pinging = threading.Lock()
        self._ping: Future[None] | None = None

    def open(self) -> None:
        """Connect now, if that is possible; else the first use will say why not."""
        with suppress(StoreError):
            self.ping()

    def apply(self, change: Change, ticket: Ticket | None) -> None:
        """Apply one change; see `base.Store`."""
        if self._connections.closed:
            raise StoreUnreadableError(_CLOSED)
        if ticket is not None and ticket.expired:
            raise StoreBusyError("the time for this request is over; nothing was stored")
        series = PushedSeries(change) if isinstance(change, Push) else None
        if series is not None:
            series.sort()
        if series is not None and not series.is_quick(self._limits.shapes_per_job):
            series.project(self._shapes(series.job))
        turn = _Turn(ticket)
        try:
            refusal = self._repeated(lambda link: self._transact(link, change, series, turn), reading=False)
        except StoreBusyError as error:
            if turn.may_wait:
                raise
            raise WouldBlockError(error.reason) from error
        except StoreError as error:
            self._note(error)
            raise
        if self._board.reason():
            self._board.note("")
        if refusal is not None:
            raise refusal

    def commit(self, change: Change, ticket: Ticket | None) -> None:
        """Apply one change; a commit of the server is flushed."""
        self.apply(change, ticket)

    def flush(self) -> None:
        """Do nothing but say whether the store is open: what is committed is flushed."""
        if self._connections.closed:
            raise StoreUnreadableError(_CLOSED)

    def families(self, form: Form, *, legacy_only: bool = False) -> Snapshot:
        """Return one consistent state of everything; see `base.Store`."""
        return self._read(lambda transaction: read_snapshot(transaction, form, legacy_only=legacy_only), _LONG)

    def sections(self, known: Sequence[Known], take: Callable[[Section], _T]) -> Sections[_T] | None:
        """Leave it to `families`, for which the server puts the bodies together; see `base.Store`."""
        return None

    def version(self) -> Version | None:
        """Return which state of the store this is; see `base.Store`."""
        return self._read(read_state, _SHORT)

    def groups(self) -> Sequence[GroupContents]:
        """Return one consistent state of everything, a group at a time; see `base.Store`."""
        return self._read(read_groups, _LONG)

    def group(self, key: str) -> GroupContents | None:
        """Return one group; see `base.Store`."""
        return self._read(lambda transaction: read_group(transaction, key), _LONG)

    def find_groups(self, query: GroupQuery) -> GroupPage:
        """Return a page of the groups that a query is about; see `base.Store`."""
        return self._read(lambda transaction: find_groups(transaction, query), _LONG)

    def totals(self) -> Totals:
        """Return how much is stored; see `base.Store`."""
        return self._read(read_all_totals, _SHORT)

    def ping(self) -> None:
        """Read a little, together with whoever else does; see `base.Store`."""
        with self._pinging:
            if self._ping is None or self._ping.done():
                self._ping = Future()
                threading.Thread(target=self._answer_ping, args=(self._ping,), name="ping", daemon=True).start()
            answer = self._ping
        try:
            answer.result(_PING_SECONDS)
        except TimeoutError:
            raise StoreUnreadableError(f"the database has not answered for {_PING_SECONDS:g} s") from None

    def _answer_ping(self, answer: Future[None]) -> None:
        try:
            self._read(read_version, _PING)
        except BaseException as error:
            answer.set_exception(error)
        else:
            answer.set_result(None)

    def unwritable_reason(self) -> str:
        """Return why the last write of any process failed; see `base.Store`."""
        return self._board.reason()

    def close(self) -> None:
        """Close all connections, those in use when their change is done; see `base.Store`."""
        self._connections.close()

    def _note(self, error: StoreError) -> None:
        """Put a failure of a write on the board."""
        if not self._connections.closed and self._board.reason() != error.reason:
            self._board.note(error.reason)

    def _shapes(self, job: str) -> list[str]:
        """Return the shapes of a job as they are before the locks; none if they cannot be read: a write says why."""
        try:
            return self._read(lambda transaction: read_shapes(transaction, job), _SHORT)
        except StoreUnreadableError:
            return []

    def _read(self, read: Callable[[Transaction], _T], patience: Patience) -> _T:
        def with_link(link: Link) -> _T:
            with Transaction(link, READING, patience) as transaction:
                return read(transaction)

        return self._repeated(with_link, reading=True)

    def _transact(self, link: Link, change: Change, series: PushedSeries | None, turn: _Turn) -> RequestError | None:
        """Carry a change out; return why a push was refused once that is stored."""
        is_large = isinstance(change, Wipe) or (series is not None and sum(series.sizes) > _LARGE_BYTES)
        patience = _NO_WAITING if not turn.may_wait else _LONG if is_large else _SHORT
        rules = Rules(self._own, self._limits, turn.may_wait, MAX_FAMILY_BYTES)
        with Transaction(link, _WRITING, patience) as transaction:
            outcome = self._looked(transaction, change, series, rules)
            turn.take()
            if outcome.statements:
                try:
                    transaction.commit(*outcome.statements)
                except FAILURES as error:
                    if is_rolled_back(error):
                        raise
                    raise translate(error, reading=False, committing=True) from error
                if transaction.warnings:
                    told = "; ".join(transaction.warnings)
                    raise StoreUnwritableError(f"the database has warned while it committed: {told}; {UNKNOWN_OUTCOME}")
            return outcome.refusal

    def _looked(self, transaction: Transaction, change: Change, series: PushedSeries | None, rules: Rules) -> Outcome:
        if isinstance(change, Push):
            pushed = series or PushedSeries(change)
            outcome = push(transaction, change, pushed, rules, crowded=self._crowded)
            if outcome.crowded is not None:
                if len(self._crowded) >= _CROWDED_JOBS:
                    self._crowded.clear()
                self._crowded[pushed.job] = outcome.crowded
            return outcome
        if isinstance(change, Refusal):
            return refuse(transaction, change, rules)
        return delete(transaction, change, rules) if isinstance(change, Delete) else wipe(transaction)

    def _repeated(self, work: Callable[[Link], _T], *, reading: bool) -> _T:
        """Do something with a connection, again if that is worth it.

        Raises:
            StoreError: It did not succeed.
        """
        for left in reversed(range(_TRIES)):
            was_idle = False
            try:
                with self._connections.lend() as link:
                    was_idle = link.used > link.made
                    self._prepare(link)
                    return work(link)
            except FAILURES as error:
                if is_lost(error) or takes_no_writes(error):
                    self._connections.drop_idle()
                    repeat = was_idle
                else:
                    repeat = is_worth_repeating(error)
                    if repeat and left:
                        time.sleep(random.uniform(0, _PAUSE_SECONDS))  # noqa: S311 - no secret
                if not (repeat and left):
                    raise translate(error, reading=reading) from error
        raise AssertionError("unreachable")

    def _prepare(self, link: Link) -> None:
        """See to it once that the tables are there: at the start of the gateway the database may not have been."""
        if self._is_prepared:
            return
        with self._preparing:
            if not self._is_prepared:
                link.deadline = time.monotonic() + _LONG.seconds
                set_up(link)
                self._is_prepared = True
