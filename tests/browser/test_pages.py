"""Is each page what a browser, a screen reader and an HTML validator want it to be?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.judges import Validator, judge_access
from tests.browser.visitor import Visitor

PAGES = ("/", "/groups", "/failures", "/status")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_no_serious_fault_of_access(visitor: Visitor, axe: Path, path: str, scheme: str) -> None:
    """axe-core finds no serious or critical fault, whether the system's colours are light or dark."""
    visitor.gateway.push("job/etl/instance/db1", b"# HELP rows Rows.\n# TYPE rows gauge\nrows 1\n")
    visitor.gateway.push("job/etl/instance/db1", b"rows 1.5GB\n")

    page = visitor.open(path, color_scheme=scheme)

    assert judge_access(page, axe) == []


def test_pages_are_valid_html(visitor: Visitor, validator: Validator) -> None:
    """An HTML validator finds nothing."""
    visitor.gateway.push("job/etl/instance/db1", b"# HELP rows Rows.\n# TYPE rows gauge\nrows 1\n")
    visitor.gateway.push("job/etl/instance/db1", b"rows 1.5GB\n")

    for path in PAGES:
        validator.add(path, visitor.gateway.get(path).text)

    assert validator.faults() == []
