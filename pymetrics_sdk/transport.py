"""How does one request reach a gateway, and who may stop it?

A transport sends one request and returns one answer. Which one is used depends on the scheme of the gateway's URL: the
table `SCHEMES` maps it to a function that opens it. `pymetrics_sdk.testing` puts its in-memory gateway there.
"""

from __future__ import annotations

import importlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import RLock
from typing import Protocol

from pymetrics_sdk.environment import Settings
from pymetrics_sdk.errors import ConfigError

__all__ = ["SCHEMES", "Deadline", "Request", "Response", "Transport", "open_transport"]

MAX_REASON_BYTES = 2048
"""How much of an answer's body is read: a gateway's reason for a 400 is one or two sentences."""


class Deadline:
    """The moment by which a push must be over, whoever waits for it.

    Another thread may bring it forward (`shorten`) or end the push at once (`cancel`); both reach a transport that is
    blocked in a socket, since it attaches its sockets here.

    Args:
        seconds: From now.
        clock: Monotonic seconds.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._expires_at = clock() + seconds
        self._sockets: list[socket.socket] = []
        # Re-entrant: a signal handler may cancel what the thread that it interrupted is about to cancel.
        self._lock = RLock()
        self.cancelled = False

    def remaining(self) -> float:
        """Return the seconds left; zero or less when the deadline has passed or the push was cancelled."""
        return 0.0 if self.cancelled else self._expires_at - self._clock()

    def shorten(self, seconds: float) -> None:
        """Let the deadline be at most `seconds` from now."""
        self._expires_at = min(self._expires_at, self._clock() + seconds)

    def cancel(self) -> None:
        """End the push now: whatever blocks on an attached socket returns."""
        with self._lock:
            self.cancelled = True
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # not connected any more: nobody is blocked on it

    def attach(self, sock: socket.socket) -> None:
        """Let `cancel` reach `sock`."""
        with self._lock:
            if sock not in self._sockets:
                self._sockets.append(sock)


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a gateway.

    Args:
        method: POST, PUT, DELETE or GET.
        url: Absolute, without credentials.
        headers: Without those that the transport adds (Host, Content-Length, Authorization).
        body: May be empty.
        max_body_bytes: How much of the answer's body is wanted.
        take: Gets the body of a good answer piece by piece, in place of `Response.body` and without that limit, and
            returns whether it wants more.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    max_body_bytes: int = MAX_REASON_BYTES
    take: Callable[[bytes], bool] | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """One answer of a gateway.

    Args:
        status: HTTP status.
        body: At most `Request.max_body_bytes`; what had arrived when the deadline came.
        headers: Names in lower case.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Transport(Protocol):
    """Sends requests, one at a time, from one thread."""

    def send(self, request: Request, deadline: Deadline) -> Response:
        """Send a request and return the answer.

        Redirects are not followed. Never takes longer than `deadline`, whatever the other side does, except for a name
        resolution that hangs, which nothing can interrupt.

        Raises:
            TransportError: No answer came.
        """

    def close(self) -> None:
        """Close kept connections; may be called twice."""


_import_lock = RLock()
MAX_IMPORT_SECONDS = 5.0


def _before_fork() -> None:
    """Let an import in a pusher thread end: the child would get half of requests, and so would its own import of it."""
    # With a limit, should the forking thread itself be what that import waits for.
    _fork_waited.append(_import_lock.acquire(timeout=MAX_IMPORT_SECONDS))


def _after_fork_in_parent() -> None:
    if _fork_waited.pop():
        _import_lock.release()


def _after_fork_in_child() -> None:
    global _import_lock  # noqa: PLW0603 -- the thread that held it may not exist here
    _import_lock = RLock()
    _fork_waited.clear()


_fork_waited: list[bool] = []
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _open_http(settings: Settings) -> Transport:
    # The one lazy import of our own: it brings requests, whose import costs more than a short job has, and which a job
    # without a gateway never needs.
    with _import_lock:
        module = importlib.import_module("pymetrics_sdk.http_transport")
    transport: Transport = module.HttpTransport(settings)
    return transport


SCHEMES: dict[str, Callable[[Settings], Transport]] = {"http": _open_http, "https": _open_http}
"""Scheme of the gateway's URL to what opens a transport for it."""


def open_transport(settings: Settings) -> Transport:
    """Open the transport for the gateway of `settings`.

    Raises:
        ConfigError: The URL's scheme is unknown, or a certificate file cannot be used.
    """
    scheme = settings.gateway_url.partition("://")[0].lower()
    opener = SCHEMES.get(scheme)
    if opener is None:
        raise ConfigError("gateway", f"the scheme {scheme!r} is not supported; expected http or https")
    return opener(settings)
