"""Does the whole gateway stay below 512 MB, with its defaults, whatever it is sent?

The short form: two of the worst kinds of bodies, bombs, and the largest ordinary push. tests/benchmarks/bench_memory.py
measures all kinds.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cramjam
import pytest

from pushgateway.limits import Limits
from tests.benchmarks.bench_memory import largest, long_values, ordinary, short_labels
from tests.harness import Gateway, processes
from tests.memory import Watch

pytestmark = pytest.mark.alone

MEMORY_BYTES = 512_000_000
LARGE_SECONDS = 100.0


@pytest.fixture(scope="module")
def fresh() -> Iterator[Gateway]:
    """A gateway with its defaults."""
    with Gateway("--storage.url=sqlite:x.db") as service:
        service.all_workers()
        yield service


def test_the_whole_gateway_stays_below_512_mb(fresh: Gateway, record_property: Callable[[str, object], None]) -> None:
    """A push of 100 000 samples succeeds; the largest ones of two bad kinds, all at once, are answered too."""
    limits = Limits()
    suffix, body, headers = ordinary(limits)
    assert body.count(b"\n") == 100_000
    with Watch(fresh.pid) as watch, ThreadPoolExecutor(4) as clients:

        def put(number: int, made: tuple[str, bytes, dict[str, str]]) -> int:
            target = f"/metrics/job/j{number}{made[0]}"
            return fresh.request("PUT", target, made[1], made[2], timeout_seconds=LARGE_SECONDS).status

        assert put(0, (suffix, body, headers)) == 200
        made = [largest(short_labels, limits), largest(long_values, limits)]
        statuses = list(clients.map(put, range(1, 3), made))
        # The machine may be too slow for all of them in the time of a request.
        assert set(statuses) <= {200, 503}
        assert fresh.push("job/small", b"x 1\n").status == 200
    assert watch.peak_bytes < MEMORY_BYTES
    record_property("figure", f"memory of the gateway during giant pushes: {watch.peak_bytes / 1e6:.0f} MB at most")


def cpu_seconds(session: int) -> float:
    """How much CPU time a session's processes have used."""
    ticks = 0
    for pid in processes(session):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def one_member() -> bytes:
    """10 GB of blank lines in one gzip member of 10 MB: what a full flush has written can be repeated."""
    squeeze = zlib.compressobj(9, wbits=31)
    head = squeeze.compress(b"\n") + squeeze.flush(zlib.Z_FULL_FLUSH)
    middle = squeeze.compress(b"\n" * 10**7) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return head + middle * 1000


BOMBS: dict[str, Callable[[], tuple[str, bytes]]] = {
    "gzip, one member": lambda: ("gzip", one_member()),
    "gzip, many members": lambda: ("gzip", gzip.compress(b"\n" * 10**7) * 1000),
    "zstd": lambda: ("zstd", bytes(cramjam.zstd.compress(b"\n" * 10**8)) * 100),
    "snappy": lambda: ("snappy", bytes(cramjam.snappy.compress(b"\n" * 2 * 10**8))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_early_and_cheaply(
    fresh: Gateway, name: str, record_property: Callable[[str, object], None]
) -> None:
    """What would be 10 GB (0.2 GB in snappy, which can no more) costs no more than what the limit allows."""
    encoding, bomb = BOMBS[name]()
    with Watch(fresh.pid) as watch:
        before = cpu_seconds(fresh.pid)
        reply = fresh.request("POST", "/metrics/job/bomb", bomb, {"Content-Encoding": encoding})
        used = cpu_seconds(fresh.pid) - before
    assert reply.status == 413
    assert "limit decoded-bytes exceeded" in reply.text
    # Inflating 10 GB takes more than ten seconds, on any machine.
    assert used < 3.0
    assert watch.peak_bytes < MEMORY_BYTES
    record_property("figure", f"a bomb ({name}) of {len(bomb) / 1e6:.1f} MB took {used:.2f} s of CPU time")
