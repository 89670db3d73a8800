"""How do prometheus_client's counts become families of the gateway's own?

From its metrics, where one process counts in its memory; from the keys of its mapped files, where many do.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client import Metric

from pushgateway.model import Histogram, Labels, MetricFamily, Sample
from pushgateway.own_families import OWN

__all__ = [
    "PUSH_DURATION_BUCKETS_SECONDS",
    "PUSH_SIZE_BUCKETS_BYTES",
    "counter",
    "family",
    "histogram",
    "of_replica",
    "of_sums",
]

PUSH_DURATION_BUCKETS_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""From a small push on an idle gateway (1 ms) to the longest wait for other writers (5 s)."""

PUSH_SIZE_BUCKETS_BYTES: Final = (256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""Powers of 4 from an empty push with its headers to the default limit of a body, 64 MiB."""


def family(name: str, metrics: tuple[Sample | Histogram, ...]) -> MetricFamily:
    """Make the family of this name with these metrics, typed and described as the table says."""
    own = OWN[name]
    return MetricFamily(name, own.type, own.help, metrics)


def counter(metric: Metric) -> MetricFamily:
    """Convert a counter of prometheus_client, which names it without _total and may add _created."""
    name = metric.name + "_total"
    samples = (Sample(_labels(s.labels), s.value) for s in metric.samples if s.name == name)
    return family(name, tuple(sorted(samples)))


def histogram(metric: Metric) -> MetricFamily:
    """Convert a histogram of prometheus_client, whose samples are a bucket or a sum each."""
    buckets: dict[Labels, list[tuple[float, float]]] = {}
    sums: dict[Labels, float] = {}
    for sample in metric.samples:
        labels = _labels({name: value for name, value in sample.labels.items() if name != "le"})
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, []).append((float(sample.labels["le"]), int(sample.value)))
        elif sample.name.endswith("_sum"):
            sums[labels] = sample.value
    histograms = (
        Histogram(labels, tuple(sorted(found)), sums[labels], max(found)[1])
        for labels, found in sorted(buckets.items())
    )
    return family(metric.name, tuple(histograms))


class _Place(NamedTuple):
    """Where a value of a mapped file belongs; `bound` of a bucket, whose `part` is ``bucket``."""

    family: str
    part: str
    labels: Labels
    bound: float


@functools.lru_cache(maxsize=1024)
def _place(key: bytes) -> _Place:
    """Read a key: JSON of the metric, the sample, its labels and the help. They are few, and never change."""
    metric, sample, labels, _ = json.loads(key)
    bound = float(labels.pop("le", "nan"))
    part = sample.removeprefix(f"{metric}_")
    return _Place(sample if part == "total" else metric, part, _labels(labels), bound)


def of_sums(sums: Mapping[bytes, float]) -> Sequence[MetricFamily]:
    """Convert the values of mapped files, summed up by key; a bucket's tells what is in it alone.

    Returns:
        Those families that have series.
    """
    counters: dict[str, list[Sample]] = {}
    buckets: dict[str, dict[Labels, list[tuple[float, float]]]] = {}
    histogram_sums: dict[tuple[str, Labels], float] = {}
    for key, value in sums.items():
        name, part, labels, bound = _place(key)
        if part == "total":
            counters.setdefault(name, []).append(Sample(labels, value))
        elif part == "bucket":
            buckets.setdefault(name, {}).setdefault(labels, []).append((bound, value))
        elif part == "sum":
            histogram_sums[name, labels] = value
    return [
        *(family(name, tuple(sorted(samples))) for name, samples in counters.items()),
        *(
            family(
                name,
                tuple(_histogram(labels, found[labels], histogram_sums[name, labels]) for labels in sorted(found)),
            )
            for name, found in buckets.items()
        ),
    ]


def _histogram(labels: Labels, buckets: Sequence[tuple[float, float]], sum_: float) -> Histogram:
    """Make a histogram; its buckets count what is in each alone, and come in any order."""
    below = 0
    cumulative = []
    for bound, count in sorted(buckets):
        below += int(count)
        cumulative.append((bound, below))
    return Histogram(labels, tuple(cumulative), sum_, below)


def of_replica(family: MetricFamily, replica: str) -> MetricFamily:
    """Return a family whose series say which gateway they are of; "" leaves it as it is."""
    if not replica:
        return family
    label = (("replica", replica),)
    return family._replace(
        metrics=tuple(metric._replace(labels=tuple(sorted(metric.labels + label))) for metric in family.metrics)
    )


def _labels(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))
