"""Which lane answers a request, and what happens when it has to wait, to move on or to give up?

Long, since every lane and deadline is tested against the same small applications and the same clockwork.
"""

from __future__ import annotations

import asyncio
import json
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from pushgateway import bridge as bridge_module
from pushgateway.bridge import Bridge, Lane, Parts, choose_lane, make_environ
from pushgateway.config import Limits
from pushgateway.errors import InconsistentPushError, LockedError, LongWorkError, UnflushedError, WouldBlockError
from pushgateway.guard import Verdict
from pushgateway.storage.base import Ticket
from pushgateway.web.answers import Refused
from tests.collector import collector_off

Environ = dict[str, Any]
View = Callable[[Environ], bytes]

LIMITS = Limits(inline_bytes=100, lock_wait_seconds=0.05, waiting_requests=2)


@dataclass
class Answer:
    """What the bridge has sent."""

    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.messages[0]["status"]

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case."""
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(message["body"] for message in self.messages[1:])


def scope_of(method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> dict[str, Any]:
    """Make the scope of a request as uvicorn does."""
    path, _, query = target.partition(b"?")
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "raw_path": path,
        "query_string": query,
        "headers": list(headers),
        "server": ("127.0.0.1", 9091),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
    }


async def ask(
    bridge: Bridge,
    method: str = "POST",
    target: bytes = b"/metrics/job/a",
    *,
    pieces: Iterable[bytes] = (b"x 1\n",),
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> Answer:
    """Send one request, its body in pieces, and collect the answer."""
    answer = Answer()
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: Any) -> None:
        answer.messages.append(message)

    await bridge(scope_of(method, target, headers), receive, send)
    return answer


def application(view: View) -> Callable[[Environ, Callable[..., Any]], Iterable[bytes]]:
    """Make a WSGI application that answers 200 with what `view` returns."""

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = view(environ)
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    return app


@contextmanager
def bridged(
    view: View, *, limits: Limits = LIMITS, inline_store: bool = True, flush: Callable[[], None] | None = None
) -> Iterator[Bridge]:
    """Make a bridge to a view, and end its threads afterwards."""
    bridge = Bridge(application(view), limits=limits, threads=2, inline_store=inline_store, flush=flush)
    yield bridge
    bridge.close()


def run(talk: Awaitable[Any]) -> Any:
    """Run a coroutine; no test here takes longer than a deadline of the bridge."""
    return asyncio.run(asyncio.wait_for(talk, 10))


@pytest.mark.parametrize(
    ("method", "path", "body_bytes", "encoded", "inline_store", "lane"),
    [
        ("POST", "/metrics/job/a", 100, False, True, Lane.INLINE),
        ("PUT", "/metrics/job/a", 0, False, True, Lane.INLINE),
        ("DELETE", "/metrics/job/a", 0, False, True, Lane.INLINE),
        ("POST", "/x/metrics/job/a", 100, False, True, Lane.INLINE),
        ("POST", "//metrics//job/a", 100, False, True, Lane.INLINE),
        ("POST", "/-/healthy", 0, False, True, Lane.INLINE),
        ("PUT", "/-/quit", 0, False, True, Lane.INLINE),
        ("POST", "/metrics/job/a", 101, False, True, Lane.BULK),
        ("PUT", "/metrics/job/a", 101, False, False, Lane.BULK),
        ("POST", "/metrics/job/a", 1 << 20, False, True, Lane.BULK),
        ("POST", "/metrics/job/a", (1 << 20) + 1, False, True, Lane.GIANT),
        ("POST", "/metrics/job/a", 100, True, True, Lane.INLINE),
        ("POST", "/metrics/job/a", 101, True, True, Lane.BULK),
        ("POST", "/metrics/job/a", 1, True, False, Lane.WRITER),
        ("POST", "/metrics/job/a", 1 << 16, True, True, Lane.BULK),
        ("POST", "/metrics/job/a", (1 << 16) + 1, True, True, Lane.GIANT),
        ("DELETE", "/metrics/job/a", (1 << 16) + 1, True, True, Lane.GIANT),
        ("PUT", "/api/v1/admin/wipe", 101, False, True, Lane.WRITER),
        ("PUT", "/metrics/job/a/admin/wipe", 0, False, True, Lane.INLINE),
        ("PUT", "/api/v1/admin/wipe", 0, False, True, Lane.WRITER),
        ("POST", "/status/wipe", 25, False, True, Lane.WRITER),
        ("POST", "/groups/delete", 25, False, True, Lane.WRITER),
        ("GET", "/groups", 0, False, True, Lane.POOL),
        ("GET", "/api/v1/groups", 0, False, True, Lane.POOL),
        ("PUT", "/x/api/v1/admin/wipe", 0, False, True, Lane.INLINE),
        ("PUT", "/metrics/job/a", 0, False, False, Lane.WRITER),
        ("GET", "/-/healthy", 0, False, True, Lane.INLINE),
        ("GET", "/-/ready", 0, False, True, Lane.INLINE),
        ("HEAD", "/-/ready", 0, False, True, Lane.INLINE),
        ("GET", "/-/healthy", 0, False, False, Lane.HEALTH),
        ("GET", "/-/ready", 0, False, False, Lane.HEALTH),
        ("GET", "/-/ready", 0, True, False, Lane.POOL),
        ("GET", "/-/ready", 1, False, False, Lane.POOL),
        ("GET", "/x/-/ready", 0, False, True, Lane.POOL),
        ("GET", "/-/healthy", 1, False, True, Lane.POOL),
        ("GET", "/-/healthy", 0, True, True, Lane.POOL),
        ("FOO", "/metrics/job/a/-/healthy", 0, True, True, Lane.POOL),
        ("GET", "/metrics", 0, False, True, Lane.POOL),
        ("GET", "/metrics/job/a", 0, False, True, Lane.POOL),
        ("GET", "/api/v1/admin/wipe", 0, False, True, Lane.POOL),
        ("OPTIONS", "/api/v1/status", 0, False, True, Lane.POOL),
        ("FOO", "/metrics/job/a", 1000, False, True, Lane.POOL),
    ],
)
def test_lanes(method: str, path: str, body_bytes: int, encoded: bool, inline_store: bool, lane: Lane) -> None:
    """Small writes and health run inline, large bodies in bulk or with the giants, wipes with the writers.

    No path but the exact one of health, and no body sent there, brings a read onto the loop, or into the thread that
    health has where the store may not be called on the loop.
    """
    chosen = choose_lane(
        method, path, body_bytes=body_bytes, encoded=encoded, inline_store=inline_store, inline_bytes=100
    )
    assert chosen is lane


@pytest.mark.parametrize(
    ("method", "path", "lane"),
    [
        ("PUT", "/x/api/v1/admin/wipe", Lane.WRITER),
        ("PUT", "/api/v1/admin/wipe", Lane.INLINE),
        ("GET", "/x/-/healthy", Lane.INLINE),
        ("GET", "/-/healthy", Lane.POOL),
    ],
)
def test_lanes_behind_a_prefix(method: str, path: str, lane: Lane) -> None:
    """With a route prefix, wipes and health are known by their whole paths."""
    chosen = choose_lane(
        method, path, body_bytes=0, encoded=False, inline_store=True, inline_bytes=100, route_prefix="/x"
    )
    assert chosen is lane


def test_small_write_runs_on_the_loop() -> None:
    """A small write is called on the loop's own thread, without a ticket, with its body whole."""
    seen: list[tuple[object, object, bytes]] = []

    def view(environ: Environ) -> bytes:
        seen.append((threading.current_thread(), environ["pushgateway.ticket"], environ["wsgi.input"].read()))
        return b"done"

    with bridged(view) as bridge:
        answer = run(ask(bridge, pieces=[b"x ", b"", b"1\n"]))
    assert (answer.status, answer.body) == (200, b"done")
    assert seen == [(threading.main_thread(), None, b"x 1\n")]


