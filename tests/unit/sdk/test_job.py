"""What is a run, for functions of every kind, and what does its end push?

Long, since the same promises are held to functions, generators and their asynchronous kinds, with one set of fixtures.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from unittest.mock import Mock

import prometheus_client
import pytest

from pymetrics_sdk import ConfigError, Counter, Gauge, Job, PushError, Run, Skip, cells, current_run, lifecycle, skip
from pymetrics_sdk.lifecycle import Life
from pymetrics_sdk.spec import JobSpec
from pymetrics_sdk.testing import InMemoryGateway

SUCCESS = ("batch_job_last_result", {"result": "success"})


def test_a_decorated_function_stays_what_it_is(gateway: InMemoryGateway) -> None:
    """Kind, name, documentation and signature are those of the function."""

    def plain(a: int, *, b: str = "x") -> int:
        """Docs."""
        return a

    async def coroutine() -> None: ...

    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    job = Job("kinds")
    wrapped = job(plain)
    assert (wrapped.__name__, wrapped.__doc__) == ("plain", "Docs.")
    assert inspect.signature(wrapped) == inspect.signature(plain)
    assert inspect.iscoroutinefunction(job(coroutine))
    assert inspect.isgeneratorfunction(job(generator))
    assert inspect.isasyncgenfunction(job(async_generator))
    assert job(functools.partial(plain, 3))() == 3


def test_every_call_is_a_run(gateway: InMemoryGateway) -> None:
    """Two calls are two runs with two ids, and each has exactly one final push."""

    @Job("twice")
    def main(value: int) -> int:
        assert current_run().run_id
        return value

    assert [main(1), main(2)] == [1, 2]
    finals = [push for push in gateway.pushes if "batch_job_last_result" in push.families]
    assert len(finals) == 2
    assert len({push.headers["X-Pymetrics-Run-Id"] for push in finals}) == 2
    assert gateway.group(job="twice")[SUCCESS] == 1


def test_context_managers_of_both_kinds(gateway: InMemoryGateway) -> None:
    """`with` and `async with` give the run, and end it with what left the block."""
    with Job("sync") as run:
        assert isinstance(run, Run)
        assert current_run() is run

    async def main() -> None:
        async with Job("async") as run:
            await asyncio.sleep(0)
            assert current_run() is run

    asyncio.run(main())
    with pytest.raises(ValueError, match="no"), Job("failing"):
        raise ValueError("no")
    assert gateway.group(job="sync")[SUCCESS] == 1
    assert gateway.group(job="async")[SUCCESS] == 1
    assert gateway.group(job="failing")["batch_job_exceptions", {"error_type": "ValueError"}] == 1


def test_generators_are_runs_from_their_first_step_to_their_end(gateway: InMemoryGateway) -> None:
    """Values pass both ways, the run is current inside the generator only, and closing it early is a success."""
    seen: list[str] = []

    @Job("generator")
    def rows() -> Iterator[int]:
        seen.append(current_run().run_id)
        got = yield 1
        assert got == "sent"
        yield 2
        yield 3

    steps = rows()
    assert gateway.groups == []
    assert next(steps) == 1
    assert cells.current.get() is None
    assert steps.send("sent") == 2
    steps.close()
    assert seen[0]
    assert gateway.group(job="generator")[SUCCESS] == 1


def test_two_generators_at_once_never_mix(gateway: InMemoryGateway) -> None:
    """Interleaved generators keep their own runs, and so do the numbers they count."""
    counted = Counter("steps_total", "Steps.", ["name"])

    def steps(name: str) -> Iterator[None]:
        for _ in range(3):
            counted.labels(name).inc()
            yield

    first, second = Job("first")(steps)("a"), Job("hunter2")(steps)("b")
    for _ in zip(first, second, strict=True):
        pass
    assert gateway.group(job="first")["steps_total", {"name": "a"}] == 3
    assert gateway.group(job="hunter2")["steps_total", {"name": "b"}] == 3
    assert gateway.group(job="first").total("steps_total") == 3


def test_asynchronous_generators_are_runs(gateway: InMemoryGateway) -> None:
    """An asynchronous generator's values, exceptions and early end pass through its run."""

    @Job("agen")
    async def rows() -> AsyncIterator[int]:
        assert current_run().run_id
        yield 1
        raise LookupError("gone")

    async def main() -> list[int]:
        got = []
        try:
            async for row in rows():
                got.append(row)
        except LookupError:
            got.append(-1)
        return got

    assert asyncio.run(main()) == [1, -1]
    assert gateway.group(job="agen")["batch_job_exceptions", {"error_type": "LookupError"}] == 1


