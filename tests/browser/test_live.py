"""Does a page that is left open stay true, and does it leave its reader in peace?"""

from __future__ import annotations

from typing import Final

from playwright.sync_api import Page, Route, expect

from tests.browser.visitor import Visitor

FAMILY: Final = b"# TYPE rows gauge\nrows 1\n"

NOW: Final = "document.querySelector('[data-refresh] button').click()"
"""Once pauses the refresh, twice refreshes at once."""


def refresh(page: Page) -> None:
    """Let the page fetch itself at once, and wait until it has taken the answer over."""
    with page.expect_response(lambda answer: answer.request.resource_type == "fetch") as answer:
        page.evaluate(f"{NOW}; {NOW}")
    answer.value.finished()
    page.evaluate("new Promise((done) => setTimeout(() => requestAnimationFrame(done)))")


def test_a_push_appears_by_itself(visitor: Visitor) -> None:
    """What is pushed while a page is open is shown on it, without the reader doing anything."""
    page = visitor.open("/")
    page.get_by_label("Refresh every").select_option("5")
    visitor.gateway.push("job/etl", FAMILY)
    expect(page.get_by_role("region", name="Groups")).to_contain_text("Groups 1")


def test_the_choice_of_the_interval_stays(visitor: Visitor) -> None:
    """How often pages refresh is kept for the next page; so is, for this tab, that they do not."""
    page = visitor.open("/")
    page.get_by_label("Refresh every").select_option("60")
    page.get_by_role("button", name="Pause").click()
    page.goto(f"{visitor.base}/failures")
    expect(page.get_by_label("Refresh every")).to_have_value("60")
    expect(page.get_by_role("button", name="Pause")).to_have_attribute("aria-pressed", "true")


def test_a_hidden_page_asks_for_nothing(visitor: Visitor) -> None:
    """A tab that nobody sees does not refresh, and does so at once when it is looked at."""
    page = visitor.open("/")
    page.get_by_label("Refresh every").select_option("5")
    page.clock.install()
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.unseen, configurable: true})")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("window.unseen = true; document.dispatchEvent(new Event('visibilitychange'))")
    page.clock.run_for(60_000)
    assert asked == []
    with page.expect_request(lambda request: request.resource_type == "fetch"):
        page.evaluate("window.unseen = false; document.dispatchEvent(new Event('visibilitychange'))")
        page.clock.run_for(1)


def test_what_the_reader_does_stays(visitor: Visitor) -> None:
    """Scroll, focus, what is open, typed and checked stay where they are, although groups come and go around them."""
    page = visitor.open("/", viewport={"width": 800, "height": 300})
    page.evaluate(
        """() => {
            for (const one of document.querySelectorAll("[data-live]")) delete one.dataset.live;
            const part = document.createElement("div");
            part.dataset.live = "test";
            part.innerHTML = window.older = `<ul>${list(30)}</ul>`;
            function list(count) {
                return Array.from({length: count}, (_, at) => `<li id="row-${at}"><details id="d-${at}">
                    <summary>Group ${at}</summary><p>text ${at}</p></details>
                    <input type="checkbox" id="c-${at}" aria-label="c">
                    <input id="t-${at}" aria-label="t"></li>`).join("\\n");
            }
            document.querySelector("main").append(part);
        }"""
    )
    page.locator("#row-20 summary").click()
    page.locator("#c-21").check()
    page.locator("#t-22").fill("typed")
    before = page.evaluate("document.querySelector('#row-22').getBoundingClientRect().top")

    def changed(route: Route) -> None:
        # The first row is gone, one is new before the others, one of these has gone to the end, all have other words.
        html = page.evaluate(
            """() => {
                const list = new DOMParser().parseFromString(window.older, "text/html").querySelector("ul");
                list.firstChild.remove();
                list.append(list.querySelector("#row-5"));
                for (const one of list.querySelectorAll("p")) one.textContent += " changed";
                list.insertAdjacentHTML("afterbegin", "<li>new</li>");
                return list.outerHTML;
            }"""
        )
        route.fulfill(
            body=f'<!DOCTYPE html><html lang="en"><main><div data-live="test">{html}</div></main>',
            content_type="text/html",
        )

    page.route("**/*", changed)
    refresh(page)
    expect(page.locator("[data-live=test] li").first).to_have_text("new")
    expect(page.locator("#row-20 p")).to_have_text("text 20 changed")
    expect(page.locator("#d-20")).to_have_attribute("open", "")
    expect(page.locator("#c-21")).to_be_checked()
    expect(page.locator("#t-22")).to_have_value("typed")
    expect(page.locator("#t-22")).to_be_focused()
    assert abs(page.evaluate("document.querySelector('#row-22').getBoundingClientRect().top") - before) < 2


def test_a_page_that_has_become_another_is_loaded_anew(visitor: Visitor) -> None:
    """What was an error, or anything else with other parts, does not stay when the page is as it should be."""
    page = visitor.open("/")
    page.evaluate("document.querySelector('[data-live=totals]').dataset.live = 'of before'")
    with page.expect_navigation():
        page.evaluate(f"{NOW}; {NOW}")
    expect(page.locator("[data-live=totals]")).to_be_visible()


def test_a_selection_is_not_taken_away(visitor: Visitor) -> None:
    """While text is selected, the part of the page that it is in waits; then it is brought up to date."""
    page = visitor.open("/")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('[data-live=totals]'))")
    visitor.gateway.push("job/etl", FAMILY)
    refresh(page)
    assert "Groups" in page.evaluate("getSelection().toString()")
    expect(page.get_by_role("region", name="Groups")).to_contain_text("Groups 0")
    page.evaluate("getSelection().removeAllRanges()")
    refresh(page)
    expect(page.get_by_role("region", name="Groups")).to_contain_text("Groups 1")


def test_nothing_is_announced_while_all_is_well(visitor: Visitor) -> None:
    """No refresh is spoken by a screen reader: the only live region is empty while the gateway answers."""
    page = visitor.open("/")
    visitor.gateway.push("job/etl", FAMILY)
    refresh(page)
    regions = page.locator("[aria-live], [role=status], [role=alert], [role=log]")
    expect(regions).to_have_count(1)
    expect(regions).to_have_text("")


def test_everything_is_deleted_only_after_the_words(visitor: Visitor) -> None:
    """The button that deletes all groups waits for the words; then they are gone, which the page says."""
    visitor.gateway.push("job/etl", FAMILY)
    page = visitor.open("/status")
    button, words = page.get_by_role("button", name="Delete all groups"), page.get_by_label("to confirm")
    expect(button).to_be_disabled()
    words.fill("delete all")
    expect(button).to_be_disabled()
    words.fill("delete all groups")
    button.click()
    expect(page.get_by_text("All groups were deleted.")).to_be_visible()
    assert "etl" not in visitor.gateway.get("/metrics").text
