"""How does a request get from the event loop to the WSGI application without keeping the loop from the others?

The loop reads a whole request, and then one of six lanes answers it:

- INLINE, on the loop itself: health, and small writes, which take the writers' lock only if it is free. If it is not,
  the application raises WouldBlockError before it has stored anything. The loop calls it again a few times, with pauses
  in which it serves others; then the WRITER lane does.
- WRITER, one thread: whoever has to wait for other writers. Wipes and deletions by a form too. With a store that is not
  called on the loop, as one on a database server, all small writes, in `threads` threads.
- BULK, one thread: bodies that take up to a second to parse.
- GIANT, one thread: bodies that take longer, so that BULK has none before it. Over all workers there is one at a time,
  since it takes as much memory as may be taken.
- POOL, `threads` threads: scrapes and every other read. Nothing that waits for the writers' lock ever runs here.
- HEALTH, two threads, with a store that is not called on the loop: scrapes may wait for a server that hangs, and then
  health has to say so, or the gateway would be restarted for it.

How long a body takes is only known when it is decompressed, and its lines are counted. So a lane is chosen by what is
seen from outside; in it the application gets so much room for the decompressed body, and raises LongWorkError before it
parses what needs more: then the next larger lane calls it again. INLINE keeps the loop for some 15 ms at most (a body
of 1 000 families), and for 5 s never: whatever waits is in a thread.

A write of the small lanes is committed without a flush: the loop lets a thread flush the store for all that wait for
it, and calls the application once more for the answer. So nobody holds the writers' lock, or the loop, for as long as a
disk takes, and pushes that come at the same time pay for one flush.

A write that waits holds a `Ticket` that the loop watches: when the time is up and the ticket can still be given up, the
answer is 503 with Retry-After, the write is never applied, and what is being parsed for it ends. A request that is
complete is carried out even if its client has gone: jobs that push and do not read the answer exist, and the original
serves them. A read is not, if its client has gone before its turn: else a few hundred scrapes that nobody waits for any
more would keep all others waiting.

Long, since lanes, tickets and what they refuse are one mechanism, whose races are only seen when it is read as one.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import io
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from queue import SimpleQueue
from typing import Any, Final, NamedTuple, Protocol, TypeAlias
from urllib.parse import unquote_to_bytes

from pushgateway.config import Limits
from pushgateway.errors import LimitError, LockedError, LongWorkError, UnflushedError, WouldBlockError
from pushgateway.flusher import Flusher
from pushgateway.guard import Guard, Origins, Verdict
from pushgateway.memory import give_memory_back
from pushgateway.storage.base import UNKNOWN_OUTCOME, Ticket
from pushgateway.web.answers import INTERNAL, ErrorAnswer, Refused, Report, error_answer, limit_data, unreported
from pushgateway.web.environ import LONG_CHANGES

__all__ = ["Bridge", "Lane", "Parts", "choose_lane", "wire_headers"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Environ: TypeAlias = dict[str, Any]
WSGIApplication: TypeAlias = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_RETRY_AFTER_SECONDS: Final = 1
"""What a 503 asks for: the wait itself has already been the back-off."""


_PAUSES_SECONDS: Final = (0.001, 0.001, 0.002, 0.004, 0.008)
"""After which times a write on the loop tries again while another has the lock. In a thread its statements would take
turns with the loop for the interpreter's lock, of up to 5 ms each, while it has that of the writers."""

_CHANGING: Final = frozenset({"PUT", "POST", "DELETE"})

_NOTHING_STORED: Final = "nothing was stored, try again"

_BULK_BYTES: Final = 1 << 20
"""The largest body that is parsed in BULK: half a second for ordinary samples."""

_SMALL_ENCODED_BYTES: Final = 8 << 10
_MIDDLE_ENCODED_BYTES: Final = 64 << 10
"""The largest compressed bodies with which INLINE and BULK begin: about what their room comes down to. What turns out
to need more room has cost no more than that room until then."""


_KEPT_BYTES: Final = 2 << 20
"""Of how many waiting bytes the outcome of the preparation is kept, which takes some ten times as much; the bodies
beyond are prepared again when their turn comes. Of those that wait for a flush as much again."""

_LARGE_BYTES: Final = 4 << 20
"""Of which bodies, sent and received, the memory is given back when they are done with; it takes some 20 ms."""

