"""How does a piece of code become a job whose runs are measured and pushed?"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from pymetrics_sdk import cells
from pymetrics_sdk.durations import Duration
from pymetrics_sdk.errors import Skip
from pymetrics_sdk.lifecycle import Life, complete_async, newest_life
from pymetrics_sdk.run import Run, run_of
from pymetrics_sdk.spec import FailurePolicy, JobSpec
from pymetrics_sdk.wrapping import AsyncSteps, Kind, decorate, drive, kind_of

__all__ = ["Job", "current_run", "skip"]

F = TypeVar("F", bound=Callable[..., Any])

_entered: ContextVar[tuple[Life, ...]] = ContextVar("pymetrics_entered", default=())


class Job:
    """A batch job: a decorator for functions of every kind, and a context manager, also an asynchronous one.

    Immutable and re-entrant: one object may have any number of runs at the same time, which never mix.

    Args:
        name: The job's logical name, which becomes the label ``job``. Default: PYMETRICS_JOB, OTEL_SERVICE_NAME, the
            CronJob's name, the script's.
        schedule: When it is due, as a cron expression.
        tz: The schedule's time zone, an IANA name. Default: the machine's.
        every: When it is due, as an interval; not both.
        grace: How late a start may be. Default: 5 minutes, where there is a schedule.
        max_runtime: How long a run may take; a longer one has the result ``timeout``. Nothing is killed.
        heartbeat: Interval of signs of life. Default: none.
        gateway: Its URL. Default: PYMETRICS_GATEWAY_URL; without one nothing is pushed.
        labels: Further labels of the grouping key.
        on_push_error: ``log``, or ``raise`` PushError when the final push of a successful run fails. Default: ``log``,
            or ``raise`` with PYMETRICS_STRICT=1.
        timeout: Total deadline of the final push. Default: PYMETRICS_TIMEOUT or 5 seconds.
        version: The application's version, for the info metric.

    Raises:
        ConfigError: An argument cannot be used. Nothing else is ever raised into the job but PushError, when asked for.
    """

    __slots__ = ("_spec",)
    _spec: JobSpec

    def __init__(  # noqa: PLR0913 -- a declaration, whose arguments all have names and defaults
        self,
        name: str = "",
        *,
        schedule: str | None = None,
        tz: str | None = None,
        every: Duration | None = None,
        grace: Duration | None = None,
        max_runtime: Duration | None = None,
        heartbeat: Duration | None = None,
        gateway: str = "",
        labels: Mapping[str, str] | None = None,
        on_push_error: FailurePolicy | None = None,
        timeout: Duration | None = None,
        version: str = "",
    ) -> None:
        spec = JobSpec.of(
            name,
            schedule=schedule,
            tz=tz,
            every=every,
            grace=grace,
            max_runtime=max_runtime,
            heartbeat=heartbeat,
            gateway=gateway,
            labels=labels,
            on_push_error=on_push_error,
            timeout=timeout,
            version=version,
        )
        object.__setattr__(self, "_spec", spec)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Job is immutable; make another one to change {name}")

    @property
    def spec(self) -> JobSpec:
        """What the job promises, checked and in base units."""
        return self._spec

    def __repr__(self) -> str:
        return f"Job({self._spec.name!r})"

    def __call__(self, function: F) -> F:
        """Make every call of `function` one run; its signature and kind stay what they are."""
        return decorate(function, self._wrap)

    def __enter__(self) -> Run:
        return self._enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        life = self._leave()
        life.complete(life.begin_end(error))
        return isinstance(error, Skip)

    async def __aenter__(self) -> Run:
        return self._enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        await complete_async(self._leave(), error)
        return isinstance(error, Skip)

    def _enter(self) -> Run:
        life = Life(self._spec)
        run = life.begin()
        _entered.set((*_entered.get(), life))
        return run

    def _leave(self) -> Life:
        """Return the innermost run of this job that the context entered."""
        entered = _entered.get()
        life = next((each for each in reversed(entered) if each.spec is self._spec), None) or newest_life(self._spec)
        if life is None:
            raise RuntimeError(f"{self!r} is left without having been entered")
        _entered.set(tuple(each for each in entered if each is not life))
        return life

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        wrap = {
            Kind.FUNCTION: _wrap_function,
            Kind.COROUTINE: _wrap_coroutine,
            Kind.GENERATOR: _wrap_generator,
            Kind.ASYNC_GENERATOR: _wrap_async_generator,
        }[kind_of(function)]
        wrapper = wrap(self, function)
        functools.update_wrapper(wrapper, function)
        return wrapper


def _wrap_function(job: Job, function: Callable[..., Any]) -> Callable[..., Any]:
    def run_job(*args: Any, **kwargs: Any) -> Any:
        with job:
            return function(*args, **kwargs)

    return run_job


def _wrap_coroutine(job: Job, function: Callable[..., Any]) -> Callable[..., Any]:
    async def run_job(*args: Any, **kwargs: Any) -> Any:
        async with job:
            return await function(*args, **kwargs)

    return run_job


def _wrap_generator(job: Job, function: Callable[..., Any]) -> Callable[..., Any]:
    def run_job(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        life = Life(job.spec)
        life.begin(activate=False)
        error: BaseException | None = None
        try:
            return (yield from drive(function(*args, **kwargs), lambda: _activated(life)))
        except Skip as skipped:
            error = skipped
            return None
        except BaseException as raised:
            error = raised
            raise
        finally:
            life.complete(life.begin_end(error))

    return run_job


def _wrap_async_generator(job: Job, function: Callable[..., Any]) -> Callable[..., Any]:
    async def run_job(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        life = Life(job.spec)
        life.begin(activate=False)
        error: BaseException | None = None
        try:
            steps = AsyncSteps(function(*args, **kwargs), lambda: _activated(life))
            while await steps.advance():
                try:
                    steps.send((yield steps.item))
                except GeneratorExit:
                    await steps.close()
                    raise
                except BaseException as thrown:
                    steps.throw(thrown)
        except Skip as skipped:
            error = skipped
        except BaseException as raised:
            error = raised
            raise
        finally:
            await complete_async(life, error)

    return run_job


@contextmanager
def _activated(life: Life) -> Iterator[None]:
    """Make a run the current one for one step of its generator: between steps the caller's own run is current."""
    token = cells.current.set(life.scope)
    try:
        yield
    finally:
        cells.current.reset(token)


def current_run() -> Run:
    """Return the present run.

    In a thread without a context of its own, the process's only open run. Outside every run, a run that takes
    everything and is never pushed, so that a job's functions can be called without the job.
    """
    return run_of(cells.current_scope())


def skip(reason: str = "") -> NoReturn:
    """End the present run with the result ``skip``: there is nothing to do, and that is fine.

    A decorated function returns None, a ``with`` block ends.

    Args:
        reason: Why; logged, never exported.

    Raises:
        Skip: Always; the run catches it.
    """
    raise Skip(reason)
