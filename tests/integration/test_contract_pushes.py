from __future__ import annotations

import pytest

from tests.harness import Service
from tests.rows import Row, cases, check_row


@pytest.mark.parametrize(("service", "row"), cases("bodies.toml"), indirect=["service"])
def test_body(service: Service, row: Row) -> None:
    """Section C1: what each body in text format 0.0.4 is answered with, and what is exposed of it."""
    check_row(service, row)
