"""How does a test break the way from a gateway to its database, at the very moment that it chooses?

with Proxy(server.port) as proxy:
    url = proxy.through(server.create_database())
    proxy.failure = Failure.LOSE_ANSWER
"""

from __future__ import annotations

import contextlib
import enum
import select
import socket
import threading
from types import TracebackType
from typing import Final, Self

from tests.harness import free_port

__all__ = ["Failure", "Proxy"]

_SLICE_SECONDS: Final = 0.02
_COMMIT: Final = b"\0COMMIT\0"
"""In a Parse message of the protocol, https://www.postgresql.org/docs/current/protocol-message-formats.html."""
_COMMITTED: Final = b"COMMIT\0"
"""In the CommandComplete message that answers it."""
_LOCKING: Final = b"FOR UPDATE"
_LONGEST: Final = max(len(_COMMIT), len(_LOCKING)) - 1


class Failure(enum.Enum):
    """What is wrong with the way; it concerns all connections as long as it lasts."""

    NONE = "nothing"
    CUT_LOCKS = "a connection breaks when a push wants its locks"
    CUT_COMMIT = "a connection breaks before the server has seen COMMIT"
    LOSE_ANSWER = "a connection breaks when the server has committed"
    HOLD_ANSWER = "the answer to COMMIT does not come"
    STALL = "nothing comes through any more, and nothing breaks"


class Proxy:
    """A way to a port on this machine; a context manager.

    Args:
        target: The port of the server.

    Attributes:
        failure: What is wrong with it.
        committed: Set when a commit's answer has come as far as here and no further.
    """

    def __init__(self, target: int) -> None:
        self.failure = Failure.NONE
        self.committed = threading.Event()
        self._target = target
        self.port = free_port()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", self.port))

    def through(self, url: str) -> str:
        """Return a URL of the server so that it leads through here."""
        return url.replace(f":{self._target}/", f":{self.port}/")

    def __enter__(self) -> Self:
        self._begin(threading.Thread(target=self._accept, daemon=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _begin(self, thread: threading.Thread) -> None:
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            if select.select([self._listener], [], [], _SLICE_SECONDS)[0]:
                client, _ = self._listener.accept()
                self._begin(threading.Thread(target=self._serve, args=(client,), daemon=True))

    def _serve(self, client: socket.socket) -> None:
        # A peer that breaks its connection breaks the other one, as a proxy should.
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as server:
            self._forward(client, server)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        seen, is_committing = b"", False
        while not self._stop.is_set():
            ready, _, _ = select.select([client, server], [], [], _SLICE_SECONDS)
            failure = self.failure
            if failure is Failure.STALL:
                self._stop.wait(_SLICE_SECONDS)
                continue
            if client in ready:
                data = client.recv(1 << 16)
                seen = seen[-_LONGEST:] + data
                commits = _COMMIT in seen
                if not data or (failure is Failure.CUT_COMMIT and commits):
                    return
                if failure is Failure.CUT_LOCKS and _LOCKING in seen:
                    return
                is_committing = is_committing or (commits and failure in (Failure.LOSE_ANSWER, Failure.HOLD_ANSWER))
                server.sendall(data)
            if server in ready:
                data = server.recv(1 << 16)
                if not data:
                    return
                if not is_committing:
                    client.sendall(data)
                elif _COMMITTED in data:
                    self.committed.set()
                    if failure is Failure.LOSE_ANSWER:
                        return
