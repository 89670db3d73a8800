"""Which services may tests share?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import Gateway, Original


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """Our gateway with an in-memory store and both optional APIs, shared by the tests of a module."""
    with Gateway("--storage.url=memory:", "--web.enable-admin-api", "--web.enable-lifecycle") as service:
        yield service


@pytest.fixture(scope="module")
def original() -> Iterator[Original]:
    """The Go Pushgateway with both optional APIs, shared by the tests of a module."""
    with Original("--web.enable-admin-api", "--web.enable-lifecycle") as service:
        yield service
