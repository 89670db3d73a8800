"""How fast is text 0.0.4 parsed and rendered, beside prometheus_client's parser?

Run ``python -m tests.benchmarks.bench_text [--quick]``. Printed is processor time, the best of several runs, since the
machine is shared. Parsing is also measured with the garbage collector's thresholds raised, because a large body is
hundreds of thousands of tuples, and at the default thresholds the collector walks them again and again.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from pushgateway.formats import protobuf, text

BOUNDS = ("0.005", "0.05", "0.1", "0.5", "1", "2.5", "5", "10", "+Inf")
REFERENCE_BYTES = 200_000
"""How much of a large body prometheus_client gets: its cost a sample does not depend on it, and it is slow."""


def counters(samples: int) -> bytes:
    """Make one counter family with a distinct label set a sample."""
    lines = (f'http_requests_total{{method="GET",path="/a/{n}",status="200"}} {n * 0.5}\n' for n in range(samples))
    return b"# HELP http_requests_total Requests.\n# TYPE http_requests_total counter\n" + "".join(lines).encode()


def gauges(families: int) -> bytes:
    """Make families of one sample, as most jobs push."""
    parts = (
        f'# HELP job_{n}_bytes What was read.\n# TYPE job_{n}_bytes gauge\njob_{n}_bytes{{disk="a"}} {n}\n'
        for n in range(families)
    )
    return "".join(parts).encode()


def histograms(series: int) -> bytes:
    """Make one histogram family of that many series."""
    lines = ["# TYPE seconds histogram\n"]
    for n in range(series):
        lines += (f'seconds_bucket{{path="/a/{n}",le="{bound}"}} {n}\n' for bound in BOUNDS)
        lines += (f'seconds_sum{{path="/a/{n}"}} {n * 1.5}\n', f'seconds_count{{path="/a/{n}"}} {n}\n')
    return "".join(lines).encode()


def unusual(samples: int) -> bytes:
    """Make samples that only the careful path reads: two blanks before the value."""
    return counters(samples).replace(b"} ", b"}  ")


def samples_in(body: bytes) -> int:
    """Count the sample lines of a body."""
    return sum(not line.startswith(b"#") for line in body.splitlines())


def seconds(call: Callable[[], object], *, repeat: int) -> float:
    """Return the processor time of one call, the best of `repeat` rounds."""
    rounds = []
    for _ in range(repeat):
        calls, start = 0, time.thread_time()
        while calls == 0 or time.thread_time() - start < 0.05:
            call()
            calls += 1
        rounds.append((time.thread_time() - start) / calls)
    return min(rounds)


def report(name: str, body: bytes, *, repeat: int) -> None:
    """Print one row."""
    samples = samples_in(body)
    parse = seconds(lambda: text.parse(body), repeat=repeat)
    thresholds = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    relaxed = seconds(lambda: text.parse(body), repeat=repeat)
    gc.set_threshold(*thresholds)
    part = body[: body.rfind(b"\n", 0, REFERENCE_BYTES) + 1]
    reference = seconds(lambda: list(text_string_to_metric_families(part.decode())), repeat=2)
    families = text.parse(body)
    render = seconds(lambda: [text.render_metrics(family) for family in families], repeat=repeat)
    encode = seconds(lambda: [protobuf.encode_metrics(family) for family in families], repeat=repeat)
    ours, theirs = samples / parse, samples_in(part) / reference
    print(
        f"{name:34} {ours:10,.0f} {samples / relaxed:10,.0f} {theirs:10,.0f} {ours / theirs:6.1f} {parse * 1e6:10,.0f}"
        f" {render / samples * 1e6:9.2f} {encode / samples * 1e6:9.2f}"
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small bodies, fewer runs")
    quick = parser.parse_args().quick
    large = 10_000 if quick else 100_000
    print(
        "parse in samples/s: ours, ours with a calm collector, prometheus_client's; render and encode in us a sample\n"
    )
    titles = ("ours", "calm", "client's", "ratio", "us a body", "render", "encode")
    print("{:34} {:>10} {:>10} {:>10} {:>6} {:>10} {:>9} {:>9}".format("body", *titles))
    bodies = {
        "20 counters, 1 family": counters(20),
        "20 gauges, 20 families with HELP": gauges(20),
        f"{large} counters, 1 family": counters(large),
        f"{large // 10} gauges, as many families": gauges(large // 10),
        f"{large // 20} histogram series": histograms(large // 20),
        f"{large // 10} unusually spaced": unusual(large // 10),
    }
    for name, body in bodies.items():
        report(name, body, repeat=2 if quick else 5)


if __name__ == "__main__":
    main()
