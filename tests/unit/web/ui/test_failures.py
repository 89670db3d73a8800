from __future__ import annotations

from tests.unit.web.fakes import Site
from tests.unit.web.ui.reading import Page


def test_without_failures_the_page_says_so(site: Site) -> None:
    """Nothing refused is not an empty table."""
    page = Page(site.get("/failures").text)
    assert "Nothing was refused" in page.words
    assert "table" not in page.elements


def test_a_refusal_is_listed_with_what_mends_it(site: Site) -> None:
    """A row has the time, the group with a link to it, what is wrong, what to do, the reason, source and status."""
    site.push("job/etl/db/main/zone/a", b"rows 1.5GB\n", environ={"REMOTE_ADDR": "192.0.2.7"})
    site.now += 120
    page = Page(site.get("/failures").text)
    assert "2 min ago job=etl db=main zone=a" in page.words
    assert "A value is not a number" in page.words
    assert "one number without a unit" in page.words
    assert 'text format parsing error in line 1: expected float as value, got "1.5GB"' in page.words
    assert "192.0.2.7 400" in page.words
    assert "./groups/job/etl/db/main/zone/a" in page.links
    assert "1 refused push and" in page.words


def test_what_is_refused_again_and_again_is_one_row(site: Site) -> None:
    """A job that retries does not hide what others did: its refusals are counted, with the first and last time."""
    for number in range(5):
        site.push("job/a", b"x\n", environ={"REMOTE_ADDR": f"192.0.2.{number % 2}"})
        site.now += 60
    site.push("job/b", b"x\n")
    page = Page(site.get("/failures").text)
    rows = [given["id"] for given in page.found("tr") if "id" in given]
    assert len(rows) == len(set(rows)) == 2
    assert "5 times since 5 min ago" in page.words
    assert "and 1 more" in page.words


def test_a_path_that_names_no_group_is_shown_as_it_is(site: Site) -> None:
    """Where no group is named there is no link, and nothing of the path becomes markup."""
    site.push("job/<i>/l", b"x 1\n")
    site.request("DELETE", "/metrics/job/a/1x/v")
    text = site.get("/failures").text
    page = Page(text)
    assert "/metrics/job/&lt;i&gt;/l" in text
    assert "i" not in page.elements
    assert not [link for link in page.links if "groups/" in link]
    assert "Delete" in page.words


def test_what_the_client_sent_is_escaped(site: Site) -> None:
    """Reasons hold what was pushed, and are shown as they are."""
    site.push("job/a", b"<b>\n")
    assert "b" not in Page(site.get("/failures").text).elements
