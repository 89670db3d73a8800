from __future__ import annotations

import pytest

from tests.unit.web.fakes import Site


def test_all_is_well(site: Site) -> None:
    """A gateway whose store reads and writes says OK, without a line end."""
    for path in ("/-/healthy", "/-/ready"):
        reply = site.get(path)
        assert (reply.status_code, reply.text) == (200, "OK")
        assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_a_store_that_cannot_be_written_is_told_and_stays_green(site: Site) -> None:
    """A full disk is no reason to restart, nor to stop being scraped: both stay 200, with the reason."""
    site.store.unwritable = "disk full"
    for path in ("/-/healthy", "/-/ready"):
        reply = site.get(path)
        assert reply.status_code == 200
        assert "cannot be written: disk full" in reply.text


def test_a_web_configuration_that_has_become_unusable_is_told(site: Site) -> None:
    """Files of the web configuration that cannot be used any more are told by both, which stay 200."""
    site.app.extensions["pushgateway"] = site.app.extensions["pushgateway"]._replace(
        web_config_problem=lambda: "web.yml: a: b"
    )
    for path in ("/-/healthy", "/-/ready"):
        reply = site.get(path)
        assert reply.status_code == 200
        assert reply.text == "web configuration cannot be used, the last good one stays: web.yml: a: b\n"
    site.store.unwritable = "disk full"
    assert site.get("/-/ready").text.splitlines() == [
        "store cannot be written: disk full",
        "web configuration cannot be used, the last good one stays: web.yml: a: b",
    ]


def test_a_store_that_cannot_be_read_is_not_ready(site: Site) -> None:
    """Without reads the gateway can serve nothing, so it is not ready; it is healthy, since a restart mends nothing."""
    site.store.read_error = "database disk image is malformed"
    healthy, ready = site.get("/-/healthy"), site.get("/-/ready")
    assert (healthy.status_code, ready.status_code) == (200, 503)
    for reply in (healthy, ready):
        assert "database disk image is malformed" in reply.text


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_quit_stops_the_gateway_when_enabled(method: str) -> None:
    """With the lifecycle API the stop is begun, as often as it is asked for; without, it is forbidden."""
    site = Site(enable_lifecycle=True)
    for times in (1, 2):
        reply = site.request(method, "/-/quit")
        assert (reply.status_code, reply.text) == (200, "Requesting termination... Goodbye!")
        assert site.quits == times
    site = Site()
    reply = site.request(method, "/-/quit")
    assert (reply.status_code, reply.text) == (403, "Lifecycle API is not enabled.")
    assert site.quits == 0


def test_quit_by_get_says_how(site: Site) -> None:
    """GET does not stop the gateway: links are followed by machines."""
    assert site.get("/-/quit").text == "Only POST or PUT requests allowed."
    assert site.quits == 0


def test_health_is_counted_and_quit_is_not(site: Site) -> None:
    """Health and readiness count as requests, quit and what is not there do not, as in the original."""
    site.get("/-/healthy")
    site.request("HEAD", "/-/ready")
    site.request("POST", "/-/quit")
    site.request("POST", "/-/ready")
    site.get("/nothing")
    assert site.counted() == {("healthy", "get", "200"): 1, ("ready", "head", "200"): 1}
