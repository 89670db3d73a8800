"""What does a person see who opens the gateway in a browser?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final

from flask import Blueprint, Response, render_template, request, send_from_directory
from werkzeug.exceptions import NotFound

from pushgateway.failures import Failure
from pushgateway.formats import protobuf
from pushgateway.model import GroupContents, GroupingKey, Labels
from pushgateway.web import responses
from pushgateway.web.handlers import services

__all__ = ["bp"]

bp = Blueprint("ui", __name__)

GROUPS_PER_PAGE: Final = 200
"""Keeps a page of a gateway with 10 000 groups under a second and a megabyte."""

FAMILIES_PER_GROUP: Final = 100
"""Keeps one group of 60 000 families from being a page of 7 MB; the API tells them all."""

FAILURES_PER_PAGE: Final = 10
"""The newest; the API tells them all."""

_TYPES: Final = {
    ".css": "text/css",
    ".ico": "image/x-icon",
    ".js": "application/javascript",
    ".svg": "image/svg+xml",
}
"""By extension, as the original; not from the machine's own table, which differs from one to the next."""

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class _Family:
    """One family of a group, as the page shows it."""

    name: str
    type: str
    help: str
    series: int
    pushed: str


@dataclass(frozen=True, slots=True)
class _Group:
    """One group, as the page shows it; times are RFC 3339, "" for never, and `hidden` families are only counted."""

    labels: Labels
    pushed: str
    failed: bool
    failed_at: str
    reason: str
    families: Sequence[_Family]
    hidden: int


@dataclass(frozen=True, slots=True)
class _Failure:
    """One refused push, as the page shows it; `target` is its group, or its path if that names none."""

    at: str
    target: str
    source: str
    status: int
    reason: str


@bp.get("/")
@bp.get("/status")
def status() -> Response:
    """Show the groups, page by page (``?page=2``), and what this gateway is."""
    at_hand = services()
    contents = at_hand.store.groups()
    pages = max(1, -(-len(contents) // GROUPS_PER_PAGE))
    page = min(max(request.args.get("page", 1, type=int), 1), pages)
    shown = contents[(page - 1) * GROUPS_PER_PAGE : page * GROUPS_PER_PAGE]
    html = render_template(
        "status.html",
        groups=[_group(one) for one in shown],
        total=len(contents),
        page=page,
        pages=pages,
        build=at_hand.telemetry.build,
        flags=at_hand.config.flags,
        started=_time(at_hand.telemetry.started_at_seconds),
        failures=[_failure(one) for one in at_hand.failures.recent(FAILURES_PER_PAGE)],
        unwritable=at_hand.store.unwritable_reason(),
        # Relative, so that the page works behind any prefix and proxy.
        telemetry_path=at_hand.config.telemetry_path.lstrip("/"),
    )
    response = responses.Answer(html, content_type="text/html; charset=utf-8")
    return _guarded(response)


@bp.get("/static/<path:rest>")
def static() -> Response:
    """Answer with a file of the page."""
    path = request.environ["pushgateway.path"].removeprefix("/static/")
    media = _TYPES.get(PurePosixPath(path).suffix)
    if media is None:
        raise NotFound
    response = send_from_directory(bp.root_path + "/static", path, mimetype=media)
    return _guarded(response)


def _guarded(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _group(contents: GroupContents) -> _Group:
    group = contents.group
    return _Group(
        labels=tuple(sorted(((name, value) for name, value in json.loads(group.key)), key=lambda one: one[0] != "job")),
        pushed=_time(group.pushed_at_seconds),
        failed=group.failed_at_seconds > group.pushed_at_seconds,
        failed_at=_time(group.failed_at_seconds),
        reason=group.failure_reason,
        families=[
            _Family(
                name=block.name,
                type=block.type.value.replace("_", " "),
                help=block.help,
                series=protobuf.count_metrics(block.body),
                pushed=_time(block.pushed_at_seconds),
            )
            for block in contents.families[:FAMILIES_PER_GROUP]
        ],
        hidden=max(0, len(contents.families) - FAMILIES_PER_GROUP),
    )


def _failure(failure: Failure) -> _Failure:
    return _Failure(
        at=_time(failure.at_seconds),
        target=f"{failure.method} {failure.path if failure.group is None else GroupingKey.of(failure.group)}",
        source=failure.source,
        status=failure.status,
        reason=failure.reason,
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else ""
