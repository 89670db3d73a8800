"""The bridge in a running gateway, while another program holds the writers' lock."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import socket
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.harness import Gateway, Reply, poll

pytestmark = pytest.mark.alone

LATENCY_SECONDS = 0.2
"""The design's own rule: health and scrapes answer within 200 ms while a writer holds the lock."""

HOLD_SECONDS = 5.0

LARGE = b"".join(b'large{n="%d"} 1\n' % number for number in range(8000))
"""Above the 64 KiB that are parsed on the loop."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway("--web.enable-admin-api") as service:
        assert service.push("job/stored", b"stored 1\n").status == 200
        yield service


@contextlib.contextmanager
def held_lock(gateway: Gateway) -> Iterator[None]:
    """Hold the writers' lock of the gateway's database, as another program would."""
    with (gateway.directory / "pushgateway.db-lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def send(threads: ThreadPoolExecutor, gateway: Gateway, *paths: str, body: bytes = b"late 1\n") -> list[Future[Reply]]:
    """Push to groups, each in a thread of its own."""
    return [threads.submit(gateway.push, path, body) for path in paths]


def seconds_to_answer(gateway: Gateway, path: str) -> float:
    """Return how long a read takes."""
    begun = time.monotonic()
    assert gateway.get(path).status == 200
    return time.monotonic() - begun


def await_queue(gateway: Gateway) -> None:
    """Wait until a worker sleeps in the queue for the writers' lock: /proc/locks shows who does, with an arrow."""
    inode = (gateway.directory / "pushgateway.db-lock").stat().st_ino

    def queued() -> bool:
        lines = Path("/proc/locks").read_text().splitlines()
        return any("->" in line and f":{inode} " in line for line in lines)

    poll(queued, seconds=4, what="a writer in the queue")


