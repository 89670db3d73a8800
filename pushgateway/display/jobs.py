"""How is the batch job that has pushed a group?

Read from the families that pymetrics_sdk pushes for a job (docs/reference/metric-names.md), any of which may be
missing: a job may have pushed its start and nothing else, or only some of them by hand.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from pushgateway.display.quantities import Quantity
from pushgateway.display.texts import visible
from pushgateway.model import Labels, Sample

__all__ = ["PREFIX", "JobCard", "Meter", "State", "read_jobs"]

PREFIX: Final = "batch_job_"
"""What the names of all families of a job begin with."""

_OWN_LABELS: Final = {
    "last_result": ("result",),
    "records": ("outcome",),
    "stage_duration_seconds": ("stage",),
    "stage_last_success_timestamp_seconds": ("stage",),
    "exceptions": ("error_type",),
    "cpu_seconds": ("mode",),
    "children_cpu_seconds": ("mode",),
}
"""Labels that a family has by itself; any others tell several jobs of one group apart."""

_INFO: Final = "info"

_USES: Final = (
    ("cpu_seconds", "Processor time", Quantity.SECONDS),
    ("children_cpu_seconds", "Processor time of children", Quantity.SECONDS),
    ("max_resident_memory_bytes", "Memory at most", Quantity.BYTES),
    ("children_max_resident_memory_bytes", "Memory of a child at most", Quantity.BYTES),
    ("cgroup_memory_peak_bytes", "Memory of the container at most", Quantity.BYTES),
    ("cgroup_memory_limit_bytes", "Memory limit of the container", Quantity.BYTES),
    ("cgroup_oom_kills", "Processes killed for want of memory", Quantity.NUMBER),
    ("cgroup_cpu_throttled_seconds", "Throttled for", Quantity.SECONDS),
)

_MOST_CARDS: Final = 10
_MOST_METERS: Final = 20
_SHOWN_CHARACTERS: Final = 200
_SILENT_HEARTBEATS: Final = 3
"""How many heartbeats a running job may miss before it is taken to be lost."""


class State(enum.Enum):
    """How a job's last run went, or goes; the value is the word for it."""

    RUNNING = "running"
    SUCCESS = "success"
    SKIP = "skip"
    FAILURE = "failure"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLATION = "cancellation"
    UNKNOWN = "unknown"

    @property
    def is_good(self) -> bool:
        """Whether the next success is not owed for this one."""
        return self in {State.SUCCESS, State.SKIP}


class Meter(NamedTuple):
    """A name with a number; `length` is from 0 to 100, beside others of its kind."""

    name: str
    value: float
    quantity: Quantity
    length: float = 0.0


@dataclass(frozen=True, slots=True)
class JobCard:
    """One job. Times are Unix seconds; None is not known.

    Attributes:
        labels: What tells it from other jobs of the group; () if it is the only one.
        state: How the last run went, RUNNING while one is under way.
        last_result: How the run before the running one went, UNKNOWN if none did; else as `state`.
        started_at: The last start.
        completed_at: The last end.
        succeeded_at: The last good end.
        failed_at: The last end that was none.
        heartbeat_at: The last sign of life.
        next_run_at: The next planned start, as the last push has it.
        was_due: Whether that has passed.
        deadline_at: When the next success is due.
        overdue: Whether that has passed.
        silent: Whether it is running, and has missed several heartbeats.
        too_long: Whether it is running for longer than it may.
        duration_seconds: Of the last run; of the one under way, how long it has run.
        max_runtime_seconds: How long a run may take.
        delay_seconds: How late the last run started.
        exit_code: Of the last run.
        attempt: The number of the attempt, 1 for the first.
        progress: From 0 to 1.
        expected: Records that the run expects.
        records: Records by outcome.
        watermark_at: The newest record's own time.
        stages: The time in each stage; the name "" is the rest of the run.
        exceptions: Exceptions by class, without those of none.
        uses: Processor time, memory and the like.
        info: Where and what the last run was, without what is empty.
    """

    labels: Labels
    state: State
    last_result: State
    started_at: float | None
    completed_at: float | None
    succeeded_at: float | None
    failed_at: float | None
    heartbeat_at: float | None
    next_run_at: float | None
    was_due: bool
    deadline_at: float | None
    overdue: bool
    silent: bool
    too_long: bool
    duration_seconds: float | None
    max_runtime_seconds: float | None
    delay_seconds: float | None
    exit_code: float | None
    attempt: float | None
    progress: float | None
    expected: float | None
    records: tuple[Meter, ...]
    watermark_at: float | None
    stages: tuple[Meter, ...]
    exceptions: tuple[Meter, ...]
    uses: tuple[Meter, ...]
    info: Labels


