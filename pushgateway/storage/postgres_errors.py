"""What does a failure of PostgreSQL, or of the way to it, mean to whoever pushes, scrapes or operates?

The one table from SQLSTATEs (https://www.postgresql.org/docs/current/errcodes-appendix.html) to our errors. CockroachDB
and YugabyteDB use the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import psycopg
from psycopg import errors

from pushgateway.errors import StoreBusyError, StoreError, StoreUnreadableError, StoreUnwritableError
from pushgateway.storage.base import UNKNOWN_OUTCOME
from pushgateway.storage.postgres_connections import TooLateError
from pushgateway.storage.schema import SchemaError
from pushgateway.values import redact

__all__ = ["FAILURES", "is_lost", "is_rolled_back", "is_worth_repeating", "takes_no_writes", "translate"]

FAILURES: Final = (psycopg.Error, TooLateError, SchemaError)
"""What `translate` is for."""

_REASONS: Final[Mapping[str, str]] = {
    "08": "the connection to the database was lost",
    "25006": "the database takes no writes; it may be a standby",
    "28": "the database refuses the user or the password",
    "3D": "the database does not exist",
    "42501": "the user may not do that in the database",
    "42P01": "the tables of the store have gone",
    "53": "the database is short of something",
    "53100": "the disk of the database is full",
    "53300": "the database has too many connections",
    "57P": "the database is being stopped or started",
    "58": "the system reported an error to the database",
    "XX": "the database is damaged",
}
"""The meaning of a SQLSTATE, or of all that begin alike."""

_REPEATED: Final = (errors.SerializationFailure, errors.DeadlockDetected)
_BUSY: Final = (errors.LockNotAvailable, errors.QueryCanceled, *_REPEATED)
# The server says that it has ended the transaction; after these it may have done so by committing it.
_UNKNOWN: Final = ("08", "57P", "40003", "XX", "58")
_LONGEST: Final = 500


def is_lost(error: Exception) -> bool:
    """Return whether it was the connection that failed, and not what was asked for."""
    state = getattr(error, "sqlstate", None)
    return isinstance(error, psycopg.OperationalError) and (state is None or state.startswith(("08", "57P")))


def is_worth_repeating(error: Exception) -> bool:
    """Return whether the same transaction may succeed at once: another one was in its way."""
    return isinstance(error, _REPEATED)


def is_rolled_back(error: Exception) -> bool:
    """Return whether the server says that a transaction which was to be committed has not been."""
    state = getattr(error, "sqlstate", None)
    return isinstance(error, psycopg.Error) and state is not None and not state.startswith(_UNKNOWN)


def takes_no_writes(error: Exception) -> bool:
    """Return whether the server only reads, as a standby does: another host may have taken its place."""
    return isinstance(error, errors.ReadOnlySqlTransaction)


def translate(error: Exception, *, reading: bool, committing: bool = False) -> StoreError:
    """Return the error to raise in place of one of `FAILURES`.

    Args:
        error: What psycopg or `Transaction` raised.
        reading: Whether it was a read; then it is a StoreUnreadableError.
        committing: Whether COMMIT had been sent.
    """
    if committing and not is_rolled_back(error):
        return StoreUnwritableError(f"{_reason(error)}; {UNKNOWN_OUTCOME}")
    if reading:
        return StoreUnreadableError(_reason(error))
    if isinstance(error, _BUSY):
        return StoreBusyError(f"{_BUSY_REASONS.get(type(error), 'others were changing the same')}; nothing was stored")
    return StoreUnwritableError(_reason(error))


_BUSY_REASONS: Final = {
    errors.LockNotAvailable: "other writers were before this one for too long",
    errors.QueryCanceled: "the database took too long",
}


def _reason(error: Exception) -> str:
    if isinstance(error, TooLateError):
        return "the database did not answer in time"
    if isinstance(error, SchemaError):
        return f"the database cannot be used: {error}"
    state = getattr(error, "sqlstate", None) or ""
    known = (_REASONS[state[:length]] for length in (5, 3, 2) if state[:length] in _REASONS)
    told = " ".join(str(error).split())[:_LONGEST]
    if not state:
        return f"the database cannot be reached ({redact(told)})"
    return f"{next(known, 'the database failed')} ({state}: {redact(told)})"
