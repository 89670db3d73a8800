"""Which pushes were refused lately, and what is to be done about it?"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from flask import Response

from pushgateway.display.advice import Advice, advice
from pushgateway.failures import CAPACITY, Failure
from pushgateway.model import GroupingKey, Labels
from pushgateway.web.handlers import services
from pushgateway.web.ui.frame import group_path, page

__all__ = ["failures"]

_Sameness: TypeAlias = tuple[Labels | None, str, str, int, str]


@dataclass(frozen=True, slots=True)
class _Row:
    """Refusals that are the same but for their time and source.

    Attributes:
        name: Identifies it as long as it is listed.
        newest: The last of them.
        first_at_seconds: Unix time of the first of them that is kept.
        times: How many they are.
        sources: From where they came, the newest first.
        labels: The group's labels, job first; () if the path names no group.
        path: Where the group's page is, "" if there is none.
        advice: What to do about them.
    """

    name: str
    newest: Failure
    first_at_seconds: float
    times: int
    sources: tuple[str, ...]
    labels: Labels
    path: str
    advice: Advice


def failures() -> Response:
    """Show what was refused lately, newest first, and what is refused again and again once."""
    at_hand = services()
    kept = at_hand.failures.recent()
    rows = _rows(kept)
    return page("failures.html", rows=rows, kept=len(kept), capacity=CAPACITY)


def _rows(kept: Iterable[Failure]) -> list[_Row]:
    same: dict[_Sameness, list[Failure]] = {}
    for one in kept:
        same.setdefault((one.group, one.path, one.method, one.status, one.reason), []).append(one)
    return [_row(like, found) for like, found in same.items()]


def _row(like: _Sameness, found: list[Failure]) -> _Row:
    newest = found[0]
    key = GroupingKey.of(newest.group) if newest.group else None
    return _Row(
        name=f"failure-{zlib.crc32(repr(like).encode(errors='backslashreplace')):08x}",
        newest=newest,
        first_at_seconds=found[-1].at_seconds,
        times=len(found),
        sources=tuple(dict.fromkeys(one.source for one in found if one.source)),
        labels=key.job_first if key else (),
        path=group_path(key) if key else "",
        advice=advice(newest.kind, reason=newest.reason, limit=str(newest.data.get("limit", ""))),
    )
