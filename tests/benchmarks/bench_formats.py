"""How fast is each format read and written, side by side?

Run ``python -m tests.benchmarks.bench_formats [--quick]``. The same families are rendered and parsed in every format.
Printed is processor time, the best of several runs, in microseconds a sample line of text.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from pushgateway.formats import openmetrics, protobuf, text
from pushgateway.model import Exemplar, Histogram, MetricFamily, MetricType, Sample
from tests.benchmarks.bench_text import seconds

BOUNDS = (0.005, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, float("inf"))


def counters(samples: int, *, exemplars: bool = False) -> list[MetricFamily]:
    """Make one counter family with a distinct label set a sample."""
    metrics = tuple(
        Sample(
            (("method", "GET"), ("path", f"/a/{n}"), ("status", "200")),
            n * 0.5,
            None,
            Exemplar((("trace_id", f"{n:032x}"),), 0.25, 1_600_000_000_500_000_000) if exemplars else None,
        )
        for n in range(samples)
    )
    return [MetricFamily("http_requests_total", MetricType.COUNTER, "Requests.", metrics)]


def gauges(families: int) -> list[MetricFamily]:
    """Make families of one sample, as most jobs push."""
    return [
        MetricFamily(f"job_{n}_bytes", MetricType.GAUGE, "What was read.", (Sample((("disk", "a"),), float(n)),))
        for n in range(families)
    ]


def histograms(series: int) -> list[MetricFamily]:
    """Make one histogram family of that many series."""
    metrics = tuple(
        Histogram((("path", f"/a/{n}"),), tuple((bound, n) for bound in BOUNDS), n * 1.5, n) for n in range(series)
    )
    return [MetricFamily("seconds", MetricType.HISTOGRAM, "", metrics)]


FORMATS: tuple[tuple[str, Callable[[Sequence[MetricFamily]], bytes], Callable[[bytes], object]], ...] = (
    ("text", text.render, text.parse),
    ("protobuf", protobuf.render, protobuf.parse),
    ("openmetrics", openmetrics.render, openmetrics.parse),
)


def report(name: str, families: Sequence[MetricFamily], *, repeat: int) -> None:
    """Print one row."""
    samples = sum(not line.startswith(b"#") for line in text.render(families).splitlines())
    cells = []
    for _, render, parse in FORMATS:
        body = render(families)
        rendered = seconds(lambda render=render: render(families), repeat=repeat)  # type: ignore[misc]
        parsed = seconds(lambda parse=parse, body=body: parse(body), repeat=repeat)  # type: ignore[misc]
        cells += [
            f"{parsed / samples * 1e6:9.2f}",
            f"{rendered / samples * 1e6:9.2f}",
            f"{len(body) / samples:9.0f}",
        ]
    print(f"{name:34}" + "".join(cells))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small bodies, fewer runs")
    quick = parser.parse_args().quick
    large = 10_000 if quick else 50_000
    print("us a sample to parse and to render, and bytes a sample\n")
    print(" " * 34 + "".join(f"{name:>27}" for name, _, _ in FORMATS))
    print(f"{'body':34}" + f"{'parse':>9}{'render':>9}{'bytes':>9}" * len(FORMATS))
    bodies = {
        "20 counters, 1 family": counters(20),
        "20 gauges, 20 families with HELP": gauges(20),
        f"{large} counters, 1 family": counters(large),
        f"{large // 10} counters with exemplars": counters(large // 10, exemplars=True),
        f"{large // 10} gauges, as many families": gauges(large // 10),
        f"{large // 20} histogram series": histograms(large // 20),
    }
    for name, families in bodies.items():
        report(name, families, repeat=2 if quick else 5)


if __name__ == "__main__":
    main()
