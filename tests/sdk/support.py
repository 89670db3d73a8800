"""How does a test run a job in a process of its own, against a gateway that behaves as badly as the test wants?"""

from __future__ import annotations

import contextlib
import gzip
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from pymetrics_sdk.environment import FOREIGN_VARIABLES
from pymetrics_sdk.testing import Group, InMemoryGateway
from pymetrics_sdk.transport import Deadline, Request

__all__ = ["Child", "Received", "ScriptedGateway", "black_hole", "child", "run_child"]

Behaviour = Callable[[socket.socket, threading.Event], None]


@dataclass(frozen=True)
class Received:
    """One request as it arrived: `headers` in lower case, `body` decompressed."""

    method: str
    path: str
    headers: dict[str, str]
    body: str

    @property
    def is_final(self) -> bool:
        """Whether this is a run's last push."""
        return "batch_job_running 0" in self.body


def reply(status: int, body: str = "", **headers: str) -> Behaviour:
    """Answer with a status, a body and headers (underscores become hyphens)."""
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    message = "\r\n".join([*lines, "", body]).encode()

    def answer(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(message)

    return answer


def drip(connection: socket.socket, stop: threading.Event) -> None:
    """Answer with one byte a second, which keeps any limit on a single read from ever striking."""
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" * 100:
        connection.sendall(bytes([byte]))
        if stop.wait(1.0):
            return


def stall(connection: socket.socket, stop: threading.Event) -> None:
    """Never answer."""
    stop.wait(60.0)


def reset(connection: socket.socket, stop: threading.Event) -> None:
    """End the connection with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


@dataclass
class ScriptedGateway:
    """A gateway on loopback: final pushes are answered by `script` in turn, then like everything else, by `otherwise`.

    What is answered with 200 is stored as a gateway stores it; see `group`.
    """

    script: Sequence[Behaviour] = ()
    otherwise: Behaviour = field(default_factory=lambda: reply(200))
    received: list[Received] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._pending = list(self.script)
        self._stop = threading.Event()
        self._store = InMemoryGateway()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10.0)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def finals(self) -> list[Received]:
        """The last pushes of runs."""
        return [each for each in self.received if each.is_final]

    def group(self, job: str, **labels: str) -> Group:
        """What was stored of a group."""
        return self._store.group(job, **labels)

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, ValueError, IndexError):
            connection.settimeout(10.0)
            request = _read(connection)
            self.received.append(request)
            behaviour = self._pending.pop(0) if request.is_final and self._pending else self.otherwise
            if behaviour.__qualname__.startswith("reply"):
                self._store.send(
                    Request(request.method, self.url + request.path, {}, request.body.encode()), Deadline(9)
                )
            behaviour(connection, self._stop)


def _read(connection: socket.socket) -> Received:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536) or _gone()
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536) or _gone()
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    method, path, _ = first.split(" ")
    return Received(method, path, headers, body.decode("utf-8", "replace"))


def _gone() -> bytes:
    raise ConnectionResetError


@contextmanager
def black_hole() -> Iterator[str]:
    """A URL whose connections are never accepted nor refused: the backlog of its listener is full."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@dataclass
class Child:
    """A job's process, under way or over."""

    process: subprocess.Popen[str]
    started_at: float

    def send(self, signum: int) -> None:
        """Send it a signal, when its main thread blocks if that is within a second.

        CPython looks for signals between its own instructions. One that comes when the main thread has done so and is
        about to block, which a push in another thread makes longer, is handled when the blocking call is over.
        """
        until = time.monotonic() + 1
        while time.monotonic() < until and not self._blocks():
            continue
        self.process.send_signal(signum)

    def _blocks(self) -> bool:
        """Whether the main thread sleeps, and has not run for 10 ms."""
        before = self._scheduling()
        time.sleep(0.01)
        return "State:\tS" in before and self._scheduling() == before

    def _scheduling(self) -> str:
        """What proc(5) says of the main thread's state and context switches; "" if it is gone."""
        pid = self.process.pid
        try:
            lines = Path(f"/proc/{pid}/task/{pid}/status").read_text(encoding="utf-8").splitlines()
        except OSError:
            return ""
        return "\n".join(
            line[:8] if line.startswith("State") else line for line in lines if "ctxt" in line or "State" in line
        )

    def wait_for(self, line: str) -> None:
        """Read its output until `line` comes."""
        assert self.process.stdout is not None
        for each in self.process.stdout:
            if each.strip() == line:
                return
        raise AssertionError(f"it ended without {line!r}: {self.process.stderr.read() if self.process.stderr else ''}")

    def finish(self, *, seconds: float = 20.0) -> tuple[int, str, str]:
        """Return its exit status (negative after a signal), the rest of its output, and its standard error."""
        try:
            out, error = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            out, error = self.process.communicate()
            raise AssertionError(f"it did not end within {seconds} s: {out}\n{error}") from None
        return self.process.returncode, out, error


@contextmanager
def child(script: str, *, gateway: str = "", prefix: Sequence[str] = (), **env: str) -> Iterator[Child]:
    """Start a script in a process of its own; whatever happens, it is gone at the end.

    Args:
        script: Python source; indentation is taken off.
        gateway: Its PYMETRICS_GATEWAY_URL.
        prefix: A command that starts the interpreter.
        env: More variables.
    """
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYMETRICS_") and name not in FOREIGN_VARIABLES
    }
    command = [*prefix, sys.executable, "-c", textwrap.dedent(script)]
    started = time.monotonic()
    with subprocess.Popen(
        command,
        env={**variables, "PYMETRICS_GATEWAY_URL": gateway, "PYTHONUNBUFFERED": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    ) as process:
        try:
            yield Child(process, started)
        finally:
            if process.poll() is None:
                process.kill()


def run_child(script: str, *, gateway: str = "", **env: str) -> tuple[int, str, str]:
    """Run a script to its end; see `child` and `Child.finish`."""
    with child(script, gateway=gateway, **env) as process:
        return process.finish()
