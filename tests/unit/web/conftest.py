from __future__ import annotations

import pytest

from tests.unit.web.fakes import Site


@pytest.fixture
def site() -> Site:
    """An application with default settings and the admin and lifecycle APIs."""
    return Site(enable_admin_api=True, enable_lifecycle=True)
