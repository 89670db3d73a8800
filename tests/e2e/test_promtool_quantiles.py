"""Are the quantiles that a page estimates those that Prometheus itself calculates from the same buckets?"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from pushgateway.display.quantiles import estimate
from pushgateway.model import Histogram
from tests.harness import require_program

SHARES = (0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0)
HISTOGRAMS = 150


def make(random: Random) -> Histogram:
    """Make a histogram: negative bounds, empty buckets, counts that fall, everything beyond the last bound, nothing."""
    bounds = sorted({round(random.uniform(-10, 90), 2) for _ in range(random.randint(1, 12))})
    counts = [random.choice([0, 0, 1, 7, 300]) for _ in range(len(bounds) + 1)]
    sums = [sum(counts[: at + 1]) for at in range(len(counts))]
    if random.random() < 0.2:
        sums[random.randrange(len(sums))] //= 2
    return Histogram((), tuple(zip([*bounds, math.inf], sums, strict=True)), 0.0, sums[-1])


def cases(name: str, histogram: Histogram) -> Iterator[dict[str, Any]]:
    """Yield what promtool is to find: 0 where Prometheus' quantile is ours to six digits, or where neither is one."""
    for share, ours in zip(SHARES, estimate(histogram, SHARES), strict=True):
        query = f'histogram_quantile({share}, h_bucket{{n="{name}"}})'
        if math.isnan(ours):
            expected = {"labels": "{}", "value": 0}
            query = f"count({query} >= -Inf) or vector(0)"
        else:
            expected = {"labels": f'{{n="{name}"}}', "value": 0}
            query = f"(round({query}, 1e-6) == {ours:.6f}) * 0"
        yield {"expr": query, "eval_time": "0s", "exp_samples": [expected]}


def test_estimates_are_those_of_prometheus(tmp_path: Path) -> None:
    """Promtool evaluates histogram_quantile over 150 histograms, and finds what we have estimated."""
    promtool = require_program("promtool")
    random = Random(6)
    series, tests = [], []
    for number in range(HISTOGRAMS):
        histogram = make(random)
        tests += cases(str(number), histogram)
        for bound, count in histogram.buckets:
            le = "+Inf" if bound == math.inf else repr(bound)
            series.append({"series": f'h_bucket{{n="{number}",le="{le}"}}', "values": str(count)})
    rules = tmp_path / "quantiles.yml"
    rules.write_text(json.dumps({"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}]}))

    done = subprocess.run([promtool, "test", "rules", rules], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[:3000] + done.stderr[:3000]
