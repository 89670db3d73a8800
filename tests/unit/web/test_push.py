from __future__ import annotations

import gzip
import io
import weakref
from typing import Any

import pytest

from pushgateway.config import Limits
from pushgateway.errors import (
    InconsistentPushError,
    LimitError,
    LongWorkError,
    StoreBusyError,
    StoreUnreadableError,
    StoreUnwritableError,
    WouldBlockError,
)
from pushgateway.formats import compression, protobuf
from pushgateway.formats.protobuf_messages import family_class
from pushgateway.model import Delete, GroupingKey, MetricFamily, MetricType, Push, Refusal, Sample
from pushgateway.storage.base import Ticket
from tests.collector import collector_off
from tests.lines import logged
from tests.unit.web.fakes import NOW, Site

PUSH = {
    "REQUEST_METHOD": "POST",
    "PATH_INFO": "/metrics/job/a",
    "QUERY_STRING": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "9091",
    "REMOTE_ADDR": "127.0.0.1",
    "wsgi.url_scheme": "http",
}


def applied(site: Site) -> Any:
    """The one change that the store was asked for."""
    ((change, _),) = site.store.changes
    return change


def test_put_replaces_and_post_merges(site: Site) -> None:
    """PUT asks the store to replace the group, POST to merge into it; both are answered 200 with nothing."""
    for method, replace in (("PUT", True), ("POST", False)):
        site.store.changes.clear()
        reply = site.push("job/a", method=method)
        assert (reply.status_code, reply.data, reply.headers.get("Content-Type")) == (200, b"", None)
        assert applied(site).replace is replace


@pytest.mark.parametrize("body", [b"x nonsense\n", b"x 1\nx 2\n"])
def test_a_refused_push_leaves_no_body_behind(site: Site, body: bytes) -> None:
    """What was refused goes at once: no error refers to what it has come through."""
    site.push("job/a", body)
    with collector_off():
        sent = io.BytesIO(body)
        there = weakref.ref(sent)
        environ = {"wsgi.input": sent, "CONTENT_LENGTH": str(len(body))}
        assert b"".join(site.app(PUSH | environ, lambda *_: None))
        del sent, environ
        assert there() is None


def test_a_push_arrives_ready_for_the_store(site: Site) -> None:
    """The store gets the group, finished lines with all labels, identities, hashes, and the time of receipt."""
    body = b'# HELP x An x.\n# TYPE x counter\nx{b="2",job="no"} 1\nx{b="1",c=""} 2\n'
    assert site.push("job/a/l/v", body).status_code == 200
    change = applied(site)
    assert isinstance(change, Push)
    assert change.key == GroupingKey.of({"job": "a", "l": "v"})
    assert change.received_at_seconds == NOW
    assert change.series == b'{instance="",job="a",l="v"}'
    assert change.checked
    (family,) = change.families
    assert (family.name, family.type, family.help, family.samples) == ("x", MetricType.COUNTER, "An x.", 2)
    assert family.text == (b'x{b="2",instance="",job="a",l="v"} 1\nx{b="1",c="",instance="",job="a",l="v"} 2\n')
    assert set(family.identities) == {
        (("b", "1"), ("job", "a"), ("l", "v")),
        (("b", "2"), ("job", "a"), ("l", "v")),
    }
    assert len(family.hashes) == 16


def test_an_empty_body_is_a_push_without_families(site: Site) -> None:
    """An empty body asks for a push all the same: it empties or touches the group."""
    assert site.push("job/a", b"").status_code == 200
    assert applied(site).families == ()


def test_pushed_push_times_are_ignored(site: Site) -> None:
    """Families named like the gateway's own two of each group never reach the store."""
    body = b"push_time_seconds 1\npush_failure_time_seconds 2\nx 3\n"
    assert site.push("job/a", body).status_code == 200
    assert [family.name for family in applied(site).families] == ["x"]


def test_without_the_check_a_push_is_answered_202() -> None:
    """With the check disabled what contradicts itself is stored, marked as unchecked, and answered 202."""
    site = Site(disable_consistency_check=True)
    assert site.push("job/a", b"x 1\nx 2\n").status_code == 202
    change = applied(site)
    assert (change.checked, change.contradictory) == (False, True)