def listens(gateway: Gateway) -> bool:
    """Whether the gateway takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex(gateway.address) == 0


def has(gateway: Gateway, job: str) -> bool:
    """Whether a group of this job is exposed."""
    return f'job="{job}"' in gateway.get("/metrics").text


def test_reads_answer_while_writers_wait(gateway: Gateway) -> None:
    """While the lock is held for 5 s and pushes of all lanes wait, health, scrapes and the API answer within 200 ms."""
    paths = [f"job/waiting/instance/{number}" for number in range(8)]
    times: dict[str, list[float]] = {path: [] for path in ("/-/healthy", "/-/ready", "/metrics", "/api/v1/metrics")}
    with ThreadPoolExecutor(len(paths) + 1) as threads, held_lock(gateway):
        small = send(threads, gateway, *paths)
        large = send(threads, gateway, "job/large", body=LARGE)
        deadline = time.monotonic() + HOLD_SECONDS
        while time.monotonic() < deadline:
            for path, measured in times.items():
                measured.append(seconds_to_answer(gateway, path))
            time.sleep(0.02)
    assert {path for path, measured in times.items() if statistics.median(measured) > LATENCY_SECONDS} == set()
    # The slowest in a hundred belong to a busy machine; reads that waited for the writer would be most of them.
    slowest = {path: statistics.quantiles(measured, n=100)[98] for path, measured in times.items()}
    assert max(slowest.values()) < HOLD_SECONDS / 2, slowest
    assert {reply.result().status for reply in small} <= {200, 503}
    assert [reply.result().status for reply in large] == [200]


def test_waiting_pushes_are_stored_after_the_release(gateway: Gateway) -> None:
    """Pushes that wait for less than the deadline are answered 200 when the lock is free again, and are stored."""
    paths = [f"job/patient/instance/{number}" for number in range(8)]
    with ThreadPoolExecutor(len(paths)) as threads:
        with held_lock(gateway):
            replies = send(threads, gateway, *paths)
            await_queue(gateway)
            assert not any(reply.done() for reply in replies)
            assert not has(gateway, "patient")
        assert [reply.result().status for reply in replies] == [200] * len(paths)
    assert gateway.get("/metrics").text.count('late{instance="') >= len(paths)


def test_late_pushes_are_never_stored(gateway: Gateway) -> None:
    """A push whose deadline passes is answered 503 with Retry-After while the lock is held, and is never stored."""
    with ThreadPoolExecutor(2) as threads, held_lock(gateway):
        answers = [reply.result() for reply in send(threads, gateway, "job/late/instance/1", "job/late/instance/2")]
    assert [answer.status for answer in answers] == [503, 503]
    assert all((answer.header("Retry-After") or "").isdigit() for answer in answers)
    assert gateway.push("job/afterwards", b"x 1\n").status == 200
    assert has(gateway, "afterwards")
    assert not has(gateway, "late")


def test_deletes_and_wipes_wait_too(gateway: Gateway) -> None:
    """Deletes and wipes wait for the lock without blocking reads, and are applied when they are answered 202."""
    assert gateway.push("job/doomed", b"x 1\n").status == 200
    with ThreadPoolExecutor(2) as threads:
        with held_lock(gateway):
            deletion = threads.submit(gateway.delete, "job/doomed")
            await_queue(gateway)
            assert has(gateway, "doomed")
        assert deletion.result().status == 202
        assert not has(gateway, "doomed")
        with held_lock(gateway):
            wipe = threads.submit(gateway.request, "PUT", "/api/v1/admin/wipe")
            await_queue(gateway)
            assert has(gateway, "stored")
        assert wipe.result().status == 202
    assert not has(gateway, "stored")
    assert gateway.push("job/stored", b"stored 1\n").status == 200


def test_the_form_of_the_page_waits_too(gateway: Gateway) -> None:
    """Groups that are chosen on the page wait for the lock without blocking reads, and are all gone at the answer."""
    for job in ("chosen", "more"):
        assert gateway.push(f"job/{job}", b"x 1\n").status == 200
    form = urlencode({"group": ['[["job","chosen"]]', '[["job","more"]]'], "confirm": "yes"}, doseq=True).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    with ThreadPoolExecutor(1) as threads:
        with held_lock(gateway):
            deletion = threads.submit(gateway.request, "POST", "/groups/delete", form, headers)
            await_queue(gateway)
            assert seconds_to_answer(gateway, "/-/healthy") < LATENCY_SECONDS
            assert has(gateway, "chosen")
        assert deletion.result().status == 303
    assert [has(gateway, job) for job in ("chosen", "more", "stored")] == [False, False, True]


def test_large_and_compressed_bodies(gateway: Gateway) -> None:
    """Large and compressed bodies are parsed and stored in a thread, and answered like small ones."""
    assert gateway.push("job/big", LARGE, method="PUT").status == 200
    assert gateway.push("job/gzip", gzip.compress(LARGE), headers={"Content-Encoding": "gzip"}).status == 200
    assert gateway.push("job/big", LARGE + b"broken", method="PUT").status == 400
    text = gateway.get("/metrics").text
    assert text.count('job="big"') == text.count('job="gzip"') == 8000 + 2


def test_small_bodies_do_not_wait_for_giants(gateway: Gateway) -> None:
    """While giants take all the time that they are given, small bodies are taken, compressed or not."""
    giant = gzip.compress(b"".join(b'giant{n="%d"} 1\n' % number for number in range(60_000)))
    encoded = {"Content-Encoding": "gzip"}
    with ThreadPoolExecutor(4) as threads:
        giants = [threads.submit(gateway.push, f"job/giant/instance/{n}", giant, headers=encoded) for n in range(4)]
        small = [gateway.push("job/small", gzip.compress(b"x 1\n"), headers=encoded).status for _ in range(5)]
        small.append(gateway.push("job/small", LARGE).status)
        assert small == [200] * 6
        assert not all(reply.done() for reply in giants)
        assert {reply.result().status for reply in giants} == {200}
    for n in range(4):
        gateway.delete(f"job/giant/instance/{n}")


def test_bombs_are_not_inflated_for_health(gateway: Gateway) -> None:
    """A compressed body for a page that reads none costs no more than its beginning, whatever path ends like health."""
    bomb = gzip.compress(bytes(10**7)) * 100
    encoded = {"Content-Encoding": "gzip"}
    for path, status in (("/-/healthy", 200), ("/x/-/healthy", 404), ("/metrics/job/a/-/ready", 405)):
        assert gateway.request("GET", path, bomb, encoded).status == status


def test_writers_of_all_workers_share_the_lock(gateway: Gateway) -> None:
    """Under many concurrent pushes through all workers, each is answered 200 and stored."""
    with ThreadPoolExecutor(32) as threads:
        paths = [f"job/crowd/instance/{number}" for number in range(300)]
        statuses = [reply.status for reply in threads.map(lambda path: gateway.push(path, b"crowd 1\n"), paths)]
    assert statuses == [200] * len(paths)
    assert sum(line.startswith(b"crowd{") for line in gateway.get("/metrics").body.splitlines()) == len(paths)


def test_stop_while_a_push_waits() -> None:
    """A graceful stop answers a push that waits for the lock, stores it, and then exits 0."""
    with Gateway() as gateway, ThreadPoolExecutor(2) as threads:
        assert gateway.push("job/first", b"x 1\n").status == 200
        with held_lock(gateway):
            [reply] = send(threads, gateway, "job/waiting")
            await_queue(gateway)
            stopped = threads.submit(gateway.terminate)
            poll(lambda: not listens(gateway), seconds=10, what="the stop to begin")
        assert (reply.result().status, stopped.result()) == (200, 0)
        gateway.start()
        assert has(gateway, "waiting")


def test_stop_while_the_lock_is_held() -> None:
    """A graceful stop does not wait for a program that keeps the lock: it exits 0 well within the grace time."""
    with Gateway() as gateway, ThreadPoolExecutor(1) as threads:
        assert gateway.push("job/first", b"x 1\n").status == 200
        with held_lock(gateway):
            [reply] = send(threads, gateway, "job/never")
            await_queue(gateway)
            assert gateway.terminate(timeout_seconds=20) == 0
            assert reply.result().status == 503
        gateway.start()
        assert has(gateway, "first")
        assert not has(gateway, "never")
