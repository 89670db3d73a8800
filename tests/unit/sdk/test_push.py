"""When is a push tried again, after what wait, and with what reason does it end? Time is the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pymetrics_sdk import push as push_module
from pymetrics_sdk.environment import Settings
from pymetrics_sdk.errors import TransportError
from pymetrics_sdk.grouping import GroupingKey
from pymetrics_sdk.push import Client, Outcome
from pymetrics_sdk.spec import JobSpec
from pymetrics_sdk.transport import SCHEMES, Deadline, Request, Response

KEY = GroupingKey.of("x")


class Scene:
    """A client whose clock moves only when it waits, and whose answers are scripted."""

    def __init__(self, *answers: Response | TransportError) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self.sent: list[Request] = []
        self._answers = iter(answers)
        self._last = answers[-1]

    def open(self, settings: Settings) -> Scene:
        """Be the transport."""
        return self

    def send(self, request: Request, deadline: Deadline) -> Response:
        """Give the next answer."""
        self.sent.append(request)
        answer = next(self._answers, self._last)
        if isinstance(answer, TransportError):
            raise answer
        return answer

    def close(self) -> None:
        """Do nothing."""

    def sleep(self, seconds: float, deadline: Deadline) -> None:
        """Note the wait and move the clock."""
        self.waits.append(seconds)
        self.now += seconds

    def push(self, body: bytes = b"x 1\n", *, seconds: float = 5.0, jitter: float = 1.0) -> Outcome:
        """Push once, with all retries."""
        settings = Settings(gateway_url="scene://gw")
        client = Client(settings, clock=lambda: self.now, sleep=self.sleep, jitter=lambda: jitter)
        return client.push(KEY, body, deadline=Deadline(seconds, clock=lambda: self.now))


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes a scene of answers."""

    def make(*answers: Response | TransportError) -> Scene:
        scene = Scene(*answers)
        monkeypatch.setitem(SCHEMES, "scene", scene.open)
        return scene

    return make


def test_a_good_answer_is_the_end(play: Any) -> None:
    """Every 2xx is a success, the 202 of an unchecked gateway too."""
    for status in (200, 202, 204):
        scene = play(Response(status))
        assert scene.push().ok
        assert len(scene.sent) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(play: Any, status: int) -> None:
    """Overload and broken gateways get another attempt."""
    scene = play(Response(status), Response(200))
    outcome = scene.push()
    assert (outcome.ok, outcome.attempts) == (True, 2)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 404, 413, 415, 422])
def test_what_will_not_change_is_not_tried_again(play: Any, status: int) -> None:
    """A refusal is final."""
    scene = play(Response(status, b"because"))
    outcome = scene.push()
    assert (outcome.ok, outcome.attempts, outcome.status) == (False, 1, status)


def test_no_answer_is_tried_again_until_the_deadline(play: Any) -> None:
    """Attempts go on while the deadline lasts; the reason is that of the last one."""
    scene = play(TransportError("Connection refused"))
    outcome = scene.push(seconds=1.0)
    assert not outcome.ok
    assert "Connection refused" in outcome.reason
    assert scene.now <= 1.0
    assert outcome.attempts > 2


def test_waits_grow_with_full_jitter(play: Any) -> None:
    """The ceiling of each wait doubles up to 2 s; chance takes a share of it."""
    scene = play(Response(503))
    scene.push(seconds=60, jitter=1.0)
    assert scene.waits[:6] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0]
    scene = play(Response(503))
    scene.push(seconds=3, jitter=0.5)
    assert scene.waits[:3] == [0.05, 0.1, 0.2]


def test_retry_after_is_obeyed_up_to_the_deadline(play: Any) -> None:
    """A short Retry-After is the wait; one beyond the deadline ends the push at once, in place of waiting in vain."""
    scene = play(Response(429, headers={"retry-after": "2"}), Response(200))
    assert scene.push(seconds=5).ok
    assert scene.waits == [2.0]
    scene = play(Response(429, b"slow", headers={"retry-after": "3600"}))
    assert scene.push(seconds=5) == Outcome(
        ok=False, reason="the gateway answered 429: slow", status=429, attempts=1, seconds=0.0
    )
    scene = play(Response(503, headers={"retry-after": "nonsense"}), Response(200))
    assert scene.push().ok


def test_retry_after_may_be_a_date(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9110 allows an HTTP date."""
    monkeypatch.setattr(push_module.time, "time", lambda: 784111774.0)
    scene = play(Response(503, headers={"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}), Response(200))
    assert scene.push().ok
    assert scene.waits == [3.0]


def test_large_bodies_are_compressed_and_sent_plain_after_a_400(play: Any) -> None:
    """Above 1 KB a body is gzip; a 400 may mean that nobody there reads gzip, so it goes once more as it is."""
    scene = play(Response(400), Response(200))
    assert scene.push(b"x 1\n" * 1000).ok
    assert [each.headers.get("Content-Encoding") for each in scene.sent] == ["gzip", None]
    assert scene.sent[1].body == b"x 1\n" * 1000
    scene = play(Response(400, b"still"))
    assert scene.push(b"x 1\n" * 1000).attempts == 2
    scene = play(Response(200))
    scene.push(b"x 1\n")
    assert "Content-Encoding" not in scene.sent[0].headers


def test_a_redirect_names_its_target_without_credentials(play: Any) -> None:
    """Following would turn a POST into a GET; the reason says where the gateway is."""
    scene = play(Response(301, headers={"location": "https://user:pw@new/metrics"}))
    assert "redirects to https://new/metrics (301)" in scene.push().reason


def test_reasons_are_bounded(play: Any) -> None:
    """A proxy's error page is cut at 2 KB."""
    scene = play(Response(400, b"x" * 100_000))
    assert len(scene.push().reason) < 2200


def test_an_unknown_scheme_is_a_reason_and_not_an_exception() -> None:
    """A URL with another scheme fails the push with a sentence."""
    outcome = Client(Settings(gateway_url="ftp://gw")).push(KEY, b"", deadline=Deadline(1.0))
    assert not outcome.ok
    assert "ftp" in outcome.reason


def test_a_deadline_can_be_shortened_and_cancelled() -> None:
    """Whoever waits may bring the end forward, never put it off."""
    deadline = Deadline(10.0, clock=lambda: 100.0)
    deadline.shorten(2.0)
    deadline.shorten(5.0)
    assert deadline.remaining() == 2.0
    deadline.cancel()
    assert deadline.remaining() == 0.0


def test_retry_after_zero_is_no_leave_to_hammer(play: Any) -> None:
    """A gateway that says "at once" is still given the wait that every other refusal gets."""
    scene = play(Response(503, headers={"retry-after": "0"}))
    scene.push()
    assert scene.waits[:3] == [0.1, 0.2, 0.4]


@pytest.mark.parametrize("value", ["\u00b2", "\u0663", "99999999999999999999 Jan"])
def test_a_retry_after_that_is_no_number_is_ignored(play: Any, value: str) -> None:
    """Digits that are none to HTTP are as good as no header."""
    scene = play(Response(503, headers={"retry-after": value}), Response(200))
    assert scene.push().ok


def test_a_job_does_not_show_its_gateways_password() -> None:
    """The representation of a job's promises, which ends up in logs, holds no URL."""
    assert "hunter2" not in repr(JobSpec.of("x", gateway="http://user:hunter2@gw:9091"))
