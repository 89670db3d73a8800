"""Are two gateways on one database as good as one?"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.exposition import Exposition
from tests.harness import Gateway
from tests.load import Client, Load
from tests.postgres import PgBouncer, Postgres

SECONDS = 5.0
KINDS = ("counter", "gauge", "untyped", "summary", "histogram")


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    """A database."""
    return postgres.create_database()


@pytest.fixture(scope="module")
def gateways(url: str, pgbouncer: PgBouncer) -> Iterator[tuple[Gateway, Gateway]]:
    """Two gateways that start at the same time, with the database empty, one of them through pgbouncer."""
    pooled = pgbouncer.url_of(url.rpartition("/")[2])
    with ExitStack() as stack:
        flags = ("--web.workers=1", "--web.enable-admin-api")
        both = (
            Gateway(f"--storage.url={url}", "--web.replica=one", *flags),
            Gateway(f"--storage.url={pooled}", "--web.replica=two", *flags),
        )
        for gateway in both:
            gateway.start(wait=False)
            stack.callback(gateway.kill)
        for gateway in both:
            gateway.wait_ready()
        yield both


def pushed(exposition: Exposition) -> list[tuple[str, str]]:
    """Return the pushed series with their values, push times among them."""
    return sorted((str(line.identity), line.value) for line in exposition.lines() if "job" in line.label_map)


def test_what_one_takes_the_other_shows(gateways: tuple[Gateway, Gateway]) -> None:
    """Pushes, deletes and refusals through either gateway are the same to both, as soon as they are answered."""
    one, two = gateways
    one.wipe()
    assert one.push("job/a", b"x 1\n").status == 200
    assert two.push("job/a", b"y 2\n").status == 200
    assert two.push("job/b", b"# TYPE x counter\nx 1\n").status == 400
    assert pushed(one.scrape()) == pushed(two.scrape())
    assert len(pushed(one.scrape())) == 2 + 2 * 2
    assert one.delete("job/a").status == 202
    assert two.delete("job/b").status == 202
    assert pushed(two.scrape()) == []


def test_own_metrics_tell_the_gateways_apart(gateways: tuple[Gateway, Gateway]) -> None:
    """Each series of a gateway's own has its label `replica`; one of the same name that was pushed has none."""
    one, two = gateways
    assert one.push("job/a", b"# TYPE pushgateway_store_writable gauge\npushgateway_store_writable 7\n").status == 200
    for gateway, replica in ((one, "one"), (two, "two")):
        exposition = gateway.scrape()
        assert exposition.problems() == []
        own = [line for line in exposition.lines() if "job" not in line.label_map]
        assert {line.label_map.get("replica") for line in own} == {replica}
        assert len(exposition["pushgateway_store_writable"].lines) == 2
    one.delete("job/a")


