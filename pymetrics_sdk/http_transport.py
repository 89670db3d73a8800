"""How are pushes sent over HTTP so that nothing on the other side can hold a job up?

requests limits each socket operation, not the whole request: a gateway that drips one byte a second would hold a push
for ever. So the sockets below ask the push's deadline before every operation.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 -- else the first name resolution does it, when a fork may come
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from pymetrics_sdk.environment import Settings
from pymetrics_sdk.errors import ConfigError, DeadlineError, TransportError
from pymetrics_sdk.transport import Deadline, Request, Response

__all__ = ["HttpTransport"]

PIECE_BYTES = 64 * 1024
_MIN_TIMEOUT_SECONDS = 0.001
_TOKEN = re.compile(r"[\x21-\x7e]+")
_USERINFO = re.compile(r"//[^/\s]*@")


class _Timer:
    """The deadline of the request in flight, shared by all sockets of one transport."""

    def __init__(self) -> None:
        self.deadline = Deadline(0.0)

    def apply(self, sock: socket.socket) -> None:
        remaining = self.deadline.remaining()
        if remaining <= 0:
            raise TimeoutError("the push deadline has passed")
        self.deadline.attach(sock)
        sock.settimeout(max(remaining, _MIN_TIMEOUT_SECONDS))


class _Socket(socket.socket):
    """A socket that never waits beyond the push's deadline."""

    timer: _Timer

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self.timer.apply(self)
        return super().recv_into(buffer, nbytes, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        self.timer.apply(self)
        super().sendall(data, flags)


class _TLSSocket(ssl.SSLSocket):
    """The same over TLS."""

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        self._timer().apply(self)
        return super().recv_into(buffer, nbytes, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        self._timer().apply(self)
        super().sendall(data, flags)

    def _timer(self) -> _Timer:
        timer: _Timer = self.context.pymetrics_timer  # type: ignore[attr-defined]
        return timer


class _Connection(HTTPConnection):
    timer: _Timer

    def _new_conn(self) -> socket.socket:
        return _connect(self, self.timer)


class _TLSConnection(HTTPSConnection):
    timer: _Timer

    def _new_conn(self) -> socket.socket:
        return _connect(self, self.timer)


def _connect(connection: HTTPConnection, timer: _Timer) -> socket.socket:
    """Connect to the first address that answers; all attempts together stay within the deadline."""
    failure: OSError = OSError(f"{connection.host} has no address")
    try:
        addresses = socket.getaddrinfo(connection.host.strip("[]"), connection.port, 0, socket.SOCK_STREAM)
    except OSError as error:
        raise urllib3.exceptions.NewConnectionError(connection, f"cannot resolve {connection.host}: {error}") from error
    for family, kind, protocol, _, address in addresses:
        sock = _Socket(family, kind, protocol)
        sock.timer = timer
        try:
            timer.apply(sock)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
        except OSError as error:
            failure = error
            sock.close()
        else:
            return sock
    raise urllib3.exceptions.NewConnectionError(connection, str(failure)) from failure


class _Adapter(HTTPAdapter):
    """An adapter whose connections know the deadline, through proxies too."""

    pymetrics_own = True
    """Tells the instrumentation of requests that this is the SDK's own push."""

    def __init__(self, timer: _Timer, context: ssl.SSLContext | None) -> None:
        self._context = context
        plain = type("_PushConnection", (_Connection,), {"timer": timer})
        tls = type("_PushTLSConnection", (_TLSConnection,), {"timer": timer})
        self._pools = {
            "http": type("_PushPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("_PushTLSPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
        }
        super().__init__(max_retries=0, pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **self._with_context(pool_kwargs))
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **self._with_context(proxy_kwargs))
        manager.pool_classes_by_scheme = self._pools
        return manager

    def _with_context(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return kwargs if self._context is None else {**kwargs, "ssl_context": self._context}


class _NoAuth(AuthBase):
    """Adds nothing; its presence keeps requests from looking into ~/.netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _BearerAuth(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _token(settings: Settings) -> str:
    """Return the bearer token, as its file is now.

    Raises:
        ConfigError: It is no token. The message does not repeat it.
        TransportError: Its file cannot be read, or is empty, as one that is being rotated may be for a moment.
    """
    if not settings.token_file:
        token, setting = settings.token, "PYMETRICS_TOKEN"
    else:
        setting = "PYMETRICS_TOKEN_FILE"
        try:
            token = Path(settings.token_file).read_text(encoding="ascii", errors="replace").strip()
        except OSError as error:
            raise TransportError(f"the token file cannot be read: {error}") from error
        if not token:
            raise TransportError("the token file is empty")
    # Else requests refuses the header with an error that quotes it, or sends what ends the header early.
    if not _TOKEN.fullmatch(token):
        raise ConfigError(setting, "is no token; expected one line of ASCII characters without spaces")
    return token


def _auth(settings: Settings) -> AuthBase:
    if settings.token_file or settings.token:
        return _BearerAuth(_token(settings))
    if settings.username:
        return HTTPBasicAuth(settings.username.encode(), settings.password.encode())
    return _NoAuth()


def _tls_context(settings: Settings, timer: _Timer) -> ssl.SSLContext | None:
    if not settings.gateway_url.startswith("https:"):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("PYMETRICS_CA_FILE, _CERT_FILE or _KEY_FILE", str(error)) from error
    context.sslsocket_class = _TLSSocket
    context.pymetrics_timer = timer  # type: ignore[attr-defined]
    return context


class HttpTransport:
    """Sends requests with the `requests` library, within a deadline.

    Args:
        settings: Credentials and TLS files.

    Raises:
        ConfigError: A TLS file cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._timer = _Timer()
        self._settings = settings
        self._session = requests.Session()
        self._session.verify = settings.ca_file or True
        adapter = _Adapter(self._timer, _tls_context(settings, self._timer))
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def send(self, request: Request, deadline: Deadline) -> Response:
        """Send a request; see `Transport.send`."""
        self._timer.deadline = deadline
        remaining = deadline.remaining()
        if remaining <= 0:
            raise DeadlineError
        auth = _auth(self._settings)
        try:
            answer = self._session.request(
                request.method,
                request.url,
                data=request.body,
                headers=dict(request.headers),
                auth=auth,
                allow_redirects=False,
                stream=True,
                timeout=remaining,
            )
        except ValueError as error:
            # A URL, a proxy's URL or a header that cannot be: the message quotes it with the secrets in it, so neither
            # that nor the exception goes on; and it will not be any different the next time.
            self._session.close()
            raise ConfigError("the gateway, a proxy or a header", f"cannot be used: {type(error).__name__}") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            self._session.close()
            raise _translated(error) from error
        if request.method != "GET" and answer.ok and answer.headers.get("content-length") != "0":
            # The status has said everything, and the end of a body nobody reads may be a long time coming.
            answer.close()
            body = b""
        elif request.take is not None and answer.ok:
            _hand_on(answer, request.take)
            body = b""
        else:
            body = _read(answer, request.max_body_bytes)
        return Response(answer.status_code, body, {name.lower(): value for name, value in answer.headers.items()})

    def close(self) -> None:
        """Close kept connections."""
        self._session.close()


def _read(answer: requests.Response, limit: int) -> bytes:
    """Read at most `limit` bytes; an answer that stops in the middle keeps what came, its status has been given."""
    body = b""
    with contextlib.suppress(OSError, urllib3.exceptions.HTTPError):
        while len(body) < limit:
            chunk = answer.raw.read1(limit - len(body), decode_content=True)
            if not chunk:
                break
            body += chunk
    if len(body) >= limit:
        answer.close()
    else:
        answer.raw.release_conn()
    return body


def _hand_on(answer: requests.Response, take: Callable[[bytes], bool]) -> None:
    """Give the body to `take` as it comes, until that has enough or nothing more comes."""
    wanted = True
    with contextlib.suppress(OSError, urllib3.exceptions.HTTPError):
        while wanted and (chunk := answer.raw.read1(PIECE_BYTES, decode_content=True)):
            wanted = take(chunk)
    # Not released: what is left of the list would be in front of the next answer.
    answer.close()


def _translated(error: BaseException) -> TransportError:
    """Return our error with the innermost reason: requests wraps urllib3's, which wrap the operating system's."""
    reason: Any = error
    while True:
        wrapped = (arg for arg in reason.args if isinstance(arg, Exception))
        inner = getattr(reason, "reason", None) or next(wrapped, None)
        if not isinstance(inner, Exception) or inner is reason:
            break
        reason = inner
    # Every socket operation is limited by the push's deadline and by nothing else. urllib3's error for a connection
    # that was refused derives from its time-out, so that one is judged by its cause.
    cause = reason.__cause__ if isinstance(reason, urllib3.exceptions.NewConnectionError) else reason
    if isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError):
        return DeadlineError()
    # Without the connection's own name, which urllib3 puts in front, and without anybody's credentials.
    return TransportError(_USERINFO.sub("//", str(reason).rpartition("): ")[2]) or type(reason).__name__)
