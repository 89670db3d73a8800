"""Which families of its own does the gateway expose, and how do prometheus_client's counts become such families?"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Final, NamedTuple

from prometheus_client import Metric

from pushgateway.model import Histogram, Labels, MetricFamily, MetricType, Sample

__all__ = [
    "DURATION",
    "OWN",
    "PUSH_DURATION_BUCKETS_SECONDS",
    "PUSH_SIZE_BUCKETS_BYTES",
    "REFUSALS",
    "REQUESTS",
    "SIZE",
    "TYPES",
    "counter",
    "family",
    "histogram",
]

PUSH_DURATION_BUCKETS_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""From a small push on an idle gateway (1 ms) to the longest wait for other writers (5 s)."""

PUSH_SIZE_BUCKETS_BYTES: Final = (256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""Powers of 4 from an empty push with its headers to the default limit of a body, 64 MiB."""

REFUSALS: Final = "pushgateway_limit_refusals_total"
REQUESTS: Final = "pushgateway_http_requests_total"
DURATION: Final = "pushgateway_http_push_duration_seconds"
SIZE: Final = "pushgateway_http_push_size_bytes"


class _Own(NamedTuple):
    type: MetricType
    help: str


OWN: Final[Mapping[str, _Own]] = types.MappingProxyType(
    {
        "process_cpu_seconds_total": _Own(
            MetricType.COUNTER, "Total user and system CPU time spent in seconds, over all processes of the gateway."
        ),
        "process_max_fds": _Own(MetricType.GAUGE, "Maximum number of open file descriptors of one process."),
        "process_open_fds": _Own(
            MetricType.GAUGE, "Number of open file descriptors, over all processes of the gateway."
        ),
        "process_resident_memory_bytes": _Own(
            MetricType.GAUGE,
            "Resident memory size in bytes, over all processes of the gateway; shared pages count in each.",
        ),
        "process_start_time_seconds": _Own(MetricType.GAUGE, "Start time of the gateway since unix epoch in seconds."),
        "process_virtual_memory_bytes": _Own(
            MetricType.GAUGE, "Virtual memory size in bytes, over all processes of the gateway."
        ),
        "pushgateway_build_info": _Own(
            MetricType.GAUGE, "Always 1; its labels say which gateway was built from what, and what runs it."
        ),
        DURATION: _Own(MetricType.HISTOGRAM, "How long pushes took in the gateway, refused ones included, in seconds."),
        SIZE: _Own(
            MetricType.HISTOGRAM, "Size of pushes as received, with their headers, refused ones included, in bytes."
        ),
        REQUESTS: _Own(MetricType.COUNTER, "Total HTTP requests processed by the Pushgateway, excluding scrapes."),
        "pushgateway_inconsistent_series": _Own(
            MetricType.GAUGE, "Number of stored series left out of this scrape because they contradict others."
        ),
        REFUSALS: _Own(MetricType.COUNTER, "Total refusals because a limit was exceeded, by the limit's name."),
        "pushgateway_store_writable": _Own(
            MetricType.GAUGE, "Whether the last write to the store succeeded (1) or failed (0)."
        ),
    }
)
"""Every family of the gateway's own, sorted by name."""


TYPES: Final = types.MappingProxyType({name: own.type for name, own in OWN.items()})
"""The type of every family by name."""


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


def _labels(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))