def test_without_the_check_timestamps_are_refused_all_the_same() -> None:
    """Disabling the check lets no timestamps in."""
    site = Site(disable_consistency_check=True)
    reply = site.push("job/a", b"x 1 123\n")
    assert reply.status_code == 400
    assert isinstance(applied(site), Refusal)


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"x 1 123\n", "timestamps"),
        (b"x 1\nx 2\n", "was collected before with the same name and label values"),
        (b'x{a=""} 1\nx 2\n', "was collected before with the same name and label values"),
        (b"process_open_fds 1\n", "has type UNTYPED but should have GAUGE"),
        (b"pushgateway_http_push_size_bytes_count 1\n", "collides"),
    ],
)
def test_an_inconsistent_push_is_refused_and_recorded(site: Site, method: str, body: bytes, words: str) -> None:
    """A push that contradicts itself or our own metrics is 400, and the group gets a failure time with the reason."""
    reply = site.push("job/a", body, method=method)
    assert reply.status_code == 400
    assert reply.text.startswith("pushed metrics are invalid or inconsistent with existing metrics: ")
    assert words in reply.text
    assert reply.text.endswith("\n")
    change = applied(site)
    assert isinstance(change, Refusal)
    assert (change.key, change.received_at_seconds) == (GroupingKey.of({"job": "a"}), NOW)
    assert change.series == b'{instance="",job="a"}'
    assert change.reason in reply.text


@pytest.mark.parametrize("target", ["job/a/l", "job@base64/!!", "job/a/__x/v", "job@base64/="])
def test_a_wrong_path_changes_nothing(site: Site, target: str) -> None:
    """A path that names no group is 400 before the body is looked at, for pushes and deletes alike."""
    assert site.push(target, b"not a metric").status_code == 400
    assert site.request("DELETE", f"/metrics/{target}").status_code == 400
    assert site.store.changes == []


def test_a_body_that_does_not_parse_changes_nothing(site: Site) -> None:
    """A parse error is 400 with its line and family, and the store is not asked for anything."""
    reply = site.push("job/a", b"x 1\ny z\n")
    assert reply.status_code == 400
    assert reply.text.startswith('text format parsing error in line 2: expected float as value, got "z"')
    assert '"y"' in reply.text
    assert site.store.changes == []


OPENMETRICS = {"Content-Type": "application/openmetrics-text; version=1.0.0; charset=utf-8"}


def test_openmetrics_is_read_by_its_content_type(site: Site) -> None:
    """A body of OpenMetrics is parsed as such, and stored under the names and types that text has for it."""
    body = b"# TYPE x counter\nx_total 1\nx_created 2.5\n# TYPE y info\ny_info 1\n# EOF\n"
    assert site.push("job/a", body, headers=OPENMETRICS).status_code == 200
    change = applied(site)
    assert isinstance(change, Push)
    assert [(family.name, family.type) for family in change.families] == [
        ("x_total", MetricType.COUNTER),
        ("y_info", MetricType.GAUGE),
    ]
    assert b'x_total{instance="",job="a"} 1\n' in site.get("/metrics").data


def test_openmetrics_that_does_not_parse_changes_nothing(site: Site) -> None:
    """A parse error names the format, the line and the family, and the store is not asked for anything."""
    reply = site.push("job/a", b"# TYPE x counter\nx 1\n# EOF\n", headers=OPENMETRICS)
    assert reply.status_code == 400
    assert reply.text.startswith('openmetrics parsing error in line 2: a counter has no sample named "x"')
    assert site.store.changes == []


def test_timestamps_of_openmetrics_are_refused_as_those_of_text_are(site: Site) -> None:
    """A point with a timestamp is well formed, and refused with the reason; the group gets a failure time."""
    reply = site.push("job/a", b"x 1 1600000000.5\n# EOF\n", headers=OPENMETRICS)
    assert reply.status_code == 400
    assert "pushed metrics must not have timestamps" in reply.text
    assert isinstance(applied(site), Refusal)


def test_quoted_names_of_openmetrics_are_judged_by_the_rules(site: Site) -> None:
    """A name beyond the grammar is well formed in quotes, and refused for what it is."""
    reply = site.push("job/a", b'{"my.metric"} 1\n# EOF\n', headers=OPENMETRICS)
    assert reply.status_code == 400
    assert 'invalid metric name "my.metric"' in reply.text


def test_openmetrics_of_another_version_is_415(site: Site) -> None:
    """What is not 1.0 is not guessed at."""
    reply = site.push("job/a", b"# EOF\n", headers={"Content-Type": "application/openmetrics-text; version=2.0.0"})
    assert reply.status_code == 415
    assert "version=1.0.0" in reply.text


