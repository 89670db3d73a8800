"""How fast is the store in PostgreSQL, which isolation suits it, and does that depend on what is stored?

Run ``python -m tests.benchmarks.bench_postgres [GROUPS ...]``. A push has 20 samples in 10 families. Four processes
push to random groups of one job for a few seconds, each in its own transactions, with the locks of `postgres_locks` or,
for comparison, with none and SERIALIZABLE instead. The server flushes every commit to disk, as it does by default.
"""

from __future__ import annotations

import multiprocessing
import random
import re
import statistics
import sys
import time
from collections import Counter
from multiprocessing.queues import Queue
from typing import Any, Final, NamedTuple

import psycopg

from pushgateway.errors import StoreError
from pushgateway.model import Form
from pushgateway.storage import (
    StatusBoard,
    Store,
    Ticket,
    open_store,
    postgres,
    postgres_connections,
    postgres_errors,
    prepare_store,
)
from tests.benchmarks.bench_storage import group, twenty_samples
from tests.benchmarks.ending import stoppable
from tests.postgres import PgBouncer, Postgres

_WRITERS: Final = 4
_SECONDS: Final = 3.0
_LOCKS: Final = re.compile(r"(FOR UPDATE|FOR SHARE)\s*$")


class Round(NamedTuple):
    """What the writers of a round have done: seconds a push, and how many transactions were repeated or failed."""

    taken: list[float]
    repeated: int
    failed: int


def without_locks() -> None:
    """Let this process's transactions take no row locks, and be serializable."""
    run = postgres_connections.Transaction._run

    def bare(self: Any, statements: Any) -> Any:
        return run(self, [one._replace(sql=_LOCKS.sub("", one.sql.rstrip())) for one in statements])

    postgres_connections.Transaction._run = bare  # type: ignore[method-assign]
    postgres._WRITING = "ISOLATION LEVEL SERIALIZABLE READ WRITE"  # type: ignore[misc]


def push_for_a_while(url: str, groups: int, serializable: bool, new: bool, out: Queue[Round]) -> None:
    """Push to random groups for `_SECONDS`, and report how it went."""
    repeated: Counter[str] = Counter()
    worth = postgres_errors.is_worth_repeating

    def counted(error: Exception) -> bool:
        repeated["all"] += (found := worth(error))
        return found

    postgres.is_worth_repeating = counted
    if serializable:
        without_locks()
    store = open_store(url, board=StatusBoard(), own={})
    store.ping()
    numbers = [random.randrange(groups) for _ in range(200)]
    pushes = [twenty_samples(group(number), float(number)) for number in numbers]
    taken, failed, made = [], 0, 0
    end = time.perf_counter() + _SECONDS
    while (started := time.perf_counter()) < end:
        made += 1
        change = twenty_samples(group(10**6 + random.randrange(10**9)), 1.0) if new else random.choice(pushes)
        try:
            store.apply(change, Ticket())
        except StoreError:
            failed += 1
        taken.append(time.perf_counter() - started)
    store.close()
    out.put(Round(taken, repeated["all"], failed))


def measure(url: str, groups: int, *, serializable: bool = False, new: bool = False, writers: int = _WRITERS) -> Round:
    """Let the writers push at the same time."""
    context = multiprocessing.get_context("spawn")
    out: Queue[Round] = context.Queue()
    processes = [
        context.Process(target=push_for_a_while, args=(url, groups, serializable, new, out)) for _ in range(writers)
    ]
    for process in processes:
        process.start()
    rounds = [out.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    return Round(
        [one for each in rounds for one in each.taken],
        sum(each.repeated for each in rounds),
        sum(each.failed for each in rounds),
    )


def report(what: str, groups: int, found: Round) -> None:
    """Print a row."""
    taken = sorted(found.taken)
    rate = (len(taken) - found.failed) / _SECONDS
    print(
        f"{groups:7} | {what:34} | {rate:8.0f} | {1000 * statistics.median(taken):6.1f} |"
        f" {1000 * taken[int(len(taken) * 0.99)]:6.1f} | {found.repeated:8} | {found.failed:6}",
        flush=True,
    )


def fill(store: Store, first: int, last: int) -> None:
    """Store groups."""
    for number in range(first, last):
        store.apply(twenty_samples(group(number), 1.0), Ticket())


def scrape_milliseconds(store: Store, form: Form) -> float:
    """Return the best of five."""

    def one() -> float:
        started = time.perf_counter()
        store.families(form)
        return 1000 * (time.perf_counter() - started)

    return min(one() for _ in range(5))


def main() -> None:
    """Print the table."""
    sizes = [int(argument) for argument in sys.argv[1:]] or [1, 100, 10_000]
    with Postgres(fsync="on", full_page_writes="on") as server, PgBouncer(server, connections=10) as pooler:
        url = prepare_store(server.create_database()).url
        pooled = pooler.url_of(url.rpartition("/")[2])
        store = open_store(url, board=StatusBoard(), own={})
        print(" groups | what                               | pushes/s | p50 ms | p99 ms | repeated | failed")
        before = 0
        for groups in sizes:
            fill(store, before, groups)
            before = groups
            with psycopg.connect(url, autocommit=True) as db:
                db.execute("VACUUM ANALYZE")
            report("locks, 1 writer", groups, measure(url, groups, writers=1))
            report(f"locks, {_WRITERS} writers", groups, measure(url, groups))
            report(f"locks, {_WRITERS} writers, pgbouncer", groups, measure(pooled, groups))
            report(f"SERIALIZABLE, {_WRITERS} writers", groups, measure(url, groups, serializable=True))
            for form in Form:
                print(f"{groups:7} | scrape, {form.value:7} {scrape_milliseconds(store, form):10.1f} ms", flush=True)
        report(f"locks, {_WRITERS} writers, new groups", before, measure(url, before, new=True))
        report(f"SERIALIZABLE, {_WRITERS} writers, new", before, measure(url, before, new=True, serializable=True))
        store.close()


if __name__ == "__main__":
    with stoppable():
        main()
