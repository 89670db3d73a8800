"""What do the log and the list of failures tell about requests, whoever refuses them?"""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushgateway.errors import (
    InconsistentPushError,
    LimitError,
    StoreBusyError,
    StoreError,
    StoreUnreadableError,
    StoreUnwritableError,
)
from pushgateway.guard import Verdict
from pushgateway.storage.base import Ticket
from pushgateway.web import diagnosis as diagnosis_module
from pushgateway.web import responses
from pushgateway.web.answers import Refused
from tests.lines import logged
from tests.unit.web.fakes import NOW, Site

FROM = {"REMOTE_ADDR": "192.0.2.7"}


@pytest.fixture(autouse=True)
def debug(caplog: pytest.LogCaptureFixture) -> None:
    """Lines of every level are written."""
    caplog.set_level(logging.DEBUG)


def leaves(site: Site, method: str, target: str, body: bytes = b"", **kwargs: Any) -> tuple[Any, dict[str, Any]]:
    """Send a request that leaves one line; return the answer and the line."""
    with logged() as lines:
        reply = site.request(method, target, body, environ=FROM, **kwargs)
    (line,) = lines
    return reply, dict(line)


INCONSISTENT = "pushed metrics are invalid or inconsistent with existing metrics"

PUSHES = [
    ("/metrics/job/a", b"x 1\nx 1\n", None, "error", INCONSISTENT, "inconsistent"),
    ("/metrics/job/a", b"x\n", None, "error", "failed to parse text", "parse"),
    ("/metrics/job/a/l", b"x 1\n", None, "debug", "failed to parse URL", "grouping_key"),
    ("/metrics/job@base64/=", b"x 1\n", None, "debug", "job name is required", "grouping_key"),
    ("/metrics/job@base64/!!", b"", None, "debug", "invalid base64 encoding in job name", "grouping_key"),
    ("/metrics/job/a/%zz/b", b"", None, "error", "push refused", "request"),
    ("/metrics/job/", b"", None, "debug", "push refused", "not_found"),
    ("/metrics", b"", None, "debug", "push refused", "method_not_allowed"),
    ("/metrics/job/a", b"x 1\n", InconsistentPushError(["no", "never"]), "error", INCONSISTENT, "inconsistent"),
    ("/metrics/job/a", b"x 1\n", LimitError("groups", allowed=1, seen=2), "warning", "push refused", "limit"),
    ("/metrics/job/a", b"x 1\n", StoreUnwritableError("full"), "error", "error persisting metrics", "store_unwritable"),
    ("/metrics/job/a", b"x 1\n", StoreUnreadableError("gone"), "error", "push not stored", "store_unreadable"),
    ("/metrics/job/a", b"x 1\n", StoreBusyError("writers"), "warning", "push not stored", "store_busy"),
    ("/metrics/job/a", b"x 1\n", StoreError("odd"), "error", "push not stored", "store"),
    ("/metrics/job/a", b"x 1\n", ZeroDivisionError("bug"), "error", "unexpected error", "internal"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "body", "error", "level", "event", "kind"), PUSHES)
def test_a_refused_push_leaves_a_line_and_a_failure(
    site: Site, target: str, body: bytes, error: Exception | None, level: str, event: str, kind: str
) -> None:
    """Each push that is not stored leaves one line in the original's words and one failure, both with the reason."""
    site.store.write_error = error
    reply, line = leaves(site, "POST", target, body)
    assert (line["log_level"], line["event"]) == (level, event)
    assert (line["method"], line["source"], line["status"]) == ("POST", "192.0.2.7", reply.status_code)
    assert line["duration"] >= 0
    assert line.get("group", line.get("path")) == ('{job="a"}' if "group" in line else target)
    (failure,) = site.failures.recent()
    assert (failure.method, failure.source, failure.status) == ("POST", "192.0.2.7", reply.status_code)
    assert (failure.at_seconds, failure.kind, failure.path) == (NOW, kind, target)
    assert failure.group == ((("job", "a"),) if "group" in line else None)
    if kind != "internal":
        assert line["reason"] == failure.reason
        for part in failure.reason.split("; "):
            assert part in reply.text
    assert site.request("POST", target, body, headers={"Accept": "application/json"}).json["errorType"] == kind


def test_every_kind_of_error_has_its_line() -> None:
    """No errorType is left to the default, but for what says nothing more than "refused"."""
    kinds = {kind.word for kind in responses._TABLE.values()} | {"not_found", "method_not_allowed", "internal"}
    kinds_of_the_guard = {verdict.value for verdict in Verdict} - {"admitted"} | {"cross_site"}
    assert set(diagnosis_module._EVENTS) == kinds_of_the_guard | kinds - {"request", "unsupported_media"}
    assert kinds - {case[-1] for case in PUSHES} == {"unsupported_media"}