def test_lenient_line_endings_are_taken_when_asked_for() -> None:
    """With the flag, CR LF ends lines and the last line may have no end; without, the message says what is wrong."""
    assert Site(lenient_line_endings=True).push("job/a", b"x 1\r\ny 2").status_code == 200
    reply = Site().push("job/a", b"x 1\r\n")
    assert reply.status_code == 400
    assert "--push.lenient-line-endings" in reply.text


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (InconsistentPushError(["no"]), 400, None),
        (LimitError("shapes-per-job", allowed=64, seen=65), 400, None),
        (StoreBusyError("5 s of waiting"), 503, "1"),
        (StoreUnwritableError("disk full"), 503, "5"),
        (StoreUnreadableError("database disk image is malformed"), 503, "5"),
    ],
)
def test_errors_of_the_store_have_their_answers(site: Site, error: Exception, status: int, retry: str | None) -> None:
    """What the store says becomes a status, the reason as body, and a time to try again where that may help."""
    site.store.write_error = error
    reply = site.push("job/a")
    assert (reply.status_code, reply.headers.get("Retry-After")) == (status, retry)
    assert str(error) in reply.text
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert site.counted() == {("push", "post", str(status)): 1}


def test_several_reasons_are_listed(site: Site) -> None:
    """Several findings come as a list, one a line, as in the original."""
    site.store.write_error = InconsistentPushError(["first", "second"])
    assert site.push("job/a").text == (
        "pushed metrics are invalid or inconsistent with existing metrics: 2 error(s) occurred:\n* first\n* second\n"
    )


def test_a_wrong_push_is_wrong_whatever_the_store_says(site: Site) -> None:
    """A refused push is 400 also when its failure time cannot be stored: a retry would be refused too."""
    site.store.write_error = StoreUnwritableError("disk full")
    assert site.push("job/a", b"x 1\nx 1\n").status_code == 400


def test_delete_is_answered_202(site: Site) -> None:
    """DELETE asks the store to remove the group; its body is ignored."""
    reply = site.request("DELETE", "/metrics/job@base64/YQ/l/v", b"whatever")
    assert (reply.status_code, reply.data) == (202, b"")
    assert applied(site) == Delete(GroupingKey.of({"job": "a", "l": "v"}))


def test_a_plain_server_waits_with_a_ticket_of_its_own(site: Site) -> None:
    """Without the bridge each write waits for other writers, with a ticket that nobody else holds."""
    site.push("job/a")
    site.push("job/a")
    (_, first), (_, second) = site.store.changes
    assert isinstance(first, Ticket)
    assert first is not second


@pytest.mark.parametrize("request_", [("POST", b"x 1\n"), ("POST", b"x 1\nx 1\n"), ("DELETE", b"")])
def test_a_write_that_would_block_is_repeated_by_the_bridge(site: Site, request_: tuple[str, bytes]) -> None:
    """Asked not to wait, a write passes WouldBlockError on, uncounted; repeated, it is not prepared again."""
    method, body = request_
    scratch: dict[str, object] = {}
    site.store.write_error = WouldBlockError("busy")
    with pytest.raises(WouldBlockError):
        site.request(
            method,
            "/metrics/job/a",
            gzip.compress(body),
            headers={"Content-Encoding": "gzip"},
            environ={"pushgateway.ticket": None, "pushgateway.scratch": scratch},
        )
    assert site.counted() == {}
    assert not [one for one in site.telemetry.families() if "_push_" in one.name]

    site.store.write_error = None
    site.now += 10
    ticket = Ticket()
    environ = {"pushgateway.ticket": ticket, "pushgateway.scratch": scratch}
    headers = {"Content-Encoding": "gzip"}
    reply = site.request(method, "/metrics/job/a", gzip.compress(body), headers=headers, environ=environ)
    assert reply.status_code == {"POST": 200, "DELETE": 202}[method] or b"x 1\nx" in body
    (first, no_ticket), (second, its_ticket) = site.store.changes
    assert first is second
    assert no_ticket is None
    assert its_ticket is ticket
    assert sum(site.counted().values()) == 1


def test_pushes_are_counted_and_observed(site: Site) -> None:
    """Each push, taken or refused, adds to the counter and to both histograms; DELETE only to the counter."""
    site.push("job/a", method="PUT")
    site.push("job/a", b"x z\n", method="PUT")
    site.request("DELETE", "/metrics/job/a")
    assert site.counted() == {("push", "put", "200"): 1, ("push", "put", "400"): 1, ("delete", "delete", "202"): 1}
    families = {one.name: one.metrics for one in site.telemetry.families()}
    (size,), (duration,) = (families[f"pushgateway_http_push_{what}"] for what in ("size_bytes", "duration_seconds"))
    assert size.count == duration.count == 2
    assert 8 < size.sum < 1000


