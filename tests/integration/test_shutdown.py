from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import Gateway, poll, processes
from tests.load import Client, Load

GRACE_SECONDS = 15.0


def stop_by_signal(number: int) -> Callable[[Gateway], object]:
    return lambda gateway: gateway.terminate(number, timeout_seconds=GRACE_SECONDS)


def stop_by_request(method: str) -> Callable[[Gateway], object]:
    def stop(gateway: Gateway) -> int:
        reply = gateway.request(method, "/-/quit", b"")
        assert (reply.status, reply.text) == (200, "Requesting termination... Goodbye!")
        return gateway.wait(timeout_seconds=GRACE_SECONDS)

    return stop


STOPS = pytest.mark.parametrize(
    "stop",
    [
        pytest.param(stop_by_signal(signal.SIGTERM), id="SIGTERM"),
        pytest.param(stop_by_signal(signal.SIGINT), id="SIGINT"),
        pytest.param(stop_by_request("PUT"), id="PUT quit"),
        pytest.param(stop_by_request("POST"), id="POST quit"),
    ],
)


@STOPS
def test_stop_under_load(stop: Callable[[Gateway], int]) -> None:
    """A stop under load exits 0 within the grace time, and after it all that was answered 200 is there, whole."""
    with Gateway("--web.enable-lifecycle", "--web.workers=2") as gateway:
        answered: dict[int, int] = {}
        sent: dict[int, int] = {}
        refused = set()

        def writer(own: int) -> Callable[[Client, int], None]:
            def work(client: Client, number: int) -> None:
                if own in refused:
                    time.sleep(0.01)
                    return
                sent[own] = number
                status = client.send("PUT", f"job/g{own}", b"".join(b"x%d %d\n" % (i, number) for i in range(20)))
                if status == 200:
                    answered[own] = number
                else:
                    assert status is None, status
                    refused.add(own)

            return work

        with Load(gateway, [writer(own) for own in range(8)]):
            time.sleep(random.uniform(0.5, 1.0))
            assert stop(gateway) == 0
        gateway.start()
        scrape = gateway.scrape()
        assert scrape.problems() == []
        assert len(answered) == 8
        for own, number in answered.items():
            values = {float(line.value) for line in scrape.lines(job=f"g{own}") if line.name.startswith("x")}
            assert values in ({number}, {sent[own]})
            assert len([line for line in scrape.lines(job=f"g{own}") if line.name.startswith("x")]) == 20


@STOPS
def test_stop_while_idle(stop: Callable[[Gateway], int]) -> None:
    """A stop while nothing happens exits 0; groups and their times are there after the next start."""
    with Gateway("--web.enable-lifecycle") as gateway:
        gateway.push("job/a/l@base64/w6kvIA", b'# HELP x h\n# TYPE x counter\nx{m="1"} 1\n')
        gateway.push("job/b", b"x 1\nx 2\n")
        before = gateway.scrape()
        assert stop(gateway) == 0
        gateway.start()
        after = gateway.scrape()
        names = ("x", "push_time_seconds", "push_failure_time_seconds")
        assert [after[name] for name in names] == [before[name] for name in names]


def test_requests_that_were_accepted_are_answered() -> None:
    """Pushes whose requests were complete when the stop began are answered, and they are there after the next start."""
    body = b"".join(b'x{l="%d"} 1\n' % number for number in range(10_000))
    head = "POST /metrics/job/g{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n"
    with Gateway() as gateway:
        connections = [socket.create_connection(gateway.address, timeout=30) for _ in range(8)]
        for number, connection in enumerate(connections):
            connection.sendall(head.format(number, len(body)).encode() + body)
        # Each takes some 50 ms in the gateway: when it has read them all, most wait for their turn.
        poll(lambda: unread_bytes(gateway.port) == 0, seconds=20, what="the gateway to read all requests")
        assert gateway.terminate(timeout_seconds=GRACE_SECONDS) == 0
        assert [connection.recv(12) for connection in connections] == [b"HTTP/1.1 200"] * 8
        for connection in connections:
            connection.close()
        gateway.start()
        counts = Counter(line.label_map["job"] for line in gateway.scrape()["x"].lines)
        assert counts == {f"g{number}": 10_000 for number in range(8)}


def unread_bytes(port: int) -> int:
    """How many bytes to or from a loopback port are still in the kernel's queues (proc_net_tcp(5))."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    mine = [row for row in rows if port in (int(row[1].split(":")[1], 16), int(row[2].split(":")[1], 16))]
    return sum(int(part, 16) for row in mine if row[3] == "01" for part in row[4].split(":"))


def test_connections_without_a_request_do_not_hold_the_stop() -> None:
    """Connections that are idle, or that have sent half a request, are closed at once when the gateway stops."""
    with Gateway() as gateway:
        parts = (
            b"",
            b"POST /metrics/job/a HTTP/1.1\r\nHo",
            b"POST /metrics/job/a HTTP/1.1\r\nContent-Length: 9\r\n\r\nx ",
        )
        connections = [socket.create_connection(gateway.address, timeout=20) for part in parts for _ in range(5)]
        for number, connection in enumerate(connections):
            connection.sendall(parts[number // 5])
        kept = socket.create_connection(gateway.address, timeout=20)
        kept.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n")
        assert kept.recv(12) == b"HTTP/1.1 200"
        assert gateway.terminate(timeout_seconds=GRACE_SECONDS) == 0
        for connection in (*connections, kept):
            connection.close()


def test_a_second_signal_does_not_hurt() -> None:
    """Two signals and a quit at once still end in one graceful stop with exit code 0."""
    with Gateway("--web.enable-lifecycle") as gateway:
        gateway.push("job/a", b"x 1\n")
        gateway.request("PUT", "/-/quit", b"")
        os.kill(gateway.pid, signal.SIGTERM)
        os.kill(gateway.pid, signal.SIGTERM)
        assert gateway.wait(timeout_seconds=GRACE_SECONDS) == 0
        gateway.start()
        assert gateway.scrape().value("x", job="a") == 1


def test_a_stopped_gateway_leaves_its_port_and_processes() -> None:
    """When the arbiter has ended nothing of it runs any more, and its port can be taken."""
    with Gateway("--web.workers=3") as gateway:
        session = gateway.pid
        os.kill(session, signal.SIGTERM)
        os.waitid(os.P_PID, session, os.WEXITED | os.WNOWAIT)
        assert list(processes(session)) == []
        with socket.socket() as taker:
            taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taker.bind(gateway.address)