_OWNED_BYTES: Final = 256 << 10
"""Larger responses are made only when the thread's last one is on its way."""

_NOTHING_HELD: Final = contextlib.nullcontext()

_LENGTH: Final = b"content-length"

_GONE_STATUS: Final = 499
"""What nginx writes in its log of a client that has gone. Nobody gets it."""

_STOPPED: Final[Mapping[Verdict, tuple[int, str, tuple[tuple[bytes, bytes], ...]]]] = {
    # No realm, as the original.
    Verdict.UNAUTHORIZED: (401, "Unauthorized", ((b"www-authenticate", b"Basic"),)),
    Verdict.THROTTLED: (429, "Too Many Requests", ()),
    Verdict.BUSY: (503, "the gateway is busy: too many passwords wait to be checked; try again", ()),
}
"""Status, message and headers for whoever may not come in."""


class FlowControl(Protocol):
    """Whether a client reads its responses: `pushgateway.flow` of a scope."""

    write_paused: bool

    async def drain(self) -> None:
        """Wait until it does, or has gone."""


class Lane(enum.Enum):
    """Where a request is answered; the module's docstring says what for."""

    INLINE = "inline"
    WRITER = "writer"
    BULK = "bulk"
    GIANT = "giant"
    POOL = "pool"
    HEALTH = "health"


def choose_lane(
    method: str,
    path: str,
    *,
    body_bytes: int,
    encoded: bool,
    inline_store: bool,
    inline_bytes: int,
    route_prefix: str = "",
) -> Lane:
    """Decide where a request is answered, or tried first.

    Whatever may write is known by its method alone, so that no spelling of a path brings a write into the pool.

    Args:
        method: The HTTP method, in capitals.
        path: PATH_INFO.
        body_bytes: The length of the body as sent.
        encoded: Whether it has a Content-Encoding.
        inline_store: Whether the store may be called on the loop (`Store.inline`).
        inline_bytes: The largest body that is parsed on the loop.
        route_prefix: "" or ``/x``, spelt as in PATH_INFO.
    """
    if method in _CHANGING:
        if _is_long_change(path, route_prefix):
            return Lane.WRITER
        if body_bytes > (_MIDDLE_ENCODED_BYTES if encoded else _BULK_BYTES):
            return Lane.GIANT
        if body_bytes > (min(inline_bytes, _SMALL_ENCODED_BYTES) if encoded else inline_bytes):
            return Lane.BULK
        return Lane.INLINE if inline_store else Lane.WRITER
    # A body could be a bomb, whoever it is sent to.
    plain = body_bytes == 0 and not encoded
    if plain and path in (f"{route_prefix}/-/healthy", f"{route_prefix}/-/ready"):
        return Lane.INLINE if inline_store else Lane.HEALTH
    return Lane.POOL


def _is_long_change(path: str, route_prefix: str) -> bool:
    return path.startswith(route_prefix) and path[len(route_prefix) :] in LONG_CHANGES


_FLUSHED_TOGETHER: Final = frozenset({Lane.INLINE, Lane.WRITER})
"""Lanes whose writes share flushes, but for long changes: what they do beside the first change would be done on the
loop, by the second call. What larger bodies leave takes too much memory to wait for a disk that hangs."""

_WAITING_BYTES: Final = 1 << 10
"""As how much a write that waits for a flush counts beside its body."""


class Parts:
    """A large body in the parts in which it was made, and is sent; `len` of it is that of all bytes.

    To put 1.7 MB together takes 0.7 ms, most of it for memory that is not kept.
    """

    __slots__ = ("_size", "parts")

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.parts = parts
        self._size = sum(map(len, parts))

    def __len__(self) -> int:
        return self._size


