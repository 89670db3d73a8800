"""How does pytest offer the in-memory gateway?

The fixture ``pymetrics`` is that gateway; a test that uses it fails if a job pushes elsewhere. With the ini option
``pymetrics_strict`` every test fails that pushes to a real gateway. Nothing happens in tests that ask for neither.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from pymetrics_sdk.testing import InMemoryGateway, in_memory_gateway, pushes_elsewhere

__all__ = ["pymetrics"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option."""
    parser.addini(
        "pymetrics_strict", "fail every test that pushes metrics to a real gateway", type="bool", default=False
    )


@pytest.fixture
def pymetrics() -> Iterator[InMemoryGateway]:
    """A gateway in memory that every job of the test pushes to."""
    with in_memory_gateway() as gateway:
        yield gateway


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test whose jobs pushed where it did not expect them to."""
    gateway = getattr(item, "funcargs", {}).get("pymetrics")
    if isinstance(gateway, InMemoryGateway):
        result = yield
        _fail_on(gateway.elsewhere)
        return result
    if not item.config.getini("pymetrics_strict"):
        return (yield)
    with pushes_elsewhere() as tried:
        result = yield
    _fail_on(tried)
    return result


def _fail_on(gateways: list[str]) -> None:
    if gateways:
        pytest.fail(f"a job pushed to {', '.join(gateways)} and not to the gateway of the test", pytrace=False)
