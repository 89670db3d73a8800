"""How does a connection of TLS become one of plain bytes?

`SecureConnection` is to the event loop what `Connection` is without TLS. It shakes hands, within the limits of any
connection that has not sent a request yet, and then hands plain bytes to a `Connection`, whose transport is a
`SecureTransport`. Python's ssl does the cryptography, in memory.

Not uvloop's own TLS: until the handshake is over nobody can count, time or drop its connections (200 that never finish
would stay for a minute each), its transport cannot shut down one side only, so that a client that is refused while it
sends would see a reset instead of the answer, and it takes one context for the life of the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import math
import re
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState

from pushgateway.config import Limits
from pushgateway.errors import LimitError
from pushgateway.loglines import Log
from pushgateway.server.protocol import LINGER_SECONDS, Connection, Connections
from pushgateway.web.answers import Refused, Report, limit_data

if TYPE_CHECKING:
    # Not at run time: it brings yaml, and most gateways have no such file.
    from pushgateway.webconfig import Security

__all__ = ["SecureConnection", "SecureTransport"]

log = Log(__name__)

_READ_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 64 * 1024
"""What is encrypted before it is handed on; four records."""

_TURN_BYTES: Final = 1024 * 1024
"""What is encrypted in one go of the event loop, about a millisecond; a scrape may have 100 times as much."""

_FEED_BYTES: Final = 4 * 1024
"""What is decrypted before anybody looks at the clock. Of a client that does nothing but change its keys, 150 times and
7 ms; looking costs a large body some 5 %."""

_TURN_SECONDS: Final = 0.01
"""After that others have their turn: uvloop hands on up to 8 MB in one go, which took such a client 15 s."""

_BARREN_BYTES: Final = 64 * 1024
"""What may come without a byte for the request in it: a record has at most 16 KiB."""

_PLAIN_HTTP: Final = re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH) ")
_EXPLANATION: Final = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
"""What Go's server says to whoever takes http for https."""


