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
from contextlib import ExitStack, contextmanager
from multiprocessing.queues import Queue
from typing import NamedTuple

from pushgateway.errors import WouldBlockError
from pushgateway.model import Form, GroupingKey, Push
from pushgateway.storage import StatusBoard, Store, Ticket, open_store, prepare_store, sqlite_handles
from tests.contract.values import family, key, push

_FAMILIES = 10
_SECONDS = 1.0
_ROUNDS = 3


def group(number: int) -> GroupingKey:
    """Name group `number` of one job."""
    return key("nightly_report", instance=f"host-{number}.example.com")


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
def filled(groups: int) -> Iterator[str]:
    """Yield the URL of a store with so many groups, written fast by leaving fsync out."""
    with tempfile.TemporaryDirectory() as directory:
        url = prepare_store(f"sqlite:{directory}/bench.db").url
        settings = sqlite_handles._PRAGMAS
        sqlite_handles._PRAGMAS = tuple(one.replace("synchronous = NORMAL", "synchronous = OFF") for one in settings)
        try:
            store = open_store(url, board=StatusBoard(), own={})
            for number in range(groups):
                store.apply(twenty_samples(group(number), 1.0), Ticket())
            store.close()
        finally:
            sqlite_handles._PRAGMAS = settings
        yield url


def push_for_a_while(url: str, groups: int, out: Queue[list[float]]) -> None:
    """Overwrite random groups for `_SECONDS`, and report how long each push took."""
    store = open_store(url, board=StatusBoard(), own={})
    chosen = random.sample(range(groups), min(groups, 400))
    pushes = [twenty_samples(group(number), float(number)) for number in chosen]
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


class Rate(NamedTuple):
    """How fast pushes went, over all processes."""

    pushes: float
    median_ms: float
    p99_ms: float


def rate(url: str, groups: int, processes: int) -> Rate:
    """Let so many processes push at once."""
    context = multiprocessing.get_context("fork")
    out: Queue[list[float]] = context.Queue()
    workers = [context.Process(target=push_for_a_while, args=(url, groups, out)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    taken = sorted(seconds for _ in workers for seconds in out.get())
    for worker in workers:
        worker.join()
    return Rate(len(taken) / _SECONDS, statistics.median(taken) * 1e3, taken[len(taken) * 99 // 100] * 1e3)


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
    """Print one line for each number of groups, and how the largest compares with the smallest."""
    sizes = [int(text) for text in sys.argv[1:]] or [1, 100, 1_000, 10_000, 100_000]
    with ExitStack() as stack:
        urls = {groups: stack.enter_context(filled(groups)) for groups in sizes}
        # In turns, so that whatever else the machine does falls on all alike; the best round counts.
        rounds = [
            {groups: (rate(urls[groups], groups, 1), rate(urls[groups], groups, 2)) for groups in sizes}
            for _ in range(_ROUNDS)
        ]
        best = {groups: tuple(max(of_round[groups][at] for of_round in rounds) for at in range(2)) for groups in sizes}
        print(" groups | 1 process: pushes/s  p50 ms  p99 ms | 2 processes: pushes/s  p50 ms  p99 ms | scrape ms")
        for groups, (one, two) in best.items():
            store = open_store(urls[groups], board=StatusBoard(), own={})
            print(
                f"{groups:7} | {one.pushes:20.0f} {one.median_ms:7.2f} {one.p99_ms:7.2f} |"
                f" {two.pushes:22.0f} {two.median_ms:7.2f} {two.p99_ms:7.2f} | {scrape(store):9.1f}"
            )
            store.close()
        few, many = best[sizes[0]][0], best[sizes[-1]][0]
        print(
            f"{sizes[-1]} groups against {sizes[0]}: {many.pushes / few.pushes:.2f} times the pushes/s, "
            f"{many.median_ms / few.median_ms:.2f} times the median"
        )


if __name__ == "__main__":
    main()
