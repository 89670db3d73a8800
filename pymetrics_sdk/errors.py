"""What can go wrong in the SDK, and what does each error know?

    PymetricsError
     +-- ConfigError        an argument, a variable or an option that cannot be used (also a ValueError)
     +-- PushError          the gateway did not take a push, and the caller asked to be told
     +-- TransportError     one attempt got no answer: name not resolved, refused, reset
          +-- DeadlineError     ... because the push deadline came
    Skip (BaseException)    control flow, not an error: the run has nothing to do

None of these leaves the SDK while a job runs, unless the caller asked for it with ``on_push_error="raise"`` or
``PYMETRICS_STRICT=1``, or passed an argument that cannot work (ConfigError, when the object is made).
"""

from __future__ import annotations

__all__ = ["ConfigError", "DeadlineError", "PushError", "PymetricsError", "Skip", "TransportError"]


class PymetricsError(Exception):
    """The root of every error that the SDK raises on purpose."""


class ConfigError(PymetricsError, ValueError):
    """An argument, a variable or an option that cannot be used.

    Args:
        setting: How the caller spelt it: ``schedule``, ``PYMETRICS_TIMEOUT``, ``--label``.
        problem: What is wrong with it and what was expected.
    """

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class PushError(PymetricsError):
    """The gateway did not take a push within the deadline.

    Args:
        reason: One sentence: what the gateway or the network answered. Holds no credentials.
        status: The last HTTP status, None if no answer came.
        attempts: How many requests were sent.
    """

    def __init__(self, reason: str, *, status: int | None = None, attempts: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.attempts = attempts


class TransportError(PymetricsError):
    """One attempt got no answer: the name did not resolve, the connection was refused or reset."""


class DeadlineError(TransportError):
    """The push deadline came before an answer."""

    def __init__(self) -> None:
        super().__init__("no answer before the push deadline")


class Skip(BaseException):
    """The run has nothing to do; raised by `pymetrics_sdk.skip`, caught by the run.

    Not an Exception, so that a job's own ``except Exception`` lets it pass, and not a SystemExit, which an event loop
    would treat as its own end when a task raises it.

    Args:
        reason: Why there is nothing to do; logged, never exported.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