def read_jobs(families: Iterable[tuple[str, Iterable[Sample]]], shared: Labels, *, now: float) -> tuple[JobCard, ...]:
    """Return a card for each job that a group tells of; the first ones of many.

    Args:
        families: Families of the group with their samples; only those of a job count.
        shared: The labels that all series of the group have.
        now: Unix time.
    """
    jobs: dict[Labels, dict[str, list[Sample]]] = {}
    infos: list[Sample] = []
    for name, samples in families:
        short = name.removeprefix(PREFIX)
        if short == _INFO:
            infos += samples
        elif short != name:
            own = _OWN_LABELS.get(short, ())
            for sample in samples:
                rest = tuple(pair for pair in sample.labels if pair[0] not in own and pair not in shared and pair[1])
                jobs.setdefault(rest, {}).setdefault(short, []).append(sample)
    if infos and not jobs:
        jobs[()] = {}
    telling = {name for rest in jobs for name, _ in rest}
    for info in infos:
        rest = tuple(pair for pair in info.labels if pair[0] in telling and pair[1])
        jobs.get(rest, {}).setdefault(_INFO, []).append(info)
    return tuple(_card(rest, _Facts(job), shared, now) for rest, job in sorted(jobs.items())[:_MOST_CARDS])


class _Facts:
    """What is known of one job: its families without their prefix."""

    def __init__(self, families: Mapping[str, list[Sample]]) -> None:
        self._families = families

    def number(self, name: str) -> float | None:
        """Return the value of a family with one series; None if it is not there or no number."""
        samples = self._families.get(name, ())
        return next((sample.value for sample in samples if math.isfinite(sample.value)), None)

    def parts(self, name: str) -> Iterator[tuple[str, float]]:
        """Yield what stands under each value of the family's own label, as far as it is a number."""
        (label,) = _OWN_LABELS[name]
        for sample in self._families.get(name, ()):
            if math.isfinite(sample.value):
                yield dict(sample.labels).get(label, ""), sample.value

    def total(self, name: str) -> float | None:
        """Return the sum over all series of a family; None if it has none."""
        found = [sample.value for sample in self._families.get(name, ()) if math.isfinite(sample.value)]
        return sum(found) if found else None

    def info(self) -> Labels:
        """Return the labels of the family that says where and what the run was."""
        samples = self._families.get(_INFO, ())
        return samples[0].labels if samples else ()


def _card(labels: Labels, facts: _Facts, shared: Labels, now: float) -> JobCard:
    running = bool(facts.number("running"))
    last_result = _last_result(facts)
    started_at = facts.number("last_start_timestamp_seconds")
    elapsed = max(0.0, now - started_at) if running and started_at else None
    interval, heartbeat_at = facts.number("heartbeat_interval_seconds"), _heartbeat(facts)
    next_run_at, deadline_at = facts.number("next_run_timestamp_seconds"), facts.number("deadline_timestamp_seconds")
    most = facts.number("max_runtime_seconds")
    progress = facts.number("progress_ratio")
    return JobCard(
        labels=_shown(labels),
        state=State.RUNNING if running else last_result,
        last_result=last_result,
        started_at=started_at,
        completed_at=facts.number("last_completion_timestamp_seconds"),
        succeeded_at=facts.number("last_success_timestamp_seconds"),
        failed_at=facts.number("last_failure_timestamp_seconds"),
        heartbeat_at=heartbeat_at,
        next_run_at=next_run_at,
        was_due=next_run_at is not None and next_run_at < now,
        deadline_at=deadline_at,
        overdue=deadline_at is not None and deadline_at < now,
        silent=bool(running and interval and heartbeat_at and now - heartbeat_at > _SILENT_HEARTBEATS * interval),
        too_long=bool(elapsed and most and elapsed > most),
        duration_seconds=facts.number("last_duration_seconds") if elapsed is None else elapsed,
        max_runtime_seconds=most,
        delay_seconds=facts.number("start_delay_seconds"),
        exit_code=None if running else facts.number("last_exit_code"),
        attempt=facts.number("attempt"),
        progress=None if progress is None else min(1.0, max(0.0, progress)),
        expected=facts.number("expected_records"),
        records=_meters(facts.parts("records"), Quantity.NUMBER),
        watermark_at=facts.number("last_record_processed_timestamp_seconds"),
        stages=_meters(facts.parts("stage_duration_seconds"), Quantity.SECONDS),
        exceptions=_meters(((kind, count) for kind, count in facts.parts("exceptions") if count), Quantity.NUMBER),
        uses=tuple(
            Meter(title, value, quantity) for name, title, quantity in _USES if (value := facts.total(name)) is not None
        ),
        info=_shown(tuple(pair for pair in facts.info() if pair[1] and pair not in shared and pair not in labels)),
    )


def _last_result(facts: _Facts) -> State:
    known = {state.value: state for state in State if state is not State.RUNNING}
    return next((known[word] for word, on in facts.parts("last_result") if on and word in known), State.UNKNOWN)


def _heartbeat(facts: _Facts) -> float | None:
    """Return the last sign of life: a start is one too, and before the first heartbeat the only one of its run."""
    signs = (facts.number("last_heartbeat_timestamp_seconds"), facts.number("last_start_timestamp_seconds"))
    return max((sign for sign in signs if sign is not None), default=None)


def _meters(parts: Iterable[tuple[str, float]], quantity: Quantity) -> tuple[Meter, ...]:
    found = list(parts)[:_MOST_METERS]
    largest = max((value for _, value in found), default=0.0)
    return tuple(
        Meter(_cut(name), value, quantity, round(100 * (max(0.0, value) / largest), 1) if largest > 0 else 0.0)
        for name, value in found
    )


def _shown(labels: Labels) -> Labels:
    return tuple((_cut(name), _cut(value)) for name, value in labels[:_MOST_METERS])


def _cut(text: str) -> str:
    return visible(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
