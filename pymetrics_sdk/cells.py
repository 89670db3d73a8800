"""Where do the numbers of our metrics live, and what happens to them at a fork?

A cell is one series: a short list of floats under one lock for the whole process. One lock is enough (an update holds
it for some 100 ns) and is the only one that a fork has to make new; it is re-entrant, so that a signal handler that
counts something cannot deadlock with the code that it interrupted.

A scope is one set of cells: that of a run, or the process's own for everything that happens outside runs.
"""

from __future__ import annotations

import logging
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from threading import RLock
from typing import Any, Protocol

from prometheus_client.core import Metric
from prometheus_client.registry import CollectorRegistry

__all__ = ["Cell", "Definition", "Family", "Scope", "add", "current_scope", "observe", "process_scope", "put"]

logger = logging.getLogger("pymetrics_sdk")

OVERFLOW = "__overflow__"
"""The value of every label of the series that takes what does not fit into max_series."""

MAX_BOUND = 10_000
"""How many definitions a scope knows by identity: code that makes the same metric anew at every use pays with a slower
look-up from there on, not with memory."""


@dataclass(frozen=True, slots=True)
class Definition:
    """What one metric is, apart from its numbers.

    Args:
        kind: ``counter``, ``gauge`` or ``histogram``.
        name: The family's name without ``_total``.
        help: One line for people.
        label_names: In the order in which values are given.
        bounds: A histogram's upper bounds without +Inf, ascending; empty otherwise.
        max_series: Series beyond this number go to the overflow series.
        additive: Whether the numbers of child processes are added to the parent's. True for counters and histograms.
    """

    kind: str
    name: str
    help: str
    label_names: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    max_series: int = 1000
    additive: bool = False

    @property
    def shape(self) -> tuple[str, str, tuple[str, ...], tuple[float, ...]]:
        """What two definitions must share to be the same metric."""
        return self.kind, self.name, self.label_names, self.bounds

    @property
    def exposed_name(self) -> str:
        """The name that queries use."""
        return self.name + "_total" if self.kind == "counter" else self.name

    @property
    def width(self) -> int:
        """The number of floats in a cell: a histogram has its sum first, then a count for each bucket and +Inf."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


class Cell:
    """One series' numbers; `slot` is its place in a child process's file, -1 where it has none."""

    __slots__ = ("family", "label_values", "slot", "values")

    def __init__(self, family: Family, label_values: tuple[str, ...]) -> None:
        self.family = family
        self.label_values = label_values
        self.values = [0.0] * family.definition.width
        self.slot = -1


class Mirror(Protocol):
    """What takes a copy of every additive change, in a child process."""

    def store(self, cell: Cell) -> None:
        """Take the cell's present numbers; called with the lock held."""


_lock = RLock()
_mirror: Mirror | None = None


def mirror_to(mirror: Mirror | None) -> None:
    """Copy every later change to `mirror`; None ends that."""
    global _mirror  # noqa: PLW0603 -- one per process, read on every update
    _mirror = mirror


def add(cell: Cell, amount: float) -> None:
    """Add to a counter or gauge."""
    with _lock:
        cell.values[0] += amount
        if _mirror is not None:
            _mirror.store(cell)


def put(cell: Cell, value: float) -> None:
    """Set a gauge."""
    with _lock:
        cell.values[0] = value
        if _mirror is not None:
            _mirror.store(cell)


def observe(cell: Cell, value: float) -> None:
    """Put one observation into a histogram."""
    index = bisect_left(cell.family.definition.bounds, value) + 1
    with _lock:
        values = cell.values
        values[0] += value
        values[index] += 1.0
        if _mirror is not None:
            _mirror.store(cell)


def finish_call(concurrent: Cell, calls: Cell, durations: Cell, seconds: float) -> None:
    """Note the end of a measured call, all three series under one lock: a third of the cost of three updates."""
    index = bisect_left(durations.family.definition.bounds, seconds) + 1
    with _lock:
        concurrent.values[0] -= 1.0
        calls.values[0] += 1.0
        values = durations.values
        values[0] += seconds
        values[index] += 1.0
        if _mirror is not None:
            _mirror.store(calls)
            _mirror.store(durations)


