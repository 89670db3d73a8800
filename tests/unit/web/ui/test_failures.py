from __future__ import annotations

from tests.unit.web.fakes import Site


def test_recent_failures_are_shown(site: Site) -> None:
    """The newest refused pushes stand on the page with their reasons, escaped; without any the page says so."""
    assert "No push has been refused" in site.get("/failures").text
    for number in range(12):
        site.push(f"job/{number}", b"<b>\n")
    site.push("job/<i>/l", b"x 1\n")
    text = site.get("/failures").text
    assert text.count("text format parsing error") == 12
    assert "POST {job=&#34;11&#34;}" in text
    assert "POST /metrics/job/&lt;i&gt;/l" in text
    assert "<b>" not in text
