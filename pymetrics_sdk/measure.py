"""How often is a function called, how long does it take, and how does it end?"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar, overload

from pymetrics_sdk import cells
from pymetrics_sdk.cells import Cell, Definition, Scope, current_scope
from pymetrics_sdk.errors import Skip
from pymetrics_sdk.exits import exit_code
from pymetrics_sdk.metrics import DEFAULT_BUCKETS
from pymetrics_sdk.slo import SLO
from pymetrics_sdk.telemetry import count_internal_error
from pymetrics_sdk.wrapping import AsyncSteps, Kind, decorate, kind_of

__all__ = ["measure"]

F = TypeVar("F", bound=Callable[..., Any])

_CALLS = Definition(
    "counter",
    "function_calls",
    "Calls of a function, by how they ended.",
    ("function", "module", "result", "error_type", "objective_name", "objective_percentile"),
    additive=True,
)
_SECONDS = Definition(
    "histogram",
    "function_calls_duration_seconds",
    "Duration of a function's calls.",
    ("function", "module", "objective_name", "objective_percentile", "objective_latency_threshold"),
    DEFAULT_BUCKETS,
    additive=True,
)
_CONCURRENT = Definition(
    "gauge", "function_calls_concurrent", "Calls of a function that are under way.", ("function", "module")
)


@overload
def measure(function: F, /) -> F: ...
@overload
def measure(*, slo: SLO | None = None, name: str = "") -> Callable[[F], F]: ...
def measure(function: F | None = None, /, *, slo: SLO | None = None, name: str = "") -> F | Callable[[F], F]:
    """Measure every call of a function: ``function_calls_total``, ``_duration_seconds`` and ``_concurrent``.

    Takes functions, coroutine functions, generators and asynchronous generators (timed from their first step to their
    end), partials, static and class methods (in either order of the decorators) and objects with async ``__call__``.
    What is wrapped stays what it is, returns what it returned and raises what it raised. Arguments, results and
    messages are never exported, only names of functions and of exception classes.

    Args:
        function: What to measure.
        slo: What the function promises.
        name: The label ``function``; default: the function's qualified name.
    """

    def decorator(target: F) -> F:
        return decorate(target, lambda plain: _wrap(plain, slo, name))

    return decorator if function is None else decorator(function)


@dataclass(slots=True)
class _Meter:
    """The series of one function in one scope; those of errors are looked up when they happen."""

    scope: Scope
    ok: Cell
    duration: Cell
    concurrent: Cell


class _Function:
    """One measured function."""

    def __init__(self, function: Callable[..., Any], slo: SLO | None, name: str) -> None:
        inner = _innermost(function)
        self._name = name or getattr(inner, "__qualname__", type(inner).__qualname__)
        self._module = getattr(inner, "__module__", None) or type(inner).__module__
        self._slo = slo or SLO()

    def begin(self) -> _Meter | None:
        """Note that a call begins; None if that failed, which the function must not notice."""
        try:
            scope = current_scope()
            meter: _Meter | None = scope.cache.get(self)
            if meter is None:
                meter = scope.cache[self] = self._meter(scope)
            cells.add(meter.concurrent, 1.0)
        except Exception:
            count_internal_error("measuring a call")
            return None
        return meter

    def end(self, meter: _Meter | None, seconds: float, error: BaseException | None) -> None:
        """Note that a call ended."""
        if meter is None:
            return
        try:
            calls = meter.ok if error is None or _is_fine(error) else self._calls(meter.scope, type(error).__name__)
            cells.finish_call(meter.concurrent, calls, meter.duration, seconds)
        except Exception:
            count_internal_error("measuring a call")

    def _meter(self, scope: Scope) -> _Meter:
        duration = (self._name, self._module, *self._slo.histogram_labels(self._name))
        return _Meter(
            scope,
            self._calls(scope, ""),
            scope.family(_SECONDS).cell(duration),
            scope.family(_CONCURRENT).cell((self._name, self._module)),
        )

    def _calls(self, scope: Scope, error_type: str) -> Cell:
        result = "error" if error_type else "ok"
        objective = self._slo.counter_labels(self._name)
        return scope.family(_CALLS).cell((self._name, self._module, result, error_type, *objective))


def _innermost(function: Callable[..., Any]) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _is_fine(error: BaseException) -> bool:
    """Whether an exception is a way to end well: a closed generator, a skip, an exit with status 0."""
    return isinstance(error, GeneratorExit | Skip) or (isinstance(error, SystemExit) and exit_code(error) == 0)


def _wrap(function: Callable[..., Any], slo: SLO | None, name: str) -> Callable[..., Any]:
    wrap = {
        Kind.FUNCTION: _wrap_function,
        Kind.COROUTINE: _wrap_coroutine,
        Kind.GENERATOR: _wrap_generator,
        Kind.ASYNC_GENERATOR: _wrap_async_generator,
    }[kind_of(function)]
    wrapper = wrap(function, _Function(function, slo, name))
    functools.update_wrapper(wrapper, function)
    return wrapper


# The four wrappers repeat their frame on purpose: a context manager in its place made a call 0.6 us slower.
def _wrap_function(function: Callable[..., Any], measured: _Function) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        meter = measured.begin()
        started = perf_counter()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            measured.end(meter, perf_counter() - started, error)
            raise
        measured.end(meter, perf_counter() - started, None)
        return result

    return call


def _wrap_coroutine(function: Callable[..., Any], measured: _Function) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        meter = measured.begin()
        started = perf_counter()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            measured.end(meter, perf_counter() - started, error)
            raise
        measured.end(meter, perf_counter() - started, None)
        return result

    return call


def _wrap_generator(function: Callable[..., Any], measured: _Function) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        meter = measured.begin()
        started = perf_counter()
        try:
            result = yield from function(*args, **kwargs)
        except BaseException as error:
            measured.end(meter, perf_counter() - started, error)
            raise
        measured.end(meter, perf_counter() - started, None)
        return result

    return call


def _wrap_async_generator(function: Callable[..., Any], measured: _Function) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        meter = measured.begin()
        started = perf_counter()
        steps = AsyncSteps(function(*args, **kwargs), nullcontext)
        try:
            while await steps.advance():
                try:
                    steps.send((yield steps.item))
                except GeneratorExit:
                    await steps.close()
                    raise
                except BaseException as thrown:
                    steps.throw(thrown)
        except BaseException as error:
            measured.end(meter, perf_counter() - started, error)
            raise
        measured.end(meter, perf_counter() - started, None)

    return call
