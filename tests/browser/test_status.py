"""Do refusals appear with what mends them, and does only who types the words delete everything?"""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.browser.visitor import DISTANT, Visitor
from tests.harness import Gateway


def test_a_refusal_appears_with_its_reason_and_leads_to_its_group(visitor: Visitor) -> None:
    """A refused push is on the page of failures, with what the client was told, once however often it came."""
    visitor.gateway.push("job/mailer/tenant/acme", b"sent 1\n")
    for _ in range(3):
        assert visitor.gateway.push("job/mailer/tenant/acme", b"sent 1204\nsent 12\n").status == 400
    page = visitor.open("/failures")
    row = page.get_by_role("table").locator("tbody tr").filter(has_text="mailer")

    expect(row).to_have_count(1)
    expect(row).to_contain_text("3 times")
    expect(row).to_contain_text("was collected before with the same name and label values")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("mailer")
    expect(page.get_by_role("main")).to_contain_text("Last push failed")


def test_everything_is_deleted_once_the_words_are_typed(visitor: Visitor) -> None:
    """The button waits for the words; then all groups are gone, and the page says so."""
    visitor.gateway.push("job/etl", b"x 1\n")
    page = visitor.open("/status")
    button = page.get_by_role("button", name="Delete all groups")
    field = page.get_by_label("to confirm")
    words = page.locator("form[data-confirm]").get_attribute("data-confirm") or ""

    expect(button).to_be_disabled()
    field.fill(words[:-1])
    expect(button).to_be_disabled()
    field.fill(words)
    button.click()

    expect(page.get_by_role("status").filter(has_text="deleted")).to_be_visible()
    assert not visitor.gateway.scrape().has("x")


def test_forms_work_without_tls_on_another_machine(browser: Browser, gateway: Gateway) -> None:
    """There browsers send no Sec-Fetch-Site: their Origin is what tells that the form is one of the gateway's."""
    gateway.wipe()
    gateway.push("job/etl", b"x 1\n")
    gateway.push("job/other", b"y 1\n")
    visitor = Visitor(browser, gateway, base=f"http://{DISTANT}:{gateway.port}")
    page = visitor.open("/groups/job/etl")
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete 1 group").click()
    expect(page.get_by_role("status").filter(has_text="deleted")).to_be_visible()
    assert not gateway.scrape().has("x")

    page.goto(visitor.base + "/status")
    words = page.locator("form[data-confirm]").get_attribute("data-confirm") or ""
    page.get_by_label("to confirm").fill(words)
    page.get_by_role("button", name="Delete all groups").click()
    expect(page.get_by_role("status").filter(has_text="deleted")).to_be_visible()
    assert not gateway.scrape().has("y")
    visitor.close()


def test_without_javascript_the_words_are_asked_for_all_the_same(visitor: Visitor) -> None:
    """Other words are answered with what is missing, and delete nothing; the right ones delete everything."""
    visitor.gateway.push("job/etl", b"x 1\n")
    page = visitor.open("/status", java_script_enabled=False)
    words = page.locator("form[data-confirm]").get_attribute("data-confirm") or ""
    visitor.expect_complaint("400 (Bad Request)")

    page.get_by_label("to confirm").fill("yes")
    page.get_by_role("button", name="Delete all groups").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert visitor.gateway.scrape().has("x")
    page.get_by_label("to confirm").fill(words)
    page.get_by_role("button", name="Delete all groups").click()
    expect(page.get_by_role("status").filter(has_text="deleted")).to_be_visible()
    assert not visitor.gateway.scrape().has("x")


def test_without_the_admin_api_nothing_offers_to_delete_everything(browser: object) -> None:
    """The status has no such form, and its path is not there, until the flag is set."""
    with Gateway("--storage.url=memory:") as gateway:
        assert "status/wipe" not in gateway.get("/status").text
        assert "--web.enable-admin-api" in gateway.get("/status").text
        assert gateway.request("POST", "/status/wipe", b"confirm=delete").status in (403, 404)
