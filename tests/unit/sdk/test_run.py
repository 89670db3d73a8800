"""What may a job tell its run, and what happens to what makes no sense?"""

from __future__ import annotations

import asyncio
import enum
import logging
import sys
import threading
import types
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pymetrics_sdk import Job
from pymetrics_sdk.cells import OVERFLOW, Scope
from pymetrics_sdk.run import MAX_STAGES, Run
from pymetrics_sdk.testing import InMemoryGateway


def records(gateway: InMemoryGateway, outcome: str) -> float:
    """The records of the job `run`."""
    return gateway.group(job="run")["batch_job_records", {"outcome": outcome}]


class Lazy:
    """A collection that cannot say how long it is, as a lazy query set whose connection is gone."""

    def __len__(self) -> int:
        raise ConnectionError("secret")

    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])


class NoTime(datetime):
    """A datetime without a Unix time, as pandas.NaT is."""

    def timestamp(self) -> float:
        """Not a number."""
        return float("nan")


def test_a_length_that_cannot_be_had_is_no_length(gateway: InMemoryGateway) -> None:
    """Records whose len() raises are iterated over all the same, without an expected number."""
    with Job("run") as run:
        assert list(run.track(Lazy())) == [1, 2]
        assert run.expected is None
    assert records(gateway, "processed") == 2


