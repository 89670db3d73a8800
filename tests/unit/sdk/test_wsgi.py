"""How are requests measured that a WSGI application serves, and what of them reaches the metrics?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from pymetrics_sdk import ConfigError, Job, WSGIMiddleware, cells, track_http
from pymetrics_sdk.instrumentation import instrument
from pymetrics_sdk.testing import Group, InMemoryGateway

SECONDS = "http_server_request_duration_seconds"


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Replaces the clock of HTTP calls by one that a test moves on."""
    now = [100.0]
    monkeypatch.setattr(sys.modules["pymetrics_sdk.instrumentation.http"], "perf_counter", lambda: now[0])

    def tick(seconds: float) -> None:
        now[0] += seconds

    return tick


def call(app: Any, path: str = "/", method: str = "GET", *, read: bool = True) -> Any:
    """Serve one request as a server would, and return its body."""
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ.update(PATH_INFO=path, REQUEST_METHOD=method)
    body = app(environ, lambda status, headers, *rest: None)
    try:
        return b"".join(body) if read else body
    finally:
        if read and hasattr(body, "close"):
            body.close()


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The smallest application."""
    start_response("200 OK", [])
    return [b"hello"]


def test_a_request_is_counted_by_method_scheme_and_status(gateway: InMemoryGateway) -> None:
    """Success has no error_type; an unknown method is _OTHER; the path is no label."""
    with Job("served"):
        assert call(WSGIMiddleware(hello), "/secret/1") == b"hello"
        call(WSGIMiddleware(hello), method="BREW")
    group = gateway.group(job="served")
    labels = {"url_scheme": "http", "http_response_status_code": "200", "error_type": "", "http_route": ""}
    assert group[SECONDS + "_count", {**labels, "http_request_method": "GET"}] == 1
    assert group[SECONDS + "_count", {**labels, "http_request_method": "_OTHER"}] == 1
    assert group.total("http_server_active_requests") == 0
    assert "secret" not in gateway.pushes[-1].body


def test_ten_thousand_random_paths_are_one_series() -> None:
    """A crawler cannot make series."""
    app = WSGIMiddleware(hello)
    cells.process_scope.forget()
    for number in range(10_000):
        call(app, f"/{number}")
    (family,) = (each for each in cells.process_scope.families if each.definition.name == SECONDS)
    assert len(family.cells) == 1


def test_a_streaming_body_is_timed_to_its_close(gateway: InMemoryGateway, ticks: Any) -> None:
    """The time runs while the body is sent, until the server closes it, and the application's body is closed too."""
    closed = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            for _ in range(3):
                ticks(1.0)
                yield b"x"

        def close(self) -> None:
            ticks(1.0)
            closed.append(True)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        ticks(0.5)
        return Body()

    with Job("served"):
        assert call(WSGIMiddleware(app)) == b"xxx"
    assert closed == [True]
    assert gateway.group(job="served").total(SECONDS + "_sum") == 4.5


def test_an_application_that_is_a_generator(gateway: InMemoryGateway) -> None:
    """start_response is called at the first step only; the status is known all the same."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("503 Busy", [])
        yield b"busy"

    with Job("served"):
        call(WSGIMiddleware(app))
    assert gateway.group(job="served").total(SECONDS + "_count", {"error_type": "503"}) == 1


@pytest.mark.parametrize(("status", "error_type"), [("404 Not Found", ""), ("500 Broken", "500")])
def test_client_errors_are_not_the_servers(gateway: InMemoryGateway, status: str, error_type: str) -> None:
    """For a server a 404 is an answer like any other, a 500 is an error."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, [])
        return []

    with Job("served"):
        call(WSGIMiddleware(app))
    group = gateway.group(job="served")
    labels = {"http_response_status_code": status[:3]}
    if error_type:
        assert group.total(SECONDS + "_count", {**labels, "error_type": error_type}) == 1
    else:
        assert ("error_type", "") not in labels.items()
        assert group.total(SECONDS + "_count", labels) == 1
        assert 'error_type="404"' not in gateway.pushes[-1].body


