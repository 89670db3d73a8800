"""What of a job's own metrics reaches the gateway, whatever the job registers?"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import prometheus_client
import pytest
from prometheus_client.core import GaugeHistogramMetricFamily, Metric

from pymetrics_sdk import Job, PushError, current_run
from pymetrics_sdk.exposition import merge, render
from pymetrics_sdk.testing import InMemoryGateway

SUCCESS = ("batch_job_last_result", {"result": "success"})


class Custom:
    """A collector of one family, as a job may register it."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    def collect(self) -> Iterator[Metric]:
        """Yield it."""
        yield self.metric


def family(name: str, value: object = 1.0, kind: str = "gauge", **labels: object) -> Metric:
    """A family of one sample, with whatever in it."""
    metric = Metric(name, "Help.", kind)
    metric.add_sample(name, labels, value)  # type: ignore[arg-type]
    return metric


@pytest.mark.parametrize("bad", [None, "much", object()])
def test_a_family_that_cannot_be_exposed_costs_only_itself(gateway: InMemoryGateway, bad: object) -> None:
    """A value that is no number drops its family, which is counted; everything else is pushed."""
    with Job("broken") as run:
        run.registry.register(Custom(family("bad", bad)))
        run.gauge("good", "Good.").set(2)
    group = gateway.group(job="broken")
    assert (group[SUCCESS], group["good"]) == (1, 2)
    assert "bad" not in group.families
    # Counted while the push is collected, so the next one shows it.
    with Job("broken"):
        pass
    assert gateway.group(job="broken")["pymetrics_internal_errors_total"] >= 1


def test_label_values_of_any_type_become_text(gateway: InMemoryGateway) -> None:
    """A collector that gives a number as a label's value means its text."""
    with Job("typed") as run:
        run.registry.register(Custom(family("jobs_by_code", 3.0, code=404)))
    assert gateway.group(job="typed")["jobs_by_code", {"code": "404"}] == 3


def test_stages_may_be_named_by_anything(gateway: InMemoryGateway) -> None:
    """A number or an Enum's member names a stage by its text, and the run is pushed."""

    class Step(enum.Enum):
        LOAD = "load"

    with Job("steps") as run:
        with run.stage(1):  # type: ignore[arg-type]
            pass
        with run.stage(Step.LOAD):  # type: ignore[arg-type]
            pass
    group = gateway.group(job="steps")
    stages = {"1", "Step.LOAD", ""}
    assert {each.labels["stage"] for each in group.families["batch_job_stage_duration_seconds"].samples} == stages


def test_names_beyond_the_text_format_are_escaped(gateway: InMemoryGateway) -> None:
    """A dot in a metric's or label's name, which prometheus_client allows, becomes an underscore."""
    with Job("dotted") as run:
        prometheus_client.Gauge("my.metric", "Help.", ["a.b"], registry=run.registry).labels("x").set(1)
        prometheus_client.Counter("2nd.count", "Help.", registry=run.registry).inc(4)
    group = gateway.group(job="dotted")
    assert group["my_metric", {"a_b": "x"}] == 1
    assert group["_2nd_count_total"] == 4


def test_the_first_of_two_families_of_one_name_is_exposed() -> None:
    """A body in which a name comes twice is refused as a whole, so the later family goes."""
    histogram = Metric("x", "Help.", "histogram")
    histogram.add_sample("x_count", {}, 1)
    body = render([family("a", 1), family("a", 2), histogram, family("x_count", 7)]).decode()
    assert body.count("# TYPE a ") == 1
    assert "a 1.0\n" in body
    assert "x_count 7" not in body


def test_the_sdks_own_families_win(gateway: InMemoryGateway) -> None:
    """A metric of the job with the name of one of ours neither replaces ours nor has the push refused."""
    with Job("rival") as run:
        prometheus_client.Gauge("batch_job_running", "Mine.", registry=run.registry).set(7)
    group = gateway.group(job="rival")
    assert (group["batch_job_running"], group[SUCCESS]) == (0, 1)


@pytest.mark.parametrize("suffix", ["_created", "_gsum", "_gcount"])
def test_gauges_may_end_like_openmetrics_samples(suffix: str) -> None:
    """Only a counter's own _created is a time of creation; a gauge orders_created is the job's number."""
    assert f"orders{suffix} 5.0" in render([family(f"orders{suffix}", 5)]).decode()


def test_openmetrics_samples_of_their_types_are_left_out() -> None:
    """The creation times of counters, histograms and summaries, and a gauge histogram's sums, are not in the format."""
    counter = Metric("c", "Help.", "counter")
    counter.add_sample("c_total", {}, 1)
    counter.add_sample("c_created", {}, 1.7e9)
    gauges = GaugeHistogramMetricFamily("g", "Help.", buckets=[("+Inf", 2)], gsum_value=3)
    body = render([counter, gauges]).decode()
    assert "_created" not in body
    assert "_gsum" not in body
    assert 'g_bucket{le="+Inf"} 2.0' in body


def test_broken_families_do_not_break_merging() -> None:
    """What cannot be added is left out; the rest is merged."""
    merged = merge([family("a", None, "counter"), family("b")], [family("b", 2)])
    assert [metric.name for metric in merged] == ["b"]


def test_a_refused_push_is_repeated_with_the_runs_own_families(gateway: InMemoryGateway) -> None:
    """After a 400 the life of the run is pushed without the job's metrics, and the refusal is still a failure."""
    gateway.answer(400, "inconsistent")

    @Job("rescued", on_push_error="raise")
    def main() -> None:
        current_run().gauge("mine", "Mine.").set(1)
        current_run().record("written", 3)

    with pytest.raises(PushError, match="inconsistent"):
        main()
    group = gateway.group(job="rescued")
    assert (group[SUCCESS], group["batch_job_running"]) == (1, 0)
    assert group["batch_job_records", {"outcome": "written"}] == 3
    assert "mine" not in group.families
