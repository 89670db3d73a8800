"""Which groups are stored?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flask import Response, request

from pushgateway.formats import protobuf
from pushgateway.model import GroupContents, Labels
from pushgateway.web.handlers import services
from pushgateway.web.ui.frame import bp, page

__all__ = ["groups"]

GROUPS_PER_PAGE: Final = 200
"""Keeps a page of a gateway with 10 000 groups under a second and a megabyte."""

FAMILIES_PER_GROUP: Final = 100
"""Keeps one group of 60 000 families from being a page of 7 MB; the API tells them all."""


@dataclass(frozen=True, slots=True)
class _Family:
    """One family of a group, as the page shows it."""

    name: str
    type: str
    help: str
    series: int
    pushed: float


@dataclass(frozen=True, slots=True)
class _Group:
    """One group, as the page shows it; times are 0 for never, and `hidden` families are only counted."""

    labels: Labels
    pushed: float
    failed: bool
    failed_at: float
    reason: str
    families: Sequence[_Family]
    hidden: int


@bp.get("/groups")
def groups() -> Response:
    """Show the groups, page by page (``?page=2``)."""
    contents = services().store.groups()
    pages = max(1, -(-len(contents) // GROUPS_PER_PAGE))
    number = min(max(request.args.get("page", 1, type=int), 1), pages)
    shown = contents[(number - 1) * GROUPS_PER_PAGE : number * GROUPS_PER_PAGE]
    return page("groups.html", groups=[_group(one) for one in shown], total=len(contents), page=number, pages=pages)


def _group(contents: GroupContents) -> _Group:
    group = contents.group
    return _Group(
        labels=tuple(sorted(((name, value) for name, value in json.loads(group.key)), key=lambda one: one[0] != "job")),
        pushed=group.pushed_at_seconds,
        failed=group.failed_at_seconds > group.pushed_at_seconds,
        failed_at=group.failed_at_seconds,
        reason=group.failure_reason,
        families=[
            _Family(
                name=block.name,
                type=block.type.value.replace("_", " "),
                help=block.help,
                series=protobuf.count_metrics(block.body),
                pushed=block.pushed_at_seconds,
            )
            for block in contents.families[:FAMILIES_PER_GROUP]
        ],
        hidden=max(0, len(contents.families) - FAMILIES_PER_GROUP),
    )
