"""Starting, stopping, and what happens when a process is killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sys
import threading
import time

import pytest

from tests.harness import Gateway, free_port, poll, processes

READY = b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n"


def open_connections(gateway: Gateway, stack: contextlib.ExitStack, count: int, first: bytes) -> list[socket.socket]:
    """Open connections and send something on each."""
    opened = []
    for _ in range(count):
        connection = stack.enter_context(socket.create_connection(gateway.address, timeout=20))
        connection.sendall(first)
        opened.append(connection)
    return opened


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_graceful_stop(number: signal.Signals) -> None:
    """SIGTERM, SIGINT and SIGQUIT stop with exit code 0, and connections without a complete request do not delay it."""
    with Gateway("--storage.url=memory:") as gateway, contextlib.ExitStack() as stack:
        open_connections(gateway, stack, 20, b"")
        open_connections(gateway, stack, 20, READY)
        open_connections(gateway, stack, 20, b"POST /metrics/job/a HTTP/1.1\r\nHost: x\r\nContent-Le")
        open_connections(gateway, stack, 20, b"POST /metrics/job/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
        # A third of the grace time: waiting for any of the connections would take all of it.
        assert gateway.terminate(number, timeout_seconds=10) == 0
        assert "level=error" not in gateway.log()


def test_stop_of_the_process_group() -> None:
    """Ctrl+C in a terminal, which signals the workers too, is a graceful stop like any other."""
    with Gateway("--storage.url=memory:") as gateway:
        os.killpg(gateway.pid, signal.SIGINT)
        assert gateway.wait(timeout_seconds=10) == 0
        assert "level=error" not in gateway.log()


def test_stop_by_request() -> None:
    """/-/quit answers and then stops the gateway with exit code 0, also when it is asked twice at once."""
    with Gateway("--storage.url=memory:", "--web.enable-lifecycle") as gateway, contextlib.ExitStack() as stack:
        request = b"POST /-/quit HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        first, second = open_connections(gateway, stack, 2, request)
        assert first.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert second.recv(1000)[:13] in (b"HTTP/1.1 200 ", b"")
        assert gateway.wait(timeout_seconds=10) == 0


@pytest.mark.parametrize("delay_seconds", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
def test_stop_while_starting(delay_seconds: float) -> None:
    """A signal at any moment of the start is a stop: nothing hangs, and nothing is left running or lying about."""
    with Gateway("--storage.url=memory:") as gateway:
        temporary = gateway.directory / "tmp"
        temporary.mkdir()
        gateway.terminate()
        gateway.env["TMPDIR"] = str(temporary)
        gateway.start(wait=False)
        pid = gateway.pid
        time.sleep(delay_seconds)
        os.kill(pid, signal.SIGTERM)
        code = gateway.wait(timeout_seconds=10)
        # Before Python has come as far as our code, the signal ends it as it ends any program.
        assert code == 0 or (code == -signal.SIGTERM and gateway.log().count("msg=listening") == 1)
        assert list(processes(pid)) == []
        assert list(temporary.iterdir()) == []


def test_nothing_is_left() -> None:
    """A stopped gateway leaves nothing in the temporary directory, and does not touch another program's counters."""
    with Gateway("--storage.url=memory:") as gateway:
        gateway.terminate()
        temporary, foreign = gateway.directory / "tmp", gateway.directory / "foreign"
        temporary.mkdir()
        foreign.mkdir()
        (foreign / "counter_1.db").write_bytes(b"not ours")
        gateway.env |= {"TMPDIR": str(temporary), "PROMETHEUS_MULTIPROC_DIR": str(foreign)}
        gateway.start()
        assert gateway.push("job/a", b"x 1\n").status == 200
        assert gateway.scrape().has("pushgateway_http_requests_total")
        assert gateway.terminate() == 0
        assert list(temporary.iterdir()) == []
        assert [path.name for path in foreign.iterdir()] == ["counter_1.db"]


