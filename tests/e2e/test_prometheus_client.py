"""Do Python jobs that push with prometheus_client work unchanged?"""

from __future__ import annotations

import time
import urllib.error

import pytest
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client.exposition import (
    basic_auth_handler,
    default_handler,
    delete_from_gateway,
    instance_ip_grouping_key,
    passthrough_redirect_handler,
    push_to_gateway,
    pushadd_to_gateway,
)

from tests.harness import Gateway


@pytest.fixture(autouse=True)
def _empty(gateway: Gateway) -> None:
    gateway.wipe()


@pytest.fixture
def registry() -> CollectorRegistry:
    """What a typical job collects: one metric of each kind that prometheus_client has."""
    registry = CollectorRegistry()
    Counter("rows", "Rows read.", ["table"], registry=registry).labels("users").inc(1500)
    Gauge("last_success_unixtime", "When it last succeeded.", registry=registry).set(1.7e9)
    Summary("stage_seconds", "How long a stage took.", registry=registry).observe(2.5)
    latency = Histogram("latency_seconds", "Latency.", buckets=(0.1, 1, 10), registry=registry)
    for seconds in (0.05, 0.5, 5, 50):
        latency.observe(seconds)
    Info("release", "What ran.", registry=registry).info({"version": "1.2"})
    Enum("state", "How it is.", states=["idle", "busy"], registry=registry).state("busy")
    return registry


def one_gauge(name: str, value: float) -> CollectorRegistry:
    """A registry with one gauge."""
    registry = CollectorRegistry()
    Gauge(name, "", registry=registry).set(value)
    return registry


def test_a_push_of_every_kind_of_metric_is_exposed_as_it_was(gateway: Gateway, registry: CollectorRegistry) -> None:
    """Counter, gauge, summary, histogram, info and enum arrive with type, help, labels and values."""
    push_to_gateway(gateway.url, job="etl", registry=registry)

    scrape = gateway.scrape()
    assert scrape["rows_total"].type == "counter"
    assert scrape["rows_total"].help == "Rows read."
    assert scrape.value("rows_total", job="etl", instance="", table="users") == 1500
    assert scrape.value("last_success_unixtime", job="etl") == 1.7e9
    assert scrape["stage_seconds"].type == "summary"
    assert [line.value for line in scrape["stage_seconds"].lines] == ["2.5", "1"]
    assert scrape["latency_seconds"].type == "histogram"
    assert [line.value for line in scrape["latency_seconds"].lines] == ["1", "2", "3", "4", "55.55", "4"]
    assert scrape.value("release_info", job="etl", version="1.2") == 1
    assert scrape.value("state", job="etl", state="busy") == 1


def test_created_series_come_along(gateway: Gateway, registry: CollectorRegistry) -> None:
    """The `_created` gauges that prometheus_client adds to counters are ordinary families."""
    push_to_gateway(gateway.url, job="etl", registry=registry)

    assert abs(gateway.scrape().value("rows_created", table="users") - time.time()) < 60


def test_push_replaces_and_pushadd_merges(gateway: Gateway) -> None:
    """push_to_gateway (PUT) drops the group's other families, pushadd_to_gateway (POST) keeps them."""
    push_to_gateway(gateway.url, job="etl", registry=one_gauge("first", 1))
    pushadd_to_gateway(gateway.url, job="etl", registry=one_gauge("second", 2))
    merged = gateway.scrape()

    push_to_gateway(gateway.url, job="etl", registry=one_gauge("third", 3))
    replaced = gateway.scrape()

    assert (merged.has("first"), merged.has("second")) == (True, True)
    assert [replaced.has(name) for name in ("first", "second", "third")] == [False, False, True]


def test_delete_removes_only_its_group(gateway: Gateway) -> None:
    """delete_from_gateway removes the group of exactly its key."""
    for instance in ("a", "b"):
        push_to_gateway(gateway.url, job="etl", grouping_key={"instance": instance}, registry=one_gauge("x", 1))

    delete_from_gateway(gateway.url, job="etl", grouping_key={"instance": "a"})

    assert [line.label_map["instance"] for line in gateway.scrape()["x"].lines] == ["b"]


