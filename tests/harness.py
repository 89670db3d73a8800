r"""How does a test run a real gateway, ours or the original, and speak to it in exact bytes?

    with Gateway("--web.enable-admin-api") as gateway:
        assert gateway.push("job/backup", b"x 1\n").status == 200
        families = gateway.scrape()

Each service gets a fresh directory, a free loopback port and a session of its own (setsid), so that `kill` reaches the
arbiter and all of its workers and nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.exposition import Exposition

__all__ = ["Gateway", "Original", "Reply", "Service", "exchange", "free_port", "poll", "processes", "require_program"]

START_SECONDS = 30.0
"""How long a start may take: one needs under a second, a machine shared by many runs may be 20 times slower."""

STOP_SECONDS = 20.0
"""How long a stop may take before the session is killed."""


_handed_out: set[int] = set()
"""Ports of this process; it needs some hundreds of over 20 000."""


def require_program(name: str) -> str:
    """Return the path of an external program; skip the test without it, but fail where CI=true: CI installs all."""
    path = shutil.which(name)
    if path is None:
        packages = "prometheus prometheus-pushgateway curl nodejs npm systemd chromium"
        message = f"{name} is not installed (apt-get install {packages})"
        if os.environ.get("CI") == "true":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return path


def free_port() -> int:
    """Return a loopback port that nobody listens on, below the ephemeral range, and never the same one twice.

    A port from the ephemeral range (bind to 0) may be taken as the source port of any client while the service that
    owns it is restarted; a client that retries may even connect to itself. Of processes that share a run of tests each
    has ports of its own: what one has found free and not yet bound, or is about to start again on, no other finds free.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    highest = max(lowest, 20_000)
    share = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    shares = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        port = random.randrange(10_000 + share, highest, shares)
        if port in _handed_out:
            continue
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            _handed_out.add(port)
            return port


