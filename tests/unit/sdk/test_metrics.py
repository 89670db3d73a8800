"""Counters, gauges and histograms: what do they take, and what stays bounded?"""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from pymetrics_sdk import ConfigError, Counter, Gauge, Histogram, Job, cells, metrics
from pymetrics_sdk.exposition import merge, render
from pymetrics_sdk.testing import InMemoryGateway


def test_beyond_max_series_everything_is_one_series(gateway: InMemoryGateway, caplog: pytest.LogCaptureFixture) -> None:
    """The first series stay, the rest is counted under __overflow__, which is counted and said once."""
    paths = Counter("paths_total", "Paths.", ["path", "method"], max_series=20)
    with Job("cardinality"):
        for number in range(100):
            paths.labels(f"/{number}", "GET").inc()
        paths.labels("/3", "GET").inc()
    group = gateway.group(job="cardinality")
    assert len(group.families["paths"].samples) == 21
    assert group["paths_total", {"path": "/3", "method": "GET"}] == 2
    assert group["paths_total", {"path": "__overflow__", "method": "__overflow__"}] == 80
    assert group["pymetrics_label_overflow_total", {"metric": "paths_total"}] == 80
    assert sum("max_series" in each.message for each in caplog.records) == 1


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("1x", []),
        ("a-b", []),
        ("", []),
        ("x", ["job"]),
        ("x", ["instance"]),
        ("x", ["__a"]),
        ("x", ["a", "a"]),
        ("x", ["é"]),
    ],
)
def test_names_that_no_gateway_takes_are_refused(name: str, labels: list[str]) -> None:
    """A name is checked where it is written."""
    with pytest.raises(ConfigError):
        Counter(name, "Help.", labels)


def test_le_belongs_to_histograms() -> None:
    """A histogram may not have a label le, another metric may."""
    with pytest.raises(ConfigError):
        Histogram("sizes_bytes", "Help.", ["le"])
    assert Gauge("limits_ratio", "Help.", ["le"])


def test_one_name_is_one_metric() -> None:
    """The same definition twice is the same metric; another type or other labels under its name are refused."""
    first = Counter("same_total", "Help.", ["a"])
    Counter("same", "Help.", ["a"]).labels("x").inc()
    with pytest.raises(ConfigError, match="already defined"):
        Gauge("same", "Help.", ["a"])
    with pytest.raises(ConfigError, match="already defined"):
        Counter("same_total", "Help.", ["b"])
    assert first


def test_updates_without_their_labels_are_refused() -> None:
    """As with prometheus_client: wrong labels and negative steps of a counter are programming errors."""
    counter = Counter("strict_total", "Help.", ["a", "b"])
    for wrong in (
        counter.inc,
        lambda: counter.labels("x"),
        lambda: counter.labels(a="x"),
        lambda: counter.labels(a="x", c="y"),
        lambda: counter.labels("x", b="y"),
        lambda: counter.labels("x", "y").inc(-1),
        lambda: counter.labels("x", "y").labels("x", "y"),
    ):
        with pytest.raises(ConfigError):
            wrong()
    with pytest.raises(ConfigError):
        Histogram("descending", "Help.", buckets=[2, 1])


def test_gauges_go_both_ways(gateway: InMemoryGateway) -> None:
    """set, inc, dec and the time."""
    level, now = Gauge("level_ratio", "Level."), Gauge("seen_timestamp_seconds", "Time.")
    with Job("gauges"):
        level.set(5)
        level.inc(2)
        level.dec()
        now.set_to_current_time()
    group = gateway.group(job="gauges")
    assert group["level_ratio"] == 6
    assert group["seen_timestamp_seconds"] > 1.7e9


def test_histograms_time_blocks(gateway: InMemoryGateway) -> None:
    """A bound belongs to the bucket below it, as Prometheus' le says."""
    sizes, times = Histogram("sizes_bytes", "Sizes.", buckets=(1, 2)), Histogram("took_seconds", "Time.")
    with Job("histograms"):
        for value in (0.5, 1, 1.5, 2, 3):
            sizes.observe(value)
        with times.time():
            pass
    group = gateway.group(job="histograms")
    assert [group["sizes_bytes_bucket", {"le": bound}] for bound in ("1.0", "2.0", "+Inf")] == [2, 4, 5]
    assert group["sizes_bytes_sum"] == 8
    assert group["took_seconds_count"] == 1


@given(
    value=st.floats(),
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x85\u2028\u2029\x0b\x0c\x1c\x1d\x1e")),
)
def test_what_is_rendered_reads_back(value: float, text: str) -> None:
    """Any float and any label value survive the text format."""
    metric = Metric("some_ratio", "Help with \\ and\nline feed.", "gauge")
    metric.add_sample("some_ratio", {"label": text}, value)
    (parsed,) = text_string_to_metric_families(render([metric]).decode())
    (sample,) = parsed.samples
    assert sample.labels == {"label": text}
    assert sample.value == value or (value != value and sample.value != sample.value)  # noqa: PLR0124 -- NaN


def test_merging_adds_counters_and_keeps_the_first_gauge() -> None:
    """Counters of the same series add up, a gauge is the first one's, another type under the name is left out."""

    def family(kind: str, value: float) -> Metric:
        metric = Metric("m", "M.", kind)
        metric.add_sample("m_total" if kind == "counter" else "m", {"a": "1"}, value)
        return metric

    def values(metrics: list[Metric]) -> list[float]:
        return [sample.value for metric in metrics for sample in metric.samples]

    assert values(merge([family("counter", 1)], [family("counter", 2)])) == [3]
    assert values(merge([family("gauge", 1)], [family("gauge", 2)])) == [1]
    assert values(merge([family("gauge", 1)], [family("gauge", 2)], add_all=True)) == [3]
    assert values(merge([family("gauge", 1)], [family("counter", 2)])) == [1]


@pytest.mark.parametrize("name", ["batch_job_running", "pymetrics_internal_errors_total"])
def test_the_names_of_the_sdk_are_refused(name: str) -> None:
    """A metric cannot take the name of a family that the SDK pushes beside it."""
    with pytest.raises(ConfigError, match="the SDK's own"):
        Gauge(name, "Mine.")


def test_metrics_made_anew_at_every_use_do_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that defines a metric where it uses it counts right, and a scope keeps a bounded number of definitions."""
    monkeypatch.setattr(cells, "MAX_BOUND", 5)
    scope = cells.Scope()
    for _ in range(20):
        Counter("anew_total", "Anew.").bound_to(scope).inc()
    assert len(scope._bound) == 5
    assert len(scope.cache) == 5
    assert scope.families[0].snapshot() == [((), [20.0])]


def test_a_forked_child_defines_metrics_whatever_its_parent_was_doing() -> None:
    """The lock over definitions is new in a child: the thread that held it does not exist there."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with metrics._definitions_lock:
            held.set()
            release.wait(10.0)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        signal.alarm(5)
        Counter("in_a_child_total", "In a child.")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    release.set()
    thread.join()
    assert status == 0


def test_a_snapshot_survives_a_series_made_meanwhile() -> None:
    """A finalizer or signal handler may add a series in the thread that holds the lock; the snapshot goes on."""
    scope = cells.Scope()
    family = scope.family(cells.Definition("counter", "raced", "Raced.", ("kind",)))

    class Adding(list[float]):
        def __iter__(self) -> Iterator[float]:
            family.cell(("late",))
            return super().__iter__()

    family.cell(("a",)).values = Adding([1.0])
    family.cell(("b",))
    assert [labels for labels, _ in family.snapshot()] == [("a",), ("b",)]
