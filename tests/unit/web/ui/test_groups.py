"""Which groups does the page list, how does it lead from one page to another, and how are groups deleted?"""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote, urlencode

import pytest
from werkzeug.test import TestResponse

from pushgateway.errors import StoreUnwritableError
from pushgateway.model import Change, Delete, GroupingKey
from pushgateway.storage.base import Ticket
from tests.unit.web.fakes import NOW, Site
from tests.unit.web.ui.reading import Page

EVIL = "<script>alert(1)</script>\"'&"
HTML = {"Accept": "text/html,*/*;q=0.8"}


def shown(site: Site, target: str = "/groups", status: int = 200) -> Page:
    """Open a page."""
    reply = site.get(target, headers=HTML)
    assert reply.status_code == status
    return Page(reply.text)


def keys(page: Page) -> list[str]:
    """Return the keys of the groups that can be chosen, in order."""
    return [box["value"] for box in page.found("input", type="checkbox", name="group")]


def jobs(page: Page) -> list[str]:
    """Return their jobs."""
    return [dict(json.loads(key))["job"] for key in keys(page)]


def send(site: Site, target: str = "/groups/delete", **form: str | list[str]) -> TestResponse:
    """Send a form."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", **HTML}
    return site.request("POST", target, urlencode(form, doseq=True).encode(), headers=headers)


def key(job: str, **labels: str) -> str:
    return GroupingKey.of({"job": job, **labels}).key


def test_groups_are_listed(site: Site) -> None:
    """Each with its labels, job first, which lead to its page, its last push, and how much it holds."""
    site.push("job/backup/db/main/aaa/b", b'# TYPE x counter\n# HELP x An x.\nx{a="1"} 1\nx{a="2"} 2\ny 1\n')
    site.now += 180
    page = shown(site)
    assert "1 group." in page.words
    assert "job=backup aaa=b db=main" in page.words
    assert "OK 3 min ago" in page.words
    assert page.found("time", datetime="2023-11-14T22:13:20Z", title="2023-11-14 22:13:20 UTC")
    assert " 2 3 " in page.words
    assert "./groups/job/backup/aaa/b/db/main" in page.links
    assert page.found("input", type="checkbox", aria_label="Choose job backup, aaa b, db main")


def test_an_empty_store_says_how_to_begin(site: Site) -> None:
    """A newcomer is told that nothing was pushed, and where it is said how."""
    page = shown(site)
    assert "Nothing has been pushed yet" in page.words
    assert "./" in page.links
    assert keys(page) == []


def test_a_failed_push_is_marked_with_its_reason(site: Site) -> None:
    """A group whose last push was refused says so, and why; after a success the mark goes."""
    site.push("job/a", b"x 1\nx 1\n")
    text = shown(site).words
    assert "Failed" in text
    assert "never" in text
    assert "was collected before with the same name and label values" in text
    site.now += 1
    site.push("job/a")
    text = shown(site).words
    assert "was collected before" not in text
    assert " OK " in text


def test_a_stale_group_is_marked_as_the_reader_says(site: Site) -> None:
    """What is too old is chosen by the reader and kept in the address; 26 hours if nothing is said."""
    site.push("job/a")
    site.now += 3700
    assert "Stale 1 h ago" not in shown(site).words
    page = shown(site, "/groups?stale=1h")
    assert "Stale 1 h ago" in page.words
    assert page.found("option", value="1h", selected="")
    assert all("stale=1h" in link for link in page.links if "sort=" in link)
    other = shown(site, "/groups?stale=3605")
    assert "Stale 1 h ago" in other.words
    assert "1h0m5s" in other.words
    assert other.found("option", value="3605", selected="")
    assert not other.found("option", value="26h", selected="")
    site.now += 26 * 3600
    assert "Stale" in shown(site).words


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["c", "b", "a"]),
        ("?sort=name", ["a", "b", "c"]),
        ("?sort=size", ["b", "a", "c"]),
        ("?sort=failed", ["a", "c", "b"]),
        ("?state=failed", ["a"]),
        ("?state=stale&stale=15s", ["a"]),
        ("?q=job%3Db", ["b"]),
        ("?q=job!%3Db&sort=name", ["a", "c"]),
        ("?q=X&sort=name", []),
    ],
)
def test_what_is_listed_stands_in_the_address(site: Site, query: str, expected: list[str]) -> None:
    """Search, order and state are as in the API, and the form and the headings show them."""
    for at, (job, body) in enumerate((("a", b"x 1\n"), ("b", b"x 1\ny 2\n"), ("c", b""))):
        site.now = NOW + 10 * at
        site.push(f"job/{job}", body)
    site.push("job/a", b"z 1\nz 1\n")
    page = shown(site, f"/groups{query}")
    assert jobs(page) == expected
    assert len(page.found("th", aria_sort="ascending") + page.found("th", aria_sort="descending")) == bool(expected)
    if not expected:
        assert "No group is like that." in page.words


def test_pages_lead_to_each_other(site: Site) -> None:
    """There is a way to the first, the next and the previous page, and all that was chosen goes with it."""
    for number in range(7):
        site.push(f"job/j{number}")
    first = shown(site, "/groups?sort=name&limit=3&q=j&stale=1h")
    assert jobs(first) == ["j0", "j1", "j2"]
    assert "7 groups found, of which this page shows 3." in first.words
    assert not first.found("a", rel="first")
    [following] = first.found("a", rel="next")
    second = shown(site, following["href"].removeprefix("."))
    assert jobs(second) == ["j3", "j4", "j5"]
    [following] = second.found("a", rel="next")
    [previous] = second.found("a", rel="prev")
    [start] = second.found("a", rel="first")
    assert start["href"] == "./groups?q=j&sort=name&stale=1h&limit=3"
    assert jobs(shown(site, previous["href"].removeprefix("."))) == ["j0", "j1", "j2"]
    last = shown(site, following["href"].removeprefix("."))
    assert jobs(last) == ["j6"]
    assert not last.found("a", rel="next")


def test_a_page_that_has_become_empty_leads_back(site: Site) -> None:
    """Where all groups of a page have gone meanwhile, there is a way to those before."""
    for number in range(4):
        site.push(f"job/j{number}")
    page = shown(site, "/groups?sort=name&limit=2&cursor=4")
    assert "There are no groups any more on this page" in page.words
    [back] = [link for link in page.links if "cursor=2" in link]
    assert jobs(shown(site, back.removeprefix("."))) == ["j2", "j3"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("q=job%3D%22x", "the search cannot be read at character 5: the quote is not closed"),
        ("sort=best", "sort 'best' is none of pushed, failed, size, name"),
        ("cursor=x", "the cursor is none of ours"),
        ("stale=soon", "stale: 'soon' is not a duration"),
        ("limit=201", "limit '201' is not a whole number from 1 to 200"),
    ],
)
def test_what_cannot_be_read_is_said_on_the_page(site: Site, query: str, words: str) -> None:
    """A search that means nothing is 400; the page says what and where, keeps what was typed, and does not go on."""
    page = shown(site, f"/groups?{query}", 400)
    assert words in page.words
    assert "Refresh every" not in page.words
    if query.startswith("q="):
        assert page.found("input", name="q", value='job="x', aria_invalid="true")
    reply = site.get(f"/groups?{query}")
    assert (reply.status_code, reply.headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert words in reply.text


IMAGE = '"><img src=x onerror=alert(1)>'
HOSTILE = (EVIL, IMAGE, "{{ 7 * 7 }}", "é\u202eabc", "\U0001f600", "a b", "%3Cb%3E", "\t\n\x0b\x7f\x85\ufffe")


def test_nothing_that_was_pushed_becomes_html(site: Site) -> None:
    """Label values and reasons are shown as text, and what is chosen comes back as it was, whatever it looks like."""
    for value in HOSTILE:
        encoded = base64.urlsafe_b64encode(value.encode()).decode()
        assert site.push(f"job@base64/{encoded}").status_code == 200
    page = shown(site)
    assert (page.elements.count("img"), page.elements.count("b"), page.elements.count("script")) == (1, 0, 2)
    assert "49" not in page.words
    assert sorted(jobs(page)) == sorted(HOSTILE)
    assert all(one.isascii() and one.isprintable() for one in keys(page))
    assert EVIL in page.text
    asked = send(site, group=keys(page))
    assert asked.status_code == 200
    assert "Delete 8 groups?" in Page(asked.text).words
    assert (Page(asked.text).elements.count("img"), Page(asked.text).elements.count("b")) == (1, 0)
    named = [one["value"] for one in Page(asked.text).found("input", name="group")]
    assert sorted(named) == sorted(keys(page))
    assert send(site, group=named, confirm="yes").status_code == 303
    assert site.store.groups() == []


def test_a_hostile_search_is_shown_as_text(site: Site) -> None:
    """What stands in the address becomes no markup either."""
    query = urlencode({"q": f'"{EVIL}', "sort": EVIL, "limit": EVIL, "state": EVIL, "stale": EVIL, "cursor": EVIL})
    page = shown(site, f"/groups?{query}", 400)
    assert "alert(1)" not in "".join(page.elements)
    assert page.found("input", name="q", value=f'"{EVIL}')


def test_a_very_long_label_does_not_make_a_very_long_page(site: Site) -> None:
    """A value of 10 kB is cut where it is shown."""
    site.push(f"job/{'x' * 10_000}")
    page = shown(site)
    assert len(page.text) < 6_000
    assert keys(page) == [key("x" * 10_000)]


def test_chosen_groups_are_named_before_they_are_deleted(site: Site) -> None:
    """The first form deletes nothing, and leads to a page that names the groups; its form deletes them."""
    for job in "abc":
        site.push(f"job/{job}/instance/i")
    chosen = [key("a", instance="i"), key("c", instance="i")]
    reply = send(site, group=[*chosen, chosen[0]], q="job!=x", sort="name", cursor="0", other="1")
    page = Page(reply.text)
    assert reply.status_code == 200
    assert "Delete 2 groups?" in page.words
    assert "job=a instance=i job=c instance=i" in page.words
    assert "Refresh every" not in page.words
    assert "../groups?cursor=0&q=job%21%3Dx&sort=name" in page.links
    assert len(site.store.groups()) == 3
    hidden = {one["name"]: one["value"] for one in page.found("input", type="hidden") if one["name"] != "group"}
    assert hidden == {"q": "job!=x", "sort": "name", "cursor": "0"}
    reply = send(site, group=chosen, confirm="yes", **hidden)
    assert reply.status_code == 303
    assert reply.headers["Location"] == "../groups?q=job%21%3Dx&sort=name&cursor=0&deleted=2"
    assert [one.group.key for one in site.store.groups()] == [key("b", instance="i")]
    assert "2 groups were deleted." in shown(site, "/groups?deleted=2").words
    assert site.counted()["groups", "get", "200"] == 1
    assert site.counted()["delete", "post", "303"] == 1


def test_deletions_are_changes_like_those_of_the_api(site: Site) -> None:
    """Each is a Delete of its own; the first one has the request's place in the queue, and none is done without one."""
    ticket = Ticket()
    form = urlencode({"group": [key("a"), key("b")], "confirm": "yes"}, doseq=True).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    site.request("POST", "/groups/delete", form, headers=headers, environ={"pushgateway.ticket": ticket})
    changes = [(change.key.key, given) for change, given in site.store.changes if isinstance(change, Delete)]
    assert [name for name, _ in changes] == [key("a"), key("b")]
    assert changes[0][1] is ticket
    assert changes[1][1] is not None


