"""How requests may be spelt, and what is refused before the application sees it; all default limits."""

from __future__ import annotations

import socket
from http.client import HTTPResponse

import pytest

from tests.harness import Gateway, exchange, poll

CRLF = b"\r\n"


def raw(*lines: bytes, body: bytes = b"") -> bytes:
    """Join the lines of a head, and add a body."""
    return CRLF.join(lines) + CRLF * 2 + body


def has(gateway: Gateway, sample: str) -> bool:
    """Whether a line of the exposition begins like this."""
    return any(line.startswith(sample) for line in gateway.get("/metrics").text.splitlines())


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (raw(b"GET /-/healthy HTTP/1.0"), 200),
        (raw(b"GET /-/healthy HTTP/1.1", b"Host: x", b"Connection: close"), 200),
        (raw(b"", b"", b"GET /-/healthy HTTP/1.1", b"Host: x", b"Connection: close"), 200),
        (raw(b"GET http://other:80/-/healthy?x=1 HTTP/1.1", b"Host: x", b"Connection: close"), 200),
        (raw(b"GET /-/healthy#part HTTP/1.1", b"Host: x", b"Connection: close"), 200),
        (raw(b"HEAD /-/healthy HTTP/1.1", b"Host: x", b"Connection: close"), 200),
        (raw(b"FOO /metrics HTTP/1.1", b"Host: x", b"Connection: close"), 405),
        (raw(b"get /metrics HTTP/1.1", b"Host: x", b"Connection: close"), 405),
        (raw(b"CONNECT /metrics HTTP/1.1", b"Host: x", b"Connection: close"), 405),
        (raw(b"GET /nowhere HTTP/1.1", b"Host: x", b"Connection: close"), 404),
        (raw(b'GET /"<>\\^`{|} HTTP/1.1', b"Host: x", b"Connection: close"), 404),
        (raw("GET /ü HTTP/1.1".encode(), b"Host: x", b"Connection: close"), 404),
        (raw(b"GET /-/healthy HTTP/1.1", b"Host: x", b"Connection: close", b"X: " + b"a" * 60_000), 200),
    ],
)
def test_taken(gateway: Gateway, request_bytes: bytes, status: int) -> None:
    """HTTP/1.0, absolute targets, odd methods and odd targets reach the application, as in the original."""
    method = request_bytes.split(maxsplit=1)[0].decode()
    assert exchange(gateway.address, request_bytes, method=method).status == status


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (raw(b"garbage"), 400),
        (raw(b"GET /"), 400),
        (raw(b"GET  / HTTP/1.1", b"Host: x"), 400),
        (raw(b"GET /a b HTTP/1.1", b"Host: x"), 400),
        (raw(b"GET /\x01 HTTP/1.1", b"Host: x"), 400),
        (raw(b"G\xc3T / HTTP/1.1", b"Host: x"), 400),
        (raw(b"GET / http/1.1", b"Host: x"), 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\n\n", 400),
        (raw(b"GET / HTTP/2.0", b"Host: x"), 505),
        (raw(b"GET / HTTP/1.2", b"Host: x"), 505),
        (raw(b"PRI * HTTP/2.0", b"", b"SM"), 505),
        (raw(b"GET / HTTP/1.1"), 400),
        (raw(b"GET / HTTP/1.1", b"Host: x", b"Host: y"), 400),
        (raw(b"GET / HTTP/1.1", b"Host: x", b"Name : y"), 400),
        (raw(b"GET / HTTP/1.1", b"Host: x", b"Name: y", b" folded"), 400),
        (raw(b"GET / HTTP/1.1", b"Host: x", b"Na\x00me: y"), 400),
        (raw(b"GET / HTTP/1.1", b"Host: x", b"Name: y\x00"), 400),
        (raw(b"GET / HTTP/1.1", b"Host: x", b"Name: y\rX: z"), 400),
        (raw(b"GET / HTTP/1.1", b"Host: x", b"no colon"), 400),
        (raw(b"GET / HTTP/1.1", b"Host: x", *[b"A: b"] * 300), 431),
        (b"GET /" + b"a" * 70_000, 414),
        (raw(b"GET /" + b"a" * 70_000 + b" HTTP/1.1", b"Host: x"), 431),
        (raw(b"GET / HTTP/1.1", b"Host: x", b"X: " + b"a" * 30_000_000), 431),
        (raw(b"POST /metrics/job/a HTTP/1.1", b"Host: x", b"Content-Length: 67108865"), 413),
        (raw(b"POST /metrics/job/a HTTP/1.1", b"Host: x", b"Content-Length: 99999999999999999999999"), 400),
    ],
)
def test_refused(gateway: Gateway, request_bytes: bytes, status: int) -> None:
    """What is malformed or too large is refused with a reason that the client gets to read, whatever it still sends."""
    reply = exchange(gateway.address, request_bytes)
    assert reply.status == status
    assert reply.header("Connection") == "close"
    assert reply.header("X-Content-Type-Options") == "nosniff"
    assert reply.text.endswith("\n")
    assert gateway.get("/-/healthy").status == 200


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        ([b"Content-Length: 3", b"Transfer-Encoding: chunked"], b"0\r\n\r\n", 400),
        ([b"Transfer-Encoding: chunked", b"Content-Length: 3"], b"0\r\n\r\n", 400),
        ([b"Content-Length: 3", b"Content-Length: 3"], b"abc", 400),
        ([b"Content-Length: 3", b"Content-Length: 4"], b"abcd", 400),
        ([b"Content-Length: 3, 3"], b"abc", 400),
        ([b"Content-Length: +3"], b"abc", 400),
        ([b"Content-Length: 0x3"], b"abc", 400),
        ([b"Content-Length: -3"], b"abc", 400),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], b"0\r\n\r\n", 400),
        ([b"Transfer-Encoding: chunked, identity"], b"0\r\n\r\n", 400),
        ([b"Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n", 501),
        ([b"Transfer-Encoding: identity"], b"", 501),
        ([b"Transfer-Encoding: xchunked"], b"0\r\n\r\n", 501),
        ([b"Transfer-Encoding : chunked"], b"0\r\n\r\n", 400),
        ([b"Transfer-Encoding: chunked"], b"zz\r\nabc\r\n0\r\n\r\n", 400),
        ([b"Transfer-Encoding: chunked"], b"3\r\nabcd\r\n0\r\n\r\n", 400),
        ([b"Transfer-Encoding: chunked"], b"-1\r\nabc\r\n0\r\n\r\n", 400),
        ([b"Transfer-Encoding: chunked"], b"ffffffffffffffffff\r\nabc\r\n0\r\n\r\n", 400),
        ([b"Transfer-Encoding: chunked"], b"0\r\nTrailer: " + b"x" * 600_000, 431),
        ([b"Transfer-Encoding: chunked"], b"1;" + b"x" * 600_000, 431),
    ],
)
def test_framing_is_unambiguous(gateway: Gateway, fields: list[bytes], body: bytes, status: int) -> None:
    """A body whose end two servers could see at different places is refused, and nothing of it is stored."""
    head = raw(b"PUT /metrics/job/smuggled HTTP/1.1", b"Host: x", *fields)
    assert exchange(gateway.address, head + body).status == status
    assert 'job="smuggled"' not in gateway.get("/metrics").text


