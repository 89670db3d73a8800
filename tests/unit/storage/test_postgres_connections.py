"""Which connections does a gateway keep, and for how long?"""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from psycopg.pq import TransactionStatus

from pushgateway.storage.postgres_connections import Connections


class FakeLink:
    """A connection to nothing."""

    info = SimpleNamespace(transaction_status=TransactionStatus.IDLE)

    def __init__(self) -> None:
        self.made = self.used = time.monotonic()
        self.closed = False

    def close(self) -> None:
        """Close it."""
        self.closed = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is, in seconds."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_connections_that_were_idle_for_long_are_closed(clock: list[float]) -> None:
    """What many at once have needed is closed, while what one after the other needs stays in use."""
    made: list[Any] = []

    def connect() -> Any:
        made.append(FakeLink())
        return made[-1]

    connections = Connections(connect)
    with ExitStack() as many:
        for _ in range(3):
            many.enter_context(connections.lend())
    for _ in range(3):
        clock[0] += 30
        with connections.lend() as link:
            assert not link.closed
    assert len(made) == 3
    assert sorted(link.closed for link in made) == [False, True, True]


def test_an_old_connection_is_replaced(clock: list[float]) -> None:
    """Also one that is used all the time, so that a gateway finds back to a host that it has left."""
    made: list[Any] = []

    def connect() -> Any:
        made.append(FakeLink())
        return made[-1]

    connections = Connections(connect)
    for _ in range(61):
        with connections.lend():
            clock[0] += 30
    assert [link.closed for link in made] == [True, False]


def test_closing_is_for_those_in_use_too(clock: list[float]) -> None:
    """An idle connection is closed at once, one that is lent when it comes back."""
    connections = Connections(FakeLink)  # type: ignore[arg-type]
    with connections.lend() as lent:
        with connections.lend() as idle:
            pass
        connections.close()
        assert idle.closed
        assert not lent.closed
    assert lent.closed
