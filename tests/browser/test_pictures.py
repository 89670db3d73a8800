"""What do the pages look like? These are the pictures of the README, taken anew by each run.

A run writes them to a temporary place, so that it leaves the checkout as it was; `make pictures` writes them to
docs/images.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests.browser.scene import GROUP
from tests.browser.visitor import Visitor

WIDTH = 1200

MOST_BYTES = 200_000
"""What a picture may take in the repository, in which it stays for ever."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("name", "path", "height"),
    [("overview", "/", 1180), ("groups", "/groups?sort=failed", 900), ("group", GROUP, 980)],
)
def test_a_picture_of_a_page(
    spectator: Visitor, tmp_path: Path, name: str, path: str, height: int, scheme: str
) -> None:
    """Each page can be drawn, in light and dark, small enough to be kept."""
    directory = Path(os.environ.get("PICTURES") or tmp_path)
    directory.mkdir(parents=True, exist_ok=True)
    page = spectator.open(path, color_scheme=scheme, viewport={"width": WIDTH, "height": height})
    file = directory / f"{name}-{scheme}.png"

    page.screenshot(path=file, animations="disabled", caret="hide")

    drawn = file.read_bytes()
    assert struct.unpack(">II", drawn[16:24]) == (WIDTH, height)
    assert 10_000 < len(drawn) < MOST_BYTES