@pytest.mark.parametrize("when", ["before", "in the body"])
def test_exceptions_pass_and_are_500_by_class(gateway: InMemoryGateway, when: str) -> None:
    """An application's exception reaches the server as it is, and is counted by its class."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if when == "before":
            raise LookupError("hunter2")
        start_response("200 OK", [])
        return map(int, ["x"])

    expected = LookupError if when == "before" else ValueError
    with Job("served"), pytest.raises(expected):
        call(WSGIMiddleware(app))
    labels = {"http_response_status_code": "500", "error_type": expected.__name__}
    assert gateway.group(job="served").total(SECONDS + "_count", labels) == 1
    assert "hunter2" not in gateway.pushes[-1].body


def test_a_client_that_goes_away_ends_the_request(gateway: InMemoryGateway) -> None:
    """A server that closes the body early leaves no request active."""
    with Job("served"):
        body = call(WSGIMiddleware(hello), read=False)
        assert len(body) == 1
        body.close()
        body.close()
    group = gateway.group(job="served")
    assert group.total("http_server_active_requests") == 0
    assert group.total(SECONDS + "_count") == 1


def test_flasks_route_is_its_template(gateway: InMemoryGateway) -> None:
    """app.wsgi_app = WSGIMiddleware(app.wsgi_app): the rule is the label, "" where nothing matched."""
    flask = pytest.importorskip("flask")
    app = flask.Flask("shop")
    app.add_url_rule("/users/<int:number>", view_func=lambda number: f"{number}", endpoint="user")
    app.wsgi_app = WSGIMiddleware(app.wsgi_app)
    with Job("served"):
        client = app.test_client()
        assert client.get("/users/7", buffered=True).data == b"7"
        assert client.get("/users/8", buffered=True).status_code == 200
        assert client.get("/nothing", buffered=True).status_code == 404
    group = gateway.group(job="served")
    assert group.total(SECONDS + "_count", {"http_route": "/users/<int:number>"}) == 2
    assert group.total(SECONDS + "_count", {"http_response_status_code": "404"}) == 1
    assert "/nothing" not in gateway.pushes[-1].body


def test_an_own_route_function(gateway: InMemoryGateway) -> None:
    """Other frameworks say in a function where they keep their route; a function that fails means no route."""

    def route(environ: dict[str, Any]) -> str:
        return {"/ok": "/template"}[environ["PATH_INFO"]]

    with Job("served"):
        call(WSGIMiddleware(hello, route=route), "/ok")
        call(WSGIMiddleware(hello, route=route), "/fails")
    assert gateway.group(job="served").total(SECONDS + "_count", {"http_route": "/template"}) == 1
    assert gateway.group(job="served").total(SECONDS + "_count") == 2


def client_count(group: Group, **labels: str) -> float:
    """Requests of a client with these labels."""
    return group.total("http_client_request_duration_seconds_count", labels)


def test_track_http_measures_anything(gateway: InMemoryGateway) -> None:
    """A plain context manager, also an asynchronous one, for clients and servers that are not instrumented."""
    with Job("tracked"):
        with track_http("get", "https://api.example.com/v1/secret?token=1") as call_:
            call_.status = 200
        with track_http("POST", "http://api.example.com:8080/") as call_:
            call_.status = 404
        with pytest.raises(ConnectionError), track_http("PUT", "http://down/"):
            raise ConnectionError("hunter2")
        with track_http("GET", "https://me/users/7", kind="server", route="/users/{id}") as served:
            served.status = 500
    group = gateway.group(job="tracked")
    address = {"server_address": "api.example.com", "server_port": "443", "http_request_method": "GET"}
    assert client_count(group, **address, http_response_status_code="200") == 1
    assert client_count(group, server_port="8080", http_response_status_code="404", error_type="404") == 1
    assert client_count(group, server_address="down", error_type="ConnectionError") == 1
    assert group.total(SECONDS + "_count", {"http_route": "/users/{id}", "url_scheme": "https"}) == 1
    assert group.total("http_client_active_requests") == 0
    body = gateway.pushes[-1].body
    assert not any(word in body for word in ("secret", "token", "hunter2", "/users/7"))


def test_unknown_names_are_refused() -> None:
    """A typo in instrument() or track_http() is an error where it is written."""
    with pytest.raises(ConfigError, match="reqests"):
        instrument("reqests")
    with pytest.raises(ConfigError, match="kind"):
        track_http("GET", kind="both")  # type: ignore[arg-type]


def test_a_request_that_began_before_a_fork_leaves_no_gauge_below_zero() -> None:
    """The child starts from zero, so that what its parent counted as begun may not be taken off there."""
    scope = cells.process_scope
    exchange = track_http("GET", "http://forked/")
    exchange.begin()
    scope.forget()  # what a forked child does
    exchange.end()
    gauges = {family.definition.name: family.snapshot() for family in scope.families}
    assert gauges["http_client_active_requests"] == []
