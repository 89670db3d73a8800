"""What does the SDK cost: a measured call, its import, and the end of a job with the gateway up, down and black-holed?

    python -m tests.benchmarks.bench_sdk [--quick]

Each figure is the smallest of several repetitions, since everything that disturbs only adds. Nothing here is asserted.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path

import prometheus_client

from pymetrics_sdk import SLO, Counter, measure
from tests.harness import Original
from tests.sdk.support import black_hole

JOB = "import time\nfrom pymetrics_sdk import Job\nwith Job('bench'): time.sleep({work})\nprint(time.monotonic())"
PLAIN = "import time\ntime.sleep({work})\nprint(time.monotonic())"


def nanoseconds(call: Callable[[], object], *, number: int) -> float:
    """Return how long one call takes: the best of many short rounds, as a neighbour disturbs each for some time."""
    return min(timeit.repeat(call, number=number, repeat=40)) / number * 1e9


def calls(number: int) -> None:
    """Print the overhead of a measured call beside that of prometheus_client's own timer."""
    histogram = prometheus_client.Histogram("bench_seconds", "Bench.", registry=prometheus_client.CollectorRegistry())

    def plain() -> None: ...

    async def coroutine() -> None: ...

    def finish(function: Callable[[], object]) -> object:
        try:
            function().send(None)  # type: ignore[attr-defined]
        except StopIteration as stop:
            return stop.value

    counter, theirs = (
        Counter("bench_total", "Bench."),
        prometheus_client.Counter("bench", "Bench.", registry=prometheus_client.CollectorRegistry()),
    )
    base = nanoseconds(plain, number=number)
    base_coroutine = nanoseconds(lambda: finish(coroutine), number=number)
    measured_coroutine = measure(coroutine)
    rows = [
        ("measure, sync: 3 families", nanoseconds(measure(plain), number=number) - base),
        ("measure with an SLO", nanoseconds(measure(slo=SLO(99.9, ("250ms", 99)))(plain), number=number) - base),
        ("measure, async", nanoseconds(lambda: finish(measured_coroutine), number=number) - base_coroutine),
        ("prometheus_client Histogram.time(): 1 family", nanoseconds(histogram.time()(plain), number=number) - base),
        ("Counter.inc()", nanoseconds(counter.inc, number=number)),
        ("prometheus_client Counter.inc()", nanoseconds(theirs.inc, number=number)),
    ]
    print("overhead per call, ns")
    for name, value in rows:
        print(f"  {name:<46} {value:8.0f}")


def child(code: str, **env: str) -> tuple[float, str]:
    """Run code in a fresh interpreter; return its seconds and output."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=env or None, capture_output=True, text=True, check=True)
    return time.monotonic() - started, done.stdout


def imports(repeat: int) -> None:
    """Print what importing the SDK adds to importing prometheus_client."""
    code = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    times = {
        name: [float(child(code.format(name))[1]) for _ in range(repeat)]
        for name in ("prometheus_client", "pymetrics_sdk")
    }
    ours, theirs = min(times["pymetrics_sdk"]), min(times["prometheus_client"])
    more = (ours - theirs) * 1000
    print(f"import, ms: prometheus_client {theirs * 1000:.0f}, pymetrics_sdk {ours * 1000:.0f}: {more:.0f} more")


def exits(repeat: int, *, timeout: str = "5s") -> None:
    """Print the time from the end of the job's work to the end of its process."""
    print(f"from the end of the work to the end of the process, s (timeout {timeout}; median of {repeat})")
    with Original() as gateway, black_hole() as hole:
        places = {"no SDK": None, "no gateway": "", "up": gateway.url, "down": "http://127.0.0.1:9", "black hole": hole}
        for work in (0.0, 0.5):
            for name, url in places.items():
                script = (PLAIN if url is None else JOB).format(work=work)
                figures = [_after_work(script, url or "", timeout, work) for _ in range(repeat)]
                print(f"  {name:<12} after {work:.1f} s of work {statistics.median(figures):7.3f}")


def _after_work(script: str, url: str, timeout: str, work: float) -> float:
    marked = script.replace(f"time.sleep({work})", f"time.sleep({work}); print(time.monotonic())", 1)
    env = {"PYMETRICS_GATEWAY_URL": url, "PYMETRICS_TIMEOUT": timeout, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", marked],
        env=env,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return time.monotonic() - float(done.stdout.split()[0])


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description="What does the SDK cost?")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    quick = parser.parse_args().quick
    calls(2_000 if quick else 20_000)
    imports(3 if quick else 15)
    exits(1 if quick else 5)


if __name__ == "__main__":
    main()