class Response(NamedTuple):
    """A whole response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes | Parts


class _Job:
    """One call that waits for, or runs in, a thread.

    Attributes:
        call: What to do; None as soon as nobody needs it, so that a body is not kept behind others.
        answer: What came of it.
        begun: Whether a thread has taken it.
        taken: Set when whoever waits for the answer has it, or has gone.
    """

    __slots__ = ("answer", "begun", "call", "taken")

    def __init__(self, call: Callable[[], Response], answer: asyncio.Future[Response]) -> None:
        self.call: Callable[[], Response] | None = call
        self.answer = answer
        self.begun = False
        self.taken = threading.Event()


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

    def submit(self, call: Callable[[], Response]) -> _Job:
        """Queue a call; cancelling its answer before it begins takes it out."""
        job = _Job(call, asyncio.get_running_loop().create_future())
        job.answer.add_done_callback(lambda _: self._finished(job))
        self.unfinished += 1
        self._jobs.put(job)
        return job

    def close(self) -> None:
        """Let the threads end after what is queued; does not wait for them."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _finished(self, job: _Job) -> None:
        self.unfinished -= 1
        job.call = None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, job.begun = job.call, True
            if call is None:
                continue
            outcome: Response | Exception
            try:
                outcome = call()
            except Exception as error:
                # LongWorkError, or what nobody foresaw, such as memory that is short: the lane must outlive it.
                outcome = error
            # RuntimeError: the worker's grace time is over and the loop is closed, so that nobody waits for the answer.
            with contextlib.suppress(RuntimeError):
                job.answer.get_loop().call_soon_threadsafe(_deliver, job.answer, outcome)
                if isinstance(outcome, Response) and len(outcome.body) > _OWNED_BYTES:
                    job.taken.wait()  # else a loop that has much to do would have many of them before it sends one
            del call, job, outcome  # the thread waits next, and should not hold a body meanwhile


def _deliver(answer: asyncio.Future[Response], outcome: Response | Exception) -> None:
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


