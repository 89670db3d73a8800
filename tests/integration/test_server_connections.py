"""Connections that are idle, slow, stalled or too many; with short limits, so that a test need not wait for minutes."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from tests.harness import Gateway, poll

LIMITS = (
    "header_seconds=1.0, request_seconds=2.0, idle_seconds=3.0, write_stall_seconds=1.0, connections=24, "
    "body_bytes=1_000_000"
)

SERVE = """
import sys
from pushgateway import cli
from pushgateway.config import Config, Limits

sys.exit(cli.serve(Config(listen_addresses=(sys.argv[1],), storage_url="memory:", workers=1, limits=Limits({limits}))))
"""

HEAD = b"POST /metrics/job/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"


class LimitedGateway(Gateway):
    """A gateway of one worker with short limits, which no flag sets."""

    def command(self) -> list[str]:
        """The command line that starts it."""
        return [sys.executable, "-c", SERVE.format(limits=LIMITS), f"127.0.0.1:{self.port}"]


@pytest.fixture(scope="module")
def limited() -> Iterator[LimitedGateway]:
    with LimitedGateway() as service:
        yield service


@contextlib.contextmanager
def connections(gateway: Gateway, count: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """Open connections and send something on each."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(gateway.address, timeout=20))
            connection.sendall(first)
            opened.append(connection)
        yield opened


def read_to_end(connection: socket.socket) -> bytes:
    """Read until the other side closes; a reset counts as the end."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize(
    ("first", "answer"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"POST /metr", b"HTTP/1.1 408 "),
        (HEAD, b"HTTP/1.1 408 "),
        (HEAD + b"\r\n", b"HTTP/1.1 408 "),
        (HEAD + b"\r\n" + b"x" * 999, b"HTTP/1.1 408 "),
        (HEAD.replace(b"Content-Length: 1000", b"Transfer-Encoding: chunked") + b"\r\n5\r\nx", b"HTTP/1.1 408 "),
    ],
)
def test_half_a_request(limited: LimitedGateway, first: bytes, answer: bytes) -> None:
    """A request that does not become complete in time is answered 408, a connection without one is closed."""
    with connections(limited, 1, first) as [connection]:
        received = read_to_end(connection)
    assert received[: len(answer) or None] == answer


def test_byte_after_byte(limited: LimitedGateway) -> None:
    """The time is that of the whole body: sending a little of it every now and then does not prolong it."""
    with connections(limited, 1, HEAD + b"\r\n") as [connection]:
        deadline = time.monotonic() + 15
        connection.settimeout(0.2)
        received = b""
        while not received and time.monotonic() < deadline:
            connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                received = connection.recv(100)
    assert received.startswith(b"HTTP/1.1 408 ")


def test_idle_connection(limited: LimitedGateway) -> None:
    """A kept-alive connection that stays idle is closed without a word."""
    with connections(limited, 1, b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n") as [connection]:
        received = read_to_end(connection)
    assert received.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 1000001\r\n\r\n" + b"#" * 1_000_001,
        b"Content-Length: 30000000\r\n\r\n" + b"#" * 30_000_000,
        b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n%s\r\n" % (b"#" * 0x10000) * 200,
    ],
)
def test_body_too_large(limited: LimitedGateway, sent: bytes) -> None:
    """A body over the limit is answered 413 that names it, also to a client that sends all of it before it reads."""
    with connections(limited, 1) as [connection]:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(b"POST /metrics/job/large HTTP/1.1\r\nHost: x\r\n" + sent)
        received = read_to_end(connection)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"limit body-bytes exceeded" in received


def test_client_that_does_not_read(limited: LimitedGateway) -> None:
    """A client that reads nothing of a large answer is disconnected, and the next one is served."""
    label = b"v" * 50_000
    for number in range(200):
        assert limited.push(f"job/wide/instance/{number}", b'wide{l="%s"} 1\n' % label).status == 200
    connection = socket.socket()
    with connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(limited.address)
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        poll(lambda: limited.established() == 0, seconds=15, what="the stalled connection to be closed")
    assert limited.get("/-/healthy").status == 200
    limited.delete("job/wide")


def test_too_many_idle_connections(limited: LimitedGateway) -> None:
    """When there are too many connections, the one that has been silent longest makes room for a new one."""
    request = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
    with connections(limited, 24, request) as opened:
        for connection in opened:
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert limited.push("job/new", b"x 1\n").status == 200
        assert read_to_end(opened[0]) == b""
        opened[-1].sendall(request)
        assert opened[-1].recv(1000).startswith(b"HTTP/1.1 200 ")


def test_too_many_busy_connections(limited: LimitedGateway) -> None:
    """When every connection is in the middle of a request, a new one is answered 503, until one of them is through."""
    with connections(limited, 24, HEAD):
        reply = limited.get("/-/healthy")
        assert (reply.status, reply.header("Retry-After")) == (503, "1")
        assert "limit connections exceeded" in reply.text
    poll(lambda: limited.get("/-/healthy").status == 200, seconds=10, what="room for a connection")


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /metrics/job/a HT",
        HEAD,
        HEAD + b"\r\nx",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 50,
    ],
)
def test_slow_connections_block_nobody(gateway: Gateway, first: bytes) -> None:
    """Pushes and scrapes are answered while 200 connections are idle, half-sent or do not read."""
    with connections(gateway, 200, first):
        for number in range(20):
            assert gateway.push(f"job/quick/instance/{number}", b"quick 1\n").status == 200
        assert gateway.get("/metrics").status == 200
