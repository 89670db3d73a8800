"""What does the gateway tell about itself?

Counters and histograms are prometheus_client's. With PROMETHEUS_MULTIPROC_DIR in the environment when prometheus_client
is first imported (cli.main sees to that), each worker writes its own into memory-mapped files of that directory and any
worker can sum them up; without it (tests, a plain WSGI server) they live in this process.

A dead worker's files are folded into one set of files for all the dead. prometheus_client leaves them lying, one set a
process that ever lived; deleting them would make counters fall, which Prometheus takes for a restart. Scrapes share a
file lock that the fold holds alone, so none sees a dead worker twice or not at all.

Everything else (build, processes, store) is looked up when it is scraped.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import resource
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client import Histogram as ClientHistogram
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from pushgateway import __version__
from pushgateway.model import Histogram, Labels, MetricFamily, MetricType, Sample

__all__ = ["PUSH_DURATION_BUCKETS_SECONDS", "PUSH_SIZE_BUCKETS_BYTES", "Telemetry"]

PUSH_DURATION_BUCKETS_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""From a small push on an idle gateway (1 ms) to the longest wait for other writers (5 s)."""

PUSH_SIZE_BUCKETS_BYTES: Final = (256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""Powers of 4 from an empty push with its headers to the default limit of a body, 64 MiB."""

_METHODS: Final = frozenset(
    ("get", "put", "head", "post", "delete", "connect", "options", "notify", "trace", "patch"),
)
"""Methods with a label value of their own: a client must not be able to make series out of invented ones."""

_REQUESTS: Final = "pushgateway_http_requests_total"
_DURATION: Final = "pushgateway_http_push_duration_seconds"
_SIZE: Final = "pushgateway_http_push_size_bytes"


class _Own(NamedTuple):
    type: MetricType
    help: str


_OWN: Final[Mapping[str, _Own]] = types.MappingProxyType(
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
        _DURATION: _Own(
            MetricType.HISTOGRAM, "How long pushes took in the gateway, refused ones included, in seconds."
        ),
        _SIZE: _Own(
            MetricType.HISTOGRAM, "Size of pushes as received, with their headers, refused ones included, in bytes."
        ),
        _REQUESTS: _Own(MetricType.COUNTER, "Total HTTP requests processed by the Pushgateway, excluding scrapes."),
        "pushgateway_inconsistent_series": _Own(
            MetricType.GAUGE, "Number of stored series left out of this scrape because they contradict others."
        ),
        "pushgateway_store_writable": _Own(
            MetricType.GAUGE, "Whether the last write to the store succeeded (1) or failed (0)."
        ),
    }
)
"""Every family of the gateway's own, sorted by name."""


class Telemetry:
    """The gateway's own metrics, over all of its processes.

    Make it in the arbiter, before the fork. All threads of all processes may use it.

    Args:
        arbiter_pid: The process that counts, with its children, as the gateway; the default is this process.
    """

    def __init__(self, *, arbiter_pid: int | None = None) -> None:
        directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self._directory = Path(directory) if directory else None
        self._arbiter = os.getpid() if arbiter_pid is None else arbiter_pid
        self._registry = CollectorRegistry()
        self._requests = Counter(
            _REQUESTS, _OWN[_REQUESTS].help, ("code", "handler", "method"), registry=self._registry
        )
        self._durations = ClientHistogram(
            _DURATION,
            _OWN[_DURATION].help,
            ("method",),
            buckets=PUSH_DURATION_BUCKETS_SECONDS,
            registry=self._registry,
        )
        self._sizes = ClientHistogram(
            _SIZE, _OWN[_SIZE].help, ("method",), buckets=PUSH_SIZE_BUCKETS_BYTES, registry=self._registry
        )
        # A dict costs 0.1 us where labels() costs 2 us. Handlers, statuses and methods are few.
        self._request_series: dict[tuple[str, str, int], Counter] = {}
        self._push_series: dict[str, tuple[ClientHistogram, ClientHistogram]] = {}
        self.build = types.MappingProxyType(_build())
        self.started_at_seconds = _started_at_seconds(self._arbiter)

    def count_request(self, *, handler: str, method: str, code: int) -> None:
        """Count one answered request.

        Args:
            handler: Which part of the gateway answered, as in ``push`` or ``api/v1/status``.
            method: The HTTP method in any case; unusual ones count as ``unknown``.
            code: The HTTP status.
        """
        key = handler, method, code
        series = self._request_series.get(key)
        if series is None:
            series = self._requests.labels(str(code), handler, _method(method))
            if method.lower() in _METHODS:
                self._request_series[key] = series
        series.inc()

    def observe_push(self, *, method: str, size_bytes: int, duration_seconds: float) -> None:
        """Record a push, taken or refused.

        Args:
            method: The HTTP method in any case.
            size_bytes: As received, with the headers.
            duration_seconds: From the first look at it to its answer.
        """
        name = _method(method)
        series = self._push_series.get(name)
        if series is None:
            series = self._push_series[name] = (self._sizes.labels(name), self._durations.labels(name))
        series[0].observe(size_bytes)
        series[1].observe(duration_seconds)

    def names(self) -> Mapping[str, MetricType]:
        """Return the type of every family of the gateway's own by name, also of those without series yet."""
        return _TYPES

    def families(self, *, store_writable: bool = True, inconsistent_series: int = 0) -> tuple[MetricFamily, ...]:
        """Return the gateway's own families as they are now, over all processes, sorted by name.

        Args:
            store_writable: What pushgateway_store_writable says.
            inconsistent_series: What pushgateway_inconsistent_series says.

        Returns:
            Only families that have series. What /proc does not tell is absent.
        """
        values: dict[str, float] = dict(_process_values(self._arbiter))
        values["process_start_time_seconds"] = self.started_at_seconds
        values["pushgateway_inconsistent_series"] = inconsistent_series
        values["pushgateway_store_writable"] = float(store_writable)
        found = {name: _family(name, (Sample((), value),)) for name, value in values.items()}
        found["pushgateway_build_info"] = _family(
            "pushgateway_build_info", (Sample(tuple(sorted(self.build.items())), 1.0),)
        )
        for metric in self._collect():
            family = _counter(metric) if metric.type == "counter" else _histogram(metric)
            if family.metrics:
                found[family.name] = family
        return tuple(found[name] for name in sorted(found))

    def fold_dead_worker(self, pid: int) -> None:
        """Add what a dead worker has counted to what all dead workers have counted, and remove its files.

        Called by the arbiter when it has reaped the worker. Waits for scrapes in progress, a few milliseconds. Without
        multiprocess mode, or when the worker counted nothing, nothing happens.

        Raises:
            OSError: The directory of the metrics is gone or full; the worker's files are still there.
        """
        if self._directory is None:
            return
        with _locked(self._directory, fcntl.LOCK_EX):
            for path in self._directory.glob(f"*_{pid}.db"):
                _fold(path, path.with_name(path.name.removesuffix(f"_{pid}.db") + "_dead.db"))

    def _collect(self) -> Iterable[Metric]:
        if self._directory is None:
            return self._registry.collect()
        with _locked(self._directory, fcntl.LOCK_SH):
            # A file that a worker has created and not yet sized is empty, and prometheus_client cannot read that.
            files = [str(path) for path in self._directory.glob("*.db") if path.stat().st_size]
            metrics: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
            return metrics


_TYPES: Final = types.MappingProxyType({name: own.type for name, own in _OWN.items()})


def _method(method: str) -> str:
    lower = method.lower()
    return lower if lower in _METHODS else "unknown"


def _family(name: str, metrics: tuple[Sample | Histogram, ...]) -> MetricFamily:
    own = _OWN[name]
    return MetricFamily(name, own.type, own.help, metrics)


def _counter(metric: Metric) -> MetricFamily:
    """Convert a counter of prometheus_client, which names it without _total and may add _created."""
    name = metric.name + "_total"
    samples = (Sample(_labels(s.labels), s.value) for s in metric.samples if s.name == name)
    return _family(name, tuple(sorted(samples)))


def _histogram(metric: Metric) -> MetricFamily:
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
    return _family(metric.name, tuple(histograms))


def _labels(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


@contextlib.contextmanager
def _locked(directory: Path, kind: int) -> Iterator[None]:
    # Opened anew each time: a descriptor inherited over a fork would share its lock with the parent.
    with open(directory / "fold.lock", "ab") as file:
        fcntl.flock(file, kind)
        yield


def _fold(path: Path, into: Path) -> None:
    """Add the values of one memory-mapped file to those of another, which appears or changes whole."""
    values: dict[str, float] = {}
    for source in (path, into):
        if source.exists() and source.stat().st_size:
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(source)):  # type: ignore[no-untyped-call]
                values[key] = values.get(key, 0.0) + value
    # Not *.db, so that a left-over of an interrupted fold is never summed up.
    fresh = into.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    file = MmapedDict(str(fresh))  # type: ignore[no-untyped-call]
    for key, value in values.items():
        file.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]
    fresh.replace(into)
    path.unlink()


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


