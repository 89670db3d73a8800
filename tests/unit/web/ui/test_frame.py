from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin

import pytest

from pushgateway.config import Limits
from pushgateway.web.ui import frame
from tests.unit.web.fakes import Site
from tests.unit.web.ui.reading import Page

DOCS = "https://prometheus.io/docs/"
PAGES = ("/", "/groups", "/failures", "/status")


def test_pages_run_nothing_of_others(site: Site) -> None:
    """A strict policy forbids inline scripts and styles, frames and foreign sources, and no page has any."""
    for path in (*PAGES, "/static/style.css"):
        reply = site.get(path)
        assert reply.headers["Content-Security-Policy"] == frame.POLICY
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Referrer-Policy"] == "same-origin"
    assert "unsafe" not in frame.POLICY
    for path in PAGES:
        page = Page(site.get(path).text)
        assert not {"style", "iframe", "base"} & set(page.elements)
        assert all(script.get("src") for script in page.found("script"))
        names = {name for given in page.attributes for name in given}
        assert not {name for name in names if name == "style" or name.startswith("on")}


def test_pages_are_not_kept(site: Site) -> None:
    """Going back never shows what has been deleted meanwhile."""
    assert all(site.get(path).headers["Cache-Control"] == "no-store" for path in PAGES)


@pytest.mark.parametrize("path", PAGES)
def test_the_page_has_a_frame(site: Site, path: str) -> None:
    """Each page has a title, one heading, a skip link that leads to its content, and marks itself in the navigation."""
    page = Page(site.get(path).text)
    assert page.elements.count("h1") == page.elements.count("main") == 1
    assert page.found("title")[0] == {}
    assert "#main" in page.links
    assert page.found("main", id="main")
    (marked,) = page.found("a", aria_current="page")
    assert urljoin(f"http://host{path}", marked["href"]) == f"http://host{path}"


@pytest.mark.parametrize("settings", [{}, {"route_prefix": "/a/b", "telemetry_path": "/tele/metrics"}])
def test_links_work_behind_any_prefix(settings: dict[str, str]) -> None:
    """All links are relative, and lead to something below the prefix that the gateway, or a proxy, has put before."""
    site = Site(**settings)
    prefix = settings.get("route_prefix", "")
    for path in PAGES:
        links = [link for link in Page(site.get(prefix + path).text).links if not link.startswith(("#", DOCS))]
        assert len(links) > 8
        for link in links:
            assert not link.startswith("/")
            target = urljoin(f"http://host/proxy{prefix}{path}", link)
            assert target.startswith(f"http://host/proxy{prefix}/")
            assert site.get(target.removeprefix("http://host/proxy")).status_code == 200


@pytest.fixture(params=["", "/pre/fix"])
def prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    """No route prefix, and one."""
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("raw", "root"),
    [
        ("/", "./"),
        ("/groups?q=a/b", "./"),
        ("/groups/job/a", "../../"),
        ("/groups/job/a%2Fb", "../../"),
        ("/groups/job/a/", "../../../"),
    ],
)
def test_links_lead_up_from_the_depth_that_the_browser_sees(prefix: str, raw: str, root: str) -> None:
    """Slashes are counted as they were sent, with or without the host before them."""
    site = Site(route_prefix=prefix)
    for before in ("", "http://host:80"):
        environ = {"RAW_URI": before + prefix + raw, "PATH_INFO": prefix + raw, "pushgateway.path": raw}
        with site.app.test_request_context(environ_overrides=environ):
            assert frame.url("status") == f"{root}status"


def test_a_query_is_encoded(site: Site) -> None:
    """Parameters of a link are encoded, and left out where there is none."""
    with site.app.test_request_context("/"):
        assert frame.url("groups", q='a="b c"&d', page=2, sort=None) == "./groups?q=a%3D%22b+c%22%26d&page=2"
        reply = frame.see("groups", q="x")
        assert (reply.status_code, reply.headers["Location"]) == (303, "./groups?q=x")


def test_an_unreadable_store_is_503(site: Site) -> None:
    """A page says why there is nothing to show."""
    site.store.read_error = "gone"
    reply = site.get("/groups")
    assert (reply.status_code, "gone" in reply.text) == (503, True)
    for path in ("/", "/groups", "/status"):
        reply = site.get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert (reply.status_code, reply.headers["Retry-After"]) == (503, "5")
        page = Page(reply.text)
        assert "gone" in page.words
        assert page.found("a", aria_current="page")


def test_an_unwritable_store_is_shown(site: Site) -> None:
    """Every page warns that pushes are not accepted, and why."""
    site.store.unwritable = "disk full"
    for path in PAGES:
        assert "cannot be written: disk full" in Page(site.get(path).text).text


def test_pages_are_counted(site: Site) -> None:
    """Pages are counted by their names, overview and status as one, their files as `static`, one not there with 404."""
    for path in (*PAGES, "/static/style.css", "/static/nothing.css"):
        site.get(path)
    assert site.counted() == {
        ("status", "get", "200"): 2,
        ("groups", "get", "200"): 1,
        ("failures", "get", "200"): 1,
        ("static", "get", "200"): 1,
        ("static", "get", "404"): 1,
    }


def test_an_address_that_cannot_be_read_is_a_page(site: Site) -> None:
    """A browser gets the reason on a page that does not ask again, a program as text."""
    reply = site.get("/?stale=soon", headers={"Accept": "text/html"})
    page = Page(reply.text)
    assert (reply.status_code, page.elements.count("main")) == (400, 1)
    assert "stale: 'soon' is not a duration" in page.words
    assert "Refresh every" not in page.words
    assert site.get("/?stale=soon").headers["Content-Type"].startswith("text/plain")


def test_a_form_that_is_too_large_counts_as_refused_by_a_limit() -> None:
    """The limit of bodies holds for forms, too, and a browser gets the reason on a page."""
    site = Site(limits=Limits(body_bytes=10))
    headers = {"Accept": "text/html", "Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": "gzip"}
    reply = site.request("POST", "/groups/delete", b"group=" + b"a" * 20, headers=headers)
    assert (reply.status_code, "body-bytes" in Page(reply.text).words) == (413, True)
    assert site.refusals() == {"body-bytes": 1}
