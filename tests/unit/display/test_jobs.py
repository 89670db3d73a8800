"""Does the card of a job say what the SDK has pushed of it, whatever is missing?"""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.display.jobs import JobCard, Meter, State, read_jobs
from pushgateway.display.quantities import Quantity
from pushgateway.model import Labels, Sample
from tests.unit.display.values import SHARED

NOW = 1_000_000.0
RESULTS = ("success", "failure", "error", "timeout", "cancellation", "skip")


def samples(value: float, **labels: str) -> Sample:
    """Make a sample of the group."""
    return Sample(tuple(sorted({**dict(SHARED), **labels}.items())), value)


def cards(**families: float | Iterable[Sample]) -> tuple[JobCard, ...]:
    """Read jobs from families, given without their prefix; a number is a family with one series."""
    pairs = (
        (f"batch_job_{name}", [samples(value)] if isinstance(value, float | int) else value)
        for name, value in families.items()
    )
    return read_jobs(pairs, SHARED, now=NOW)


def card(**families: float | Iterable[Sample]) -> JobCard:
    """Read the only job."""
    (only,) = cards(**families)
    return only


def result(word: str) -> list[Sample]:
    """Make batch_job_last_result, with all of its values."""
    return [samples(float(each == word), result=each) for each in RESULTS]


def test_a_group_without_a_job_has_no_card() -> None:
    """Families of other names tell of no job."""
    assert read_jobs([("up", [samples(1)]), ("batch_jobs_total", [samples(1)])], SHARED, now=NOW) == ()


def test_a_finished_run_is_told_in_full() -> None:
    """Times, duration, result, exit code, records, stages, resources and where it ran."""
    only = card(
        running=0.0,
        last_start_timestamp_seconds=NOW - 100,
        last_completion_timestamp_seconds=NOW - 40,
        last_success_timestamp_seconds=NOW - 40,
        last_duration_seconds=60.0,
        last_result=result("success"),
        last_exit_code=0.0,
        next_run_timestamp_seconds=NOW + 3600,
        deadline_timestamp_seconds=NOW + 7200,
        progress_ratio=1.0,
        expected_records=200.0,
        records=[samples(200, outcome="read"), samples(50, outcome="written")],
        stage_duration_seconds=[samples(45, stage="load"), samples(15, stage="")],
        exceptions=[samples(0, error_type=""), samples(2, error_type="ValueError")],
        cpu_seconds=[samples(3, mode="user"), samples(1, mode="system")],
        max_resident_memory_bytes=1e8,
        info=[samples(1, run_id="abc", python="3.11", pod="")],
    )
    assert (only.state, only.last_result, only.exit_code) == (State.SUCCESS, State.SUCCESS, 0)
    assert only.state.is_good
    assert (only.started_at, only.completed_at, only.duration_seconds) == (NOW - 100, NOW - 40, 60)
    assert (only.next_run_at, only.deadline_at, only.overdue) == (NOW + 3600, NOW + 7200, False)
    assert (only.progress, only.expected) == (1.0, 200)
    number, seconds = Quantity.NUMBER, Quantity.SECONDS
    assert only.records == (Meter("read", 200, number, 100.0), Meter("written", 50, number, 25.0))
    assert only.stages == (Meter("load", 45, seconds, 100.0), Meter("", 15, seconds, 33.3))
    assert only.exceptions == (Meter("ValueError", 2, number, 100.0),)
    assert only.uses == (Meter("Processor time", 4, seconds), Meter("Memory at most", 1e8, Quantity.BYTES))
    assert (only.labels, only.info) == ((), (("python", "3.11"), ("run_id", "abc")))


def test_a_run_under_way_is_told_with_the_result_before_it() -> None:
    """It has lasted since its start, and has no exit code yet; the last result is that of the run before."""
    only = card(
        running=1.0,
        last_start_timestamp_seconds=NOW - 30,
        last_duration_seconds=500.0,
        last_result=result("timeout"),
        last_exit_code=1.0,
    )
    assert (only.state, only.last_result) == (State.RUNNING, State.TIMEOUT)
    assert (only.duration_seconds, only.exit_code) == (30, None)


@pytest.mark.parametrize("word", RESULTS)
def test_each_result_is_known(word: str) -> None:
    """Only success and skip are good."""
    assert card(last_result=result(word)).state is State(word)
    assert card(last_result=result(word)).state.is_good == (word in {"success", "skip"})


@pytest.mark.parametrize("word", ["running", "nonsense", ""])
def test_a_result_that_does_not_exist_is_unknown(word: str) -> None:
    """Whoever pushes another word has a job of unknown result."""
    assert card(last_result=[samples(1, result=word)]).state is State.UNKNOWN