def test_whoever_would_block_comes_again_in_the_writer_thread() -> None:
    """A write that finds the lock taken is called again in the writer's thread, with a ticket, its scratch and body."""
    calls: list[tuple[str, bool, bytes, object]] = []

    def view(environ: Environ) -> bytes:
        ticket = environ["pushgateway.ticket"]
        scratch = environ["pushgateway.scratch"]
        name = threading.current_thread().name
        calls.append((name, ticket is None, environ["wsgi.input"].read(), scratch.get("kept")))
        if ticket is None:
            scratch["kept"] = "prepared"
            environ["left.behind"] = True
            raise WouldBlockError("taken")
        assert "left.behind" not in environ
        assert ticket.claim()
        return b"late"

    with bridged(view) as bridge:
        answer = run(ask(bridge))
    assert answer.body == b"late"
    assert calls == [("MainThread", True, b"x 1\n", None), ("writer-0", False, b"x 1\n", "prepared")]


@pytest.mark.parametrize(
    ("turns", "calls"),
    [
        (3, ["MainThread"] * 4),
        (99, ["MainThread"] * (1 + len(bridge_module._PAUSES_SECONDS)) + ["writer-0"]),
    ],
)
def test_a_write_tries_again_while_another_writes(
    monkeypatch: pytest.MonkeyPatch, turns: int, calls: list[str]
) -> None:
    """While the lock is taken the loop tries again a few times, serving others meanwhile; then a thread waits."""
    monkeypatch.setattr(bridge_module, "_PAUSES_SECONDS", (0,) * len(bridge_module._PAUSES_SECONDS))
    called: list[str] = []

    def view(environ: Environ) -> bytes:
        if environ["REQUEST_METHOD"] == "GET":
            called.append("health")
            return b""
        called.append(threading.current_thread().name)
        if environ["pushgateway.ticket"] is None and called.count("MainThread") <= turns:
            raise LockedError("taken")
        return b"stored"

    async def talk(bridge: Bridge) -> list[bytes]:
        answers = await asyncio.gather(ask(bridge), ask(bridge, "GET", b"/-/healthy", pieces=(b"",)))
        return [answer.body for answer in answers]

    with bridged(view) as bridge:
        assert run(talk(bridge)) == [b"stored", b""]
    assert called[1] == "health"
    assert [name for name in called if name != "health"] == calls


