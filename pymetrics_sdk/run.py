"""What does a job tell about its work while it runs?"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence, Sized
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from prometheus_client.registry import CollectorRegistry

from pymetrics_sdk import cells
from pymetrics_sdk.cells import Definition, Scope
from pymetrics_sdk.metrics import DEFAULT_BUCKETS, MAX_SERIES, Counter, Gauge, Histogram, Metric
from pymetrics_sdk.progress import with_bar
from pymetrics_sdk.report import JOB_FAMILIES, PREFIX

__all__ = ["OUTCOMES", "Outcome", "Run", "Stage"]

logger = logging.getLogger("pymetrics_sdk")

T = TypeVar("T")
M = TypeVar("M", bound=Metric)
Outcome = Literal["read", "processed", "written", "skipped", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("read", "processed", "written", "skipped", "failed")

# Gauges, since each run starts from zero and the next one replaces them; additive, so that what child processes record
# is added to what the parent did.
RECORDS = Definition("gauge", PREFIX + "records", JOB_FAMILIES["records"], ("outcome",), additive=True)
EXCEPTIONS = Definition("gauge", PREFIX + "exceptions", JOB_FAMILIES["exceptions"], ("error_type",), additive=True)

MAX_STAGES = 100
"""Stages beyond this number share one: a name made from data would otherwise grow the push without end."""

_COUNTED = "_pymetrics_counted_by"


@dataclass(slots=True)
class _Loop:
    """One `Run.track` loop; whether the record that it handed out was recorded as failed or skipped."""

    run: Run
    outer: _Loop | None
    set_aside: bool = False


# Not in the run: of two loops at once, in tasks or threads, each must see its own records only.
_innermost: ContextVar[_Loop | None] = ContextVar("pymetrics_track", default=None)


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
        self._metrics: dict[tuple[object, ...], Any] = {}
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
        names = tuple(label_names)
        return self._metric((Counter, name, names), lambda: Counter(name, help, names, max_series=max_series))

    def gauge(self, name: str, help: str, label_names: Iterable[str] = (), *, max_series: int = MAX_SERIES) -> Gauge:
        """Return a gauge of this run; see `Gauge`.

        Raises:
            ConfigError: As Gauge does.
        """
        names = tuple(label_names)
        return self._metric((Gauge, name, names), lambda: Gauge(name, help, names, max_series=max_series))

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
        names, bounds = tuple(label_names), tuple(buckets)
        return self._metric(
            (Histogram, name, names, bounds),
            lambda: Histogram(name, help, names, buckets=bounds, max_series=max_series),
        )

    def _metric(self, key: tuple[object, ...], make: Callable[[], M]) -> M:
        # Once a name: code that asks in a loop would otherwise leave one definition behind each time.
        found: M | None = self._metrics.get(key)
        if found is None:
            found = self._metrics[key] = make().bound_to(self.scope)
        return found

    def stage(self, name: str) -> Stage:
        """Return a context manager, also an asynchronous one, that times a stage of the run.

        A stage inside another one counts for both, so that their sum may exceed the run's duration.

        Args:
            name: One of a few names that the code knows; entering a name again adds to its time. Another type is made
                a string. The empty name stands for the rest of the run: such a stage is logged and not timed. From the
                101st name on, all share the stage ``__overflow__``.
        """
        return Stage(self, name)

    def record(self, outcome: Outcome, amount: float = 1, *, error: BaseException | None = None) -> None:
        """Count records.

        Args:
            outcome: ``read``, ``processed``, ``written``, ``skipped`` or ``failed``; another one is logged and dropped.
            amount: How many; zero or more.
            error: The exception behind it; counted once by class, however often it is seen again.
        """
        number = _number(amount)
        if outcome not in OUTCOMES or number is None or number < 0:
            logger.warning(
                "record(%r, %r) is dropped: expected one of %s and a number that is not negative",
                outcome,
                amount,
                OUTCOMES,
            )
            return
        if outcome in {"failed", "skipped"}:
            self._set_aside()
        cells.add(self._records(outcome), number)
        if error is not None:
            self.count_exception(error)

    def _set_aside(self) -> None:
        loop = _innermost.get()
        while loop is not None and loop.run is not self:
            loop = loop.outer
        if loop is not None:
            loop.set_aside = True

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
        having recorded it as failed or skipped. Of nested loops, the innermost one has its record failed or skipped.

        Args:
            records: An iterable, or an asynchronous one.
            expected: How many there will be; default: its length, if it has one. What is no number is logged and
                dropped.
            progress: Whether to draw a bar; default: on a terminal, if tqdm is installed.
        """
        number = _length(records) if expected is None else _number(expected)
        if expected is not None and number is None:
            logger.warning("expected=%r is dropped: expected a number", expected)
        if number is not None:
            self.expected = (self.expected or 0.0) + number
        if isinstance(records, AsyncIterable):
            return self._track_async(records)
        return self._track(with_bar(records, total=number, wanted=progress))

    def _track(self, records: Iterable[T]) -> Iterator[T]:
        loop = _Loop(self, _innermost.get())
        try:
            for record in records:
                self._hand_out(loop)
                yield record
                self._come_back(loop)
        finally:
            _end_loop(loop)

    async def _track_async(self, records: AsyncIterable[T]) -> AsyncIterator[T]:
        loop = _Loop(self, _innermost.get())
        try:
            async for record in records:
                self._hand_out(loop)
                yield record
                self._come_back(loop)
        finally:
            _end_loop(loop)

    def _hand_out(self, loop: _Loop) -> None:
        loop.set_aside = False
        _innermost.set(loop)
        cells.add(self._records("read"), 1.0)

    def _come_back(self, loop: _Loop) -> None:
        # While the next record is made, by a generator with a loop of its own perhaps, this one has none.
        _innermost.set(loop.outer)
        if not loop.set_aside:
            cells.add(self._records("processed"), 1.0)

    def watermark(self, moment: datetime | float) -> None:
        """Say how fresh the data is: the newest processed record's own time.

        Args:
            moment: A datetime (a naive one is local time, as Python takes it) or Unix time in seconds. An earlier one
                than the newest so far changes nothing; anything else is logged and dropped.
        """
        try:
            value = _number(moment.timestamp() if isinstance(moment, datetime) else moment)
        except (OverflowError, ValueError, OSError):  # datetime.min and others that no Unix time exists for
            value = None
        if value is None:
            logger.warning("watermark() is dropped: expected a datetime or Unix time, got a %s", type(moment).__name__)
            return
        self.newest = value if self.newest is None else max(self.newest, value)

    def count_error(self, error_type: str) -> None:
        """Count an error that is no exception here, as what ended a command."""
        cells.add(self.scope.family(EXCEPTIONS).cell((error_type,)), 1.0)

    def count_exception(self, error: BaseException) -> None:
        """Count an exception by its class, once a run, however many scopes it passes."""
        if not isinstance(error, Exception):
            return
        # By run id: the id of a Run that is gone may be that of the next one.
        counted: set[str] = vars(error).setdefault(_COUNTED, set())
        if self.run_id not in counted:
            counted.add(self.run_id)
            self.count_error(type(error).__name__)

    def _records(self, outcome: str) -> cells.Cell:
        return self.scope.family(RECORDS).cell((outcome,))

    def _note_stage(self, name: str, seconds: float, error: BaseException | None) -> None:
        if name not in self.stages and len(self.stages) >= MAX_STAGES:
            self.scope.count_overflow(PREFIX + "stage_duration_seconds")
            name = cells.OVERFLOW
        if name:
            self.stages[name] = self.stages.get(name, 0.0) + seconds
        if error is None and name:
            self.stage_ends[name] = self._clock()
        elif error is not None:
            self.stage_ends.pop(name, None)
            self.count_exception(error)


