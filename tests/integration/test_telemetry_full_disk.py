"""A file system that is full, with the counters or other temporary files on it, in a mount namespace of the gateway."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.counters import counters_directory
from tests.harness import Gateway, poll
from tests.mounts import Mounted, require_mounts, tmpfs


@pytest.fixture(scope="module", autouse=True)
def mounts() -> None:
    """Skip where no file system can be mounted."""
    require_mounts()


def cramped(small: str, *, size: str, env: Mapping[str, str]) -> Mounted:
    """A gateway that sees a small file system where others see a large one; its database is elsewhere."""
    return Mounted(small, tmpfs(size), "--storage.url=sqlite:p.db", env=env)


def requests(gateway: Gateway) -> float:
    """How many pushes by POST were counted."""
    series = 'pushgateway_http_requests_total{code="200",handler="push",method="post"} '
    lines = gateway.get("/metrics").text.splitlines()
    return sum(float(line.removeprefix(series)) for line in lines if line.startswith(series))


def push(gateway: Gateway, times: int) -> None:
    for _ in range(times):
        assert gateway.push("job/a", b"x 1\n").status == 200


@pytest.mark.parametrize("where", ["TMPDIR", "/dev/shm"])
def test_a_full_disk_ends_nobody(where: str, tmp_path: Path) -> None:
    """Pushes are answered 200 by the same workers, and one that is killed is replaced; with room, all is counted."""
    small = str(tmp_path) if where == "TMPDIR" else where
    with cramped(small, size="9m", env={"TMPDIR": str(tmp_path)}) as gateway:
        before = set(gateway.all_workers())
        gateway.fill()
        push(gateway, 30)
        assert gateway.push("job/b", b"x 1\n", method="PUT").status == 200
        assert gateway.delete("job/b").status == 202
        assert gateway.get("/metrics").status == 200
        assert set(gateway.workers()) == before

        os.kill(min(before), signal.SIGKILL)
        poll(lambda: len(set(gateway.workers()) - {min(before)}) == 2, seconds=20, what="the worker is replaced")
        push(gateway, 30)
        assert max(before) in gateway.workers()

        counted = requests(gateway)
        gateway.filling.unlink()
        push(gateway, 30)
        assert requests(gateway) == counted + 30
        assert gateway.terminate() == 0
        assert "Traceback" not in gateway.log()


def test_counters_without_room_in_memory(tmp_path: Path) -> None:
    """A gateway that finds too little memory at its start keeps its counters where temporary files go."""
    with cramped("/dev/shm", size="128k", env={"TMPDIR": str(tmp_path)}) as gateway:
        push(gateway, 1)
        assert counters_directory(gateway).parent == tmp_path
        assert requests(gateway) == 1


def test_counters_without_any_room_but_the_database_s(tmp_path: Path) -> None:
    """A gateway without room in memory and for temporary files keeps its counters beside its database."""
    with cramped("/dev/shm", size="128k", env={"TMPDIR": "/dev/shm"}) as gateway:
        push(gateway, 1)
        assert counters_directory(gateway).parent == gateway.directory