def test_delete_of_an_unknown_group_succeeds(gateway: Gateway) -> None:
    """A clean-up may run twice."""
    delete_from_gateway(gateway.url, job="never-pushed")

    assert not gateway.scrape().has("push_time_seconds")


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "10.0.0.1:8080",
        "with space",
        "a/b",
        "/",
        "ümläut",
        "日本",
        "plus+percent%",
        "?query#fragment",
        '"quoted"\\',
    ],
)
def test_any_grouping_value_arrives(gateway: Gateway, value: str) -> None:
    """However prometheus_client escapes a value (percent, plus, base64), the group's label is that value."""
    push_to_gateway(gateway.url, job="etl", grouping_key={"shard": value}, registry=one_gauge("x", 1))

    assert gateway.scrape().value("x", job="etl", shard=value) == 1

    delete_from_gateway(gateway.url, job="etl", grouping_key={"shard": value})
    assert not gateway.scrape().has("x")


def test_an_empty_grouping_value_is_no_label(gateway: Gateway) -> None:
    """`k@base64/=`, which prometheus_client sends for an empty value, names the group without that label."""
    push_to_gateway(gateway.url, job="etl", grouping_key={"shard": ""}, registry=one_gauge("x", 1))
    push_to_gateway(gateway.url, job="etl", registry=one_gauge("x", 2))

    assert [line.value for line in gateway.scrape()["x"].lines] == ["2"]


def test_a_job_name_with_a_slash_arrives(gateway: Gateway) -> None:
    """A job name goes through base64 when it has to."""
    push_to_gateway(gateway.url, job="reports/daily", registry=one_gauge("x", 1))

    assert gateway.scrape().value("x", job="reports/daily") == 1


def test_the_instance_grouping_key_sets_the_instance(gateway: Gateway) -> None:
    """instance_ip_grouping_key groups by this host's address."""
    key = instance_ip_grouping_key()

    push_to_gateway(gateway.url, job="etl", grouping_key=key, registry=one_gauge("x", 1))

    assert gateway.scrape().value("x", job="etl", instance=key["instance"]) == 1


def test_a_compressed_push_is_read(gateway: Gateway, registry: CollectorRegistry) -> None:
    """compression="gzip" pushes the same metrics."""
    push_to_gateway(gateway.url, job="etl", registry=registry, compression="gzip")

    assert gateway.scrape().value("rows_total", table="users") == 1500


@pytest.mark.parametrize("handler", [default_handler, passthrough_redirect_handler])
def test_each_plain_handler_pushes(gateway: Gateway, handler: object) -> None:
    """No push is ever redirected, so handlers that follow redirects and handlers that do not are the same."""
    push_to_gateway(gateway.url, job="a b/c", registry=one_gauge("x", 1), handler=handler)

    assert gateway.scrape().value("x", job="a b/c") == 1


def test_credentials_that_nobody_asked_for_do_no_harm(gateway: Gateway) -> None:
    """A job that sends basic authentication may push to a gateway that has none configured."""

    def handler(url: str, method: str, timeout: float, headers: list[tuple[str, str]], data: bytes) -> object:
        return basic_auth_handler(url, method, timeout, headers, data, "user", "secret")

    push_to_gateway(gateway.url, job="etl", registry=one_gauge("x", 1), handler=handler)

    assert gateway.scrape().value("x", job="etl") == 1


def test_a_refused_push_raises_with_the_status(gateway: Gateway) -> None:
    """A push that conflicts with another group raises an HTTPError 400, and the next scrape still works."""
    push_to_gateway(gateway.url, job="etl", registry=one_gauge("x", 1))
    clash = CollectorRegistry()
    Summary("x", "Now a summary.", registry=clash)

    with pytest.raises(urllib.error.HTTPError) as caught:
        push_to_gateway(gateway.url, job="other", registry=clash)

    caught.value.close()
    assert caught.value.code == 400
    scrape = gateway.scrape()
    assert scrape.value("x", job="etl") == 1
    assert scrape.value("push_failure_time_seconds", job="other") > 0
