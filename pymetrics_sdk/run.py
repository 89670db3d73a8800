"""What does a job tell about its work while it runs?"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence, Sized
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from prometheus_client.registry import CollectorRegistry

from pymetrics_sdk import cells
from pymetrics_sdk.cells import Definition, Scope
from pymetrics_sdk.metrics import DEFAULT_BUCKETS, MAX_SERIES, Counter, Gauge, Histogram
from pymetrics_sdk.progress import with_bar
from pymetrics_sdk.report import JOB_FAMILIES, PREFIX

__all__ = ["OUTCOMES", "Outcome", "Run", "Stage"]

logger = logging.getLogger("pymetrics_sdk")

T = TypeVar("T")
Outcome = Literal["read", "processed", "written", "skipped", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("read", "processed", "written", "skipped", "failed")

# Gauges, since each run starts from zero and the next one replaces them; additive, so that what child processes record
# is added to what the parent did.
RECORDS = Definition("gauge", PREFIX + "records", JOB_FAMILIES["records"], ("outcome",), additive=True)
EXCEPTIONS = Definition("gauge", PREFIX + "exceptions", JOB_FAMILIES["exceptions"], ("error_type",), additive=True)

_COUNTED = "_pymetrics_counted_by"


class Run:
    """One run of a job, as the job's code sees it.

    Runs are made by `Job`; code gets the present one from ``with job as run`` or `current_run`.

    Args:
        scope: Where its numbers live.
        run_id: 32 hexadecimal digits; "" for what `current_run` returns outside every run.
        clock: Unix time in seconds.
        timer: Seconds on a clock that nobody sets.
    """

    def __init__(
        self,
        scope: Scope,
        *,
        run_id: str = "",
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.run_id = run_id
        self.scope = scope
        self.expected: float | None = None
        self.newest: float | None = None
        self.stages: dict[str, float] = {}
        self.stage_ends: dict[str, float] = {}
        self._clock = clock
        self._timer = timer
        self._set_aside = 0.0
        for outcome in OUTCOMES:
            self._records(outcome)
        scope.family(EXCEPTIONS).cell(("",))

    @property
    def registry(self) -> CollectorRegistry:
        """The run's own registry: what prometheus_client metrics register here is in the final push."""
        return self.scope.registry

    @property
    def seen(self) -> float:
        """Records read so far in this process."""
        return self._records("read").values[0]

    def counter(
        self, name: str, help: str, label_names: Iterable[str] = (), *, max_series: int = MAX_SERIES
    ) -> Counter:
        """Return a counter of this run; see `Counter`.

        Raises:
            ConfigError: As Counter does.
        """
        return Counter(name, help, label_names, max_series=max_series).bound_to(self.scope)

    def gauge(self, name: str, help: str, label_names: Iterable[str] = (), *, max_series: int = MAX_SERIES) -> Gauge:
        """Return a gauge of this run; see `Gauge`.

        Raises:
            ConfigError: As Gauge does.
        """
        return Gauge(name, help, label_names, max_series=max_series).bound_to(self.scope)

    def histogram(
        self,
        name: str,
        help: str,
        label_names: Iterable[str] = (),
        *,
        buckets: Sequence[float] = DEFAULT_BUCKETS,
        max_series: int = MAX_SERIES,
    ) -> Histogram:
        """Return a histogram of this run; see `Histogram`.

        Raises:
            ConfigError: As Histogram does.
        """
        return Histogram(name, help, label_names, buckets=buckets, max_series=max_series).bound_to(self.scope)

    def stage(self, name: str) -> Stage:
        """Return a context manager, also an asynchronous one, that times a stage of the run.

        Args:
            name: One of a few names that the code knows; entering a name again adds to its time.
        """
        return Stage(self, name)

    def record(self, outcome: Outcome, amount: float = 1, *, error: BaseException | None = None) -> None:
        """Count records.

        Args:
            outcome: ``read``, ``processed``, ``written``, ``skipped`` or ``failed``; another one is logged and dropped.
            amount: How many; zero or more.
            error: The exception behind it; counted once by class, however often it is seen again.
        """
        if outcome not in OUTCOMES or amount < 0:
            logger.warning(
                "record(%r, %r) is dropped: expected one of %s and no negative amount", outcome, amount, OUTCOMES
            )
            return
        if outcome in {"failed", "skipped"}:
            self._set_aside += amount
        cells.add(self._records(outcome), amount)
        if error is not None:
            self.count_exception(error)

    @overload
    def track(
        self, records: AsyncIterable[T], *, expected: float | None = None, progress: bool | None = None
    ) -> AsyncIterator[T]: ...
    @overload
    def track(
        self, records: Iterable[T], *, expected: float | None = None, progress: bool | None = None
    ) -> Iterator[T]: ...
    def track(
        self, records: Iterable[T] | AsyncIterable[T], *, expected: float | None = None, progress: bool | None = None
    ) -> Iterator[T] | AsyncIterator[T]:
        """Iterate over records and count them.

        Each is ``read`` when it is handed out, and ``processed`` when the loop comes back for the next one without
        having recorded it as failed or skipped.

        Args:
            records: An iterable, or an asynchronous one.
            expected: How many there will be; default: its length, if it has one.
            progress: Whether to draw a bar; default: on a terminal, if tqdm is installed.
        """
        if expected is None and isinstance(records, Sized):
            expected = len(records)
        if expected is not None:
            self.expected = (self.expected or 0.0) + expected
        if isinstance(records, AsyncIterable):
            return self._track_async(records)
        return self._track(with_bar(records, total=expected, wanted=progress))

    def _track(self, records: Iterable[T]) -> Iterator[T]:
        for record in records:
            before = self._handed_out()
            yield record
            self._came_back(before)

    async def _track_async(self, records: AsyncIterable[T]) -> AsyncIterator[T]:
        async for record in records:
            before = self._handed_out()
            yield record
            self._came_back(before)

    def _handed_out(self) -> float:
        cells.add(self._records("read"), 1.0)
        return self._set_aside

    def _came_back(self, set_aside_before: float) -> None:
        if self._set_aside == set_aside_before:
            cells.add(self._records("processed"), 1.0)

    def watermark(self, moment: datetime | float) -> None:
        """Say how fresh the data is: the newest processed record's own time.

        Args:
            moment: A datetime (a naive one is local time, as Python takes it) or Unix time in seconds. An earlier one
                than the newest so far changes nothing; anything else is logged and dropped.
        """
        value: object = moment.timestamp() if isinstance(moment, datetime) else moment
        if not isinstance(value, int | float):
            logger.warning("watermark() is dropped: expected a datetime or Unix time, got a %s", type(value).__name__)
            return
        self.newest = value if self.newest is None else max(self.newest, value)

    def count_error(self, error_type: str) -> None:
        """Count an error that is no exception here, as what ended a command."""
        cells.add(self.scope.family(EXCEPTIONS).cell((error_type,)), 1.0)

    def count_exception(self, error: BaseException) -> None:
        """Count an exception by its class, once a run, however many scopes it passes."""
        if not isinstance(error, Exception):
            return
        counted: set[int] = vars(error).setdefault(_COUNTED, set())
        if id(self) not in counted:
            counted.add(id(self))
            self.count_error(type(error).__name__)

    def _records(self, outcome: str) -> cells.Cell:
        return self.scope.family(RECORDS).cell((outcome,))

    def _note_stage(self, name: str, seconds: float, error: BaseException | None) -> None:
        self.stages[name] = self.stages.get(name, 0.0) + seconds
        if error is None:
            self.stage_ends[name] = self._clock()
        else:
            self.count_exception(error)


class Stage:
    """A stage of a run; see `Run.stage`."""

    def __init__(self, run: Run, name: str) -> None:
        self._run = run
        self._name = name
        self._started = 0.0

    def __enter__(self) -> Self:
        self._started = self._run._timer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run._note_stage(self._name, self._run._timer() - self._started, error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


_detached: list[Run] = []


def detached_run() -> Run:
    """Return the run that stands in where there is none: it takes everything and nobody pushes it."""
    if not _detached:
        _detached.append(Run(Scope()))
    return _detached[0]


def run_of(scope: Scope) -> Run:
    """Return the run that owns a scope; the detached one for the process's scope."""
    owner: Any = scope.owner
    return owner if isinstance(owner, Run) else detached_run()
