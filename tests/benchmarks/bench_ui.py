"""How long do the pages take, and how large are they, with few and with many groups stored?

    make bench BENCH=ui                100, 10 000 and 100 000 groups, some five minutes, most to fill the store
    make bench BENCH=ui ARGS=--quick   without the 100 000

Each page is fetched in turn with the others, over a connection of its own; medians count. The groups are pushed between
the fetches, as they are on a gateway at work, so that nothing is answered from what was read before. Where there is a
chromium, it tells when a reader sees something: the first contentful paint, in a fresh context each time.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from tests.benchmarks.ending import stoppable
from tests.benchmarks.machine import facts
from tests.benchmarks.sides import FilledGateway, cpu_seconds
from tests.harness import Gateway

COUNTS: Final = (100, 10_000, 100_000)
ROUNDS: Final = 15
PAINTS: Final = 7
CLIENTS: Final = 4

PAGES: Final = {
    "overview": "/",
    "groups": "/groups",
    "groups, by name": "/groups?sort=name",
    "groups, failed first": "/groups?sort=failed",
    "groups, largest first": "/groups?sort=size",
    "groups, a label": "/groups?q=instance%3Di42",
    "groups, a text": "/groups?q=i99",
    "groups, nothing found": "/groups?q=nowhere",
    "one group": "/groups/job/j2/instance/i42",
    "failures": "/failures",
    "status": "/status",
}

FIRST_PAINT: Final = """
() => new Promise((done) => new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (entry.name === "first-contentful-paint") done(entry.startTime);
}).observe({type: "paint", buffered: true}))
"""


def path_of(number: int) -> str:
    """The group of a number: jobs have a tenth of the groups each."""
    return f"job/j{number % 10}/instance/i{number}"


def fill(gateway: Gateway, numbers: range) -> None:
    """Push small groups, each hundredth of which has failed since; the disk is not waited for."""

    def push(number: int) -> None:
        body = b"".join(b"# TYPE rows_%d gauge\nrows_%d %d\n" % (one, one, number) for one in range(1 + number % 3))
        assert gateway.push(path_of(number), body).status == 200
        if number % 100 == 7:
            assert gateway.push(path_of(number), b"rows_0 1\nrows_0 2\n").status == 400

    with ThreadPoolExecutor(CLIENTS) as threads:
        for _ in threads.map(push, numbers, chunksize=100):
            pass


def measure(gateway: Gateway, browser: Browser | None, count: int) -> None:
    """Fetch all pages in turn and print what they took."""
    seconds: dict[str, list[float]] = {name: [] for name in PAGES}
    used: dict[str, list[float]] = {name: [] for name in PAGES}
    sizes = {}
    for number in range(ROUNDS):
        for name, path in PAGES.items():
            gateway.push(path_of(number), b"# TYPE rows_0 gauge\nrows_0 1\n")
            before, begun = cpu_seconds(gateway), time.perf_counter()
            reply = gateway.get(path)
            seconds[name].append(time.perf_counter() - begun)
            used[name].append(cpu_seconds(gateway) - before)
            assert reply.status == 200, reply.text
            sizes[name] = len(reply.body)
    for name, path in PAGES.items():
        painted = f"{1000 * paint_seconds(browser, gateway.url + path):6.0f}" if browser else "     -"
        took = 1000 * statistics.median(seconds[name])
        print(
            f"{count:7} | {name:21} | {took:7.1f} | {1000 * max(seconds[name]):7.1f} | "
            f"{1000 * statistics.mean(used[name]):6.1f} | {sizes[name] / 1000:6.1f} | {painted}",
            flush=True,
        )


def paint_seconds(browser: Browser, url: str) -> float:
    """Return when a browser that has nothing in its cache has painted the first content of a page: the median."""
    found = []
    for _ in range(PAINTS):
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        found.append(float(page.evaluate(FIRST_PAINT)) / 1000)
        context.close()
    return statistics.median(found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="make bench BENCH=ui")
    parser.add_argument("--quick", action="store_true", help="no 100 000 groups")
    quick = parser.parse_args(arguments).quick
    for line in facts(alone=True):
        print(line)
    print(" groups | page                  |      ms | at most | CPU ms |     kB | first contentful paint ms")
    program = shutil.which("chromium")
    with ExitStack() as stack:
        browser = None
        if program:
            playwright = stack.enter_context(sync_playwright())
            browser = playwright.chromium.launch(executable_path=program)
            stack.callback(browser.close)
        gateway = stack.enter_context(FilledGateway())
        stored = 0
        for count in COUNTS[: 2 if quick else 3]:
            for gateway.filling in (True, False):
                gateway.restart()
                if gateway.filling:
                    fill(gateway, range(stored, count))
            stored = count
            measure(gateway, browser, count)


if __name__ == "__main__":
    with stoppable():
        main()
