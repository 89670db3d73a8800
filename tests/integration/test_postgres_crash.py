"""Is a push that was acknowledged on PostgreSQL still there when gateways and servers are killed under load?"""

from __future__ import annotations

import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import psycopg
import pytest

from tests.exposition import Exposition
from tests.harness import Gateway, poll
from tests.load import Client, Load
from tests.postgres import Postgres, Standby

LOAD_SECONDS = 0.7
"""The longest time of load before a kill, once every client has been answered."""
RECOVERY_SECONDS = 30.0
PAUSE_SECONDS = 0.02
"""After a refusal: clients that repeat at once would take the time of those that are answered."""
CLIENTS = 3
FAMILIES = 4
SAMPLES = 3

Record = Callable[[str, str], None]


@dataclass
class Ledger:
    """What one client was answered for one group: the last push that was acknowledged, and the last that was sent.

    Whatever comes between them may be stored: its answer was lost, or said that its outcome is unknown.
    """

    job: str
    sent: int = 0
    acknowledged: int = 0
    pushes: int = 0
    refused: int = 0

    def work(self, client: Client, _: int) -> None:
        """Push once, and note it before and after."""
        self.sent += 1
        body = "".join(
            f'x{family}{{l="{label}"}} {self.sent}\n' for family in range(FAMILIES) for label in range(SAMPLES)
        )
        status = client.send("PUT", f"job/{self.job}", body.encode())
        assert status in {200, 503, None}, status
        if status == 200:
            self.acknowledged = self.sent
            self.pushes += 1
        else:
            self.refused += 1
            time.sleep(PAUSE_SECONDS)

    def check(self, exposition: Exposition) -> None:
        """Find one whole push: the last that was acknowledged, or a later one."""
        lines = [
            line
            for family in range(FAMILIES)
            for line in exposition[f"x{family}"].lines
            if line.label_map["job"] == self.job
        ]
        values = {float(line.value) for line in lines}
        assert (len(lines), len(values)) == (FAMILIES * SAMPLES, 1), f"{self.job}: half applied, {values}"
        [value] = values
        assert self.acknowledged <= value <= self.sent, f"{self.job}: {value} of {self}"


def takes_pushes(gateway: Gateway) -> bool:
    """Push to a group of its own."""
    client = Client(gateway)
    status = client.send("PUT", "job/probe", b"probe 1\n")
    client.close()
    return status == 200


@dataclass
class Site:
    """Two gateways on one database, and who pushes to them."""

    gateways: tuple[Gateway, Gateway]
    ledgers: tuple[list[Ledger], list[Ledger]]

    def strike(self, action: Callable[[], object]) -> float:
        """Do something terrible under load and look at what is left.

        Returns:
            Seconds from its beginning until both gateways have taken a push again.
        """
        before = {ledger.job: ledger.acknowledged for ledger in self.all()}
        works = [[ledger.work for ledger in ledgers] for ledgers in self.ledgers]
        with Load(self.gateways[0], works[0]), Load(self.gateways[1], works[1]):
            poll(lambda: self._moved(before), seconds=RECOVERY_SECONDS, what="an answer to every client")
            time.sleep(random.uniform(0, LOAD_SECONDS))
            begun = time.monotonic()
            action()
            for gateway in self.gateways:
                poll(partial(takes_pushes, gateway), seconds=RECOVERY_SECONDS, what="a gateway that takes pushes")
            took = time.monotonic() - begun
            before = {ledger.job: ledger.acknowledged for ledger in self.all()}
            poll(lambda: self._moved(before), seconds=RECOVERY_SECONDS, what="an answer to every client afterwards")
        for gateway in self.gateways:
            exposition = gateway.scrape()
            assert exposition.problems() == []
            for ledger in self.all():
                ledger.check(exposition)
            assert gateway.get("/-/ready").text == "OK"
        return took

    def all(self) -> list[Ledger]:
        """Return the ledgers of both."""
        return [*self.ledgers[0], *self.ledgers[1]]

    def _moved(self, before: dict[str, int]) -> bool:
        return all(ledger.acknowledged > before[ledger.job] for ledger in self.all())


def figure(what: str, ledgers: list[Ledger], seconds: list[float]) -> str:
    """Say what was done and how it went."""
    pushes, refused = sum(ledger.pushes for ledger in ledgers), sum(ledger.refused for ledger in ledgers)
    times = f"{statistics.median(seconds):.2f} s (median of {len(seconds)}), {max(seconds):.2f} s at most"
    return (
        f"two gateways on PostgreSQL, {what}: {pushes} pushes acknowledged and none lost, {refused} refused or cut "
        f"off; both took pushes again after {times}"
    )


@contextmanager
def on(url: str) -> Iterator[Site]:
    """Run two gateways on a database."""
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(Gateway(f"--storage.url={url}", f"--web.replica={name}", "--web.workers=1"))
            for name in ("one", "two")
        )
        ledgers = [[Ledger(f"{name}{number}") for number in range(CLIENTS)] for name in ("one", "two")]
        yield Site((one, two), (ledgers[0], ledgers[1]))


@pytest.mark.parametrize("rounds", [1, pytest.param(30, marks=pytest.mark.soak)])
def test_gateways_and_the_server_are_killed(rounds: int, record_property: Record) -> None:
    """A gateway is killed, and the server stopped immediately, in turns under load: nothing acknowledged is lost."""
    with Postgres() as server, on(server.create_database()) as site:

        def restart_gateway() -> None:
            gateway = random.choice(site.gateways)
            gateway.kill()
            gateway.start()

        def restart_server() -> None:
            server.stop(signal.SIGQUIT)
            server.start()

        gateways = [site.strike(restart_gateway) for _ in range(rounds)]
        record_property("figure", figure("one of them killed and started", site.all(), gateways))
        servers = [site.strike(restart_server) for _ in range(rounds)]
        record_property("figure", figure("the server stopped immediately and started", site.all(), servers))


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.soak)])
def test_a_failover(rounds: int, record_property: Record) -> None:
    """The primary is killed under load and its synchronous standby promoted: nothing acknowledged is lost.

    The gateways, whose URL names both hosts, find the new primary by themselves.
    """
    times: list[float] = []
    ledgers: list[Ledger] = []
    for _ in range(rounds):
        with Postgres(synchronous_standby_names="*") as primary:
            with psycopg.connect(primary.url, autocommit=True) as db:
                db.execute("SET synchronous_commit = local")
                db.execute("CREATE DATABASE test")
            with Standby(primary) as standby:
                hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
                with on(f"postgresql://postgres@{hosts}/test?target_session_attrs=read-write") as site:

                    def fail_over() -> None:
                        primary.stop(signal.SIGKILL)
                        standby.promote()

                    times.append(site.strike(fail_over))
                    ledgers += site.all()
    record_property("figure", figure("the primary killed and its standby promoted", ledgers, times))
