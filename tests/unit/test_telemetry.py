from __future__ import annotations

import subprocess
import sys
import time

import pytest

from pushgateway import __version__
from pushgateway.model import Histogram, MetricFamily, MetricType, Sample
from pushgateway.telemetry import PUSH_DURATION_BUCKETS_SECONDS, PUSH_SIZE_BUCKETS_BYTES, Telemetry


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


def family(telemetry: Telemetry, name: str) -> MetricFamily | None:
    return next((one for one in telemetry.families() if one.name == name), None)


def test_requests_are_counted_by_code_handler_and_method(telemetry: Telemetry) -> None:
    """Each request adds one to the series of its code, handler and method in lower case."""
    telemetry.count_request(handler="push", method="POST", code=200)
    telemetry.count_request(handler="push", method="post", code=200)
    telemetry.count_request(handler="push", method="PUT", code=400)
    found = family(telemetry, "pushgateway_http_requests_total")
    assert found is not None
    assert found.type is MetricType.COUNTER
    assert found.metrics == (
        Sample((("code", "200"), ("handler", "push"), ("method", "post")), 2.0),
        Sample((("code", "400"), ("handler", "push"), ("method", "put")), 1.0),
    )


def test_invented_methods_share_one_series(telemetry: Telemetry) -> None:
    """A client cannot make series by inventing methods."""
    for method in ("BREW", "WHEN", "X" * 1000):
        telemetry.count_request(handler="healthy", method=method, code=405)
    found = family(telemetry, "pushgateway_http_requests_total")
    assert found is not None
    assert found.metrics == (Sample((("code", "405"), ("handler", "healthy"), ("method", "unknown")), 3.0),)


def test_refusals_are_counted_by_limit(telemetry: Telemetry) -> None:
    """Each refusal for a limit adds one to the series of the limit."""
    for limit in ("body-bytes", "series", "body-bytes"):
        telemetry.count_refusal(limit)
    found = family(telemetry, "pushgateway_limit_refusals_total")
    assert found is not None
    assert found.metrics == (Sample((("limit", "body-bytes"),), 2.0), Sample((("limit", "series"),), 1.0))


def test_pushes_are_observed_by_size_and_duration(telemetry: Telemetry) -> None:
    """A push falls into one bucket of the size and one of the duration, and both are cumulative."""
    telemetry.observe_push(method="PUT", size_bytes=1000, duration_seconds=0.003)
    size = family(telemetry, "pushgateway_http_push_size_bytes")
    duration = family(telemetry, "pushgateway_http_push_duration_seconds")
    assert size is not None
    assert duration is not None
    (sizes,), (durations,) = size.metrics, duration.metrics
    assert isinstance(sizes, Histogram)
    assert isinstance(durations, Histogram)
    assert (sizes.labels, sizes.count, sizes.sum) == ((("method", "put"),), 1, 1000.0)
    assert dict(sizes.buckets) == {bound: int(bound >= 1000) for bound in (*PUSH_SIZE_BUCKETS_BYTES, float("inf"))}
    assert dict(durations.buckets) == {
        bound: int(bound >= 0.003) for bound in (*PUSH_DURATION_BUCKETS_SECONDS, float("inf"))
    }


def test_series_appear_with_their_first_use(telemetry: Telemetry) -> None:
    """Before the first request there is no family of requests or pushes, but their names and types are known."""
    assert not [one.name for one in telemetry.families() if one.name.startswith("pushgateway_http")]
    names = telemetry.names()
    assert names["pushgateway_http_requests_total"] is MetricType.COUNTER
    assert names["pushgateway_http_push_size_bytes"] is MetricType.HISTOGRAM
    assert names["pushgateway_http_push_duration_seconds"] is MetricType.HISTOGRAM


def test_names_know_every_family(telemetry: Telemetry) -> None:
    """Whatever is exposed is in `names`, with the same type, and every name can be exposed."""
    telemetry.count_request(handler="push", method="PUT", code=200)
    telemetry.observe_push(method="PUT", size_bytes=1, duration_seconds=0.1)
    telemetry.count_refusal("series")
    assert {one.name: one.type for one in telemetry.families()} == dict(telemetry.names())


