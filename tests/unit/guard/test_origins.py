"""Are changes refused that pages of other sites have sent, and nothing else?"""

from __future__ import annotations

import pytest

from pushgateway.guard import Origins

CHANGES = ("PUT", "POST", "DELETE", "PATCH", "CONNECT", "post", "WIPE")


def problem(method: str = "POST", external_url: str = "", **headers: str) -> str:
    """Ask about a request; underscores in names are dashes."""
    fields = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Origins(external_url).problem(method, [(b"accept", b"*/*"), *fields])


@pytest.mark.parametrize("method", CHANGES)
def test_no_browser(method: str) -> None:
    """What carries no mark of a browser passes: curl, SDKs, Prometheus' clients."""
    assert problem(method) == ""
    assert problem(method, host="gateway:9091") == ""
    assert problem(method, sec_fetch_site="", origin="") == ""


@pytest.mark.parametrize("method", CHANGES)
@pytest.mark.parametrize("value", ["cross-site", "same-site", "Same-Origin", "same-origin, none", "x", "\xff"])
def test_other_sites(method: str, value: str) -> None:
    """Whatever Sec-Fetch-Site says but same-origin and none is refused, and the refusal names it."""
    refusal = problem(method, sec_fetch_site=value, host="a", origin="http://a")
    assert refusal.startswith("cross-site request refused: ")
    assert f"Sec-Fetch-Site is {value!r}" in refusal


@pytest.mark.parametrize("value", ["same-origin", "none"])
def test_the_own_site(value: str) -> None:
    """same-origin and none pass, whatever Origin says: a proxy may have changed Host."""
    assert problem(sec_fetch_site=value, host="a", origin="http://b") == ""


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading(method: str) -> None:
    """Any page may read."""
    assert problem(method, sec_fetch_site="cross-site", origin="http://b", host="a") == ""


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://a", "a"),
        ("https://a:9091", "a:9091"),
        ("https://A", "a"),
        ("http://a", "A"),
        ("http://[::1]:9091", "[::1]:9091"),
    ],
)
def test_older_browsers_on_the_own_site(origin: str, host: str) -> None:
    """Without Sec-Fetch-Site an Origin passes whose host and port are those of Host."""
    assert problem(origin=origin, host=host) == ""


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://b", "a"),
        ("http://a:9092", "a:9091"),
        ("http://a", "a:9091"),
        ("http://a.b", "a"),
        ("null", "a"),
        ("null", ""),
        ("null", "null"),
        ("a", "a"),
        ("http://", ""),
        ("http://[", "["),
        ("http://a, http://b", "a"),
        ("http://b\xff", "a"),
    ],
)
@pytest.mark.parametrize("external_url", ["", "https://outside.example/pfx", "/pfx"])
def test_older_browsers_on_other_sites(origin: str, host: str, external_url: str) -> None:
    """Any other Origin is refused, also what is none; a proxy may be to blame, which the reason says."""
    refusal = problem(origin=origin, host=host, external_url=external_url)
    assert "Origin is " in refusal
    assert "set --web.external-url" in refusal


def test_a_request_without_host() -> None:
    """Who names an origin but no host is refused: there is nothing that it could be the same as."""
    assert problem(origin="http://a")


@pytest.mark.parametrize(
    "url", ["https://outside.example", "https://outside.example:443/pfx", "https://u@OUTSIDE.example/"]
)
def test_the_external_url(url: str) -> None:
    """The external URL's host passes, since browsers see the gateway there."""
    assert problem(origin="https://outside.example", host="inside:9091", external_url=url) == ""
    assert problem(origin="https://outside.example:8443", host="inside:9091", external_url=url)


def test_a_long_value_is_cut() -> None:
    """The answer does not repeat whatever was sent."""
    assert len(problem(sec_fetch_site="x" * 10_000)) < 400
