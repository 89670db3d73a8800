from __future__ import annotations

from typing import Any

import pytest

import pushgateway.errors as errors_module
from pushgateway.errors import (
    ConfigError,
    GroupingKeyError,
    InconsistentPushError,
    LimitError,
    ParseError,
    PushgatewayError,
    RequestError,
    StoreBusyError,
    StoreError,
    StoreUnreadableError,
    StoreUnwritableError,
    UnsupportedMediaError,
    WouldBlockError,
)
from pushgateway.web.answers import Refused
from pushgateway.web.responses import failure
from tests.lines import logged
from tests.unit.web.fakes import Site

JSON = {"Accept": "application/json"}

CASES: list[tuple[PushgatewayError, int, str, dict[str, Any]]] = [
    (GroupingKeyError("no"), 400, "grouping_key", {}),
    (
        ParseError("bad", line=3, hint="mend it", family="x"),
        400,
        "parse",
        {"line": 3, "hint": "mend it", "family": "x", "format": "text format"},
    ),
    (ParseError("bad", line=3, format="openmetrics"), 400, "parse", {"line": 3, "format": "openmetrics"}),
    (ParseError("EOF"), 400, "parse", {}),
    (InconsistentPushError(["a", "b"]), 400, "inconsistent", {"reasons": ["a", "b"]}),
    (LimitError("body-bytes", allowed=10, seen=11), 413, "limit", {"limit": "body-bytes", "allowed": 10, "seen": 11}),
    (LimitError("decoded-bytes", allowed=10), 413, "limit", {"limit": "decoded-bytes", "allowed": 10}),
    (
        LimitError("shapes-per-job", allowed=64, seen=65),
        400,
        "limit",
        {"limit": "shapes-per-job", "allowed": 64, "seen": 65},
    ),
    (
        UnsupportedMediaError("Content-Type", "a/b", expected="text"),
        415,
        "unsupported_media",
        {"header": "Content-Type", "value": "a/b", "expected": "text"},
    ),
    (RequestError("what"), 400, "request", {}),
    (StoreBusyError("later"), 503, "store_busy", {}),
    (StoreUnwritableError("full"), 503, "store_unwritable", {}),
    (StoreUnreadableError("gone"), 503, "store_unreadable", {}),
    (StoreError("odd"), 503, "store", {}),
    (ConfigError("--x", "cannot be raised here"), 500, "internal", {}),
]


@pytest.mark.parametrize(("error", "status", "word", "data"), CASES, ids=[repr(case[0]) for case in CASES])
def test_each_error_has_one_answer(
    site: Site, error: PushgatewayError, status: int, word: str, data: dict[str, Any]
) -> None:
    """An error is the same status and the same sentence as text and as JSON, JSON with the error's data beside it."""
    with site.app.test_request_context("/"):
        text = failure(error)
    assert text.status_code == status
    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert text.headers["X-Content-Type-Options"] == "nosniff"
    body = text.get_data(as_text=True)
    assert body.endswith("\n")
    with site.app.test_request_context("/", headers=JSON):
        as_json = failure(error)
    assert as_json.status_code == status
    assert as_json.headers["Content-Type"] == "application/json"
    assert as_json.json == {"status": "error", "errorType": word, "error": body.removesuffix("\n"), **data}


def test_no_error_is_forgotten() -> None:
    """Every error of the tree is answered here, but those that never reach a request."""
    commands = {"StartError", "WebConfigError", "CommandError", "OvertakenError"}
    elsewhere = {"PushgatewayError", "WouldBlockError", "UnflushedError", "LockedError", "LongWorkError"} | commands
    assert {type(case[0]).__name__ for case in CASES} | elsewhere == set(errors_module.__all__)


@pytest.mark.parametrize(("method", "target", "status"), [("GET", "/nothing", 404), ("PATCH", "/metrics", 405)])
def test_generic_errors_are_json_when_asked_for(site: Site, method: str, target: str, status: int) -> None:
    """404 and 405 come as JSON too; Allow is there all the same."""
    reply = site.request(method, target, headers=JSON)
    assert reply.status_code == status
    assert reply.json is not None
    assert reply.json["status"] == "error"
    assert ("Allow" in reply.headers) is (status == 405)


def test_an_unexpected_error_is_500_logged_and_counted(site: Site) -> None:
    """A bug is answered 500 without its innards, logged with its traceback, and counted."""
    site.store.write_error = ZeroDivisionError("innards")
    with logged() as lines:
        reply = site.push("job/a")
    assert (reply.status_code, reply.text) == (500, "internal server error\n")
    assert site.counted() == {("push", "post", "500"): 1}
    assert [(line["event"], line["has_traceback"]) for line in lines] == [("unexpected error", True)]


def test_would_block_is_no_answer(site: Site) -> None:
    """WouldBlockError reaches the caller of the application, whatever Flask's error handling."""
    site.store.write_error = WouldBlockError("busy")
    for method, target in (("PUT", "/metrics/job/a"), ("DELETE", "/metrics/job/a"), ("PUT", "/api/v1/admin/wipe")):
        with pytest.raises(WouldBlockError):
            site.request(method, target, environ={"pushgateway.ticket": None, "pushgateway.scratch": {}})
    assert site.counted() == {}


def test_what_no_answer_can_hold_is_escaped(site: Site) -> None:
    """A message with what UTF-8 cannot encode is answered all the same, as text and as JSON."""
    for headers, escaped in (({}, b"a\\udcff"), (JSON, b'"a\\udcff"')):
        with site.app.test_request_context("/", headers=headers):
            answer = failure(RequestError("a\udcff"))
        assert (answer.status_code, escaped in answer.data) == (400, True)


def test_an_error_without_a_line_gives_its_hint(site: Site) -> None:
    """What is wrong with a compressed body, which has no lines yet, comes with what was expected."""
    with site.app.test_request_context("/"):
        answer = failure(ParseError("EOF", hint="it is empty"))
    assert answer.data == b"EOF; it is empty\n"


def test_refusals_before_any_view_are_counted(site: Site) -> None:
    """A wrong Content-Encoding counts for the view that it was refused for; scrapes are never counted."""
    for method, target in (("DELETE", "/metrics/job/a"), ("GET", "/-/healthy"), ("GET", "/metrics")):
        assert site.request(method, target, headers={"Content-Encoding": "br"}).status_code == 415
    assert site.counted() == {("delete", "delete", "415"): 1, ("healthy", "get", "415"): 1}


def test_automatic_answers_are_not_counted(site: Site) -> None:
    """OPTIONS is counted where the API answers it, and nowhere else; what no view takes is not counted."""
    for method, target in (("OPTIONS", "/status"), ("PATCH", "/status"), ("GET", "/nothing"), ("OPTIONS", "/api/v1/x")):
        site.request(method, target)
    assert site.counted() == {("api/v1/options", "options", "200"): 1}


@pytest.mark.parametrize(
    ("method", "path", "word"),
    [
        ("POST", "/metrics/job/a", "push"),
        ("DELETE", "/metrics/job/a", "delete"),
        ("PUT", "/api/v1/admin/wipe", "wipe"),
        ("GET", "/metrics", "server"),
        ("GET", "/nothing", "server"),
        ("PATCH", "/metrics/job/a", "server"),
        ("", "", "server"),
    ],
)
def test_answers_given_before_the_application_are_counted(site: Site, method: str, path: str, word: str) -> None:
    """What the bridge or the protocol refuses counts for the view it was meant for, or for the server."""
    site.app.report_outside(Refused(method=method, path=path, status=503, kind="limit", reason="too many"))
    assert site.counted() == {(word, method.lower() or "unknown", "503"): 1}
