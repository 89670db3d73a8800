from __future__ import annotations

import asyncio
import ssl
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from uvicorn import Config as UvicornConfig
from uvicorn.server import ServerState

from pushgateway.limits import Limits
from pushgateway.server.protocol import Connection, Connections
from pushgateway.server.tls import SecureConnection, _sans
from pushgateway.web.answers import Refused
from pushgateway.webconfig import Security
from tests.certificates import Authority
from tests.collector import collector_off

LIMITS = Limits(header_seconds=10.0, body_bytes=1000)
REQUEST = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="session")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ca.crt, server.crt and server.key."""
    authority = Authority(tmp_path_factory.mktemp("pems"))
    authority.issue("server")
    return authority.directory


class Wire(asyncio.Transport):
    """A transport that keeps what is written, and takes no more when the test says so."""

    def __init__(self, owner: SecureConnection) -> None:
        super().__init__()
        self.owner = owner
        self.sent = bytearray()
        self.most = 1 << 40
        self.closed = self.aborted = self.ended = self.paused = False

    def write(self, data: Any) -> None:
        """Keep the data; tell the protocol to wait when there is too much."""
        assert not self.ended
        self.sent += data
        if len(self.sent) > self.most and not self.paused:
            self.paused = True
            self.owner.pause_writing()

    def take(self) -> bytes:
        """What the other side reads now."""
        data, self.sent = bytes(self.sent), bytearray()
        if self.paused:
            self.paused = False
            self.owner.resume_writing()
        return data

    def write_eof(self) -> None:
        """Note it."""
        self.ended = True

    def close(self) -> None:
        """Note it."""
        self.closed = True

    def abort(self) -> None:
        """Note it."""
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def get_write_buffer_size(self) -> int:
        """What the other side has not read."""
        return len(self.sent)

    def pause_reading(self) -> None:
        """Go on: the test sends what it likes."""

    def resume_reading(self) -> None:
        """Go on."""


class Side:
    """The gateway's side: what it reports and holds, and an answer of any size to every request."""

    def __init__(self, pems: Path, *, answer_bytes: int = 2, most: int = 10, limits: Limits = LIMITS) -> None:
        self.state = ServerState()
        self.neighbours = Connections(most=most, most_unread_bytes=1 << 40)
        self.reported: list[Refused] = []
        self.schemes: list[str] = []
        self._answer_bytes = answer_bytes
        self._limits = limits
        self._pems = pems
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pems / "server.crt", pems / "server.key")
        self.security = Security(context, ())

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer."""
        self.schemes.append(scope["scheme"])
        headers = [(b"content-length", b"%d" % self._answer_bytes)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * self._answer_bytes})

    def connect(self) -> Client:
        """Open a connection."""

        def make(**kwargs: Any) -> Connection:
            return Connection(
                limits=self._limits,
                neighbours=self.neighbours,
                report=self.reported.append,
                dress=lambda fields: fields,
                **kwargs,
            )

        secure = SecureConnection(
            make=make,
            current=lambda: self.security,
            limits=self._limits,
            neighbours=self.neighbours,
            report=self.reported.append,
            server_state=self.state,
            config=UvicornConfig(self.app, log_config=None, ws="none", interface="asgi3", lifespan="off"),
            app_state={},
        )
        wire = Wire(secure)
        secure.connection_made(wire)
        return Client(secure, wire, self._pems)


class Client:
    """The other side."""

    def __init__(self, secure: SecureConnection, wire: Wire, pems: Path) -> None:
        self.secure = secure
        self.wire = wire
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=str(pems / "ca.crt"))
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.received = bytearray()
        self.piece_bytes = 1 << 30

    def greet(self) -> None:
        """Shake hands."""
        for _ in range(4):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.pass_on()
                self._incoming.write(self.wire.take())
        self.pass_on()

    def pass_on(self) -> None:
        """Hand what TLS has to say to the gateway."""
        data = self._outgoing.read()
        for start in range(0, len(data), self.piece_bytes):
            self.secure.data_received(data[start : start + self.piece_bytes])

    def send(self, data: bytes) -> None:
        """Send plain bytes."""
        self.tls.write(data)
        self.pass_on()

    def read(self) -> bytes:
        """Read what there is; returns all that was ever read."""
        self._incoming.write(self.wire.take())
        try:
            while piece := self.tls.read(65536):
                self.received += piece
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return bytes(self.received)


async def settle() -> None:
    """Let every task go on until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


