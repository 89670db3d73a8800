from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.counters import counters_directory
from tests.harness import Gateway, poll


def workers(arbiter: int) -> set[int]:
    """The children of the arbiter."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stat = path.read_text()
        except OSError:
            continue
        if int(stat[stat.rindex(")") + 2 :].split()[1]) == arbiter:
            found.add(int(path.parent.name))
    return found


def own(gateway: Gateway) -> dict[str, float]:
    """The gateway's own series, by their text."""
    lines = gateway.get("/metrics").text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line.startswith(("process_", "pushgateway_")))
    return {series: float(value) for series, value in pairs}


PUSHES = 'pushgateway_http_requests_total{code="200",handler="push",method="post"}'


def replaced(gateway: Gateway, killed: set[int]) -> Callable[[], bool]:
    """Whether two workers serve, none of them killed."""
    return lambda: len(found := workers(gateway.pid)) == 2 and not found & killed


def test_killed_workers_take_no_counts_with_them() -> None:
    """Workers of a running gateway are killed again and again: no counter falls, and no file of theirs is left."""
    with Gateway("--storage.url=memory:") as gateway:
        killed: set[int] = set()
        for round_ in range(1, 5):
            for _ in range(20):
                assert gateway.push("job/a", b"x 1\n").status == 200
            before = own(gateway)
            assert before[PUSHES] == 20 * round_
            victims = workers(gateway.pid) if round_ % 2 else {min(workers(gateway.pid))}
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            killed |= victims
            poll(replaced(gateway, killed), seconds=20, what="the killed workers are replaced")
            after = own(gateway)
            for series, value in before.items():
                if series.startswith("pushgateway_http") or series in (
                    "process_cpu_seconds_total",
                    "process_start_time_seconds",
                ):
                    assert after[series] >= value, series
        assert gateway.push("job/a", b"x 1\n").status == 200
        directory = counters_directory(gateway)
        files = [path.name for path in directory.iterdir()]
        assert not [name for name in files if any(f"_{pid}." in name for pid in killed)], files
        assert "counter_dead.db" in files
    assert not directory.exists()


def test_a_killed_gateway_s_counters_go_with_the_next_start() -> None:
    """What a gateway leaves that was killed is removed by the next one, wherever it lies."""
    with Gateway("--storage.url=memory:") as gateway:
        gateway.terminate()
        temporary = gateway.directory / "tmp"
        temporary.mkdir()
        gateway.env["TMPDIR"] = str(temporary)
        gateway.start()
        assert gateway.push("job/a", b"x 1\n").status == 200
        counters, (store,) = counters_directory(gateway), temporary.iterdir()
        gateway.kill()
        assert counters.exists()
        assert store.exists()
        gateway.start()
        assert not counters.exists()
        assert not store.exists()
        assert gateway.terminate() == 0
        assert list(temporary.iterdir()) == []


def test_processes_are_the_arbiter_and_its_workers(tmp_path: Path) -> None:
    """Memory and descriptors are those of all three processes, whichever answers."""
    with Gateway("--storage.url=memory:", env={"TMPDIR": str(tmp_path)}) as gateway:
        for _ in range(6):
            values = own(gateway)
            pids = [gateway.pid, *workers(gateway.pid)]
            resident = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
            resident *= os.sysconf("SC_PAGESIZE")
            # Taken a moment apart; one process of the three alone would be a third or less.
            assert 0.6 * resident < values["process_resident_memory_bytes"] < 1.7 * resident
            assert values["process_open_fds"] > 3 * len(pids)
