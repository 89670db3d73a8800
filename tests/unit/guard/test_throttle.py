from __future__ import annotations

import multiprocessing
import os

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


def _take(throttle: Throttle, taken: list[int], count: int) -> None:
    # A list of one shared number would need a lock of its own; each process has its own place.
    os.write(taken[1], bytes(throttle.allow(RateLimit(1000.0, 100)) for _ in range(count)))


def test_all_processes_share_one_bucket() -> None:
    """Four processes that take as fast as they can get exactly what one would."""
    throttle = Throttle(Clock(), patience_seconds=20.0)
    pipe = list(os.pipe())
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_take, args=(throttle, pipe, 500)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    os.close(pipe[1])
    with open(pipe[0], "rb") as file:
        assert sum(file.read()) == 100


def test_a_process_that_is_stopped_with_the_lock_holds_nobody() -> None:
    """Who finds the lock taken goes on without it."""
    throttle = Throttle(Clock())
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()

    def hold() -> None:
        assert throttle._lock()
        ready.set()
        done.wait(20)

    process = context.Process(target=hold)
    process.start()
    try:
        assert ready.wait(20)
        assert [throttle.allow(RateLimit(1.0, 2)) for _ in range(3)] == [True, True, False]
    finally:
        done.set()
        process.join()
    assert throttle._lock(), "the lock goes with its process"


@pytest.mark.parametrize("interval", [1e-9, 1e6])
def test_extreme_intervals(interval: float) -> None:
    """A nanosecond allows whatever comes; eleven days allow the burst."""
    clock = Clock()
    throttle = Throttle(clock)
    assert throttle.allow(RateLimit(interval, 1))
    clock.now += 1
    assert throttle.allow(RateLimit(interval, 1)) is (interval < 1)
