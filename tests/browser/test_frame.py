"""What holds on all pages alike: colours, navigation, no JavaScript, live refresh?"""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.visitor import Visitor


def background(page: Page) -> str:
    """The colour behind a page."""
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def refresh(page: Page) -> None:
    """Have a page fetch itself again at once, and wait until it has: that is what going on after a pause does."""
    button = page.get_by_role("button", name="Pause")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    with page.expect_response(page.url):
        button.click()
    expect(button).to_have_attribute("aria-pressed", "false")


def focused(page: Page) -> Locator:
    """What has the focus."""
    return page.locator("*:focus")


def test_colours_follow_the_system_unless_they_are_chosen(visitor: Visitor) -> None:
    """Dark where the system is dark; what was chosen holds on all pages and after a reload, in either system."""
    light, dark = visitor.open("/", color_scheme="light"), visitor.open("/", color_scheme="dark")
    light_colour, dark_colour = background(light), background(dark)
    assert light_colour != dark_colour

    light.get_by_label("Colours").select_option("Dark")
    assert background(light) == dark_colour
    light.get_by_role("link", name="Failures").click()
    expect(light.get_by_role("heading", level=1)).to_have_text("Failures")
    assert background(light) == dark_colour
    light.get_by_label("Colours").select_option("Auto")
    assert background(light) == light_colour

    dark.get_by_label("Colours").select_option("Light")
    dark.reload()
    assert background(dark) == light_colour


def test_the_navigation_leads_everywhere_and_says_where_one_is(visitor: Visitor) -> None:
    """Each entry leads to its page, whose entry is marked; each page has one heading of the first level."""
    page = visitor.open("/")
    entries = page.get_by_role("navigation", name="Pages").get_by_role("link")

    for name in entries.all_inner_texts():
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        expect(entries.and_(page.locator("[aria-current=page]"))).to_have_text(name)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        expect(page).to_have_title(re.compile(".+ · Pushgateway"))


def test_the_first_key_skips_to_the_content(visitor: Visitor) -> None:
    """Tab shows a link past the navigation; after it the next Tab is in the content, and each stop can be seen."""
    page = visitor.open("/status")

    page.keyboard.press("Tab")
    expect(focused(page)).to_have_text("Skip to the content")
    expect(focused(page)).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_all_pages_work_without_javascript(visitor: Visitor) -> None:
    """With JavaScript off the pages lead to each other, and nothing is shown that would do nothing."""
    page = visitor.open("/", java_script_enabled=False)

    for name in ("Groups", "Failures", "Status", "Overview"):
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.get_by_role("button", name="Pause")).not_to_be_visible()
        expect(page.get_by_label("Colours")).not_to_be_visible()


def test_live_refresh_brings_what_is_new_and_keeps_what_the_reader_has_done(visitor: Visitor) -> None:
    """Refusals appear above those that are read; the scroll, the focus and what is open stay."""
    long = "x{" + ",".join(f'label_{number}="v"' for number in range(40)) + "} 1.5GB\n"
    for number in range(30):
        visitor.gateway.push(f"job/refused/instance/{number}", long.encode())
    visitor.gateway.push("job/opened/a/b", b"# TYPE x gauge\nx 1\n# TYPE x gauge\n")
    page = visitor.open("/failures", viewport={"width": 1000, "height": 500})
    rows = page.locator("tbody tr")
    link = page.get_by_role("link", name="opened")
    link.focus()
    before = rows.count()
    page.evaluate("scrollTo(0, 300)")
    y = page.evaluate("scrollY")
    assert y > 0

    visitor.gateway.push("job/refused/instance/new", b"x 2GB\n")
    page.evaluate("document.querySelector('[data-refresh] button').dispatchEvent(new MouseEvent('click'))")
    page.evaluate("document.querySelector('[data-refresh] button').dispatchEvent(new MouseEvent('click'))")

    expect(rows).to_have_count(before + 1)
    expect(rows.first).to_contain_text("new")
    expect(link).to_be_focused()
    assert abs(page.evaluate("scrollY") - y) < 200


def test_a_gateway_that_is_gone_is_said_and_seen_to_come_back(visitor: Visitor) -> None:
    """When the gateway cannot be reached an open page says so, and says no more when it is there again."""
    visitor.expect_complaint("ERR_INTERNET_DISCONNECTED")
    page = visitor.open("/")
    lost = page.get_by_role("status")

    page.context.set_offline(True)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Pause").click()
    expect(lost).to_contain_text("The gateway cannot be reached")
    page.context.set_offline(False)
    refresh(page)
    expect(lost).to_have_text("")