def test_the_end_of_the_worker_before_a_write_has_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that is cancelled between two tries is 503, says that nothing was stored, and does not try again."""
    monkeypatch.setattr(bridge_module, "_PAUSES_SECONDS", (60,))
    called: list[str] = []

    def view(environ: Environ) -> bytes:
        called.append(environ["PATH_INFO"])
        raise LockedError("taken")

    async def talk(bridge: Bridge) -> Answer:
        asking = asyncio.ensure_future(ask(bridge))
        while not called:
            await asyncio.sleep(0)
        asking.cancel()
        return await asking

    with bridged(view) as bridge:
        answer = run(talk(bridge))
    assert (answer.status, answer.body) == (503, b"the gateway is ending; nothing was stored, try again\n")
    assert len(called) == 1


def test_deadline_passes_while_waiting() -> None:
    """A write that is still waiting when its time is up is answered 503 with Retry-After, and can never be claimed."""
    tickets: list[Ticket] = []
    release = threading.Event()

    def view(environ: Environ) -> bytes:
        if environ["pushgateway.ticket"] is None:
            raise WouldBlockError("taken")
        tickets.append(environ["pushgateway.ticket"])
        release.wait(10)
        return b"too late"

    with bridged(view) as bridge:
        answer = run(ask(bridge))
        release.set()
    assert answer.status == 503
    assert answer.headers["retry-after"].isdigit()
    assert b"nothing was stored" in answer.body
    assert [ticket.claim() for ticket in tickets] == [False]


def test_deadline_passes_while_writing() -> None:
    """A write that has begun when its time is up is awaited, and its own answer is sent."""
    release = threading.Event()

    def view(environ: Environ) -> bytes:
        ticket = environ["pushgateway.ticket"]
        if ticket is None:
            raise WouldBlockError("taken")
        assert ticket.claim()
        release.wait(10)
        return b"stored"

    async def talk(bridge: Bridge) -> Answer:
        asking = asyncio.ensure_future(ask(bridge))
        done, _ = await asyncio.wait([asking], timeout=4 * LIMITS.lock_wait_seconds)
        assert not done
        release.set()
        return await asking

    with bridged(view) as bridge:
        assert run(talk(bridge)).body == b"stored"


def test_expired_writes_are_not_called() -> None:
    """A write whose time was up before its turn in the thread is never handed to the application."""
    release = threading.Event()
    called: list[str] = []

    def view(environ: Environ) -> bytes:
        if environ["pushgateway.ticket"] is None:
            raise WouldBlockError("taken")
        called.append(environ["PATH_INFO"])
        release.wait(10)
        return b""

    async def talk(bridge: Bridge) -> list[Answer]:
        answers = await asyncio.gather(ask(bridge, target=b"/first"), ask(bridge, target=b"/second"))
        release.set()
        return [*answers, await ask(bridge, target=b"/third")]

    with bridged(view) as bridge:
        assert [answer.status for answer in run(talk(bridge))] == [503, 503, 200]
    assert called == ["/first", "/third"]


def test_too_many_wait() -> None:
    """When as many requests wait as may, the next one is answered 503 at once."""
    release = threading.Event()

    def view(environ: Environ) -> bytes:
        if environ["pushgateway.ticket"] is None:
            raise WouldBlockError("taken")
        environ["pushgateway.ticket"].claim()
        release.wait(10)
        return b""

    async def talk(bridge: Bridge) -> list[int]:
        waiting = [asyncio.ensure_future(ask(bridge)) for _ in range(LIMITS.waiting_requests)]
        await asyncio.sleep(0)
        refused = await ask(bridge)
        release.set()
        return [refused.status, *[(await asking).status for asking in waiting]]

    with bridged(view, limits=LIMITS._replace(lock_wait_seconds=10)) as bridge:
        assert run(talk(bridge)) == [503, 200, 200]


def test_reads_do_not_wait_for_writers() -> None:
    """Health and reads are answered while every thread for writes is stuck."""
    release = threading.Event()

    def view(environ: Environ) -> bytes:
        if environ["REQUEST_METHOD"] == "POST":
            if environ["pushgateway.ticket"] is None:
                raise WouldBlockError("taken")
            environ["pushgateway.ticket"].claim()
            release.wait(10)
        return threading.current_thread().name.encode()

    async def talk(bridge: Bridge) -> tuple[bytes, bytes]:
        writes = [asyncio.ensure_future(ask(bridge)), asyncio.ensure_future(ask(bridge, pieces=[b"x" * 101]))]
        health = await ask(bridge, "GET", b"/-/healthy", pieces=[b""])
        scrape = await ask(bridge, "GET", b"/metrics", pieces=[b""])
        release.set()
        await asyncio.gather(*writes)
        return health.body, scrape.body

    with bridged(view, limits=LIMITS._replace(lock_wait_seconds=10)) as bridge:
        health, scrape = run(talk(bridge))
    assert health == b"MainThread"
    assert scrape.startswith(b"pool-")


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_unexpected_errors(method: str) -> None:
    """An exception of the application is answered 500 in one sentence, inline and in threads."""

    def view(environ: Environ) -> bytes:
        raise ZeroDivisionError("secret")

    with bridged(view) as bridge:
        answer = run(ask(bridge, method))
    assert (answer.status, answer.body) == (500, b"internal server error\n")


def test_chunks_and_close() -> None:
    """The response's chunks go out as one message, and the application's iterable is closed."""
    closed: list[bool] = []

    class Chunks:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"a", b"", b"b"])

        def close(self) -> None:
            closed.append(True)

    def app(_: Environ, start_response: Callable[..., Any]) -> Chunks:
        start_response("202 Accepted", [("X-Odd", "é")])(b"0")
        return Chunks()

    bridge = Bridge(app, limits=LIMITS, threads=1, inline_store=True)  # type: ignore[arg-type]
    answer = run(ask(bridge))
    bridge.close()
    assert len(answer.messages) == 2
    assert (answer.status, answer.body, closed) == (202, b"0ab", [True])
    assert answer.messages[0]["headers"] == [(b"x-odd", b"\xe9")]


def test_client_leaves_before_the_body_is_complete() -> None:
    """A request whose client leaves halfway is never handed to the application."""
    called: list[Environ] = []
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"x 1\n", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        raise AssertionError(message)

    with bridged(lambda environ: called.append(environ) or b"") as bridge:
        run(bridge(scope_of("PUT", b"/metrics/job/a"), receive, send))
    assert called == []


def test_other_scopes() -> None:
    """Anything but HTTP is refused."""
    with bridged(lambda _: b"") as bridge, pytest.raises(ValueError, match="websocket"):
        run(bridge({"type": "websocket"}, None, None))  # type: ignore[arg-type]


def test_environ() -> None:
    """The environ is PEP 3333's: decoded bytes as latin-1, headers joined with commas, the raw target beside."""
    scope = scope_of(
        "PUT",
        b"/metrics/job/%C3%BC%FF%2Fx?a=%20b",
        [
            (b"host", b"example.org"),
            (b"content-type", b"text/plain"),
            (b"content-length", b"999"),
            (b"accept", b"a"),
            (b"accept", b"b"),
            (b"x-own-header", b"\xe9"),
            (b"x_own_header", b"spoofed"),
        ],
    )
    environ = make_environ(scope, b"body")
    expected = {
        "REQUEST_METHOD": "PUT",
        "PATH_INFO": b"/metrics/job/\xc3\xbc\xff/x".decode("latin-1"),
        "QUERY_STRING": "a=%20b",
        "RAW_URI": "/metrics/job/%C3%BC%FF%2Fx?a=%20b",
        "CONTENT_LENGTH": "4",
        "CONTENT_TYPE": "text/plain",
        "HTTP_HOST": "example.org",
        "HTTP_ACCEPT": "a,b",
        "HTTP_X_OWN_HEADER": "é",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "9091",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "SCRIPT_NAME": "",
    }
    assert {name: environ[name] for name in expected} == expected
    assert "pushgateway.ticket" not in environ