def test_concurrent_and_recursive_runs_of_one_job_never_mix(gateway: InMemoryGateway) -> None:
    """One Job object used in tasks, threads and by itself gives each run its own numbers."""
    job = Job("shared")
    rows = Counter("own_total", "Rows.")
    seen: list[float] = []

    async def one(number: int) -> None:
        async with job as run:
            rows.inc(number)
            await asyncio.sleep(0)
            seen.append(run.registry.get_sample_value("own_total") or 0)

    async def all_of_them() -> None:
        await asyncio.gather(*(one(number) for number in range(1, 6)))

    asyncio.run(all_of_them())

    def recurse(depth: int) -> None:
        with job as run:
            rows.inc(depth)
            if depth < 3:
                recurse(depth + 1)
            assert current_run() is run
            seen.append(run.registry.get_sample_value("own_total") or 0)

    thread = threading.Thread(target=recurse, args=(1,))
    thread.start()
    thread.join()
    assert sorted(seen) == [1, 1, 2, 2, 3, 3, 4, 5]


def test_a_skipped_run_returns_none_and_is_a_success(gateway: InMemoryGateway) -> None:
    """skip() ends a function, a block and a generator, and nobody outside sees its exception."""

    @Job("skipping")
    def main() -> int:
        skip("nothing to do")

    assert main() is None
    with Job("block"):
        skip()
    group = gateway.group(job="skipping")
    assert group["batch_job_last_result", {"result": "skip"}] == 1
    assert "batch_job_last_success_timestamp_seconds" in group
    assert gateway.group(job="block")["batch_job_last_result", {"result": "skip"}] == 1
    with pytest.raises(Skip):
        skip("outside a run")


def test_a_failing_run_keeps_last_success(gateway: InMemoryGateway) -> None:
    """POST leaves the last success alone when a run fails; a first run that fails has none."""
    job = Job("sometimes")
    with pytest.raises(ValueError), job:  # noqa: PT011 -- any will do
        raise ValueError
    assert "batch_job_last_success_timestamp_seconds" not in gateway.group(job="sometimes")
    with job:
        pass
    success = gateway.group(job="sometimes")["batch_job_last_success_timestamp_seconds"]
    with pytest.raises(ValueError), job:  # noqa: PT011 -- any will do
        raise ValueError
    group = gateway.group(job="sometimes")
    assert group["batch_job_last_success_timestamp_seconds"] == success
    assert group["batch_job_last_failure_timestamp_seconds"] > success
    assert group["batch_job_last_result", {"result": "error"}] == 1


def test_exceptions_count_once_however_many_scopes_they_pass(gateway: InMemoryGateway) -> None:
    """Recorded, through two stages and out of the run: one exception. A second one counts again."""

    def fail(run: Run) -> None:
        try:
            int("x")
        except ValueError as error:
            run.record("failed", error=error)
        with run.stage("inner"):
            raise KeyError("hunter2")

    with pytest.raises(KeyError), Job("nested") as run, run.stage("outer"):
        fail(run)
    group = gateway.group(job="nested")
    assert group["batch_job_exceptions", {"error_type": "ValueError"}] == 1
    assert group["batch_job_exceptions", {"error_type": "KeyError"}] == 1
    assert group["batch_job_exceptions", {"error_type": ""}] == 0
    assert "hunter2" not in gateway.pushes[-1].body


