"""How do sample lines, TYPE lines and HELP lines add up to metric families?

Text formats give a histogram or summary as many lines under several names (``h_bucket``, ``h_sum``, ``h_count``), in
any order and mixed with others. `Drafts` finds the family that a name belongs to and collects what the lines say.

A name means the family of exactly that name, whatever its type; else the summary or histogram that a TYPE line has
declared for the name without its suffix; else a new family. So ``h_count`` is a family of its own unless a TYPE line
has made ``h`` a histogram before. This is the original's order of search; a name's meaning stays through a body.

Errors are raised as `ParseError` without a line: the reader of lines knows which it was. Limits are enforced where a
family, a name or a value is first met, before memory is spent on it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from pushgateway.config import Limits
from pushgateway.errors import LimitError, ParseError
from pushgateway.formats.numbers import parse_float, uint64_or_none, wrap_uint64
from pushgateway.formats.quoting import quote
from pushgateway.model import Histogram, Labels, Metric, MetricFamily, MetricType, Sample, Summary
from pushgateway.tables import FEWEST, TableDraft

__all__ = ["Draft", "Drafts", "Part", "Target"]

_HISTOGRAMS: Final = (MetricType.HISTOGRAM, MetricType.GAUGE_HISTOGRAM)

BOUND_LABELS: Final = {
    MetricType.SUMMARY: "quantile",
    MetricType.HISTOGRAM: "le",
    MetricType.GAUGE_HISTOGRAM: "le",
}
"""The label that says which quantile or bucket a line is, instead of which series."""

_FLOAT_HINT: Final = "a bound is a decimal number, +Inf, -Inf or NaN"


class Part(enum.Enum):
    """What a line says about a summary or histogram: a quantile or bucket, or one of the totals."""

    BOUND = ""
    SUM = "_sum"
    COUNT = "_count"


class Target(NamedTuple):
    """Where the samples of one name go.

    `append` takes finished samples of counters, gauges and untyped families; it is None for summaries and histograms,
    whose lines go to ``draft.add(part, ...)``.
    """

    draft: Draft
    part: Part
    append: Callable[[Sample], None] | None


class Drafts:
    """The families of one body while it is read. Names given to it are metric names: readers have checked them.

    Args:
        limits: What the body may hold. There may be as many families as samples, with samples or without.
        utf8_names: Whether names may have any characters; for the readers.
    """

    __slots__ = ("_drafts", "_targets", "limits", "utf8_names")

    def __init__(self, limits: Limits, *, utf8_names: bool = False) -> None:
        self.limits = limits
        self.utf8_names = utf8_names
        self._drafts: dict[str, Draft] = {}
        self._targets: dict[str, Target] = {}

    def target(self, name: str) -> Target:
        """Return where a sample of this name goes; a family that has no type yet becomes untyped.

        Raises:
            LimitError: The name is too long (`name-bytes`), or one family too many (`samples-per-push`).
        """
        target = self._targets.get(name)
        if target is None:
            draft, part = self._find(name)
            draft.fix_type()
            append = None if draft.bound_label else draft.samples.append
            target = self._targets[name] = Target(draft, part, append)
        return target

    def described(self, name: str) -> Draft:
        """Return the family that a HELP or TYPE line with this name speaks of.

        Raises:
            LimitError: As from `target`.
        """
        return self._find(name)[0]

    @property
    def count(self) -> int:
        """How many families there are, also without samples."""
        return len(self._drafts)

    def build(self) -> tuple[MetricFamily, ...]:
        """Return the families that have samples, in the order of their first appearance."""
        families = []
        for draft in self._drafts.values():
            metrics = draft.metrics()
            if metrics:
                families.append(MetricFamily(draft.name, draft.type or MetricType.UNTYPED, draft.help or "", metrics))
        return tuple(families)

    def _find(self, name: str) -> tuple[Draft, Part]:
        draft = self._drafts.get(name)
        if draft is not None:
            return draft, Part.BOUND
        for suffix, part, types in _SUFFIXES:
            if name.endswith(suffix):
                stem = self._drafts.get(name[: -len(suffix)])
                if stem is not None and stem.type in types:
                    return stem, part
                break
        limits = self.limits
        if 4 * len(name) > limits.name_bytes and (seen := len(name.encode())) > limits.name_bytes:
            raise LimitError("name-bytes", allowed=limits.name_bytes, seen=seen)
        if len(self._drafts) >= limits.samples_per_push:
            raise LimitError("samples-per-push", allowed=limits.samples_per_push)
        draft = self._drafts[name] = Draft(name)
        return draft, Part.BOUND


_SUFFIXES: Final = (
    ("_count", Part.COUNT, (MetricType.SUMMARY, *_HISTOGRAMS)),
    ("_sum", Part.SUM, (MetricType.SUMMARY, *_HISTOGRAMS)),
    ("_bucket", Part.BOUND, _HISTOGRAMS),
)


class Draft:
    """A family while its lines are read.

    Attributes:
        name: Its name.
        type: None until a TYPE line or the first sample fixes it.
        help: None until a HELP line gives it.
        bound_label: ``le``, ``quantile`` or, for types without bounds, "".
        samples: The samples of a counter, gauge or untyped family.
    """

    __slots__ = ("_bounds", "_runs", "_series", "bound_label", "help", "name", "samples", "type")

    def __init__(self, name: str) -> None:
        self.name = name
        self.type: MetricType | None = None
        self.help: str | None = None
        self.bound_label = ""
        self.samples: list[Sample] = []
        # Samples that came as columns, behind the first so many of those that came one by one.
        self._runs: list[tuple[int, TableDraft]] = []
        self._bounds: dict[str, float] = {}  # every series has the same few
        self._series: dict[Labels, _Series] = {}

    def fix_type(self, type: MetricType = MetricType.UNTYPED) -> None:
        """Set the type unless it is set."""
        if self.type is None:
            self.type = type
            self.bound_label = BOUND_LABELS.get(type, "")

    def add(self, part: Part, labels: Labels, value: float, *, timestamp_ms: int | None = None) -> None:
        """Take one line of a summary or histogram.

        Args:
            part: What the line's name says that it is.
            labels: Sorted by name; may hold the bound label.
            value: The line's value.
            timestamp_ms: Its timestamp, if any.

        Raises:
            ParseError: The bound is not a number, or a histogram's count is negative.
        """
        bound = None
        for index, (name, text) in enumerate(labels):
            if name == self.bound_label:
                labels = labels[:index] + labels[index + 1 :]
                bound = self.bound(text)
                break
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series()
        if timestamp_ms is not None:
            series.timestamp_ms = timestamp_ms
        if part is Part.SUM:
            series.sum = value
        elif part is Part.COUNT:
            series.count = self._count(value, "count")
        elif bound is not None and bound == bound:  # noqa: PLR0124  a bound of NaN is ignored, as is none at all
            if self.type is not MetricType.SUMMARY:
                value = self._count(value, "bucket population")
            series.bounds.append((bound, value))

    def add_run(self, names: tuple[str, ...], columns: Sequence[Sequence[str]], values: Iterable[float]) -> None:
        """Take samples with the same label names, which follow what came before.

        Args:
            names: Their names, sorted.
            columns: The values of each label, one a sample.
            values: The value of each sample.
        """
        runs, before = self._runs, len(self.samples)
        if not runs or runs[-1][0] != before or runs[-1][1].names != names:
            runs.append((before, TableDraft(names)))
        runs[-1][1].add(columns, values)

    def metrics(self) -> Sequence[Metric]:
        """Return what was collected, in the order of the series' first appearance."""
        if not self.bound_label:
            return self._all_samples()
        finish = _Series.summary if self.type is MetricType.SUMMARY else _Series.histogram
        return tuple(finish(series, labels) for labels, series in self._series.items())

    def _all_samples(self) -> Sequence[Sample]:
        if not self._runs:
            return tuple(self.samples)
        if len(self._runs) == 1 and not self.samples and len(self._runs[0][1].values) >= FEWEST:
            return self._runs[0][1].table()
        found: list[Sample] = []
        at = 0
        for before, run in self._runs:
            found += self.samples[at:before]
            found += run.table()
            at = before
        return (*found, *self.samples[at:])

    def bound(self, text: str) -> float:
        """Read the value of the bound label.

        Raises:
            ParseError: It is not a number.
        """
        bound = self._bounds.get(text)
        if bound is not None:
            return bound
        try:
            bound = self._bounds[text] = parse_float(text)
        except ValueError:
            message = f"expected float as value for '{self.bound_label}' label, got {quote(text)}"
            raise ParseError(message, hint=_FLOAT_HINT, family=self.name) from None
        return bound

    def _count(self, value: float, what: str) -> float:
        """Return a count as an int where it is one; the rest differs by type as in the original."""
        if self.type is MetricType.SUMMARY:
            return wrap_uint64(value)
        whole = uint64_or_none(value)
        if whole is not None:
            return whole
        if value < 0:
            message = f"negative {what} for histogram {quote(self.name)}"
            raise ParseError(message, hint="counts are never negative", family=self.name)
        return value


class _Series:
    """What is known of one summary or histogram; what no line gave is 0."""

    __slots__ = ("bounds", "count", "sum", "timestamp_ms")

    def __init__(self) -> None:
        self.bounds: list[tuple[float, float]] = []
        self.sum = 0.0
        self.count: float = 0
        self.timestamp_ms: int | None = None

    def summary(self, labels: Labels) -> Summary:
        return Summary(labels, tuple(self.bounds), self.sum, int(self.count), self.timestamp_ms)

    def histogram(self, labels: Labels) -> Histogram:
        counts = [self.count, *(count for _, count in self.bounds)]
        if all(type(count) is int for count in counts):
            return Histogram(labels, tuple(self.bounds), self.sum, self.count, self.timestamp_ms)
        buckets = tuple((bound, float(count)) for bound, count in self.bounds)
        return Histogram(labels, buckets, self.sum, float(self.count), self.timestamp_ms)
