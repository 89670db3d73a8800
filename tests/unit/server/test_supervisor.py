from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.arbiter import Arbiter as GunicornArbiter

from pushgateway.server.arbiter import Arbiter
from pushgateway.server.supervisor import Supervisor


class Listener:
    """The socket of a supervisor."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(address.replace("@", "\0", 1))

    def heard(self) -> list[str]:
        """What has arrived since it was last asked."""
        notices = []
        while True:
            try:
                notices.append(self.socket.recv(1000).decode())
            except BlockingIOError:
                return notices


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    """A supervisor's socket, in a directory and in the abstract namespace."""
    one = Listener(str(tmp_path / "notify") if request.param == "path" else f"@pushgateway-test-{os.getpid()}")
    yield one
    one.socket.close()


def test_a_supervisor_hears_each_thing_once(listener: Listener) -> None:
    """READY=1 is sent once, STOPPING=1 when told; signs of life only where they were asked for."""
    supervisor = Supervisor(listener.address)
    assert supervisor.waits
    supervisor.ready()
    supervisor.ready()
    supervisor.alive()
    supervisor.stopping()
    assert not supervisor.waits
    assert listener.heard() == ["READY=1", "STOPPING=1"]


def test_a_watchdog_hears_signs_of_life(listener: Listener) -> None:
    """With a watchdog, each sign of life is sent."""
    supervisor = Supervisor(listener.address, watched=True)
    supervisor.alive()
    supervisor.alive()
    assert listener.heard() == ["WATCHDOG=1", "WATCHDOG=1"]


def test_without_a_supervisor_nothing_is_sent() -> None:
    """Nobody waits where no socket is named."""
    supervisor = Supervisor()
    supervisor.ready()
    supervisor.alive()
    supervisor.stopping()
    assert not supervisor.waits


def test_a_supervisor_that_is_gone_or_does_not_read_disturbs_nobody(listener: Listener) -> None:
    """A notice that finds a full queue, or no socket, is lost; the caller neither waits nor fails."""
    supervisor = Supervisor(listener.address, watched=True)
    for _ in range(2000):
        supervisor.alive()
    assert 0 < len(listener.heard()) < 2000
    listener.socket.close()
    supervisor.stopping()


@pytest.mark.parametrize(
    ("env", "waits", "watched"),
    [
        ({}, False, False),
        ({"NOTIFY_SOCKET": "@x"}, True, False),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "60000000"}, True, True),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, True, True),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, True, False),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "0"}, True, False),
    ],
)
def test_the_environment_is_read_and_cleared(
    env: dict[str, str], waits: bool, watched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits and watches comes from systemd's variables, which neither gunicorn nor a worker sees afterwards."""
    for name in ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    sent: list[str] = []
    monkeypatch.setattr(Supervisor, "_send", lambda _, state: sent.append(state))
    supervisor = Supervisor.from_environment()
    supervisor.alive()
    assert (supervisor.waits, sent == ["WATCHDOG=1"]) == (waits, watched)
    assert not set(env) & os.environ.keys()


def test_readiness_is_told_when_a_worker_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The arbiter looks often until a worker serves, tells it then, and a stop before the workers are stopped."""
    told: list[str] = []
    monkeypatch.setattr(Supervisor, "_send", lambda _, state: told.append(state))
    waited: list[float | None] = []
    monkeypatch.setattr(
        GunicornArbiter,
        "wait_for_signals",
        lambda _, timeout: waited.append(timeout) or [],
    )
    monkeypatch.setattr(GunicornArbiter, "stop", lambda _, graceful: told.append(f"stopped, graceful={graceful}"))
    arbiter: Any = Arbiter.__new__(Arbiter)
    arbiter._supervisor = Supervisor("@x")
    arbiter.app = SimpleNamespace(has_served=False)
    arbiter.wait_for_signals()
    assert (told, waited) == ([], [pytest.approx(0.02)])
    arbiter.app.has_served = True
    arbiter.wait_for_signals()
    arbiter.wait_for_signals()
    assert (told, waited[1:]) == (["READY=1"], [1.0, 1.0])
    arbiter.stop()
    assert told == ["READY=1", "STOPPING=1", "stopped, graceful=True"]