def run(talk: Callable[[], Awaitable[None]]) -> None:
    """Run a conversation."""

    async def conversation() -> None:
        await asyncio.wait_for(talk(), 20)

    asyncio.run(conversation())


def test_request(pems: Path) -> None:
    """A request inside of TLS is answered, and the application knows that it was https."""

    async def talk() -> None:
        side = Side(pems)
        client = side.connect()
        client.greet()
        client.send(REQUEST * 3)
        await settle()
        assert client.read().count(b"HTTP/1.1 200 OK") == 3
        assert side.schemes == ["https"] * 3
        assert len(side.state.connections) == 1

    run(talk)


def test_what_was_lost_is_gone_without_the_cycle_collector(pems: Path) -> None:
    """A connection and what is above TLS refer to nothing that refers to them when the connection was lost."""

    async def talk() -> None:
        side = Side(pems)
        client = side.connect()
        client.greet()
        client.send(REQUEST)
        await settle()
        [connection] = side.state.connections
        gone = [weakref.ref(connection), weakref.ref(client.secure)]
        client.secure.connection_lost(None)
        del connection, client.wire.owner, client
        await settle()
        assert [one() for one in gone] == [None, None]

    with collector_off():
        run(talk)


def test_byte_after_byte(pems: Path) -> None:
    """However the network cuts it, the same comes out."""

    async def talk() -> None:
        side = Side(pems)
        client = side.connect()
        client.piece_bytes = 1
        client.greet()
        client.send(REQUEST)
        await settle()
        assert client.read().startswith(b"HTTP/1.1 200 OK")

    run(talk)


def test_handshakes_count_and_end(pems: Path) -> None:
    """A handshake counts as a connection from its opening, and ends when its time is over."""

    async def talk() -> None:
        side = Side(pems)
        client = side.connect()
        assert side.state.connections == {client.secure}
        assert list(side.neighbours.silent) == [client.secure]
        now = client.secure._loop.time()
        client.secure.check(now + 9.0)
        assert not client.wire.closed
        client.secure.check(now + 11.0)
        assert client.wire.aborted
        assert [refused.data["limit"] for refused in side.reported] == ["header-seconds"]
        client.secure.connection_lost(None)
        assert not side.state.connections
        assert not side.neighbours.silent

    run(talk)


def test_handshakes_make_room(pems: Path) -> None:
    """When there are too many connections, the oldest handshake goes first; when all are busy, the new one."""

    async def talk() -> None:
        side = Side(pems, most=2)
        first, second = side.connect(), side.connect()
        second.greet()
        second.send(b"PUT / HTTP/1.1\r\n")
        third = side.connect()
        assert first.wire.closed
        first.secure.connection_lost(None)
        third.greet()
        third.send(b"PUT / HTTP/1.1\r\n")
        fourth = side.connect()
        assert fourth.wire.aborted
        assert [refused.data["limit"] for refused in side.reported] == ["connections"] * 2

    run(talk)


def test_large_answer_waits_for_its_reader(pems: Path) -> None:
    """Of a large answer no more is encrypted than the client reads, and the rest counts as unread."""

    async def talk() -> None:
        size = 10_000_000
        side = Side(pems, answer_bytes=size)
        client = side.connect()
        client.greet()
        client.wire.most = 100_000
        client.send(REQUEST)
        await settle()
        [connection] = side.state.connections
        unread = connection.transport.get_write_buffer_size()
        assert unread >= size
        assert len(client.wire.sent) < 300_000
        while len(client.read()) < size:
            await settle()
            assert connection.transport.get_write_buffer_size() < unread
            unread = connection.transport.get_write_buffer_size()
        assert client.received.endswith(b"\r\n\r\n" + b"x" * size)
        assert connection.transport.get_write_buffer_size() == 0

    run(talk)


def test_large_answer_takes_turns(pems: Path) -> None:
    """Even for a client that reads everything at once, the loop does other things between megabytes."""

    async def talk() -> None:
        size = 10_000_000
        side = Side(pems, answer_bytes=size)
        client = side.connect()
        client.greet()
        client.send(REQUEST)
        turns = 0
        while len(client.read()) < size:
            await asyncio.sleep(0)
            turns += 1
        assert turns >= size >> 20

    run(talk)


def test_large_body_takes_turns(pems: Path) -> None:
    """Decrypting what has come at once lets others go on meanwhile, and brings every byte in order."""

    async def talk() -> None:
        size = 20_000_000
        side = Side(pems, limits=LIMITS._replace(body_bytes=size, buffered_bytes=2 * size))
        client = side.connect()
        client.greet()
        client.send(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size + REQUEST)
        assert client.secure.behind
        turns = 0
        while client.read().count(b"HTTP/1.1 200 OK") < 2:
            await asyncio.sleep(0)
            turns += 1
        assert turns > 1
        assert not client.secure.behind

    run(talk)


