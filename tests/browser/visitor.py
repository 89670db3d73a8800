"""How does a test look at the gateway's pages through a real browser, and hear of all that goes wrong in it?

    page = visitor.open("/groups")
    page.get_by_role("link", name="Failures").click()

What no page may do fails the test when it ends: an error on the console, an exception of a script, a violation of the
Content-Security-Policy, a request to another host. What a test provokes on purpose it names with `expect_complaint`.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, Request

from tests.harness import Service

__all__ = ["DISTANT", "WAIT_MILLISECONDS", "Visitor"]

WAIT_MILLISECONDS: Final = 30_000
"""How long a page may take: it needs 0.1 s, a machine shared by many runs may be 100 times slower."""

DISTANT: Final = "gateway.test"
"""The browser's name for this machine where that is to be another one."""

_REPORT_VIOLATIONS: Final = """
addEventListener("securitypolicyviolation", (event) =>
    console.error(`policy violated: ${event.violatedDirective} by ${event.blockedURI} at ${event.sourceFile}`));
"""


class Visitor:
    """Someone with a browser who looks at one gateway; each page is opened in a context of its own.

    Args:
        browser: The browser that all tests share.
        gateway: What is looked at.
        base: The address under which it is seen, where that is not its own (behind a proxy).
    """

    def __init__(self, browser: Browser, gateway: Service, *, base: str = "") -> None:
        self.gateway = gateway
        self.base = base or gateway.url
        self.complaints: list[str] = []
        self._expected: list[str] = []
        self._browser = browser
        self._contexts: list[BrowserContext] = []

    def open(self, path: str = "/", **options: Any) -> Page:
        """Open a page of the gateway in a fresh context.

        Args:
            path: Below the base, with its query.
            options: Of the context, such as `color_scheme`, `viewport`, `java_script_enabled`.
        """
        context = self._browser.new_context(**options)
        self._contexts.append(context)
        context.set_default_timeout(WAIT_MILLISECONDS)
        if options.get("java_script_enabled", True):
            context.add_init_script(_REPORT_VIOLATIONS)
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and self._complain(f"console: {message.text}"))
        page.on("pageerror", lambda error: self._complain(f"script: {error}"))
        page.on("request", self._look_at)
        page.goto(self.base + path)
        return page

    def expect_complaint(self, part: str) -> None:
        """Let complaints pass that contain these words: the test provokes them."""
        self._expected.append(part)

    def close(self) -> None:
        """Close all pages; fail if one of them did what no page may do."""
        for context in self._contexts:
            with contextlib.suppress(Exception):
                context.close()
        unexpected = [text for text in self.complaints if not any(part in text for part in self._expected)]
        assert not unexpected, "\n".join(unexpected)

    def _look_at(self, request: Request) -> None:
        host = urlsplit(request.url).netloc
        if host != urlsplit(self.base).netloc:
            self._complain(f"asked another host: {request.url[:200]}")

    def _complain(self, text: str) -> None:
        self.complaints.append(text)