def test_the_page_of_one_group_deletes_it(site: Site) -> None:
    """Its form asks first, too, and names the group by its path."""
    site.push("job/a/path@base64/L3g")
    page = shown(site, "/groups/job/a/path@base64/L3g")
    [group] = page.found("input", name="group")
    asked = Page(send(site, group=group["value"]).text)
    assert "job=a path=/x" in asked.words
    [named] = asked.found("input", name="group")
    assert send(site, group=named["value"], confirm="yes").headers["Location"] == "../groups?deleted=1"
    assert site.store.groups() == []


def test_nothing_chosen(site: Site) -> None:
    """Without a group there is nothing to ask, and the list comes back."""
    reply = send(site, sort="name", confirm="yes")
    assert (reply.status_code, reply.headers["Location"]) == (303, "../groups?sort=name")
    assert site.store.changes == []


NO_GROUPS = ("x", "[]", '[["a","b"]]', "{}", '[["job"]]', "[" * 5000, '[["job",""]]', "7", "null", EVIL)


@pytest.mark.parametrize("group", NO_GROUPS)
def test_what_is_no_group(site: Site, group: str) -> None:
    """A form that names something else is refused, and deletes nothing."""
    reply = send(site, group=[key("a"), group], confirm="yes")
    assert reply.status_code == 400
    assert "is not the key of one" in Page(reply.text).words
    assert "Refresh every" not in Page(reply.text).words
    assert site.store.changes == []


