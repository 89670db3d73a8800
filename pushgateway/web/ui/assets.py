"""Which files do the pages need beside themselves?"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Final

from flask import Response, request, send_from_directory
from werkzeug.exceptions import NotFound

from pushgateway.web.ui.frame import bp

__all__ = ["static"]

_TYPES: Final = {
    ".css": "text/css",
    ".ico": "image/x-icon",
    ".js": "application/javascript",
    ".svg": "image/svg+xml",
}
"""By extension, as the original; not from the machine's own table, which differs from one to the next."""


def static() -> Response:
    """Answer with a file of the pages."""
    path = request.environ["pushgateway.path"].removeprefix("/static/")
    media = _TYPES.get(PurePosixPath(path).suffix)
    if media is None:
        raise NotFound
    response = send_from_directory(bp.root_path + "/static", path, mimetype=media, etag=False, conditional=False)
    # Browsers keep it, but ask each time: after an upgrade no page is to be drawn by what the release before had.
    response.headers["ETag"] = f'"{_digest(bp.root_path + "/static/" + path)}"'
    # By what is in it: packages and images often give all files of all releases one time.
    del response.headers["Last-Modified"]
    response.make_conditional(request)
    return response


@cache
def _digest(file: str) -> str:
    """Return what tells a file's content; it does not change while the gateway runs. Only asked for one that exists."""
    return blake2b(Path(file).read_bytes(), digest_size=12).hexdigest()
