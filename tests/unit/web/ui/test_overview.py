from __future__ import annotations

import base64

import pytest

from pushgateway.limits import Limits
from tests.unit.web.fakes import NOW, Site
from tests.unit.web.ui.reading import Page


def look(site: Site) -> Page:
    """Open the first page."""
    reply = site.get("/")
    assert reply.status_code == 200
    return Page(reply.text)


def test_totals_are_shown_with_their_limits() -> None:
    """The page says how many groups, families and series are stored, and how much of their limits that is."""
    site = Site(limits=Limits(groups=8, families=100, series=0))
    site.push("job/a", b"x 1\ny 1\n")
    site.push("job/b", b'x{l="1"} 1\nx{l="2"} 1\n')
    page = look(site)
    assert "Groups 2 of 8 allowed" in page.words
    assert "Families 3 of 100 allowed" in page.words
    assert "Series 4 no limit" in page.words
    assert page.found("svg", aria_label="of 8 allowed")
    assert page.found("rect", width="25.0")


def test_health_and_uptime_are_shown(site: Site) -> None:
    """The page says how long the gateway is up, and whether the store takes pushes."""
    site.telemetry.started_at_seconds = NOW - 90
    assert "Store healthy" in look(site).words
    assert "Up for 1 min 30 s" in look(site).words
    site.store.unwritable = "disk full"
    assert "Store not writable" in look(site).words


def test_a_newcomer_is_told_what_to_do(site: Site) -> None:
    """While nothing is stored, the page shows the command for a first push to this very gateway."""
    page = look(site)
    assert "Nothing has been pushed yet" in page.words
    assert "--data-binary @- http://localhost/metrics/job/my_first_job" in page.words
    outside = Site(external_url="https://example.org/gate/", route_prefix="/gate")
    assert "https://example.org/gate/metrics/job/my_first_job" in Page(outside.get("/gate/").text).words
    site.push("job/a")
    assert "Nothing has been pushed yet" not in look(site).words


def test_a_push_is_seen_at_once(site: Site) -> None:
    """The groups that were pushed last are listed with a link to each."""
    site.push("job/etl/zone/a", b"x 1\n")
    site.now += 60
    page = look(site)
    assert "Pushed last job=etl zone=a 1 min ago, 1 series, " in page.words
    assert "./groups/job/etl/zone/a" in page.links
    assert "All is well" in page.words


def test_a_failed_group_needs_attention(site: Site) -> None:
    """Groups whose last push was refused are counted, with when and why."""
    site.push("job/a", b"x 1\nx 1\n")
    site.now += 60
    page = look(site)
    assert "1 group refused at the last push job=a refused 1 min ago" in page.words
    assert "was collected before with the same name and label values" in page.words
    assert "All is well" not in page.words
    site.push("job/a")
    assert "All is well" in look(site).words


def test_a_stale_group_needs_attention(site: Site) -> None:
    """Groups without a push for 26 hours, or for as long as the reader says, are counted."""
    site.push("job/a")
    site.now += 26 * 3600 - 1
    assert "All is well" in look(site).words
    assert "1 group without a push for 1 h job=a last pushed 1 d ago" in Page(site.get("/?stale=1h").text).words
    site.now += 2
    page = look(site)
    assert "1 group without a push for 26 h job=a last pushed 1 d ago" in page.words


def test_of_many_groups_few_are_listed(site: Site) -> None:
    """However many need attention, the page lists five and leads to all."""
    for number in range(7):
        site.push(f"job/j{number}", b"x 1\nx 1\n")
    page = look(site)
    assert "7 groups refused at the last push" in page.words
    assert page.words.count("refused just now") == 5
    assert "./groups?state=failed&sort=failed" in page.links


def test_the_last_hour_is_drawn_and_told(site: Site) -> None:
    """Pushes and refusals of each minute stand in charts that have words, and in a table."""
    for _ in range(3):
        site.push("job/a")
    site.now += 120
    site.push("job/a", b"nonsense\n")
    page = look(site)
    assert "22:13: 3 pushes" in page.words
    assert "22:15: 1 refusals" in page.words
    assert "3 pushes, at most 3 in a minute, at 22:13." in page.words
    assert len(page.found("rect", **{"class": "column "})) == 1
    assert len(page.found("rect", **{"class": "column bad"})) == 1
    assert "2023-11-14 22:15:00 UTC 0 1 " in page.words
    assert page.words.count("2023-11-14 2") >= 60
    assert "./failures" in page.links


def test_slow_and_large_pushers_are_listed(site: Site) -> None:
    """The groups with the slowest and the largest pushes of the last hour are told with what they took."""
    site.push("job/small", b"x 1\n")
    site.push("job/large", b"".join(b"x%d 1\n" % number for number in range(500)))
    page = look(site)
    _, _, largest = page.words.partition("Largest pushes")
    assert largest.index("job=large") < largest.index("job=small")
    assert "3.39 kB 500 just now" in largest


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("<b>\"'&\U0001f600", "<b>\"'&\U0001f600"),
        ("\u202eevil\x01", r"\u202eevil\x01"),
        ("x" * 10_000, "x" * 100 + "… and 9 900 characters"),
    ],
)
def test_what_was_pushed_cannot_change_the_page(site: Site, value: str, shown: str) -> None:
    """Label values become no markup, turn no text around, hide nothing, and do not fill the page."""
    site.push("job@base64/" + base64.urlsafe_b64encode(value.encode()).decode(), b"x 1\n")
    page = look(site)
    assert shown in page.text
    assert "b" not in page.elements


def test_the_page_of_a_full_gateway_is_small(site: Site) -> None:
    """It takes some kilobytes however much is stored."""
    for number in range(300):
        site.push(f"job/j{number}")
    assert len(site.get("/").data) < 60_000