_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = resource.getpagesize()


class _Process(NamedTuple):
    """What proc(5) says of one process in `stat`; ticks are of `_TICKS_PER_SECOND`."""

    parent: int
    cpu_ticks: int
    reaped_cpu_ticks: int
    started_after_boot_seconds: float
    virtual_bytes: int
    resident_bytes: int


def _process(pid: int) -> _Process | None:
    """Read /proc/PID/stat; None if there is no such process, or no /proc."""
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field is the name in parentheses, which may itself hold blanks and parentheses.
    fields = line[line.rindex(b")") + 2 :].split()
    return _Process(
        parent=int(fields[1]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        reaped_cpu_ticks=int(fields[13]) + int(fields[14]),
        started_after_boot_seconds=int(fields[19]) / _TICKS_PER_SECOND,
        virtual_bytes=int(fields[20]),
        resident_bytes=int(fields[21]) * _PAGE_BYTES,
    )


def _children(pid: int) -> list[int]:
    """Return the children of a process; from its threads where the kernel lists them, else by asking every process."""
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        lists = []
    if lists:
        return [int(child) for line in lists for child in line.split()]
    everyone = (int(name) for name in os.listdir("/proc") if name.isdecimal())
    return [one for one in everyone if (process := _process(one)) is not None and process.parent == pid]


def _process_values(arbiter_pid: int) -> Iterator[tuple[str, float]]:
    """Sum the gateway's processes up.

    CPU time is that of the living and what the arbiter has reaped of the dead, so that it never falls. A worker reaped
    while we read would be missed or counted twice: then we read again.
    """
    for _ in range(3):
        before = _process(arbiter_pid)
        pids = [arbiter_pid, *_children(arbiter_pid)]
        living = [process for pid in pids if (process := _process(pid)) is not None]
        after = _process(arbiter_pid)
        if before is None or after is None:
            return
        reaped = after.reaped_cpu_ticks
        if reaped == before.reaped_cpu_ticks:
            break
    ticks = reaped + sum(process.cpu_ticks for process in living)
    yield "process_cpu_seconds_total", ticks / _TICKS_PER_SECOND
    yield "process_resident_memory_bytes", sum(process.resident_bytes for process in living)
    yield "process_virtual_memory_bytes", sum(process.virtual_bytes for process in living)
    yield "process_open_fds", sum(map(_open_fds, pids))
    yield "process_max_fds", resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _open_fds(pid: int) -> int:
    """Count the descriptors of a process, 0 if it has just died."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def _started_at_seconds(arbiter_pid: int) -> float:
    """Return the arbiter's start as Unix time, 0 without /proc: boot time and the process's age since boot."""
    process = _process(arbiter_pid)
    if process is None:
        return 0.0
    with open("/proc/stat", encoding="ascii") as file:
        booted = next(int(line.split()[1]) for line in file if line.startswith("btime "))
    return booted + process.started_after_boot_seconds
