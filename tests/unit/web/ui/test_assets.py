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


def test_an_upgrade_is_not_drawn_by_old_files(site: Site) -> None:
    """Browsers ask each time, and are told by the content of a file, not by its time, whether theirs is the same."""
    first = site.get("/static/style.css")
    assert first.headers["Cache-Control"] == "no-cache"
    assert "Last-Modified" not in first.headers
    again = site.get("/static/style.css", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert site.get("/static/group.css").headers["ETag"] != first.headers["ETag"]
    assert site.get("/static/style.css", headers={"If-None-Match": '"older"'}).status_code == 200
    head = site.request("HEAD", "/static/style.css")
    assert (head.status_code, head.data, head.headers["ETag"]) == (200, b"", first.headers["ETag"])