def test_environ_of_a_unix_socket() -> None:
    """A request over a socket without addresses has empty ones."""
    scope = scope_of("GET", b"/") | {"server": ("/run/x", None), "client": None}
    environ = make_environ(scope, b"")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["REMOTE_ADDR"]) == ("/run/x", "", "")


def test_whoever_needs_more_room_comes_again_in_the_next_lane() -> None:
    """A body that turns out to be long is called again, with more room, until it is with the giants."""
    calls: list[tuple[str, object]] = []

    def view(environ: Environ) -> bytes:
        room = environ.get("pushgateway.room_bytes")
        calls.append((threading.current_thread().name, room))
        if room is not None:
            raise LongWorkError("a bomb")
        return b"taken"

    with bridged(view) as bridge:
        assert run(ask(bridge)).body == b"taken"
    assert calls == [("MainThread", 100), ("bulk-0", 1 << 20), ("giant-0", None)]


def test_the_time_of_a_request_is_for_all_its_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that comes to the giants after it has waited in another lane has only the rest of its time there."""
    release = threading.Event()
    clock = [0.0]
    monkeypatch.setattr(bridge_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def view(environ: Environ) -> bytes:
        if "pushgateway.room_bytes" in environ:
            clock[0] += 60
            raise LongWorkError("a bomb")
        release.wait(20)
        return b""

    with bridged(view, limits=LIMITS._replace(request_seconds=60)) as bridge:
        assert run(ask(bridge, pieces=[bytes(5000)])).status == 503
        release.set()


def test_small_bodies_do_not_wait_for_giants() -> None:
    """While a giant is being parsed and others wait behind it, large and compressed bodies are answered."""
    release = threading.Event()

    def view(environ: Environ) -> bytes:
        if threading.current_thread().name.startswith("giant"):
            release.wait(10)
        return b"done"

    async def talk(bridge: Bridge) -> list[int]:
        giants = [asyncio.ensure_future(ask(bridge, pieces=[bytes((1 << 20) + 1)])) for _ in range(2)]
        await asyncio.sleep(0)
        encoded = [(b"content-encoding", b"gzip")]
        answers = [await ask(bridge, pieces=[bytes(size)], headers=encoded) for size in (50, 5000)]
        answers.append(await ask(bridge, pieces=[bytes(5000)]))
        assert not any(giant.done() for giant in giants)
        release.set()
        return [answer.status for answer in [*answers, *[await giant for giant in giants]]]

    with bridged(view) as bridge:
        assert run(talk(bridge)) == [200] * 5


def test_what_was_answered_for_lateness_can_stop() -> None:
    """A request that is still being parsed when its time is up is answered 503 that says so, and can stop."""
    stopped = threading.Event()

    def view(environ: Environ) -> bytes:
        while not environ["pushgateway.ticket"].expired:
            threading.Event().wait(0.001)
        stopped.set()
        return b"in vain"

    with bridged(view, limits=LIMITS._replace(request_seconds=0.05)) as bridge:
        answer = run(ask(bridge, pieces=[bytes(5000)]))
        assert stopped.wait(10)
    assert (answer.status, b"this body was being read for 0.05 s" in answer.body) == (503, True)


def test_lateness_has_its_reason() -> None:
    """A 503 tells a body that waited for other bodies from one that waited for other writers."""
    release = threading.Event()

    def view(environ: Environ) -> bytes:
        environ["pushgateway.scratch"]["prepared"] = True
        release.wait(10)
        return b""

    async def talk(bridge: Bridge) -> list[bytes]:
        answers = await asyncio.gather(*[ask(bridge, pieces=[bytes(5000)]) for _ in range(2)])
        release.set()
        return [answer.body for answer in answers]

    with bridged(view, limits=LIMITS._replace(request_seconds=0.05)) as bridge:
        first, second = run(talk(bridge))
    assert b"other writers were before this request" in first
    assert b"other large bodies were before this one" in second


def test_prepared_pushes_that_wait_are_not_kept_without_limit() -> None:
    """Beyond a few megabytes of waiting bodies what was prepared is dropped, and made again in its turn."""
    release = threading.Event()
    prepared: list[bool] = []

    def view(environ: Environ) -> bytes:
        if environ["pushgateway.ticket"] is None:
            environ["pushgateway.scratch"]["prepared"] = True
            raise WouldBlockError("taken")
        release.wait(10)
        prepared.append("prepared" in environ["pushgateway.scratch"])
        return b""

    async def talk(bridge: Bridge) -> None:
        asking = [asyncio.ensure_future(ask(bridge, pieces=[bytes(1 << 20)])) for _ in range(4)]
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(*asking)

    limits = LIMITS._replace(inline_bytes=1 << 20, lock_wait_seconds=10, waiting_requests=10)
    with bridged(view, limits=limits) as bridge:
        run(talk(bridge))
    assert prepared == [True, True, False, False]


def test_giants_are_alone_and_give_their_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A giant holds what it was told to hold, and when it is done its memory is given back; others do neither."""
    events: list[str] = []

    class Held:
        def __enter__(self) -> None:
            events.append("held")

        def __exit__(self, *_: object) -> None:
            events.append("let go")

    def view(environ: Environ) -> bytes:
        events.append("worked")
        return b""

    async def talk(bridge: Bridge) -> None:
        await ask(bridge, pieces=[bytes((1 << 20) + 1)])
        await ask(bridge, pieces=[bytes(5000)])

    monkeypatch.setattr(bridge_module, "give_memory_back", lambda: events.append("given back"))
    bridge = Bridge(application(view), limits=LIMITS, threads=1, inline_store=True, giants=Held())
    run(talk(bridge))
    bridge.close()
    assert events == ["held", "worked", "given back", "let go", "worked"]


