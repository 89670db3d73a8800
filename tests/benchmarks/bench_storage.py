"""How fast is the SQLite store, and does that depend on what is stored?

Run ``python -m tests.benchmarks.bench_storage [GROUPS ...]``. A push has 20 samples in 10 families.
"""

from __future__ import annotations

import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue

from pushgateway.errors import WouldBlockError
from pushgateway.model import Form, GroupingKey, Push
from pushgateway.storage import StatusBoard, Store, Ticket, open_store, prepare_store, sqlite_handles
from tests.contract.values import family, key, push

_FAMILIES = 10
_SECONDS = 2.0


def group(number: int, *, jobs: int) -> GroupingKey:
    """Name group `number`, where groups are spread over so many jobs."""
    return key(f"nightly_report_{number % jobs}", instance=f"host-{number}.example.com")


def twenty_samples(to: GroupingKey, at: float) -> Push:
    """Make a push of 20 samples in 10 families."""
    series = ({"code": "200"}, {"code": "500"})
    families = (
        family(
            f"batch_metric_number_{i}_total",
            group=to,
            series=series,
            help="How many things the batch did.",
            value=str(at),
        )
        for i in range(_FAMILIES)
    )
    return push(to, *families, at=at)


@contextmanager
def filled(groups: int, *, jobs: int) -> Iterator[str]:
    """Yield the URL of a store with so many groups, written fast by leaving fsync out."""
    with tempfile.TemporaryDirectory() as directory:
        url = prepare_store(f"sqlite:{directory}/bench.db").url
        settings = sqlite_handles._PRAGMAS
        sqlite_handles._PRAGMAS = tuple(one.replace("synchronous = FULL", "synchronous = OFF") for one in settings)
        try:
            store = open_store(url, board=StatusBoard(), own={})
            for number in range(groups):
                store.apply(twenty_samples(group(number, jobs=jobs), 1.0), Ticket())
            store.close()
        finally:
            sqlite_handles._PRAGMAS = settings
        yield url


def push_for_a_while(url: str, groups: int, jobs: int, out: Queue[list[float]]) -> None:
    """Overwrite random groups for `_SECONDS`, and report how long each push took."""
    store = open_store(url, board=StatusBoard(), own={})
    chosen = random.sample(range(groups), min(groups, 400))
    pushes = [twenty_samples(group(number, jobs=jobs), float(number)) for number in chosen]
    taken = []
    end = time.perf_counter() + _SECONDS
    while (started := time.perf_counter()) < end:
        change = random.choice(pushes)
        try:
            store.apply(change, None)
        except WouldBlockError:
            store.apply(change, Ticket())
        taken.append(time.perf_counter() - started)
    store.close()
    out.put(taken)


def rate(url: str, groups: int, jobs: int, processes: int) -> tuple[float, float, float]:
    """Return pushes/s, and median and 99th percentile in milliseconds, of so many processes at once."""
    context = multiprocessing.get_context("fork")
    out: Queue[list[float]] = context.Queue()
    workers = [context.Process(target=push_for_a_while, args=(url, groups, jobs, out)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    taken = sorted(seconds for _ in workers for seconds in out.get())
    for worker in workers:
        worker.join()
    return len(taken) / _SECONDS, statistics.median(taken) * 1e3, taken[len(taken) * 99 // 100] * 1e3


def scrape(store: Store) -> float:
    """Return how long the fastest of a few scrapes took, in milliseconds, bodies joined."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        snapshot = store.families(Form.TEXT)
        b"".join(body for view in snapshot.families for body in view.bodies)
        best = min(best, time.perf_counter() - started)
    return best * 1e3


def main() -> None:
    """Print one line for each number of groups."""
    first = 0.0
    print("groups  | 1 process: pushes/s  p50 ms  p99 ms  ratio | 2 processes: pushes/s  p99 ms | scrape ms")
    for groups in [int(text) for text in sys.argv[1:]] or [1, 100, 1_000, 10_000, 100_000]:
        jobs = 1
        with filled(groups, jobs=jobs) as url:
            alone, p50, p99 = rate(url, groups, jobs, 1)
            two, _, two_p99 = rate(url, groups, jobs, 2)
            store = open_store(url, board=StatusBoard(), own={})
            first = first or alone
            print(
                f"{groups:7} | {alone:20.0f} {p50:7.2f} {p99:7.2f} {alone / first:6.2f} | {two:21.0f} {two_p99:7.2f} |"
                f" {scrape(store):9.1f}",
                flush=True,
            )
            store.close()


if __name__ == "__main__":
    main()