def test_a_deletion_that_fails(site: Site) -> None:
    """A store that cannot be written says so on a page, and in the list of failures."""
    site.push("job/a")
    site.store.write_error = StoreUnwritableError("disk full")
    reply = send(site, group=key("a"), confirm="yes")
    assert (reply.status_code, "disk full" in Page(reply.text).words) == (503, True)
    (failure,) = site.failures.recent()
    assert (failure.method, failure.path, failure.reason) == ("POST", "/groups/delete", "disk full")


def test_a_deletion_that_fails_half_way(site: Site) -> None:
    """A store that takes no more changes from the second group on leaves nobody in doubt how many groups are gone."""
    for job in "abc":
        site.push(f"job/{job}")
    apply, deleted = site.store.apply, []

    def fail_at_the_third(change: Change, ticket: Ticket | None) -> None:
        site.store.write_error = StoreUnwritableError("disk full") if len(deleted) == 2 else None
        apply(change, ticket)
        deleted.append(change)

    site.store.apply = fail_at_the_third  # type: ignore[method-assign]
    reply = send(site, group=[key("a"), key("b"), key("c")], confirm="yes")
    assert reply.status_code == 503
    assert "2 of the 3 groups are deleted, but not the others: disk full" in Page(reply.text).words
    assert [one.group.key for one in site.store.groups()] == [key("c")]


@pytest.mark.parametrize("deleted", ["0", "-1", "x", "99999", "²", "٣"])
def test_what_was_not_deleted(site: Site, deleted: str) -> None:
    """The address can claim no nonsense about what was deleted."""
    assert not re.search("w(as|ere) deleted", shown(site, f"/groups?deleted={quote(deleted)}").words)


def test_behind_a_prefix() -> None:
    """Links and forms hold behind a route prefix."""
    site = Site(route_prefix="/x")
    site.request("POST", "/x/metrics/job/a", b"x 1\n")
    page = shown(site, "/x/groups")
    assert "./groups/job/a" in page.links
    assert "./groups/delete" in page.links
    reply = send(site, "/x/groups/delete", group=key("a"), confirm="yes")
    assert reply.headers["Location"] == "../groups?deleted=1"
    assert site.store.groups() == []
