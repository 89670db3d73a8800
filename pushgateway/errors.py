"""What can go wrong in the gateway, and what does each error know?

    PushgatewayError
     +-- ConfigError                 a flag, a variable or a value that cannot be used
     +-- StartError                  the start failed: port taken, directory not writable, foreign file
     |    +-- WebConfigError         the file of --web.config.file cannot be used (knows file, key and line)
     +-- CommandError                a command such as backup could not do what it is for
     +-- RequestError                what the client sent cannot be taken
     |    +-- GroupingKeyError       the URL does not name a group
     |    +-- ParseError             the body is not in the format that it claims (knows the line)
     |    +-- InconsistentPushError  the body is well formed, the state after it would not be (knows the reasons)
     |    +-- OvertakenError         what came from another gateway, for a group that was pushed here later
     |    +-- UnsupportedMediaError  a Content-Type or Content-Encoding that nobody here reads
     |    +-- LimitError             a limit is exceeded (knows its name, its value and what was seen)
     +-- StoreError                  the store cannot do what was asked
          +-- StoreBusyError         other writers were before us until the deadline passed
          +-- WouldBlockError        another writer holds the lock and the caller asked not to wait
          |    +-- LockedError       it may be through in a moment
          |    +-- LongWorkError     the work takes longer than the caller's thread may be kept
          |    +-- UnflushedError    it is done, and the caller is to flush the store before anybody is told
          +-- StoreUnwritableError   disk full, read-only, file deleted: nothing was stored, reads go on
          +-- StoreUnreadableError   damaged or gone: not even reads work

Lower layers raise these and never name an HTTP status; `web.responses` holds the one table from error to status.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "CommandError",
    "ConfigError",
    "GroupingKeyError",
    "InconsistentPushError",
    "LimitError",
    "LockedError",
    "LongWorkError",
    "OvertakenError",
    "ParseError",
    "PushgatewayError",
    "RequestError",
    "StartError",
    "StoreBusyError",
    "StoreError",
    "StoreUnreadableError",
    "StoreUnwritableError",
    "UnflushedError",
    "UnsupportedMediaError",
    "WebConfigError",
    "WouldBlockError",
]


class PushgatewayError(Exception):
    """The root of every error that the gateway raises on purpose."""


class ConfigError(PushgatewayError):
    """A setting that cannot be used.

    Args:
        setting: How the operator spelt it: ``--web.workers`` or ``PUSHGATEWAY_WEB_WORKERS``.
        problem: What is wrong with it and what was expected.
    """

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class StartError(PushgatewayError):
    """The gateway cannot start; the message is one line that says what and why."""


class CommandError(PushgatewayError):
    """A command could not do what it is for; the message is one line that says what and why."""


class WebConfigError(StartError):
    """The file of --web.config.file, or one that it names, cannot be used.

    Args:
        file: Its path.
        key: The key with those above it, as in ``tls_server_config.cert_file``; "" for the file as a whole.
        problem: What is wrong and what was expected; never a value that may be a secret.
        line: 1-based line of the file; 0 where there is none.
    """

    def __init__(self, file: str, key: str, problem: str, *, line: int = 0) -> None:
        where = f"{file}, line {line}" if line else file
        super().__init__(": ".join(filter(None, (where, key, problem))))
        self.file = file
        self.key = key
        self.problem = problem
        self.line = line


class RequestError(PushgatewayError):
    """What the client sent cannot be taken; nothing was stored."""


class GroupingKeyError(RequestError):
    """The URL path does not name a group."""


class ParseError(RequestError):
    """The body is not in the format that it claims.

    Args:
        message: What is wrong, as the format's reference parser would say it.
        line: 1-based line of the body; 0 where a format has no lines.
        hint: What was expected or how to mend it; "" if the message says it all.
        family: The metric family being read; "" if none was known yet.
        format: The format's name, where it has lines: ``text format`` or ``openmetrics``.
    """

    def __init__(
        self, message: str, *, line: int = 0, hint: str = "", family: str = "", format: str = "text format"
    ) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.hint = hint
        self.family = family
        self.format = format


class InconsistentPushError(RequestError):
    """The push is well formed, but the state after it could not be scraped.

    Args:
        reasons: One sentence a finding, at least one; each names family and labels.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


class OvertakenError(RequestError):
    """What came from another gateway gives way: the group has been pushed here later.

    Args:
        pushed_at_seconds: The group's push time here.
    """

    def __init__(self, pushed_at_seconds: float) -> None:
        super().__init__(f"the group was pushed here later, at {pushed_at_seconds!r}")
        self.pushed_at_seconds = pushed_at_seconds


class UnsupportedMediaError(RequestError):
    """A Content-Type or Content-Encoding that nobody here reads.

    Args:
        header: The header's name.
        value: What the client sent.
        expected: What it could send instead.
    """

    def __init__(self, header: str, value: str, *, expected: str) -> None:
        super().__init__(f"{header} {value!r} is not supported; expected {expected}")
        self.header = header
        self.value = value
        self.expected = expected


class LimitError(RequestError):
    """A limit is exceeded.

    Args:
        limit: The limit's name, as in ``body-bytes``.
        allowed: Its value.
        seen: What the request would have needed; None if reading stopped at the limit.
    """

    def __init__(self, limit: str, *, allowed: float, seen: float | None = None) -> None:
        needed = "more" if seen is None else f"{seen:.15g}"
        super().__init__(f"limit {limit} exceeded: {needed} where {allowed:.15g} is allowed")
        self.limit = limit
        self.allowed = allowed
        self.seen = seen


class StoreError(PushgatewayError):
    """The store cannot do what was asked; `reason` says why in one sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StoreBusyError(StoreError):
    """Other writers were before us until the deadline passed; nothing was stored, a retry may succeed."""


class WouldBlockError(StoreError):
    """Another writer holds the lock and the caller asked not to wait; nothing was stored."""


class LockedError(WouldBlockError):
    """Another writer holds the lock, and may be through in a moment."""


class LongWorkError(WouldBlockError):
    """The work takes longer than the caller's thread may be kept; nothing was stored."""


class UnflushedError(WouldBlockError):
    """What was asked for is committed, and whoever has called is to flush the store, then to call again."""


class StoreUnwritableError(StoreError):
    """Nothing was stored: disk full, read-only, file deleted, ... Reads go on; a later write may succeed."""


class StoreUnreadableError(StoreError):
    """Not even reads work: the database is damaged or gone."""
