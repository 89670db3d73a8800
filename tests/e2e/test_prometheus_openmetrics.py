"""Does a real Prometheus, which asks for OpenMetrics first, take what the gateway exposes in it?"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.harness import Gateway, poll
from tests.prometheus import Prometheus, series

OPENMETRICS = {"Content-Type": "application/openmetrics-text; version=1.0.0; charset=utf-8"}


@pytest.fixture(scope="module")
def openmetrics_gateway() -> Iterator[Gateway]:
    """A gateway that exposes OpenMetrics to who asks for it."""
    with Gateway("--storage.url=memory:", "--web.enable-openmetrics") as service:
        yield service


@pytest.fixture(scope="module")
def prometheus(openmetrics_gateway: Gateway) -> Iterator[Prometheus]:
    """A server with its usual Accept header."""
    with Prometheus(openmetrics_gateway, "--enable-feature=exemplar-storage") as server:
        poll(lambda: server.query("up"), seconds=30, what="the first scrape")
        yield server


def pushed(gateway: Gateway, path: str, body: bytes, *, openmetrics: bool = True) -> None:
    """Push and expect it to be taken."""
    reply = gateway.push(path, body, headers=OPENMETRICS if openmetrics else {})
    assert reply.status == 200, reply.body


def test_exemplars_and_units_reach_prometheus(openmetrics_gateway: Gateway, prometheus: Prometheus) -> None:
    """What only OpenMetrics and protobuf can say goes from a push to the API of Prometheus."""
    pushed(
        openmetrics_gateway,
        "job/traced",
        b"# TYPE traced_seconds histogram\n# UNIT traced_seconds seconds\n# HELP traced_seconds How long.\n"
        b'traced_seconds_bucket{le="0.5"} 1 # {trace_id="abc"} 0.25 1700000000.5\n'
        b'traced_seconds_bucket{le="+Inf"} 2\ntraced_seconds_count 2\ntraced_seconds_sum 3.5\n# EOF\n',
    )
    prometheus.eventually(
        'traced_seconds_bucket{le="0.5"}', series(1, name="traced_seconds_bucket", job="traced", le="0.5")
    )

    def exemplars() -> object:
        query = "/api/v1/query_exemplars?query=traced_seconds_bucket&start=1600000000&end=1800000000"
        answer = json.loads(prometheus.get(query).body)
        return [(one["labels"], float(one["value"])) for entry in answer["data"] for one in entry["exemplars"]]

    def metadata() -> object:
        return json.loads(prometheus.get("/api/v1/metadata?metric=traced_seconds").body)["data"]

    poll(lambda: exemplars() == [({"trace_id": "abc"}, 0.25)], seconds=20, what="the exemplar")
    wanted = {"traced_seconds": [{"type": "histogram", "help": "How long.", "unit": "seconds"}]}
    poll(lambda: metadata() == wanted, seconds=20, what="metadata with the unit")


def test_every_type_arrives(openmetrics_gateway: Gateway, prometheus: Prometheus) -> None:
    """Each type of OpenMetrics is in Prometheus what the documents say."""
    pushed(
        openmetrics_gateway,
        "job/types",
        b"# TYPE rows counter\nrows_total 5\nrows_created 1600000000.5\n# TYPE build info\n"
        b'build_info{version="7"} 1\n# TYPE mode stateset\nmode{mode="on"} 1\nmode{mode="off"} 0\n# TYPE size gauge\n'
        b'size -1.5\n# TYPE took summary\ntook{quantile="0.5"} 1.5\ntook_count 20\ntook_sum 30\n'
        b'# TYPE queue gaugehistogram\nqueue_bucket{le="+Inf"} 3\nqueue_gcount 3\nqueue_gsum 4\nplain 7\n# EOF\n',
    )

    prometheus.eventually("rows_total", series(5, name="rows_total", job="types"))
    prometheus.eventually("rows_created", series(1600000000.5, name="rows_created", job="types"))
    prometheus.eventually("build_info", series(1, name="build_info", job="types", version="7"))
    prometheus.eventually("mode == 1", series(1, name="mode", job="types", mode="on"))
    prometheus.eventually("size", series(-1.5, name="size", job="types"))
    prometheus.eventually("took", series(1.5, name="took", job="types", quantile="0.5"))
    prometheus.eventually("took_count", series(20, name="took_count", job="types"))
    prometheus.eventually("queue_gsum", series(4, name="queue_gsum", job="types"))
    prometheus.eventually("plain", series(7, name="plain", job="types"))


def test_counters_from_text_are_named_as_documented(openmetrics_gateway: Gateway, prometheus: Prometheus) -> None:
    """A counter that was pushed without _total has it in Prometheus: what the setting is off by default for."""
    pushed(openmetrics_gateway, "job/text", b"# TYPE read counter\nread 3\n", openmetrics=False)

    prometheus.eventually("read_total", series(3, name="read_total", job="text"))
    assert prometheus.query("read") == {}


def test_what_is_no_openmetrics_arrives_all_the_same(openmetrics_gateway: Gateway, prometheus: Prometheus) -> None:
    """Negative counters, falling buckets and names that clash are stored by Prometheus, and break no scrape."""
    body = b"""# TYPE odd_total counter
odd_total -1
# TYPE falling histogram
falling_bucket{le="2"} 1
falling_bucket{le="1"} 5
falling_sum NaN
falling_count 3
# TYPE clash counter
clash 1
# TYPE clash_total gauge
clash_total 2
"""
    pushed(openmetrics_gateway, "job/odd", body, openmetrics=False)

    prometheus.eventually("odd_total", series(-1, name="odd_total", job="odd"))
    prometheus.eventually('falling_bucket{le="1.0"}', series(5, name="falling_bucket", job="odd", le="1.0"))
    prometheus.eventually("clash", series(1, name="clash", job="odd"))
    prometheus.eventually("clash_total", series(2, name="clash_total", job="odd"))


def test_no_scrape_failed_on_the_way(prometheus: Prometheus) -> None:
    """All that the tests of this module pushed never made Prometheus drop a scrape or a sample."""
    assert prometheus.query("min(min_over_time(up[5m]))") == {frozenset(): 1}
    log = prometheus.log().lower()
    assert "append failed" not in log
    assert "duplicate" not in log
    assert "error on ingesting" not in log
