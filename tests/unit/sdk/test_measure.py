"""Are functions of every kind measured right, and left what they are?"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from pymetrics_sdk import SLO, Job, Skip, cells, measure
from pymetrics_sdk import measure as measure_function
from pymetrics_sdk.testing import InMemoryGateway


class Readings:
    """What has been measured in one run."""

    def __init__(self, gateway: InMemoryGateway) -> None:
        self.group = gateway.group(job="measured")

    def calls(self, function: str, result: str = "ok", error_type: str = "") -> float:
        """Calls that ended so."""
        labels = {"result": result, "function": function}
        return self.group.total(
            "function_calls_total", {**labels, **({"error_type": error_type} if error_type else {})}
        )

    def seconds(self, function: str) -> float:
        """Their total duration."""
        return self.group.total("function_calls_duration_seconds_sum", {"function": function})

    def in_flight(self) -> float:
        """Calls under way."""
        return self.group.total("function_calls_concurrent")


@pytest.fixture
def run(gateway: InMemoryGateway) -> Callable[[Callable[[], Any]], Readings]:
    """Runs a function as a job and returns what was measured in it."""

    def call(function: Callable[[], Any]) -> Readings:
        with Job("measured"):
            function()
        return Readings(gateway)

    return call


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Replaces the clock of `measure` by one that a test moves on."""
    now = [100.0]
    monkeypatch.setattr(sys.modules["pymetrics_sdk.measure"], "perf_counter", lambda: now[0])

    def tick(seconds: float) -> None:
        now[0] += seconds

    return tick


def test_a_function(run: Any, ticks: Any) -> None:
    """Calls, their result, their duration; the value and the exception are the function's own."""

    @measure
    def work(value: int) -> int:
        """Docs."""
        ticks(0.5)
        if value < 0:
            raise ValueError(value)
        return value * 2

    def main() -> None:
        assert work(2) == 4
        with pytest.raises(ValueError, match="-1"):
            work(-1)

    assert (work.__name__, work.__doc__) == ("work", "Docs.")
    found = run(main)
    name = "test_a_function.<locals>.work"
    assert (found.calls(name), found.calls(name, "error", "ValueError")) == (1, 1)
    assert found.seconds(name) == 1.0
    assert found.in_flight() == 0


def test_a_coroutine_is_timed_to_its_end_and_not_to_its_creation(run: Any, ticks: Any) -> None:
    """An async def takes as long as its body, and stays a coroutine function."""

    @measure(name="work")
    async def work() -> int:
        ticks(1.0)
        await asyncio.sleep(0)
        ticks(1.0)
        return 3

    assert inspect.iscoroutinefunction(work)
    found = run(lambda: asyncio.run(work()))
    assert (found.calls("work"), found.seconds("work")) == (1, 2.0)


def test_a_generator_is_timed_to_its_last_item(run: Any, ticks: Any) -> None:
    """A generator takes as long as it is iterated over; send, throw, close and the return value pass through."""

    @measure(name="work")
    def work() -> Iterator[int]:
        got = yield 1
        ticks(1.0)
        try:
            yield got
        except KeyError:
            yield 99
        return "end"

    def main() -> None:
        steps = work()
        assert next(steps) == 1
        assert steps.send(5) == 5
        assert steps.throw(KeyError("x")) == 99
        with pytest.raises(StopIteration) as end:
            next(steps)
        assert end.value.value == "end"
        early = work()
        next(early)
        early.close()

    assert inspect.isgeneratorfunction(work)
    found = run(main)
    assert (found.calls("work"), found.calls("work", "error"), found.seconds("work")) == (2, 0, 1.0)
    assert found.in_flight() == 0


def test_an_asynchronous_generator(run: Any, ticks: Any) -> None:
    """Items, values sent in, exceptions thrown in and an early end pass through; closing it is no error."""

    @measure(name="work")
    async def work() -> AsyncIterator[int]:
        got = yield 1
        ticks(1.0)
        try:
            yield got
        except KeyError:
            yield 99

    async def main() -> None:
        steps = work()
        assert await anext(steps) == 1
        assert await steps.asend(5) == 5
        assert await steps.athrow(KeyError("x")) == 99
        with pytest.raises(StopAsyncIteration):
            await anext(steps)
        early = work()
        await anext(early)
        await early.aclose()

    assert inspect.isasyncgenfunction(work)
    found = run(lambda: asyncio.run(main()))
    assert (found.calls("work"), found.calls("work", "error"), found.seconds("work")) == (2, 0, 1.0)
    assert found.in_flight() == 0


