"""How does a request get from the event loop to the WSGI application without making the loop wait?

The loop reads a whole request, and then one of four lanes answers it:

- INLINE, on the loop itself: health, and small writes, which take the writers' lock only if it is free. If it is not,
  the application raises WouldBlockError before it has stored anything, and the WRITER lane calls it again.
- WRITER, one thread: whoever has to wait for other writers. Wipes too.
- BULK, one thread: bodies that take long to parse, and compressed ones, since a small body may become a large one.
- POOL, `threads` threads: scrapes and every other read. Nothing that waits for the writers' lock ever runs here.

A write that waits holds a `Ticket` that the loop watches: when the time is up and the ticket can still be given up, the
answer is 503 with Retry-After, and the write is never applied. A request that is complete is carried out even if its
client has gone: jobs that push and do not read the answer exist, and the original serves them.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import io
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

import structlog

from pushgateway.config import Limits
from pushgateway.errors import WouldBlockError
from pushgateway.storage.base import Ticket

__all__ = ["Bridge", "Lane", "choose_lane"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Environ: TypeAlias = dict[str, Any]
WSGIApplication: TypeAlias = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

log = structlog.get_logger(__name__)

_RETRY_AFTER_SECONDS: Final = 1
"""What a 503 asks for: the wait itself has already been the back-off."""


class Lane(enum.Enum):
    """Where a request is answered; the module's docstring says what for."""

    INLINE = "inline"
    WRITER = "writer"
    BULK = "bulk"
    POOL = "pool"


def choose_lane(
    method: str, path: str, *, body_bytes: int, encoded: bool, inline_store: bool, inline_bytes: int
) -> Lane:
    """Decide where a request is answered.

    Whatever may write is known by its method alone, so that no spelling of a path brings a write into the pool.

    Args:
        method: The HTTP method, in capitals.
        path: The decoded path.
        body_bytes: The length of the body as sent.
        encoded: Whether it has a Content-Encoding.
        inline_store: Whether the store may be called on the loop (`Store.inline`).
        inline_bytes: The largest body that is parsed on the loop.
    """
    if method in ("PUT", "POST", "DELETE"):
        if encoded or body_bytes > inline_bytes:
            return Lane.BULK
        if path.endswith("/admin/wipe"):
            return Lane.WRITER
        return Lane.INLINE if inline_store else Lane.POOL
    if inline_store and path.endswith(("/-/healthy", "/-/ready")):
        return Lane.INLINE
    return Lane.POOL


class Response(NamedTuple):
    """A whole response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Job:
    """One call that waits for, or runs in, a thread."""

    call: Callable[[], Response]
    answer: asyncio.Future[Response]


class _Threads:
    """The threads of a lane, first come first served.

    Not a ThreadPoolExecutor: the interpreter joins its threads at exit, and a thread that waits for the writers' lock
    may wait for as long as another program holds it.
    """

    def __init__(self, lane: Lane, *, count: int) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._count = count
        self.unfinished = 0
        """Jobs that wait or run and whose answer somebody awaits; changed on the loop only."""
        for number in range(count):
            threading.Thread(target=self._work, name=f"{lane.value}-{number}", daemon=True).start()

    def submit(self, call: Callable[[], Response]) -> asyncio.Future[Response]:
        """Queue a call; cancelling its future before it begins takes it out."""
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(self._finished)
        self.unfinished += 1
        self._jobs.put(_Job(call, answer))
        return answer

    def close(self) -> None:
        """Let the threads end after what is queued; does not wait for them."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _finished(self, _: asyncio.Future[Response]) -> None:
        self.unfinished -= 1

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.answer.cancelled():
                continue
            response = job.call()
            # RuntimeError: the worker's grace time is over and the loop is closed, so that nobody waits for the answer.
            with contextlib.suppress(RuntimeError):
                job.answer.get_loop().call_soon_threadsafe(_deliver, job.answer, response)


def _deliver(answer: asyncio.Future[Response], response: Response) -> None:
    if not answer.done():
        answer.set_result(response)


