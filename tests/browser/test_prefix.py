"""Do all pages and actions work where the gateway is not at the root of its host?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.prefix import stripping
from tests.browser.visitor import Visitor
from tests.harness import Gateway


@pytest.fixture(params=["route prefix", "proxy that strips a prefix"])
def elsewhere(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """A visitor of a gateway below /tools/push."""
    flags = ["--storage.url=memory:", "--web.enable-admin-api"]
    if request.param == "route prefix":
        with Gateway(*flags, "--web.route-prefix=/tools/push", prefix="/tools/push") as gateway:
            someone = Visitor(browser, gateway)
            yield someone
            someone.close()
    else:
        with Gateway(*flags) as gateway, stripping(gateway, "/tools/push") as base:
            someone = Visitor(browser, gateway, base=base)
            yield someone
            someone.close()


def test_all_pages_and_actions_work_below_a_prefix(elsewhere: Visitor) -> None:
    """The pages have their style, lead to each other, find, delete and wipe; no link leaves the prefix."""
    for number in range(3):
        elsewhere.gateway.push(f"job/etl/dir@base64/L3Zhci90bXA/instance/i{number}", b"x 1\n")
    elsewhere.gateway.push("job/etl/dir@base64/L3Zhci90bXA/instance/i0", b"x 1\nx 2\n")
    page = elsewhere.open("/")
    navigation = page.get_by_role("navigation", name="Pages")

    for name in ("Groups", "Failures", "Status", "Overview", "Groups"):
        navigation.get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        assert page.evaluate("document.styleSheets[0].cssRules.length") > 20
        # The one to Prometheus' documentation says that it leads away.
        own = page.locator("a[href]:not([rel=noreferrer])")
        for link in own.evaluate_all("found => found.map((one) => one.href)"):
            assert link.startswith(elsewhere.base), link
    page.get_by_role("searchbox").fill("instance=i1")
    page.get_by_role("searchbox").press("Enter")
    expect(page.get_by_role("table").locator("tbody tr")).to_have_count(1)
    page.get_by_role("table").locator("tbody").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("/var/tmp")
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete 1 group").click()
    expect(page.get_by_role("table").locator("tbody tr")).to_have_count(2)
    navigation.get_by_role("link", name="Failures").click()
    page.get_by_role("table").locator("tbody").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("i0")
    navigation.get_by_role("link", name="Status").click()
    words = page.locator("form[data-confirm]").get_attribute("data-confirm") or ""
    page.get_by_label("to confirm").fill(words)
    page.get_by_role("button", name="Delete all groups").click()
    expect(page.get_by_role("status").filter(has_text="deleted")).to_be_visible()
    assert not elsewhere.gateway.scrape().has("x")