def test_families_are_sorted_and_described(telemetry: Telemetry) -> None:
    """Families come sorted by name, each with a HELP text."""
    families = telemetry.families()
    assert [one.name for one in families] == sorted(one.name for one in families)
    assert all(one.help for one in families)


def test_build_info_says_what_runs(telemetry: Telemetry) -> None:
    """The build has the original's labels, Go's words for the platform, and Python's version."""
    found = family(telemetry, "pushgateway_build_info")
    assert found is not None
    (sample,) = found.metrics
    assert isinstance(sample, Sample)
    labels = dict(sample.labels)
    assert sample.value == 1
    assert list(labels) == ["branch", "goarch", "goos", "goversion", "revision", "tags", "version"]
    assert labels["version"] == __version__
    assert labels["goos"] == sys.platform
    assert labels["goversion"] == "python" + ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize(("writable", "value"), [(True, 1.0), (False, 0.0)])
def test_the_store_s_state_is_shown(telemetry: Telemetry, *, writable: bool, value: float) -> None:
    """The caller, who knows the store, says whether it takes writes and how many series were left out."""
    found = {one.name: one.metrics for one in telemetry.families(store_writable=writable, inconsistent_series=7)}
    assert found["pushgateway_store_writable"] == (Sample((), value),)
    assert found["pushgateway_inconsistent_series"] == (Sample((), 7),)


def test_processes_are_summed_up() -> None:
    """Memory, descriptors and CPU time are those of the arbiter and its children together."""
    alone = {one.name: one.metrics[0] for one in Telemetry().families() if one.name.startswith("process_")}
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        both = {one.name: one.metrics[0] for one in Telemetry().families() if one.name.startswith("process_")}
        child.communicate()
    for name in ("process_resident_memory_bytes", "process_virtual_memory_bytes"):
        assert value(both[name]) > value(alone[name]) + 4_000_000
    assert value(both["process_open_fds"]) >= value(alone["process_open_fds"]) + 3
    assert value(both["process_cpu_seconds_total"]) >= value(alone["process_cpu_seconds_total"])
    started = value(alone["process_start_time_seconds"])
    assert value(both["process_start_time_seconds"]) == pytest.approx(started, abs=0.5)


def test_cpu_time_of_a_dead_child_is_kept() -> None:
    """The CPU time that a child has used still counts when the child is gone."""
    before = cpu_seconds()
    code = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert cpu_seconds() > before + 0.25  # ticks of 10 ms, summed as floats


def test_the_gateway_started_with_its_arbiter() -> None:
    """The start time is that of the arbiter process."""
    before = time.time()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        after = time.time()
        started = Telemetry(arbiter_pid=child.pid).started_at_seconds
    assert before - 0.02 <= started <= after + 0.02  # ticks of 10 ms


def test_processes_that_proc_does_not_know_are_left_out() -> None:
    """Without /proc of the arbiter no process family is exposed but the start time, which is 0."""
    names = [one.name for one in Telemetry(arbiter_pid=2**22 + 1).families() if one.name.startswith("process_")]
    assert names == ["process_start_time_seconds"]


def test_nothing_is_folded_without_files() -> None:
    """In a single process there are no dead workers, and folding one does nothing."""
    Telemetry().fold_dead_worker(12345)


def cpu_seconds() -> float:
    found = family(Telemetry(), "process_cpu_seconds_total")
    assert found is not None
    return value(found.metrics[0])


def value(metric: object) -> float:
    assert isinstance(metric, Sample)
    return metric.value


def test_the_replica_is_a_label_of_every_series() -> None:
    """With a replica each series of the gateway's own has its label, in its place among the others."""
    telemetry = Telemetry(replica="gw-1")
    telemetry.count_request(handler="push", method="post", code=200)
    telemetry.observe_push(method="post", size_bytes=1, duration_seconds=0.1)
    found = telemetry.families()
    assert {one.type for one in found} >= {MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM}
    for one in found:
        for metric in one.metrics:
            assert ("replica", "gw-1") in metric.labels
            assert list(metric.labels) == sorted(metric.labels)