class SecureConnection(asyncio.Protocol):
    """One connection of TLS, from its opening to its end.

    Args:
        make: Makes the connection that gets the plain bytes.
        current: Returns what holds now; a connection keeps that with which it began.
        limits: What connections may use.
        neighbours: All connections of this worker.
        report: Is told of the connections that are given up here.
        server_state: uvicorn's, which knows the open connections.
        kwargs: uvicorn's own, for `make`.
    """

    transport: asyncio.Transport

    def __init__(
        self,
        *,
        make: Callable[..., Connection],
        current: Callable[[], Security],
        limits: Limits,
        neighbours: Connections,
        report: Report,
        server_state: ServerState,
        **kwargs: Any,
    ) -> None:
        self._make = functools.partial(make, server_state=server_state, **kwargs)
        self._current = current
        self._limits = limits
        self._neighbours = neighbours
        self._report = report
        self._open: set[Any] = server_state.connections
        self._loop = asyncio.get_running_loop()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._arrived = memoryview(b"")  # and not decrypted yet
        self._barren_bytes = 0
        self._greeted = False
        self._dropping = False  # what comes is of no use any more
        self._deadline = math.inf
        # From the end of the handshake to that of the connection. When it is lost nothing refers in a circle any more:
        # all of it, the session among it, would stay until the cycle collector comes.
        self._secured: SecureTransport | None = None
        self._connection: Connection | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the handshake; until it is over this counts as a connection that is silent."""
        self.transport = transport
        security = self._current()
        self._tls = security.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._allowed_sans = security.allowed_sans
        self._deadline = self._loop.time() + self._limits.header_seconds
        self._open.add(self)
        if not self._neighbours.admit(self, open_connections=len(self._open)):
            self.report_end(LimitError("connections", allowed=self._neighbours.most))
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._dropping = True
        self._forget()
        secured, connection = self._secured, self._connection
        self._secured = self._connection = None
        if secured is not None and connection is not None:
            secured.lost()
            connection.connection_lost(exc)

    def eof_received(self) -> bool:
        """Pass on that the client will send no more.

        Returns:
            Whether the transport is to stay open.
        """
        if self._secured is None or self._secured.ended:
            return False
        if not self._dropping:
            self._end_of_input(self._secured)
        return True

    def pause_writing(self) -> None:
        """Stop encrypting: the client does not read."""
        if self._secured is not None:
            self._secured.stalled = True

    def resume_writing(self) -> None:
        """Go on encrypting."""
        if self._secured is not None:
            self._secured.stalled = False
            self._secured.pump()

    def shutdown(self) -> None:
        """End at a graceful stop; uvicorn calls this only until the handshake is over."""
        self.transport.close()

    def check(self, now: float) -> None:
        """Look at the deadline of the handshake; called about once a second.

        Args:
            now: The loop's time, in seconds.
        """
        if now > self._deadline:
            self._deadline = math.inf
            self.transport.abort()
            if not self._dropping:
                self.report_end(LimitError("header-seconds", allowed=self._limits.header_seconds))

    def report_end(self, reason: LimitError) -> None:
        """Report that the connection was ended before it was one of HTTP."""
        data = limit_data(reason.limit, allowed=reason.allowed, seen=reason.seen)
        self._report(Refused("", "", 0, "limit", str(reason), source=self._source(), data=data))

    def data_received(self, data: bytes) -> None:
        """Take what came from the network."""
        if self._dropping or (self._secured is not None and self._secured.ended):
            return
        if not self._greeted:
            self._greeted = True
            if _PLAIN_HTTP.match(data):
                self._explain()
                return
        self._arrived = memoryview(bytes(self._arrived) + data if self._arrived else data)
        while self._secured is None and self._arrived and not self._dropping:
            self._feed()
            self._shake()
        if self._secured is not None:
            self.read(self._secured)

    @property
    def behind(self) -> bool:
        """Whether something has come that is not decrypted yet."""
        return bool(self._arrived)

    def read(self, secured: SecureTransport) -> None:
        """Decrypt what has come, as far as the connection wants to have it, and for no longer than a turn."""
        late = time.monotonic() + _TURN_SECONDS
        if self._arrived:
            self._feed()
        try:
            while secured.reading and not self._dropping and not (secured.ended or secured.is_closing()):
                try:
                    data = self._tls.read(_READ_BYTES)
                except ssl.SSLWantReadError:
                    if not self._arrived:
                        break
                    if time.monotonic() > late:
                        secured.take_turns()
                        break
                    self._feed()
                    continue
                if not data or self._connection is None:
                    self._end_of_input(secured)
                    break
                self._barren_bytes = 0
                self._connection.data_received(data)
        except ssl.SSLError as error:
            log.debug("TLS connection broken", err=_reason(error), source=self._source())
            self.transport.abort()
            return
        if self._dropping or secured.ended:
            self._arrived = memoryview(b"")
        if self._barren_bytes > _BARREN_BYTES:
            log.debug("TLS connection broken", err="nothing but messages of TLS itself", source=self._source())
            secured.abort()
            return
        secured.pump()  # what TLS itself has to say

    def limit_writing(self, *, full: bool) -> None:
        """Tell the connection whether it is to wait before it writes more."""
        if self._connection is not None:
            if full:
                self._connection.pause_writing()
            else:
                self._connection.resume_writing()

    def _feed(self) -> None:
        """Hand on to TLS some of what has come."""
        data, self._arrived = self._arrived[:_FEED_BYTES], self._arrived[_FEED_BYTES:]
        self._barren_bytes += len(data)
        self._incoming.write(data)

    def _shake(self) -> None:
        """Go on with the handshake."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return
        except ssl.SSLError as error:
            self._give_up(_reason(error))
            return
        if self._allowed_sans and not set(self._allowed_sans) & _sans(self._tls):
            self._give_up("the client's certificate has none of client_allowed_sans")
            return
        self._forget()
        self._barren_bytes = 0
        self._connection = self._make()
        self._secured = SecureTransport(self, self._loop, self._tls, self._outgoing)
        self._connection.connection_made(self._secured)

    def _give_up(self, reason: str) -> None:
        # Scanners and misconfigured clients, who would fill the log.
        log.debug("TLS handshake failed", err=reason, source=self._source())
        self._dropping = True
        self._send()
        self.transport.close()

    def _send(self) -> None:
        if self._outgoing.pending:
            self.transport.write(self._outgoing.read())

    def _explain(self) -> None:
        self._dropping = True
        self._deadline = self._loop.time() + LINGER_SECONDS
        self.transport.write(_EXPLANATION)
        self.transport.write_eof()

    def _end_of_input(self, secured: SecureTransport) -> None:
        self._dropping = True
        if self._connection is None or not self._connection.eof_received():
            secured.close()

    def _forget(self) -> None:
        self._deadline = math.inf
        self._neighbours.silent.pop(self, None)
        self._open.discard(self)

    def _source(self) -> str:
        address = get_remote_addr(self.transport)
        return address[0].removeprefix("::ffff:") if address else ""


