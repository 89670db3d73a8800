"""What did one group push, when, and how is its job?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from urllib.parse import urlencode

from flask import Response, request

from pushgateway import grouping
from pushgateway.display import jobs
from pushgateway.display.curl import group_commands
from pushgateway.display.families import FamilyView, Label, view_family
from pushgateway.display.raw import begin_exposition
from pushgateway.display.texts import excerpt, visible
from pushgateway.errors import GroupingKeyError, LimitError, RequestError
from pushgateway.formats import protobuf
from pushgateway.model import FamilyBlock, Group, GroupingKey, Labels, Sample
from pushgateway.rules import group_labels
from pushgateway.web.handlers import Services, services
from pushgateway.web.queries import stale_seconds
from pushgateway.web.stored import find_group
from pushgateway.web.ui.frame import base_url, page
from pushgateway.web.ui.groups import form_value

__all__ = ["group"]

FAMILIES_PER_PAGE: Final = 50
"""Beside the room that their values take: what no reader wants to scroll through."""

SERIES_PER_FAMILY: Final = 10
"""On the page of the group; more are on that of the family."""

SERIES_PER_PAGE: Final = 100
"""On the page of one family."""

_ROOM_BYTES: Final = 250_000
"""About how much HTML the values of one page may take, whatever is in them."""

_RAW_CHARACTERS: Final = 20_000

_JOB_SERIES: Final = 200
"""How many series of each family of a job are read for its cards."""

_LABEL_CHARACTERS: Final = 1000
_TITLE_CHARACTERS: Final = 60


@dataclass(frozen=True, slots=True)
class _Part:
    """Which families of a group a page shows, and which of their series.

    Attributes:
        blocks: The families.
        start: How many series of each to pass over.
        most: How many series of each to show.
        number: The number of the page, from 1.
        pages: How many there are.
        matching: How many families were searched for.
    """

    blocks: Sequence[FamilyBlock]
    start: int
    most: int
    number: int
    pages: int
    matching: int


def group() -> Response:
    """Show a group, ``?page=2`` of its families, those found by ``?find=duration``, or all of ``?family=NAME``."""
    at_hand = services()
    try:
        key, contents = find_group(at_hand, request.environ["pushgateway.path"].removeprefix("/groups/"))
    except (GroupingKeyError, LimitError) as error:
        return page("no_group.html", status=400, reason=visible(str(error)), live=False)
    path = grouping.readable_path(key, utf8_names=at_hand.config.enable_utf8_names)
    commands = group_commands(base_url(), path, user=_user())
    labels = _labels(key)
    if contents is None:
        return page("no_group.html", status=404, reason="", labels=labels, commands=commands, live=False)
    shared = group_labels(key)
    family, find = request.args.get("family", ""), request.args.get("find", "")
    part = _part(contents.families, family=family, find=find)
    cards = () if family or find else _jobs(contents.families, shared, at_hand)
    views = _views(part, shared)
    return page(
        "group.html",
        labels=labels,
        title=_title(key),
        path=path,
        sent=form_value(key),
        stale=_is_stale(contents.group, at_hand),
        stale_asked=_stale_asked(),
        group=contents.group,
        reason=contents.group.failure_reason,
        failed=contents.group.failed_at_seconds > contents.group.pushed_at_seconds,
        families=len(contents.families),
        series=sum(protobuf.count_metrics(block.body) for block in contents.families),
        bytes=contents.bytes,
        jobs=cards,
        views=[view for view in views if not (cards and view.name.startswith(jobs.PREFIX))],
        job_views=[view for view in views if cards and view.name.startswith(jobs.PREFIX)],
        anchor=_anchor,
        query=_query,
        part=part,
        family=family,
        find=find,
        raw=begin_exposition(part.blocks, most=_RAW_CHARACTERS),
        commands=commands,
    )


def _part(blocks: Sequence[FamilyBlock], *, family: str, find: str) -> _Part:
    wanted = max(1, request.args.get("page", 1, type=int))
    if family:
        found = [block for block in blocks if block.name == family]
        series = sum(protobuf.count_metrics(block.body) for block in found)
        pages = max(1, -(-series // SERIES_PER_PAGE))
        number = min(wanted, pages)
        return _Part(found, (number - 1) * SERIES_PER_PAGE, SERIES_PER_PAGE, number, pages, len(found))
    folded = find.casefold()
    found = [block for block in blocks if folded in block.name.casefold() or folded in block.help.casefold()]
    # What a job has measured itself comes before what its card tells already.
    found.sort(key=lambda block: (block.name.startswith(jobs.PREFIX), block.name))
    pages = max(1, -(-len(found) // FAMILIES_PER_PAGE))
    number = min(wanted, pages)
    shown = found[(number - 1) * FAMILIES_PER_PAGE : number * FAMILIES_PER_PAGE]
    return _Part(shown, 0, SERIES_PER_FAMILY, number, pages, len(found))


def _views(part: _Part, shared: Labels) -> Sequence[FamilyView]:
    room = _ROOM_BYTES
    views = []
    for block in part.blocks:
        view = view_family(block, shared, start=part.start, most=part.most, room=room)
        room -= view.weight
        views.append(view)
    return views


def _jobs(blocks: Iterable[FamilyBlock], shared: Labels, at_hand: Services) -> Sequence[jobs.JobCard]:
    families = ((block.name, _samples(block)) for block in blocks if block.name.startswith(jobs.PREFIX))
    return jobs.read_jobs(families, shared, now=at_hand.clock())


def _samples(block: FamilyBlock) -> Iterable[Sample]:
    _, part = protobuf.cut_metrics(block.body, start=0, count=_JOB_SERIES)
    return [metric for metric in protobuf.decode_metrics(block.type, part) if isinstance(metric, Sample)]


def _labels(key: GroupingKey) -> Sequence[Label]:
    """Return the labels of the key, the job first."""
    return [Label(excerpt(name, _LABEL_CHARACTERS), excerpt(value, _LABEL_CHARACTERS)) for name, value in key.job_first]


def _title(key: GroupingKey) -> str:
    return " · ".join(excerpt(value, _TITLE_CHARACTERS).text for _, value in key.job_first[:3])


def _anchor(name: str) -> str:
    """Return an `id` for a family, which may have any characters in its name."""
    return f"family-{blake2b(name.encode(), digest_size=6).hexdigest()}"


def _is_stale(group: Group, at_hand: Services) -> bool:
    """Return whether the last push is older than what the list, from which a reader may come, was told to call so."""
    age = stale_seconds({"stale": _stale_asked() or ""})
    return 0 < group.pushed_at_seconds < at_hand.clock() - age


def _stale_asked() -> str | None:
    """Return what goes with a reader from page to page; None for nothing, and for what is no duration."""
    try:
        stale_seconds(request.args)
    except RequestError:
        return None
    return request.args.get("stale") or None


def _query(**given: str | int | None) -> str:
    """Return a link to this page with another query; the path, which may be 64 KiB long, is not repeated."""
    asked = {**given, "stale": _stale_asked()}
    return "?" + urlencode({name: value for name, value in asked.items() if value is not None})


def _user() -> str:
    given = request.authorization
    return (given.username or "") if given is not None and given.type == "basic" else ""
