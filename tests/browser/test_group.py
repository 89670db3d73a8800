"""Does the page of a group show what was pushed to it, and are its commands and its deletion what they say?"""

from __future__ import annotations

import subprocess

from playwright.sync_api import Page, expect

from tests.browser.scene import GROUP
from tests.browser.visitor import Visitor
from tests.harness import require_program


def commands(page: Page) -> dict[str, str]:
    """The commands of a page by what they do."""
    shown = page.locator(".commands > div")
    expect(shown.first).to_be_visible()
    return {one.get_by_role("heading").inner_text(): one.locator("code").inner_text() for one in shown.all()}


def test_a_job_is_told_at_a_glance(spectator: Visitor) -> None:
    """The card of a job says how its last run ended, how long it took, and when the next one is due."""
    page = spectator.open(GROUP)
    card = page.locator(".job")

    for words in ("Succeeded", "22 min", "Next run", "extract", "written"):
        expect(card).to_contain_text(words)
    running = spectator.open("/groups/job/search-index/env/prod").locator(".job")
    for words in ("Running", "64 %"):
        expect(running).to_contain_text(words)
    failed = spectator.open("/groups/job/invoice-run/env/prod").locator(".job")
    for words in ("Failed", "ConnectionError"):
        expect(failed).to_contain_text(words)


def test_histograms_are_drawn_and_estimated(spectator: Visitor) -> None:
    """A histogram has bars, quantiles and its count; a summary its quantiles in a table."""
    page = spectator.open(GROUP)

    expect(page.get_by_role("main")).to_contain_text("Time of one batch of 1000 rows.")
    assert page.locator("svg rect").count() > 5
    for words in ("p50", "p99", "240.5", "How old rows were"):
        expect(page.get_by_role("main")).to_contain_text(words)


def test_the_commands_do_what_they_say(visitor: Visitor) -> None:
    """The commands that read and delete the group, pasted into a shell, read and delete it and nothing else."""
    require_program("curl")
    visitor.gateway.push("job/it's%20a%20'job'/dir@base64/L3Zhci90bXA", b"x 41\n")
    visitor.gateway.push("job/other", b"y 1\n")
    page = visitor.open("/groups")
    page.get_by_role("table").get_by_role("link", name="it's a").click()
    told = commands(page)

    def run(text: str) -> str:
        done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    read, delete = (next(text for title, text in told.items() if word in title) for word in ("Read", "Delete"))
    assert "x{" in run(read)
    assert "y{" not in run(read)
    run(delete)
    scrape = visitor.gateway.scrape()
    assert (scrape.has("x"), scrape.has("y")) == (False, True)


def test_what_is_copied_is_the_whole_command(visitor: Visitor) -> None:
    """The button beside a command puts it on the clipboard and says so."""
    visitor.gateway.push("job/etl", b"x 41\n")
    page = visitor.open("/groups/job/etl", permissions=["clipboard-read", "clipboard-write"])
    first = page.locator(".commands > div").first

    first.get_by_role("button").click()

    expect(first.get_by_role("button")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == first.locator("code").inner_text()


def test_one_group_is_deleted_from_its_page(visitor: Visitor) -> None:
    """Its page leads to the question, and the answer to the list, where it is no more."""
    visitor.gateway.push("job/etl/instance/a", b"x 41\n")
    visitor.gateway.push("job/etl/instance/b", b"x 41\n")
    page = visitor.open("/groups/job/etl/instance/a")

    page.get_by_role("button", name="Delete…").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("1 group")
    page.get_by_role("button", name="Delete 1 group").click()

    expect(page.get_by_role("table").locator("tbody tr")).to_have_count(1)
    assert [line.label_map["instance"] for line in visitor.gateway.scrape()["x"].lines] == ["b"]


def test_a_group_that_is_not_there_is_said_to_be_none(visitor: Visitor) -> None:
    """An old link leads to a page that says that the group is gone and how to push it."""
    visitor.expect_complaint("404 (Not Found)")
    page = visitor.open("/groups/job/gone")

    expect(page.get_by_role("heading", level=1)).to_contain_text("no such group")
    page.get_by_role("link", name="All groups").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Groups")
