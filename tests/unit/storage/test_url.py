"""Which file does a storage URL name?"""

from __future__ import annotations

import pytest

from pushgateway.errors import ConfigError
from pushgateway.storage import StatusBoard, open_store, parse_url


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:F", "F"),
        ("sqlite:pushgateway.db", "pushgateway.db"),
        ("sqlite:dir/F", "dir/F"),
        ("sqlite:./F", "./F"),
        ("sqlite:/abs/F", "/abs/F"),
        ("sqlite:///abs/F", "/abs/F"),
        ("sqlite:////abs/F", "/abs/F"),
        ("sqlite:a b?c=d%20#é", "a b?c=d%20#é"),
        ("sqlite:sqlite:F", "sqlite:F"),
        ("memory:", ""),
    ],
)
def test_good_urls(url: str, path: str) -> None:
    """The relative and both absolute forms are read, everything after the scheme as it is."""
    assert parse_url(url) == path


@pytest.mark.parametrize(
    "url",
    [
        "",
        "F",
        "sqlite",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite://host/F",
        "sqlite:dir/",
        "sqlite:a\0b",
        "memory:x",
        ":memory:",
        "mysql://host/db",
        "SQLITE:F",
    ],
)
def test_bad_urls(url: str) -> None:
    """Whatever names no file is refused with the setting's name and what was expected."""
    with pytest.raises(ConfigError, match=r"--storage\.url: .*expected sqlite:FILE"):
        parse_url(url)


def test_memory_has_to_be_prepared() -> None:
    """A worker cannot make a temporary database of its own."""
    with pytest.raises(ConfigError, match="prepared first"):
        open_store("memory:", board=StatusBoard(), own={})
