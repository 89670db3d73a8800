"""Is each page what a browser, a screen reader, an HTML validator and a phone want it to be?"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.judges import Validator, judge_access
from tests.browser.scene import GROUP, PAGES
from tests.browser.visitor import Visitor

PHONE = {"width": 360, "height": 740}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_no_serious_fault_of_access(spectator: Visitor, axe: Path, path: str, scheme: str) -> None:
    """axe-core finds no serious or critical fault, whether the system's colours are light or dark."""
    page = spectator.open(path, color_scheme=scheme)

    assert "\n".join(judge_access(page, axe)) == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault_of_access_on_the_way(spectator: Visitor, axe: Path, scheme: str) -> None:
    """Nor on pages that say that nothing is there, that a search cannot be read, or what is about to be deleted."""
    spectator.expect_complaint("404 (Not Found)")
    spectator.expect_complaint("400 (Bad Request)")
    page = spectator.open("/groups?q=nowhere", color_scheme=scheme)
    faults = judge_access(page, axe)
    for path in ("/groups?q=%22", "/groups/job/nowhere", "/groups?sort=name"):
        page.goto(spectator.base + path)
        faults += judge_access(page, axe)
    page.locator("tbody").get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("1 group")
    faults += judge_access(page, axe)

    assert "\n".join(faults) == ""


@pytest.mark.parametrize("path", PAGES)
def test_pages_fit_a_phone(spectator: Visitor, path: str) -> None:
    """At 360 pixels no page scrolls sideways: wide tables do that by themselves."""
    page = spectator.open(path, viewport=PHONE)

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("path", PAGES)
def test_every_stop_of_the_keyboard_can_be_seen(spectator: Visitor, path: str) -> None:
    """Whatever Tab comes to is in sight, has a name, and shows by an outline that it has the focus."""
    page = spectator.open(path)
    page.emulate_media(reduced_motion="reduce")  # else the link that skips to the content slides in
    stops = 0

    while True:
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
        stops += 1
        assert stops < 500, "the keyboard is caught"
        shown = page.evaluate(
            """() => {
                const one = document.activeElement, box = one.getBoundingClientRect(), style = getComputedStyle(one);
                return {
                    html: one.outerHTML.slice(0, 200),
                    seen: box.width > 0 && box.bottom > 0 && box.top < innerHeight,
                    outlined: style.outlineStyle !== "none" || style.boxShadow !== "none",
                };
            }"""
        )
        assert shown["seen"], shown
        assert shown["outlined"], shown

    assert stops > 5


def test_pages_are_valid_html(spectator: Visitor, visitor: Visitor, validator: Validator) -> None:
    """An HTML validator finds nothing, whether much is stored or nothing, and something was found or not."""
    for path in PAGES:
        validator.add(path, spectator.gateway.get(path).text)
    for path in ("/", "/groups", "/failures", "/status"):
        validator.add(f"empty {path}", visitor.gateway.get(path).text)
    for path in ("/groups?q=nowhere", "/groups?q=%22", "/groups/job/nowhere", "/groups?limit=10", f"{GROUP}?find=etl"):
        validator.add(path, spectator.gateway.get(path, {"Accept": "text/html"}).text)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    chosen = b"group=%5B%5B%22job%22%2C%22etl%22%5D%5D"
    for path, body in (("/groups/delete", chosen), ("/status/wipe", b"confirm=no")):
        validator.add(path, spectator.gateway.request("POST", path, body, form | {"Accept": "text/html"}).text)

    assert "\n".join(validator.faults()) == ""
