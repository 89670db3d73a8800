"""What does each step cost and bring: one gateway on a file, one on PostgreSQL, two on it, and the way there?

    make bench BENCH=replicas               with 100 and 5 000 groups stored, about two minutes
    make bench BENCH=replicas ARGS="100"    with so many

PostgreSQL, all gateways and wrk share this machine, so that two gateways share what one had: what is seen is what they
cost each other, not what a second machine brings. PostgreSQL flushes every commit, as SQLite does. Each gateway has
four connections pushing 20 samples to random groups.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

from tests.benchmarks.bench_gateway import fill, put_under_load, scrape
from tests.harness import Gateway
from tests.postgres import Postgres

_SECONDS: Final = 5.0


def report(what: str, gateways: Sequence[Gateway], groups: int) -> None:
    """Put gateways under load at the same time and print a row."""
    with ThreadPoolExecutor(len(gateways)) as pool:
        loads = list(pool.map(lambda gateway: put_under_load(gateway, groups, _SECONDS, keep_alive=True), gateways))
    rate = sum(load.pushes_per_second for load in loads)
    slowest = 1000 * max(load.p99_seconds for load in loads)
    scraped, _ = scrape(gateways[0], "identity")
    print(f"{groups:7} | {what:26} | {rate:8.0f} | {slowest:8.1f} | {1000 * scraped:9.0f}", flush=True)


def migrate(old: str, new: str) -> float:
    """Migrate and return how many seconds that took."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pushgateway", "migrate", f"--from={old}", f"--to={new}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Print the table."""
    sizes = [int(argument) for argument in sys.argv[1:]] or [100, 5_000]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, {_SECONDS:g} s each")
    print(" groups | what                       | pushes/s |   p99 ms | scrape ms")
    with ExitStack() as stack:
        server = stack.enter_context(Postgres(fsync="on", full_page_writes="on"))
        url = server.create_database()
        file = stack.enter_context(Gateway())
        one, two = (stack.enter_context(Gateway(f"--storage.url={url}", f"--web.replica={name}")) for name in "ab")
        before = 0
        for groups in sizes:
            fill(file, range(before, groups))
            before = groups
            first, again = (migrate(f"sqlite:{file.directory}/pushgateway.db", url) for _ in range(2))
            print(f"{groups:7} | migrated in {first:.1f} s, and again in {again:.1f} s", flush=True)
            report("SQLite, one gateway", [file], groups)
            report("PostgreSQL, one gateway", [one], groups)
            report("PostgreSQL, two gateways", [one, two], groups)


if __name__ == "__main__":
    main()
