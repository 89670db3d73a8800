"""Is what was answered still there, and the service back, when processes of the gateway are killed under load?"""

from __future__ import annotations

import enum
import os
import random
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from tests.exposition import Exposition
from tests.harness import Gateway, poll, processes
from tests.load import Client, Load

pytestmark = pytest.mark.alone

LOAD_SECONDS = 0.7
"""The longest time of load before a kill; with start and checks a round takes 1.0 to 1.5 s."""
RECOVERY_SECONDS = 60.0
ORPHAN_SECONDS = 10.0
FAMILIES = 6
HALF = FAMILIES // 2


class State(NamedTuple):
    """The sequence numbers in the first and in the second half of a group's families; None where there are none."""

    first: int | None = None
    second: int | None = None


ABSENT = State()


@dataclass
class Ledger:
    """What one client may expect of one group: the state that was answered for, or that of a request without answer."""

    group: str
    samples: int
    certain: State = ABSENT
    possible: State | None = None
    number: int = 0
    answered: int = 0
    unanswered: int = 0

    def work(self, client: Client, _: int) -> None:
        """Send one change, and note it before and after."""
        self.number += 1
        method, families, after = random.choice(
            (
                ("PUT", range(FAMILIES), State(self.number, self.number)),
                ("PUT", range(FAMILIES), State(self.number, self.number)),
                ("POST", range(HALF, FAMILIES), State(self.certain.first, self.number)),
                ("POST", range(FAMILIES), State(self.number, self.number)),
                ("DELETE", range(0), ABSENT),
            )
        )
        self.possible = after
        status = client.send(method, self.group, body_of(families, self.number, self.samples))
        if status in {None, 503}:
            # The gateway is gone, or about to: whoever sent more now would only make more states possible.
            self.unanswered += 1
            raise ConnectionLostError
        assert status == (202 if method == "DELETE" else 200), status
        self.certain, self.possible = after, None
        self.answered += 1

    def check(self, exposition: Exposition) -> None:
        """Compare with what is exposed, whole families and all their samples, and go on from there."""
        found = [self.numbers(exposition, families) for families in (range(HALF), range(HALF, FAMILIES))]
        state = State(*found)
        allowed = [self.certain] + ([] if self.possible is None else [self.possible])
        assert state in allowed, f"{self.group}: {state} is none of {allowed}"
        self.certain, self.possible = state, None

    def numbers(self, exposition: Exposition, families: range) -> int | None:
        """Return the one sequence number in all samples of some families, None if there are no samples at all."""
        lines = [
            line
            for family in families
            if exposition.has(f"x{family}")
            for line in exposition[f"x{family}"].lines
            if line.label_map["job"] == self.group.removeprefix("job/")
        ]
        if not lines:
            return None
        assert len(lines) == len(families) * self.samples, f"{self.group}: {len(lines)} samples"
        values = {float(line.value) for line in lines}
        assert len(values) == 1, f"{self.group}: half applied, {values}"
        return int(values.pop())


class ConnectionLostError(Exception):
    """The gateway was killed."""


def body_of(families: range, number: int, samples: int) -> bytes:
    """A body whose every sample is the sequence number."""
    return "".join(f'x{family}{{l="{label}"}} {number}\n' for family in families for label in range(samples)).encode()


def ledgers() -> list[Ledger]:
    """Six clients with small pushes, and one with pushes of 70 KiB, which take another way through the gateway."""
    return [Ledger(f"job/g{number}", 4) for number in range(6)] + [Ledger("job/big", 800)]


def load_until_lost(gateway: Gateway, clients: list[Ledger]) -> Load:
    """Push from all clients, each until its connection breaks."""

    def work(ledger: Ledger) -> Callable[[Client, int], None]:
        lost = False

        def send(client: Client, number: int) -> None:
            nonlocal lost
            if lost:
                time.sleep(0.01)
                return
            try:
                ledger.work(client, number)
            except ConnectionLostError:
                lost = True

        return send

    return Load(gateway, [work(ledger) for ledger in clients])


class Victim(enum.Enum):
    """Who is killed."""

    WORKER = "a worker"
    ARBITER = "the arbiter"
    ALL = "all at once"


@dataclass
class Site:
    """A gateway, who pushes to it, and how long it was away."""

    gateway: Gateway
    clients: list[Ledger]
    seconds: dict[Victim, list[float]] = field(default_factory=lambda: {victim: [] for victim in Victim})

    def strike(self, victim: Victim) -> None:
        """Kill somebody under load, see the service come back, and compare what it holds with what was answered."""
        self.gateway.all_workers()
        with load_until_lost(self.gateway, self.clients):
            time.sleep(random.uniform(0.05, LOAD_SECONDS))
            self.seconds[victim].append(self.kill(victim))
        exposition = self.gateway.scrape()
        assert exposition.problems() == []
        for ledger in self.clients:
            ledger.check(exposition)

    def kill(self, victim: Victim) -> float:
        """Kill, and return after how many seconds a push was taken again."""
        gateway = self.gateway
        match victim:
            case Victim.WORKER:
                arbiter = gateway.pid
                begun = time.monotonic()
                os.kill(random.choice(gateway.workers()), signal.SIGKILL)
                poll(lambda: takes_pushes(gateway), seconds=RECOVERY_SECONDS, what="a push that is taken")
                assert gateway.pid == arbiter
                return time.monotonic() - begun
            case Victim.ARBITER:
                os.kill(gateway.pid, signal.SIGKILL)
                # One second is the rule, the rest is for a busy machine.
                poll(lambda: not list(processes(gateway.pid)), seconds=ORPHAN_SECONDS, what="the workers' end")
        gateway.kill()
        begun = time.monotonic()
        gateway.start()
        assert takes_pushes(gateway)
        return time.monotonic() - begun

    def figure(self) -> str:
        """Say what was done and how it went."""
        answered, unanswered = (sum(getattr(one, name) for one in self.clients) for name in ("answered", "unanswered"))
        times = "; ".join(
            f"{victim.value} {len(seconds)} times, back after {statistics.median(seconds):.2f} s (median), "
            f"{max(seconds):.2f} s at most"
            for victim, seconds in self.seconds.items()
        )
        return f"killed: {times}; {answered} changes answered and all found, {unanswered} cut off"


def takes_pushes(gateway: Gateway) -> bool:
    """Push to a group of its own, on a connection of its own."""
    client = Client(gateway)
    status = client.send("PUT", "job/probe", b"probe 1\n")
    client.close()
    return status == 200


@pytest.mark.parametrize("rounds", [12, pytest.param(200, marks=pytest.mark.soak)])
def test_nothing_answered_is_lost(rounds: int, record_property: Callable[[str, object], None]) -> None:
    """Workers, the arbiter, or all are killed under load: what was answered is there, whole, and nothing by half.

    When only a worker was killed the service is back by itself; the others cut off are those of its connections.
    """
    victims = [*Victim, Victim.WORKER] * (rounds // 4)
    random.shuffle(victims)
    with Gateway() as gateway:
        site = Site(gateway, ledgers())
        for victim in victims:
            site.strike(victim)
        assert "Traceback" not in gateway.log()
        assert gateway.terminate() == 0
    record_property("figure", site.figure())
    assert sum(ledger.answered for ledger in site.clients) > rounds