class Bridge:
    """The ASGI application in front of the WSGI one.

    Make it in the process and for the loop that uses it: it starts threads.

    Args:
        app: The WSGI application. Of `environ` it may use, beside PEP 3333: ``RAW_URI`` (the target as sent),
            ``pushgateway.begun`` (when the request was complete, on the clock of `time.monotonic`),
            ``pushgateway.ticket`` (a `Ticket`, or None: do not wait for other writers and let WouldBlockError pass),
            ``pushgateway.room_bytes`` (if it is there: let LongWorkError pass rather than parse a body that is larger
            when it is decompressed) and ``pushgateway.scratch`` (a dict that survives a second call of the same
            request; ``prepared`` in it says that all that is left to do is the store's part, ``committed`` that even
            that is done) and ``pushgateway.flushes`` (if it is there: commit without a flush and raise UnflushedError;
            for the second call ``unflushed`` is in the scratch if the flush has failed, the error).
        limits: What requests may use.
        threads: Threads of the pool.
        inline_store: `Store.inline`.
        route_prefix: The prefix of all paths, "" or ``/x``.
        giants: What a giant holds while it is worked on, over all workers.
        report: Is told of the answers that are not the application's.
        guard: Says who may come in, before a body is read; None for everybody.
        flush: `Store.flush`, if the writes of small lanes are to share flushes; None leaves each to the application.
        external_url: The URL under which browsers see the gateway; "" if it is not known.
    """

    def __init__(  # noqa: PLR0913 -- what it stands between, which all has names
        self,
        app: WSGIApplication,
        *,
        limits: Limits,
        threads: int,
        inline_store: bool,
        route_prefix: str = "",
        giants: AbstractContextManager[object] = _NOTHING_HELD,
        report: Report = unreported,
        guard: Guard | None = None,
        flush: Callable[[], None] | None = None,
        external_url: str = "",
    ) -> None:
        self.report = report
        self._origins = Origins(external_url)
        self._guard = guard
        self._flusher = None if flush is None else Flusher(flush)
        self._app = app
        self._limits = limits
        self._inline_store = inline_store
        self._giants = giants
        self._giving_back: _Job | None = None
        self._route_prefix = route_prefix.encode().decode("latin-1")
        self._flushing_bytes = 0  # of writes that wait for a flush; what was prepared for them waits, too
        self._waiting_bytes = 0  # bodies of unfinished jobs; those of clients that have gone are counted nowhere else
        self._lanes = {
            Lane.WRITER: _Threads(Lane.WRITER, count=1 if inline_store else threads),
            Lane.BULK: _Threads(Lane.BULK, count=1),
            Lane.GIANT: _Threads(Lane.GIANT, count=1),
            Lane.POOL: _Threads(Lane.POOL, count=threads),
            Lane.HEALTH: _Threads(Lane.HEALTH, count=0 if inline_store else 2),
        }
        # A large body is parsed in its lane before it waits for writers: its time is the request's.
        self._wait_seconds = {
            Lane.WRITER: limits.lock_wait_seconds,
            Lane.BULK: limits.request_seconds,
            Lane.GIANT: limits.request_seconds,
            Lane.POOL: None,
            Lane.HEALTH: None,
        }
        self._room_bytes = {Lane.INLINE: limits.inline_bytes, Lane.BULK: _BULK_BYTES}
        if not inline_store:
            self._room_bytes[Lane.WRITER] = _BULK_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            ValueError: The scope is not one of HTTP.
        """
        if scope["type"] != "http":
            raise ValueError(f"scope {scope['type']!r} is not supported, expected 'http'")
        try:
            response = await self._stopped(scope)
            body = await _whole_body(receive) if response is None else b""
        except asyncio.CancelledError:
            response, body = self._ended(make_environ(scope, b""), _NOTHING_STORED), b""
        if body is None:
            return
        flow: FlowControl | None = scope.get("pushgateway.flow")
        if flow is not None and flow.write_paused:
            # The client does not read its last response: the next one is not made before it does.
            await flow.drain()
        if response is None:
            response = await self._answer(make_environ(scope, body), body)
        headers = self.dress(response.headers)
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})
        if len(body) + len(response.body) > _LARGE_BYTES:
            del body, response
            self._give_memory_back_soon()

    def _give_memory_back_soon(self) -> None:
        if self._giving_back is None or self._giving_back.answer.done():
            self._giving_back = self._lanes[Lane.POOL].submit(_give_memory_back)

    def dress(self, fields: Sequence[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
        """Return the headers of an answer, whoever gives it, with those that the operator has configured."""
        return fields if self._guard is None else self._guard.dress(fields)

    def close(self) -> None:
        """Let the threads end after what is queued; does not wait for them."""
        for threads in self._lanes.values():
            threads.close()
        if self._flusher is not None:
            self._flusher.close()
        if self._guard is not None:
            self._guard.close()

    async def _stopped(self, scope: Scope) -> Response | None:
        """Return the answer of a request whose body is not read, for who or where it comes from."""
        response = None if self._guard is None else await self._stop_at(self._guard, scope)
        if response is None and (problem := self._origins.problem(scope["method"], scope["headers"])):
            return self._stop(scope, 403, "cross_site", problem)
        return response

    async def _stop_at(self, guard: Guard, scope: Scope) -> Response | None:
        """Ask the guard; returns the answer of whoever may not come in."""
        verdict = await guard.admit(scope["headers"])
        if verdict is Verdict.ADMITTED:
            return None
        status, message, more = _STOPPED[verdict]
        retry = 0 if verdict is Verdict.UNAUTHORIZED else _RETRY_AFTER_SECONDS
        return self._stop(scope, status, verdict.value, message, more=more, retry_after_seconds=retry)

    def _stop(
        self,
        scope: Scope,
        status: int,
        word: str,
        message: str,
        *,
        more: tuple[tuple[bytes, bytes], ...] = (),
        retry_after_seconds: int = 0,
    ) -> Response:
        """Answer a request whose body is not asked for."""
        response = self._error(make_environ(scope, b""), status, word, message, retry_after_seconds=retry_after_seconds)
        if any(name in (b"content-length", b"transfer-encoding") and value != b"0" for name, value in scope["headers"]):
            more = (*more, (b"connection", b"close"))  # nobody is going to read that body
        return response._replace(headers=[*response.headers, *more])

    async def _answer(self, environ: Environ, body: bytes) -> Response:
        lane = choose_lane(
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            body_bytes=len(body),
            encoded="HTTP_CONTENT_ENCODING" in environ,
            inline_store=self._inline_store,
            inline_bytes=self._limits.inline_bytes,
            route_prefix=self._route_prefix,
        )
        if lane is Lane.INLINE and environ["REQUEST_METHOD"] in _CHANGING and self._flushing_bytes > _KEPT_BYTES:
            lane = Lane.WRITER  # which then flushes itself, and so keeps others from committing more
        ticket = None if lane is Lane.INLINE else Ticket()
        begun = environ["pushgateway.begun"]
        try:
            if ticket is None:
                try:
                    return await self._call_soon(environ, body, lane)
                except UnflushedError as error:
                    error.__traceback__ = None  # its frames hold the request, and with it what the next call may raise
                    return await self._flushed(environ, body, lane, ticket=None)
                except WouldBlockError as error:
                    lane, ticket = Lane.BULK if isinstance(error, LongWorkError) else Lane.WRITER, Ticket()
            try:
                return await self._in_thread(lane, environ, body, ticket, begun)
            except LongWorkError as error:
                error.__traceback__ = None  # its frames hold the job, which holds it
                return await self._in_thread(Lane.GIANT, environ, body, ticket, begun)
            except UnflushedError as error:
                error.__traceback__ = None  # as above
                return await self._flushed(environ, body, lane, ticket=ticket)
        except asyncio.CancelledError:
            # The worker ends. Raised, it would be a 500 by uvicorn, which means a bug; and what is given up here is not
            # to be done half a second later after all. What is done without a ticket is done, but for its flush.
            undone = "committed" not in environ["pushgateway.scratch"] if ticket is None else ticket.expire()
            return self._ended(environ, _NOTHING_STORED if undone else UNKNOWN_OUTCOME)
        except Exception:
            return self._failed(environ)

    async def _call_soon(self, environ: Environ, body: bytes, lane: Lane) -> Response:
        """Call the application on the loop, and again soon while others write, since most of them are soon through.

        Raises:
            WouldBlockError: The application would have to wait for longer, or for something else.
        """
        for pause_seconds in _PAUSES_SECONDS:
            try:
                return self._call(environ, body, lane, ticket=None)
            except LockedError:
                await asyncio.sleep(pause_seconds)
        return self._call(environ, body, lane, ticket=None)

    async def _flushed(self, environ: Environ, body: bytes, lane: Lane, *, ticket: Ticket | None) -> Response:
        """Let the store be flushed, then the application answer."""
        assert self._flusher is not None  # noqa: S101 - else no call would have been asked to leave the flush
        size = _WAITING_BYTES + len(body)
        self._flushing_bytes += size
        try:
            problem = await self._flusher.flush()
        finally:
            self._flushing_bytes -= size
        if problem is not None:
            environ["pushgateway.scratch"]["unflushed"] = problem
        return self._call(environ, body, lane, ticket=ticket)

    async def _in_thread(self, lane: Lane, environ: Environ, body: bytes, ticket: Ticket, begun: float) -> Response:
        """Answer in a thread of a lane, within the time that the lane allows from `begun` on, if it limits that."""
        threads, wait_seconds = self._lanes[lane], self._wait_seconds[lane]
        if threads.unfinished >= self._limits.waiting_requests:
            return self._refused(environ, LimitError("waiting-requests", allowed=self._limits.waiting_requests))
        if self._waiting_bytes + len(body) > self._limits.buffered_bytes:
            return self._refused(environ, LimitError("buffered-bytes", allowed=self._limits.buffered_bytes))
        self._waiting_bytes += len(body)
        if self._waiting_bytes > _KEPT_BYTES:
            environ["pushgateway.scratch"].pop("prepared", None)
        call = self._call_alone if lane is Lane.GIANT else self._call
        job = threads.submit(lambda: call(environ, body, lane, ticket=ticket))
        try:
            left = None if wait_seconds is None else max(0.0, begun + wait_seconds - time.monotonic())
            await asyncio.wait((job.answer,), timeout=left)
            if job.answer.done() or wait_seconds is None or not ticket.expire():
                return await job.answer
        finally:
            job.answer.cancel()
            job.taken.set()
            self._waiting_bytes -= len(body)
        limit = "lock-wait-seconds" if lane is Lane.WRITER else "request-seconds"
        late = LimitError(limit, allowed=wait_seconds)
        return self._refused(environ, late, late=f"{self._held_up(job, lane, environ)} for {wait_seconds:g} s")

    def _ended(self, environ: Environ, outcome: str) -> Response:
        """Answer 503 to what cannot be finished before the worker's end."""
        message = f"the gateway is ending; {outcome}"
        return self._error(environ, 503, "store_busy", message, retry_after_seconds=_RETRY_AFTER_SECONDS)

    def _held_up(self, job: _Job, lane: Lane, environ: Environ) -> str:
        """Say what a request has waited for."""
        if lane is Lane.WRITER or "prepared" in environ["pushgateway.scratch"]:
            if self._inline_store:
                return "other writers were before this request"
            return "the database did not answer, or other writers were before this request,"
        return "this body was being read" if job.begun else "other large bodies were before this one"

    def _refused(self, environ: Environ, error: LimitError, *, late: str = "") -> Response:
        """Answer 503, after which nothing of the request will ever be stored.

        Args:
            environ: The request.
            error: The limit that it has met.
            late: What it has waited for too long; "" if it was not to wait at all.
        """
        reason = f"{late} (limit {error.limit})" if late else str(error)
        message = f"the gateway is busy: {reason}; {_NOTHING_STORED}"
        return self._error(
            environ,
            503,
            "store_busy" if late else "limit",
            message,
            limit=error,
            retry_after_seconds=_RETRY_AFTER_SECONDS,
        )

    def _failed(self, environ: Environ) -> Response:
        """Answer 500 to the exception that is being handled."""
        return self._error(environ, 500, INTERNAL, "internal server error")

    def _error(
        self,
        environ: Environ,
        status: int,
        word: str,
        message: str,
        *,
        limit: LimitError | None = None,
        retry_after_seconds: int = 0,
    ) -> Response:
        data = {} if limit is None else limit_data(limit.limit, allowed=limit.allowed, seen=limit.seen)
        self.report(
            Refused(
                method=environ["REQUEST_METHOD"],
                path=environ["PATH_INFO"],
                status=status,
                kind=word,
                reason=message,
                source=environ["REMOTE_ADDR"],
                data=data,
                duration_seconds=time.monotonic() - environ["pushgateway.begun"],
            )
        )
        accept = environ.get("HTTP_ACCEPT", "")
        answer = error_answer(status, word, message, accept=accept, data=data, retry_after_seconds=retry_after_seconds)
        return Response(status, wire_headers(answer), answer.body)

    def _call_alone(self, environ: Environ, body: bytes, lane: Lane, *, ticket: Ticket | None) -> Response:
        """Call the application once while no other worker is at work on a giant, then give its memory back."""
        with self._giants:
            try:
                return self._call(environ, body, lane, ticket=ticket)
            finally:
                environ["pushgateway.scratch"].clear()
                give_memory_back()

    def _call(self, environ: Environ, body: bytes, lane: Lane, *, ticket: Ticket | None) -> Response:
        """Call the application once and collect its response.

        Raises:
            LongWorkError: The lane has too little room.
            WouldBlockError: There is no ticket, and the application would have to wait.
        """
        started: list[tuple[str, list[tuple[str, str]]]] = []
        written: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Callable[[bytes], None]:
            started.append((status, headers))
            return written.append

        if lane is Lane.POOL and environ["pushgateway.gone"]():
            return Response(_GONE_STATUS, [], b"")
        call = environ | {"wsgi.input": io.BytesIO(body), "pushgateway.ticket": ticket}
        is_shared = self._flusher is not None and lane in _FLUSHED_TOGETHER
        if lane is Lane.WRITER and self._flushing_bytes > _KEPT_BYTES:
            is_shared = False
        if is_shared and not _is_long_change(environ["PATH_INFO"], self._route_prefix):
            call["pushgateway.flushes"] = True
        if lane in self._room_bytes:
            call["pushgateway.room_bytes"] = self._room_bytes[lane]
        try:
            chunks = self._app(call, start_response)
            try:
                written.extend(chunks)
            finally:
                if (close := getattr(chunks, "close", None)) is not None:
                    close()
            status, fields = started[-1]
            headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]
            return Response(int(status[:3]), headers, _whole(written, headers))
        except WouldBlockError as error:
            if ticket is None or isinstance(error, UnflushedError):
                raise
            if isinstance(error, LongWorkError) and lane in self._room_bytes:
                raise
            return self._failed(environ)
        except Exception:
            return self._failed(environ)


def _whole(written: Sequence[bytes], headers: Sequence[tuple[bytes, bytes]]) -> bytes | Parts:
    """Put a body together, unless it is large; of one without a length the server makes chunks, and needs it whole."""
    if sum(map(len, written)) > _OWNED_BYTES and len(written) > 1 and any(name == _LENGTH for name, _ in headers):
        return Parts(written)
    return b"".join(written)


def _give_memory_back() -> Response:
    give_memory_back()
    return Response(204, [], b"")


def _stays() -> bool:
    return False


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
        "pushgateway.begun": time.monotonic(),
        "pushgateway.scratch": {},
        "pushgateway.gone": scope.get("pushgateway.gone", _stays),
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


def wire_headers(answer: ErrorAnswer) -> list[tuple[bytes, bytes]]:
    """Return an error's headers as ASGI wants them, with its length."""
    fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    return [*fields, (b"content-length", b"%d" % len(answer.body))]
