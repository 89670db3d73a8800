"""What does the gateway tell about itself?

    families.py   how counts become families of its own, of which `own_families` has the table
    counters.py   what is counted: files of each process, read together; those of the dead folded into one set
    processes.py  memory, CPU time and descriptors of its processes

Counters and histograms are prometheus_client's. With PROMETHEUS_MULTIPROC_DIR in the environment when prometheus_client
is first imported (cli.main sees to that), each worker writes its own into files of that directory and any worker can
sum them up; without it (tests, a plain WSGI server) they live in this process. Everything else (build, processes,
store) is looked up when it is scraped.
"""

from __future__ import annotations

import os
import platform
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from pushgateway import __version__, own_families
from pushgateway.model import MetricFamily, MetricType, Sample
from pushgateway.telemetry import families
from pushgateway.telemetry.counters import Counters, MappedCounters, OwnCounters
from pushgateway.telemetry.families import PUSH_DURATION_BUCKETS_SECONDS, PUSH_SIZE_BUCKETS_BYTES
from pushgateway.telemetry.processes import process_values, started_at_seconds

__all__ = ["PUSH_DURATION_BUCKETS_SECONDS", "PUSH_SIZE_BUCKETS_BYTES", "Telemetry"]

_METHODS: Final = frozenset(
    ("get", "put", "head", "post", "delete", "connect", "options", "notify", "trace", "patch"),
)
"""Methods with a label value of their own: a client must not be able to make series out of invented ones."""


class Telemetry:
    """The gateway's own metrics, over all of its processes.

    Make it in the arbiter, before the fork. All threads of all processes may use it.

    Args:
        arbiter_pid: The process that counts, with its children, as the gateway; the default is this process.
        replica: The label `replica` of every series, which tells the gateways of one database apart; "" for none.
    """

    def __init__(self, *, arbiter_pid: int | None = None, replica: str = "") -> None:
        self._replica = replica
        directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        registry = CollectorRegistry()
        self._counters: Counters = MappedCounters(Path(directory)) if directory else OwnCounters(registry)
        self._arbiter = os.getpid() if arbiter_pid is None else arbiter_pid
        self._requests = Counter(
            own_families.REQUESTS,
            own_families.OWN[own_families.REQUESTS].help,
            ("code", "handler", "method"),
            registry=registry,
        )
        self._refusals = Counter(
            own_families.REFUSALS, own_families.OWN[own_families.REFUSALS].help, ("limit",), registry=registry
        )
        self._durations = Histogram(
            own_families.DURATION,
            own_families.OWN[own_families.DURATION].help,
            ("method",),
            buckets=PUSH_DURATION_BUCKETS_SECONDS,
            registry=registry,
        )
        self._sizes = Histogram(
            own_families.SIZE,
            own_families.OWN[own_families.SIZE].help,
            ("method",),
            buckets=PUSH_SIZE_BUCKETS_BYTES,
            registry=registry,
        )
        # A dict costs 0.1 us where labels() costs 2 us. Handlers, statuses and methods are few.
        self._request_series: dict[tuple[str, str, int], Counter] = {}
        self._refusal_series: dict[str, Counter] = {}
        self._push_series: dict[str, tuple[Histogram, Histogram]] = {}
        self.build = types.MappingProxyType(_build())
        self.started_at_seconds = started_at_seconds(self._arbiter)

    def count_request(self, *, handler: str, method: str, code: int) -> None:
        """Count one answered request, if there is room for its series.

        Args:
            handler: Which part of the gateway answered, as in ``push`` or ``api/v1/status``.
            method: The HTTP method in any case; unusual ones count as ``unknown``.
            code: The HTTP status.
        """
        name = _method(method)
        series = self._request_series.get((handler, name, code))
        if series is None:
            series = self._counters.make("counter", lambda: self._requests.labels(str(code), handler, name))
            if series is None:
                return
            self._request_series[handler, name, code] = series
        if self._counters.usable():
            series.inc()

    def count_refusal(self, limit: str) -> None:
        """Count what was refused for a limit, if there is room for its series.

        Args:
            limit: `LimitError.limit`, one of a few names.
        """
        series = self._refusal_series.get(limit)
        if series is None:
            series = self._counters.make("counter", lambda: self._refusals.labels(limit))
            if series is None:
                return
            self._refusal_series[limit] = series
        if self._counters.usable():
            series.inc()

    def observe_push(self, *, method: str, size_bytes: int, duration_seconds: float) -> None:
        """Record a push, taken or refused, if there is room for its series.

        Args:
            method: The HTTP method in any case.
            size_bytes: As received, with the headers.
            duration_seconds: From the first look at it to its answer.
        """
        name = _method(method)
        series = self._push_series.get(name)
        if series is None:
            sizes = self._counters.make("histogram", lambda: self._sizes.labels(name))
            durations = self._counters.make("histogram", lambda: self._durations.labels(name))
            if sizes is None or durations is None:
                return
            series = self._push_series[name] = sizes, durations
        if self._counters.usable():
            series[0].observe(size_bytes)
            series[1].observe(duration_seconds)

    def names(self) -> Mapping[str, MetricType]:
        """Return the type of every family of the gateway's own by name, also of those without series yet."""
        return own_families.TYPES

    def families(self, *, store_writable: bool = True, inconsistent_series: int = 0) -> tuple[MetricFamily, ...]:
        """Return the gateway's own families as they are now, over all processes, sorted by name.

        Args:
            store_writable: What pushgateway_store_writable says.
            inconsistent_series: What pushgateway_inconsistent_series says.

        Returns:
            Only families that have series. What /proc does not tell is absent.
        """
        values: dict[str, float] = dict(process_values(self._arbiter))
        values["process_start_time_seconds"] = self.started_at_seconds
        values["pushgateway_inconsistent_series"] = inconsistent_series
        values["pushgateway_store_writable"] = float(store_writable)
        found = {name: families.family(name, (Sample((), value),)) for name, value in values.items()}
        found["pushgateway_build_info"] = families.family(
            "pushgateway_build_info", (Sample(tuple(sorted(self.build.items())), 1.0),)
        )
        found.update((family.name, family) for family in self._counters.collect())
        return tuple(families.of_replica(found[name], self._replica) for name in sorted(found))

    def fold_dead_worker(self, pid: int) -> None:
        """Add what a dead worker has counted to what all dead workers have counted, and remove its files.

        Called by the arbiter when it has reaped the worker; waits for nobody. Without multiprocess mode, or when the
        worker counted nothing, nothing happens. Where there is no room, the worker's files stay and are counted; the
        next call tries them again.
        """
        self._counters.fold(pid)


def _method(method: str) -> str:
    lower = method.lower()
    return lower if lower in _METHODS else "unknown"


def _build() -> dict[str, str]:
    """Say what was built and what runs it; `goos` and `goarch` are spelt as Go spells them."""
    machine = platform.machine().lower()
    return {
        "branch": "",
        "goarch": {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}.get(machine, machine),
        "goos": platform.system().lower(),
        "goversion": f"python{platform.python_version()}",
        "revision": "",
        "tags": "",
        "version": __version__,
    }
