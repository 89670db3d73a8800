"""Can the operator of a running gateway find out which pushes were refused, by whom, and why?"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import Gateway, exchange, poll

JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """A gateway that logs everything as JSON."""
    with Gateway(
        "--storage.url=memory:", "--log.format=json", "--log.level=debug", "--limit.body-bytes=1000"
    ) as service:
        yield service


def failures(gateway: Gateway, limit: int = 512) -> list[dict[str, Any]]:
    """What the gateway tells of refused pushes."""
    reply = gateway.get(f"/api/v1/failures?limit={limit}")
    assert reply.status == 200
    return json.loads(reply.text)["data"]


def lines(gateway: Gateway, text: str) -> list[dict[str, Any]]:
    """The log lines of requests that contain a text."""
    found = [line for line in gateway.log().splitlines() if text in line]
    return [told for told in map(json.loads, found) if "method" in told]


REFUSED = [
    ("syntax", "PUT /metrics/job/{0} HTTP/1.1\r\nContent-Length: 2\r\n", b"x\n", 400, "parse"),
    ("gzip", "PUT /metrics/job/{0} HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n", b"x\n", 400, "parse"),
    ("url", "POST /metrics/job/{0}/x HTTP/1.1\r\nContent-Length: 0\r\n", b"", 400, "grouping_key"),
    ("escape", "DELETE /metrics/job/{0}/%zz/a HTTP/1.1\r\n", b"", 400, "request"),
    ("encoding", "PUT /metrics/job/{0} HTTP/1.1\r\nContent-Encoding: br\r\nContent-Length: 0\r\n", b"", 415,
     "unsupported_media"),
    ("length", "PUT /metrics/job/{0} HTTP/1.1\r\nContent-Length: 1001\r\n", b"", 413, "limit"),
    ("chunked", "PUT /metrics/job/{0} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", b"3e9\r\n" + b"#" * 1001, 413,
     "limit"),
    ("framing", "PUT /metrics/job/{0} HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n", b"", 501, "request"),
    ("method", "PUT /metrics?{0} HTTP/1.1\r\nContent-Length: 0\r\n", b"", 405, "method_not_allowed"),
    ("path", "PUT /metrics/jobs/{0} HTTP/1.1\r\nContent-Length: 0\r\n", b"", 404, "not_found"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "head", "body", "status", "kind"), REFUSED, ids=[case[0] for case in REFUSED])
def test_every_refusal_is_json_a_line_and_a_failure(
    gateway: Gateway, name: str, head: str, body: bytes, status: int, kind: str
) -> None:
    """Whoever refuses a push: it is answered as JSON if that is asked for, logged once, and listed, alike."""
    before = len(failures(gateway))
    message = f"{head.format(name)}Host: x\r\nConnection: close\r\nAccept: application/json\r\n\r\n".encode() + body
    reply = exchange(gateway.address, message)
    assert (reply.status, reply.header("Content-Type")) == (status, "application/json")
    assert reply.header("X-Content-Type-Options") == "nosniff"
    answer = json.loads(reply.body)
    assert (answer["status"], answer["errorType"]) == ("error", kind)

    found = failures(gateway)
    assert len(found) == before + 1
    told = found[0]
    assert (told["status"], told["errorType"], told["source"]) == (status, kind, "127.0.0.1")
    assert told["reason"] == answer["error"]
    assert {key: told.get(key) for key in ("line", "limit", "allowed")} == {
        key: answer.get(key) for key in ("line", "limit", "allowed")
    }
    assert told["group"] in (None, {"job": name})
    written = [line for line in lines(gateway, f'"status": {status}') if line["reason"] == answer["error"]]
    assert (len(written) >= 1, written[-1]["method"]) == (True, told["method"])
    assert ("group" in written[-1]) == (told["group"] is not None)


def test_what_succeeds_is_told_at_level_debug(gateway: Gateway) -> None:
    """A push and a delete that succeed leave one line each."""
    assert gateway.push("job/fine", b"x 1\ny 2\n", method="PUT").status == 200
    assert gateway.delete("job/fine").status == 202
    stored, deleted = lines(gateway, 'job=\\"fine\\"')
    assert (stored["msg"], stored["bytes"], stored["families"], stored["samples"]) == ("metrics persisted", 8, 2, 2)
    assert (deleted["msg"], deleted["status"]) == ("group deleted", 202)
    assert stored["duration"] > 0


def test_nothing_that_is_sent_forges_a_line(gateway: Gateway) -> None:
    """Line ends, quotes and broken UTF-8 in paths and bodies make no line, and each line is JSON."""
    for path in ("job/%0Alevel=error/x", 'job/"a"/%22', "job/%FF", "job/%E2%80%A8x/y", "job/%1b[2J"):
        gateway.push(path, b'"\n\x1b[2J\xff')
    for line in gateway.log().splitlines():
        assert json.loads(line)["level"] in ("debug", "info", "warn", "error")


def test_failures_of_all_workers_are_one_list_which_a_killed_worker_leaves_alone() -> None:
    """Whichever worker refuses a push, every worker lists it, also when the one that did has been killed."""
    with Gateway("--storage.url=memory:", "--web.workers=3") as service:
        for number in range(60):
            assert service.push(f"job/{number}", b"x\n").status == 400
        expected = [str(number) for number in range(59, -1, -1)]
        for _ in range(10):
            assert [told["group"]["job"] for told in failures(service)] == expected
        for pid in service.all_workers(3):
            os.kill(pid, signal.SIGKILL)
        poll(lambda: service.get("/-/ready").status == 200, seconds=20, what="new workers")
        assert [told["group"]["job"] for told in failures(service)] == expected
        assert service.push("job/after", b"x\n").status == 400
        assert failures(service, 1)[0]["group"] == {"job": "after"}
        service.restart()
        assert failures(service) == []


def test_logfmt_has_the_same_keys() -> None:
    """A refused push is one line in logfmt too, in the words of the original; at level info nothing else is told."""
    with Gateway("--storage.url=memory:") as service:
        service.push("job/fine", b"x 1\n")
        service.push("job/a%20b", b"x 1\nx 1\n")
        (line,) = [line for line in service.log().splitlines() if "method=" in line]
        assert re.fullmatch(
            r"ts=\S+ level=error caller=\S+ "
            r'msg="pushed metrics are invalid or inconsistent with existing metrics" '
            r'method=POST group="\{job=\\"a b\\"\}" source=127\.0\.0\.1 status=400 duration=0\.\d+ reason=".*"',
            line,
        )


def activity(gateway: Gateway) -> dict[str, Any]:
    """What the gateway tells of the last hour."""
    return json.loads(gateway.get("/api/v1/activity").text)["data"]


def totals(gateway: Gateway) -> tuple[int, int]:
    """How many pushes and refusals of the last hour there were."""
    minutes = activity(gateway)["minutes"]
    return sum(one["pushes"] for one in minutes), sum(one["refusals"] for one in minutes)


def test_activity_is_that_of_all_workers(gateway: Gateway) -> None:
    """Every worker tells what all have taken and refused, and what a killed one had counted stays."""
    workers = set(gateway.all_workers())
    before = totals(gateway)
    large = b"x 1\n" + b"# comment\n" * 50
    for number in range(40):
        assert gateway.push(f"job/active/instance/{number % 4}", large if number == 7 else b"x 1\n").status == 200
        assert gateway.push("job/active", b"x\n").status == 400
    expected = before[0] + 40, before[1] + 40
    assert [totals(gateway) for _ in range(8)] == [expected] * 8
    os.kill(min(workers), signal.SIGKILL)
    poll(lambda: len(set(gateway.workers()) - {min(workers)}) == 2, seconds=20, what="the worker is replaced")
    assert [totals(gateway) for _ in range(8)] == [expected] * 8
    assert gateway.push("job/active", b"x 1\n").status == 200
    assert totals(gateway) == (expected[0] + 1, expected[1])
    largest = activity(gateway)["largest"][0]
    assert (largest["group"], largest["body_bytes"]) == ({"job": "active", "instance": "3"}, len(large))


def test_pages_of_other_sites_leave_a_trace(gateway: Gateway) -> None:
    """A push that a browser sends for a page of another site is a line of the log, a failure, and counted."""
    series = 'pushgateway_http_requests_total{code="403",handler="push",method="post"} '
    reply = gateway.push("job/forged", b"x 1\n", headers={"Sec-Fetch-Site": "cross-site", **JSON})
    assert (reply.status, json.loads(reply.text)["errorType"]) == (403, "cross_site")
    assert (failures(gateway)[0]["errorType"], failures(gateway)[0]["group"]) == ("cross_site", {"job": "forged"})
    (line,) = lines(gateway, "forged")
    assert (line["msg"], line["level"], line["status"]) == ("push refused", "warn", 403)
    assert [one for one in gateway.get("/metrics").text.splitlines() if one.startswith(series)] == [series + "1"]