@pytest.mark.parametrize("moment", [datetime.min, NoTime(2024, 1, 1), float("nan"), float("inf"), "2024", None])
def test_a_watermark_that_is_no_time_is_dropped(moment: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What has no finite Unix time is logged, raises nothing and leaves the newest moment as it was."""
    run = Run(Scope())
    run.watermark(datetime(2024, 1, 1, tzinfo=UTC))
    run.watermark(moment)
    assert run.newest == 1704067200.0
    assert "watermark() is dropped" in caplog.text


@pytest.mark.parametrize("amount", ["3", None, float("nan"), -1, [1]])
def test_an_amount_that_is_no_number_is_dropped(amount: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A record with a senseless amount is logged and neither raises nor counts."""
    run = Run(Scope())
    run.record("read", amount)
    assert run.seen == 0
    assert "is dropped" in caplog.text


def test_an_expected_number_that_is_none_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """track(expected="3") is logged and iterates."""
    run = Run(Scope())
    wrong: Any = "3"
    assert list(run.track([1, 2], expected=wrong)) == [1, 2]
    assert run.expected is None
    assert "expected='3' is dropped" in caplog.text


def test_concurrent_loops_do_not_touch_each_others_records(gateway: InMemoryGateway) -> None:
    """A record that fails in one task's loop takes nothing from what another task's loop processed."""

    async def work(run: Run, *, fails: bool) -> None:
        for _ in run.track(range(10)):
            await asyncio.sleep(0)
            if fails:
                run.record("failed")
            await asyncio.sleep(0)

    async def main() -> None:
        async with Job("run") as run:
            await asyncio.gather(work(run, fails=True), work(run, fails=False))

    asyncio.run(main())
    assert (records(gateway, "processed"), records(gateway, "failed")) == (10, 10)


def test_loops_in_threads_do_not_touch_each_others_records(gateway: InMemoryGateway) -> None:
    """A record that fails in one thread's loop takes nothing from what another thread's loop processed."""
    handed_out, failed = threading.Barrier(2, timeout=5.0), threading.Barrier(2, timeout=5.0)

    def work(run: Run, *, fails: bool) -> None:
        for _ in run.track([1]):
            handed_out.wait()
            if fails:
                run.record("failed")
            failed.wait()

    with Job("run") as run:
        thread = threading.Thread(target=work, args=(run,), kwargs={"fails": True})
        thread.start()
        work(run, fails=False)
        thread.join()
    assert (records(gateway, "processed"), records(gateway, "failed")) == (1, 1)


def test_a_failure_belongs_to_the_innermost_loop(gateway: InMemoryGateway) -> None:
    """In nested loops the inner one's record failed; after a `break` it is the outer one's turn again."""
    with Job("run") as run:
        for chunk in run.track([[1, 2], [3]]):
            for number in run.track(chunk):
                if number == 1:
                    run.record("failed")
                    continue
                break
            if chunk == [3]:
                run.record("skipped")
    assert [records(gateway, outcome) for outcome in ("read", "processed", "failed", "skipped")] == [5, 1, 1, 1]


def test_a_failure_in_a_helper_task_reaches_the_loop_that_made_it(gateway: InMemoryGateway) -> None:
    """A task made for a record carries the loop's context, in an asynchronous loop too."""

    async def source() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def check(run: Run, number: int) -> None:
        if number == 1:
            run.record("skipped")

    async def main() -> None:
        async with Job("run") as run:
            async for number in run.track(source()):
                await asyncio.create_task(check(run, number))

    asyncio.run(main())
    assert [records(gateway, outcome) for outcome in ("read", "processed", "skipped")] == [2, 1, 1]


def test_a_metric_of_a_run_is_made_once() -> None:
    """Asking for the same metric in a loop leaves one definition behind, and each answer counts into one series."""
    scope = Scope("x")
    run = Run(scope, run_id="x")
    before = len(scope._bound)
    for _ in range(100):
        run.counter("rows_total", "Rows.").inc()
        run.gauge("level", "Level.", ["kind"]).labels("a").set(1)
        run.histogram("size", "Size.", buckets=[1, 2]).observe(1)
    assert len(scope._bound) == before + 3
    assert run.counter("rows_total", "Rows.")._cell().values == [100.0]


class Step(enum.Enum):
    """A stage that is no string."""

    LOAD = 1


def test_a_stage_of_another_type_becomes_a_string(gateway: InMemoryGateway) -> None:
    """A number or an enum's member as a stage's name does not cost the final push."""
    names: list[Any] = [1, Step.LOAD]
    with Job("run") as run:
        for name in names:
            with run.stage(name):
                pass
    group = gateway.group(job="run")
    assert ("batch_job_stage_duration_seconds", {"stage": "1"}) in group
    assert ("batch_job_stage_duration_seconds", {"stage": "Step.LOAD"}) in group


def test_a_stage_without_a_name_is_not_timed(caplog: pytest.LogCaptureFixture) -> None:
    """The empty stage is the rest of the run, which a stage must not pass for."""
    run = Run(Scope())
    with caplog.at_level(logging.WARNING), run.stage(""):
        pass
    assert run.stages == {}
    assert "without a name" in caplog.text


def test_too_many_stages_share_one() -> None:
    """Stage names made from data end in one overflow stage, which is counted."""
    scope = Scope()
    run = Run(scope)
    for number in range(MAX_STAGES + 20):
        with run.stage(f"f{number}"):
            pass
    assert len(run.stages) == MAX_STAGES + 1
    assert OVERFLOW in run.stages
    assert scope.overflows == {"batch_job_stage_duration_seconds": 20}


def test_a_stage_that_failed_has_not_ended_well() -> None:
    """A stage that is entered again and fails loses the good end that it had."""
    run = Run(Scope())
    with run.stage("load"):
        pass
    with pytest.raises(ValueError, match="no"), run.stage("load"):
        raise ValueError("no")
    assert "load" not in run.stage_ends


def test_an_exception_counts_once_a_run() -> None:
    """A run that took the place of another one in memory counts an exception that the other one has counted."""
    error = ValueError("x")
    for run_id in ("a", "b"):
        run = Run(Scope(run_id), run_id=run_id)
        counted: list[str] = []
        run.count_error = counted.append  # type: ignore[method-assign]
        run.count_exception(error)
        run.count_exception(error)
        assert counted == ["ValueError"]
        assert vars(error)["_pymetrics_counted_by"] >= {run_id}


class Broken:
    """A tqdm that cannot be used."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise AttributeError("half installed")


def test_a_broken_progress_bar_is_none(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A tqdm that fails is logged, and the records are iterated over without it."""
    module = types.ModuleType("tqdm")
    vars(module)["tqdm"] = Broken
    monkeypatch.setitem(sys.modules, "tqdm", module)
    assert list(Run(Scope()).track([1, 2], progress=True)) == [1, 2]
    assert "no progress bar" in caplog.text


def test_a_tqdm_that_cannot_be_imported_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tqdm whose own imports fail counts as not installed."""
    (tmp_path / "tqdm.py").write_text("import no_such_module_at_all")
    monkeypatch.delitem(sys.modules, "tqdm", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(Run(Scope()).track([1, 2], progress=True)) == [1, 2]
