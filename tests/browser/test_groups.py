"""Can someone find groups, tell which of them need attention, and delete some, with and without JavaScript?"""

from __future__ import annotations

import re
import subprocess

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.visitor import Visitor
from tests.harness import require_program


def rows(page: Page) -> Locator:
    """The rows of the list."""
    return page.get_by_role("table").locator("tbody tr")


def search(page: Page, words: str) -> None:
    """Type into the search field and press Enter."""
    field = page.get_by_role("searchbox")
    field.fill(words)
    field.press("Enter")


def push_several(visitor: Visitor, count: int = 25) -> None:
    """Push groups etl/i0, etl/i1, ..., each larger than the one before."""
    for number in range(count):
        body = "".join(f"rows_{family} {number}\n" for family in range(1 + number % 5))
        assert visitor.gateway.push(f"job/etl/instance/i{number}", body.encode()).status == 200


def test_what_curl_pushes_is_seen_and_found(visitor: Visitor) -> None:
    """A push with curl is on the overview, in the list and found by a search; its page shows what was pushed."""
    url = f"{visitor.gateway.url}/metrics/job/nightly%20billing/tenant/acme"
    subprocess.run(
        [require_program("curl"), "--silent", "--fail", "--data-binary", "@-", url],
        input=b"# HELP invoices Invoices written.\n# TYPE invoices gauge\ninvoices 1234567\n",
        check=True,
    )
    visitor.gateway.push("job/other", b"x 1\n")

    page = visitor.open("/")
    expect(page.get_by_role("main")).to_contain_text("nightly billing")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Groups").click()
    expect(rows(page)).to_have_count(2)
    search(page, 'job="nightly billing" tenant!=globex acm')
    expect(rows(page)).to_have_count(1)
    rows(page).first.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("nightly billing")
    expect(page.get_by_role("main")).to_contain_text("Invoices written.")
    expect(page.locator("[title='1234567']").first).to_be_visible()


def test_a_search_is_a_link(visitor: Visitor) -> None:
    """What is searched for stands in the address, which shows the same to whoever opens it, and can be undone."""
    push_several(visitor, 12)
    page = visitor.open("/groups")

    search(page, "instance=i7")
    expect(rows(page)).to_have_count(1)
    copy = visitor.open(page.url.removeprefix(visitor.base))
    expect(rows(copy)).to_have_count(1)
    expect(copy.get_by_role("searchbox")).to_have_value("instance=i7")
    copy.get_by_role("link", name="Clear").click()
    expect(rows(copy)).to_have_count(12)
    search(page, "instance=nowhere")
    expect(rows(page)).to_have_count(0)
    expect(page.get_by_role("main")).to_contain_text("No group is like that")


def test_a_search_that_cannot_be_read_is_answered_in_words(visitor: Visitor) -> None:
    """An unfinished quote is said next to the field, which still has the words."""
    visitor.expect_complaint("400 (Bad Request)")
    push_several(visitor, 1)
    page = visitor.open("/groups")

    search(page, 'job="etl')
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_value('job="etl')
    expect(page.get_by_role("searchbox")).to_have_attribute("aria-invalid", "true")


def test_headings_sort(visitor: Visitor) -> None:
    """Each heading that is a link sorts by it, the marked one is what the list is sorted by; the search stays."""
    push_several(visitor, 11)
    page = visitor.open("/groups?q=job%3Detl")
    first = {}

    for name in ("Group", "Last push", "Size"):
        page.get_by_role("columnheader", name=name).get_by_role("link").click()
        expect(page.get_by_role("columnheader", name=name)).to_have_attribute("aria-sort", re.compile("ending"))
        expect(page.locator("th[aria-sort]")).to_have_count(1)
        first[name] = rows(page).first.locator(".label-value").nth(1).inner_text()
        expect(page.get_by_role("searchbox")).to_have_value("job=etl")

    assert first == {"Group": "i0", "Last push": "i10", "Size": first["Size"]}
    assert int(first["Size"][1:]) % 5 == 4


def test_pages_lead_on_and_back(visitor: Visitor) -> None:
    """Every group is on exactly one page, in the same order on the way back; a page is a link as well."""
    push_several(visitor)
    page = visitor.open("/groups?limit=10&sort=name")
    there = []
    while True:
        there.append(rows(page).locator("input").evaluate_all("found => found.map((one) => one.value)"))
        if not page.get_by_role("link", name="Next").is_visible():
            break
        page.get_by_role("link", name="Next").click()
        expect(rows(page).locator(f"input[value='{there[-1][0]}']")).to_have_count(0)
        page.wait_for_load_state()

    assert [len(one) for one in there] == [10, 10, 5]
    assert len({one for part in there for one in part}) == 25
    page.reload()
    assert rows(page).count() == 5
    page.get_by_role("link", name="Previous").click()
    expect(rows(page)).to_have_count(10)
    page.wait_for_load_state()
    assert rows(page).locator("input").evaluate_all("found => found.map((one) => one.value)") == there[1]


