"""What do HTTP calls look like in metrics, whoever makes or serves them?

Names and labels are those of OpenTelemetry's stable semantic conventions for HTTP as Prometheus shows them. A raw path,
a query or a message is never a label: the route is the framework's template or "".
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from functools import lru_cache
from time import perf_counter
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

from pymetrics_sdk import cells
from pymetrics_sdk.cells import Cell, Definition, Scope, current_scope
from pymetrics_sdk.errors import ConfigError
from pymetrics_sdk.metrics import DEFAULT_BUCKETS
from pymetrics_sdk.telemetry import count_internal_error

__all__ = ["ClientCall", "HttpCall", "ServerCall", "is_suppressed", "suppressed", "track_http"]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
_ORIGIN = re.compile(r"[a-z]+://[^/?#]*")
_PORTS = {"http": "80", "https": "443"}

_CLIENT_LABELS = ("http_request_method", "server_address", "server_port")
_SERVER_LABELS = ("http_request_method", "url_scheme")
_END_LABELS = ("http_response_status_code", "error_type")

_CLIENT_SECONDS = Definition(
    "histogram",
    "http_client_request_duration_seconds",
    "Duration of HTTP requests that this process made.",
    (*_CLIENT_LABELS, *_END_LABELS),
    DEFAULT_BUCKETS,
    additive=True,
)
_SERVER_SECONDS = Definition(
    "histogram",
    "http_server_request_duration_seconds",
    "Duration of HTTP requests that this process served.",
    (*_SERVER_LABELS, "http_route", *_END_LABELS),
    DEFAULT_BUCKETS,
    additive=True,
)
_CLIENT_ACTIVE = Definition(
    "gauge", "http_client_active_requests", "HTTP requests that this process waits for.", _CLIENT_LABELS
)
_SERVER_ACTIVE = Definition(
    "gauge", "http_server_active_requests", "HTTP requests that this process is serving.", _SERVER_LABELS
)

_suppressed: ContextVar[bool] = ContextVar("pymetrics_http_suppressed", default=False)


def is_suppressed() -> bool:
    """Whether an outer layer counts the present request already, as requests does for what it gives to urllib3."""
    return _suppressed.get()


class suppressed:  # noqa: N801 -- reads as a statement: with suppressed()
    """A context manager in which no client call is counted: what an instrumented library does inside its own call."""

    def __enter__(self) -> None:
        self._token = _suppressed.set(True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _suppressed.reset(self._token)


class HttpCall:
    """One HTTP exchange; a context manager, also an asynchronous one.

    Attributes:
        status: Set it to the response's status when it is known; None if none came.
        route: A server's route template; "" where nothing matched.
    """

    _active: Definition
    _seconds: Definition

    def __init__(self, labels: tuple[str, ...], *, error_from: int) -> None:
        self.status: int | None = None
        self.route = ""
        self._labels = labels
        self._error_from = error_from
        self._scope: Scope | None = None
        self._under_way: Cell | None = None
        self._started = 0.0

    def begin(self) -> None:
        """Note that the exchange begins."""
        self._started = perf_counter()
        try:
            self._scope = current_scope()
            under_way = self._scope.family(self._active).cell(self._labels)
            cells.add(under_way, 1.0)
            self._under_way = under_way
        except Exception:
            count_internal_error("measuring an HTTP call")

    def end(self, error: BaseException | None = None) -> None:
        """Note that it ended; further calls do nothing.

        Args:
            error: What ended it in place of a response.
        """
        under_way, self._under_way = self._under_way, None
        if under_way is None or self._scope is None:
            return
        try:
            cells.add(under_way, -1.0)
            labels = self._end_labels(str(self.status or ""), self._error_type(error))
            cells.observe(self._scope.family(self._seconds).cell(labels), perf_counter() - self._started)
        except Exception:
            count_internal_error("measuring an HTTP call")

    def _error_type(self, error: BaseException | None) -> str:
        if error is not None and not isinstance(error, GeneratorExit):
            return type(error).__name__
        return str(self.status) if self.status is not None and self.status >= self._error_from else ""

    def _end_labels(self, status: str, error_type: str) -> tuple[str, ...]:
        return (*self._labels, status, error_type)

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)


class ClientCall(HttpCall):
    """A request that this process makes.

    Args:
        method: Its method; one that HTTP does not define is counted as ``_OTHER``.
        url: Where to; only host and port are used.
    """

    _active = _CLIENT_ACTIVE
    _seconds = _CLIENT_SECONDS

    def __init__(self, method: str, url: str) -> None:
        super().__init__((_method(method), *_address(url)), error_from=400)


class ServerCall(HttpCall):
    """A request that this process serves.

    Args:
        method: Its method, as above.
        scheme: ``http`` or ``https``.
        route: The route's template, if it is known already.
    """

    _active = _SERVER_ACTIVE
    _seconds = _SERVER_SECONDS

    def __init__(self, method: str, scheme: str, *, route: str = "") -> None:
        super().__init__((_method(method), scheme if scheme in _PORTS else ""), error_from=500)
        self.route = route

    def _end_labels(self, status: str, error_type: str) -> tuple[str, ...]:
        return (*self._labels, self.route, status, error_type)


def track_http(
    method: str, url: str = "", *, kind: Literal["client", "server"] = "client", route: str = ""
) -> HttpCall:
    """Return a context manager that measures one HTTP exchange of anything that is not instrumented.

        with track_http("GET", "https://api.example.com/v1/rates") as call:
            response = connection.getresponse()
            call.status = response.status

    Args:
        method: The request's method.
        url: Where it goes, or for a server where it came; only host, port and scheme are used.
        kind: Which side this process is on.
        route: For a server, the route's template such as ``/users/{id}``. Never the raw path.

    Raises:
        ConfigError: `kind` is neither of the two.
    """
    if kind == "client":
        return ClientCall(method, url)
    if kind == "server":
        return ServerCall(method, url.partition(":")[0] if "://" in url else "http", route=route)
    raise ConfigError("kind", f"{kind!r} is neither 'client' nor 'server'")


def _method(method: str) -> str:
    upper = method.upper()
    return upper if upper in _METHODS else "_OTHER"


def _address(url: str) -> tuple[str, str]:
    """Return host and port of a URL; "" for what it does not say."""
    origin = _ORIGIN.match(url)
    return _parsed_address(url if origin is None else origin[0])


# Without paths and queries, of which there is no end, a process knows few of them.
@lru_cache(maxsize=256)
def _parsed_address(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "", ""
    return parts.hostname or "", str(port) if port is not None else _PORTS.get(parts.scheme, "")
