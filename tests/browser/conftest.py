"""Which browser do the tests share, and what judges the pages that it shows?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.judges import Validator
from tests.browser.scene import ScenicGateway, fill
from tests.browser.visitor import DISTANT, WAIT_MILLISECONDS, Visitor
from tests.harness import Gateway, require_program
from tests.node import install_packages

NODE: Final = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium without a window, one for all tests of a process; it takes seconds to start."""
    program = require_program("chromium")
    expect.set_options(timeout=WAIT_MILLISECONDS)
    with sync_playwright() as playwright:
        # Nothing to be looked up and nothing to be fetched: the gateway's pages are all that it sees.
        offline = ["--disable-background-networking", "--disable-component-update", "--no-pings"]
        # A name that is not this machine's own to a browser, which trusts the latter also without TLS.
        offline.append(f"--host-resolver-rules=MAP {DISTANT} 127.0.0.1")
        started = playwright.chromium.launch(executable_path=program, args=offline, timeout=4 * WAIT_MILLISECONDS)
        yield started
        started.close()


@pytest.fixture
def visitor(browser: Browser, gateway: Gateway) -> Iterator[Visitor]:
    """A visitor of an empty gateway, who fails the test if a page did what none may do."""
    gateway.wipe()
    someone = Visitor(browser, gateway)
    yield someone
    someone.close()


@pytest.fixture(scope="session")
def scene() -> Iterator[ScenicGateway]:
    """A gateway that has run for days; nobody changes what it holds."""
    with ScenicGateway() as gateway:
        fill(gateway)
        yield gateway


@pytest.fixture
def spectator(browser: Browser, scene: ScenicGateway) -> Iterator[Visitor]:
    """A visitor of that gateway, who changes nothing."""
    someone = Visitor(browser, scene)
    yield someone
    someone.close()


@pytest.fixture(scope="session")
def packages() -> Path:
    """The npm packages that judge pages."""
    return install_packages(NODE)


@pytest.fixture(scope="session")
def axe(packages: Path) -> Path:
    """The file of axe-core."""
    return packages / "axe-core" / "axe.min.js"


@pytest.fixture
def validator(packages: Path, tmp_path: Path) -> Validator:
    """What judges the HTML of pages."""
    return Validator(packages, tmp_path)