def test_a_lane_outlives_whatever_happens_in_it() -> None:
    """What fails beside the application, as a lock that cannot be had, is answered 500, and the next is served."""
    problems = [OSError("no locks left"), None]

    class Held:
        def __enter__(self) -> None:
            if (problem := problems.pop(0)) is not None:
                raise problem

        def __exit__(self, *_: object) -> None:
            pass

    reported: list[Refused] = []

    async def talk(bridge: Bridge) -> None:
        answers = [await ask(bridge, pieces=[bytes((1 << 20) + 1)]) for _ in range(2)]
        assert [answer.status for answer in answers] == [500, 200]

    bridge = Bridge(
        application(lambda _: b""), limits=LIMITS, threads=1, inline_store=True, giants=Held(), report=reported.append
    )
    run(talk(bridge))
    bridge.close()
    assert [(one.status, one.kind) for one in reported] == [(500, "internal")]


def test_the_memory_of_large_bodies_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a large response, too, memory is given back, when the client has it."""
    given_back = threading.Event()
    monkeypatch.setattr(bridge_module, "give_memory_back", given_back.set)

    async def talk(bridge: Bridge) -> None:
        await ask(bridge, "GET", b"/metrics", pieces=[b""])
        assert await asyncio.to_thread(given_back.wait, 10)

    with bridged(lambda _: bytes(5 << 20)) as bridge:
        run(talk(bridge))


@pytest.mark.parametrize(
    ("sizes", "with_length", "in_parts"),
    [((200_000, 100_000), True, True), ((300_000,), True, False), ((9, 9), True, False), ((300_000, 9), False, False)],
)
def test_a_large_body_in_parts_is_not_put_together(sizes: Sequence[int], *, with_length: bool, in_parts: bool) -> None:
    """It goes on as it is, all of it as one body; but small ones, and those that the server has to cut into chunks."""
    parts = [bytes([65 + at]) * size for at, size in enumerate(sizes)]

    def app(_: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(sum(sizes)))] if with_length else [])
        return parts

    async def talk(bridge: Bridge) -> Any:
        return (await ask(bridge, "GET", b"/metrics", pieces=[b""])).messages[1:]

    bridge = Bridge(app, limits=LIMITS, threads=1, inline_store=True)
    (message,) = run(talk(bridge))
    bridge.close()
    body = message["body"]
    assert len(body) == sum(sizes)
    assert isinstance(body, Parts) is in_parts
    assert (b"".join(body.parts) if isinstance(body, Parts) else body) == b"".join(parts)


def test_a_client_that_does_not_read_gets_no_next_response_made() -> None:
    """A request on a connection whose last response is not read waits until it is."""
    made = threading.Event()
    readable = asyncio.Event()
    flow = SimpleNamespace(write_paused=True, drain=readable.wait)

    def view(_: Environ) -> bytes:
        made.set()
        return b""

    async def talk(bridge: Bridge) -> None:
        scope = scope_of("GET", b"/metrics") | {"pushgateway.flow": flow}
        answer = Answer()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            answer.messages.append(message)

        asking = asyncio.ensure_future(bridge(scope, receive, send))
        await ask(bridge, "GET", b"/-/healthy", pieces=[b""])
        made.clear()
        assert not asking.done()
        readable.set()
        await asking
        assert made.is_set()
        assert answer.status == 200

    with bridged(view) as bridge:
        run(talk(bridge))


def test_a_thread_makes_no_large_response_before_its_last_one_is_on_its_way() -> None:
    """A loop that is busy finds one large response a thread, however many requests wait; small ones do not wait."""
    made: list[bytes] = []
    both = threading.Barrier(2, timeout=10)

    def view(environ: Environ) -> bytes:
        made.append(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/large" and len(made) < 3:
            both.wait()
        return bytes(1 << 20) if environ["PATH_INFO"] == "/large" else b""

    async def talk(bridge: Bridge) -> None:
        asking = [asyncio.ensure_future(ask(bridge, "GET", b"/large", pieces=[b""])) for _ in range(6)]
        await asyncio.sleep(0)
        # The loop is busy, and the threads could have made all of them long ago.
        for _ in range(100):
            threading.Event().wait(0.001)
        assert len(made) == 2
        assert [answer.status for answer in await asyncio.gather(*asking)] == [200] * 6

    with bridged(view, limits=LIMITS._replace(waiting_requests=10)) as bridge:
        run(talk(bridge))


def test_waiting_bodies_are_limited() -> None:
    """Bodies that wait count together, whoever waits for them; beyond the limit the next is answered 503."""
    release = threading.Event()

    def view(environ: Environ) -> bytes:
        release.wait(10)
        return b""

    async def talk(bridge: Bridge) -> list[int]:
        waiting = asyncio.ensure_future(ask(bridge, pieces=[bytes(600)]))
        await asyncio.sleep(0)
        refused = await ask(bridge, pieces=[bytes(600)])
        assert b"limit buffered-bytes exceeded" in refused.body
        release.set()
        return [refused.status, (await waiting).status, (await ask(bridge, pieces=[bytes(600)])).status]

    with bridged(view, limits=LIMITS._replace(buffered_bytes=1000)) as bridge:
        assert run(talk(bridge)) == [503, 200, 200]


def test_own_answers_are_reported_and_json_when_asked_for() -> None:
    """What the bridge answers by itself is reported with all that is known, and is JSON for those who want it."""
    reported: list[Refused] = []

    def view(environ: Environ) -> bytes:
        raise ZeroDivisionError if environ["REQUEST_METHOD"] == "GET" else WouldBlockError("taken")

    limits = LIMITS._replace(waiting_requests=0)
    bridge = Bridge(application(view), limits=limits, threads=1, inline_store=True, report=reported.append)
    answer = run(ask(bridge, headers=[(b"accept", b"application/json")]))
    bridge.close()
    assert answer.headers["content-type"] == "application/json"
    told = json.loads(answer.body)
    (refused,) = reported
    assert refused.duration_seconds > 0
    assert refused._replace(duration_seconds=0) == Refused(
        method="POST",
        path="/metrics/job/a",
        status=503,
        kind="limit",
        reason=told["error"],
        source="127.0.0.1",
        data={"limit": "waiting-requests", "allowed": 0},
    )
    assert (told["errorType"], told["limit"], told["allowed"]) == ("limit", "waiting-requests", 0)


@pytest.mark.parametrize(
    ("begun", "outcome"),
    [(False, b"nothing was stored, try again"), (True, b"whether the change was stored is unknown")],
)
def test_what_the_end_of_the_worker_cuts_off(*, begun: bool, outcome: bytes) -> None:
    """What is cancelled at the end of a worker's grace is 503, says what is known, and is not applied later."""
    tickets: list[Ticket] = []
    arrived, release = threading.Event(), threading.Event()

    def view(environ: Environ) -> bytes:
        if environ["pushgateway.ticket"] is None:
            raise WouldBlockError("taken")
        tickets.append(environ["pushgateway.ticket"])
        assert not begun or tickets[0].claim()
        arrived.set()
        release.wait(10)
        return b""

    async def talk(bridge: Bridge) -> None:
        asking = asyncio.ensure_future(ask(bridge))
        await asyncio.to_thread(arrived.wait, 10)
        asking.cancel()
        answer = await asking
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.body == b"the gateway is ending; " + outcome + b"\n"

    with bridged(view, limits=LIMITS._replace(lock_wait_seconds=10)) as bridge:
        run(talk(bridge))
        release.set()
    assert [ticket.claim() for ticket in tickets] == [False]


