"""How are a group's labels laid down to be searched and sorted?"""

from __future__ import annotations

import pytest

from pushgateway.storage.listing import labels_of
from tests.contract.values import key


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"job": "etl"}, b"\0job\1etl\0"),
        ({"job": "etl", "a": "b"}, b"\0job\1etl\0a\1b\0"),
        ({"job": "ETL", "a": "ß"}, b"\0job\1ETL\0a\1\xc3\x9f\0\2job\2etl\2a\2ss"),
        ({"job": "\0a\1b\2"}, b"\0job\1\xf8a\xf9b\xfa\0"),
    ],
)
def test_labels(labels: dict[str, str], expected: bytes) -> None:
    """Job first, each label between bytes that no text holds, and in folded case if that is not the same."""
    assert labels_of(key(**labels)) == expected
