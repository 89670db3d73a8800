from __future__ import annotations

import gzip
import json
import re
import socket
from typing import Any
from urllib.parse import urljoin

import pytest

from tests.harness import Reply, Service, exchange
from tests.rows import load

ACCEPTED_BODY = b"x 1\n"
BOTH = pytest.mark.parametrize(
    "service", [("gateway", "admin"), ("original", "admin")], indirect=True, ids=["ours", "original"]
)


def route_cases() -> list[Any]:
    rows = load("routes.toml")
    assert len({row["id"] for row in rows}) == len(rows)
    return [
        pytest.param(
            (kind, row.get("flags", "admin")), row, id=row["id"] + ("" if kind == "gateway" else " (original)")
        )
        for kind in ("gateway", "original")
        for row in rows
        if kind == "gateway" or "original" not in row
    ]


@pytest.mark.parametrize(("service", "row"), route_cases(), indirect=["service"])
def test_route(service: Service, row: dict[str, Any]) -> None:
    """Sections A, C and J: how one request is answered, headers included."""
    method, target = row["request"].split(" ", 1)
    body = row["body"].encode() if "body" in row else None
    if "gzip" in row:
        body = b"".join(gzip.compress(part.encode()) for part in row["gzip"])
        body = body[: len(body) - row.get("cut", 0)]
    if body is None and method in ("PUT", "POST"):
        body = b""
    if "bomb" in row:
        body = b"".join(gzip.compress(bytes(10**7)) for _ in range(row["bomb"] // 10**7))
    headers = row.get("send", {}) | ({"X-Long": "x" * row["long_header"]} if "long_header" in row else {})
    check_reply(service.request(method, target, body, headers), row)


def check_reply(reply: Reply, row: dict[str, Any]) -> None:
    """Compare an answer with all that a row says of it."""
    allowed = row["status"] if isinstance(row["status"], list) else [row["status"]]
    assert reply.status in allowed, reply.body[:500]
    if "text" in row:
        assert reply.text == row["text"]
    for fragment in row.get("has", ()):
        assert fragment in reply.text
    if "type" in row:
        assert (reply.header("Content-Type") or "") == row["type"]
    if "allow" in row:
        methods = (reply.header("Allow") or "").split(", ")
        assert methods == sorted(methods)
        assert ", ".join(name for name in methods if name != "HEAD") == row["allow"]
    if "json" in row:
        assert json.loads(reply.body).items() >= row["json"].items()
    for name, value in row.get("headers", {}).items():
        found = reply.header(name)
        if name == "Location" and found:
            found = urljoin(row["request"].split(" ", 1)[1], found)
        assert found == value, name
    for name in row.get("absent", ()):
        assert reply.header(name) is None, name


@BOTH
def test_http_1_0_is_taken(service: Service) -> None:
    """Section A: an HTTP/1.0 request without a Host header is answered, and the connection closed."""
    reply = exchange(service.address, b"POST /metrics/job/old HTTP/1.0\r\nContent-Length: 4\r\n\r\n" + ACCEPTED_BODY)
    assert reply.status == 200
    assert service.scrape().value("x", job="old") == 1
    service.delete("job/old")


@BOTH
def test_chunked_body_is_taken(service: Service) -> None:
    """Section A: a body in chunks is read whole, whatever the borders of the chunks."""
    head = b"POST /metrics/job/chunks HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    reply = exchange(service.address, head + b'3\r\nx 1\r\n1\r\n\n\r\n8;ext=1\r\ny{a="b"}\r\n3\r\n 2\n\r\n0\r\n\r\n')
    assert reply.status == 200, reply.text
    scrape = service.scrape()
    assert (scrape.value("x", job="chunks"), scrape.value("y", job="chunks", a="b")) == (1, 2)
    service.delete("job/chunks")


@BOTH
def test_expect_continue_is_answered(service: Service) -> None:
    """Section A: a client that waits for 100 Continue gets it, and then the answer to its push."""
    head = b"POST /metrics/job/expect HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue"
    with socket.create_connection(service.address, timeout=20) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(ACCEPTED_BODY)
        assert connection.recv(12) == b"HTTP/1.1 200"
    service.delete("job/expect")


@BOTH
def test_requests_share_a_connection(service: Service) -> None:
    """Section A: several requests, sent at once on one connection, are answered in order."""
    push = b"POST /metrics/job/pipe HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
    end = b"Connection: close\r\n"
    with socket.create_connection(service.address, timeout=20) as connection:
        connection.sendall(push + b"\r\n" + ACCEPTED_BODY + push + b"\r\nx z\n" + push + end + b"\r\n" + ACCEPTED_BODY)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"400", b"200"]
    service.delete("job/pipe")


@pytest.mark.parametrize(
    "service", [("gateway", "prefix"), ("original", "prefix")], indirect=True, ids=["ours", "original"]
)
def test_pushes_below_a_prefix_are_exposed_below_it(service: Service) -> None:
    """Section J: with a prefix and another telemetry path, what was pushed is exposed there."""
    service.push("job/prefixed", b"prefixed 1\n")
    assert b'prefixed{instance="",job="prefixed"} 1\n' in service.get("/tele").body
    service.delete("job/prefixed")


@BOTH
def test_redirect_below_the_api_ends_nowhere(service: Service) -> None:
    """Section A: the path of the API alone leads to 404, be it by way of a redirect."""
    reply = service.get("/api/v1")
    if reply.status == 301:
        reply = service.get(urljoin("/api/v1", reply.header("Location") or ""))
    assert (reply.status, reply.text) == (404, "404 page not found\n")
