"""Can clients that send or read a byte a second take the service down?"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pytest

from tests.harness import Gateway, poll
from tests.memory import Watch, pss_bytes

SERVE = """
import sys
from pushgateway import cli
from pushgateway.config import Config, Limits

limits = Limits(header_seconds=6.0, request_seconds=6.0, answer_seconds=6.0)
sys.exit(cli.serve(Config(listen_addresses=(sys.argv[1],), storage_url="memory:", limits=limits)))
"""

HELD = 1000
READERS = 200
EVERY_SECONDS = 1.0
HEAD = b"POST /metrics/job/slow HTTP/1.1\r\nHost: x\r\nX-Long: "
BODY = b"POST /metrics/job/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n#"
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
SILENT = b""


class SlowGateway(Gateway):
    """A gateway of the usual two workers, whose time limits are so short that a test can wait for them."""

    def command(self) -> list[str]:
        """The command line that starts it."""
        return [sys.executable, "-c", SERVE, f"127.0.0.1:{self.port}"]


class SlowClients:
    """Connections on which a byte is sent, or read, every second, until the other side ends them.

    Args:
        gateway: Whom to trouble.
        first: What each sends at once; one that has asked for the exposition then reads, the others send.
        count: How many.
    """

    def __init__(self, gateway: Gateway, first: bytes, count: int) -> None:
        self.ended: Counter[str] = Counter()
        self._gateway = gateway
        self._first = first
        self._count = count
        self._open: list[socket.socket] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        for _ in range(self._count):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(20)
            connection.connect(self._gateway.address)
            connection.sendall(self._first)
            connection.setblocking(False)
            self._open.append(connection)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for connection in self._open:
            connection.close()

    @property
    def held(self) -> int:
        """How many are still open."""
        return len(self._open)

    def _run(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            for connection in list(self._open):
                how = self._ended(connection)
                if how:
                    self.ended[how] += 1
                    self._open.remove(connection)
                    connection.close()

    def _ended(self, connection: socket.socket) -> str:
        """Do what is done every second; return how the other side has ended the connection, "" if it has not."""
        reads = self._first == SCRAPE
        try:
            with contextlib.suppress(BlockingIOError):
                received = connection.recv(1 if reads else 100)
                if not received or not reads:
                    return received[9:12].decode() or "closed"
            if self._first and not reads:
                connection.send(b"x")
        except OSError:
            return "closed"
        return ""


def refusals(gateway: Gateway) -> dict[str, float]:
    """What the gateway says that it has refused, by limit."""
    found = gateway.scrape().families["pushgateway_limit_refusals_total"]
    return {line.label_map["limit"]: float(line.value) for line in found.lines}


@pytest.mark.alone
def test_slow_clients(record_property: Callable[[str, object], None]) -> None:
    """While thousands send and read a byte a second, others are served, and time ends the slow ones; none is kept."""
    label = b"v" * 50_000
    with SlowGateway() as gateway:
        gateway.all_workers()
        # More than the system takes off the gateway's hands, which on loopback is some 3 MB a connection.
        for number in range(160):
            assert gateway.push(f"job/wide/instance/{number}", b'wide{l="%s"} 1\n' % label).status == 200
        idle = pss_bytes(gateway.pid)
        with (
            Watch(gateway.pid) as watch,
            SlowClients(gateway, SILENT, HELD) as silent,
            SlowClients(gateway, HEAD, HELD) as heads,
            SlowClients(gateway, BODY, HELD) as bodies,
            SlowClients(gateway, SCRAPE, READERS) as readers,
        ):
            kinds = (silent, heads, bodies, readers)
            most = 0
            served: Counter[int] = Counter()
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline or sum(served.values()) < 20:
                most = max(most, sum(kind.held for kind in kinds))
                served[gateway.push(f"job/quick/instance/{sum(served.values())}", b"quick 1\n").status] += 1
                served[gateway.get("/metrics", {"Accept-Encoding": "zstd"}).status] += 1
            assert set(served) == {200}
            # Not what readers see: what was sent lies in their buffers, and they take a byte a second.
            poll(lambda: gateway.established() == 0, seconds=60, what="the slow ones to be ended")
            poll(lambda: not (silent.held or heads.held or bodies.held), seconds=10, what="their clients to see it")
            counted = refusals(gateway)
        assert silent.ended == {"closed": HELD}
        assert heads.ended == bodies.ended == {"408": HELD}
        assert counted["header-seconds"] == counted["request-seconds"] == HELD
        assert counted["unread-bytes"] + counted.get("answer-seconds", 0) == READERS
        assert watch.peak_bytes < 512 << 20
    record_property(
        "figure",
        f"{most} slow clients at a time (of {HELD} silent ones, {HELD} heads, {HELD} bodies, {READERS} readers): "
        f"{sum(served.values())} pushes and scrapes answered meanwhile; memory of the gateway "
        f"{idle >> 20} MiB before, {watch.peak_bytes >> 20} MiB at most",
    )