def _number(value: object) -> float | None:
    """Return a number as a float, also one of a library's own types; None for everything else, NaN and infinities."""
    if isinstance(value, str | bytes):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except Exception:
        return None
    return number if math.isfinite(number) else None


def _length(records: object) -> float | None:
    """Return how many records there are, None where they cannot say: a lazy collection's own error is not the job's."""
    try:
        return float(len(records)) if isinstance(records, Sized) else None
    except Exception as error:
        logger.debug("the number of records is unknown: %s", type(error).__name__)
        return None


def _end_loop(loop: _Loop) -> None:
    # A loop left with `break` in a coroutine may be closed later and elsewhere: then it is not this context's.
    if _innermost.get() is loop:
        _innermost.set(loop.outer)


class Stage:
    """A stage of a run; see `Run.stage`."""

    def __init__(self, run: Run, name: str) -> None:
        self._run = run
        self._name = _stage_name(name)
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


def _stage_name(name: object) -> str:
    try:
        text = str(name)
    except Exception:
        text = ""
    if not text:
        logger.warning("a stage without a name is not timed: the empty name stands for the rest of the run")
    return text


_detached: list[Run] = []


def detached_run() -> Run:
    """Return the run that stands in where there is none: it takes everything and nobody pushes it."""
    if not _detached:
        _detached.append(Run(cells.detached_scope))
    return _detached[0]


def run_of(scope: Scope) -> Run:
    """Return the run that owns a scope; the detached one for the process's scope."""
    owner: Any = scope.owner
    return owner if isinstance(owner, Run) else detached_run()
