"""When is a job due, across clocks that change, early starts and long runs?"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

import pytest

from pymetrics_sdk import ConfigError
from pymetrics_sdk.schedule import Schedule, local_zone

BERLIN = ZoneInfo("Europe/Berlin")


def berlin(text: str) -> float:
    """Unix time of a moment in Berlin."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


def daily(hour: int = 3) -> Schedule:
    """Every night in Berlin."""
    schedule = Schedule.of(cron=f"0 {hour} * * *", zone="Europe/Berlin", every=None)
    assert schedule is not None
    return schedule


@pytest.mark.parametrize(
    ("started", "slot"),
    [
        ("2026-01-10T03:00:00", "2026-01-10T03:00:00"),
        ("2026-01-10T03:07:00", "2026-01-10T03:00:00"),
        ("2026-01-10T02:59:58", "2026-01-10T03:00:00"),
        ("2026-01-10T02:58:00", "2026-01-09T03:00:00"),
        ("2026-01-10T14:00:00", "2026-01-10T03:00:00"),
    ],
)
def test_a_run_belongs_to_the_slot_for_which_it_was_started(started: str, slot: str) -> None:
    """Two seconds early is the coming slot's run, two minutes early is not."""
    assert daily().slot_of(berlin(started)) == berlin(slot)


def test_early_starts_of_frequent_jobs_are_judged_by_their_interval() -> None:
    """Half a minute early is nothing for a nightly job, and half the interval of one that runs every minute."""
    every_minute = Schedule(cron="* * * * *", zone="UTC")
    slot = datetime(2026, 1, 10, 12, 1, tzinfo=UTC).timestamp()
    assert every_minute.slot_of(slot - 2) == slot
    assert every_minute.slot_of(slot - 30) == slot - 60


def test_the_spring_night_has_a_slot_although_its_hour_is_missing() -> None:
    """02:30 does not exist on 2026-03-29 in Berlin: the job is due at 03:00, once."""
    schedule = Schedule(cron="30 2 * * *", zone="Europe/Berlin")
    first = schedule.next_after(berlin("2026-03-28T12:00:00"))
    assert datetime.fromtimestamp(first, BERLIN).isoformat() == "2026-03-29T03:00:00+02:00"
    assert datetime.fromtimestamp(schedule.next_after(first), BERLIN).isoformat() == "2026-03-30T02:30:00+02:00"


def test_the_autumn_night_has_one_slot_although_its_hour_comes_twice() -> None:
    """02:30 comes twice on 2026-10-25 in Berlin: the job is due once."""
    schedule = Schedule(cron="30 2 * * *", zone="Europe/Berlin")
    first = schedule.next_after(berlin("2026-10-24T12:00:00"))
    second = schedule.next_after(first)
    assert datetime.fromtimestamp(first, BERLIN).isoformat() == "2026-10-25T02:30:00+02:00"
    assert second - first == 25 * 3600


def test_an_interval_starts_when_the_run_does() -> None:
    """every="15m" has no grid: the next run is due that long after this one."""
    schedule = Schedule.of(cron=None, zone=None, every="15m")
    assert schedule is not None
    assert schedule.slot_of(1000.0) == 1000.0
    assert schedule.next_after(1000.0) == 1900.0


@pytest.mark.parametrize(
    "arguments",
    [
        {"cron": "0 2 * *", "zone": None, "every": None},
        {"cron": "0 0 31 2 *", "zone": None, "every": None},
        {"cron": "0 2 * * *", "zone": "Mars/Olympus", "every": None},
        {"cron": "0 2 * * *", "zone": None, "every": "5m"},
        {"cron": None, "zone": "UTC", "every": None},
    ],
)
def test_schedules_that_cannot_be_are_refused_when_the_job_is_made(arguments: dict[str, str | None]) -> None:
    """A wrong expression, a date that never comes, an unknown zone, both kinds at once."""
    with pytest.raises(ConfigError):
        Schedule.of(**arguments)


def zone_file() -> Path:
    """The file of Berlin's rules."""
    return next(path for path in (Path(each) / "Europe/Berlin" for each in TZPATH) if path.exists())


@pytest.fixture
def machine_in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The machine's local time is Berlin's."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("after", "due"),
    [
        ("2026-03-28T04:00:01", "2026-03-29T04:00:00"),
        ("2026-10-24T04:00:01", "2026-10-25T04:00:00"),
        ("2026-10-25T04:00:01", "2026-10-26T04:00:00"),
    ],
)
def test_the_machines_zone_has_rules_and_not_only_an_offset(
    machine_in_berlin: pytest.MonkeyPatch, after: str, due: str
) -> None:
    """Without a time zone, a schedule follows the machine's clock across its changes, however the zone is given."""
    assert Schedule(cron="0 4 * * *").next_after(berlin(after)) == berlin(due)
    machine_in_berlin.setenv("TZ", str(zone_file()))
    assert Schedule(cron="0 4 * * *").next_after(berlin(after)) == berlin(due)


def test_the_machines_zone_is_found_where_systems_keep_it(
    machine_in_berlin: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """TZ may be a name, with a colon or without, or a file; without TZ, /etc/localtime counts, a link or a copy."""
    file = zone_file()
    copy = tmp_path / "localtime"
    shutil.copy(file, copy)
    winter, summer = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)

    def hours() -> list[int]:
        zone = local_zone(localtime=copy)
        return [moment.astimezone(zone).hour for moment in (winter, summer)]

    for value in ("Europe/Berlin", ":Europe/Berlin", str(file), f":{copy}"):
        machine_in_berlin.setenv("TZ", value)
        assert hours() == [1, 2]
    machine_in_berlin.setenv("TZ", "")
    assert hours() == [0, 0]
    machine_in_berlin.delenv("TZ")
    assert hours() == [1, 2]


@pytest.mark.parametrize("value", ["CET-1CEST,M3.5.0,M10.5.0/3", "Mars/Olympus", "/nonexistent"])
def test_a_zone_that_cannot_be_read_falls_back_to_an_offset(machine_in_berlin: pytest.MonkeyPatch, value: str) -> None:
    """What zoneinfo does not know breaks no job."""
    machine_in_berlin.setenv("TZ", value)
    assert Schedule(cron="0 4 * * *").next_after(0.0) > 0
