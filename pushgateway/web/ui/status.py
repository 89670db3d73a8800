"""What is this gateway, how is it set up, and how is everything in it deleted?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Final

from flask import Response, request

from pushgateway import storage
from pushgateway.config import OPTIONS, Config, load
from pushgateway.display.quantities import readable
from pushgateway.model import Totals, Wipe
from pushgateway.values import bytes_text, go_duration, redact
from pushgateway.web.handlers import services
from pushgateway.web.ui import charts
from pushgateway.web.ui.frame import page, see

__all__ = ["status", "wipe"]

WIPE_WORDS: Final = "delete all groups"
"""What has to be typed before everything is deleted."""

_LIMIT: Final = "limit."

_SQLITE_FILES: Final = ("", "-wal")
"""What of a database takes space: itself, and what was written lately. The file -shm is a map of the latter."""


@dataclass(frozen=True, slots=True)
class _Flag:
    """A setting as the page shows it; `changed` says that it is not the default."""

    name: str
    value: str
    help: str
    changed: bool


@dataclass(frozen=True, slots=True)
class _Limit:
    """A limit as the page shows it.

    Attributes:
        name: As errors name it.
        value: With its unit; "none" where there is no limit.
        flag: What sets it, "" where nothing does.
        used: How much of it is stored, "" where that cannot be told.
        percent: The same in percent.
    """

    name: str
    value: str
    flag: str
    used: str
    percent: float


def status() -> Response:
    """Show what runs and where it keeps what it has, every limit and every flag."""
    return _page()


def wipe() -> Response:
    """Delete every group, if the words have been typed; else show the page again and say which."""
    if request.form.get("confirm", "").strip() != WIPE_WORDS:
        return _page(problem="Nothing was deleted: the words were not the right ones.")
    at_hand = services()
    at_hand.apply(Wipe(), request.environ)
    if at_hand.diagnosis.wants_done():
        at_hand.diagnosis.note_done(request.environ, 303, "all groups deleted")
    return see("status", wiped="yes")


def _page(*, problem: str = "") -> Response:
    at_hand = services()
    config, totals = at_hand.config, at_hand.store.totals()
    return page(
        "status.html",
        build=at_hand.telemetry.build,
        started=at_hand.telemetry.started_at_seconds,
        uptime=at_hand.clock() - at_hand.telemetry.started_at_seconds,
        config=config,
        storage_kind=_storage_kind(config.storage_url),
        storage_url=redact(config.storage_url),
        storage_bytes=_file_bytes(config.storage_url),
        totals=totals,
        web_config_problem=at_hand.web_config_problem(),
        limits=list(_limits(config, totals)),
        flags=_flags(config),
        wipe_words=WIPE_WORDS,
        wiped=request.args.get("wiped") == "yes" and not totals.groups,
        problem=problem,
    )


def _storage_kind(url: str) -> str:
    if storage.is_shared(url):
        return "PostgreSQL"
    return "SQLite" if storage.parse_url(url) else "SQLite, temporary: gone at exit"


def _file_bytes(url: str) -> int:
    """Return how large the database is on disk, 0 if it is elsewhere."""
    path, size = storage.parse_url(url), 0
    for ending in _SQLITE_FILES if path else ():
        with suppress(OSError):  # it is gone, of which the health tells
            size += os.stat(path + ending).st_size
    return size


def _flags(config: Config) -> list[_Flag]:
    shown = [one for one in OPTIONS if not one.name.startswith(_LIMIT)]
    values = {one.name: config.flags.get(one.name, "") for one in shown}
    usual = _usual_flags()
    return [_Flag(one.name, values[one.name], one.help, values[one.name] != usual[one.name]) for one in shown]


@cache
def _usual_flags() -> Mapping[str, str]:
    """Return the flags of a gateway of which nothing was set, in the spelling that `Config` has."""
    return load({}, {}).flags


def _limits(config: Config, totals: Totals) -> Iterator[_Limit]:
    flags = {one.name for one in OPTIONS}
    for field, value in config.limits._asdict().items():
        name = field.replace("_", "-")
        used = getattr(totals, field, None)
        yield _Limit(
            name=name,
            value=_limit_text(name, value),
            flag=f"--{_LIMIT}{name}" if _LIMIT + name in flags else "",
            used="" if used is None else readable(used),
            percent=charts.share(used or 0, value),
        )


def _limit_text(name: str, value: float) -> str:
    if name.endswith("-bytes"):
        return bytes_text(int(value))
    if name.endswith("-seconds"):
        return go_duration(Decimal(str(value)))
    return readable(value) if value else "none"
