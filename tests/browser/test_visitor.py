"""Does the visitor of these tests hear of what no page may do, and does the gateway hear of other sites' pages?"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Route

from tests.browser.visitor import Visitor
from tests.harness import Gateway

FAULTS = {
    "console: oh": "console.error('oh')",
    "script: ": "setTimeout(() => { throw new Error('oh'); })",
    "policy violated: script-src-elem by inline": """
        const script = document.createElement("script");
        script.textContent = "document.title = 'ran'";
        document.body.append(script);
    """,
    "policy violated: img-src": "new Image().src = 'http://other.example/x.png'",
    "policy violated: style-src-attr by inline": "document.body.setAttribute('style', 'color: red')",
    "policy violated: connect-src": "fetch('http://other.example/').catch(() => {})",
    "asked another host: http://other.example/": "location = 'http://other.example/'",
}


@pytest.mark.parametrize(("complaint", "script"), FAULTS.items())
def test_what_no_page_may_do_is_heard(browser: Browser, gateway: Gateway, complaint: str, script: str) -> None:
    """Each kind of fault fails a test that does not expect it."""
    someone = Visitor(browser, gateway)
    page = someone.open("/")
    page.context.route("http://other.example/**", lambda route: route.fulfill(body="other", content_type="text/plain"))

    page.evaluate(f"() => {{ {script} }}")
    page.wait_for_timeout(1)
    while not any(complaint in said for said in someone.complaints):
        page.wait_for_timeout(20)

    assert page.title() != "ran"
    with pytest.raises(AssertionError, match=complaint.partition(" ")[0]):
        someone.close()


def test_a_page_of_another_site_deletes_nothing(visitor: Visitor) -> None:
    """A form that someone is lured into sending from elsewhere is answered 403, confirmed or not."""
    visitor.gateway.push("job/etl", b"x 1\n")
    visitor.expect_complaint("asked another host: http://lure.example/")
    visitor.expect_complaint("403 (Forbidden)")
    # That answer is no page, and names no icon; the browser looks for one where the gateway has none.
    visitor.expect_complaint("404 (Not Found)")
    forms = {
        "/groups/delete": {"group": '[["job","etl"]]', "confirm": "yes"},
        "/status/wipe": {"confirm": "delete everything"},
        "/api/v1/admin/wipe": {},
    }
    page = visitor.open("/")
    for path, fields in forms.items():
        inputs = "".join(f"<input name='{name}' value='{value}'>" for name, value in fields.items())
        form = f"<form method=post action='{visitor.gateway.url}{path}'>{inputs}<button>Win</button></form>"
        page.route("http://lure.example/", _answer(form))
        page.goto("http://lure.example/")
        with page.expect_navigation() as sent:
            page.get_by_role("button", name="Win").click()
        assert sent.value is not None
        assert sent.value.status == 403
        page.unroute("http://lure.example/")

    assert visitor.gateway.scrape().has("x")


def _answer(html: str) -> Callable[[Route], None]:
    return lambda route: route.fulfill(body=html, content_type="text/html")
