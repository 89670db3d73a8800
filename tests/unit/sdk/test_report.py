"""Which families does a run's end push, when a POST replaces each of them as a whole?"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from pymetrics_sdk import Job, skip
from pymetrics_sdk.testing import InMemoryGateway

STAGES = "batch_job_stage_last_success_timestamp_seconds"


def complete_run(job: Job) -> None:
    """A run that passes both of its stages."""
    with job as run:
        for stage in ("extract", "load"):
            with run.stage(stage):
                pass


def test_a_run_that_skips_keeps_what_is_known_of_its_stages(gateway: InMemoryGateway) -> None:
    """A skip comes before the other stages: the family, which would be replaced as a whole, is not pushed."""
    job = Job("stages")
    complete_run(job)
    with job as run, run.stage("extract"):
        skip("nothing to load")
    assert gateway.group(job="stages")[STAGES, {"stage": "load"}] > 0


def test_a_stage_that_failed_in_a_run_that_succeeded_keeps_its_last_success(gateway: InMemoryGateway) -> None:
    """A run may go on without one of its stages; that stage's last success stays what it was."""
    job = Job("stages")
    complete_run(job)
    before = gateway.group(job="stages")[STAGES, {"stage": "load"}]
    with job as run:
        with run.stage("extract"):
            pass
        with contextlib.suppress(KeyError), run.stage("load"):
            {}["missing"]
    assert gateway.group(job="stages")[STAGES, {"stage": "load"}] == before


def test_every_end_of_a_request_is_announced(gateway: InMemoryGateway) -> None:
    """A counter that appears with its first increase hides it from rate(): all four are there at once."""
    with Job("announced"):
        pass
    samples = gateway.group(job="announced").families["pymetrics_push_attempts"].samples
    assert {each.labels["result"] for each in samples} == {"ok", "refused", "retried", "unreachable"}


def test_a_start_sets_the_progress_of_the_run_before_back(gateway: InMemoryGateway) -> None:
    """Last night's 1 is not taken for tonight's; where no run ever had a progress, none is made up."""
    job = Job("tracked", schedule="0 3 * * *")
    with job as run:
        wait_until(lambda: bool(gateway.pushes))
        assert "batch_job_progress_ratio" not in gateway.pushes[0].families
        list(run.track(range(3)))
    assert gateway.group(job="tracked")["batch_job_progress_ratio"] == 1
    before = len(gateway.pushes)
    with job:
        wait_until(lambda: len(gateway.pushes) > before)
        assert gateway.group(job="tracked")["batch_job_progress_ratio"] == 0


def wait_until(condition: Callable[[], bool]) -> None:
    """Give the pusher's thread its time."""
    pause = threading.Event()
    until = time.monotonic() + 5.0
    while not condition() and time.monotonic() < until:
        pause.wait(0.005)
    assert condition()
