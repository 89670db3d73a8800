from __future__ import annotations

from tests.unit.web.fakes import Site
from tests.unit.web.ui.reading import Page


def test_status_shows_build_and_flags() -> None:
    """The page shows what runs, since when, and every flag."""
    text = Page(Site(flags={"web.enable-lifecycle": "true"}).get("/status").text).text
    assert "web.enable-lifecycle" in text
    assert "goversion" in text
    assert "python3" in text
