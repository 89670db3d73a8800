"""Which families tell the life of a run, and which of them belong into which push?

POST replaces whole families. So each family is either not in a push at all, and what an earlier run left stays, or with
every label value that it can have. That is why a failing run does not send last_success, and why results, outcomes and
exceptions are always complete.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import Metric

from pymetrics_sdk.environment import Identity
from pymetrics_sdk.exits import Exit, Result
from pymetrics_sdk.resources import Cgroup, Usage
from pymetrics_sdk.spec import JobSpec

__all__ = ["JOB_FAMILIES", "Facts", "counted_families", "final_families", "heartbeat_families", "start_families"]

PREFIX = "batch_job_"

JOB_FAMILIES: Mapping[str, str] = {
    "last_start_timestamp_seconds": "Unix time of the last start.",
    "last_success_timestamp_seconds": "Unix time of the last end with success or skip.",
    "last_failure_timestamp_seconds": "Unix time of the last end with failure, error, timeout or cancellation.",
    "last_completion_timestamp_seconds": "Unix time of the last end.",
    "last_duration_seconds": "Duration of the last run.",
    "last_result": "How the last run ended: 1 for that result, 0 for the others.",
    "last_exit_code": "Exit status of the last run.",
    "running": "Whether a run is under way.",
    "last_heartbeat_timestamp_seconds": "Unix time of the last sign of life.",
    "heartbeat_interval_seconds": "Promised time between two heartbeats.",
    "records": "Records of the last run, by outcome.",
    "expected_records": "Records that the run expects to see.",
    "progress_ratio": "Share of the expected records that the run has seen.",
    "last_record_processed_timestamp_seconds": "The newest processed record's own Unix time, as the job gave it.",
    "stage_duration_seconds": "Time that the last run spent in each stage; the empty stage is the rest of the run.",
    "stage_last_success_timestamp_seconds": "Unix time at which each stage last ended in a run that succeeded.",
    "exceptions": "Exceptions of the last run, by class; the empty class is always 0.",
    "attempt": "Number of the attempt, 1 for the first.",
    "deadline_timestamp_seconds": "Unix time by which the next success is due.",
    "next_run_timestamp_seconds": "Unix time of the next planned start.",
    "max_runtime_seconds": "How long a run may take.",
    "grace_seconds": "How late a planned start may be.",
    "start_delay_seconds": "How late the last run started.",
    "cpu_seconds": "Processor time of the last run, by mode.",
    "max_resident_memory_bytes": "Largest resident set of the job's process.",
    "children_cpu_seconds": "Processor time of the last run's child processes, by mode.",
    "children_max_resident_memory_bytes": "Largest resident set of any one child process.",
    "cgroup_memory_peak_bytes": "Most memory that the control group ever used.",
    "cgroup_memory_limit_bytes": "Memory limit of the control group.",
    "cgroup_oom_kills": "Processes of the control group that the kernel killed for want of memory.",
    "cgroup_cpu_throttled_seconds": "Time for which the control group's quota kept it from running.",
    "info": "Where and what the last run was.",
}
"""Every family of a job with its HELP; docs/reference/metric-names.md is checked against it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a run at one moment.

    Args:
        spec: What the job promises.
        identity: Where it runs.
        run_id: 32 hexadecimal digits.
        sdk_version: This library's version.
        started_at: Unix time.
        now: Unix time of this moment, the end's for the final push.
        elapsed_seconds: By a clock that nobody sets.
        slot: Unix time for which the run was planned; None without a schedule.
        exit: None while the run is under way.
        expected: Expected records; None if nobody said.
        seen: Records seen.
        watermark: The newest record's own Unix time; None if nobody said.
        stages: Seconds by stage, without the rest.
        stage_ends: Unix time at which each stage last ended well.
        usage: Of the process since the start.
        children: Of its children since the start.
        cgroup: Of the container.
    """

    spec: JobSpec
    identity: Identity
    run_id: str
    sdk_version: str
    started_at: float
    now: float
    elapsed_seconds: float
    slot: float | None = None
    exit: Exit | None = None
    expected: float | None = None
    seen: float = 0.0
    watermark: float | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    stage_ends: Mapping[str, float] = field(default_factory=dict)
    usage: Usage | None = None
    children: Usage | None = None
    cgroup: Cgroup = field(default_factory=Cgroup)


def start_families(facts: Facts, *, known: Collection[str] | None) -> list[Metric]:
    """Return what a start push carries.

    A deadline only where there is none, since only a success moves it on; and a progress of 0 where an earlier run left
    one, which would be taken for this run's until that says how many records it expects.

    Args:
        facts: At the start.
        known: The families that the gateway holds of this job; None if that is not known.
    """
    lacks_deadline = known is not None and f"{PREFIX}deadline_timestamp_seconds" not in known
    has_progress = known is not None and f"{PREFIX}progress_ratio" in known
    return _present(
        _gauge("running", 1.0),
        _gauge("last_start_timestamp_seconds", facts.started_at),
        *_promises(facts),
        _gauge("deadline_timestamp_seconds", _deadline(facts) if lacks_deadline else None),
        _gauge("progress_ratio", 0.0 if has_progress else None),
        _info(facts),
    )


def heartbeat_families(facts: Facts) -> list[Metric]:
    """Return what a heartbeat carries."""
    return _present(
        _gauge("running", 1.0),
        _gauge("last_heartbeat_timestamp_seconds", facts.now),
        *_progress(facts),
        *_resources(facts),
    )


def final_families(facts: Facts, ended: Exit) -> list[Metric]:
    """Return what the final push carries about the run itself."""
    good = ended.result.is_good
    return _present(
        _gauge("running", 0.0),
        _gauge("last_start_timestamp_seconds", facts.started_at),
        _gauge(f"last_{'success' if good else 'failure'}_timestamp_seconds", facts.now),
        _gauge("last_completion_timestamp_seconds", facts.now),
        _gauge("last_duration_seconds", facts.elapsed_seconds),
        _family("last_result", [({"result": each.value}, float(each is ended.result)) for each in Result]),
        _gauge("last_exit_code", float(ended.code)),
        _gauge("last_heartbeat_timestamp_seconds", facts.now if facts.spec.heartbeat_seconds else None),
        *_promises(facts),
        _gauge("deadline_timestamp_seconds", _deadline(facts) if good else None),
        *_progress(facts),
        *_stages(facts),
        *_resources(facts),
        _info(facts),
    )


def counted_families(collected: Iterable[Metric]) -> list[Metric]:
    """Return those of the collected families that tell the life of the run, without any of the job's own."""
    names = {PREFIX + "records", PREFIX + "exceptions"}
    return [metric for metric in collected if metric.name in names]