class Family:
    """All series of one metric in one scope; a collector of prometheus_client."""

    __slots__ = ("_overflowed", "cells", "definition", "scope")

    def __init__(self, definition: Definition, scope: Scope) -> None:
        self.definition = definition
        self.scope = scope
        self.cells: dict[tuple[str, ...], Cell] = {}
        self._overflowed = False

    def cell(self, label_values: tuple[str, ...]) -> Cell:
        """Return the series with these label values, or the overflow series if there is no room for another one."""
        found = self.cells.get(label_values)
        if found is not None:
            return found
        with _lock:
            if len(self.cells) >= self.definition.max_series and label_values and label_values not in self.cells:
                self._overflow()
                label_values = (OVERFLOW,) * len(label_values)
            return self.cells.setdefault(label_values, Cell(self, label_values))

    def _overflow(self) -> None:
        self.scope.count_overflow(self.definition.exposed_name)
        if not self._overflowed:
            self._overflowed = True
            logger.warning(
                "metric %s has %d series, its max_series: further label values are counted under %s",
                self.definition.exposed_name,
                self.definition.max_series,
                OVERFLOW,
            )

    def snapshot(self) -> list[tuple[tuple[str, ...], list[float]]]:
        """Return label values and a copy of the numbers of each series."""
        with _lock:
            # Of a copy: a signal handler or a finalizer that counts runs in this thread, where the lock is no barrier.
            return [(labels, list(cell.values)) for labels, cell in list(self.cells.items())]

    def describe(self) -> list[Metric]:
        """Return the family's name and type without samples, as registries want to know."""
        return [Metric(self.definition.name, self.definition.help, self.definition.kind)]

    def collect(self) -> list[Metric]:
        """Return the family's samples; a family without any series has none, and so is not pushed."""
        metric = self.describe()[0]
        for label_values, values in self.snapshot():
            add_samples(metric, self.definition, label_values, values)
        return [metric]


def add_samples(metric: Metric, definition: Definition, label_values: tuple[str, ...], values: list[float]) -> None:
    """Append one series' samples to `metric`."""
    labels = dict(zip(definition.label_names, label_values, strict=True))
    if definition.kind == "counter":
        metric.add_sample(definition.exposed_name, labels, values[0])
    elif definition.kind == "gauge":
        metric.add_sample(definition.name, labels, values[0])
    else:
        total = 0.0
        for bound, count in zip([*map(_bound_text, definition.bounds), "+Inf"], values[1:], strict=True):
            total += count
            metric.add_sample(definition.name + "_bucket", {**labels, "le": bound}, total)
        metric.add_sample(definition.name + "_count", labels, total)
        metric.add_sample(definition.name + "_sum", labels, values[0])


def _bound_text(bound: float) -> str:
    return repr(float(bound))


class Scope:
    """One set of series: a run's, or the process's own.

    Args:
        scope_id: The run id; "" for the process.
        owner: The run; None for the process.
    """

    def __init__(self, scope_id: str = "", *, owner: Any = None) -> None:
        self.scope_id = scope_id
        self.owner = owner
        self.registry = CollectorRegistry()
        self.families: list[Family] = []
        self._bound: dict[int, tuple[Definition, Family]] = {}
        self.cache: dict[object, Any] = {}
        self.overflows: dict[str, float] = {}

    def family(self, definition: Definition) -> Family:
        """Return this scope's series of a metric, made at its first use."""
        # By identity: hashing a definition costs more than the update. The tuple keeps the definition alive, so that
        # its id cannot come to mean another one.
        bound = self._bound.get(id(definition))
        if bound is not None:
            return bound[1]
        with _lock:
            family = self._bind(definition)
            if len(self._bound) < MAX_BOUND:
                self._bound[id(definition)] = (definition, family)
            return family

    def _bind(self, definition: Definition) -> Family:
        for family in self.families:
            if family.definition.shape == definition.shape:
                return family
        family = Family(definition, self)
        self.families.append(family)
        try:
            self.registry.register(family)
        except ValueError as error:
            # The name is taken in this registry, by one of the job's own prometheus_client metrics. Counting goes on
            # without being exported: a metric may never stop a job.
            logger.warning("metric %s is not exported: %s", definition.name, error)
        return family

    def count_overflow(self, name: str) -> None:
        """Count one update that went to the overflow series of `name`."""
        self.overflows[name] = self.overflows.get(name, 0.0) + 1.0

    def forget(self) -> None:
        """Start from zero, as a forked child must: its parent exports what was counted before the fork."""
        self.cache.clear()
        self.overflows.clear()
        for family in self.families:
            family.cells.clear()


