from __future__ import annotations

import gzip
import io
import weakref
from typing import Any
from urllib.parse import quote, unquote, urljoin

import pytest

from tests.collector import collector_off
from tests.rows import load
from tests.unit.web.fakes import Site

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "admin": {"enable_admin_api": True},
    "prefix": {"route_prefix": "/pfx", "telemetry_path": "/tele", "enable_admin_api": True},
    "external": {"route_prefix": "/ext", "external_url": "http://example.org/ext/"},
    "unchecked": {"disable_consistency_check": True},
}

ROWS = [row for row in load("routes.toml") if "://" not in row["request"] and "server" not in row]


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_contract_of_routes(row: dict[str, Any]) -> None:
    """Sections A and C of the contract hold for the WSGI application alone, whatever server runs it."""
    site = Site(**SETTINGS[row.get("flags", "admin")])
    method, target = row["request"].split(" ", 1)
    body = row.get("body", "").encode()
    if "gzip" in row:
        body = b"".join(gzip.compress(part.encode()) for part in row["gzip"])
        body = body[: len(body) - row.get("cut", 0)]
    reply = site.request(method, target, body, headers=row.get("send"))
    assert reply.status_code in (row["status"] if isinstance(row["status"], list) else [row["status"]]), reply.text
    assert reply.text == row.get("text", reply.text)
    assert all(fragment in reply.text for fragment in row.get("has", ()))
    assert reply.headers.get("Content-Type", "") == row.get("type", reply.headers.get("Content-Type", ""))
    assert reply.headers.get("Allow") == row.get("allow", reply.headers.get("Allow"))
    for name, value in row.get("headers", {}).items():
        found = reply.headers.get(name)
        assert (urljoin(target, found) if name == "Location" and found else found) == value, name
    assert not [name for name in row.get("absent", ()) if name in reply.headers]


@pytest.mark.parametrize("path", ["/pfx", "/%3Cint:x%3E", "/gate%20way", "/gr%C3%BC%C3%9Fe"])
def test_any_prefix_is_taken_literally(path: str) -> None:
    """No character of a prefix means anything to the routing."""
    decoded = unquote(path)
    site = Site(route_prefix=decoded)
    assert site.get(f"{path}/-/healthy").status_code == 200
    assert site.request("PUT", f"{path}/metrics/job/a").status_code == 200
    assert site.get(f"{path}/static/style.css").status_code == 200
    assert urljoin(f"http://host{path}", site.get(path).headers["Location"]) == f"http://host{quote(decoded)}/"
    assert site.get("/-/healthy").status_code == 404


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/metrics/", "../metrics"),
        ("/METRICS?name=x&y", "./metrics?name=x&y"),
        ("//metrics", "/metrics"),
        ("/./status", "/status"),
        ("/x/../-/Ready", "/-/ready"),
        ("//", "/"),
        ("/static", "./static/"),
        ("/api/v1/status/", "../../../api/v1/status"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_unclean_reads_are_redirected(site: Site, method: str, target: str, location: str) -> None:
    """GET and HEAD of what is nearly a page lead to the page, with the query, also where a proxy has cut the path."""
    reply = site.request(method, target)
    assert (reply.status_code, reply.headers["Location"]) == (301, location)
    clean = "/" + location.lstrip("./")
    for proxy in ("", "/proxy"):
        if not location.startswith("/"):
            assert urljoin(f"http://host{proxy}{target}", location) == f"http://host{proxy}{clean}"


@pytest.mark.parametrize("target", ["//example.org/metrics", "//example.org", "/metrics/x/", "/static/", "/nothing/"])
def test_what_is_nearly_nothing_is_not_found(site: Site, target: str) -> None:
    """No redirect leads out of the gateway, or to where nothing is."""
    assert site.get(target).status_code == 404


@pytest.mark.parametrize("target", ["/metrics/job/%FF", "/metrics/job/a/l/%0A%0D", "/metrics/job/a/l/%C3"])
def test_push_paths_reach_the_grouping_rules_byte_for_byte(site: Site, target: str) -> None:
    """What is not UTF-8 is seen as that, not as the replacement character; line ends are ordinary bytes."""
    reply = site.request("PUT", target)
    if "%0A" in target:
        assert reply.status_code == 200
        assert b'l="\\n\r"' in site.get("/metrics").data
    else:
        assert reply.status_code == 400
        assert "UTF-8" in reply.text
        assert site.store.changes == []


@pytest.mark.parametrize("path", ["/nothing", "/metrics/job/a", "/metrics/"])
def test_what_no_view_takes_leaves_nothing_behind(site: Site, path: str) -> None:
    """A request that is 404, 405 or redirected goes at once: the error does not refer to what it has come through."""
    site.get(path)
    with collector_off():
        sent = io.BytesIO()
        there = weakref.ref(sent)
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "x", "SERVER_PORT": "1"}
        assert b"".join(site.app(environ | {"wsgi.url_scheme": "http", "wsgi.input": sent}, lambda *_: None))
        del sent, environ
        assert there() is None


def test_methods_of_another_path_do_not_leak(site: Site) -> None:
    """An Allow header names exactly what its path takes."""
    assert site.request("PATCH", "/-/quit").headers["Allow"] == "GET, OPTIONS, POST, PUT"
    assert site.request("PATCH", "/static/style.css").headers["Allow"] == "GET, OPTIONS"
    assert site.request("DELETE", "/api/v1/metrics").headers["Allow"] == "GET, OPTIONS"