def test_bodies_are_limited() -> None:
    """A body that is too large as sent, or after decompression, is 413 and names the limit."""
    site = Site(limits=Limits(body_bytes=1000, decoded_bytes=2000))
    assert site.push("job/a", b"#" * 999 + b"\n").status_code == 200
    reply = site.push("job/a", b"#" * 1000 + b"\n")
    assert (reply.status_code, "body-bytes" in reply.text, "1000" in reply.text) == (413, True, True)
    reply = site.push("job/a", gzip.compress(b"#" * 2000 + b"\n"), headers={"Content-Encoding": "gzip"})
    assert (reply.status_code, "decoded-bytes" in reply.text) == (413, True)


def test_a_body_without_a_length_is_read_to_its_end() -> None:
    """A server that has taken a chunked body apart says that its input ends; the limit holds there too."""
    site = Site(limits=Limits(body_bytes=1000))
    environ = {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}
    reply = site.push("job/a", environ={**environ, "wsgi.input": io.BytesIO(b"x 1\n")})
    assert (reply.status_code, len(applied(site).families)) == (200, 1)
    assert site.push("job/a", environ={**environ, "wsgi.input": io.BytesIO(b"#" * 1001)}).status_code == 413


@pytest.mark.parametrize("length", ["x", "-1", "٣", "5"])
def test_a_wrong_length_is_a_bad_request(site: Site, length: str) -> None:
    """A length that is none, or more than what arrived, is 400: half a push is never stored."""
    reply = site.push("job/a", environ={"CONTENT_LENGTH": length, "wsgi.input": io.BytesIO(b"x 1\n")})
    assert reply.status_code == 400
    assert site.store.changes == []


@pytest.mark.parametrize(("method", "target"), [("GET", "/metrics"), ("DELETE", "/metrics/job/a"), ("GET", "/nothing")])
def test_a_wrong_encoding_is_refused_outside_of_the_api(site: Site, method: str, target: str) -> None:
    """As in the original, Content-Encoding counts also where nobody reads the body, but for the API."""
    for headers, status in (({"Content-Encoding": "gzip"}, 400), ({"Content-Encoding": "br"}, 415)):
        reply = site.request(method, target, headers=headers)
        assert reply.status_code == status
        assert site.get("/api/v1/metrics", headers=headers).status_code == 200
    assert site.request(method, target, headers={"Content-Encoding": "gzip"}).text.startswith("EOF; ")


def bridged(ticket: Ticket | None, **others: Any) -> dict[str, Any]:
    """Return what the bridge puts into an environment."""
    return {"pushgateway.ticket": ticket, "pushgateway.scratch": {}, **others}


@pytest.mark.parametrize(
    ("path", "body", "long"),
    [
        ("job/a/instance/b", b"x 1\n" * 1000, False),
        ("job/a", b"\n" * 60_000, True),
        ("job/a", b"".join(b"x%d 1\n" % number for number in range(5000)), True),
        ("job/a" + "".join(f"/l{number}/v" for number in range(60)), b"x 1\n" * 400, True),
        ("job/" + "a" * 50_000, b"x 1\n" * 30, True),
    ],
)
def test_what_takes_long_is_not_done_on_the_loop(site: Site, path: str, body: bytes, long: bool) -> None:
    """Without a ticket, a push of many lines or of many labels in each asks to be repeated, and is then taken."""
    inline = bridged(None, **{"pushgateway.room_bytes": 1 << 16})
    if not long:
        assert site.push(path, body, environ=inline).status_code == 400
        return
    with pytest.raises(LongWorkError):
        site.push(path, body, environ=inline)
    assert site.counted() == {}
    assert site.push(path, body, environ=bridged(Ticket())).status_code in (200, 400)


def test_protobuf_is_not_loaded_on_the_loop(site: Site) -> None:
    """The first push of protobuf asks to be repeated in a thread, which loads what all others need."""
    media = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
    headers = {"Content-Type": media}
    body = protobuf.render([MetricFamily("x", MetricType.GAUGE, "", (Sample((), 1.0),))])
    family_class.cache_clear()
    with pytest.raises(LongWorkError):
        site.push("job/a", body, headers=headers, environ=bridged(None, **{"pushgateway.room_bytes": 1 << 16}))
    for ticket in (Ticket(), None):
        environ = bridged(ticket, **{"pushgateway.room_bytes": 1 << 16})
        assert site.push("job/a", body, headers=headers, environ=environ).status_code == 200