def test_killed_worker_is_replaced() -> None:
    """When workers are killed, others take their place, what was stored is there, and no counter falls."""
    with Gateway() as gateway:
        assert gateway.push("job/a", b"x 1\n").status == 200
        before = gateway.all_workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)

        def replaced() -> bool:
            return len(set(gateway.workers()) - set(before)) == 2

        poll(replaced, seconds=10, what="new workers")
        gateway.wait_ready()
        assert gateway.push("job/b", b"x 1\n").status == 200
        text = gateway.get("/metrics").text
        assert 'x{instance="",job="a"} 1' in text
        assert 'pushgateway_http_requests_total{code="200",handler="push",method="post"} 2' in text
        assert gateway.terminate() == 0


SERVE_BROKEN_AT_TIMES = """
import os, sys
from pushgateway import cli, server
from pushgateway.config import Config

make = server.create_app

def perhaps(**services):
    if os.path.exists("broken"):
        raise RuntimeError("can't start new thread")
    return make(**services)

server.create_app = perhaps
sys.exit(cli.serve(Config(listen_addresses=(sys.argv[1],), storage_url="memory:")))
"""


class FlakyGateway(Gateway):
    """A gateway whose workers cannot start while a file `broken` is there."""

    def command(self) -> list[str]:
        """The command line that starts it."""
        import_server = "import os; os.environ['PROMETHEUS_MULTIPROC_DIR'] = os.getcwd()"
        return [sys.executable, "-c", import_server + SERVE_BROKEN_AT_TIMES, f"127.0.0.1:{self.port}"]


def test_worker_that_cannot_be_replaced_at_once() -> None:
    """When a replacement cannot start, the other worker goes on serving, and it is tried again until it can."""
    with FlakyGateway() as gateway:
        before = set(gateway.all_workers())
        (gateway.directory / "broken").touch()
        killed = before.pop()
        os.kill(killed, signal.SIGKILL)
        poll(lambda: gateway.log().count("can't start new thread") >= 2, seconds=20, what="two attempts")
        assert before <= set(gateway.workers())
        assert gateway.get("/-/ready").status == 200
        (gateway.directory / "broken").unlink()
        attempts = gateway.log().count("can't start new thread")
        poll(lambda: len(set(gateway.workers()) - {killed}) == 2, seconds=10, what="the replacement")
        assert gateway.terminate() == 0
        assert gateway.log().count("can't start new thread") <= attempts + 2


def test_reload_replaces_workers() -> None:
    """SIGHUP replaces the workers without refusing a connection."""
    with Gateway("--storage.url=memory:") as gateway:
        before = set(gateway.all_workers())
        os.kill(gateway.pid, signal.SIGHUP)
        deadline = time.monotonic() + 10
        while before & set(gateway.workers()) and time.monotonic() < deadline:
            assert gateway.get("/-/healthy").status == 200
        assert not before & set(gateway.workers())
        assert gateway.terminate() == 0