class SecureTransport(asyncio.Transport):
    """The transport of plain bytes above TLS.

    What is written waits in plain until the client has read what was encrypted before it: the answer to a scrape is
    neither encrypted at once nor kept twice.

    Args:
        owner: Whose bytes these are.
        loop: Its event loop.
        tls: Its session, the handshake over.
        outgoing: Where the session leaves what is to be sent.

    Attributes:
        stalled: Whether the network takes no more for now.
        reading: Whether the connection wants to have what comes.
        ended: Whether nothing can be sent any more.
    """

    def __init__(
        self, owner: SecureConnection, loop: asyncio.AbstractEventLoop, tls: ssl.SSLObject, outgoing: ssl.MemoryBIO
    ) -> None:
        super().__init__({"sslcontext": tls.context, "ssl_object": tls})
        self._owner = owner
        self._raw = owner.transport
        self._tls = tls
        self._outgoing = outgoing
        self._loop = loop
        self._waiting: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._closing = self._ending = False
        self._scheduled = False
        self._full = False  # the connection has been told not to write
        self.stalled = False
        self.reading = True
        self.ended = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection, TLS or below."""
        found = super().get_extra_info(name)
        return self._raw.get_extra_info(name, default) if found is None else found

    def write(self, data: Any) -> None:
        """Send data."""
        self.writelines((data,))

    def writelines(self, list_of_data: Any) -> None:
        """Send pieces of data, small ones together."""
        if self._ending:
            return
        for data in list_of_data:
            if data:
                self._waiting.append(memoryview(data))
                self._waiting_bytes += len(data)
        self.pump()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the client has not been sent."""
        return self._waiting_bytes + self._raw.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Hold back what comes."""
        self.reading = False
        if not self._raw.is_closing():
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Hand on what comes."""
        self.reading = True
        if not self._raw.is_closing():
            if not self._owner.behind:
                self._raw.resume_reading()
            self._loop.call_soon(self._read_on)

    def take_turns(self) -> None:
        """Let others go on before more is read."""
        if not self._raw.is_closing():
            self._raw.pause_reading()
            self._loop.call_soon(self._read_on)

    def is_reading(self) -> bool:
        """Whether what comes is handed on."""
        return self.reading

    def can_write_eof(self) -> bool:
        """Whether one side can be shut down alone: with TLS's farewell, and then TCP's."""
        return True

    def write_eof(self) -> None:
        """Say that nothing more will come when everything is sent; what still comes is dropped."""
        self._ending = True
        self.pump()

    def close(self) -> None:
        """Close when everything is sent."""
        self._closing = self._ending = True
        self.pump()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self.lost()
        self._raw.abort()

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._closing or self._raw.is_closing()

    def lost(self) -> None:
        """Note that nothing can be sent any more."""
        self._ending = self.ended = True
        self._waiting.clear()
        self._waiting_bytes = 0

    def pump(self) -> None:
        """Encrypt what waits, as far as the client reads."""
        self._scheduled = False
        room = _TURN_BYTES
        try:
            while self._waiting and not self.stalled and room > 0:
                room -= self._encrypt()
                self._flush()
        except ssl.SSLError as error:
            log.debug("TLS connection broken", err=_reason(error))
            self.abort()
            return
        if self._waiting:
            if not self.stalled:
                self._scheduled = True
                self._loop.call_soon(self._go_on)
        else:
            self._flush()
            self._end()
        if bool(self._waiting) is not self._full:
            self._full = not self._full
            self._owner.limit_writing(full=self._full)

    def _go_on(self) -> None:
        if self._scheduled:
            self.pump()

    def _encrypt(self) -> int:
        """Encrypt up to a piece of what waits; returns how much."""
        done = 0
        while self._waiting and done < _PIECE_BYTES:
            data = self._waiting[0][: _PIECE_BYTES - done]
            count = self._tls.write(data)
            done += count
            if count == len(self._waiting[0]):
                self._waiting.popleft()
            else:
                self._waiting[0] = self._waiting[0][count:]
        self._waiting_bytes -= done
        return done

    def _flush(self) -> None:
        if self._outgoing.pending and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())

    def _end(self) -> None:
        """Do what was asked for when everything is sent."""
        if self._ending and not self.ended:
            self.ended = True
            # It wants the client's farewell too, for which nobody waits.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()
            if not self._closing and not self._raw.is_closing():
                self._raw.write_eof()
        if self._closing:
            self._raw.close()

    def _read_on(self) -> None:
        if self.reading and not self.is_closing():
            self._owner.read(self)
            if self.is_reading() and not (self._owner.behind or self.is_closing()):
                self._raw.resume_reading()


def _sans(tls: ssl.SSLObject) -> set[str]:
    """Return the subject's alternative names in the client's certificate, spelt as Go spells them."""
    names: Any = (tls.getpeercert() or {}).get("subjectAltName", ())
    return {
        str(ipaddress.ip_address(value)) if kind == "IP Address" else value
        for kind, value in names
        if kind in ("DNS", "email", "IP Address", "URI")
    }


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