@pytest.mark.parametrize("waits_for", ["guard", "body"])
def test_the_end_of_the_worker_before_a_request_is_complete(waits_for: str) -> None:
    """Whose password is being checked, or whose body is not whole, when the worker ends, is 503: nothing was stored."""

    async def talk() -> None:
        arrived, answer = asyncio.Event(), Answer()

        async def wait() -> Any:
            arrived.set()
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            answer.messages.append(message)

        guard: Any = SimpleNamespace(admit=lambda _: wait(), dress=lambda fields: fields, close=lambda: None)
        bridge = Bridge(
            application(lambda _: b"stored"),
            limits=LIMITS,
            threads=1,
            inline_store=True,
            guard=guard if waits_for == "guard" else None,
        )
        asking = asyncio.ensure_future(bridge(scope_of("POST", b"/metrics/job/a"), wait, send))
        await arrived.wait()
        asking.cancel()
        await asking
        bridge.close()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.body == b"the gateway is ending; nothing was stored, try again\n"

    run(talk())


class Doorkeeper:
    """A guard that says what the test wants."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.closed = False

    async def admit(self, headers: Any) -> Verdict:
        """Say it."""
        return self.verdict

    def dress(self, fields: Any) -> Any:
        """Add a header."""
        return [*fields, (b"x-frame-options", b"deny")]

    def close(self) -> None:
        """Note it."""
        self.closed = True


@pytest.mark.parametrize(
    ("verdict", "status", "body", "more"),
    [
        (Verdict.UNAUTHORIZED, 401, b"Unauthorized\n", {"www-authenticate": "Basic"}),
        (Verdict.THROTTLED, 429, b"Too Many Requests\n", {"retry-after": "1"}),
        (Verdict.BUSY, 503, b"too many passwords wait", {"retry-after": "1"}),
    ],
)
@pytest.mark.parametrize("length", [b"", b"0", b"4"])
def test_the_guard_comes_before_the_body(
    verdict: Verdict, status: int, body: bytes, more: dict[str, str], length: bytes
) -> None:
    """Who may not come in is answered before a body is read, and the connection closed if there is one."""
    guard: Any = Doorkeeper(verdict)
    reported: list[Refused] = []
    bridge = Bridge(
        application(lambda _: b""), limits=LIMITS, threads=1, inline_store=True, report=reported.append, guard=guard
    )
    headers = [(b"content-length", length)] if length else []
    answer = run(ask(bridge, pieces=(), headers=headers))
    bridge.close()
    assert answer.status == status
    assert body in answer.body
    assert more.items() <= answer.headers.items()
    assert answer.headers["x-frame-options"] == "deny"
    assert ("connection" in answer.headers) is (length == b"4")
    assert [(one.status, one.kind, one.path) for one in reported] == [(status, verdict.value, "/metrics/job/a")]
    assert guard.closed


@pytest.mark.parametrize("admitted", [True, False])
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_pages_of_other_sites_change_nothing(method: str, admitted: bool) -> None:
    """A change for a page of another site is answered before its body is read, and reported; passwords come first."""
    guard: Any = Doorkeeper(Verdict.ADMITTED if admitted else Verdict.UNAUTHORIZED)
    reported: list[Refused] = []
    bridge = Bridge(
        application(lambda _: b"in"), limits=LIMITS, threads=1, inline_store=True, report=reported.append, guard=guard
    )
    headers = [(b"sec-fetch-site", b"cross-site"), (b"content-length", b"4")]
    answer = run(ask(bridge, method, b"/-/any", pieces=(), headers=headers))
    bridge.close()
    assert answer.status == (403 if admitted else 401)
    assert answer.headers["connection"] == "close"
    assert "retry-after" not in answer.headers
    assert [(one.status, one.kind, one.path) for one in reported] == [
        (answer.status, "cross_site" if admitted else "unauthorized", "/-/any")
    ]


def test_pages_of_other_sites_may_read() -> None:
    """A read for a page of another site reaches the application, and so does a change for one of the external URL."""
    bridge = Bridge(
        application(lambda _: b"in"), limits=LIMITS, threads=1, inline_store=True, external_url="https://a.example/x"
    )
    read = run(ask(bridge, "GET", headers=[(b"sec-fetch-site", b"cross-site")]))
    change = run(ask(bridge, "POST", headers=[(b"origin", b"https://a.example")]))
    bridge.close()
    assert [(one.status, one.body) for one in (read, change)] == [(200, b"in")] * 2


def test_whom_the_guard_admits() -> None:
    """Who may come in is answered by the application, with the headers that every answer gets."""
    guard: Any = Doorkeeper(Verdict.ADMITTED)
    bridge = Bridge(application(lambda _: b"in"), limits=LIMITS, threads=1, inline_store=True, guard=guard)
    answer = run(ask(bridge))
    bridge.close()
    assert (answer.status, answer.body) == (200, b"in")
    assert answer.headers["x-frame-options"] == "deny"


@pytest.mark.parametrize(("method", "carried_out"), [("GET", False), ("POST", True)])
def test_clients_that_have_gone_before_their_turn(method: str, *, carried_out: bool) -> None:
    """A read for which nobody waits any more is not made, so that it keeps no other waiting; a push is stored."""
    called: list[str] = []

    def view(environ: Environ) -> bytes:
        called.append(environ["PATH_INFO"])
        return b""

    async def send(_: Any) -> None:
        pass

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    with bridged(view) as bridge:
        for target, gone in ((b"/first", True), (b"/second", False)):
            scope = scope_of(method, target) | {"pushgateway.gone": lambda gone=gone: gone}
            run(bridge(scope, receive, send))
    assert called == (["/first"] if carried_out else []) + ["/second"]


def test_writes_wait_beside_each_other_where_the_store_is_elsewhere() -> None:
    """With a store on a server as many writes are at work as there are threads, and reads do not queue behind them."""
    both = threading.Barrier(3)

    def view(environ: Environ) -> bytes:
        both.wait(10)
        return threading.current_thread().name.encode()

    async def talk() -> list[Any]:
        reads, writes = [ask(bridge, method="GET")], [ask(bridge), ask(bridge)]
        return list(await asyncio.gather(*reads, *writes))

    with bridged(view, inline_store=False) as bridge:
        answers = run(talk())
    assert sorted(answer.body.partition(b"-")[0] for answer in answers) == [b"pool", b"writer", b"writer"]


def test_a_body_that_takes_long_leaves_the_writers() -> None:
    """With a store on a server a small body that turns out to be large goes on in the giants' thread."""
    rooms: list[object] = []

    def view(environ: Environ) -> bytes:
        rooms.append(environ.get("pushgateway.room_bytes"))
        if "pushgateway.room_bytes" in environ:
            raise LongWorkError("large")
        return threading.current_thread().name.encode()

    with bridged(view, inline_store=False) as bridge:
        answer = run(ask(bridge))
    assert answer.body.startswith(b"giant")
    assert rooms == [1 << 20, None]


