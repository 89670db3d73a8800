from __future__ import annotations

import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.exposition import Exposition
from tests.harness import Gateway, require_program
from tests.load import Client, Load

STATUSES = {200, 202, 400}
ROUND_SECONDS = 4.0
LONGEST_SECONDS = 60.0


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """A gateway with two workers and a store on disk."""
    with Gateway("--web.workers=2", "--web.enable-admin-api") as service:
        yield service


class Tally:
    """Counts answers over threads, and fails on any that no client should see."""

    def __init__(self) -> None:
        self.statuses: Counter[int | None] = Counter()
        self._lock = threading.Lock()

    def count(self, status: int | None) -> None:
        """Take one answer."""
        with self._lock:
            self.statuses[status] += 1
        assert status in STATUSES, status


def race(
    gateway: Gateway,
    works: list[Callable[[Client, int], object]],
    *,
    seconds: float = ROUND_SECONDS,
    enough: Callable[[], bool] = lambda: True,
) -> int:
    """Run works at once; every scrape meanwhile and after must be valid. Returns how many scrapes there were.

    On a busy machine it goes on until there has been enough of what is raced for, a minute at most.
    """
    scrapes = 0
    with Load(gateway, works):
        begun = time.monotonic()
        while time.monotonic() < begun + (seconds if enough() else LONGEST_SECONDS):
            assert gateway.scrape().problems() == []
            scrapes += 1
    assert gateway.scrape().problems() == []
    check_with_promtool(gateway.scrape())
    return scrapes + 1


