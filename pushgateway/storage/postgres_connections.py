"""How does a gateway speak to PostgreSQL: over which connections, for how long, and in how many round trips?

Connections wait in a stack while they are not used. Every transaction is its own: what it needs to be set, it sets for
itself (SET LOCAL), since behind a pooler in transaction mode the next one may run on another session. Statements whose
answers nobody needs in between are sent together (libpq's pipeline mode): a small push takes two round trips.

psycopg's own pool was rejected: it connects in threads of its own, so that whoever waits for a connection learns after
2 s that there is none, but not why. Here the thread that needs one makes it, and "connection refused" is an answer
after a millisecond.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from pushgateway.errors import StoreUnreadableError

__all__ = ["CONNECT_SECONDS", "Connections", "Link", "Patience", "Statement", "TooLateError", "Transaction"]

CONNECT_SECONDS: Final = 2
"""How long one host may take to answer."""

_MOST_IDLE_SECONDS: Final = 60.0
"""A connection that was not used for longer is not used again: firewalls forget those."""

_LIFE_SECONDS: Final = 1800.0
"""So that a gateway finds its way back to a host that it has left, and a server gets its memory back."""

_GRACE_SECONDS: Final = 1.0
"""The server ends a statement in time; if it does not even do that, it is left after so much more."""

# A gateway that is stopped in the middle of a transaction is not to hold its locks for ever. A commit that has returned
# is to survive the loss of power, whatever the server's default; a stricter one holds. That it has not waited for its
# standby is told by a warning alone, so warnings have to come whatever the user's default is.
_SETTINGS: Final = """
    SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true),
        set_config('idle_in_transaction_session_timeout', %s, true),
        set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), true),
        set_config('client_min_messages', 'warning', true)
