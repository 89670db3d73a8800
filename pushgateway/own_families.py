"""Which families of its own does the gateway expose?

Apart from `telemetry`, which counts them, since whatever stores a push has to know them, and prometheus_client must not
be imported for that.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Final, NamedTuple

from pushgateway.model import MetricType

__all__ = ["DURATION", "OWN", "REFUSALS", "REQUESTS", "SIZE", "TYPES"]

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