def test_what_an_error_knows_is_told_apart(site: Site) -> None:
    """Line and family of a syntax error, name and values of a limit have keys of their own."""
    _, line = leaves(site, "PUT", "/metrics/job/a", b'x 1\ny{a="b" 1\n')
    assert (line["line"], line["family"]) == (2, "y")
    site.store.write_error = LimitError("groups", allowed=1, seen=2)
    _, line = leaves(site, "PUT", "/metrics/job/a", b"x 1\n")
    assert (line["limit"], line["allowed"], line["seen"]) == ("groups", 1, 2)
    limit, syntax = site.failures.recent()
    assert syntax.data == {"line": 2, "family": "y"}
    assert limit.data == {"limit": "groups", "allowed": 1, "seen": 2}


def test_a_refused_encoding_is_a_refused_push(site: Site) -> None:
    """What is refused before any view runs is told all the same."""
    reply, line = leaves(site, "DELETE", "/metrics/job/a/i/b", headers={"Content-Encoding": "br"})
    assert (reply.status_code, line["event"], line["group"]) == (415, "delete refused", '{i="b",job="a"}')
    assert [one.kind for one in site.failures.recent()] == ["unsupported_media"]


def test_a_delete_and_a_wipe_that_fail_leave_a_line(site: Site) -> None:
    """They are told as pushes are; a wipe concerns no group and is no failure of one."""
    site.store.write_error = StoreBusyError("writers")
    _, line = leaves(site, "DELETE", "/metrics/job/a")
    assert (line["event"], line["group"], line["status"]) == ("delete not stored", '{job="a"}', 503)
    _, line = leaves(site, "PUT", "/api/v1/admin/wipe")
    assert (line["event"], line["path"], line["status"]) == ("wipe not stored", "/api/v1/admin/wipe", 503)
    assert [(one.method, one.path) for one in site.failures.recent()] == [("DELETE", "/metrics/job/a")]


def test_a_wipe_that_is_not_enabled_leaves_a_line() -> None:
    """Without the admin API a wipe is a path that is not there."""
    _, line = leaves(Site(), "PUT", "/api/v1/admin/wipe")
    assert (line["log_level"], line["event"], line["status"]) == ("debug", "wipe refused", 404)


def test_a_failed_scrape_leaves_the_line_of_the_original(site: Site) -> None:
    """A scrape that cannot be answered is told in the words that people search for; it is no failure of a push."""
    site.store.read_error = "gone"
    _, line = leaves(site, "GET", "/metrics")
    assert (line["log_level"], line["event"], line["path"]) == ("error", "error gathering metrics: gone", "/metrics")
    assert site.failures.recent() == []


def test_helps_that_disagree_are_told_when_they_appear(site: Site) -> None:
    """Scrapes tell of families without one help text in the original's words, but not of the same ones every time."""
    site.push("job/a", b"# HELP process_max_fds Mine.\n# TYPE process_max_fds gauge\nprocess_max_fds 1\n")
    told = []
    for many_helps in (["x", "y"], ["x", "y"], [], ["x"]):
        site.store.many_helps = many_helps
        with logged() as lines:
            assert site.get("/metrics").status_code == 200
        told.append([(line["log_level"], line["event"], line["families"]) for line in lines])
    inconsistent = "metric families inconsistent help strings"
    assert told == [
        [("info", inconsistent, "x,y"), ("info", "metric families overlap", "process_max_fds")],
        [],
        [],
        [("info", inconsistent, "x")],
    ]


@pytest.mark.parametrize("target", ["/nothing", "/-/ready", "/api/v1/metrics", "/api/v1/failures?limit=0"])
def test_other_requests_are_not_told(site: Site, target: str) -> None:
    """Scanners and probes neither fill the log nor the list of failures."""
    site.store.read_error = "gone"
    with logged() as lines:
        assert site.get(target).status_code >= 400
    assert (lines, site.failures.recent()) == ([], [])


def test_what_is_done_leaves_a_line_at_level_debug(site: Site) -> None:
    """A push, a delete and a wipe that succeed are told with their group and their size."""
    _, line = leaves(site, "PUT", "/metrics/job/a/i/b", b'# TYPE x gauge\nx{a="1"} 1\nx 2\ny 3\n')
    assert line["duration"] >= 0
    del line["duration"]
    assert line == {
        "event": "metrics persisted",
        "log_level": "debug",
        "method": "PUT",
        "group": '{i="b",job="a"}',
        "source": "192.0.2.7",
        "status": 200,
        "bytes": 34,
        "families": 2,
        "samples": 3,
    }
    _, line = leaves(site, "DELETE", "/metrics/job/a")
    assert (line["event"], line["group"], line["status"]) == ("group deleted", '{job="a"}', 202)
    _, line = leaves(site, "PUT", "/api/v1/admin/wipe")
    assert (line["event"], line["path"], line["status"]) == ("all groups deleted", "/api/v1/admin/wipe", 202)
    assert site.failures.recent() == []


def test_what_is_done_is_not_told_above_level_debug(site: Site) -> None:
    """At level info a push that succeeds leaves nothing."""
    with logged(level=logging.INFO) as lines:
        site.push("job/a")
        site.request("DELETE", "/metrics/job/a")
        site.request("PUT", "/api/v1/admin/wipe")
    assert lines == []