def test_a_job_that_missed_its_deadline_is_overdue() -> None:
    """As the alert of the reference says: time() > batch_job_deadline_timestamp_seconds; a start may only be late."""
    assert card(deadline_timestamp_seconds=NOW - 1).overdue
    assert card(next_run_timestamp_seconds=NOW - 1).was_due
    assert not card(next_run_timestamp_seconds=NOW + 1).was_due
    assert not card(deadline_timestamp_seconds=NOW + 1).overdue


def test_a_running_job_without_heartbeats_is_silent() -> None:
    """After three intervals without a sign of life; the start is one, and an earlier run's heartbeats are none."""
    beat = {"running": 1.0, "heartbeat_interval_seconds": 10.0}
    assert card(**beat, last_heartbeat_timestamp_seconds=NOW - 31).silent
    assert not card(**beat, last_heartbeat_timestamp_seconds=NOW - 29).silent
    assert not card(**beat, last_heartbeat_timestamp_seconds=NOW - 900, last_start_timestamp_seconds=NOW - 5).silent
    assert not card(heartbeat_interval_seconds=10.0, last_heartbeat_timestamp_seconds=NOW - 900).silent


def test_a_run_that_takes_longer_than_it_may_is_told() -> None:
    """While it is under way; a finished one has its result."""
    assert card(running=1.0, last_start_timestamp_seconds=NOW - 61, max_runtime_seconds=60.0).too_long
    assert not card(running=1.0, last_start_timestamp_seconds=NOW - 59, max_runtime_seconds=60.0).too_long
    assert not card(running=0.0, last_start_timestamp_seconds=NOW - 61, max_runtime_seconds=60.0).too_long


def test_several_jobs_of_a_group_have_a_card_each() -> None:
    """Labels that a family does not have by itself tell them apart, also in batch_job_info."""
    east, west = cards(
        last_exit_code=[samples(0, region="east"), samples(3, region="west")],
        records=[samples(5, outcome="read", region="west")],
        info=[samples(1, run_id="e", region="east"), samples(1, run_id="w", region="west")],
    )
    assert (east.labels, east.exit_code, east.records, east.info) == ((("region", "east"),), 0, (), (("run_id", "e"),))
    assert (west.labels, west.exit_code, west.info) == ((("region", "west"),), 3, (("run_id", "w"),))
    assert west.records == (Meter("read", 5, Quantity.NUMBER, 100.0),)


def test_info_alone_makes_a_card() -> None:
    """A job of which nothing else is known is one all the same, in an unknown state."""
    only = card(info=[samples(1, run_id="abc")])
    assert (only.state, only.info) == (State.UNKNOWN, (("run_id", "abc"),))


def test_there_are_ten_cards_at_most() -> None:
    """However many labels somebody puts on the families of a job; and twenty entries in each list."""
    many = cards(records=[samples(1, outcome=str(n), shard=str(s)) for n in range(50) for s in range(30)])
    assert len(many) == 10
    assert all(len(one.records) == 20 for one in many)


def test_texts_are_cut_and_escaped() -> None:
    """Names of stages and labels may be anything."""
    only = card(stage_duration_seconds=[samples(1, stage="\x00\u202e" + "s" * 10_000)])
    assert only.stages[0].name.startswith("\\x00\\u202es")
    assert len(only.stages[0].name) < 220


def test_what_is_no_number_is_not_known() -> None:
    """NaN and infinities are neither times nor durations."""
    only = card(last_duration_seconds=math.nan, deadline_timestamp_seconds=math.inf, progress_ratio=7.0)
    assert (only.duration_seconds, only.deadline_at, only.overdue, only.progress) == (None, None, False, 1.0)


NAMES = (
    *("running", "last_start_timestamp_seconds", "last_result", "records", "stage_duration_seconds", "exceptions"),
    *("progress_ratio", "deadline_timestamp_seconds", "max_runtime_seconds", "cpu_seconds", "info", "unheard_of"),
)
label_sets = st.dictionaries(st.sampled_from(["result", "outcome", "stage", "mode", "x"]), st.text(max_size=3))


@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.lists(st.tuples(label_sets.map(lambda labels: tuple(sorted(labels.items()))), st.floats()), max_size=3),
    )
)
def test_nothing_that_is_pushed_breaks_the_card(families: dict[str, list[tuple[Labels, float]]]) -> None:
    """Any of the families with any labels and values gives cards whose lengths and shares are in their ranges."""
    pairs = ((f"batch_job_{name}", [Sample(*one) for one in found]) for name, found in families.items())
    for one in read_jobs(pairs, SHARED, now=NOW):
        assert one.progress is None or 0 <= one.progress <= 1
        assert all(0 <= meter.length <= 100 for meter in (*one.records, *one.stages, *one.exceptions))