def flushed_view(environ: Environ) -> bytes:
    """Commit at the first call, and tell at the second whether the flush went well."""
    scratch = environ["pushgateway.scratch"]
    if environ.get("pushgateway.flushes") and "committed" not in scratch:
        if environ["pushgateway.ticket"] is None and b"wait" in environ["PATH_INFO"].encode():
            raise WouldBlockError("others")
        scratch["committed"] = None
        raise UnflushedError("flush")
    return str(scratch.get("unflushed", "flushed")).encode()


@pytest.mark.parametrize("target", [b"/metrics/job/a", b"/metrics/job/wait"])
def test_a_write_is_answered_after_a_flush(target: bytes) -> None:
    """Inline and in the writer lane: the application answers when the store has been flushed."""
    flushes: list[str] = []

    async def talk(problem: Exception | None) -> Answer:
        def flush() -> None:
            flushes.append(threading.current_thread().name)
            if problem is not None:
                raise problem

        bridge = Bridge(application(flushed_view), limits=LIMITS, threads=2, inline_store=True, flush=flush)
        answer = await ask(bridge, target=target)
        bridge.close()
        return answer

    assert run(talk(None)).body == b"flushed"
    assert run(talk(OSError("no disk"))).body == b"no disk"
    assert flushes == ["flush", "flush"]