def test_closed_sets_are_always_complete(gateway: InMemoryGateway) -> None:
    """POST replaces families, so every result and outcome is in every push, also those that are 0."""
    with Job("complete"):
        pass
    group = gateway.group(job="complete")
    results = [group["batch_job_last_result", {"result": each}] for each in
               ("success", "failure", "error", "timeout", "cancellation", "skip")]  # fmt: skip
    assert results == [1, 0, 0, 0, 0, 0]
    outcomes = ("read", "processed", "written", "skipped", "failed")
    assert [group["batch_job_records", {"outcome": each}] for each in outcomes] == [0] * 5
    assert ("batch_job_stage_duration_seconds", {"stage": ""}) in group


def test_track_counts_what_was_read_and_what_came_back(gateway: InMemoryGateway) -> None:
    """A record is processed when the loop comes back for the next one without having set it aside."""
    with Job("tracking") as run:
        for number in run.track(range(10)):
            if number == 3:
                run.record("failed", error=ValueError("bad"))
            elif number == 4:
                run.record("skipped")
            elif number == 8:
                break
        run.record("written", 5)
    group = gateway.group(job="tracking")
    found = {each: group["batch_job_records", {"outcome": each}] for each in ("read", "processed", "skipped", "failed")}
    assert found == {"read": 9, "processed": 6, "skipped": 1, "failed": 1}
    assert group["batch_job_records", {"outcome": "written"}] == 5
    assert group["batch_job_expected_records"] == 10
    assert group["batch_job_progress_ratio"] == 0.9


def test_track_takes_asynchronous_iterables(gateway: InMemoryGateway) -> None:
    """An asynchronous iterable stays one."""

    async def source() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async def main() -> list[int]:
        async with Job("tracking") as run:
            return [row async for row in run.track(source(), expected=4)]

    assert asyncio.run(main()) == [0, 1, 2]
    assert gateway.group(job="tracking")["batch_job_progress_ratio"] == 0.75


def test_the_watermark_is_the_newest_records_own_time(gateway: InMemoryGateway) -> None:
    """Datetimes and Unix times are taken, earlier ones change nothing, nonsense is dropped."""
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    with Job("fresh") as run:
        run.watermark(moment)
        run.watermark(1.0)
        run.watermark("yesterday")  # type: ignore[arg-type]
    assert gateway.group(job="fresh")["batch_job_last_record_processed_timestamp_seconds"] == moment.timestamp()


def test_wrong_records_are_dropped_and_never_raise(gateway: InMemoryGateway) -> None:
    """A typo in a branch that runs once a year must not break the job."""
    with Job("typo") as run:
        run.record("done")  # type: ignore[arg-type]
        run.record("read", -1)
    assert gateway.group(job="typo").total("batch_job_records") == 0


def test_stages_are_timed_and_succeed_only_with_their_run(gateway: InMemoryGateway) -> None:
    """A stage entered twice adds up; stage_last_success comes from runs that succeeded, the rest is the empty stage."""
    job = Job("staged")
    with job as run:
        for _ in range(2):
            with run.stage("extract"):
                pass

        async def load() -> None:
            async with run.stage("load"):
                pass

        asyncio.run(load())
    group = gateway.group(job="staged")
    assert ("batch_job_stage_last_success_timestamp_seconds", {"stage": "load"}) in group
    succeeded = group["batch_job_stage_last_success_timestamp_seconds", {"stage": "extract"}]
    with pytest.raises(ValueError), job as run:  # noqa: PT011, PT012 -- the whole run is the point
        with run.stage("extract"):
            pass
        raise ValueError
    group = gateway.group(job="staged")
    assert group["batch_job_stage_last_success_timestamp_seconds", {"stage": "extract"}] == succeeded
    assert ("batch_job_stage_duration_seconds", {"stage": "load"}) not in group


