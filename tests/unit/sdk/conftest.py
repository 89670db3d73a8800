"""Which gateway do unit tests of the SDK push to?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pymetrics_sdk.testing import InMemoryGateway, in_memory_gateway


@pytest.fixture
def gateway() -> Iterator[InMemoryGateway]:
    """A gateway in memory."""
    with in_memory_gateway() as memory:
        yield memory
