"""Does a real Prometheus with native histograms enabled, which then scrapes protobuf, take what clients push?"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pushgateway.formats import protobuf
from pushgateway.model import (
    Exemplar,
    Histogram,
    MetricFamily,
    MetricType,
    NativeBuckets,
    NativeHistogram,
    Sample,
    Summary,
)
from tests.harness import Gateway, poll
from tests.prometheus import Prometheus, series

PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
LATENCY = NativeHistogram(
    schema=0,
    zero_threshold=0.001,
    zero_count=0,
    # Buckets 1 and 2, of (1, 2] and (2, 4], with 60 and 40 observations.
    positive=NativeBuckets(spans=((1, 2),), deltas=(60, -20)),
    exemplars=(Exemplar((("trace_id", "abc"),), 1.5, 1_700_000_000_000_000_000),),
)


@pytest.fixture(scope="module")
def prometheus(gateway: Gateway) -> Iterator[Prometheus]:
    """A server that asks for protobuf first, as it does when it is to store native histograms."""
    with Prometheus(gateway, "--enable-feature=native-histograms,exemplar-storage") as server:
        poll(lambda: server.query("up"), seconds=30, what="the first scrape")
        yield server


def pushed(gateway: Gateway, path: str, *families: MetricFamily) -> None:
    """Push in protobuf and expect it to be taken."""
    reply = gateway.push(path, protobuf.render(families), headers={"Content-Type": PROTOBUF})
    assert reply.status == 200, reply.body


def test_a_native_histogram_answers_quantiles(gateway: Gateway, prometheus: Prometheus) -> None:
    """histogram_quantile, histogram_count and histogram_sum work on a pushed native histogram."""
    histogram = Histogram((("path", "/"),), (), 200.0, 100, native=LATENCY)
    pushed(gateway, "job/native", MetricFamily("latency_seconds", MetricType.HISTOGRAM, "How long.", (histogram,)))

    prometheus.eventually("histogram_count(latency_seconds)", series(100, job="native", path="/"))
    prometheus.eventually("histogram_sum(latency_seconds)", series(200, job="native", path="/"))
    # The 30th of 60 observations between 1 and 2, the 20th of 40 between 2 and 4.
    prometheus.eventually("histogram_quantile(0.3, latency_seconds)", series(1.5, job="native", path="/"))
    prometheus.eventually("histogram_quantile(0.8, latency_seconds)", series(3, job="native", path="/"))


def test_a_float_histogram_answers_too(gateway: Gateway, prometheus: Prometheus) -> None:
    """Counts that are no integers, as recording rules make them, arrive as they are."""
    native = NativeHistogram(
        2, 0.001, 0.5, NativeBuckets(((0, 1),), counts=(1.25,)), NativeBuckets(((0, 1),), counts=(2.0,))
    )
    histogram = Histogram((), (), -1.5, 3.75, native=native)
    pushed(gateway, "job/floats", MetricFamily("balance", MetricType.GAUGE_HISTOGRAM, "", (histogram,)))

    prometheus.eventually("histogram_count(balance)", series(3.75, job="floats"))


def test_a_float_histogram_that_counts_nothing_breaks_no_scrape(gateway: Gateway, prometheus: Prometheus) -> None:
    """Prometheus takes it for one in integers, whose buckets it then does not find: it gets it as one of those."""
    native = NativeHistogram(2, 0.001, 0.0, positive=NativeBuckets(((0, 1),), counts=(0.0,)))
    histogram = Histogram((), (), 0.0, 0.0, native=native)
    pushed(gateway, "job/none", MetricFamily("idle", MetricType.HISTOGRAM, "", (histogram,)))

    prometheus.eventually("histogram_count(idle)", series(0, job="none"))


def test_the_other_types_arrive_by_protobuf(gateway: Gateway, prometheus: Prometheus) -> None:
    """Counters, gauges, untyped, summaries and classic histograms are in a protobuf scrape what they are in text."""
    pushed(
        gateway,
        "job/types",
        MetricFamily("rows_total", MetricType.COUNTER, "Rows.", (Sample((), 5.0),)),
        MetricFamily("size_bytes", MetricType.GAUGE, "", (Sample((("disk", "a"),), -1.5),)),
        MetricFamily("plain", MetricType.UNTYPED, "", (Sample((), 7.0),)),
        MetricFamily("took_seconds", MetricType.SUMMARY, "", (Summary((), ((0.5, 1.5),), 30.0, 20),)),
        MetricFamily("classic_seconds", MetricType.HISTOGRAM, "", (Histogram((), ((1.0, 2),), 9.0, 3),)),
    )
    reply = gateway.push("job/text", b'# TYPE texted_total counter\ntexted_total{a="b"} 3\n')
    assert reply.status == 200, reply.body

    prometheus.eventually("rows_total", series(5, name="rows_total", job="types"))
    prometheus.eventually("size_bytes", series(-1.5, name="size_bytes", job="types", disk="a"))
    prometheus.eventually("plain", series(7, name="plain", job="types"))
    prometheus.eventually("took_seconds", series(1.5, name="took_seconds", job="types", quantile="0.5"))
    prometheus.eventually("took_seconds_count", series(20, name="took_seconds_count", job="types"))
    prometheus.eventually(
        'classic_seconds_bucket{le="+Inf"}', series(3, name="classic_seconds_bucket", job="types", le="+Inf")
    )
    prometheus.eventually("texted_total", series(3, name="texted_total", job="text", a="b"))
    prometheus.eventually(
        'push_failure_time_seconds{job="text"}', series(0, name="push_failure_time_seconds", job="text")
    )


def test_exemplars_reach_prometheus(gateway: Gateway, prometheus: Prometheus) -> None:
    """The trace that a counter's exemplar names can be asked for."""
    exemplar = Exemplar((("trace_id", "xyz"),), 1.0, 1_700_000_000_000_000_000)
    counter = Sample((), 5.0, exemplar=exemplar, created_ns=1_600_000_000_000_000_000)
    pushed(gateway, "job/traced", MetricFamily("traced_total", MetricType.COUNTER, "", (counter,)))

    def found() -> object:
        answer = json.loads(
            prometheus.get("/api/v1/query_exemplars?query=traced_total&start=1600000000&end=1800000000").body
        )
        return [one["labels"] for entry in answer["data"] for one in entry["exemplars"]]

    poll(lambda: found() == [{"trace_id": "xyz"}], seconds=20, what="the exemplar")


def test_an_invalid_native_histogram_is_refused_and_breaks_no_scrape(gateway: Gateway, prometheus: Prometheus) -> None:
    """What would make Prometheus drop the whole scrape is answered 400, and the scrapes go on."""
    histogram = Histogram((), (), 1.0, 99, native=LATENCY)
    family = MetricFamily("broken", MetricType.HISTOGRAM, "", (histogram,))
    reply = gateway.push("job/broken", protobuf.render([family]), headers={"Content-Type": PROTOBUF})
    assert reply.status == 400
    assert "its buckets hold 100 observations, and its count is 99" in reply.text

    alert = 'push_failure_time_seconds{job="broken"} > push_time_seconds'
    poll(lambda: prometheus.query(alert), seconds=20, what="the refusal to be scraped")


def test_no_scrape_failed_on_the_way(prometheus: Prometheus) -> None:
    """All that the tests of this module pushed never made Prometheus drop a scrape or a sample."""
    assert prometheus.query("min(min_over_time(up[5m]))") == {frozenset(): 1}
    assert "append failed" not in prometheus.log()
    assert "duplicate" not in prometheus.log().lower()