@pytest.mark.parametrize(("inline", "in_thread"), [(WouldBlockError, UnflushedError), (LongWorkError, LongWorkError)])
def test_what_a_thread_has_made_is_gone_without_the_cycle_collector(
    inline: type[WouldBlockError], in_thread: type[WouldBlockError]
) -> None:
    """A request that goes on elsewhere leaves nothing behind of its time in a thread, neither its body nor its push."""
    made: list[weakref.ref[set[int]]] = []

    def view(environ: Environ) -> bytes:
        if environ["pushgateway.ticket"] is None and not made:
            raise inline("others")
        if not made:
            push = {1}
            made.append(weakref.ref(push))
            raise in_thread("elsewhere")
        return str(made[0]()).encode()

    with collector_off(), bridged(view, flush=lambda: None) as bridge:
        assert run(ask(bridge)).body == b"None"


def test_what_is_refused_after_a_flush_is_gone_without_the_cycle_collector() -> None:
    """A refusal that is known before its flush, and told after it, does not stay with its request."""
    made: list[weakref.ref[InconsistentPushError]] = []

    def view(environ: Environ) -> bytes:
        scratch = environ["pushgateway.scratch"]
        if not made:
            scratch["refused"] = InconsistentPushError(("wrong",))
            made.append(weakref.ref(scratch["refused"]))
            raise UnflushedError("to be flushed")
        try:
            raise scratch["refused"]
        except InconsistentPushError:
            scratch["refused"].__traceback__ = None
            return b"refused"

    with collector_off(), bridged(view, flush=lambda: None) as bridge:
        assert run(ask(bridge)).body == b"refused"
        assert made[0]() is None


def test_a_larger_write_flushes_itself() -> None:
    """What a larger body was made into does not wait for the flushes of others: its lane has one at a time."""
    shared: list[bool] = []

    def view(environ: Environ) -> bytes:
        shared.append("pushgateway.flushes" in environ)
        return b""

    with bridged(view, flush=lambda: None) as bridge:
        run(ask(bridge, pieces=[b"x 1\n" * 200]))
    assert shared == [False]


def test_few_writes_wait_for_a_disk_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """When much waits for a flush, the next write makes its own in the writers' thread, and reads are answered."""
    monkeypatch.setattr("pushgateway.bridge._KEPT_BYTES", 1500)
    called: list[tuple[str, bool]] = []
    release = threading.Event()

    def view(environ: Environ) -> bytes:
        called.append((threading.current_thread().name, "pushgateway.flushes" in environ))
        return b"" if environ["REQUEST_METHOD"] == "GET" else flushed_view(environ)

    def flush() -> None:
        release.wait(10)

    async def talk() -> list[int]:
        bridge = Bridge(application(view), limits=LIMITS, threads=2, inline_store=True, flush=flush)
        waiting = [asyncio.ensure_future(ask(bridge)) for _ in range(2)]
        await asyncio.sleep(0)
        more = await ask(bridge)
        healthy = await ask(bridge, "GET", b"/-/healthy", pieces=(b"",))
        release.set()
        statuses = [one.status for one in await asyncio.gather(*waiting)]
        bridge.close()
        return [more.status, healthy.status, *statuses]

    assert run(talk()) == [200, 200, 200, 200]
    assert called[:4] == [("MainThread", True), ("MainThread", True), ("writer-0", False), ("MainThread", True)]


@pytest.mark.parametrize("target", [b"/groups/delete", b"/status/wipe", b"/api/v1/admin/wipe"])
def test_long_changes_flush_where_they_are_made(target: bytes) -> None:
    """A request that makes many changes, or a long one, is never called a second time, which would be on the loop."""
    threads: list[str] = []

    def view(environ: Environ) -> bytes:
        threads.append(threading.current_thread().name)
        return flushed_view(environ)

    with bridged(view, flush=lambda: None) as bridge:
        assert run(ask(bridge, target=target)).body == b"flushed"
    assert threads == ["writer-0"]


def test_the_end_of_the_worker_during_a_flush() -> None:
    """A small write that is cancelled while it waits for the flush is 503, and says that its outcome is unknown."""
    arrived, release = threading.Event(), threading.Event()

    def flush() -> None:
        arrived.set()
        release.wait(10)

    async def talk() -> Answer:
        bridge = Bridge(application(flushed_view), limits=LIMITS, threads=2, inline_store=True, flush=flush)
        asking = asyncio.ensure_future(ask(bridge))
        await asyncio.to_thread(arrived.wait, 10)
        asking.cancel()
        answer = await asking
        release.set()
        bridge.close()
        return answer

    answer = run(talk())
    assert answer.status == 503
    assert answer.body == b"the gateway is ending; whether the change was stored is unknown\n"


def test_without_a_flush_the_application_flushes_itself() -> None:
    """A bridge that has no flush asks for none to be left to it."""

    async def talk() -> Answer:
        with bridged(flushed_view) as bridge:
            return await ask(bridge)

    assert run(talk()).body == b"flushed"
