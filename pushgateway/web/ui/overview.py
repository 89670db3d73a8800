"""How is the gateway, at a glance: what does it hold, what comes in, and who needs somebody to look?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flask import Response, request

from pushgateway.activity import Activity, Pusher
from pushgateway.config import Limits
from pushgateway.display.curl import group_commands
from pushgateway.display.quantities import Quantity, readable
from pushgateway.model import GroupingKey, GroupPage, GroupQuery, GroupSort, GroupState, GroupSummary, Labels, Totals
from pushgateway.web.handlers import services
from pushgateway.web.queries import stale_seconds
from pushgateway.web.ui import charts
from pushgateway.web.ui.frame import base_url, group_path, page

__all__ = ["overview"]

_LISTED: Final = 5
"""How many groups of a kind are shown; a link leads to all of them."""

_LATEST: Final = 8
_RANKED: Final = 5


@dataclass(frozen=True, slots=True)
class _Stored:
    """How much of something is stored; `limit` is "" where there is none, `percent` how much of it is used."""

    name: str
    count: int
    limit: str
    percent: float


@dataclass(frozen=True, slots=True)
class _Group:
    """A group as the page lists it; `labels` has the job first, `path` is where its page is."""

    labels: Labels
    path: str
    summary: GroupSummary


@dataclass(frozen=True, slots=True)
class _Pusher:
    """A group with the push for which it is listed; `path` is "" if its labels are not known whole."""

    labels: Labels
    path: str
    push: Pusher


def overview() -> Response:
    """Show totals, the last hour, and the groups that somebody should know of; ``?stale=1h`` says what is too old."""
    at_hand = services()
    store, config, now = at_hand.store, at_hand.config, at_hand.clock()
    totals, most_seconds = store.totals(), stale_seconds(request.args)
    failed = store.find_groups(GroupQuery(sort=GroupSort.FAILED, state=GroupState.FAILED, limit=_LISTED))
    stale = store.find_groups(
        GroupQuery(state=GroupState.STALE, limit=_LISTED, stale_before_seconds=now - most_seconds)
    )
    activity = at_hand.activity.recent(now)
    return page(
        "overview.html",
        totals=totals,
        stored=_stored(totals, config.limits),
        uptime=now - at_hand.telemetry.started_at_seconds,
        charts=_charts(activity),
        minutes=tuple(reversed(activity.minutes)),
        failed=failed,
        failed_groups=_groups(failed),
        stale=stale,
        stale_groups=_groups(stale),
        stale_asked=request.args.get("stale"),
        stale_text=_span(most_seconds),
        latest=_groups(store.find_groups(GroupQuery(limit=_LATEST))),
        slowest=_pushers(activity.slowest),
        largest=_pushers(activity.largest),
        web_config_problem=at_hand.web_config_problem(),
        first_push=group_commands(base_url(), "job/my_first_job")[1].text,
    )


def _span(seconds: float) -> str:
    """Return a length of time; hours are hours for two days: 26 h is what one means by more than a day."""
    hours = seconds / 3600
    return f"{hours:.0f} h" if hours.is_integer() and hours <= 48 else readable(seconds, Quantity.SECONDS)


def _stored(totals: Totals, limits: Limits) -> tuple[_Stored, ...]:
    pairs = (
        ("Groups", totals.groups, limits.groups),
        ("Families", totals.families, limits.families),
        ("Series", totals.series, limits.series),
    )
    return tuple(
        _Stored(name, count, readable(limit) if limit else "", charts.share(count, limit))
        for name, count, limit in pairs
    )


def _charts(activity: Activity) -> tuple[charts.Chart, charts.Chart]:
    pushes = [(one.at_seconds, one.pushes) for one in activity.minutes]
    refusals = [(one.at_seconds, one.refusals) for one in activity.minutes]
    return (
        charts.columns("Pushes a minute", pushes, noun="pushes"),
        charts.columns("Refusals a minute", refusals, noun="refusals"),
    )


def _groups(found: GroupPage) -> list[_Group]:
    keys = [GroupingKey.of(json.loads(summary.key)) for summary in found.groups]
    return [_Group(key.job_first, group_path(key), one) for key, one in zip(keys, found.groups, strict=True)]


def _pushers(pushers: Sequence[Pusher]) -> list[_Pusher]:
    keys = [(GroupingKey.of(one.group), one) for one in pushers[:_RANKED]]
    return [_Pusher(key.job_first, "" if one.cut else group_path(key), one) for key, one in keys]
