"""Does a Prometheus that knows legacy names only take everything that a gateway with UTF-8 names exposes?"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.harness import Gateway, Service, poll, require_program
from tests.prometheus import Prometheus, series

PROMTOOL_PARSE_ERROR = 1

PUSHES = {
    "dotted": ("job/a/U__service_2e_name/shop", b'# TYPE "my.metric" gauge\n{"my.metric","disk.name"="sda"} 1\n'),
    "colliding": ("job/b", b'{"a.b"} 1\n{"a-b"} 2\na_b 3\nx{"l.x"="1",l_x="2"} 4\n'),
    "a twin by its label": ("job/c/l.x/1", b"x 1\n"),
    "its twin": ("job/c/l_x/1", b"x 2\n"),
    "a histogram": ("job/d", b'# TYPE "h.x" histogram\n{"h.x_bucket",le="1"} 50\n{"h.x_count"} 100\nh_x_count 1\n'),
    "odd": ("job/e/%C3%A9%22%0A/v", '{"é\\"\\n\\\\ {}😱","1"="1"} 1\n{" "} 2\n'.encode()),
    "reserved by underscores": ("job/f", b'x{"..name.."="1",".."="2"} 1\n'),
    "like our own": ("job/g", b'{"process.max.fds"} 1\n{"push.time.seconds"} 2\n'),
}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """A gateway with UTF-8 names, and all of `PUSHES` in it."""
    with Gateway("--storage.url=memory:", "--push.enable-utf8-names") as service:
        for path, body in PUSHES.values():
            assert service.push(path, body).status == 200
        yield service


@pytest.fixture(scope="module")
def prometheus(gateway: Gateway) -> Iterator[Prometheus]:
    """A server that has scraped the gateway at least once."""
    with Prometheus(gateway) as server:
        poll(lambda: server.query("up"), seconds=30, what="the first scrape")
        yield server


@pytest.mark.parametrize("escaping", ["underscores", "dots", "values"])
def test_promtool_reads_every_scheme(gateway: Gateway, escaping: str) -> None:
    """Prometheus' own parser of legacy names finds nothing wrong, and no series is there twice."""
    accept = {"Accept": f"text/plain;version=0.0.4;escaping={escaping}"}
    body = gateway.get("/metrics", accept).body
    done = subprocess.run(
        [require_program("promtool"), "check", "metrics"], input=body, capture_output=True, check=False
    )
    assert done.returncode != PROMTOOL_PARSE_ERROR, done.stderr.decode()
    assert gateway.scrape(accept).problems() == []


def test_series_arrive_under_their_escaped_names(gateway: Service, prometheus: Prometheus) -> None:
    """Dots are underscores, what collides is written by value, and each value is there."""
    prometheus.eventually("my_metric", series(1, name="my_metric", job="a", service_name="shop", disk_name="sda"))
    prometheus.eventually("U__a_2e_b", series(1, name="U__a_2e_b", job="b"))
    prometheus.eventually("U__a_2d_b", series(2, name="U__a_2d_b", job="b"))
    prometheus.eventually("a_b", series(3, name="a_b", job="b"))
    prometheus.eventually('x{job="b"}', series(4, name="x", job="b", U__l_2e_x="1", l_x="2"))
    prometheus.eventually('sum(x{job="c"})', {frozenset(): 3})
    prometheus.eventually("histogram_quantile(0.25, sum by (le) (U__h_2e_x_bucket))", {frozenset(): 0.5})
    prometheus.eventually('count(push_time_seconds{service_name="shop"})', {frozenset(): 1})
    prometheus.eventually("count(push_time_seconds)", {frozenset(): len(PUSHES)})


def test_no_scrape_failed(prometheus: Prometheus) -> None:
    """Of all these names none made Prometheus drop a scrape or a sample."""
    prometheus.eventually("count(up == 1)", {frozenset(): 1})
    assert prometheus.query("min(min_over_time(up[5m]))") == {frozenset(): 1}
    log = prometheus.log()
    assert "append failed" not in log
    assert "duplicate" not in log.lower()
    assert "out of order" not in log.lower()
