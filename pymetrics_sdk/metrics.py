"""How do user code's own counters, gauges and histograms find the run they belong to?

A metric is defined once, usually at module level, and holds no numbers. Each update goes to the current run's scope, or
to the process's outside every run, so that two runs of a job never mix.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from threading import RLock
from types import TracebackType
from typing import ClassVar, Self
from weakref import WeakValueDictionary

from pymetrics_sdk import cells
from pymetrics_sdk.cells import Definition, Scope, current_scope
from pymetrics_sdk.errors import ConfigError

__all__ = ["DEFAULT_BUCKETS", "Counter", "Gauge", "Histogram"]

DEFAULT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds; OpenTelemetry's advice for HTTP durations."""

MAX_SERIES = 1000
"""The default of max_series: some 100 KB of text, the most that a push should carry of one metric."""

_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OWN_LABELS = {"counter": frozenset[str](), "gauge": frozenset[str](), "histogram": frozenset({"le"})}

_RESERVED = ("batch_job_", "pymetrics_")
"""A family of such a name would clash with one of the same push, which a gateway then refuses as a whole."""

_definitions: WeakValueDictionary[str, Metric] = WeakValueDictionary()
_definitions_lock = RLock()


class Metric:
    """What counters, gauges and histograms share.

    Args:
        name: The family's name; a counter's gets ``_total`` if it lacks it.
        help: One line for people.
        label_names: Names of labels; ``job`` and ``instance`` belong to the gateway and are refused.
        max_series: How many series this metric may have in one run; what comes later is counted in one series whose
            labels all are ``__overflow__``, and in ``pymetrics_label_overflow_total{metric}``.

    Raises:
        ConfigError: A name that no gateway takes or that is the SDK's own (``batch_job_``, ``pymetrics_``), or another
            metric of this name has another type or other labels.
    """

    kind: ClassVar[str]
    _scope: Scope | None = None
    _label_values: tuple[str, ...] = ()

    def __init__(self, name: str, help: str, label_names: Iterable[str] = (), *, max_series: int = MAX_SERIES) -> None:
        self._define(name, help, tuple(label_names), max_series, ())

    def _define(
        self, name: str, help: str, label_names: tuple[str, ...], max_series: int, bounds: tuple[float, ...]
    ) -> None:
        self.definition = Definition(
            kind=self.kind,
            name=_checked_name(self.kind, name),
            help=help or name,
            label_names=_checked_labels(self.kind, name, label_names),
            bounds=bounds,
            max_series=max_series,
            additive=self.kind != "gauge",
        )
        with _definitions_lock:
            known = _definitions.get(self.definition.name)
            if known is not None and known.definition.shape != self.definition.shape:
                raise ConfigError(name, f"is already defined as {_describe(known.definition)}")
            _definitions[self.definition.name] = known or self

    def labels(self, *values: object, **named: object) -> Self:
        """Return the series with these label values.

        Args:
            values: One value for each label name, in their order.
            named: The same by name; not both.

        Raises:
            ConfigError: The values do not match the label names.
        """
        names = self.definition.label_names
        if named:
            if values or set(named) != set(names):
                raise ConfigError(self.definition.name, f"expected a value for each of {list(names)}")
            values = tuple(named[name] for name in names)
        if len(values) != len(names) or not names or self._label_values:
            raise ConfigError(self.definition.name, f"expected a value for each of {list(names)}")
        series = object.__new__(type(self))
        series.definition = self.definition
        series._scope = self._scope
        series._label_values = tuple(map(str, values))
        return series

    def _cell(self) -> cells.Cell:
        scope = self._scope or current_scope()
        found: cells.Cell | None = scope.cache.get(self)
        return self._find(scope) if found is None else found

    def _find(self, scope: Scope) -> cells.Cell:
        if len(self._label_values) != len(self.definition.label_names):
            raise ConfigError(
                self.definition.name, f"call .labels() with a value for each of {self.definition.label_names}"
            )
        cell = scope.family(self.definition).cell(self._label_values)
        if not self._label_values and len(scope.cache) < cells.MAX_BOUND:
            # Halves the cost of an update. Not for what labels() returns, which is a new object each time.
            scope.cache[self] = cell
        return cell

    def bound_to(self, scope: Scope) -> Self:
        """Return this metric tied to one scope, whatever run is current."""
        series = object.__new__(type(self))
        series.definition = self.definition
        series._scope = scope
        series._label_values = self._label_values
        return series

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.definition.name!r})"


