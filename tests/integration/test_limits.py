"""Does each limit that has a flag hold, is its refusal answered with name and value, and is it counted?"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
from collections.abc import Iterator

import pytest

from tests.harness import Gateway

FLAGS = {
    "body-bytes": "2000",
    "decoded-bytes": "4KiB",
    "samples-per-push": "20",
    "labels-per-series": "3",
    "name-bytes": "20",
    "value-bytes": "30",
    "groups": "3",
    "families": "4",
    "series": "6",
    "request-seconds": "1",
    "header-seconds": "1000ms",
}
GZIP = {"Content-Encoding": "gzip"}
JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module")
def limited() -> Iterator[Gateway]:
    """A gateway with small limits, half of them set in the environment, that holds two groups of two families."""
    flags = [f"--limit.{name}={value}" for name, value in list(FLAGS.items())[::2]]
    env = {f"PUSHGATEWAY_LIMIT_{name.upper().replace('-', '_')}": value for name, value in list(FLAGS.items())[1::2]}
    with Gateway("--storage.url=memory:", *flags, env=env) as service:
        for job in "ab":
            assert service.push(f"job/{job}", b'x{l="1"} 1\nx{l="2"} 1\ny 1\n', method="PUT").status == 200
        yield service


def refusals(gateway: Gateway) -> dict[str, float]:
    """What was refused so far, by limit, over all workers."""
    found = gateway.scrape().families.get("pushgateway_limit_refusals_total")
    return {} if found is None else {line.label_map["limit"]: float(line.value) for line in found.lines}


@pytest.mark.parametrize(
    ("limit", "path", "body", "headers", "status", "allowed", "seen"),
    [
        ("body-bytes", "job/a", b"#" * 2001, {}, 413, 2000, 2001),
        ("decoded-bytes", "job/a", gzip.compress(b"#" * 5000), GZIP, 413, 4096, None),
        ("samples-per-push", "job/a", b"x 1\n" * 21, {}, 400, 20, None),
        ("labels-per-series", "job/a", b'x{a="",b="",c="",d=""} 1\n', {}, 400, 3, None),
        ("name-bytes", "job/a", b"x" * 21 + b" 1\n", {}, 413, 20, 21),
        ("name-bytes", "job/a/" + "l" * 21 + "/1", b"", {}, 413, 20, 21),
        ("value-bytes", "job/a", b'x{l="' + b"v" * 31 + b'"} 1\n', {}, 413, 30, 31),
        ("families", "job/a", b"z 1\n", {}, 400, 4, 5),
        ("series", "job/a", b'y{l="1"} 1\ny 1\n', {}, 400, 6, 7),
        ("groups", "job/c/i/1", b"", {}, 400, 3, 4),
    ],
)
def test_a_limit(
    limited: Gateway,
    limit: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    allowed: int,
    seen: int | None,
) -> None:
    """A push beyond it is refused with its name, its value and what was seen; one more refusal is counted."""
    if limit == "groups":
        assert limited.push("job/third").status == 200
    before = refusals(limited).get(limit, 0)
    reply = limited.push(path, body, headers=headers)
    needed = "more" if seen is None else str(seen)
    assert (reply.status, reply.text) == (status, f"limit {limit} exceeded: {needed} where {allowed} is allowed\n")
    told = json.loads(limited.push(path, body, headers=headers | JSON).body)
    assert (told["errorType"], told["limit"], told["allowed"], told.get("seen")) == ("limit", limit, allowed, seen)
    assert refusals(limited)[limit] == before + 2


@pytest.mark.parametrize(
    ("limit", "first"),
    [
        ("header-seconds", b"POST /metrics/job/a HTTP/1.1\r\n"),
        ("request-seconds", b"POST /metrics/job/a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx"),
    ],
)
def test_a_limit_of_time(limited: Gateway, limit: str, first: bytes) -> None:
    """What does not arrive in time is answered 408 with the limit's name, and counted."""
    before = refusals(limited).get(limit, 0)
    with socket.create_connection(limited.address, timeout=20) as connection:
        connection.sendall(first)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                received += piece
    assert received.startswith(b"HTTP/1.1 408 ")
    assert f"limit {limit} exceeded: more where 1 is allowed".encode() in received
    assert refusals(limited)[limit] == before + 1


def test_what_is_stored_can_be_replaced_and_removed_at_the_limit(limited: Gateway) -> None:
    """At the limits a group is pushed again as it was, with less, and deleted; then there is room again."""
    with Gateway("--storage.url=memory:", "--limit.groups=1", "--limit.series=2") as full:
        assert full.push("job/a", b"x 1\ny 1\n").status == 200
        assert full.push("job/b", b"x 1\n").status == 400
        assert full.push("job/a", b"x 2\ny 2\n", method="PUT").status == 200
        assert full.push("job/a", b"z 2\n", method="PUT").status == 200
        assert full.delete("job/a").status == 202
        assert full.push("job/b", b"x 1\n").status == 200
        assert [line.label_map["job"] for line in full.scrape().families["push_time_seconds"].lines] == ["b"]


def test_the_status_shows_the_limits(limited: Gateway) -> None:
    """Each limit stands among the flags of the status, in one spelling."""
    flags = json.loads(limited.get("/api/v1/status").body)["data"]["flags"]
    assert flags["limit.body-bytes"] == "2KB"
    assert flags["limit.decoded-bytes"] == "4KiB"
    assert flags["limit.header-seconds"] == flags["limit.request-seconds"] == "1s"
    assert {name for name in FLAGS if f"limit.{name}" not in flags} == set()
