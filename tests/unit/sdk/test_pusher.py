"""Does the final push happen, whatever became of the pushes beside the run?"""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from pymetrics_sdk.push import Outcome
from pymetrics_sdk.pusher import Finish, Pusher
from pymetrics_sdk.transport import Deadline

OK = Outcome(ok=True, status=200)


def test_a_heartbeat_that_no_lock_can_wait_for_does_not_cost_the_final_push() -> None:
    """An interval beyond what a lock can wait for leaves the thread alive that has the final push to do."""
    pusher = Pusher(Mock(), heartbeat=lambda client, deadline: OK, heartbeat_seconds=1e12)
    pusher.send_soon(lambda client, deadline: OK)
    assert pusher.finish(lambda client, deadline: OK, Deadline(5.0)).wait() is OK


def test_a_thread_that_failed_is_followed_by_one_with_the_final_push(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the loop beside the run is counted, and the final push starts anew."""
    pusher = Pusher(Mock(), heartbeat=lambda client, deadline: OK, heartbeat_seconds=60.0)
    monkeypatch.setattr(pusher, "_push_beside", Mock(side_effect=[OverflowError, OverflowError]))
    pusher.send_soon(lambda client, deadline: OK)
    assert pusher.finish(lambda client, deadline: OK, Deadline(5.0)).wait() is OK


def test_the_push_in_flight_is_cut_once() -> None:
    """A push that is still in flight when the final one waits is ended once, not at every look."""
    cut = Mock()
    finish = Finish(Deadline(5.0), cut)
    finish._cuts_at = 0.0
    assert not finish.is_over()
    assert not finish.is_over()
    cut.assert_called_once_with()