def test_metrics_of_the_run_and_of_prometheus_client_are_pushed(gateway: InMemoryGateway) -> None:
    """run.gauge and metrics registered in run.registry are in the final push, a gauge never set is not."""
    never = Gauge("never_ratio", "Never set.")
    with Job("metrics") as run:
        run.gauge("fx_rates", "Rates.").set(3)
        run.histogram("size_bytes", "Size.", buckets=[1, 2]).observe(1.5)
        run.counter("hits_total", "Hits.", ["page"]).labels(page="a").inc(2)
        prometheus_client.Counter("theirs_total", "Theirs.", registry=run.registry).inc()
    assert never
    group = gateway.group(job="metrics")
    assert (group["fx_rates"], group["size_bytes_count"], group["theirs_total"]) == (3, 1, 1)
    assert group["hits_total", {"page": "a"}] == 2
    assert group["size_bytes_bucket", {"le": "2.0"}] == 1
    assert "never_ratio" not in group.families
    assert "theirs_created" not in gateway.pushes[-1].body


def test_what_is_counted_outside_runs_goes_with_every_run(gateway: InMemoryGateway) -> None:
    """The process's registry is in each final push, added to the run's own counts."""
    both = Counter("both_total", "Both.")
    both.inc(10)
    with Job("one"):
        both.inc(1)
    with Job("two"):
        both.inc(2)
    assert gateway.group(job="one")["both_total"] == 11
    assert gateway.group(job="two")["both_total"] == 12


def test_a_collector_that_fails_is_left_out(gateway: InMemoryGateway) -> None:
    """A broken collector costs its own metrics, is counted, and nothing else is lost."""

    class Broken:
        def collect(self) -> list[object]:
            raise RuntimeError("no")

    with Job("broken") as run:
        run.registry.register(Broken())  # type: ignore[arg-type]
        run.gauge("fine_ratio", "Fine.").set(1)
    assert gateway.group(job="broken")["fine_ratio"] == 1
    with Job("broken"):
        pass
    assert gateway.group(job="broken")["pymetrics_internal_errors_total"] == 1


def test_time_stamps_are_left_out(gateway: InMemoryGateway) -> None:
    """A collector of the job's own may set time stamps, which no gateway takes: they are dropped, not the push."""

    class Stamped:
        def collect(self) -> Iterator[prometheus_client.Metric]:
            metric = prometheus_client.Metric("stamped", "Stamped.", "gauge")
            metric.add_sample("stamped", {}, 1.0, timestamp=123.0)
            yield metric

    with Job("stamped") as run:
        run.registry.register(Stamped())  # type: ignore[arg-type]
    assert gateway.group(job="stamped")["stamped"] == 1


def test_one_run_open_takes_the_counts_of_foreign_threads_and_two_do_not(
    gateway: InMemoryGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread without a context counts for the only open run; with two open, for the process, with one warning."""
    hits = Counter("hits_total", "Hits.")

    def count() -> None:
        for _ in range(2):
            thread = threading.Thread(target=hits.inc)
            thread.start()
            thread.join()

    with Job("only") as run:
        count()
        assert run.registry.get_sample_value("hits_total") == 2
    with Job("outer") as outer, Job("inner") as inner:
        count()
        assert outer.registry.get_sample_value("hits_total") is None
        assert inner.registry.get_sample_value("hits_total") is None
    assert gateway.group(job="outer")["hits_total"] == 2
    assert sum("without a current run" in each.message for each in caplog.records) == 1


def test_outside_every_run_current_run_takes_everything(gateway: InMemoryGateway) -> None:
    """A job's functions can be called without the job, as in their own tests."""
    run = current_run()
    run.record("read")
    with run.stage("x"):
        run.gauge("lost_ratio", "Lost.").set(1)
    assert run.run_id == ""
    assert gateway.groups == []


def test_a_slow_run_is_a_timeout_and_nothing_is_killed(gateway: InMemoryGateway) -> None:
    """A run that takes longer than max_runtime is reported as such, with exit code 0 if it returned."""
    with Job("slow", max_runtime="1ms"):
        threading.Event().wait(0.005)
    group = gateway.group(job="slow")
    assert group["batch_job_last_result", {"result": "timeout"}] == 1
    assert group["batch_job_last_exit_code"] == 0
    assert "batch_job_last_failure_timestamp_seconds" in group


def test_only_success_and_skip_move_the_deadline(gateway: InMemoryGateway) -> None:
    """A start sets a deadline where there is none; a failing run leaves it; a good one moves it to the next start."""
    job = Job("scheduled", schedule="0 3 * * *", tz="UTC", grace="30m", max_runtime="2h")
    with job:
        pass
    group = gateway.group(job="scheduled")
    deadline = group["batch_job_deadline_timestamp_seconds"]
    assert deadline == group["batch_job_next_run_timestamp_seconds"] + 1800 + 7200
    group.families["batch_job_deadline_timestamp_seconds"].samples[0] = (
        group.families["batch_job_deadline_timestamp_seconds"].samples[0]._replace(value=7.0)
    )
    with pytest.raises(ValueError), job:  # noqa: PT011 -- any will do
        raise ValueError
    assert gateway.group(job="scheduled")["batch_job_deadline_timestamp_seconds"] == 7.0
    with job:
        skip()
    assert gateway.group(job="scheduled")["batch_job_deadline_timestamp_seconds"] == deadline


def wait_for_a_push(gateway: InMemoryGateway, family: str) -> None:
    """Wait until a push with this family has come."""
    for _ in range(500):
        if any(family in push.families for push in gateway.pushes):
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"no push has {family}")


