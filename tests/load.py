"""How does a test push from many threads at once, and what was each of them answered?"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterable

from tests.harness import Service

__all__ = ["Client", "Load"]

TIMEOUT_SECONDS = 20.0


class Client:
    """A keep-alive connection that connects again after every failure."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._connection: http.client.HTTPConnection | None = None

    def send(self, method: str, path: str, body: bytes = b"") -> int | None:
        """Send a request below /metrics/; return the status, None if no whole answer came."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(*self._service.address, timeout=TIMEOUT_SECONDS)
        try:
            self._connection.request(method, f"{self._service.prefix}/metrics/{path}", body)
            response = self._connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return None
        return response.status

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Load:
    """Threads that call `work(client, number)` in a loop until stopped; a context manager.

    Args:
        service: Where the clients connect to.
        works: One callable a thread; it sends something and may raise, which fails the test at the end.
    """

    def __init__(self, service: Service, works: Iterable[Callable[[Client, int], object]]) -> None:
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(service, work), daemon=True) for work in works]

    def _run(self, service: Service, work: Callable[[Client, int], object]) -> None:
        client = Client(service)
        number = 0
        try:
            while not self._stop.is_set():
                work(client, number)
                number += 1
        except BaseException as error:
            self._errors.append(error)
        finally:
            client.close()

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let every thread finish its request and end; raise what the first of them raised."""
        self._stop.set()
        deadline = time.monotonic() + 2 * TIMEOUT_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        assert not any(thread.is_alive() for thread in self._threads), "a request was never answered"
        if self._errors:
            raise self._errors[0]
