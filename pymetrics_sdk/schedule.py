"""When should a job have run, and when will it run next?"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from pymetrics_sdk.durations import Duration, seconds
from pymetrics_sdk.errors import ConfigError

__all__ = ["Schedule", "local_zone"]

logger = logging.getLogger("pymetrics_sdk")

_LOCALTIME = Path("/etc/localtime")

MAX_EARLY_SECONDS = 60.0
EARLY_SHARE = 0.1
"""A run counts for the next slot if it starts at most a minute, and at most a tenth of the interval, before it: the
clocks of a scheduler and of its nodes differ, so the 03:00 run may start at 02:59:58."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Either a cron expression in a time zone, or an interval.

    Args:
        cron: Five fields (or six with seconds); "" if there is an interval.
        zone: An IANA name; "" for the machine's local time zone. Used with `cron` only.
        every_seconds: The interval; 0 if there is a cron expression.
    """

    cron: str = ""
    zone: str = ""
    every_seconds: float = 0.0

    @classmethod
    def of(cls, *, cron: str | None, zone: str | None, every: Duration | None) -> Schedule | None:
        """Check and normalise what the user gave; None if there is no schedule.

        Raises:
            ConfigError: Both or neither where one is needed, an expression or a time zone that cannot be read.
        """
        if cron is not None and every is not None:
            raise ConfigError("schedule", "give schedule or every, not both")
        if every is not None:
            return cls(every_seconds=seconds(every, setting="every"))
        if cron is None:
            if zone is not None:
                raise ConfigError("tz", "needs a schedule")
            return None
        schedule = cls(cron=cron, zone=zone or "")
        schedule.next_after(0.0)
        return schedule

    def slot_of(self, started_at: float) -> float:
        """Return the Unix time for which a run was planned that started at `started_at`."""
        if self.every_seconds:
            return started_at
        upcoming = self.next_after(started_at)
        interval = self.next_after(upcoming) - upcoming
        if upcoming - started_at <= min(MAX_EARLY_SECONDS, EARLY_SHARE * interval):
            return upcoming
        # One second on, since the search excludes its own start and a run may begin exactly on the slot.
        return next(self._slots(started_at + 1.0, reverse=True)).timestamp()

    def next_after(self, when: float) -> float:
        """Return the Unix time of the first planned start after `when`."""
        if self.every_seconds:
            return when + self.every_seconds
        try:
            return next(self._slots(when, reverse=False)).timestamp()
        except StopIteration:
            raise ConfigError("schedule", f"{self.cron!r} never comes") from None

    def _slots(self, when: float, *, reverse: bool) -> CronSim:
        try:
            zone = ZoneInfo(self.zone) if self.zone else local_zone()
        except (KeyError, ValueError, OSError):
            raise ConfigError(
                "tz", f"{self.zone!r} is no time zone; expected an IANA name like Europe/Berlin"
            ) from None
        moment = datetime.fromtimestamp(when, UTC).astimezone(zone)
        try:
            return CronSim(self.cron, moment, reverse=reverse)
        except CronSimError as error:
            raise ConfigError("schedule", f"{self.cron!r} is no cron expression: {error}") from None


def local_zone(*, localtime: Path = _LOCALTIME) -> tzinfo:
    """Return the machine's time zone with its rules, and not only its offset of today.

    ``datetime.astimezone()`` gives a fixed offset, and with it every slot beyond a change of clocks is an hour off.

    Args:
        localtime: The file that is used where there is no variable TZ; an empty one means UTC, as in tzset(3).
    """
    name = os.environ.get("TZ")
    try:
        if name is None:
            return _zone_of_file(localtime)
        name = name.removeprefix(":") or "UTC"
        return _zone_of_file(Path(name)) if name.startswith("/") else ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # POSIX rules as CET-1CEST,M3.5.0,M10.5.0/3, which zoneinfo does not read, or a container without the file.
        logger.debug("the machine's time zone cannot be read: its present offset is used")
        return datetime.now().astimezone().tzinfo or UTC


def _zone_of_file(path: Path) -> ZoneInfo:
    with path.open("rb") as file:
        return ZoneInfo.from_file(file)