class Chaos:
    """Pushes of every kind that could leave something that cannot be scraped, with their answers counted."""

    def __init__(self) -> None:
        self.statuses: Counter[int | None] = Counter()
        self._lock = threading.Lock()

    def works(self) -> list[Callable[[Client, int], None]]:
        """Return one work for each kind of race."""
        return [self.types, self.suffixes, self.twins, self.merges]

    def types(self, client: Client, number: int) -> None:
        """One family with different types."""
        kind = random.choice(KINDS)
        sample = "x_count 1" if kind in ("summary", "histogram") else "x 1"
        self._send(client, "PUT", f"job/a/l/{random.randrange(4)}", f"# TYPE x {kind}\n{sample}\ny 1\n")
        if number % 3 == 0:
            self._send(client, "DELETE", f"job/a/l/{random.randrange(4)}")

    def suffixes(self, client: Client, number: int) -> None:
        """Histograms, summaries, and the names of their parts."""
        body = random.choice(
            (
                '# TYPE h histogram\nh_bucket{le="1"} 1\nh_count 2\n',
                "# TYPE h_count counter\nh_count 1\n",
                "h_bucket 1\n",
                "# TYPE h_sum gauge\nh_sum 1\n",
                "# TYPE h summary\nh_sum 1\n",
            )
        )
        group = f"job/{random.choice('ab')}/l/{random.randrange(3)}"
        self._send(client, random.choice(("PUT", "POST")), group, body)
        if number % 4 == 0:
            self._send(client, "DELETE", group)

    def twins(self, client: Client, number: int) -> None:
        """The same series through groups of different shapes."""
        labels = {"l": "1", "m": "2", "instance": "i"}
        in_key = [name for name in labels if random.random() < 0.5]
        path = "job/a" + "".join(f"/{name}/{labels[name]}" for name in in_key)
        rest = ",".join(f'{name}="{value}"' for name, value in labels.items() if name not in in_key)
        self._send(client, random.choice(("PUT", "POST")), path, f"t{{{rest}}} {number}\n")
        if number % 3 == 0:
            self._send(client, "DELETE", path)

    def merges(self, client: Client, number: int) -> None:
        """Families that stay beside each other in one group."""
        self._send(client, "POST", "job/merged", f"m{random.randrange(50)} {number}\n")
        if number % 50 == 0:
            self._send(client, "DELETE", "job/merged")

    def _send(self, client: Client, method: str, path: str, body: str = "") -> None:
        status = client.send(method, path, body.encode())
        with self._lock:
            self.statuses[status] += 1
        assert status in {200, 202, 400}, status


def test_racing_pushes_to_both(gateways: tuple[Gateway, Gateway], record_property: Callable[[str, str], None]) -> None:
    """While clashing types, suffixes, twins, merges and deletes reach both, every scrape of either is valid.

    When all is quiet, both show the same.
    """
    one, two = gateways
    one.wipe()
    chaos = Chaos()
    scrapes = 0
    with Load(one, chaos.works()), Load(two, chaos.works()):
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            for gateway in gateways:
                assert gateway.scrape().problems() == []
                scrapes += 1
    assert pushed(one.scrape()) == pushed(two.scrape())
    assert one.scrape().problems() == []
    assert chaos.statuses[200] > 50
    assert chaos.statuses[400] > 0
    record_property("figure", f"two gateways on PostgreSQL: {dict(chaos.statuses)} during {scrapes} valid scrapes")


def test_merges_through_both_lose_nothing(gateways: tuple[Gateway, Gateway]) -> None:
    """Families that are POSTed to one group through both gateways at once are all there afterwards."""
    last: dict[str, int] = {}

    def writer(own: str) -> Callable[[Client, int], None]:
        def work(client: Client, number: int) -> None:
            assert client.send("POST", "job/merged", f"{own} {number}\n".encode()) == 200
            last[own] = number

        return work

    one, two = gateways
    one.wipe()
    with Load(one, [writer("a"), writer("b")]), Load(two, [writer("c"), writer("d")]):
        time.sleep(1.5)
    scrape = two.scrape()
    assert {name: scrape.value(name, job="merged") for name in last} == last


def test_the_password_is_shown_nowhere() -> None:
    """Neither the log, the status page, the API nor an error shows the password of the URL."""
    with Postgres() as server:
        secret = server.create_database().replace("postgres@", "postgres:geheim@")
        with Gateway(f"--storage.url={secret}", "--web.workers=1") as gateway:
            shown = [gateway.get(path) for path in ("/", "/api/v1/status", "/metrics", "/-/ready")]
            assert b"postgresql://postgres:***@" in shown[1].body
            server.stop()
            shown += [gateway.get("/metrics"), gateway.get("/-/ready"), gateway.push("job/a", b"x 1\n")]
            assert [reply.status for reply in shown] == [200] * 4 + [503] * 3
            assert "Connection refused" in shown[-1].text
            assert not any(b"geheim" in reply.body for reply in shown)
            assert "geheim" not in gateway.log()
            server.start()
            assert gateway.push("job/a", b"x 1\n").status == 200