def test_the_start_push_announces_the_run(gateway: InMemoryGateway) -> None:
    """Start: running, its time, its promises and identity; nothing that would erase what an earlier run left."""
    with Job("announced", every="1h", max_runtime="5m"):
        wait_for_a_push(gateway, "batch_job_running")
        group = gateway.group(job="announced")
        assert group["batch_job_running"] == 1
        assert group["batch_job_max_runtime_seconds"] == 300
        assert "batch_job_deadline_timestamp_seconds" in group
        assert not {"batch_job_last_result", "batch_job_last_success_timestamp_seconds"} & set(group.families)
    assert gateway.group(job="announced")["batch_job_running"] == 0
    sequence = [push.headers["X-Pymetrics-Sequence"] for push in gateway.pushes]
    assert sequence == ["1", "2"]
    starts = {float(push.headers["X-Pymetrics-Run-Start"]) for push in gateway.pushes}
    assert starts == {gateway.group(job="announced")["batch_job_last_start_timestamp_seconds"]}


def test_heartbeats_carry_progress(gateway: InMemoryGateway) -> None:
    """While the run works, each heartbeat has a time, the records so far and the resources used."""
    with Job("beating", heartbeat="20ms") as run:
        for _ in run.track(range(2)):
            pass
        wait_for_a_push(gateway, "batch_job_last_heartbeat_timestamp_seconds")
        group = gateway.group(job="beating")
        assert group["batch_job_records", {"outcome": "read"}] == 2
        assert group["batch_job_progress_ratio"] == 1
        assert "batch_job_cpu_seconds" in group.families


def test_push_errors_are_raised_only_where_asked_for(gateway: InMemoryGateway) -> None:
    """on_push_error="raise" raises after a good run, and never in place of the run's own exception."""
    gateway.answer(400, "no", times=9)
    with Job("logged"):
        pass
    with pytest.raises(PushError, match="400: no") as caught, Job("raised", on_push_error="raise"):
        pass
    assert caught.value.status == 400
    with pytest.raises(ZeroDivisionError), Job("raised", on_push_error="raise"):
        raise ZeroDivisionError


def test_a_refused_push_says_why(gateway: InMemoryGateway, caplog: pytest.LogCaptureFixture) -> None:
    """The gateway's reason is one warning of the logger pymetrics_sdk."""
    gateway.answer(400, "pushed metrics are inconsistent: foo", times=9)
    with Job("refused"):
        pass
    messages = [each.getMessage() for each in caplog.records if each.name == "pymetrics_sdk"]
    assert any("final push" in each and "inconsistent: foo" in each for each in messages)


def test_a_job_is_immutable_and_checked_when_it_is_made() -> None:
    """What cannot work is an error where the job is declared, not in the night when it runs."""
    job = Job("fixed")
    with pytest.raises(AttributeError):
        job.name = "other"  # type: ignore[attr-defined]
    for arguments in (
        {"schedule": "x"},
        {"schedule": "* * * * *", "every": "5m"},
        {"grace": "soon"},
        {"labels": {"job": "x"}},
        {"gateway": "http://"},
        {"on_push_error": "explode"},
    ):
        with pytest.raises(ConfigError):
            Job("x", **arguments)


