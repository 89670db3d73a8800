"""What do one and two gateways on PostgreSQL take beside one on SQLite, and does that depend on what is stored?

    make bench BENCH=scaling                all figures, about six minutes
    make bench BENCH=scaling ARGS=--quick   shorter, about three minutes
    make bench BENCH=scaling ARGS=--migrate and how long it takes to bring all groups from SQLite to PostgreSQL

All run on this machine, and are measured in turns with pushes of 20 samples that overwrite groups that are stored
already. Each gateway has two workers and is put under load by a wrk of its own over four connections; so two of them
share the cores with two of those and with PostgreSQL. Every push is flushed to disk before it is answered. What two
gateways gain where they have machines of their own cannot be seen here: the CPU time of a push, beside, tells where the
work is done.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import psycopg

from tests.benchmarks.ending import stoppable
from tests.benchmarks.machine import facts
from tests.benchmarks.scenarios.scrapes import SECONDS, idle
from tests.benchmarks.sides import fill
from tests.benchmarks.wrk import LOADS, put_under_load
from tests.harness import Gateway
from tests.postgres import Postgres

HEADER = " groups | store, gateways  | pushes/s | p50 ms | p99 ms | CPU a push ms (gateways + server) | scrape ms"


class Row(NamedTuple):
    """What was measured; times in seconds."""

    pushes_per_second: float
    p50_seconds: float
    p99_seconds: float
    gateway_cpu_seconds: float
    server_cpu_seconds: float
    scrape_seconds: float


def measure(gateways: Sequence[Gateway], server: Postgres | None, groups: int, seconds: float) -> Row:
    """Put gateways under load at once, then scrape the first."""
    before = 0.0 if server is None else cpu_seconds(server)
    with ThreadPoolExecutor(len(gateways)) as threads:
        loads = list(
            threads.map(
                lambda gateway: put_under_load(gateway, LOADS["post-4-close"], groups=groups, seconds=seconds), gateways
            )
        )
    used = 0.0 if server is None else cpu_seconds(server) - before
    rate = sum(load.pushes_per_second for load in loads)
    return Row(
        rate,
        max(load.p50_seconds for load in loads),
        max(load.p99_seconds for load in loads),
        sum(load.cpu_seconds * load.pushes_per_second for load in loads) / rate,
        used / (rate * seconds),
        idle(gateways[0], encoding="identity", seconds=3, again=False)[SECONDS] / 1e3,
    )


def cpu_seconds(server: Postgres) -> float:
    """Return the CPU time of a server's processes, those that have ended among them."""
    ticks = 0
    for pid in server.processes():
        with open(f"/proc/{pid}/stat") as file:
            # proc(5): utime, stime, cutime and cstime are the fields 14 to 17.
            fields = file.read().rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11 : 15 if pid == server.pid else 13])
    return ticks / os.sysconf("SC_CLK_TCK")


def line(groups: int, what: str, row: Row) -> str:
    """Lay a row out."""
    cpu = f"{1e3 * row.gateway_cpu_seconds:.2f} + {1e3 * row.server_cpu_seconds:.2f}"
    return (
        f"{groups:7} | {what:16} | {row.pushes_per_second:8.0f} | {1e3 * row.p50_seconds:6.1f} |"
        f" {1e3 * row.p99_seconds:6.1f} | {cpu:>33} | {1e3 * row.scrape_seconds:9.1f}"
    )


def migrate(old: str, new: str) -> float:
    """Bring everything from one store to another, and return how many seconds that took."""
    command = [sys.executable, "-m", "pushgateway", "migrate", f"--from={old}", f"--to={new}"]
    begun = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - begun


def table(levels: Sequence[int], seconds: float, *, migrates: bool) -> Iterator[str]:
    """Measure, and yield each row when it is known."""
    with Postgres(fsync="on", full_page_writes="on") as server:
        url = f"--storage.url={server.create_database()}"
        with psycopg.connect(server.url) as db:
            row = db.execute("SHOW server_version").fetchone()
        yield f"PostgreSQL {row[0] if row else ''}, as it comes but for its port and shared_buffers of 64 MB"
        with Gateway() as file, Gateway(url) as one, Gateway(url) as two:
            yield HEADER
            filled = 0
            for groups in levels:
                for gateway in (file, one):
                    fill(gateway, range(filled, groups))
                filled = groups
                yield line(groups, "SQLite, 1", measure([file], None, groups, seconds))
                yield line(groups, "PostgreSQL, 1", measure([one], server, groups, seconds))
                yield line(groups, "PostgreSQL, 2", measure([one, two], server, groups, seconds))
                if migrates:
                    old, new = f"sqlite:{file.directory}/pushgateway.db", server.create_database()
                    yield f"{groups:7} | migrated in {migrate(old, new):.1f} s, and again in {migrate(old, new):.1f} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench_scaling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 s a measurement instead of 10")
    parser.add_argument(
        "--groups", type=int, nargs="+", default=[1, 100, 1000, 10_000], help="numbers of groups stored"
    )
    parser.add_argument("--migrate", action="store_true", help="migrate what is stored, too")
    options = parser.parse_args(arguments)
    seconds = 3.0 if options.quick else 10.0
    print(*facts(alone=True), sep="\n", flush=True)
    for row in table(options.groups, seconds, migrates=options.migrate):
        print(row, flush=True)
    return 0


if __name__ == "__main__":
    with stoppable():
        sys.exit(main())
