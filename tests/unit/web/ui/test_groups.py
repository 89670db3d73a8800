from __future__ import annotations

import base64
import re

from tests.unit.web.fakes import Site
from tests.unit.web.ui.reading import Page

EVIL = "<script>alert(1)</script>\"'&"


def test_groups_are_listed_with_their_families(site: Site) -> None:
    """The page names each group's labels, job first, its last push, and its families with type and number of series."""
    site.push("job/backup/db/main/aaa/b", b'# TYPE x counter\n# HELP x An x.\nx{a="1"} 1\nx{a="2"} 2\n')
    site.now += 180
    page = Page(site.get("/groups").text)
    assert "job=backup aaa=b db=main" in page.words
    assert "pushed 3 min ago" in page.words
    assert page.found("time", datetime="2023-11-14T22:13:20Z", title="2023-11-14 22:13:20 UTC")
    assert "1 group " in page.words
    row = re.search(r"Help x counter (\d+) (3 min ago) An x\.", page.words)
    assert row is not None
    assert row[1] == "2"
    assert "Last push failed!" not in page.text


def test_a_failed_push_is_marked_with_its_reason(site: Site) -> None:
    """A group whose last push was refused says so, and why; after a success the mark goes."""
    site.push("job/a", b"x 1\nx 1\n")
    text = Page(site.get("/groups").text).text
    assert "Last push failed!" in text
    assert "never pushed" in text
    assert "was collected before with the same name and label values" in text
    site.now += 1
    site.push("job/a")
    assert "Last push failed!" not in Page(site.get("/groups").text).text


def test_nothing_that_was_pushed_becomes_html(site: Site) -> None:
    """Label values and HELP texts are shown as they are, whatever they look like."""
    encoded = base64.urlsafe_b64encode(EVIL.encode()).decode()
    assert site.push(f"job@base64/{encoded}", f"# HELP x {EVIL}\nx 1\n".encode()).status_code == 200
    page = Page(site.get("/groups").text)
    assert "alert(1)" not in "".join(page.elements)
    assert page.text.count(EVIL) == 2


def test_many_groups_come_in_pages(site: Site) -> None:
    """A page holds 200 groups; links lead to the others, and a page that is not there is the nearest one."""
    for number in range(401):
        site.push(f"job/j{number:03}")
    first, last = site.get("/groups").text, site.get("/groups?page=3").text
    assert "401 groups" in Page(first).words
    assert ("j000" in first, "j199" in first, "j200" in first) == (True, True, False)
    assert ("j399" in last, "j400" in last) == (False, True)
    assert '?page=2"' in first
    assert site.get("/groups?page=99").text == last
    for odd in ("0", "-1", "x", ""):
        assert site.get(f"/groups?page={odd}").text == first


def test_a_group_of_many_families_is_cut(site: Site) -> None:
    """Of a group's families the first 100 are listed, and the others counted."""
    site.push("job/a", b"".join(b"x%03d 1\n" % number for number in range(150)))
    text = Page(site.get("/groups").text).words
    assert ("x099 untyped 1" in text, "x100" in text, "and 50 more" in text) == (True, False, True)
