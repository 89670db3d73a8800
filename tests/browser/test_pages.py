"""Is each page what a browser, a screen reader and an HTML validator want it to be?"""

from __future__ import annotations

from pathlib import Path

from tests.browser.judges import Validator, judge_access
from tests.browser.visitor import Visitor


def test_no_serious_fault_of_access(visitor: Visitor, axe: Path) -> None:
    """axe-core finds no serious or critical fault."""
    visitor.gateway.push("job/etl/instance/db1", b"# HELP rows Rows.\n# TYPE rows gauge\nrows 1\n")
    visitor.expect_complaint("404 (Not Found)")

    page = visitor.open("/")

    assert judge_access(page, axe) == []


def test_pages_are_valid_html(visitor: Visitor, validator: Validator) -> None:
    """An HTML validator finds nothing."""
    visitor.gateway.push("job/etl/instance/db1", b"# HELP rows Rows.\n# TYPE rows gauge\nrows 1\n")
    visitor.gateway.push("job/etl/instance/db1", b"rows 1.5GB\n")

    validator.add("/", visitor.gateway.get("/").text)

    assert validator.faults() == []
