"""What does one connection get, and when is it ended?

Long, since all of it drives one class over the same fake transport and clock.
"""

from __future__ import annotations

import asyncio
import json
import logging
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn import Config as UvicornConfig
from uvicorn.server import ServerState

from pushgateway.bridge import Parts
from pushgateway.config import Limits
from pushgateway.server.protocol import Connection, Connections
from pushgateway.web.answers import Refused
from tests.collector import collector_off
from tests.lines import logged

LIMITS = Limits(body_bytes=1000, header_bytes=500, header_seconds=10.0, request_seconds=60.0, write_stall_seconds=30.0)
HEALTH = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"


class Transport(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.aborted = self.ended = False
        self.unsent = 0

    def write(self, data: Any) -> None:
        """Keep the data; uvloop raises at what is written after the end."""
        assert not self.ended
        assert not self.closed
        self.written += data

    def write_eof(self) -> None:
        """Note the end."""
        self.ended = True

    def can_write_eof(self) -> bool:
        """As TCP can."""
        return True

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
        """What the test says."""
        return self.unsent

    def pause_reading(self) -> None:
        """Go on: the test sends what it likes."""

    def resume_reading(self) -> None:
        """Go on."""


@dataclass
class Side:
    """The gateway's side of connections: what reached the application, and how to speak to it."""

    limits: Limits = LIMITS
    most: int = 10
    requests: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    reported: list[Refused] = field(default_factory=list)
    now: float = 0.0
    body: bytes | Parts = b""

    def __post_init__(self) -> None:
        self.state = ServerState()
        self.neighbours = Connections(most=self.most, most_unread_bytes=self.limits.unread_bytes)
        self.hold.set()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Read the body, wait until the test lets it, and answer 200."""
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        await self.hold.wait()
        self.requests.append((scope["method"], scope["raw_path"], body))
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(self.body))]}
        )
        await send({"type": "http.response.body", "body": self.body})

    def limits_met(self) -> list[object]:
        """The limits for which something was refused or ended."""
        return [refused.data["limit"] for refused in self.reported if "limit" in refused.data]

    def dress(self, fields: Sequence[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
        """Add what every answer gets."""
        return [*fields, (b"x-frame-options", b"deny")]

    def connect(self) -> tuple[Connection, Transport]:
        """Open a connection."""
        config = UvicornConfig(self.app, log_config=None, ws="none", interface="asgi3", lifespan="off")
        connection = Connection(
            limits=self.limits,
            neighbours=self.neighbours,
            report=self.reported.append,
            dress=self.dress,
            config=config,
            server_state=self.state,
            app_state={},
        )
        transport = Transport()
        connection.connection_made(transport)
        return connection, transport


async def settle() -> None:
    """Let every task go on until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


def drive(talk: Callable[[Side], Any], **kwargs: Any) -> Side:
    """Run a conversation."""

    async def run() -> Side:
        side = Side(**kwargs)
        await talk(side)
        return side

    return asyncio.run(asyncio.wait_for(run(), 20))


def statuses(transport: Transport) -> list[int]:
    """The status of each response."""
    return [int(part[:3]) for part in transport.written.split(b"HTTP/1.1 ")[1:]]


def message(method: str, body: bytes | None, *, chunk: int = 0) -> bytes:
    """Make a request; with `chunk`, its body in chunks of so many bytes."""
    head = b"%s /metrics/job/a HTTP/1.1\r\nHost: x\r\n" % method.encode()
    if body is None:
        return head + b"\r\n"
    if not chunk:
        return head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    chunks = [body[start : start + chunk] for start in range(0, len(body), chunk)]
    framed = b"".join(b"%x;e=1\r\n%s\r\n" % (len(piece), piece) for piece in chunks)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\nTrailer: x\r\n\r\n"


BODIES = st.none() | st.binary(max_size=40) | st.just(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
MESSAGES = st.lists(st.tuples(st.sampled_from(["GET", "PUT", "POST"]), BODIES, st.integers(0, 9)), max_size=6)


@given(MESSAGES, st.lists(st.integers(1, 60), max_size=30))
@settings(deadline=None)
def test_any_pieces(messages: list[tuple[str, bytes | None, int]], cuts: list[int]) -> None:
    """However a stream of requests is cut into pieces, each reaches the application once, whole and in order."""
    stream = b"".join(message(method, body, chunk=chunk) for method, body, chunk in messages)
    transports: list[Transport] = []

    async def talk(side: Side) -> None:
        connection, transport = side.connect()
        transports.append(transport)
        left = stream
        for cut in [*cuts, len(stream)]:
            piece, left = left[:cut], left[cut:]
            if piece:
                connection.data_received(piece)
            if cut % 2:
                await settle()
        for _ in messages:
            await settle()

    side = drive(talk)
    assert side.requests == [(method, b"/metrics/job/a", body or b"") for method, body, _ in messages]
    assert statuses(transports[0]) == [200] * len(messages)


@given(st.binary(max_size=300), st.lists(st.integers(1, 60), max_size=20))
@settings(deadline=None)
def test_any_bytes(stream: bytes, cuts: list[int]) -> None:
    """Arbitrary bytes never raise, and are answered only with refusals or responses."""

    async def talk(side: Side) -> None:
        connection, transport = side.connect()
        left = stream
        for cut in [*cuts, 300]:
            connection.data_received(left[:cut])
            left = left[cut:]
        await settle()
        assert set(statuses(transport)) <= {200, 400, 414, 431, 501, 505}

    drive(talk)


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("reason", [None, ConnectionResetError()])
def test_what_was_lost_is_gone_without_the_cycle_collector(*, answered: bool, reason: Exception | None) -> None:
    """A connection refers to nothing that refers to it when it was lost, before or after its request was answered."""

    async def talk(side: Side) -> None:
        if not answered:
            side.hold.clear()
        connection, transport = side.connect()
        connection.data_received(message("PUT", b"x 1\n"))
        await settle()
        assert statuses(transport) == [200] * answered
        gone = weakref.ref(connection)
        transport.closed = True
        connection.connection_lost(reason)
        del connection, transport
        side.hold.set()
        await settle()
        assert gone() is None

    with collector_off():
        drive(talk)


def test_a_client_that_goes_while_its_requests_wait() -> None:
    """Of pipelined requests the one that has begun is carried out; neither its answer nor the others leave a trace."""

    async def talk(side: Side) -> None:
        side.hold.clear()
        connection, transport = side.connect()
        connection.data_received(message("PUT", b"x 1\n") * 3)
        await settle()
        transport.closed = True
        connection.connection_lost(ConnectionResetError())
        gone = weakref.ref(connection)
        del connection
        side.hold.set()
        with logged(level=logging.WARNING) as lines:
            await settle()
        assert (len(side.requests), transport.written, lines) == (1, b"", [])
        assert gone() is None

    with collector_off():
        drive(talk)


def test_a_deadline_of_a_connection_that_has_just_broken() -> None:
    """Between the reset and the notice of it nothing is written, which would raise and end the worker's loop."""

    async def talk(side: Side) -> None:
        connection, transport = side.connect()
        connection.data_received(b"PUT /metrics/job/a HTTP/1.1\r\n")
        transport.closed = True
        connection.check(asyncio.get_running_loop().time() + LIMITS.header_seconds + 1)
        assert transport.written == b""
        assert side.limits_met() == ["header-seconds"]

    drive(talk)


def test_endless_head_behind_a_chunked_body() -> None:
    """A head that comes past the gate, behind a chunked body in the same data, has the same limit as any other."""

    async def talk(side: Side) -> None:
        connection, transport = side.connect()
        connection.data_received(message("POST", b"x 1\n", chunk=4) + b"GET / HTTP/1.1\r\nX: ")
        await settle()
        for _ in range(20):
            connection.data_received(b"a" * 100)
        await settle()
        assert statuses(transport) == [200, 431]

    assert len(drive(talk).requests) == 1


def test_half_a_head_behind_a_chunked_body() -> None:
    """A head that comes past the gate, behind a chunked body in the same data, has the same deadline as any other."""

    async def talk(side: Side) -> None:
        connection, transport = side.connect()
        connection.data_received(message("POST", b"x 1\n", chunk=4) + b"GET / HTTP/1.1\r\nX: ")
        await settle()
        connection.check(connection.loop.time() + 9)
        assert statuses(transport) == [200]
        connection.check(connection.loop.time() + 11)
        assert statuses(transport) == [200, 408]

    drive(talk)


@pytest.mark.parametrize(
    ("sent", "seconds", "status"),
    [
        (b"", 10, None),
        (b"\r\n", 10, None),
        (b"GET / HT", 10, 408),
        (message("PUT", b"x" * 9)[:-1], 60, 408),
        (message("PUT", b"x" * 9, chunk=3)[:-1], 60, 408),
    ],
)
def test_deadlines(sent: bytes, seconds: float, status: int | None) -> None:
    """What is incomplete is refused when its time is up and not before, and the connection is then closed."""

    async def talk(side: Side) -> None:
        connection, transport = side.connect()
        if sent:
            connection.data_received(sent)
        begun = connection.loop.time()
        connection.check(begun + seconds - 1)
        assert (transport.closed, transport.ended) == (False, False)
        connection.check(begun + seconds + 1)
        assert statuses(transport) == ([] if status is None else [status])
        assert transport.closed or transport.ended
        if status is not None:
            connection.check(begun + seconds + 10)
            assert transport.aborted

    drive(talk)


def test_empty_lines_do_not_keep_a_connection_open() -> None:
    """A client that sends nothing but empty lines is closed like one that sends nothing."""

    async def talk(side: Side) -> None:
        connection, transport = side.connect()
        connection.data_received(HEALTH)
        await settle()
        begun = connection.loop.time()
        for _ in range(3):
            connection.data_received(b"\r\n")
        connection.check(begun + 11)
        assert transport.closed

    drive(talk)


def test_a_body_in_parts_follows_its_head() -> None:
    """What the bridge has not put together is sent in order, behind the head, for each request of a connection."""

    async def talk(side: Side) -> None:
        connection, transport = side.connect()
        for _ in range(2):
            transport.written = b""
            connection.data_received(HEALTH)
            await settle()
            head, _, body = transport.written.partition(b"\r\n\r\n")
            assert (b"content-length: 5" in head, body) == (True, b"abcde")
        connection.data_received(HEALTH.replace(b"GET", b"HEAD"))
        await settle()
        assert transport.written.endswith(b"\r\n\r\n")

    drive(talk, body=Parts([b"ab", b"", b"cde"]))


def test_stalled_reader() -> None:
    """A client that reads nothing for the time allowed is disconnected; one that reads a little now and then is not."""

    async def talk(side: Side) -> None:
        connection, transport = side.connect()
        for second in range(0, 100, 10):
            transport.unsent = 1000 - second
            connection.check(second)
        assert not transport.aborted
        connection.check(150)
        assert transport.aborted
        assert side.limits_met() == ["write-stall-seconds"]

    drive(talk, limits=LIMITS._replace(header_seconds=1000.0, answer_seconds=1000.0))


def test_slow_reader() -> None:
    """A client that reads a little now and then is disconnected when its response has been there for too long."""

    async def talk(side: Side) -> None:
        connection, transport = side.connect()
        for second in range(0, 60, 10):
            transport.unsent = 1000 - second
            connection.check(second)
        transport.unsent = 0
        connection.check(65)
        for second in range(70, 140, 10):
            transport.unsent = 1000 - second
            connection.check(second)
            assert transport.aborted == (second > 120)
        assert side.limits_met() == ["answer-seconds"]

    drive(talk, limits=LIMITS._replace(header_seconds=1000.0))


def test_each_response_has_its_own_time() -> None:
    """The time begins anew with each response: only what was there all the time is too slow."""

    async def talk(side: Side) -> None:
        connection, transport = side.connect()
        for second in range(0, 300, 20):
            connection.data_received(HEALTH)
            await settle()
            transport.unsent = 1000 + second
            connection.check(second)
        assert not transport.aborted

    drive(talk, limits=LIMITS._replace(header_seconds=1000.0))


def test_unread_responses_are_limited() -> None:
    """Of responses that nobody reads the oldest go when all of them are too large together, the newest never."""

    async def talk(side: Side) -> None:
        ends = []
        for unsent in (400, 400, 0, 150, 400):
            connection, transport = side.connect()
            transport.unsent = unsent
            connection.data_received(HEALTH)
            await settle()
            ends.append(transport)
        assert [end.aborted for end in ends] == [True, False, False, False, False]
        assert side.limits_met() == ["unread-bytes"]
        connection, transport = side.connect()
        transport.unsent = 5000
        connection.data_received(HEALTH)
        await settle()
        assert [end.aborted for end in (*ends, transport)] == [True, True, False, True, True, False]

    drive(talk, limits=LIMITS._replace(unread_bytes=1000))


def test_responses_that_were_read_do_not_count() -> None:
    """What clients have read by now is not held, and neither is what was held for those that have gone."""

    async def talk(side: Side) -> None:
        for _ in range(3):
            connection, transport = side.connect()
            transport.unsent = 600
            connection.data_received(HEALTH)
            await settle()
            assert not transport.aborted
            transport.unsent = 0
        for _ in range(3):
            connection, transport = side.connect()
            transport.unsent = 600
            connection.data_received(HEALTH)
            await settle()
            connection.connection_lost(None)
        assert side.limits_met() == []

    drive(talk, limits=LIMITS._replace(unread_bytes=1000))


def test_silent_connections_make_room() -> None:
    """Beyond the limit, the connection that has been silent longest is closed; a busy one never is."""

    async def talk(side: Side) -> None:
        first, first_transport = side.connect()
        _, second_transport = side.connect()
        first.data_received(HEALTH[:5])
        _, third_transport = side.connect()
        assert [t.closed for t in (first_transport, second_transport, third_transport)] == [False, True, False]

    drive(talk, most=2)


def test_no_room() -> None:
    """Beyond the limit, with every connection busy, the new one is answered 503."""

    async def talk(side: Side) -> None:
        side.connect()[0].data_received(HEALTH[:5])
        _, transport = side.connect()
        assert statuses(transport) == [503]
        assert b"retry-after: 1\r\n" in transport.written

    drive(talk, most=1)


def test_too_much_at_once() -> None:
    """Bodies beyond what a worker may hold at a time are answered 503, until those before them have been answered."""

    async def talk(side: Side) -> None:
        side.hold.clear()
        (first, first_end), (second, second_end) = side.connect(), side.connect()
        first.data_received(message("PUT", b"x" * 600))
        second.data_received(message("PUT", b"y" * 600))
        await settle()
        assert (statuses(first_end), statuses(second_end)) == ([], [503])
        assert b"limit buffered-bytes exceeded" in second_end.written
        side.hold.set()
        await settle()
        third, third_end = side.connect()
        third.data_received(message("PUT", b"z" * 600))
        await settle()
        assert (statuses(first_end), statuses(third_end)) == ([200], [200])
        for connection in (first, second, third):
            connection.connection_lost(None)
        assert side.neighbours.buffered_bytes == 0

    drive(talk, limits=LIMITS._replace(buffered_bytes=1000))


def test_stop() -> None:
    """At a graceful stop, complete requests are answered, those about to be complete too, and the rest is closed."""

    async def talk(side: Side) -> None:
        side.hold.clear()
        (idle, idle_end), (busy, busy_end), (half, half_end), (late, late_end) = (side.connect() for _ in range(4))
        busy.data_received(HEALTH)
        half.data_received(HEALTH[:-1])
        late.data_received(HEALTH[:-1])
        await settle()
        for connection in (idle, busy, half, late):
            connection.shutdown()
        late.data_received(HEALTH[-1:])
        await asyncio.sleep(0.1)
        assert (idle_end.closed, busy_end.closed, half_end.closed, late_end.closed) == (True, False, True, False)
        side.hold.set()
        await settle()
        assert (busy_end.closed, late_end.closed) == (True, True)
        assert statuses(busy_end) == statuses(late_end) == [200]
        assert b"connection: close" in late_end.written

    drive(talk)


def test_end_of_input() -> None:
    """A client that ends its input after a whole request is answered, after half of one it is let go."""

    async def talk(side: Side) -> None:
        side.hold.clear()
        whole, whole_end = side.connect()
        half, _ = side.connect()
        whole.data_received(HEALTH)
        half.data_received(HEALTH[:-1])
        await settle()
        assert (whole.eof_received(), half.eof_received()) == (True, False)
        side.hold.set()
        await settle()
        assert statuses(whole_end) == [200]
        assert whole_end.closed

    drive(talk)


def test_refused_body_of_a_pipelined_request() -> None:
    """A request whose body is too large does not cost the one before it its answer."""

    async def talk(side: Side) -> None:
        side.hold.clear()
        connection, transport = side.connect()
        connection.data_received(HEALTH)
        await settle()
        connection.data_received(message("PUT", b"x" * 2000, chunk=500))
        side.hold.set()
        await settle()
        assert statuses(transport)[0] == 200
        connection.check(connection.loop.time() + 1000)
        assert transport.closed

    assert len(drive(talk).requests) == 1


@pytest.mark.parametrize(
    ("sent", "method", "path", "status"),
    [
        (
            b"PUT /metrics/job/%C3%BC?x HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n",
            "PUT",
            "/metrics/job/\xc3\xbc",
            413,
        ),
        (b"FOO /x HTTP/1.1\r\nHost: x\r\nHost: x\r\n", "FOO", "/x", 400),
        (
            b"PUT http://name:secret@x/metrics/job/a?y HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n",
            "PUT",
            "/metrics/job/a",
            413,
        ),
        (
            message("POST", b"x" * 2000, chunk=600)[:-5].partition(b"\r\n\r\n")[0] + b"\r\n",
            "POST",
            "/metrics/job/a",
            413,
        ),
    ],
)
def test_refusals_are_reported_and_json_when_asked_for(sent: bytes, method: str, path: str, status: int) -> None:
    """A request that is refused here is reported with its path, its reason and its time, and is JSON if asked for."""
    body = message("POST", b"x" * 2000, chunk=600).partition(b"\r\n\r\n")[2] if method == "POST" else b""

    async def talk(side: Side) -> None:
        connection, transport = side.connect()
        connection.data_received(sent + b"Accept: application/json\r\n\r\n" + body)
        await settle()
        head, _, answer = transport.written.partition(b"\r\n\r\n")
        assert b"\r\ncontent-type: application/json\r\n" in head
        told = json.loads(answer)
        assert (told["status"], told["errorType"]) == ("error", "limit" if status == 413 else "request")
        (refused,) = side.reported
        assert (refused.method, refused.path, refused.status, refused.kind) == (method, path, status, told["errorType"])
        assert (refused.reason, refused.data.get("limit")) == (told["error"], told.get("limit"))
        assert refused.duration_seconds > 0

    drive(talk)


def test_refusals_before_the_headers_are_complete_are_reported() -> None:
    """What is refused before anybody knows its path is reported without one."""

    async def talk(side: Side) -> None:
        connection, _ = side.connect()
        connection.data_received(b"what?\r\n\r\n")
        assert [(one.method, one.path, one.status) for one in side.reported] == [("", "", 400)]

    drive(talk)


def test_refusals_wear_the_configured_headers() -> None:
    """What is refused before anybody knows what it is gets the operator's headers too."""

    async def talk(side: Side) -> None:
        connection, transport = side.connect()
        connection.data_received(b"nonsense\r\n\r\n")
        assert transport.written.startswith(b"HTTP/1.1 400 ")
        assert b"\r\nx-frame-options: deny\r\n" in transport.written

    drive(talk)


@dataclass
class Doorkeeper(Side):
    """A side whose application answers 401 and reads no body."""

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Refuse."""
        close = [(b"connection", b"close")] if scope["method"] == "PUT" else []
        headers = [(b"content-length", b"0"), *close]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def test_body_that_nobody_reads_is_dropped_for_a_while() -> None:
    """An answer before the end of the body ends our side, holds nothing, and drops what comes until it is late."""

    async def talk() -> None:
        side = Doorkeeper(limits=LIMITS._replace(body_bytes=10**6))
        connection, transport = side.connect()
        connection.data_received(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b"x" * 1000)
        await settle()
        assert transport.written.startswith(b"HTTP/1.1 401 ")
        assert transport.ended
        assert not transport.closed
        connection.data_received(b"x" * 100_000)
        assert side.neighbours.buffered_bytes == 0
        assert not side.neighbours.silent
        connection.check(connection.loop.time() + 1.0)
        assert not transport.closed
        connection.check(connection.loop.time() + 3.0)
        assert transport.aborted

    asyncio.run(asyncio.wait_for(talk(), 20))


def test_refused_request_without_a_body_keeps_its_connection() -> None:
    """Who is answered 401 to a GET may try again on the same connection."""

    async def talk() -> None:
        side = Doorkeeper()
        connection, transport = side.connect()
        for _ in range(2):
            connection.data_received(HEALTH)
            await settle()
        assert transport.written.count(b"HTTP/1.1 401 ") == 2
        assert not transport.ended
        assert not transport.closed

    asyncio.run(asyncio.wait_for(talk(), 20))
