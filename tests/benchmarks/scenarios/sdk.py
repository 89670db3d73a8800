"""What does the SDK cost beside prometheus_client: a measured call, a request, its import, the end of a job?

Overheads are what the measured call takes more than the plain one, in processor time, the least of several short
repetitions, since everything that disturbs only adds. What prometheus_client does not bring is written with it here as
one would write it by hand: the same labels, a histogram, and a gauge of what is under way.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import prometheus_client
import requests
import urllib3

from pymetrics_sdk import SLO, Counter, WSGIMiddleware, instrument, uninstrument
from pymetrics_sdk import measure as measured
from pymetrics_sdk.metrics import DEFAULT_BUCKETS
from tests.benchmarks.figures import Column, Figure, Row
from tests.benchmarks.plan import Plan
from tests.harness import Original
from tests.sdk.support import black_hole

__all__ = ["CALL", "OVERHEAD", "TITLE", "measure"]

TITLE = "The SDK beside prometheus_client"
CALL = "measure(), a call; Histogram.time()"
OVERHEAD = Column("overhead, us")
IMPORT = Column("import, ms of processor time")
EXIT = Column("from the end of the work to the end of the process, ms")

Call = Callable[[], object]

HELP = "Bench."
REGISTRY = prometheus_client.CollectorRegistry()
HISTOGRAM = prometheus_client.Histogram("bench_seconds", HELP, registry=REGISTRY)
COUNTER = prometheus_client.Counter("bench", HELP, registry=REGISTRY)
LABELLED = prometheus_client.Counter("bench_labelled", HELP, ["a", "b"], registry=REGISTRY)
SERVED = prometheus_client.Histogram(
    "served_seconds",
    HELP,
    ["http_request_method", "url_scheme", "http_route", "http_response_status_code", "error_type"],
    buckets=DEFAULT_BUCKETS,
    registry=REGISTRY,
)
SERVING = prometheus_client.Gauge("serving", HELP, ["http_request_method", "url_scheme"], registry=REGISTRY)
MADE = prometheus_client.Histogram(
    "made_seconds",
    HELP,
    ["http_request_method", "server_address", "server_port", "http_response_status_code", "error_type"],
    buckets=DEFAULT_BUCKETS,
    registry=REGISTRY,
)
MAKING = prometheus_client.Gauge(
    "making", HELP, ["http_request_method", "server_address", "server_port"], registry=REGISTRY
)


def measure(plan: Plan) -> Iterator[Row]:
    """Measure all of it, ours and prometheus_client's in turn."""
    yield from calls(plan)
    yield from served(plan)
    yield from made(plan)
    yield from imports(plan)
    yield from exits(plan)


def calls(plan: Plan) -> Iterator[Row]:
    """Measure calls of functions, and counters."""

    def plain() -> None: ...

    async def coroutine() -> None: ...

    async def by_hand() -> None:
        with HISTOGRAM.time():
            await coroutine()

    counter = Counter("bench_ours_total", HELP)
    labelled = Counter("bench_ours_labelled_total", HELP, ["a", "b"])
    timed, sync, asynchronous = HISTOGRAM.time()(plain), measured(plain), measured(coroutine)
    promised = measured(slo=SLO(99.9, ("250ms", 99)))(plain)
    yield overhead(plan, CALL, sync, timed, base=plain)
    yield overhead(plan, "measure() with an SLO; Histogram.time()", promised, timed, base=plain)
    yield overhead(
        plan,
        "measure(), a coroutine; Histogram.time()",
        lambda: finish(asynchronous),
        lambda: finish(by_hand),
        base=lambda: finish(coroutine),
    )
    yield overhead(plan, "Counter.inc()", counter.inc, COUNTER.inc)
    yield overhead(
        plan,
        'Counter.labels("x", "y").inc()',
        lambda: labelled.labels("x", "y").inc(),
        lambda: LABELLED.labels("x", "y").inc(),
    )


def finish(function: Callable[[], Coroutine[Any, Any, object]]) -> object:
    """Run a coroutine that never waits."""
    try:
        function().send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited")