class Counter(Metric):
    """A number that only grows during a run."""

    kind = "counter"

    def inc(self, amount: float = 1.0) -> None:
        """Add to the counter.

        Args:
            amount: Zero or more.

        Raises:
            ConfigError: The amount is negative, or label values are missing.
        """
        if amount < 0:
            raise ConfigError(self.definition.name, "a counter cannot decrease")
        cells.add(self._cell(), amount)


class Gauge(Metric):
    """A number that is what it was last set to; one that was never set is not pushed."""

    kind = "gauge"

    def set(self, value: float) -> None:
        """Set the gauge."""
        cells.put(self._cell(), float(value))

    def inc(self, amount: float = 1.0) -> None:
        """Add to the gauge."""
        cells.add(self._cell(), amount)

    def dec(self, amount: float = 1.0) -> None:
        """Subtract from the gauge."""
        cells.add(self._cell(), -amount)

    def set_to_current_time(self) -> None:
        """Set the gauge to the present Unix time in seconds."""
        cells.put(self._cell(), time.time())


class Histogram(Metric):
    """Observations in buckets.

    Args:
        name: The family's name.
        help: One line for people.
        label_names: Names of labels.
        buckets: Upper bounds, ascending; +Inf is added. Default: `DEFAULT_BUCKETS`, in seconds.
        max_series: As for every metric.

    Raises:
        ConfigError: As for every metric, or the buckets do not ascend.
    """

    kind = "histogram"

    def __init__(
        self,
        name: str,
        help: str,
        label_names: Iterable[str] = (),
        *,
        buckets: Sequence[float] = DEFAULT_BUCKETS,
        max_series: int = MAX_SERIES,
    ) -> None:
        bounds = tuple(float(bound) for bound in buckets if bound != float("inf"))
        if not bounds or any(low >= high for low, high in pairwise(bounds)):
            raise ConfigError(name, "buckets must ascend, and there must be at least one")
        self._define(name, help, tuple(label_names), max_series, bounds)

    def observe(self, value: float) -> None:
        """Add one observation."""
        cells.observe(self._cell(), value)

    def time(self) -> AbstractContextManager[None]:
        """Return a context manager that observes how many seconds its block takes."""
        return _Timer(self)


class _Timer(AbstractContextManager[None]):
    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._histogram.observe(time.perf_counter() - self._started)


def _checked_name(kind: str, name: str) -> str:
    if not _METRIC_NAME.fullmatch(name):
        raise ConfigError("metric name", f"{name!r} does not match {_METRIC_NAME.pattern}")
    if name.startswith(_RESERVED):
        raise ConfigError("metric name", f"{name!r}: names that begin with {' or '.join(_RESERVED)} are the SDK's own")
    return name.removesuffix("_total") if kind == "counter" else name


def _checked_labels(kind: str, name: str, label_names: tuple[str, ...]) -> tuple[str, ...]:
    for label in label_names:
        if not _LABEL_NAME.fullmatch(label) or label.startswith("__"):
            raise ConfigError(name, f"{label!r} is no label name")
        if label in {"job", "instance"} | _OWN_LABELS[kind]:
            raise ConfigError(
                name, f"the label {label!r} belongs to {'the bucket' if label == 'le' else 'the grouping key'}"
            )
    if len(set(label_names)) != len(label_names):
        raise ConfigError(name, "the same label twice")
    return label_names


def _renew_lock() -> None:
    """Make the lock new in a forked child: the thread that held it does not exist there."""
    global _definitions_lock  # noqa: PLW0603 -- one per process
    _definitions_lock = RLock()


def _describe(definition: Definition) -> str:
    return f"a {definition.kind} with the labels {list(definition.label_names)}"


cells.forked.append(_renew_lock)
