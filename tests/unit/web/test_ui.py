from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from tests.unit.web.fakes import Site

EVIL = "<script>alert(1)</script>\"'&"


class Page(HTMLParser):
    """The text, the links and the elements of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.elements: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element and where it leads."""
        self.elements.append(tag)
        self.text += " " if tag in ("td", "th") else ""
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data


def test_groups_are_listed_with_their_families(site: Site) -> None:
    """The page names each group's labels, job first, its last push, and its families with type and number of series."""
    site.push("job/backup/db/main/aaa/b", b'# TYPE x counter\n# HELP x An x.\nx{a="1"} 1\nx{a="2"} 2\n')
    page = Page(site.get("/").text)
    text = " ".join(page.text.split())
    assert 'job="backup" aaa="b" db="main"' in text
    assert "pushed 2023-11-14T22:13:20Z" in text
    assert "1 group " in text
    row = re.search(r"Help x counter (\d+) (\S+) An x\.", text)
    assert row is not None
    assert row.groups() == ("2", "2023-11-14T22:13:20Z")
    assert "Last push failed!" not in text


def test_a_failed_push_is_marked_with_its_reason(site: Site) -> None:
    """A group whose last push was refused says so, and why; after a success the mark goes."""
    site.push("job/a", b"x 1\nx 1\n")
    text = Page(site.get("/").text).text
    assert "Last push failed!" in text
    assert "never pushed" in text
    assert "was collected before with the same name and label values" in text
    site.now += 1
    site.push("job/a")
    assert "Last push failed!" not in Page(site.get("/").text).text


def test_nothing_that_was_pushed_becomes_html(site: Site) -> None:
    """Label values and HELP texts are shown as they are, whatever they look like."""
    encoded = base64.urlsafe_b64encode(EVIL.encode()).decode()
    assert site.push(f"job@base64/{encoded}", f"# HELP x {EVIL}\nx 1\n".encode()).status_code == 200
    page = Page(site.get("/").text)
    assert "script" not in page.elements
    assert page.text.count(EVIL) == 2


def test_the_page_runs_nothing(site: Site) -> None:
    """A strict policy forbids scripts, frames, forms and foreign sources, should escaping ever fail."""
    policy = site.get("/").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    page = Page(site.get("/").text)
    assert not {"script", "style", "iframe", "form"} & set(page.elements)


def test_status_shows_build_and_flags() -> None:
    """The page shows what runs, since when, and every flag."""
    text = Page(Site(flags={"web.enable-lifecycle": "true"}).get("/status").text).text
    assert "web.enable-lifecycle" in text
    assert "goversion" in text
    assert "python3" in text


@pytest.mark.parametrize("settings", [{}, {"route_prefix": "/pfx", "telemetry_path": "/tele/metrics"}])
def test_links_work_behind_any_prefix(settings: dict[str, str]) -> None:
    """All links are relative, and lead to something below the prefix."""
    site = Site(**settings)
    prefix = settings.get("route_prefix", "")
    for path in ("/", "/status"):
        links = [link for link in Page(site.get(prefix + path).text).links if not link.startswith("#")]
        assert links
        for link in links:
            assert not link.startswith("/")
            assert site.get(f"{prefix}/{link}").status_code == 200


def test_many_groups_come_in_pages(site: Site) -> None:
    """A page holds 200 groups; links lead to the others, and a page that is not there is the nearest one."""
    for number in range(401):
        site.push(f"job/j{number:03}")
    first, last = site.get("/").text, site.get("/?page=3").text
    assert "401 groups" in first
    assert ("j000" in first, "j199" in first, "j200" in first) == (True, True, False)
    assert ("j399" in last, "j400" in last) == (False, True)
    assert '?page=2"' in first
    assert site.get("/?page=99").text == last
    for odd in ("0", "-1", "x", ""):
        assert site.get(f"/?page={odd}").text == first


def test_static_files_have_their_types(site: Site) -> None:
    """The style sheet comes with its type; what is outside of the folder, or of another type, is not there."""
    reply = site.get("/static/style.css")
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    for path in ("../ui.py", "..%2Fui.py", "%2Fetc/passwd", "nothing.css", "../templates/status.html", "x.css%00"):
        assert site.get(f"/static/{path}").status_code == 404


def test_an_unreadable_store_is_503(site: Site) -> None:
    """The page says why there is nothing to show."""
    site.store.read_error = "gone"
    reply = site.get("/")
    assert (reply.status_code, "gone" in reply.text) == (503, True)


def test_an_unwritable_store_is_shown(site: Site) -> None:
    """The page warns that pushes are not accepted, and why."""
    site.store.unwritable = "disk full"
    assert "cannot be written: disk full" in Page(site.get("/").text).text


def test_pages_are_counted(site: Site) -> None:
    """The status page counts as `status`, its files as `static`, a file that is not there with 404."""
    site.get("/")
    site.get("/status")
    site.get("/static/style.css")
    site.get("/static/nothing.css")
    assert site.counted() == {
        ("status", "get", "200"): 2,
        ("static", "get", "200"): 1,
        ("static", "get", "404"): 1,
    }


def test_a_group_of_many_families_is_cut(site: Site) -> None:
    """Of a group's families the first 100 are listed, and the others counted."""
    site.push("job/a", b"".join(b"x%03d 1\n" % number for number in range(150)))
    text = " ".join(Page(site.get("/").text).text.split())
    assert ("x099 untyped 1" in text, "x100" in text, "and 50 more" in text) == (True, False, True)


def test_recent_failures_are_shown(site: Site) -> None:
    """The newest refused pushes stand on the page with their reasons, escaped; without any there is no such table."""
    assert "Recent failures" not in site.get("/status").text
    for number in range(12):
        site.push(f"job/{number}", b"<b>\n")
    site.push("job/<i>/l", b"x 1\n")
    text = site.get("/status").text
    assert "Recent failures" in text
    assert text.count("text format parsing error") == 9
    assert "POST {job=&#34;11&#34;}" in text
    assert "POST /metrics/job/&lt;i&gt;/l" in text
    assert "<b>" not in text
