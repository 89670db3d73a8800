from __future__ import annotations

import pytest

from tests.unit.web.fakes import Site


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("icon.svg", "image/svg+xml; charset=utf-8"),
        ("live.js", "application/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
    ],
)
def test_static_files_have_their_types(site: Site, name: str, media: str) -> None:
    """Style sheets, scripts and pictures come with their types."""
    reply = site.get(f"/static/{name}")
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, media)


def test_only_files_of_the_pages_are_answered(site: Site) -> None:
    """What is outside of the folder, or of another type, is not there."""
    for path in ("../ui.py", "..%2Fui.py", "%2Fetc/passwd", "nothing.css", "../templates/status.html", "x.css%00"):
        assert site.get(f"/static/{path}").status_code == 404