def test_partials_methods_and_callable_objects(run: Any) -> None:
    """Partials, static and class methods in either order, and objects with an async __call__ are what they were."""

    async def coroutine(value: int) -> int:
        return value

    class Callable_:  # noqa: N801 -- a test's own
        async def __call__(self) -> int:
            return 7

    class Holder:
        @measure(name="outer-static")
        @staticmethod
        def outer_static(value: int) -> int:
            return value

        @staticmethod
        @measure(name="inner-static")
        def inner_static(value: int) -> int:
            return value

        @measure(name="outer-class")
        @classmethod
        def outer_class(cls) -> str:
            return cls.__name__

        @classmethod
        @measure(name="inner-class")
        def inner_class(cls) -> str:
            return cls.__name__

        @measure(name="method")
        def method(self) -> object:
            return self

    partial = measure(functools.partial(coroutine, 5))
    instance = measure(Callable_())

    def main() -> None:
        assert asyncio.run(partial()) == 5
        assert asyncio.run(instance()) == 7
        holder = Holder()
        assert (Holder.outer_static(1), holder.inner_static(2)) == (1, 2)
        assert (Holder.outer_class(), holder.inner_class()) == ("Holder", "Holder")
        assert holder.method() is holder

    assert inspect.iscoroutinefunction(partial)
    assert inspect.iscoroutinefunction(instance)
    found = run(main)
    for name in ("outer-static", "inner-static", "outer-class", "inner-class", "method"):
        assert found.calls(name) == 1
    assert found.calls("test_partials_methods_and_callable_objects.<locals>.coroutine") == 1
    assert found.calls("test_partials_methods_and_callable_objects.<locals>.Callable_") == 1


def test_a_cancelled_task_leaves_every_gauge_at_zero(run: Any) -> None:
    """Cancellation in the middle of a call, or before it begins, leaves nothing in flight."""

    @measure(name="work")
    async def work() -> None:
        await asyncio.sleep(30)

    async def main() -> None:
        tasks = [asyncio.create_task(work()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(work()))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    found = run(lambda: asyncio.run(main()))
    assert found.in_flight() == 0
    assert found.calls("work", "error", "CancelledError") == 3


def test_ways_to_end_well(run: Any) -> None:
    """A skip and sys.exit(0) are no errors of the function; sys.exit(1) is one."""

    @measure(name="work")
    def work(error: BaseException) -> None:
        raise error

    def main() -> None:
        for error in (Skip(), SystemExit(0), SystemExit(None), SystemExit(1)):
            with pytest.raises(type(error)):
                work(error)

    found = run(main)
    assert (found.calls("work"), found.calls("work", "error", "SystemExit")) == (3, 1)


def test_recursion_and_nesting(run: Any) -> None:
    """A function that calls itself is counted at each depth."""

    @measure(name="work")
    def work(depth: int) -> int:
        return depth if depth == 0 else work(depth - 1)

    found = run(lambda: work(4))
    assert (found.calls("work"), found.in_flight()) == (5, 0)


def test_objectives_are_labels(gateway: InMemoryGateway) -> None:
    """An SLO is carried by the counter and the histogram, with the function's name unless it has its own."""

    @measure(slo=SLO(success=99.9, latency=("250ms", 99)), name="charge")
    def charge() -> None: ...

    with Job("measured"):
        charge()
    group = gateway.group(job="measured")
    objective = {"objective_name": "charge", "objective_percentile": "99.9"}
    assert group.total("function_calls_total", objective) == 1
    latency = {"objective_name": "charge", "objective_percentile": "99", "objective_latency_threshold": "0.25"}
    assert group.total("function_calls_duration_seconds_count", latency) == 1


def test_messages_and_arguments_are_never_exported(gateway: InMemoryGateway) -> None:
    """Of an exception only its class's name is seen."""

    @measure(name="work")
    def work(secret: str) -> None:
        raise ValueError(secret)

    with Job("measured"), pytest.raises(ValueError, match="hunter2"):
        work("hunter2")
    assert "hunter2" not in "".join(push.body for push in gateway.pushes)


def test_a_failure_of_the_sdk_is_not_the_functions(gateway: InMemoryGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """If measuring fails, the function is called all the same, and the failure is counted."""

    @measure(name="work")
    def work() -> int:
        return 5

    def broken(*_: object) -> None:
        raise RuntimeError("inside the SDK")

    with Job("measured"):
        monkeypatch.setattr(sys.modules["pymetrics_sdk.measure"], "current_scope", broken)
        assert work() == 5
    assert gateway.group(job="measured")["pymetrics_internal_errors_total"] == 1


def test_numbers_before_a_fork_are_not_the_childs() -> None:
    """What a scope forgets at a fork is forgotten by measured functions too, which keep references to their series."""

    @measure(name="forked")
    def work() -> None: ...

    work()
    cells.process_scope.forget()
    work()
    value = cells.process_scope.registry.get_sample_value(
        "function_calls_total",
        {"function": "forked", "module": __name__, "result": "ok", "error_type": "", "objective_name": "",
         "objective_percentile": ""},
    )  # fmt: skip
    assert value == 1
    assert measure_function is measure