def test_failed_groups_are_marked_and_come_first(visitor: Visitor) -> None:
    """A group whose last push was refused says so and why; sorting by state brings it to the top, a filter alone."""
    visitor.gateway.push("job/broken", b"x 1\n")
    push_several(visitor, 5)
    visitor.gateway.push("job/broken", b"x 1\nx 2\n")
    page = visitor.open("/groups")

    page.get_by_role("columnheader", name="State").get_by_role("link").click()
    expect(rows(page).first).to_contain_text("broken")
    expect(rows(page).first).to_contain_text("Failed")
    expect(rows(page).filter(has_text="Failed")).to_have_count(1)
    page.get_by_label("Show").select_option("Failed ones")
    page.get_by_role("button", name="Search").click()
    expect(rows(page)).to_have_count(1)


def test_the_reader_says_what_is_stale(spectator: Visitor) -> None:
    """Groups older than the chosen time are marked; how long that is stands in the address."""
    page = spectator.open("/groups?limit=100")
    usual = rows(page).filter(has_text="Stale").count()

    page.get_by_label("Stale after").select_option("1 hour")
    page.get_by_role("button", name="Search").click()
    expect(page).to_have_url(re.compile("stale=1h"))
    page.wait_for_load_state()
    assert rows(page).filter(has_text="Stale").count() > usual > 0


@pytest.mark.parametrize("script", [True, False], ids=["JavaScript", "none"])
def test_several_are_deleted_after_they_were_named(visitor: Visitor, *, script: bool) -> None:
    """The chosen groups are named before anything happens; then exactly these are gone, and the search is still on."""
    push_several(visitor, 8)
    visitor.gateway.push("job/other", b"x 1\n")
    page = visitor.open("/groups?q=job%3Detl", java_script_enabled=script)

    for number in (2, 5):
        rows(page).filter(has_text=f"i{number}").get_by_role("checkbox").check()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("2 groups")
    expect(page.get_by_role("main").get_by_role("listitem")).to_have_count(2)
    for number in (2, 5):
        expect(page.get_by_role("main")).to_contain_text(f"i{number}")
    assert len(visitor.gateway.scrape()["push_time_seconds"].lines) == 9
    page.get_by_role("button", name="Delete 2 groups").click()

    expect(rows(page)).to_have_count(6)
    expect(page.get_by_role("status").filter(has_text="2 groups were deleted")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_value("job=etl")
    left = {line.label_map.get("instance", "") for line in visitor.gateway.scrape()["push_time_seconds"].lines}
    assert left == {"", "i0", "i1", "i3", "i4", "i6", "i7"}


def test_who_thinks_better_of_it_keeps_them(visitor: Visitor) -> None:
    """The page that names the groups leads back, and nothing was deleted."""
    push_several(visitor, 3)
    page = visitor.open("/groups")

    rows(page).first.get_by_role("checkbox").check()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("link", name="Keep").click()

    expect(rows(page)).to_have_count(3)


def test_groups_are_deleted_with_the_keyboard_alone(visitor: Visitor) -> None:
    """Tab, Space and Enter lead from the search to a deleted group."""
    push_several(visitor, 2)
    page = visitor.open("/groups?sort=name")

    def tab_to(locator: Locator) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if locator.evaluate("one => one === document.activeElement"):
                return
        pytest.fail(f"Tab does not come to {locator}")

    tab_to(rows(page).first.get_by_role("checkbox"))
    page.keyboard.press("Space")
    tab_to(page.get_by_role("button", name="Delete"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("1 group")
    tab_to(page.get_by_role("button", name="Delete 1 group"))
    page.keyboard.press("Enter")

    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("i1")


def test_what_was_chosen_stays_chosen_while_others_push(visitor: Visitor) -> None:
    """A refresh brings new groups and keeps the check marks and the focus of the reader."""
    push_several(visitor, 3)
    page = visitor.open("/groups")
    chosen = rows(page).filter(has_text="i1").get_by_role("checkbox")
    chosen.check()

    visitor.gateway.push("job/new", b"x 1\n")
    refresh_now(page)

    expect(rows(page)).to_have_count(4)
    expect(chosen).to_be_checked()
    expect(chosen).to_be_focused()
    expect(page.locator("input:checked")).to_have_count(1)


def refresh_now(page: Page) -> None:
    """Have the page fetch itself: pausing and going on does so, without taking the focus."""
    page.evaluate("for (const _ of [1, 2]) document.querySelector('[data-refresh] button').click()")