def test_chunked_in_http_1_0(gateway: Gateway) -> None:
    """A chunked body in HTTP/1.0, whose end an old proxy sees elsewhere, is refused."""
    request = raw(b"PUT /metrics/job/old HTTP/1.0", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")
    assert exchange(gateway.address, request).status == 400


@pytest.mark.parametrize(
    ("name", "fields", "body"),
    [
        ("chunks", [b"Transfer-Encoding: chunked"], b"7\r\nchunks \r\n2;ext=1\r\n1\n\r\n0\r\n\r\n"),
        ("trailers", [b"Transfer-Encoding: Chunked"], b"b\r\ntrailers 1\n\r\n0\r\nContent-Encoding: gzip\r\n\r\n"),
        ("h2c", [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"Content-Length: 6"], b"h2c 1\n"),
        ("ws", [b"Connection: upgrade", b"UPGRADE: websocket", b"Content-Length: 5"], b"ws 1\n"),
        ("expect", [b"Expect: 100-continue", b"Content-Length: 9"], b"expect 1\n"),
    ],
)
def test_bodies(gateway: Gateway, name: str, fields: list[bytes], body: bytes) -> None:
    """Chunks, trailers, offers to upgrade and Expect: 100-continue all lead to the whole body being stored."""
    request = raw(b"PUT /metrics/job/bodies/way/%s HTTP/1.1" % name.encode(), b"Host: x", *fields, body=body)
    with socket.create_connection(gateway.address, timeout=20) as connection:
        connection.sendall(request)
        response = HTTPResponse(connection)
        response.begin()
        assert response.status == 200, response.read()
    assert has(gateway, name + "{")


def test_expect_is_answered_before_the_body(gateway: Gateway) -> None:
    """A client that waits for 100 Continue gets it; one whose body would be too large gets 413 instead."""
    head = (b"POST /metrics/job/expect HTTP/1.1", b"Host: x", b"Expect: 100-continue")
    with socket.create_connection(gateway.address, timeout=20) as connection:
        connection.sendall(raw(*head, b"Content-Length: 4"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"x 1\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    assert exchange(gateway.address, raw(*head, b"Content-Length: 100000000")).status == 413


def test_pipelining(gateway: Gateway) -> None:
    """Requests that are sent without waiting are answered in order, also behind chunked bodies and in odd pieces."""
    push = raw(
        b"POST /metrics/job/pipe HTTP/1.1",
        b"Host: x",
        b"Transfer-Encoding: chunked",
        body=b"7\r\npipe 1\n\r\n0\r\n\r\n",
    )
    health = raw(b"GET /-/healthy HTTP/1.1", b"Host: x")
    last = raw(b"PUT /metrics HTTP/1.1", b"Host: x", b"Connection: close")
    stream = push + health + push + health * 3 + last
    for size in (1, 7, 100, len(stream)):
        with socket.create_connection(gateway.address, timeout=20) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(stream), size):
                connection.sendall(stream[start : start + size])
            received = b""
            while piece := connection.recv(65536):
                received += piece
        statuses = [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]
        assert statuses == [b"200"] * 6 + [b"405"]


def test_refusal_behind_a_request(gateway: Gateway) -> None:
    """A malformed request behind a good one does not cost the good one its answer."""
    good = raw(b"POST /metrics/job/good HTTP/1.1", b"Host: x", b"Content-Length: 7", body=b"good 1\n")
    with socket.create_connection(gateway.address, timeout=20) as connection:
        connection.sendall(good + raw(b"garbage"))
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.startswith(b"HTTP/1.1 200 ")
    assert has(gateway, "good{")


@pytest.mark.parametrize("body_length", [0, 7, 200_000])
def test_half_closed_connection(gateway: Gateway, body_length: int) -> None:
    """A client that shuts down its sending side after its request still gets the answer."""
    body = b"half 1\n" + b"\n" * max(0, body_length - 7)
    head = raw(b"PUT /metrics/job/half HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(body))
    with socket.create_connection(gateway.address, timeout=20) as connection:
        connection.sendall(head + body)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.startswith(b"HTTP/1.1 200 ")


def test_client_that_does_not_wait(gateway: Gateway) -> None:
    """A complete push is stored even if its client closes at once."""
    with socket.create_connection(gateway.address, timeout=20) as connection:
        connection.sendall(raw(b"PUT /metrics/job/hasty HTTP/1.1", b"Host: x", b"Content-Length: 8", body=b"hasty 1\n"))
    poll(lambda: has(gateway, "hasty{"), seconds=10, what="the push to be stored")


def test_no_server_header(gateway: Gateway) -> None:
    """Answers have a Date and do not tell which server made them."""
    reply = gateway.get("/-/healthy")
    assert reply.header("Server") is None
    assert (reply.header("Date") or "").endswith("GMT")
    assert exchange(gateway.address, raw(b"garbage")).header("Server") is None


def test_nothing_of_this_is_logged(gateway: Gateway) -> None:
    """What clients send amiss does not fill the log at level info."""
    before = gateway.log()
    for request in (raw(b"garbage"), b"GET / HTTP/1.1\n\n", raw(b"GET / HTTP/1.1", b"Host: x", b"Bad : y")):
        assert exchange(gateway.address, request).status == 400
    assert gateway.log() == before