@pytest.mark.alone
def test_killed_arbiter() -> None:
    """When the arbiter is killed, its workers end within a second and free the port, whatever they are doing."""
    with Gateway() as gateway, contextlib.ExitStack() as stack:
        open_connections(gateway, stack, 20, b"")
        open_connections(gateway, stack, 20, b"POST /metrics/job/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
        os.kill(gateway.pid, signal.SIGKILL)
        # One second is the rule, the other is for a busy machine.
        poll(lambda: not gateway.workers(), seconds=2, what="the workers' end")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(gateway.address)


SERVE_STUCK = """
import sys, time
from pushgateway import cli, server
from pushgateway.config import Config

make = server.create_app

def sticky(**services):
    app = make(**services)
    answer = app.wsgi_app
    app.wsgi_app = lambda environ, start: time.sleep(60) if "stuck" in environ["PATH_INFO"] else answer(environ, start)
    return app

server.create_app = sticky
sys.exit(cli.serve(Config(listen_addresses=(sys.argv[1],), storage_url="memory:", workers=1)))
"""


class StuckGateway(Gateway):
    """A gateway whose event loop is stuck as soon as somebody pushes to the job `stuck`."""

    def command(self) -> list[str]:
        """The command line that starts it."""
        import_server = "import os; os.environ['PROMETHEUS_MULTIPROC_DIR'] = os.getcwd()"
        return [sys.executable, "-c", import_server + SERVE_STUCK, f"127.0.0.1:{self.port}"]


@pytest.mark.alone
def test_killed_arbiter_of_a_stuck_worker() -> None:
    """When the arbiter is killed, a worker whose event loop is stuck ends as well."""
    with StuckGateway() as gateway, contextlib.ExitStack() as stack:
        open_connections(gateway, stack, 1, b"DELETE /metrics/job/stuck HTTP/1.1\r\nHost: x\r\n\r\n")
        (behind,) = open_connections(gateway, stack, 1, READY)
        behind.settimeout(0.5)
        with pytest.raises(TimeoutError):
            behind.recv(1)
        os.kill(gateway.pid, signal.SIGKILL)
        poll(lambda: not gateway.workers(), seconds=5, what="the worker's end")


def test_stop_under_load_loses_nothing() -> None:
    """Of the pushes that are under way when the gateway is stopped, each that was answered 200 is there afterwards."""
    with Gateway() as gateway:
        answered: list[int] = []

        def push(first: int) -> None:
            for number in range(first, first + 10_000):
                try:
                    if gateway.push(f"job/load/instance/{number}", b"load 1\n").status != 200:
                        return
                except OSError:
                    return
                answered.append(number)

        threads = [threading.Thread(target=push, args=(10_000 * index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        poll(lambda: len(answered) > 100, seconds=20, what="pushes")
        assert gateway.terminate() == 0
        for thread in threads:
            thread.join()
        gateway.start()
        stored = {int(found) for found in re.findall(r'^load\{instance="(\d+)"', gateway.get("/metrics").text, re.M)}
    assert set(answered) <= stored


SERVE_BROKEN = """
import sys
from pushgateway import cli, server
from pushgateway.config import Config

def broken(**_):
    raise ImportError("no module named spam")

server.create_app = broken
sys.exit(cli.serve(Config(listen_addresses=(sys.argv[1],), storage_url="memory:")))
"""


class BrokenGateway(Gateway):
    """A gateway whose workers cannot start."""

    def command(self) -> list[str]:
        """The command line that starts it."""
        import_server = "import os; os.environ['PROMETHEUS_MULTIPROC_DIR'] = os.getcwd()"
        return [sys.executable, "-c", import_server + SERVE_BROKEN, f"127.0.0.1:{self.port}"]


def test_workers_that_cannot_start() -> None:
    """Workers that fail while they start end the gateway with exit code 1 and the reason, and are not started again."""
    gateway = BrokenGateway()
    try:
        gateway.start(wait=False)
        assert gateway.wait(timeout_seconds=15) == 1
        assert "no module named spam" in gateway.log()
    finally:
        gateway.__exit__(None, None, None)


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_start_line(log_format: str) -> None:
    """The start is one line that says where it listens and where it stores; the stop needs none."""
    with Gateway(f"--log.format={log_format}", "--persistence.interval=1h", "--persistence.file=a.db") as gateway:
        assert gateway.terminate() == 0
        lines = gateway.log().splitlines()
        address = f"127.0.0.1:{gateway.port}"
        assert [line for line in lines if "listening" in line] == [line for line in lines if address in line]
        assert sum("--persistence.interval has no effect" in line for line in lines) == 1
        assert len(lines) == 2
        if log_format == "json":
            start = next(event for event in map(json.loads, lines) if event["msg"] == "listening")
            assert (start["address"], start["level"]) == (address, "info")
            assert start["storage"].endswith("/a.db")
        else:
            assert all(re.match(r"ts=\S+Z level=(info|warn) caller=\w+\.py:\d+ msg=", line) for line in lines)


def test_port_that_is_handed_out() -> None:
    """Two gateways cannot have one port: the second says so in one line, exits 1, and touches nothing."""
    with Gateway("--storage.url=memory:") as first:
        second = Gateway()
        try:
            second.port = first.port
            second.start(wait=False)
            assert second.wait() == 1
            assert second.log().count("\n") == 1
            assert f"cannot listen on 127.0.0.1:{first.port}: Address already in use" in second.log()
            assert list(second.directory.iterdir()) == []
        finally:
            second.__exit__(None, None, None)


class AddressedGateway(Gateway):
    """A gateway that listens where its flags say."""

    def command(self) -> list[str]:
        """The command line that starts it."""
        return [sys.executable, "-m", "pushgateway", *self.flags]

    def listening(self) -> list[str]:
        """Start, and return the addresses that the log line names."""
        self.start(wait=False)
        poll(lambda: "msg=listening" in self.log(), seconds=20, what="the start")
        found = re.search(r"address=(\S+)", self.log())
        assert found is not None
        return found[1].split(",")


def connect(address: str) -> bytes:
    """Ask for readiness at HOST:PORT, and return the beginning of the answer."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=20) as connection:
        connection.sendall(READY)
        return connection.recv(12)


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 loopback address."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.parametrize(
    "flags",
    [
        ["127.0.0.1:0"],
        ["localhost:0"],
        ["127.0.0.1:0", "127.0.0.2:0"],
        pytest.param(["[::1]:0"], marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")),
    ],
)
def test_addresses(flags: list[str]) -> None:
    """Port 0 picks a free one, several addresses may be given, and the log line says where to find the gateway."""
    gateway = AddressedGateway("--storage.url=memory:", *[f"--web.listen-address={flag}" for flag in flags])
    try:
        addresses = gateway.listening()
        assert len(addresses) >= len(flags)
        for address in addresses:
            poll(lambda address=address: connect(address) == b"HTTP/1.1 200", seconds=10, what="the answer")
        assert gateway.terminate() == 0
    finally:
        gateway.__exit__(None, None, None)


def test_all_addresses() -> None:
    """An empty host is every address, IPv4 and, where there is one, IPv6."""
    port = free_port()
    gateway = AddressedGateway("--storage.url=memory:", f"--web.listen-address=:{port}")
    try:
        gateway.listening()
        hosts = ["127.0.0.1", "127.0.0.2", *(["[::1]"] if has_ipv6() else [])]
        assert [connect(f"{host}:{port}") for host in hosts] == [b"HTTP/1.1 200"] * len(hosts)
        assert gateway.terminate() == 0
    finally:
        gateway.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--web.listen-address=no-such-host.invalid:0"], 1, ["no-such-host.invalid:0"]),
        (["--web.listen-address=192.0.2.1:0"], 1, ["192.0.2.1:0", "assign"]),
        (["--web.systemd-socket"], 1, ["--web.systemd-socket", "no socket"]),
        (["--web.listen-address=127.0.0.1:0", "--storage.url=sqlite:no/such/dir/x.db"], 1, ["no/such/dir"]),
        (["--web.listen-address=127.0.0.1:0", "--storage.url=mongodb://x"], 2, ["--storage.url", "mongodb://x"]),
    ],
)
def test_start_that_fails(flags: list[str], code: int, words: list[str]) -> None:
    """A start that fails is one line that says what and why, with exit code 1, or 2 if a flag is to blame."""
    gateway = AddressedGateway(*flags)
    try:
        gateway.start(wait=False)
        assert gateway.wait() == code
        assert gateway.log().count("\n") == 1
        assert [word for word in words if word not in gateway.log()] == []
    finally:
        gateway.__exit__(None, None, None)


SYSTEMD = """
import os, socket, sys
sock = socket.socket()
sock.bind(("127.0.0.1", int(sys.argv[1])))
sock.listen()
if sock.fileno() != 3:
    os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, "-m", "pushgateway", "--web.systemd-socket", "--storage.url=memory:"])
"""


class ActivatedGateway(Gateway):
    """A gateway started as systemd starts one with a socket unit."""

    def command(self) -> list[str]:
        """The command line that starts it."""
        return [sys.executable, "-c", SYSTEMD, str(self.port)]


def test_socket_activation() -> None:
    """With --web.systemd-socket the gateway serves on the socket that it is handed."""
    with ActivatedGateway() as gateway:
        assert gateway.push("job/a", b"x 1\n").status == 200
        assert gateway.terminate() == 0