def test_what_the_bridge_has_answered_is_not_told_twice(site: Site) -> None:
    """A push whose ticket has expired was answered by the bridge, which has reported that."""
    ticket = Ticket()
    assert ticket.expire()
    with logged() as lines:
        site.push("job/a", b"x", environ={"pushgateway.ticket": ticket, "pushgateway.scratch": {}})
    assert (lines, site.failures.recent()) == ([], [])


OUTSIDE = Refused(
    method="POST",
    path="/metrics/job/a",
    status=413,
    kind="limit",
    reason="limit body-bytes exceeded: more where 1000 is allowed",
    source="::ffff:192.0.2.7",
    data={"limit": "body-bytes", "allowed": 1000},
    duration_seconds=1.5,
)


def test_what_is_refused_before_the_application_is_told_alike(site: Site) -> None:
    """A push that the protocol or the bridge refuses leaves the same line and the same failure."""
    with logged() as lines:
        site.app.report_outside(OUTSIDE)
    (line,) = lines
    assert line == {
        "event": "push refused",
        "log_level": "warning",
        "method": "POST",
        "group": '{job="a"}',
        "source": "192.0.2.7",
        "status": 413,
        "duration": 1.5,
        "reason": "limit body-bytes exceeded: more where 1000 is allowed",
        "limit": "body-bytes",
        "allowed": 1000,
    }
    (failure,) = site.failures.recent()
    assert (failure.group, failure.kind, failure.source) == ((("job", "a"),), "limit", "192.0.2.7")
    assert site.refusals() == {"body-bytes": 1}


@pytest.mark.parametrize(
    ("changes", "level", "event"),
    [
        ({"path": "/metrics", "method": "GET"}, "warning", "scrape refused"),
        ({"path": "/status", "method": "GET"}, "warning", "request refused"),
        ({"path": "", "method": "", "kind": "request", "status": 400}, "debug", "request refused"),
        ({"path": "/nothing", "kind": "request", "status": 400}, "debug", "request refused"),
        ({"path": "", "method": "", "status": 0}, "debug", "connection ended"),
        ({"path": "/metrics", "method": "GET", "status": 503}, "error", f"error gathering metrics: {OUTSIDE.reason}"),
    ],
)
def test_other_requests_that_are_refused_before_the_application(
    site: Site, changes: dict[str, Any], level: str, event: str
) -> None:
    """They leave a line too, malformed ones at level debug; none of them is a failure of a push."""
    with logged() as lines:
        site.app.report_outside(OUTSIDE._replace(**changes))
    (line,) = lines
    assert (line["log_level"], line["event"]) == (level, event)
    assert site.failures.recent() == []


def test_a_bug_outside_of_the_application_is_logged_with_its_traceback(site: Site) -> None:
    """What the bridge answers 500 leaves the exception that it is handling."""
    with logged() as lines:
        try:
            _ = 1 // 0
        except ZeroDivisionError:
            site.app.report_outside(OUTSIDE._replace(kind="internal", status=500, reason="internal server error"))
    assert [(line["event"], line["has_traceback"]) for line in lines] == [("unexpected error", True)]


@pytest.mark.parametrize(
    ("kind", "status", "level"), [("unauthorized", 401, "debug"), ("throttled", 429, "debug"), ("busy", 503, "warning")]
)
def test_who_may_not_push_has_not_pushed(site: Site, kind: str, status: int, level: str) -> None:
    """What the guard refuses leaves a line but no failure: the list is for those who may push."""
    with logged() as lines:
        site.app.report_outside(OUTSIDE._replace(kind=kind, status=status, data={}))
    assert [(line["event"], line["status"], line["log_level"]) for line in lines] == [("push refused", status, level)]
    assert site.failures.recent() == []


def test_the_route_prefix_is_no_part_of_the_group() -> None:
    """Behind a route prefix the same is told, and also of a push that has forgotten the prefix."""
    site = Site(route_prefix="/ä")
    for target in ("/%C3%A4/metrics/job/a", "/%C3%A4/metrics/job/a/l", "/metrics/job/b"):
        site.request("PUT", target, b"x\n")
    named, unnamed, forgotten = reversed(site.failures.recent())
    assert (forgotten.group, forgotten.status) == ((("job", "b"),), 404)
    assert (named.group, named.path) == ((("job", "a"),), "/ä/metrics/job/a")
    assert (unnamed.group, unnamed.path) == (None, "/ä/metrics/job/a/l")


@settings(max_examples=60)
@given(path=st.binary(max_size=60), method=st.sampled_from(["PUT", "DELETE"]))
def test_any_path_is_told(path: bytes, method: str) -> None:
    """Whatever bytes a path holds, its refusal is told, in text that UTF-8 can hold."""
    site = SITE
    refused = OUTSIDE._replace(path="/metrics/job" + path.decode("latin-1"), method=method)
    site.app.report_outside(refused)
    if path.startswith(b"/") or not path:
        found = site.failures.recent(1)[0]
        found.path.encode()
        assert found.path.encode() == b"/metrics/job" + path or b"\\x" in found.path.encode()


SITE = Site()
