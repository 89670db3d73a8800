"""Does the gateway go on, and tell what it promises, when the machine's clock jumps?

The clock is one of the test's: `time.time` of all the gateway's processes reads how far it is off from a file. Not
libfaketime: with release 0.9.10, that of Debian 12, each `time.sleep` of Python fails (EINVAL) unless it fakes the
monotonic clock too, which no real jump moves, and by which the gateway counts its limits of time.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Gateway

HOUR = 3600.0
DAY = 24 * HOUR
CLOSE_SECONDS = 60.0
"""How far a time may be from now on a busy machine."""

SERVE = """
import os, sys, time
real, offset = time.time, sys.argv.pop(1)

def shifted():
    with open(offset) as file:
        return real() + float(file.read())

time.time = shifted
from pushgateway.__main__ import main
sys.exit(main())
"""


class Shifted(Gateway):
    """A gateway whose clock is off."""

    def __init__(self, *flags: str) -> None:
        super().__init__(*flags)
        self._offset = self.directory / "offset"
        self.shift(0)

    def command(self) -> list[str]:
        """The command line that starts it."""
        return [sys.executable, "-c", SERVE, str(self._offset), *super().command()[3:]]

    def shift(self, seconds: float) -> None:
        """Set the clock to so many seconds after the right time."""
        written = self._offset.with_suffix(".new")
        written.write_text(str(seconds))
        written.replace(self._offset)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Shifted]:
    """A gateway that tests share."""
    with Shifted() as service:
        service.all_workers()
        yield service


def near(found: float, shift: float) -> bool:
    """Return whether a time is the present of a clock."""
    return abs(found - shift - time.time()) < CLOSE_SECONDS


def test_a_clock_that_jumps(gateway: Shifted) -> None:
    """Whatever the clock shows, pushes are stored with that time, connections live on, and no worker ends."""
    workers = gateway.workers()
    connection = http.client.HTTPConnection(*gateway.address, timeout=20)
    for number, shift in enumerate((0, HOUR, -HOUR, 400 * DAY, -9_000 * DAY, 3 * DAY, -600, 0)):
        gateway.shift(shift)
        connection.request("PUT", "/metrics/job/a", f"x {number}\n")
        response = connection.getresponse()
        response.read()
        assert (response.status, response.will_close) == (200, False)
        scrape = gateway.scrape()
        assert scrape.problems() == []
        assert scrape.value("x", job="a") == number
        assert near(scrape.value("push_time_seconds", job="a"), shift)
        assert gateway.get("/-/ready").text == "OK"
    connection.close()
    assert gateway.workers() == workers
    assert "Traceback" not in gateway.log()


def test_minutes_are_those_of_the_clock(gateway: Shifted) -> None:
    """What was pushed before the clock jumped is not in the last hour's activity, and is again when it jumps back."""

    def pushed() -> int:
        minutes = json.loads(gateway.get("/api/v1/activity").text)["data"]["minutes"]
        assert len(minutes) == 60
        return sum(minute["pushes"] for minute in minutes)

    now, later = 700 * DAY, 700 * DAY + 2 * HOUR
    gateway.shift(now)
    for job in "ab":
        gateway.push(f"job/{job}", b"x 1\n")
    gateway.shift(later)
    assert pushed() == 0
    gateway.push("job/c", b"x 1\n")
    assert pushed() == 1
    gateway.shift(now)
    assert pushed() == 2


def test_a_failure_after_the_clock_was_set_back(gateway: Shifted) -> None:
    """A push that is refused when the clock has been set back is told with that time, and so seems to be the older."""
    gateway.shift(0)
    gateway.push("job/a", b"x 1\n")
    gateway.shift(-HOUR)
    assert gateway.push("job/a", b"x 1\nx 1\n").status == 400
    scrape = gateway.scrape()
    assert near(scrape.value("push_time_seconds", job="a"), 0)
    assert near(scrape.value("push_failure_time_seconds", job="a"), -HOUR)


def test_the_newest_push_after_the_clock_was_set_back() -> None:
    """Unchecked, of a series in two groups the push with the later time wins: the clock says which, not the order."""
    with Shifted("--push.disable-consistency-check") as gateway:
        gateway.push("job/a/l/v", b"x 1\n")
        gateway.shift(-HOUR)
        gateway.push("job/a", b'x{l="v"} 2\n')
        assert gateway.scrape().value("x", job="a", l="v") == 1
        gateway.shift(HOUR)
        gateway.push("job/a", b'x{l="v"} 3\n')
        assert gateway.scrape().value("x", job="a", l="v") == 3


def test_a_start_with_a_clock_that_is_behind(tmp_path: Path) -> None:
    """A gateway starts on a store whose pushes are of the future, and goes on with it."""
    with Shifted(f"--storage.url=sqlite:{tmp_path}/p.db") as gateway:
        gateway.shift(400 * DAY)
        gateway.push("job/a", b"x 1\n")
        gateway.push("job/b", b"y 1\n")
        gateway.terminate()
        gateway.shift(0)
        gateway.start()
        assert gateway.push("job/a", b"x 2\n").status == 200
        scrape = gateway.scrape()
        assert (scrape.value("x", job="a"), scrape.value("y", job="b")) == (2, 1)
        assert near(scrape.value("push_time_seconds", job="a"), 0)
        assert near(scrape.value("push_time_seconds", job="b"), 400 * DAY)
