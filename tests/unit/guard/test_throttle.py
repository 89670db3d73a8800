from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.guard import Throttle
from pushgateway.webconfig import RateLimit


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_burst_and_rate() -> None:
    """A full bucket gives its burst at once, then one for each interval, and never more than the burst."""
    clock = Clock()
    throttle, limit = Throttle(clock), RateLimit(0.1, 3)
    assert [throttle.allow(limit) for _ in range(5)] == [True, True, True, False, False]
    clock.now += 0.1
    assert [throttle.allow(limit) for _ in range(2)] == [True, False]
    clock.now += 0.05
    assert not throttle.allow(limit)
    clock.now += 0.05
    assert throttle.allow(limit)
    clock.now += 3600
    assert [throttle.allow(limit) for _ in range(5)] == [True, True, True, False, False]


def test_another_limit() -> None:
    """Rate and burst may be others from one request to the next."""
    clock = Clock()
    throttle = Throttle(clock)
    assert [throttle.allow(RateLimit(10.0, 1)) for _ in range(2)] == [True, False]
    assert throttle.allow(RateLimit(10.0, 2))
    clock.now += 20
    assert throttle.allow(RateLimit(0.001, 1))


@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=50), st.integers(1, 5), st.sampled_from([0.001, 0.1, 0.25, 1.0, 3.0])
)
def test_like_a_bucket(steps: list[float], burst: int, interval: float) -> None:
    """Whatever the times, it answers as a bucket whose tokens are counted one by one, but for rounding."""
    clock = Clock()
    throttle = Throttle(clock)
    tokens = float(burst)
    for step in steps:
        clock.now += step
        tokens = min(float(burst), tokens + step / interval)
        allowed = throttle.allow(RateLimit(interval, burst))
        if abs(tokens - 1) > 1e-6:
            assert allowed is (tokens >= 1)
        tokens -= allowed


# In processes of their own: this one may have threads, beside which nobody should fork.
SHARED = """
import os
from pushgateway.guard import Throttle
from pushgateway.webconfig import RateLimit

throttle = Throttle(lambda: 1000.0, patience_seconds=20.0)
reading, writing = os.pipe()
children = []
for _ in range(4):
    if not (child := os.fork()):
        os.write(writing, bytes(throttle.allow(RateLimit(1000.0, 100)) for _ in range(500)))
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
os.close(writing)
print(sum(open(reading, "rb").read()))
"""

STOPPED = """
import os, signal
from pushgateway.guard import Throttle
from pushgateway.webconfig import RateLimit

throttle = Throttle(lambda: 1000.0)
locked, told = os.pipe()
if not (child := os.fork()):
    throttle._lock()
    os.write(told, b"x")
    signal.pause()
os.read(locked, 1)
print(*(throttle.allow(RateLimit(1.0, 2)) for _ in range(3)))
os.kill(child, 9)
os.waitpid(child, 0)
print(throttle._lock())
"""


def _run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_all_processes_share_one_bucket() -> None:
    """Four processes that take as fast as they can get exactly what one would."""
    assert _run(SHARED) == "100\n"


def test_a_process_that_is_stopped_with_the_lock_holds_nobody() -> None:
    """Who finds the lock taken goes on without it; and the lock goes with its process."""
    assert _run(STOPPED) == "True True False\nTrue\n"


@pytest.mark.parametrize("interval", [1e-9, 1e6])
def test_extreme_intervals(interval: float) -> None:
    """A nanosecond allows whatever comes; eleven days allow the burst."""
    clock = Clock()
    throttle = Throttle(clock)
    assert throttle.allow(RateLimit(interval, 1))
    clock.now += 1
    assert throttle.allow(RateLimit(interval, 1)) is (interval < 1)