"""

_T = TypeVar("_T")


class TooLateError(Exception):
    """The server did not answer in time; the connection cannot be used any more."""


class Statement(NamedTuple):
    """One statement and its parameters."""

    sql: str
    parameters: Sequence[object] = ()


class Patience(NamedTuple):
    """How long a transaction may take.

    Attributes:
        lock_seconds: For each lock that it waits for.
        statement_seconds: For each statement.
        seconds: For each round trip.
    """

    lock_seconds: float
    statement_seconds: float
    seconds: float

    @classmethod
    def of(cls, seconds: float, *, lock_seconds: float | None = None) -> Patience:
        """Make one of a number of seconds."""
        lock = seconds if lock_seconds is None else lock_seconds
        return cls(lock, seconds, seconds + _GRACE_SECONDS)


class Link(psycopg.Connection[Any]):
    """A connection that does not wait for ever, and remembers what the server warned of.

    Attributes:
        deadline: When to give up, on the clock of `time.monotonic`.
        was_late: Whether it has passed without an answer; then the connection cannot be used any more.
        warnings: What the server has warned of since the list was cleared.
        made: When it was made, on the same clock.
        used: When it was used last.
    """

    deadline: float
    was_late: bool
    warnings: list[str]
    made: float
    used: float

    @classmethod
    def made_of(cls, conninfo: str) -> Link:
        """Connect.

        Raises:
            psycopg.Error: That did not succeed.
        """
        # No prepared statements: behind pgbouncer in transaction mode the next session does not have them.
        link = cls.connect(conninfo, autocommit=True, prepare_threshold=None)
        link.deadline, link.was_late, link.warnings = float("inf"), False, []
        link.made = link.used = time.monotonic()
        link.add_notice_handler(link._note)
        return link

    def _note(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self.warnings.append(f"{notice.message_primary} ({notice.sqlstate})")

    def wait(self, gen: PQGen[_T], *args: Any, **kwargs: Any) -> _T:
        """Wait as psycopg does, but not beyond the deadline.

        Raises:
            TooLateError: It has passed.
        """
        return super().wait(self._until_deadline(gen), *args, **kwargs)

    def _until_deadline(self, gen: PQGen[_T]) -> PQGen[_T]:
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                # psycopg wakes up now and then although nothing has come.
                if not ready and time.monotonic() > getattr(self, "deadline", float("inf")):
                    self.was_late = True
                    raise TooLateError
                wanted = gen.send(ready)
        except StopIteration as end:
            result: _T = end.value
            return result


class Connections:
    """The connections of a process to one database.

    Args:
        connect: Makes one.
    """

    def __init__(self, connect: Callable[[], Link]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._idle: list[Link] = []
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @contextmanager
    def lend(self) -> Iterator[Link]:
        """Lend a connection; one that comes back in the middle of something is closed.

        Raises:
            psycopg.Error: There is none, and none could be made.
            StoreUnreadableError: `close` was called.
        """
        link = self._taken() or self._connect()
        try:
            yield link
        finally:
            self._give_back(link)

    def drop_idle(self) -> None:
        """Close what is not in use: one connection that broke tells that the others are broken, too."""
        with self._lock:
            idle, self._idle = self._idle, []
        for link in idle:
            link.close()

    def close(self) -> None:
        """Close all, those in use when they come back. Idempotent."""
        with self._lock:
            self._closed = True
        self.drop_idle()

    def _taken(self) -> Link | None:
        old = []
        try:
            with self._lock:
                if self._closed:
                    raise StoreUnreadableError("the store is closed")
                now = time.monotonic()
                # The first were used the longest ago; what only many at once had needed would stay open below the rest.
                while self._idle and now - self._idle[0].used >= _MOST_IDLE_SECONDS:
                    old.append(self._idle.pop(0))
                while self._idle:
                    link = self._idle.pop()
                    if now - link.made < _LIFE_SECONDS and not link.closed:
                        return link
                    old.append(link)
                return None
        finally:
            for one in old:
                one.close()

    def _give_back(self, link: Link) -> None:
        link.used = time.monotonic()
        link.deadline = float("inf")
        if link.closed or link.info.transaction_status is not TransactionStatus.IDLE:
            link.close()
            return
        with self._lock:
            if not self._closed:
                self._idle.append(link)
                return
        link.close()


class Transaction:
    """One transaction: a context manager that rolls back what was not committed.

    Args:
        link: The connection, in autocommit mode and outside of any transaction.
        mode: What stands behind BEGIN.
        patience: How long it may take.

    Attributes:
        committing: Whether COMMIT has been sent: from then on an error may leave unknown whether it has happened.
    """

    def __init__(self, link: Link, mode: str, patience: Patience) -> None:
        self._link = link
        self._mode = mode
        self._patience = patience
        self._begun = False
        self._is_stale = False
        self.committing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._begun:
            with suppress(psycopg.Error, TooLateError):
                self._run([Statement("ROLLBACK")])
            self._begun = False

    def restart(self) -> None:
        """Roll back and begin anew, with the next round trip."""
        self._is_stale = True

    def ask(self, *statements: Statement) -> list[list[tuple[Any, ...]]]:
        """Run statements in one round trip, the first of the transaction's behind its beginning.

        Returns:
            The rows of each; [] for one that has none.

        Raises:
            psycopg.Error: One of them failed; those behind it were not run.
            TooLateError: There was no answer in time.
        """
        rows = self._run([*self._beginning(), *statements])
        return rows[-len(statements) :]

    def ask_last(self, *statements: Statement) -> list[list[tuple[Any, ...]]]:
        """Do the same as `ask` and end the transaction, all in one round trip; for one that only reads."""
        rows = self._run([*self._beginning(), *statements, Statement("COMMIT")])
        self._begun = False
        return rows[-len(statements) - 1 : -1]

    def commit(self, *statements: Statement) -> None:
        """Run the last statements and commit, in one round trip.

        Raises:
            psycopg.Error: As in `ask`. With `committing` the outcome may be unknown.
            TooLateError: The same.
        """
        self.committing = True
        self._link.warnings.clear()
        self._run([*statements, Statement("COMMIT")])
        self._begun = False

    @property
    def warnings(self) -> list[str]:
        """What the server has warned of during the commit."""
        return self._link.warnings

    def _beginning(self) -> list[Statement]:
        """Return what has to run before anything else."""
        if self._begun and not self._is_stale:
            return []
        ending = [Statement("ROLLBACK")] if self._is_stale else []
        self._begun, self._is_stale = True, False
        return [*ending, Statement(f"BEGIN {self._mode}"), self._settings()]

    def _settings(self) -> Statement:
        lock, statement, whole = (str(int(1000 * seconds)) for seconds in self._patience)
        return Statement(_SETTINGS, (lock, statement, whole))

    def _run(self, statements: Sequence[Statement]) -> list[list[tuple[Any, ...]]]:
        link = self._link
        link.deadline = time.monotonic() + self._patience.seconds
        try:
            with link.pipeline():
                cursors = [link.execute(sql, parameters or None, binary=True) for sql, parameters in statements]
        except (TooLateError, psycopg.Error) as error:
            # psycopg, which leaves its pipeline then, may find other words for it.
            if link.was_late:
                link.close()
                raise TooLateError from error
            raise
        return [cursor.fetchall() if cursor.description is not None else [] for cursor in cursors]