def _promises(facts: Facts) -> Iterator[Metric]:
    spec = facts.spec
    yield _gauge("attempt", float(facts.identity.attempt))
    yield _gauge("heartbeat_interval_seconds", spec.heartbeat_seconds)
    yield _gauge("max_runtime_seconds", spec.max_runtime_seconds)
    yield _gauge("grace_seconds", spec.grace_seconds)
    yield _gauge("next_run_timestamp_seconds", _next_run(facts))
    yield _gauge("start_delay_seconds", _start_delay(facts))


def _progress(facts: Facts) -> Iterator[Metric]:
    yield _gauge("expected_records", facts.expected)
    yield _gauge("progress_ratio", min(1.0, facts.seen / facts.expected) if facts.expected else None)
    yield _gauge("last_record_processed_timestamp_seconds", facts.watermark)


def _stages(facts: Facts) -> Iterator[Metric]:
    stages: dict[str, float] = {}
    for name, value in facts.stages.items():
        # An Enum's member or a number may name a stage; labels are text.
        stages[str(name)] = stages.get(str(name), 0.0) + value
    rest = max(0.0, facts.elapsed_seconds - sum(stages.values()))
    yield _family("stage_duration_seconds", [({"stage": name}, value) for name, value in {**stages, "": rest}.items()])
    # A skip ends before its other stages, and a stage may fail in a run that succeeds: the family with only some of the
    # stages would take from the group what an earlier run said of the others.
    complete = facts.exit is not None and facts.exit.result is Result.SUCCESS
    if complete and facts.stages.keys() == facts.stage_ends.keys():
        ends = {str(name): value for name, value in facts.stage_ends.items()}
        yield _family("stage_last_success_timestamp_seconds", [({"stage": n}, value) for n, value in ends.items()])


def _resources(facts: Facts) -> Iterator[Metric]:
    for prefix, usage in (("", facts.usage), ("children_", facts.children)):
        if usage is not None:
            modes = [({"mode": "user"}, usage.user_seconds), ({"mode": "system"}, usage.system_seconds)]
            yield _family(f"{prefix}cpu_seconds", modes)
            yield _gauge(f"{prefix}max_resident_memory_bytes", float(usage.max_resident_bytes))
    yield _gauge("cgroup_memory_peak_bytes", facts.cgroup.memory_peak_bytes)
    yield _gauge("cgroup_memory_limit_bytes", facts.cgroup.memory_limit_bytes)
    yield _gauge("cgroup_oom_kills", facts.cgroup.oom_kills)
    yield _gauge("cgroup_cpu_throttled_seconds", facts.cgroup.cpu_throttled_seconds)


def _info(facts: Facts) -> Metric:
    identity = facts.identity
    labels = {
        "namespace": identity.namespace,
        "cronjob": identity.cronjob,
        "job_name": identity.job_name,
        "pod": identity.pod,
        "node": identity.node,
        "version": identity.version,
        "commit": identity.commit,
        "python": platform.python_version(),
        "sdk_version": facts.sdk_version,
        "run_id": facts.run_id,
    }
    return _family("info", [(labels, 1.0)])


def _next_run(facts: Facts) -> float | None:
    schedule = facts.spec.schedule
    if schedule is None or facts.slot is None:
        return None
    upcoming = schedule.next_after(facts.slot)
    # A run that takes longer than its interval has missed slots; the next start is in the future all the same.
    return upcoming if upcoming > facts.now else schedule.next_after(facts.now)


def _deadline(facts: Facts) -> float | None:
    upcoming = _next_run(facts)
    if upcoming is None:
        return None
    return upcoming + (facts.spec.grace_seconds or 0.0) + (facts.spec.max_runtime_seconds or 0.0)


def _start_delay(facts: Facts) -> float | None:
    planned = facts.identity.scheduled_at_seconds
    if planned is None:
        if facts.spec.schedule is None or facts.slot is None or not facts.spec.schedule.cron:
            return None
        # A run by hand, hours after the slot, is not a late start.
        if facts.started_at - facts.slot > (facts.spec.grace_seconds or 0.0):
            return None
        planned = facts.slot
    return max(0.0, facts.started_at - planned)


def _gauge(name: str, value: float | None) -> Metric:
    return _family(name, [] if value is None else [({}, value)])


def _family(name: str, samples: list[tuple[dict[str, str], float]]) -> Metric:
    metric = Metric(PREFIX + name, JOB_FAMILIES[name], "gauge")
    for labels, value in samples:
        metric.add_sample(metric.name, labels, value)
    return metric


def _present(*metrics: Metric) -> list[Metric]:
    return [metric for metric in metrics if metric.samples]
