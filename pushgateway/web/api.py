"""What does the JSON API tell, and to which web pages?

Shapes and CORS headers are the original's (api/v1), and so are those of what it does not have (activity, failures): any
page may read, none may push, delete or wipe.
"""

from __future__ import annotations

import re
from typing import Final

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from pushgateway.display.raw import render_exposition
from pushgateway.errors import RequestError
from pushgateway.failures import CAPACITY
from pushgateway.formats import ExpositionFormat, json_api
from pushgateway.model import Wipe
from pushgateway.values import shown
from pushgateway.web import responses
from pushgateway.web.handlers import services
from pushgateway.web.queries import asked_groups
from pushgateway.web.stored import find_group

__all__ = ["bp"]

bp = Blueprint("api", __name__)

_FAILURES: Final = 100
"""How many failures are told unless another number is asked for."""

_CORS: Final = {
    "Access-Control-Allow-Headers": "Accept, Authorization, Content-Type, Origin",
    "Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Date",
    "Cache-Control": "no-cache, no-store, must-revalidate",
}


@bp.route("/api/v1/", methods=["OPTIONS"], provide_automatic_options=False)
@bp.route("/api/v1/<path:rest>", methods=["OPTIONS"], provide_automatic_options=False)
def options() -> Response:
    """Tell a browser what a page of another origin may do."""
    return responses.empty(200)


@bp.get("/api/v1/status", provide_automatic_options=False)
def status() -> Response:
    """Tell what this gateway is and how it is set up."""
    at_hand = services()
    build = at_hand.telemetry.build
    return _json(
        json_api.render_status(
            build_information={
                "branch": build["branch"],
                "buildDate": "",
                "buildUser": "",
                "goVersion": build["goversion"],
                "revision": build["revision"],
                "version": build["version"],
            },
            flags=at_hand.config.flags,
            start_time_seconds=at_hand.telemetry.started_at_seconds,
        )
    )


@bp.get("/api/v1/metrics", provide_automatic_options=False)
def metrics() -> Response:
    """Tell everything that is stored, a group at a time."""
    return _json(json_api.render_groups(services().store.groups()))


@bp.get("/api/v1/groups", provide_automatic_options=False)
def groups() -> Response:
    """Tell which groups are stored, page by page, without what they hold."""
    at_hand = services()
    query = asked_groups(request.args, now_seconds=at_hand.clock())
    return _json(json_api.render_group_page(at_hand.store.find_groups(query)))


@bp.get("/api/v1/groups/job/<path:rest>", provide_automatic_options=False)
@bp.get("/api/v1/groups/job@base64/<path:rest>", provide_automatic_options=False)
def group() -> Response:
    """Tell what a scrape says of one group, in text, or as JSON what /api/v1/metrics says of it."""
    at_hand = services()
    with at_hand.scrapes.turn():
        path = request.environ["pushgateway.path"].removeprefix("/api/v1/groups/")
        _, contents = find_group(at_hand, path)
        if contents is None:
            raise NotFound
        if "application/json" in request.headers.get("Accept", ""):
            return _json(json_api.render_group(contents))
        body = render_exposition(contents)
        at_hand.scrapes.made(len(body))
    response = responses.Answer(body, content_type=ExpositionFormat.TEXT.value)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@bp.get("/api/v1/failures", provide_automatic_options=False)
def failures() -> Response:
    """Tell which pushes and deletes were refused lately, newest first; ``?limit=10`` for fewer."""
    return _json(json_api.render_failures(services().failures.recent(_limit())))


@bp.get("/api/v1/activity", provide_automatic_options=False)
def activity() -> Response:
    """Tell how much was pushed and refused in each minute of the last hour, and who pushed slowly or much."""
    at_hand = services()
    return _json(json_api.render_activity(at_hand.activity.recent(at_hand.clock())))


@bp.get("/api/v1/openapi.json", provide_automatic_options=False)
def openapi() -> Response:
    """Tell how this API is described."""
    return _json(services().openapi())


def _limit() -> int:
    text = request.args.get("limit", str(_FAILURES))
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= CAPACITY:
        raise RequestError(f"limit {shown(text)} is not a whole number from 1 to {CAPACITY}")
    return int(text)


@bp.put("/api/v1/admin/wipe", provide_automatic_options=False)
def wipe() -> Response:
    """Remove every group, at once; the answer means that they are gone."""
    at_hand = services()
    at_hand.apply(Wipe(), request.environ)
    if at_hand.diagnosis.wants_done():
        at_hand.diagnosis.note_done(request.environ, 202, "all groups deleted")
    return responses.empty(202)


@bp.after_request
def _allow_other_origins(response: Response) -> Response:
    # On errors too, so that a page can show the reason.
    if request.endpoint != "api.wipe":
        response.headers.update(_CORS)
    return response


def _json(body: bytes) -> Response:
    return responses.Answer(body, content_type="application/json")
