"""Is whatever is pushed shown as text, however it tries to be more than that?"""

from __future__ import annotations

import base64

import pytest
from playwright.sync_api import expect

from tests.browser.judges import Validator
from tests.browser.visitor import Visitor

MARKUP = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><b id=owned>"
HOSTILE = {
    "markup": MARKUP,
    "an end of all": "</code></pre></td></table></main></body>" + MARKUP,
    "quotes": "\" onmouseover=\"document.title='owned'\" x='",
    "templates": "{{ 7*7 }}{% raw %}&lt;&#x3C;",
    "a URL": "javascript:document.title='owned'",
    "10 kB": "x" * 10_000,
    "right to left": "\u202eevil\u2066\u200f אבג",
    "controls": "a\x01\x07\x1b[31m\x7f\x85b",
    "emoji": "👩‍👩‍👧‍👦🏴‍☠️",
    "line ends": "a\r\nb\u2028c",
}


def escaped(value: str) -> str:
    """A value as the text format writes it."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def path_of(value: str) -> str:
    """The path of a group that has it as its instance."""
    encoded = base64.urlsafe_b64encode(value.encode()).decode()
    return f"job/hostile/instance@base64/{encoded}"


@pytest.fixture
def attacked(visitor: Visitor) -> Visitor:
    """A visitor of a gateway in which each hostile text is a label's value, a help, a grouping label and a reason."""
    for value in HOSTILE.values():
        help = value.replace("\\", r"\\").replace("\n", r"\n")
        body = f'# HELP x {help}\n# TYPE x gauge\nx{{l="{escaped(value)}"}} 1\n'
        assert visitor.gateway.push(path_of(value), body.encode()).status == 200
        assert visitor.gateway.push(path_of(value), (body + body.splitlines()[-1] + "\n").encode()).status == 400
        assert visitor.gateway.push(path_of(value), f"x oops{help}\n".encode()).status == 400
    return visitor


def test_hostile_text_is_inert_on_every_page(attacked: Visitor, validator: Validator) -> None:
    """No script of it runs, nothing of it becomes an element, and every page is still valid HTML."""
    paths = ["/", "/groups", "/failures", "/groups?q=" + "%3Cb%20id%3Downed%3E", "/status"]
    paths += [f"/groups/{path_of(value)}" for value in HOSTILE.values()]

    for path in paths:
        page = attacked.open(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.title() != "owned", path
        assert page.locator("#owned").count() == 0
        assert page.locator("main script, main img").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is too wide"
        page.context.close()
        validator.add(path[:40], attacked.gateway.get(path).text)

    assert "\n".join(validator.faults()) == ""


def test_hostile_groups_are_deleted_like_others(attacked: Visitor) -> None:
    """Whatever a group is called, choosing and confirming deletes it."""
    page = attacked.open("/groups?limit=100")

    for box in page.get_by_role("checkbox").all():
        box.check()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete 10 groups").click()

    expect(page.get_by_role("status").filter(has_text="10 groups were deleted")).to_be_visible()
    assert not attacked.gateway.scrape().has("x")