class Bridge:
    """The ASGI application in front of the WSGI one.

    Make it in the process and for the loop that uses it: it starts threads.

    Args:
        app: The WSGI application. Of `environ` it may use, beside PEP 3333: ``RAW_URI`` (the target as sent),
            ``pushgateway.ticket`` (a `Ticket`, or None: do not wait for other writers and let WouldBlockError pass) and
            ``pushgateway.scratch`` (a dict that survives a second call of the same request).
        limits: What requests may use.
        threads: Threads of the pool.
        inline_store: `Store.inline`.
    """

    def __init__(self, app: WSGIApplication, *, limits: Limits, threads: int, inline_store: bool) -> None:
        self._app = app
        self._limits = limits
        self._inline_store = inline_store
        self._lanes = {
            Lane.WRITER: _Threads(Lane.WRITER, count=1),
            Lane.BULK: _Threads(Lane.BULK, count=1),
            Lane.POOL: _Threads(Lane.POOL, count=threads),
        }
        # A large body is parsed in its lane before it waits for writers, at 5 s for 64 MiB: its time is the request's.
        self._wait_seconds = {
            Lane.WRITER: limits.lock_wait_seconds,
            Lane.BULK: limits.request_seconds,
            Lane.POOL: None,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            ValueError: The scope is not one of HTTP.
        """
        if scope["type"] != "http":
            raise ValueError(f"scope {scope['type']!r} is not supported, expected 'http'")
        body = await _whole_body(receive)
        if body is None:
            return
        response = await self._answer(make_environ(scope, body), body)
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
        await send({"type": "http.response.body", "body": response.body})

    def close(self) -> None:
        """Let the threads end after what is queued; does not wait for them."""
        for threads in self._lanes.values():
            threads.close()

    async def _answer(self, environ: Environ, body: bytes) -> Response:
        lane = choose_lane(
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            body_bytes=len(body),
            encoded="HTTP_CONTENT_ENCODING" in environ,
            inline_store=self._inline_store,
            inline_bytes=self._limits.inline_bytes,
        )
        if lane is Lane.INLINE:
            try:
                return self._call(environ, body, ticket=None)
            except WouldBlockError:
                lane = Lane.WRITER
        return await self._in_thread(lane, environ, body)

    async def _in_thread(self, lane: Lane, environ: Environ, body: bytes) -> Response:
        threads, wait_seconds = self._lanes[lane], self._wait_seconds[lane]
        if threads.unfinished >= self._limits.waiting_requests:
            return _busy(f"{threads.unfinished} requests are waiting already")
        ticket = Ticket()
        answer = threads.submit(lambda: self._call(environ, body, ticket=ticket))
        if wait_seconds is None:
            return await answer
        await asyncio.wait((answer,), timeout=wait_seconds)
        if answer.done() or not ticket.expire():
            return await answer
        answer.cancel()
        return _busy(f"other writers were before this request for {wait_seconds:g} s")

    def _call(self, environ: Environ, body: bytes, *, ticket: Ticket | None) -> Response:
        """Call the application once and collect its response; only WouldBlockError gets out, if there is no ticket."""
        started: list[tuple[str, list[tuple[str, str]]]] = []
        written: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Callable[[bytes], None]:
            started.append((status, headers))
            return written.append

        call = environ | {"wsgi.input": io.BytesIO(body), "pushgateway.ticket": ticket}
        try:
            chunks = self._app(call, start_response)
            try:
                written.extend(chunks)
            finally:
                if (close := getattr(chunks, "close", None)) is not None:
                    close()
            status, headers = started[-1]
            return Response(
                int(status[:3]),
                [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
                b"".join(written),
            )
        except WouldBlockError:
            if ticket is None:
                raise
            return _failed(environ)
        except Exception:
            return _failed(environ)


def make_environ(scope: Scope, body: bytes) -> Environ:
    """Make the WSGI environ of a request, without its input and its ticket.

    PATH_INFO holds the percent-decoded bytes of the raw path as latin-1 (PEP 3333): the scope's own `path` has lost
    what is not UTF-8. A header that comes twice is joined with a comma (RFC 9110, 5.3).
    """
    raw_path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    server, client = scope.get("server"), scope.get("client")
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": (unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path).decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "RAW_URI": (raw_path + b"?" + query if query else raw_path).decode("latin-1"),
        "SERVER_NAME": server[0] if server else "",
        "SERVER_PORT": str(server[1] or "") if server else "",
        "SERVER_PROTOCOL": "HTTP/" + scope["http_version"],
        # On a socket for both protocols, an IPv4 address comes as ::ffff:192.0.2.1.
        "REMOTE_ADDR": client[0].removeprefix("::ffff:") if client else "",
        "REMOTE_PORT": str(client[1]) if client else "",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "pushgateway.scratch": {},
    }
    for name, value in scope["headers"]:
        key = _HEADER_KEYS.get(name) or "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        text = value.decode("latin-1")
        if key == "CONTENT_LENGTH":
            continue
        # Underscores would let X_FORWARDED_FOR pass for X-Forwarded-For.
        if b"_" not in name:
            environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


_HEADER_KEYS: Final = {
    name: name.decode().upper().replace("-", "_") for name in (b"content-type", b"content-length")
} | {
    name: "HTTP_" + name.decode().upper().replace("-", "_")
    for name in (b"host", b"user-agent", b"accept", b"accept-encoding", b"connection", b"content-encoding")
}
"""The environ's names of the usual headers, which are most of them."""


async def _whole_body(receive: Receive) -> bytes | None:
    """Read the body to its end; None if the client leaves before."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        whole: bytes = message.get("body", b"")
        return whole
    parts: list[bytes] = []
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()
    return None


def _plain(status: int, text: str, *extra: tuple[bytes, bytes]) -> Response:
    body = f"{text}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", str(len(body)).encode()),
    ]
    return Response(status, [*headers, *extra], body)


def _busy(reason: str) -> Response:
    retry = (b"retry-after", str(_RETRY_AFTER_SECONDS).encode())
    return _plain(503, f"the gateway is busy: {reason}; nothing was stored, try again", retry)


def _failed(environ: Environ) -> Response:
    log.exception("unexpected error", method=environ["REQUEST_METHOD"], target=environ["RAW_URI"])
    return _plain(500, "internal server error")
