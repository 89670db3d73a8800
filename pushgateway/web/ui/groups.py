"""Which groups are stored, which of them need attention, and how are some of them deleted?

All that a reader has chosen stands in the address, under the names of the API (`web.queries`). Groups are deleted in
two steps, without a script: a form sends the check boxes, each named `group` with the group's key as its value, to
``POST /groups/delete``, which answers with a page that names them; the form on that one sends the same with `confirm`.
The form on the page of one group sends it there too, as the path of that page.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from urllib.parse import unquote_to_bytes

from flask import Response, request

from pushgateway import grouping
from pushgateway.display.texts import excerpt
from pushgateway.errors import RequestError, StoreError
from pushgateway.model import Delete, GroupingKey, GroupPage, GroupSort, GroupState, GroupSummary, Labels
from pushgateway.storage.base import Store, Ticket
from pushgateway.values import go_duration, shown
from pushgateway.web.handlers import Services, services
from pushgateway.web.queries import DEFAULT_STALE, MOST_ROWS, asked_groups, stale_seconds
from pushgateway.web.ui.frame import group_path, page, see

__all__ = ["delete", "form_value", "groups"]

_TITLE_CHARACTERS: Final = 200
"""How much of its labels is read aloud of a group that is to be chosen."""

_STALE: Final[Mapping[str, str]] = {
    "15m": "15 minutes",
    "1h": "1 hour",
    "6h": "6 hours",
    DEFAULT_STALE: "26 hours",
    "168h": "1 week",
    "720h": "30 days",
}
"""What the form offers; the address may have any other duration."""

_STATES: Final = (("", "All groups"), (GroupState.FAILED.value, "Failed ones"), (GroupState.STALE.value, "Stale ones"))

_KEPT: Final = ("q", "sort", "state", "stale", "limit")
"""What goes with a reader from page to page."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A group as the list shows it.

    Attributes:
        name: Identifies it on the page.
        key: What a form sends for it.
        labels: Its labels, job first.
        title: What a screen reader calls it.
        path: Where its page is.
        summary: Its times and sizes.
        failed: Whether its last push was refused.
        stale: Whether its last push is too old.
    """

    name: str
    key: str
    labels: Labels
    title: str
    path: str
    summary: GroupSummary
    failed: bool
    stale: bool


def groups() -> Response:
    """Show the groups that are asked for, a page at a time."""
    at_hand, problem = services(), ""
    found, rows = GroupPage((), 0), list[_Row]()
    try:
        query = asked_groups(request.args, now_seconds=at_hand.clock(), most=MOST_ROWS)
        found = at_hand.store.find_groups(query)
        rows = [_row(one, query.stale_before_seconds) for one in found.groups]
    except RequestError as error:
        if "text/html" not in request.headers.get("Accept", ""):
            raise
        problem = str(error)
    return page(
        "groups.html",
        status=400 if problem else 200,
        problem=problem,
        rows=rows,
        found=found,
        chosen=_chosen(request.args),
        kept=_kept(request.args),
        cursor=request.args.get("cursor") or None,
        is_filtered=any(request.args.get(name) for name in ("q", "state")),
        states=_STATES,
        stale_choices=_stale_choices(request.args),
        deleted=_deleted(request.args),
        live=not problem,
    )


def delete() -> Response:
    """Name the groups that were chosen; with ``confirm=yes`` delete them, each in a change of its own."""
    keys = list(dict.fromkeys(_key(text) for text in request.form.getlist("group")))
    kept = _kept(request.form)
    cursor = request.form.get("cursor") or None
    if not keys:
        return see("groups", **kept, cursor=cursor)
    if request.form.get("confirm") != "yes":
        rows = [(form_value(key), key.job_first) for key in keys]
        return page("groups_delete.html", rows=rows, kept=kept, cursor=cursor)
    _delete_all(keys, services())
    return see("groups", **kept, cursor=cursor, deleted=len(keys))


def _delete_all(keys: Sequence[GroupingKey], at_hand: Services) -> None:
    """Delete groups, one after the other.

    Raises:
        StoreError: One of them cannot be deleted; from the second on it says how many are gone.
    """
    for at, key in enumerate(keys):
        if at == 0:
            at_hand.apply(Delete(key), request.environ)
        else:
            _delete_next(key, at, len(keys), at_hand.store)
        if at_hand.diagnosis.wants_done():
            at_hand.diagnosis.note_done(request.environ, 303, "group deleted", group=str(key))


def _delete_next(key: GroupingKey, gone: int, chosen: int, store: Store) -> None:
    try:
        # The request's own place in the queue is used up; nobody gives the request up any more.
        store.apply(Delete(key), Ticket())
    except StoreError as error:
        raise type(error)(f"{gone} of the {chosen} groups are deleted, but not the others: {error.reason}") from error


def _row(summary: GroupSummary, stale_before_seconds: float) -> _Row:
    key = GroupingKey.of(json.loads(summary.key))
    labels = key.job_first
    return _Row(
        name=f"group-{zlib.crc32(summary.key.encode()):08x}",
        key=form_value(key),
        labels=labels,
        title=excerpt(", ".join(f"{name} {value}" for name, value in labels), _TITLE_CHARACTERS).text,
        path=group_path(key),
        summary=summary,
        failed=summary.failed_at_seconds > summary.pushed_at_seconds,
        stale=0 < summary.pushed_at_seconds < stale_before_seconds,
    )


def form_value(key: GroupingKey) -> str:
    """Return a group as forms send it: its key in characters that HTML can write, and browsers leave as they are."""
    return json.dumps(key.labels, separators=(",", ":")).replace("\x7f", "\\u007f")


def _key(text: str) -> GroupingKey:
    """Read a group as forms send it.

    Raises:
        RequestError: It is none.
    """
    if text.startswith("job"):
        config = services().config
        return grouping.parse(unquote_to_bytes(text), limits=config.limits, utf8_names=config.enable_utf8_names)
    try:
        labels = {str(name): str(value) for name, value in json.loads(text)}
    except (ValueError, TypeError, RecursionError):
        labels = {}
    if not labels.get("job"):
        expected = 'expected [["job","NAME"]] and more such pairs'
        raise RequestError(f"group {shown(text)} is not the key of one; {expected}")
    return GroupingKey.of(labels)


def _kept(arguments: Mapping[str, str]) -> dict[str, str | None]:
    return {name: arguments.get(name) or None for name in _KEPT}


def _chosen(arguments: Mapping[str, str]) -> dict[str, str]:
    """Return what the form and the headings show as chosen."""
    defaults = {"q": "", "sort": GroupSort.PUSHED.value, "state": ""}
    return {name: arguments.get(name) or default for name, default in defaults.items()}


def _stale_choices(arguments: Mapping[str, str]) -> list[tuple[str, str, bool]]:
    """Return the durations of the form, with the one in the address if it is another, and which is chosen."""
    try:
        asked = stale_seconds(arguments)
    except RequestError:
        asked = stale_seconds({})
    choices = [(value, title, stale_seconds({"stale": value}) == asked) for value, title in _STALE.items()]
    if not any(chosen for _, _, chosen in choices):
        choices.append((arguments["stale"], go_duration(Decimal(asked)), True))
    return choices


def _deleted(arguments: Mapping[str, str]) -> int:
    text = arguments.get("deleted", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
