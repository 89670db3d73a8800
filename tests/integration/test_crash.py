from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from tests.exposition import Exposition
from tests.harness import Gateway, poll
from tests.load import Client, Load

ROUNDS = 50
ROUND_SECONDS = 0.7
"""The longest time of load before a kill; with start and checks a round takes 1.0 to 1.5 s."""
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
        if status is None:
            # The gateway is gone: whoever sent more now would only make more states possible.
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


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """A gateway with two workers and a store on disk."""
    with Gateway("--web.workers=2") as service:
        yield service


def test_nothing_answered_is_lost_when_all_is_killed(
    gateway: Gateway, record_property: Callable[[str, object], None]
) -> None:
    """The whole gateway is killed under load, 50 times: what was answered is there, whole; nothing is half applied."""
    clients = ledgers()
    starts = []
    for _ in range(ROUNDS):
        with load_until_lost(gateway, clients):
            time.sleep(random.uniform(0.05, ROUND_SECONDS))
            gateway.kill()
        begin = time.monotonic()
        gateway.start()
        starts.append(time.monotonic() - begin)
        exposition = gateway.scrape()
        assert exposition.problems() == []
        for ledger in clients:
            ledger.check(exposition)
    answered, unanswered = (sum(getattr(ledger, name) for ledger in clients) for name in ("answered", "unanswered"))
    assert answered > ROUNDS
    record_property(
        "figure",
        f"crash: {ROUNDS} kills, {answered} changes answered and all found, {unanswered} cut off; "
        f"ready again after {sorted(starts)[ROUNDS // 2]:.2f} s (median), {max(starts):.2f} s at most",
    )


def test_nothing_answered_is_lost_when_workers_are_killed(gateway: Gateway) -> None:
    """Workers are killed under load, one at a time: the others go on, and what was answered is there, whole."""
    clients = ledgers()
    for ledger in clients:
        gateway.delete(ledger.group)
    for _ in range(6):
        poll(lambda: len(gateway.workers()) >= 2, seconds=20, what="two workers")
        with load_until_lost(gateway, clients):
            time.sleep(random.uniform(0.1, ROUND_SECONDS))
            os.kill(random.choice(gateway.workers()), signal.SIGKILL)
            time.sleep(0.1)
        exposition = gateway.scrape()
        assert exposition.problems() == []
        for ledger in clients:
            ledger.check(exposition)
    assert sum(ledger.answered for ledger in clients) > 100