def served(plan: Plan) -> Iterator[Row]:
    """Measure requests that a WSGI application serves."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    def by_hand(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        method, scheme = environ["REQUEST_METHOD"], environ["wsgi.url_scheme"]
        status = ""

        def start(line: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            nonlocal status
            status = line[:3]
            return start_response(line, headers, *rest)

        with SERVING.labels(method, scheme).track_inprogress():
            begun = time.perf_counter()
            body = app(environ, start)
            SERVED.labels(method, scheme, "", status, "").observe(time.perf_counter() - begun)
        return body

    def serve(application: Callable[..., Any]) -> Call:
        def request() -> None:
            body = application({"REQUEST_METHOD": "GET", "wsgi.url_scheme": "http"}, lambda *_: None)
            for _ in body:
                pass
            if hasattr(body, "close"):
                body.close()

        return request

    yield overhead(
        plan, "WSGIMiddleware, a request; by hand", serve(WSGIMiddleware(app)), serve(by_hand), base=serve(app)
    )


def made(plan: Plan) -> Iterator[Row]:
    """Measure requests that the requests library makes, with the network taken out."""
    adapter, request = requests.adapters.HTTPAdapter(), requests.Request("GET", "http://api.example/v1/x").prepare()

    def by_hand() -> None:
        with MAKING.labels("GET", "api.example", "80").track_inprogress():
            begun = time.perf_counter()
            response = adapter.send(request)
            response.raw.release_conn()
            MADE.labels("GET", "api.example", "80", str(response.status_code), "").observe(time.perf_counter() - begun)

    def send() -> None:
        adapter.send(request).raw.release_conn()

    with no_network():
        base, theirs = best(send, plan), best(by_hand, plan)
        instrument("requests")
        try:
            ours = best(send, plan)
        finally:
            uninstrument("requests")
    yield row("instrument('requests'), a request; by hand", OVERHEAD, [ours - base], [theirs - base])


class Connection:
    """What urllib3 has read a response from."""

    def isclosed(self) -> bool:
        """Say that there is a body to wait for."""
        return False


@contextmanager
def no_network() -> Iterator[None]:
    """Let the adapters of requests answer by themselves."""

    def send(self: object, request: object, *args: object, **kwargs: object) -> requests.Response:
        response = requests.Response()
        response.status_code = 200
        response.raw = urllib3.HTTPResponse(io.BytesIO(b"x"), preload_content=False)
        vars(response.raw)["_original_response"] = Connection()
        return response

    kept = requests.adapters.HTTPAdapter.send
    requests.adapters.HTTPAdapter.send = send  # type: ignore[method-assign]
    try:
        yield
    finally:
        requests.adapters.HTTPAdapter.send = kept  # type: ignore[method-assign]


def overhead(plan: Plan, subject: str, ours: Call, theirs: Call, *, base: Call | None = None) -> Row:
    """Compare two ways of measuring a call, in turn."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(plan.rounds):
        plain = 0.0 if base is None else best(base, plan)
        for side, call in zip(found, (ours, theirs), strict=True):
            side.append(best(call, plan) - plain)
    return row(subject, OVERHEAD, *found)


def best(call: Call, plan: Plan) -> float:
    """Return the microseconds of one call."""
    number = 1_000 if plan.quick else 10_000
    return min(timeit.repeat(call, number=number, repeat=20, timer=time.process_time)) / number * 1e6


def row(subject: str, column: Column, ours: list[float], theirs: list[float]) -> Row:
    """Make a row of one figure."""
    return Row(TITLE, subject, {column.name: Figure(column, tuple(ours), tuple(theirs))})


def imports(plan: Plan) -> Iterator[Row]:
    """Measure the imports in fresh interpreters, the least of some; ours imports prometheus_client, too."""
    code = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"
    times: dict[str, list[float]] = {"pymetrics_sdk": [], "prometheus_client": []}
    for _ in range(2 if plan.quick else 15):
        for name, found in times.items():
            found.append(1e3 * float(child(code.format(name))))
    ours, theirs = ([min(times[name])] for name in ("pymetrics_sdk", "prometheus_client"))
    yield row("import pymetrics_sdk; prometheus_client", IMPORT, ours, theirs)


OURS = """
from pymetrics_sdk import Job
with Job("bench"):
    work()
"""
THEIRS = """
from prometheus_client import CollectorRegistry, Gauge, push_to_gateway
registry = CollectorRegistry()
finished = Gauge("finished_timestamp_seconds", "Bench.", registry=registry)
work()
finished.set_to_current_time()
try:
    push_to_gateway({url!r}, job="bench", registry=registry, timeout={timeout})
except OSError:
    pass
"""
WORK = "import time\ndef work():\n    time.sleep({work})\n    print(time.monotonic(), flush=True)\n"


def exits(plan: Plan) -> Iterator[Row]:
    """Measure how long a job takes to end, beside one that pushes once with prometheus_client, same time-out."""
    timeout = 1.0 if plan.quick else 5.0
    with Original() as gateway, black_hole() as hole:
        places = {"up": gateway.url, "not there": "http://127.0.0.1:9", "silent": hole}
        for name, url in places.items():
            found: tuple[list[float], list[float]] = ([], [])
            for _ in range(plan.rounds):
                for side, script in zip(found, (OURS, THEIRS), strict=True):
                    code = WORK.format(work=0.5) + script.format(url=url, timeout=timeout)
                    done = child(code, PYMETRICS_GATEWAY_URL=url, PYMETRICS_TIMEOUT=f"{timeout:g}s")
                    side.append(1e3 * (time.monotonic() - float(done)))
            yield row(f"end of a job, the gateway is {name}; push_to_gateway", EXIT, *found)


def child(code: str, **env: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    command = [sys.executable, "-c", code]
    env = {"PATH": "/usr/bin:/bin", **env}
    root = Path(__file__).parents[3]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True, cwd=root).stdout
