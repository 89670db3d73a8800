"""Does a real Prometheus, configured as the README says, answer for what jobs have pushed?"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.harness import Gateway, poll
from tests.prometheus import Prometheus, Series, series

GAUGE = b"# HELP backup_size_bytes Size of the last backup.\n# TYPE backup_size_bytes gauge\nbackup_size_bytes 1.5e9\n"
HISTOGRAM = b"""# TYPE latency_seconds histogram
latency_seconds_bucket{le="1"} 50
latency_seconds_bucket{le="2"} 100
latency_seconds_bucket{le="+Inf"} 100
latency_seconds_sum 125
latency_seconds_count 100
"""


@pytest.fixture(scope="module")
def prometheus(gateway: Gateway) -> Iterator[Prometheus]:
    """A server that has scraped the gateway at least once."""
    with Prometheus(gateway) as server:
        poll(lambda: server.query("up"), seconds=30, what="the first scrape")
        yield server


def pushed(gateway: Gateway, path: str, body: bytes) -> None:
    """Push and expect it to be taken."""
    reply = gateway.push(path, body)
    assert reply.status == 200, reply


def test_the_target_is_up(gateway: Gateway, prometheus: Prometheus) -> None:
    """Prometheus takes every scrape; the gateway itself is instance and job of `up`."""
    prometheus.eventually("up", series(1, name="up", job="pushgateway", instance=f"127.0.0.1:{gateway.port}"))


def test_a_gauge_has_the_labels_of_its_group(gateway: Gateway, prometheus: Prometheus) -> None:
    """With honor_labels job and instance are those of the push, not those of the scrape."""
    pushed(gateway, "job/backup/instance/db1", GAUGE)

    prometheus.eventually("backup_size_bytes", series(1.5e9, name="backup_size_bytes", job="backup", instance="db1"))


def test_a_push_without_instance_gets_none_from_prometheus(gateway: Gateway, prometheus: Prometheus) -> None:
    """The exposed `instance=""` keeps Prometheus from adding the gateway's address."""
    pushed(gateway, "job/no_instance", b"alone 1\n")

    prometheus.eventually("alone", series(1, name="alone", job="no_instance"))


def test_the_group_overrides_labels_of_the_body(gateway: Gateway, prometheus: Prometheus) -> None:
    """A body's own job label loses against the group's."""
    pushed(gateway, "job/right/shard/2", b'overridden{job="wrong",shard="1",kept="yes"} 1\n')

    prometheus.eventually("overridden", series(1, name="overridden", job="right", shard="2", kept="yes"))


def test_a_counter_that_grows_can_be_summed_over_time(gateway: Gateway, prometheus: Prometheus) -> None:
    """Two pushes of a growing counter are an increase for Prometheus."""
    pushed(gateway, "job/count", b"# TYPE rows_total counter\nrows_total 100\n")
    prometheus.eventually("rows_total", series(100, name="rows_total", job="count"))

    pushed(gateway, "job/count", b"# TYPE rows_total counter\nrows_total 150\n")

    prometheus.eventually("rows_total", series(150, name="rows_total", job="count"))
    prometheus.eventually("resets(rows_total[1m])", series(0, job="count"))
    [increase] = prometheus.query("increase(rows_total[1m])").values()
    assert increase >= 50


def test_a_histogram_answers_quantiles(gateway: Gateway, prometheus: Prometheus) -> None:
    """histogram_quantile works on pushed buckets."""
    pushed(gateway, "job/slow", HISTOGRAM)

    prometheus.eventually("histogram_quantile(0.75, sum by (le) (latency_seconds_bucket))", {frozenset(): 1.5})
    prometheus.eventually("latency_seconds_sum / latency_seconds_count", series(1.25, job="slow"))


