"""What is too large for a row?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pushgateway.errors import LimitError
from pushgateway.storage import StatusBoard, open_store, prepare_store, sqlite
from tests.contract.values import family, key, push


def test_family_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that SQLite could not hold in a row is refused by its size, and the store goes on."""
    monkeypatch.setattr(sqlite, "MAX_FAMILY_BYTES", 10_000)
    board = StatusBoard()
    store = open_store(prepare_store(f"sqlite:{tmp_path}/x.db").url, board=board, own={})
    with pytest.raises(LimitError) as raised:
        store.apply(push(key(), family("x", group=key(), padding=5_000), at=3.0), None)
    assert (raised.value.limit, raised.value.allowed) == ("family-bytes", 10_000)
    (contents,) = store.groups()
    assert (contents.group.failed_at_seconds, contents.families) == (3.0, ())
    store.apply(push(key(), family("x", group=key(), padding=4_000)), None)
    assert board.reason() == ""
    store.close()
