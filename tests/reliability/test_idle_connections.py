"""What do a thousand connections on which nothing happens cost the gateway, and whom do they keep waiting?"""

from __future__ import annotations

import contextlib
import resource
import socket
import statistics
import time
from collections.abc import Callable, Iterator

import pytest

from tests.harness import Gateway, poll
from tests.memory import pss_bytes

pytestmark = pytest.mark.alone

CONNECTIONS = 1_000
PUSHES = 100
BYTES_EACH = 32 << 10
REQUEST = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process have the other ends open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * CONNECTIONS)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ask(connection: socket.socket) -> None:
    """Send a request on a connection that stays open, and read its answer."""
    connection.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"OK"):
        chunk = connection.recv(4096)
        assert chunk, answer
        answer += chunk
    assert answer.startswith(b"HTTP/1.1 200 ")


def push_seconds(gateway: Gateway) -> list[float]:
    """Push many times and return how long each took."""
    taken = []
    for number in range(PUSHES):
        begun = time.monotonic()
        assert gateway.push(f"job/{number % 5}", b"x 1\n").status == 200
        taken.append(time.monotonic() - begun)
    return taken


@pytest.mark.usefixtures("many_files")
def test_a_thousand_idle_connections(record_property: Callable[[str, object], None]) -> None:
    """Nobody waits for connections that are kept alive or have not said anything yet, and each can still be used."""
    with Gateway("--limit.header-seconds=5m") as gateway, contextlib.ExitStack() as stack:
        gateway.all_workers()
        alone = push_seconds(gateway)
        before = pss_bytes(gateway.pid)
        connections = [
            stack.enter_context(socket.create_connection(gateway.address, timeout=30)) for _ in range(CONNECTIONS)
        ]
        for connection in connections[: CONNECTIONS // 2]:
            ask(connection)
        poll(lambda: gateway.established() == CONNECTIONS, seconds=20, what="all connections")
        beside = push_seconds(gateway)
        each = (pss_bytes(gateway.pid) - before) / CONNECTIONS
        assert gateway.scrape().problems() == []
        assert gateway.established() == CONNECTIONS

        for connection in connections:
            ask(connection)
        record_property(
            "figure",
            f"{CONNECTIONS} idle connections: {each / 1024:.1f} KiB each; a push took "
            f"{1e3 * statistics.median(alone):.1f} ms alone and {1e3 * statistics.median(beside):.1f} ms beside them "
            f"(medians of {PUSHES}), at most {1e3 * max(alone):.0f} and {1e3 * max(beside):.0f} ms",
        )
        assert each < BYTES_EACH
        assert gateway.terminate() == 0
