"""How much time, memory and patience does one connection get?

uvicorn's protocol parses and frames well (llhttp refuses what request smuggling needs) but limits nothing before a
request's headers are complete: half-sent headers stay open for ever, and a header of 30 MB is answered 200.
`Connection` puts a gate before its parser. The gate collects a head (request line and headers) within limits, and hands
it on whole:

- Methods that llhttp does not know, and targets with bytes above 127, reach the application like any others, as in the
  original; llhttp is shown a substitute.
- `Upgrade` is hidden from llhttp, which would take a body for the upgraded protocol and drop it; Java's HttpClient
  sends `Upgrade: h2c` with its first request.

Deadlines are not timers, which cost each request two heap operations; `Connection.check` looks at them once a second.

Long, since it is one class whose methods are uvicorn's call-backs and share the state of one connection.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from pushgateway.bridge import Parts, wire_headers
from pushgateway.config import Limits
from pushgateway.errors import LimitError
from pushgateway.web.answers import Refused, Report, error_answer, limit_data

__all__ = ["LINGER_SECONDS", "Connection", "Connections", "Dress"]

LINGER_SECONDS: Final = 2.0
"""How long what a refused client still sends is read and dropped, so that it can read the answer instead of a reset."""

_ARRIVAL_SECONDS: Final = 0.05
"""At a graceful stop, how long what has already arrived may take to become a complete request."""

_RETRY_AFTER_SECONDS: Final = 1
"""What a 503 asks for: connections and bodies come and go within that time."""

_MOST_HEADERS: Final = 256
"""Fields of one request; Apache takes 100."""

_USUAL_LINE: Final = re.compile(rb"(?:GET|POST|PUT|DELETE|HEAD|OPTIONS) [!-~]+ HTTP/1\.[01]\r\n")
_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~\x80-\xff]+) HTTP/(\d)\.(\d)\r\n")
_HIGH_BYTE: Final = re.compile(rb"[\x80-\xff]")
_UPGRADE: Final = re.compile(rb"(?im)^upgrade(?=[ \t]*:)")


Dress: TypeAlias = Callable[[Sequence[tuple[bytes, bytes]]], Sequence[tuple[bytes, bytes]]]


class _Silent(Protocol):
    """A connection that can be given up for another one."""

    transport: asyncio.Transport

    def report_end(self, reason: LimitError) -> None:
        """Report that it was ended."""


class Connections:
    """The open connections of one worker, as far as their number and what they hold are limited.

    Args:
        most: How many there may be.
        most_unread_bytes: How much of responses they may hold that clients have not read.
    """

    def __init__(self, *, most: int, most_unread_bytes: int) -> None:
        self.most = most
        self._most_unread_bytes = most_unread_bytes
        self.silent: dict[_Silent, None] = {}
        """Those that wait for the first byte of a request, longest first."""
        self.buffered_bytes = 0
        """Bodies that have been received and not yet been answered."""
        self._unread: dict[Connection, None] = {}
        """Those whose client had not read all of a response when it was written; the oldest response first."""
        self._unread_bytes = 0  # of these, at most: it is reckoned anew when it seems too much

    def hold(self, connection: Connection) -> None:
        """Note that a client has not read its response, and let go of others if too much is held.

        Those go whose responses are the oldest: who reads at any speed is soon through.
        """
        self._unread.pop(connection, None)
        self._unread[connection] = None
        self._unread_bytes += connection.unread_bytes
        if self._unread_bytes <= self._most_unread_bytes:
            return
        sizes = {one: size for one in self._unread if (size := one.unread_bytes)}
        self._unread = dict.fromkeys(sizes)
        self._unread_bytes = sum(sizes.values())
        for one, size in sizes.items():
            if self._unread_bytes <= self._most_unread_bytes or one is connection:
                break
            self.let_go(one)
            self._unread_bytes -= size
            one.give_up(LimitError("unread-bytes", allowed=self._most_unread_bytes))

    def let_go(self, connection: Connection) -> None:
        """Forget that a client has not read its response."""
        self._unread.pop(connection, None)

    def admit(self, newcomer: _Silent, *, open_connections: int) -> bool:
        """Take a connection, at the cost of the one that has been silent longest if there are too many.

        Args:
            newcomer: The connection.
            open_connections: How many are open, with it.

        Returns:
            False if there are too many and none is silent.
        """
        if open_connections > self.most:
            oldest = next(iter(self.silent), None)
            if oldest is None:
                return False
            self.silent.pop(oldest)
            oldest.transport.close()
            oldest.report_end(LimitError("connections", allowed=self.most))
        self.silent[newcomer] = None
        return True


class _WholeResponses:
    """What uvicorn takes for the transport of a response: it holds the head back until there is a body to go with it.

    uvicorn writes them one after the other, and uvloop sends each at once, in a packet of its own. Once the client has
    gone uvloop raises at each write, and of pipelined requests uvicorn only tells the last: here it goes nowhere.
    """

    __slots__ = ("_end", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport, *, end: Callable[[], None]) -> None:
        self._transport = transport
        self._end = end
        self._head = b""

    def write(self, data: bytes | Parts) -> None:
        """Send data, with the head if there is one."""
        if self._transport.is_closing():
            return
        if isinstance(data, Parts):
            self._transport.writelines((self._head, *data.parts) if self._head else data.parts)
            self._head = b""
        elif self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100 "):
            self._head = data
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send a head that has no body."""
        if self._head and not self._transport.is_closing():
            self._transport.write(self._head)
        self._head = b""

    def close(self) -> None:
        """Close the connection when everything is sent."""
        self.flush()
        self._end()

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._transport.is_closing()

    def lost(self) -> None:
        """Let go of the connection, which refers to this.

        Else some 20 objects would stay until the cycle collector comes: with 2 000 connections, 16 MB in each worker.
        """
        self._end = self._transport.close


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits.

    Args:
        limits: What connections and requests may use.
        neighbours: All connections of this worker.
        report: Is told of the requests and connections that are refused here.
        dress: Adds what every answer gets to the headers of those that are given here.
        kwargs: uvicorn's own.
    """

    def __init__(self, *, limits: Limits, neighbours: Connections, report: Report, dress: Dress, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._report = report
        self._dress = dress
        self._limits = limits
        self._neighbours = neighbours
        self._head = bytearray()
        self._method = b""  # the real one, if llhttp is shown another
        self._in_message = False
        self._in_body = False  # its headers are complete, and `cycle` is its own
        self._left = math.inf  # bytes of this message that the parser has not seen, at most; known if not chunked
        self._body_bytes = 0
        self._buffered_bytes = 0  # bodies of this connection that have not been answered
        self._idle_bytes = 0  # what the parser has been fed since it last got on: trailers, extensions of chunks
        self._refused = False
        self._draining = False
        self._begun = 0.0  # when the request that is being read began
        self._deadline = math.inf
        self._answers = 0
        # At the last check: what the client had not read, since when it has read nothing, and since when that response
        # has been there, which was the so-manieth.
        self._unread = self._unread_answer = 0
        self._stalled_since = self._unread_since = 0.0

    # Opening and closing

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, at the cost of the one that has been silent longest if there are too many."""
        super().connection_made(transport)
        self._responses = _WholeResponses(transport, end=self._end)
        self._begun = self.loop.time()
        self._deadline = self._begun + self._limits.header_seconds
        if not self._neighbours.admit(self, open_connections=len(self.connections)):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, LimitError("connections", allowed=self._neighbours.most))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._neighbours.silent.pop(self, None)
        self._neighbours.let_go(self)
        self._refused = True
        self._let_go()
        self._responses.lost()
        for cycle, _ in self.pipeline:  # which never begin, and would refer to this for ever
            cycle.on_response = _ignore
        self.pipeline.clear()
        self._unset_keepalive_if_required()  # the timer would keep it; uvicorn only does so where nothing is wrong
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's own contract; uvicorn only ever returns None
        """Answer a client that has shut down its sending side; close if there is nothing to answer.

        Returns:
            Whether the transport is to stay open for writing.
        """
        answering = self._answering() and not self._refused
        if answering:
            self.cycle.keep_alive = False
        return answering

    def shutdown(self) -> None:
        """Begin a graceful stop: close at once, unless a request is complete or about to be."""
        self._draining = True
        if self._answering():
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(_ARRIVAL_SECONDS, self._close_unless_answering)

    def _close_unless_answering(self) -> None:
        if not self._answering():
            self.transport.close()

    def _answering(self) -> bool:
        """Whether a request is complete and its response is not."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's annotation leaves out the None
        if cycle is None or cycle.response_complete:
            return False
        return not self._in_body or bool(self.pipeline)

    def check(self, now: float) -> None:
        """Look at the deadlines; called about once a second.

        Args:
            now: The loop's time, in seconds.
        """
        self._check_reading(now)
        if now <= self._deadline:
            return
        self._deadline = math.inf
        if self._refused:
            self.transport.abort()
        elif self._in_message:
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT, LimitError("request-seconds", allowed=self._limits.request_seconds)
            )
        elif self._head:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, LimitError("header-seconds", allowed=self._limits.header_seconds))
        else:
            self.transport.close()

    def _check_reading(self, now: float) -> None:
        unread = self.unread_bytes
        if unread == 0 or unread != self._unread:
            self._unread, self._stalled_since = unread, now
        if unread == 0 or self._answers != self._unread_answer:
            self._unread_answer, self._unread_since = self._answers, now
        if now - self._stalled_since > self._limits.write_stall_seconds:
            self.give_up(LimitError("write-stall-seconds", allowed=self._limits.write_stall_seconds))
        elif now - self._unread_since > self._limits.answer_seconds:
            self.give_up(LimitError("answer-seconds", allowed=self._limits.answer_seconds))

    @property
    def unread_bytes(self) -> int:
        """How much of its responses the client has not read, beyond what the system holds."""
        return int(self.transport.get_write_buffer_size())

    def give_up(self, reason: LimitError) -> None:
        """End a connection whose client does not read, without a word: it would not read that either."""
        if not self.transport.is_closing():
            self.report_end(reason)
        self.transport.abort()

    # The gate

    def data_received(self, data: bytes) -> None:
        """Pass bodies on and collect heads, within their limits."""
        self._neighbours.silent.pop(self, None)
        self._unset_keepalive_if_required()
        while data and not self._refused:
            if not self._in_message:
                data = self._collect(data)
            elif 0 < self._left < len(data):
                left = int(self._left)
                self._feed(data[:left])
                data = data[left:]
            else:
                self._left -= len(data)
                self._feed(data)
                return

    def _collect(self, data: bytes) -> bytes:
        """Add to the head; feed it to the parser if it is complete. Returns what comes after it."""
        if not self._head:
            self._begun = self.loop.time()
            self._deadline = min(self._deadline, self._begun + self._limits.header_seconds)
            data = data.lstrip(b"\r\n")  # RFC 9112, 2.2: empty lines before a request
        searched = max(0, len(self._head) - 3)
        self._head += data
        end = self._head.find(b"\r\n\r\n", searched) + 4
        if end > 3 and end <= self._limits.header_bytes:
            head, rest = bytes(self._head[:end]), bytes(self._head[end:])
            self._head.clear()
            self._feed_head(head)
            return rest
        line_end = self._head.find(b"\n")
        if len(self._head) > self._limits.header_bytes:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if line_end >= 0 else HTTPStatus.REQUEST_URI_TOO_LONG,
                LimitError("header-bytes", allowed=self._limits.header_bytes),
            )
        elif line_end > 0 and not _LINE.match(self._head):
            self._refuse_line(bytes(self._head))
        return b""

    def _feed_head(self, head: bytes) -> None:
        if _USUAL_LINE.match(head):
            self._method = b""
        else:
            line = _LINE.match(head)
            if line is None or line[3] != b"1" or line[4] not in b"01":
                self._refuse_line(head)
                return
            # Any method that may have a body will do: the framing is the same for all.
            target = _HIGH_BYTE.sub(lambda found: b"%%%02X" % found[0][0], line[2])
            self._method = line[1]
            head = b"POST %s HTTP/1.%s\r\n%s" % (target, line[4], head[line.end() :])
        if b"pgrade" in head or b"PGRADE" in head:
            head = _UPGRADE.sub(b"x-upgrade", head)
        self._feed(head)

    def _feed(self, data: bytes) -> None:
        self._idle_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._refused:
                self._refuse(HTTPStatus.BAD_REQUEST, f"malformed request: {error}")
        if self._idle_bytes > self._limits.header_bytes and not self._refused:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                LimitError("header-bytes", allowed=self._limits.header_bytes),
            )

    # What the parser finds

    def on_message_begin(self) -> None:
        """Note that a message has begun."""
        if self._refused:
            return
        self._in_message = True
        self._left = math.inf
        # Behind a chunked body the next head can be in the same data, and comes past the gate.
        self._deadline = min(self._deadline, self.loop.time() + self._limits.header_seconds)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers are dropped, since nobody may take them for headers (RFC 9110, 6.5.1)."""
        if not self._in_body and not self._refused:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the headers, and begin to answer."""
        if self._refused:
            return
        problem = self._framing_problem()
        if problem is not None:
            self._refuse(*problem)
            return
        if self._limits.body_bytes < self._left < math.inf:
            self._refuse_body(seen=self._left)
            return
        self._body_bytes = self._idle_bytes = 0
        self._deadline = self.loop.time() + self._limits.request_seconds
        self.scope["pushgateway.flow"] = self.flow  # type: ignore[typeddict-unknown-key] # the bridge's
        self.scope["pushgateway.gone"] = self.transport.is_closing  # type: ignore[typeddict-unknown-key] # as above
        super().on_headers_complete()
        self.cycle.transport = self._responses  # type: ignore[assignment] # all that a cycle uses of a transport
        self._in_body = True
        if self._method:
            self.scope["method"] = self._method.decode("ascii")
            self._method = b""
        if self._draining:
            self.cycle.keep_alive = False

    def _framing_problem(self) -> tuple[HTTPStatus, str | LimitError] | None:
        """Look at how the body is framed, and note its length."""
        self._left = 0.0
        hosts = 0
        if len(self.headers) > _MOST_HEADERS:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, LimitError("headers", allowed=_MOST_HEADERS)
        for name, value in self.headers:
            if name == b"content-length":
                self._left = int(value)
            elif name == b"transfer-encoding":
                if value.strip().lower() != b"chunked":
                    return HTTPStatus.NOT_IMPLEMENTED, f"transfer encoding {value.decode('latin-1')!r} is not supported"
                self._left = math.inf
            elif name == b"host":
                hosts += 1
        version = self.parser.get_http_version()
        if version == "1.0" and self._left == math.inf:
            return HTTPStatus.BAD_REQUEST, "malformed request: chunked body in HTTP/1.0"
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            return HTTPStatus.BAD_REQUEST, "malformed request: exactly one Host header is required"
        return None

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body on, unless there is too much of it."""
        if self._refused:
            return
        self._idle_bytes = 0
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            self._refuse_body(seen=None)
            return
        self._buffered_bytes += len(body)
        self._neighbours.buffered_bytes += len(body)
        if self._neighbours.buffered_bytes > self._limits.buffered_bytes:
            error = LimitError("buffered-bytes", allowed=self._limits.buffered_bytes)
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, error)
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the message is complete; the gate then awaits the next head."""
        if self._refused:
            return
        self._in_message = self._in_body = False
        self._idle_bytes = 0
        self._deadline = math.inf
        super().on_message_complete()

    def _let_go(self) -> None:
        """Note that nothing of this connection is held any more."""
        self._neighbours.buffered_bytes -= self._buffered_bytes
        self._buffered_bytes = 0

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._responses.flush()
        if not self._in_body:
            self._let_go()
        self._answers += 1
        if self.transport.get_write_buffer_size():
            self._neighbours.hold(self)
        if self._refused and not self.transport.is_closing():
            return  # what the client still sends is being dropped
        super().on_response_complete()
        if not self.pipeline and not self._head and not self._in_message and not self.transport.is_closing():
            self._neighbours.silent[self] = None

    # Refusals

    def _refuse_line(self, head: bytes) -> None:
        if re.match(rb"\S+ \S+ HTTP/\d\.\d\r\n", head) and _LINE.match(head):
            self._refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.0 and HTTP/1.1 are supported")
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, "malformed request line")

    def _refuse_body(self, *, seen: float | None) -> None:
        error = LimitError("body-bytes", allowed=self._limits.body_bytes, seen=seen)
        self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, error)

    def _asked(self) -> tuple[str, str]:
        """Return method and path of the request that is being read, "" for what is not known yet."""
        if not self._in_message:
            return "", ""
        # Whatever llhttp was shown, until it has become the scope's.
        method = self.scope["method"] if self._in_body else (self._method or self.parser.get_method()).decode("ascii")
        return method, _path(self.url)

    def report_end(self, reason: LimitError) -> None:
        """Report that the connection was ended, not a request."""
        self._report(self._describe(0, reason))

    def _describe(self, status: int, reason: str | LimitError, method: str = "", path: str = "") -> Refused:
        kind, data = "request", {}
        if isinstance(reason, LimitError):
            kind, data = "limit", limit_data(reason.limit, allowed=reason.allowed, seen=reason.seen)
        return Refused(
            method=method,
            path=path,
            status=int(status),
            kind=kind,
            reason=str(reason),
            source=self.client[0] if self.client else "",
            data=data,
            duration_seconds=self.loop.time() - self._begun,
        )

    def _refuse(self, status: HTTPStatus, reason: str | LimitError) -> None:
        """Answer instead of the application, then close; what the client still sends is dropped for a while."""
        refused = self._describe(status, reason, *self._asked())
        self._refused = True
        self._head.clear()
        answering = self._answering()
        self._let_go()
        if self._in_body:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if answering:
            # Pipelined: what we say now would be taken for the answer to an earlier request. That one is answered.
            self._report(refused._replace(status=0))
            self.cycle.keep_alive = False
            self._deadline = self.loop.time() + self._limits.request_seconds
            return
        accept = b",".join(value for name, value in self.headers if name == b"accept") if self._in_message else b""
        self._report(refused)
        if self.transport.is_closing():
            return
        default = self.server_state.default_headers
        self.transport.write(_response(refused, default, accept.decode("latin-1"), self._dress))
        self._linger()

    def _end(self) -> None:
        """Close after an answer that says so; some are given before the body has been read."""
        if self._in_body and not self._refused:
            self._refused = True
            self._let_go()
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        """Say that nothing more will come, and drop what the client still sends for a while."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._deadline = self.loop.time() + LINGER_SECONDS
            self.flow.resume_reading()
        else:
            self.transport.close()


def _ignore() -> None:
    pass


def _path(target: bytes) -> str:
    """Return PATH_INFO of a target: of one that is a URL neither the host nor a password that stands before it."""
    try:
        path = httptools.parse_url(target).path
    except httptools.HttpParserInvalidURLError:
        path = None
    return unquote((path or b"").decode("latin-1"), encoding="latin-1")


def _response(refused: Refused, headers: Iterable[tuple[bytes, bytes]], accept: str, dress: Dress) -> bytes:
    status = HTTPStatus(refused.status)
    answer = error_answer(
        status,
        refused.kind,
        refused.reason,
        accept=accept,
        data=refused.data,
        retry_after_seconds=_RETRY_AFTER_SECONDS if status is HTTPStatus.SERVICE_UNAVAILABLE else 0,
    )
    fields = (*headers, *dress(wire_headers(answer)), (b"connection", b"close"))
    lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode()), *(b"%s: %s" % field for field in fields)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + answer.body