def test_many_families_are_not_stored_on_the_loop(site: Site) -> None:
    """Without a ticket, a push of many families is prepared and not stored; repeated with one, it is."""
    body = b"".join(b"x%d 1\n" % number for number in range(201))
    scratch: dict[str, object] = {}
    with pytest.raises(WouldBlockError):
        site.push("job/a", body, environ={"pushgateway.ticket": None, "pushgateway.scratch": scratch})
    assert (site.store.changes, "prepared" in scratch) == ([], True)
    assert site.push("job/a", body, environ={"pushgateway.ticket": Ticket()}).status_code == 200
    assert site.push("job/a", body.rpartition(b"x")[0], environ=bridged(None)).status_code == 200


def test_a_bomb_is_inflated_no_further_than_there_is_room(site: Site) -> None:
    """A small body that becomes a large one asks to be repeated where there is room, whatever its lines."""
    body, headers = gzip.compress(b"#" * 5000 + b"\n"), {"Content-Encoding": "gzip"}
    with pytest.raises(LongWorkError):
        site.push("job/a", body, headers=headers, environ=bridged(None, **{"pushgateway.room_bytes": 5000}))
    assert site.store.changes == []
    for others in ({"pushgateway.room_bytes": 5001}, {}):
        assert site.push("job/a", body, headers=headers, environ=bridged(Ticket(), **others)).status_code == 200


def test_work_for_an_expired_ticket_ends(site: Site) -> None:
    """What the bridge has answered for lateness is parsed no further, and neither counted nor logged a second time."""
    ticket = Ticket()
    assert ticket.expire()
    with logged() as lines:
        reply = site.push("job/a", b"x 1\nx", environ=bridged(ticket))
    assert (reply.status_code, lines, site.counted(), site.store.changes) == (503, [], {}, [])


@pytest.mark.parametrize("target", ["/metrics", "/-/healthy", "/nothing"])
def test_only_the_beginning_is_inflated_where_nobody_reads(
    site: Site, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bomb for a page that has no use for bodies is let go after its beginning; a body that is no gzip is refused."""
    seen: list[int] = []
    inflate = compression.decompress

    def decompress(data: bytes, encoding: Any, *, limit_bytes: int, check: Any = None) -> bytes:
        seen.append(limit_bytes)
        return inflate(data, encoding, limit_bytes=limit_bytes, check=check)

    monkeypatch.setattr(compression, "decompress", decompress)
    headers = {"Content-Encoding": "gzip"}
    for body in (gzip.compress(bytes(10**6)), gzip.compress(b"") * 10):
        assert site.get(target, body=body, headers=headers).status_code in (200, 404)
    assert max(seen) <= 1 << 16
    assert site.get(target, body=b"plain text", headers=headers).status_code == 400


def test_limits_hold_while_a_body_is_parsed() -> None:
    """The limits of the settings are those that a body is parsed with."""
    site = Site(limits=Limits(samples_per_push=3, labels_per_series=2, name_bytes=5, key_labels=2, rendered_bytes=100))
    assert "limit key-labels exceeded" in site.push("job/a/b/c/d/e").text
    assert "limit rendered-bytes exceeded" in site.push("job/" + "a" * 50, b"x 1\ny 1\n").text
    for body, limit in (
        (b"x 1\n" * 4, "samples-per-push"),
        (b'x{a="",b="",c=""} 1\n', "labels-per-series"),
        (b"abcdef 1\n", "name-bytes"),
    ):
        reply = site.push("job/a", body)
        assert (reply.status_code, f"limit {limit} exceeded" in reply.text) == (
            413 if limit == "name-bytes" else 400,
            True,
        )
    assert site.store.changes == []
    limits = ("key-labels", "rendered-bytes", "samples-per-push", "labels-per-series", "name-bytes")
    assert site.refusals() == dict.fromkeys(limits, 1)


def test_labels_of_pushed_push_times_are_ignored_too(site: Site) -> None:
    """Families named like the gateway's own two are dropped whatever their labels; their timestamps are refused."""
    assert site.push("job/a", b'push_time_seconds{__a="1"} 1\nx 3\n').status_code == 200
    assert [family.name for family in applied(site).families] == ["x"]
    assert site.push("job/a", b"push_time_seconds 1 123\n").status_code == 400