def test_info_is_the_only_home_of_pod_and_run(gateway: InMemoryGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pod and run id are labels of batch_job_info and of nothing else."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("POD_NAME", "etl-28333333-x7k2p")
    monkeypatch.setenv("POD_NAMESPACE", "shop")
    with Job("etl") as run:
        pass
    group = gateway.group(job="etl", namespace="shop")
    assert group.total("batch_job_info", {"pod": "etl-28333333-x7k2p", "run_id": run.run_id}) == 1
    lines = [line for line in gateway.pushes[-1].body.splitlines() if "x7k2p" in line or run.run_id in line]
    assert len(lines) == 1


def test_disabled_jobs_push_nothing(gateway: InMemoryGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """PYMETRICS_DISABLED=1 turns pushing off; the job and its metrics work."""
    monkeypatch.setenv("PYMETRICS_DISABLED", "1")
    with Job("off") as run:
        run.record("read")
        assert run.registry.get_sample_value("batch_job_records", {"outcome": "read"}) == 1
    assert gateway.pushes == []


def test_without_a_thread_the_final_push_is_made_in_place(
    gateway: InMemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the exit of the interpreter from Python 3.12 on no thread starts: the push is made in place and comes."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with Job("threadless"):
        pass
    assert gateway.group(job="threadless")[SUCCESS] == 1


def test_durations_do_not_follow_the_wall_clock(gateway: InMemoryGateway) -> None:
    """A clock that is set back during a run moves time stamps and no duration."""
    wall, steady = [1_700_000_000.0], [50.0]
    life = Life(JobSpec.of("clocks"), clock=lambda: wall[0], timer=lambda: steady[0], watch_signals=False)
    run = life.begin()
    with run.stage("work"):
        wall[0] -= 3600
        steady[0] += 12.5
    life.complete(life.begin_end(None))
    group = gateway.group(job="clocks")
    assert group["batch_job_last_duration_seconds"] == 12.5
    assert group["batch_job_stage_duration_seconds", {"stage": "work"}] == 12.5
    assert group["batch_job_last_completion_timestamp_seconds"] == 1_700_000_000 - 3600


def test_start_delay_is_that_of_the_planned_minute(gateway: InMemoryGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a CronJob's pod the delay needs no permissions: its name says for when it was planned."""
    planned = 28_333_333 * 60
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("POD_NAME", "etl-28333333-x7k2p")
    life = Life(JobSpec.of(), clock=lambda: planned + 42.0, watch_signals=False)
    life.begin()
    life.complete(life.begin_end(None))
    assert gateway.group(job="etl")["batch_job_start_delay_seconds"] == 42


def test_an_environment_that_cannot_be_read_is_not_the_jobs(
    gateway: InMemoryGateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong while a run finds out who it is, the job runs."""

    def broken(*_: object, **__: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr("pymetrics_sdk.lifecycle.resolve", broken)
    with Job("unreadable") as run:
        run.record("read")
    assert gateway.pushes == []
    assert any("reading the environment" in each.getMessage() for each in caplog.records)


def test_a_run_that_cannot_begin_pushes_nothing(
    gateway: InMemoryGateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever fails inside the SDK while a run begins or ends is logged, and the job's function runs and returns."""
    job = Job("unlucky", schedule="0 2 * * *")
    monkeypatch.setattr(type(job.spec.schedule), "slot_of", Mock(side_effect=OverflowError))
    assert job(lambda: 3)() == 3
    assert gateway.pushes == []
    assert "failed while starting a run" in caplog.text
    assert current_run().run_id == ""


def test_settings_that_cannot_be_read_turn_pushes_off(
    gateway: InMemoryGateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in reading the environment costs the pushes, never the job."""
    monkeypatch.setattr(lifecycle, "resolve", Mock(side_effect=ValueError))
    assert Job("unlucky")(lambda: 3)() == 3
    assert gateway.pushes == []
    assert "failed while reading the environment" in caplog.text