def test_strange_label_values_arrive_as_they_were(gateway: Gateway, prometheus: Prometheus) -> None:
    """Escapes in the exposition are undone by Prometheus to what was pushed."""
    pushed(
        gateway, "job/strange", r'strange{quoted="\"a\"",path="C:\\x",lines="one\ntwo",word="日本"} 1'.encode() + b"\n"
    )

    wanted = series(1, name="strange", job="strange", quoted='"a"', path="C:\\x", lines="one\ntwo", word="日本")
    prometheus.eventually("strange", wanted)


def test_special_values_arrive(gateway: Gateway, prometheus: Prometheus) -> None:
    """Infinities and very large and small numbers survive the way."""
    pushed(
        gateway,
        "job/values",
        b'special{v="i"} +Inf\nspecial{v="n"} -Inf\nspecial{v="l"} 1e308\nspecial{v="s"} 5e-324\n',
    )

    values = {"i": float("inf"), "n": float("-inf"), "l": 1e308, "s": 5e-324}
    wanted: Series = {}
    for name, number in values.items():
        wanted |= series(number, name="special", job="values", v=name)
    prometheus.eventually("special", wanted)


def test_type_and_help_reach_prometheus(gateway: Gateway, prometheus: Prometheus) -> None:
    """The metadata that dashboards show is what the job gave."""
    pushed(gateway, "job/backup/instance/db1", GAUGE)

    def metadata() -> object:
        return json.loads(prometheus.get("/api/v1/metadata?metric=backup_size_bytes").body)["data"]

    wanted = {"backup_size_bytes": [{"type": "gauge", "help": "Size of the last backup.", "unit": ""}]}
    poll(lambda: metadata() == wanted, seconds=20, what="metadata")


def test_the_push_time_tells_how_old_a_push_is(gateway: Gateway, prometheus: Prometheus) -> None:
    """`time() - push_time_seconds`, the expression of most alerts on batch jobs, is the age of the last push."""
    pushed(gateway, "job/timed", b"")
    [wanted] = series(0, job="timed")
    expression = 'time() - push_time_seconds{job="timed"}'

    poll(lambda: wanted in prometheus.query(expression), seconds=20, what=expression)

    assert 0 <= prometheus.query(expression)[wanted] < 60


def test_a_refused_push_fires_the_usual_alert(gateway: Gateway, prometheus: Prometheus) -> None:
    """`push_failure_time_seconds > push_time_seconds` is true from a refusal to the next success."""
    alert = 'push_failure_time_seconds{job="flaky"} > push_time_seconds'
    assert gateway.push("job/flaky", b"y 1 123\n").status == 400
    poll(lambda: prometheus.query(alert), seconds=20, what=f"{alert} to fire")

    pushed(gateway, "job/flaky", b"y 1\n")

    prometheus.eventually(alert, {})


def test_a_deleted_group_goes_stale_at_once(gateway: Gateway, prometheus: Prometheus) -> None:
    """After a delete its series end with the next scrape, and not five minutes later."""
    pushed(gateway, "job/gone", b"gone 1\n")
    prometheus.eventually("gone", series(1, name="gone", job="gone"))

    assert gateway.delete("job/gone").status == 202

    prometheus.eventually("gone", {})
    prometheus.eventually('push_time_seconds{job="gone"}', {})


def test_the_gateways_own_metrics_are_scraped(gateway: Gateway, prometheus: Prometheus) -> None:
    """Requests are counted as the original's dashboards expect."""
    pushed(gateway, "job/own", b"")

    poll(
        lambda: prometheus.query('pushgateway_http_requests_total{handler="push",method="post",code="200"} > 0'),
        seconds=20,
        what="the counter of pushes",
    )
    assert prometheus.query("count(pushgateway_build_info)") == {frozenset(): 1}


def test_no_scrape_failed_on_the_way(prometheus: Prometheus) -> None:
    """All that the tests of this module pushed never made Prometheus drop a scrape or a sample."""
    assert prometheus.query("min(min_over_time(up[5m]))") == {frozenset(): 1}
    log = prometheus.log()
    assert "append failed" not in log
    assert "duplicate" not in log.lower()
    assert "out of order" not in log.lower()