def test_nothing_but_tls(pems: Path) -> None:
    """Whoever sends changes of keys without end, which take time and bring nothing, is let go."""

    class ChangingKeys:
        """A session in which nothing else comes; Python's own cannot be told to change its keys."""

        def read(self, length: int) -> bytes:
            """Find nothing."""
            raise ssl.SSLWantReadError

    async def talk() -> None:
        client = Side(pems).connect()
        client.greet()
        client.secure._tls = ChangingKeys()
        client.secure.data_received(b"x" * 60_000)
        assert not client.wire.closed
        client.secure.data_received(b"x" * 60_000)
        assert client.wire.aborted

    run(talk)


def test_close_after_everything_is_sent(pems: Path) -> None:
    """A connection that is to be closed is closed when all is sent, with TLS's farewell."""

    async def talk() -> None:
        side = Side(pems, answer_bytes=1_000_000)
        client = side.connect()
        client.greet()
        client.wire.most = 100_000
        client.send(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await settle()
        assert not client.wire.closed
        for _ in range(20):
            client.read()
            await settle()
        assert client.received.endswith(b"x" * 1000)
        assert client.wire.closed
        client.tls.unwrap()  # raises unless their farewell has come

    run(talk)


def test_refused_while_sending(pems: Path) -> None:
    """Who is refused while sending gets the answer and the farewell; what still comes is not even decrypted."""

    async def talk() -> None:
        side = Side(pems)
        client = side.connect()
        client.greet()
        client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n" + b"x" * 500)
        assert client.wire.ended
        assert not client.wire.closed
        assert client.read().startswith(b"HTTP/1.1 413 ")
        client.secure.data_received(b"neither TLS nor anything else")
        assert not client.wire.closed
        assert client.secure.eof_received() is False

    run(talk)


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"])
def test_plain_http(pems: Path, method: bytes) -> None:
    """Who takes https for http is told so in plain words; what else is sent is dropped, for a while."""

    async def talk() -> None:
        side = Side(pems)
        client = side.connect()
        client.secure.data_received(method + b" / HTTP/1.1\r\n")
        client.secure.data_received(b"Host: x\r\n\r\n")
        assert client.wire.take().endswith(b"\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
        assert client.wire.ended
        client.secure.check(client.secure._loop.time() + 3.0)
        assert client.wire.aborted
        assert not side.reported

    run(talk)


def test_garbage(pems: Path) -> None:
    """What is no handshake is closed; what is no record of TLS later ends the connection."""

    async def talk() -> None:
        side = Side(pems)
        noise = side.connect()
        noise.secure.data_received(b"\0" * 50)
        assert noise.wire.closed
        noise.secure.data_received(b"\0" * 50)
        client = side.connect()
        client.greet()
        client.secure.data_received(b"\x17\x03\x03\x00\x10" + b"\0" * 16)
        assert client.wire.aborted

    run(talk)


def test_names_in_a_certificate() -> None:
    """Names, addresses, URIs and e-mail addresses are spelt as Go spells them; the rest is left out."""

    class Tls:
        """A session with a certificate of every kind of name."""

        def getpeercert(self) -> dict[str, object]:
            """What ssl makes of it."""
            names = (
                ("DNS", "a.example"),
                ("email", "a@b"),
                ("URI", "spiffe://x"),
                ("IP Address", "10.0.0.1"),
                ("IP Address", "2001:DB8:0:0:0:0:0:1"),
                ("DirName", ((("commonName", "x"),),)),
                ("Registered ID", "1.2.3"),
            )
            return {"subjectAltName": names}

    session: Any = Tls()
    assert _sans(session) == {"a.example", "a@b", "spiffe://x", "10.0.0.1", "2001:db8::1"}


def test_a_new_certificate_is_for_new_connections(pems: Path) -> None:
    """A connection keeps what it began with; the next one gets what holds then."""

    async def talk() -> None:
        side = Side(pems)
        before = side.connect()
        side.security = replace(side.security, allowed_sans=("nobody",))
        after = side.connect()
        before.greet()
        before.send(REQUEST)
        await settle()
        assert before.read().startswith(b"HTTP/1.1 200 ")
        after.greet()
        assert after.wire.closed

    run(talk)
