from __future__ import annotations

from tests.unit.web.fakes import Site
from tests.unit.web.ui.reading import Page


def test_totals_are_shown(site: Site) -> None:
    """The first page says how many groups, families and series are stored."""
    site.push("job/a", b"x 1\ny 1\n")
    site.push("job/b", b'x{l="1"} 1\nx{l="2"} 1\n')
    assert "Groups2 Families3 Series4" in Page(site.get("/").text.replace("</div>", "</div> ")).words
