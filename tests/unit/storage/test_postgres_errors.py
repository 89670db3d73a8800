"""What does a failure of PostgreSQL mean to whoever pushes and scrapes?"""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from pushgateway.errors import StoreBusyError, StoreError, StoreUnreadableError, StoreUnwritableError
from pushgateway.storage.base import UNKNOWN_OUTCOME
from pushgateway.storage.postgres_connections import TooLateError
from pushgateway.storage.postgres_errors import (
    is_lost,
    is_rolled_back,
    is_worth_repeating,
    takes_no_writes,
    translate,
)
from pushgateway.storage.schema import SchemaError

LOST = psycopg.OperationalError("the connection is lost")


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (LOST, StoreUnwritableError, "cannot be reached"),
        (errors.AdminShutdown("x"), StoreUnwritableError, "stopped or started"),
        (errors.DiskFull("x"), StoreUnwritableError, "disk of the database is full"),
        (errors.TooManyConnections("x"), StoreUnwritableError, "too many connections"),
        (errors.OutOfMemory("x"), StoreUnwritableError, "short of something"),
        (errors.ReadOnlySqlTransaction("x"), StoreUnwritableError, "standby"),
        (errors.InsufficientPrivilege("x"), StoreUnwritableError, "may not do that"),
        (errors.UndefinedTable("x"), StoreUnwritableError, "tables of the store have gone"),
        (errors.DataCorrupted("x"), StoreUnwritableError, "damaged"),
        (errors.SyntaxError("x"), StoreUnwritableError, "42601"),
        (errors.LockNotAvailable("x"), StoreBusyError, "other writers"),
        (errors.QueryCanceled("x"), StoreBusyError, "too long"),
        (errors.SerializationFailure("x"), StoreBusyError, "changing the same"),
        (errors.DeadlockDetected("x"), StoreBusyError, "changing the same"),
        (SchemaError("newer"), StoreUnwritableError, "newer"),
        (TooLateError(), StoreUnwritableError, "in time"),
    ],
)
def test_failures(error: Exception, kind: type[StoreError], word: str) -> None:
    """Each failure of a write says what is wrong; of a read it is always that nothing can be read."""
    found = translate(error, reading=False)
    assert type(found) is kind
    assert word in found.reason
    assert UNKNOWN_OUTCOME not in found.reason
    assert type(translate(error, reading=True)) is StoreUnreadableError


@pytest.mark.parametrize(
    "error",
    [LOST, TooLateError(), errors.AdminShutdown("x"), errors.StatementCompletionUnknown("x"), errors.IoError("x")],
)
def test_an_unknown_outcome_is_told(error: Exception) -> None:
    """After COMMIT was sent, whatever does not say that it was rolled back may have been stored, and that is said."""
    assert not is_rolled_back(error)
    found = translate(error, reading=False, committing=True)
    assert isinstance(found, StoreUnwritableError)
    assert UNKNOWN_OUTCOME in found.reason


@pytest.mark.parametrize("error", [errors.DiskFull("x"), errors.SerializationFailure("x"), errors.QueryCanceled("x")])
def test_what_the_server_refuses_is_rolled_back(error: Exception) -> None:
    """An error of a statement, or of COMMIT itself, means that nothing was stored."""
    assert is_rolled_back(error)
    assert UNKNOWN_OUTCOME not in translate(error, reading=False, committing=True).reason


def test_what_is_tried_again() -> None:
    """Others in the way, a connection that broke and a server that only reads are told apart from all else."""
    assert is_worth_repeating(errors.SerializationFailure("x"))
    assert is_worth_repeating(errors.DeadlockDetected("x"))
    assert not is_worth_repeating(errors.DiskFull("x"))
    assert is_lost(LOST)
    assert is_lost(errors.AdminShutdown("x"))
    assert not is_lost(errors.DiskFull("x"))
    assert takes_no_writes(errors.ReadOnlySqlTransaction("x"))


def test_no_password_is_told() -> None:
    """Should libpq ever quote a URL, its password is hidden; what it says is cut and on one line."""
    error = psycopg.OperationalError("no route to\npostgresql://me:geheim@host/db " + "x" * 2000)
    reason = translate(error, reading=True).reason
    assert "geheim" not in reason
    assert "\n" not in reason
    assert len(reason) < 600
