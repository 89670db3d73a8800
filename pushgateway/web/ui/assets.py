"""Which files do the pages need beside themselves?"""

from __future__ import annotations

from pathlib import PurePosixPath
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


@bp.get("/static/<path:rest>")
def static() -> Response:
    """Answer with a file of the pages."""
    path = request.environ["pushgateway.path"].removeprefix("/static/")
    media = _TYPES.get(PurePosixPath(path).suffix)
    if media is None:
        raise NotFound
    return send_from_directory(bp.root_path + "/static", path, mimetype=media)