def check_with_promtool(exposition: Exposition) -> None:
    """Let the reference parser read an exposition; lint of pushed names is no parse error (exit code 3)."""
    program = require_program("promtool")
    result = subprocess.run(
        [program, "check", "metrics"], input=exposition.text, capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode in (0, 3), result.stderr


def test_clashing_types(gateway: Gateway) -> None:
    """Eight clients push one family with different types to their groups: it never has two types, and some win."""
    gateway.wipe()
    tally = Tally()
    kinds = ("counter", "gauge", "untyped", "summary", "histogram")

    def work(client: Client, number: int) -> None:
        kind = random.choice(kinds)
        sample = "x_count 1" if kind in ("summary", "histogram") else "x 1"
        group = f"job/a/l/{random.randrange(4)}"
        # Large bodies take another way through the gateway than small ones, and race with them.
        padding = "#" * 70_000 if number % 8 == 0 else "#"
        tally.count(client.send("PUT", group, f"# TYPE x {kind}\n{sample}\ny 1\n{padding}\n".encode()))
        if number % 3 == 0:
            tally.count(client.send("DELETE", group))

    race(gateway, [work] * 8, enough=lambda: tally.statuses[200] > 100 and tally.statuses[400] > 0)
    assert tally.statuses[200] > 100
    assert tally.statuses[400] > 0


def test_clashing_suffixes(gateway: Gateway) -> None:
    """Histograms, summaries and the names of their parts are pushed at once: no scrape holds a name of two families."""
    gateway.wipe()
    tally = Tally()
    bodies = (
        b'# TYPE h histogram\nh_bucket{le="1"} 1\nh_count 2\n',
        b"# TYPE h_count counter\nh_count 1\n",
        b"h_bucket 1\n",
        b"# TYPE h_sum gauge\nh_sum 1\n",
        b"# TYPE h summary\nh_sum 1\n",
    )

    def work(client: Client, number: int) -> None:
        group = f"job/{random.choice('ab')}/l/{random.randrange(3)}"
        tally.count(client.send(random.choice(("PUT", "POST")), group, random.choice(bodies)))
        if number % 4 == 0:
            tally.count(client.send("DELETE", group))

    race(gateway, [work] * 8, enough=lambda: tally.statuses[200] > 100)
    assert tally.statuses[200] > 100


def test_twins_in_groups_of_different_shapes(gateway: Gateway) -> None:
    """Clients push the same series through groups of different shapes: no scrape holds a series twice."""
    gateway.wipe()
    tally = Tally()
    labels = {"l": "1", "m": "2", "instance": "i", "n": ""}

    def work(client: Client, number: int) -> None:
        in_key = {name for name in labels if random.random() < 0.5}
        path = "".join(f"/{name}/{labels[name]}" for name in random.sample(sorted(in_key - {"n"}), len(in_key - {"n"})))
        rest = ",".join(f'{name}="{value}"' for name, value in labels.items() if name not in in_key)
        body = f"x{{{rest}}} {number}\n# TYPE h histogram\nh_count{{{rest}}} 1\n".encode()
        tally.count(client.send(random.choice(("PUT", "POST")), f"job/a{path}", body))
        if number % 3 == 0:
            tally.count(client.send("DELETE", f"job/a{path}"))

    race(gateway, [work] * 8, enough=lambda: tally.statuses[200] > 50 and tally.statuses[400] > 0)
    assert tally.statuses[200] > 50
    assert tally.statuses[400] > 0


def test_merges_of_one_group(gateway: Gateway) -> None:
    """Six clients POST families of their own to one group: afterwards it has all of them, at their last value."""
    gateway.wipe()
    last: dict[int, int] = {}

    def writer(own: int) -> Callable[[Client, int], None]:
        def work(client: Client, number: int) -> None:
            assert client.send("POST", "job/a", f"x{own} {number}\ny{own} {number}\n".encode()) == 200
            last[own] = number

        return work

    race(gateway, [writer(own) for own in range(6)])
    scrape = gateway.scrape()
    for own, number in last.items():
        assert (scrape.value(f"x{own}", job="a"), scrape.value(f"y{own}", job="a")) == (number, number)


def test_replacements_are_whole(gateway: Gateway) -> None:
    """While clients replace a group, each scrape sees all of one push and nothing of another."""
    gateway.wipe()
    gateway.push("job/a", body_of(0))

    def work(client: Client, number: int) -> None:
        assert client.send("PUT", "job/a", body_of(random.randrange(10**6))) == 200

    with Load(gateway, [work] * 4):
        deadline = time.monotonic() + ROUND_SECONDS
        while time.monotonic() < deadline:
            lines = [line for line in gateway.scrape().lines(job="a") if line.name.startswith("x")]
            assert len(lines) == 40
            assert len({line.value for line in lines}) == 1


def body_of(number: int) -> bytes:
    return b"".join(b'x%d{l="%d"} %d\n' % (family, label, number) for family in range(8) for label in range(5))


def test_wipes_are_atomic(gateway: Gateway) -> None:
    """While the gateway is wiped and filled again, each scrape sees groups as they were pushed, or none."""
    gateway.wipe()

    def work(client: Client, number: int) -> None:
        for group in range(50):
            assert client.send("PUT", f"job/g{group:02}", b"x 1\n") == 200
        assert gateway.request("PUT", "/api/v1/admin/wipe").status == 202

    with Load(gateway, [work]):
        deadline = time.monotonic() + ROUND_SECONDS
        while time.monotonic() < deadline:
            scrape = gateway.scrape()
            groups = [line.label_map["job"] for line in scrape["x"].lines] if scrape.has("x") else []
            assert groups == [f"g{group:02}" for group in range(len(groups))]


def test_own_counters_add_up_over_workers(gateway: Gateway) -> None:
    """Requests that eight clients send to two workers are all counted, and no scrape sees the counter fall."""
    gateway.wipe()
    sent = Tally()

    def total() -> float:
        lines = gateway.scrape()["pushgateway_http_requests_total"].lines
        return sum(float(line.value) for line in lines if line.label_map["handler"] == "push")

    def work(client: Client, number: int) -> None:
        sent.count(client.send("PUT", f"job/a/l/{random.randrange(50)}", b"x 1\n" if number % 5 else b"x\n"))

    before = last = total()
    with Load(gateway, [work] * 8):
        deadline = time.monotonic() + ROUND_SECONDS
        while time.monotonic() < deadline:
            current = total()
            assert current >= last
            last = current
    assert total() - before == sum(sent.statuses.values())
