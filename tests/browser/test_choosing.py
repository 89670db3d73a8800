"""Can someone choose all groups of a page at once?"""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.visitor import Visitor


def test_all_groups_of_a_page_are_chosen_at_once(visitor: Visitor) -> None:
    """The box in the head of the table checks and clears all below it, and what is chosen then is what is deleted."""
    for number in range(4):
        assert visitor.gateway.push(f"job/j{number}", b"x 1\n").status == 200
    page = visitor.open("/groups?sort=name&limit=3")
    everything = page.get_by_role("checkbox", name="Choose all on this page")
    boxes = page.locator("tbody input[type=checkbox]")

    everything.check()
    assert [box.is_checked() for box in boxes.all()] == [True, True, True]
    everything.uncheck()
    assert [box.is_checked() for box in boxes.all()] == [False, False, False]
    everything.check()
    boxes.first.uncheck()
    page.get_by_role("button", name="Delete chosen groups").click()
    page.get_by_role("button", name="Delete 2 groups").click()
    expect(page.get_by_role("status").filter(has_text="2 groups were deleted")).to_be_visible()
    expect(boxes).to_have_count(2)


def test_without_a_script_there_is_no_such_box(visitor: Visitor) -> None:
    """What would do nothing is not shown; groups are chosen one by one."""
    assert visitor.gateway.push("job/a", b"x 1\n").status == 200
    page = visitor.open("/groups", java_script_enabled=False)
    expect(page.get_by_role("checkbox")).to_have_count(1)