process_scope = Scope()
"""What is counted outside every run; each final push carries it too."""

detached_scope = Scope()
"""What is told to a run where there is none. In a spawned child its numbers go home to the parent's only open run."""

current: ContextVar[Scope | None] = ContextVar("pymetrics_scope", default=None)
_open: tuple[Scope, ...] = ()
_warned = False


def current_scope() -> Scope:
    """Return the scope that an update belongs to.

    The context's run; in a thread that has none (a ThreadPoolExecutor copies no context) the process's only open run;
    with several open runs nobody can know which one is meant: the process's scope, and one warning.
    """
    scope = current.get()
    if scope is not None:
        return scope
    if not _open:
        return process_scope
    if len(_open) == 1:
        return _open[0]
    _warn_ambiguous()
    return process_scope


def _warn_ambiguous() -> None:
    global _warned  # noqa: PLW0603 -- once per process
    if not _warned:
        _warned = True
        logger.warning(
            "a thread without a current run counts while %d runs are open: the numbers go to the process, not to a run "
            "(start the thread with contextvars.copy_context().run)",
            len(_open),
        )


def open_scope(scope: Scope) -> None:
    """Note that a run began."""
    global _open  # noqa: PLW0603 -- read without the lock, so a new tuple each time
    with _lock:
        _open = (*_open, scope)


def close_scope(scope: Scope) -> None:
    """Note that a run ended."""
    global _open  # noqa: PLW0603 -- as above
    with _lock:
        _open = tuple(each for each in _open if each is not scope)


def open_scopes() -> tuple[Scope, ...]:
    """Return the scopes of all open runs."""
    return _open


def every_scope() -> Iterator[Scope]:
    """Yield the process's scope, the one for what is told to no run, and those of all open runs."""
    yield process_scope
    yield detached_scope
    yield from _open


forked: list[Callable[[], None]] = []
"""What else must run in a forked child, after the locks are new; other modules append to it."""


def _after_fork_in_child() -> None:
    # Not acquired before the fork: a fork in a thread would wait for a lock whose holder may wait for the fork.
    global _lock, _mirror  # noqa: PLW0603 -- another thread may have held the lock when the process was copied
    _lock = RLock()
    _mirror = None
    for scope in every_scope():
        _renew_registry_locks(scope.registry)
        scope.forget()
    for action in forked:
        action()


def _renew_registry_locks(registry: CollectorRegistry) -> None:
    """Give a run's registry and the prometheus_client metrics in it new locks."""
    vars(registry)["_lock"] = RLock()
    for collector in list(getattr(registry, "_collector_to_names", {})):
        if isinstance(collector, Family):
            continue
        children = vars(collector).get("_metrics")
        for metric in (collector, *(children.values() if isinstance(children, dict) else ())):
            for holder in (metric, *_values_of(metric)):
                if "_lock" in vars(holder):
                    vars(holder)["_lock"] = RLock()


def _values_of(metric: object) -> Iterator[object]:
    for name in ("_value", "_sum", "_count"):
        value = vars(metric).get(name)
        if hasattr(value, "__dict__"):
            yield value
    yield from (bucket for bucket in vars(metric).get("_buckets", ()) if hasattr(bucket, "__dict__"))


os.register_at_fork(after_in_child=_after_fork_in_child)