def poll(condition: object, *, seconds: float, what: str) -> None:
    """Call `condition` until it is true; fail the test after `seconds`, naming `what` was waited for."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()

    def header(self, name: str) -> str | None:
        """The value of a header, None if absent; repeated ones joined by commas."""
        values = self.headers.get_all(name)
        return None if values is None else ", ".join(values)


def exchange(
    address: tuple[str, int],
    request: bytes,
    *,
    method: str = "GET",
    timeout_seconds: float = 20.0,
    tls: ssl.SSLContext | None = None,
) -> Reply:
    """Send exactly these bytes on a connection of their own and read one response.

    Args:
        address: Host and port.
        request: The whole request, from its first line to the end of its body.
        method: What the request line says; a HEAD response has no body.
        timeout_seconds: For each socket operation.
        tls: How to secure the connection; None for plain HTTP.
    """
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(address, timeout=timeout_seconds))
        if tls is not None:
            connection = stack.enter_context(tls.wrap_socket(connection, server_hostname=address[0]))
        # A server may answer and close before it has read a large body.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        return Reply(response.status, response.headers, response.read())


class Service:
    """A program that listens on `port` in a directory of its own; a context manager.

    Args:
        flags: Command line flags, beside the listen address.
        env: Environment variables beside the inherited ones; inherited PUSHGATEWAY_* are removed.
        prefix: The route prefix that the flags set; "" or "/x".
        telemetry_path: The path of the exposition below it, if the flags set another one.
        directory: Where it runs and keeps its data; a fresh one, removed at exit, by default.
        tls: How to secure connections to it; None for plain HTTP.
        user: NAME:PASSWORD that it wants from everybody; "" for none.
    """

    name = "service"

    def __init__(
        self,
        *flags: str,
        env: Mapping[str, str] | None = None,
        prefix: str = "",
        telemetry_path: str = "/metrics",
        directory: Path | None = None,
        tls: ssl.SSLContext | None = None,
        user: str = "",
    ) -> None:
        self.flags = flags
        self.tls = tls
        self.user = user
        self.env = dict(env or {})
        self.prefix = prefix
        self.telemetry_path = telemetry_path
        self.port = free_port()
        self._base = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.directory = directory or self._base / "data"
        self.directory.mkdir(exist_ok=True)
        self._log_path = self._base / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """The command line that starts it."""
        raise NotImplementedError

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return ("127.0.0.1", self.port)

    @property
    def url(self) -> str:
        """The base URL, with the prefix, without a trailing slash."""
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}{self.prefix}"

    @property
    def pid(self) -> int:
        """The process that was started (the arbiter); also its session."""
        assert self._process is not None, "not started"
        return self._process.pid

    def log(self) -> str:
        """All that it has written to stdout and stderr, over all its starts."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._process is not None:
                self._process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_SECONDS)
            if error is not None:
                error.add_note(f"the end of the log of {self.name}:\n{self.log()[-3000:]}")
        finally:
            self._clean()

    def _clean(self) -> None:
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._base, ignore_errors=True)

    def start(self, *, wait: bool = True) -> None:
        """Start it on its directory and port; with `wait`, return when /-/ready answers 200."""
        assert self._process is None, "already started"
        # With its bytecode kept, as a program that is installed has it: to compile takes half of a start.
        kept = {"PYTHONPYCACHEPREFIX": str(Path(sys.prefix) / "cache" / "bytecode")}
        left_out = ("PUSHGATEWAY_", "PYTHONDONTWRITEBYTECODE")
        env = {name: value for name, value in os.environ.items() if not name.startswith(left_out)} | kept
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                env=env | self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until /-/ready answers 200; fail with the log if it ends or does not answer in time."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self._process is not None
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                reason = "did not answer in time" if code is None else f"ended with exit code {code}"
                raise RuntimeError(f"{' '.join(self.command())} {reason}; its log:\n{self.log()[-3000:]}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.request("GET", f"{self.prefix}/-/ready", timeout_seconds=5).status == 200:
                    return
            time.sleep(0.02)

    def terminate(self, number: int = signal.SIGTERM, *, timeout_seconds: float = STOP_SECONDS) -> int:
        """Send a signal to the arbiter, wait for its end and return its exit code; fail after the time-out."""
        os.kill(self.pid, number)
        return self.wait(timeout_seconds=timeout_seconds)

    def wait(self, *, timeout_seconds: float = STOP_SECONDS) -> int:
        """Wait for it to end by itself and return its exit code; fail after the time-out."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.name} still runs after {timeout_seconds:g} s; its log:\n{self.log()[-3000:]}")
        self.kill()
        return code

    def kill(self) -> None:
        """SIGKILL everything of its session at once, and return when nothing of it is left."""
        assert self._process is not None
        session = self._process.pid
        while left := list(processes(session)):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.poll()
            time.sleep(0.002)
        self._process.wait()
        self._process = None

    def restart(self) -> None:
        """Start again on the same data and port; stops it first, gracefully, if it still runs."""
        if self._process is not None:
            self.terminate()
        self.start()

    def workers(self) -> list[int]:
        """The pids of its session but for the arbiter's own, in order."""
        return sorted(pid for pid in processes(self.pid) if pid != self.pid)

    def all_workers(self, count: int = 2) -> list[int]:
        """The pids of its workers when all of them are started: the first serves before the last is.

        Args:
            count: How many there are to be; the gateway's default.
        """
        poll(lambda: len(self.workers()) == count, seconds=START_SECONDS, what=f"{count} workers")
        return self.workers()

    def established(self) -> int:
        """How many connections are established on its side (proc(5), /proc/net/tcp: state 01)."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        return sum(row[1].endswith(f":{self.port:04X}") and row[3] == "01" for row in rows)

    def request(
        self,
        method: str,
        target: str | bytes,
        body: bytes | None = None,
        headers: Mapping[str, str | bytes] | None = None,
        *,
        timeout_seconds: float = 20.0,
    ) -> Reply:
        """Send one request whose target goes out exactly as given, and read the whole response.

        Args:
            method: Any token.
            target: The request target, prefix included; nothing is escaped or cleaned.
            body: Sent with a Content-Length; None sends neither.
            headers: Beside Host, Connection and Content-Length, which a header of the same name replaces.
            timeout_seconds: For each socket operation.
        """
        fields: dict[str, str | bytes] = {"Host": f"127.0.0.1:{self.port}", "Connection": "close"}
        if body is not None:
            fields["Content-Length"] = str(len(body))
        if self.user:
            fields["Authorization"] = "Basic " + base64.b64encode(self.user.encode()).decode()
        fields |= headers or {}
        exact = target if isinstance(target, bytes) else target.encode()
        lines = [method.encode() + b" " + exact + b" HTTP/1.1"]
        lines += [
            name.encode() + b": " + (value if isinstance(value, bytes) else value.encode("latin-1"))
            for name, value in fields.items()
        ]
        message = b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")
        return exchange(self.address, message, method=method, timeout_seconds=timeout_seconds, tls=self.tls)

    def get(self, path: str, headers: Mapping[str, str | bytes] | None = None) -> Reply:
        """GET a path below the prefix."""
        return self.request("GET", self.prefix + path, headers=headers)

    def push(
        self,
        path: str,
        body: bytes = b"",
        *,
        method: str = "POST",
        headers: Mapping[str, str | bytes] | None = None,
    ) -> Reply:
        """Push to the group whose path after /metrics/ is given exactly, as in ``job/backup/instance/a``."""
        return self.request(method, f"{self.prefix}/metrics/{path}", body, headers)

    def delete(self, path: str) -> Reply:
        """DELETE the group whose path after /metrics/ is given."""
        return self.request("DELETE", f"{self.prefix}/metrics/{path}")

    def wipe(self) -> None:
        """Remove every group through the admin API, which a flag must have enabled, and wait until they are gone."""
        reply = self.request("PUT", f"{self.prefix}/api/v1/admin/wipe")
        assert reply.status == 202, reply
        poll(self._is_empty, seconds=10, what="the wipe to be applied")

    def _is_empty(self) -> bool:
        # The original wipes after its 202, and answers 500 while something that it cannot expose is still there.
        reply = self.request("GET", f"{self.prefix}{self.telemetry_path}")
        return reply.status == 200 and b"\npush_time_seconds{" not in reply.body

    def scrape(self, headers: Mapping[str, str | bytes] | None = None, *, quoted_names: bool = False) -> Exposition:
        """GET the exposition and parse it strictly; AssertionError unless it is 200 and well formed."""
        reply = self.get(self.telemetry_path, headers)
        assert reply.status == 200, (reply, reply.body[:1000])
        return Exposition.parse(reply.body, quoted_names=quoted_names)


def processes(session: int) -> Iterator[int]:
    """Yield the pids of all processes of a session, zombies left out."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # proc(5): the name may hold blanks and parentheses; after its last ")" come state, ppid, pgrp, session.
            state, _, _, sid, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(sid) == session and state not in "ZX":
                yield int(entry.name)


class Gateway(Service):
    """Our gateway, as `python -m pushgateway` with this interpreter, its store in `directory`."""

    name = "pushgateway"

    def command(self) -> list[str]:
        """The command line that starts it."""
        return [sys.executable, "-m", "pushgateway", f"--web.listen-address=127.0.0.1:{self.port}", *self.flags]


class Original(Service):
    """The Go Pushgateway that Debian packages, without persistence."""

    name = "prometheus-pushgateway"

    def command(self) -> list[str]:
        """The command line that starts it."""
        program = require_program("prometheus-pushgateway")
        return [program, "--persistence.file=", f"--web.listen-address=127.0.0.1:{self.port}", *self.flags]
