"""What do the lines of OpenMetrics add up to, and what may they not say together?

`Families` are those of one body: which one a line belongs to, and that no two claim a name. A `Family` is one of them:
its lines come together, those of one metric too, and each type has rules of its own for what a metric must have.

Errors are raised as `ParseError` whose line counts from the one at hand: 0 is that line, -1 the one before, where a
metric ended that lacks something. Reference: OpenMetrics 1.0, "Metric types" and "Text format".
"""

from __future__ import annotations

import math
from typing import Final, NoReturn

from pushgateway.errors import LimitError, ParseError
from pushgateway.formats.numbers import parse_float
from pushgateway.formats.openmetrics_kinds import KINDS, Kind, Part
from pushgateway.formats.openmetrics_numbers import parse_count, parse_seconds
from pushgateway.formats.quoting import quote
from pushgateway.limits import Limits
from pushgateway.model import Exemplar, Histogram, Labels, Metric, MetricFamily, MetricType, Sample, Summary

__all__ = ["Families", "Family"]

_TOGETHER: Final = "the lines of one metric stand together, and each says something else"
_BOUND_HINT: Final = 'a bound is a decimal number or +Inf, as in le="0.5"'
_COUNT_HINT: Final = "counts are whole numbers from 0 to 18446744073709551615"
_SUM_HINT: Final = "a sum is neither negative nor NaN, unless a gauge histogram has negative buckets"
_TYPE_HINT: Final = f"a type is one of {', '.join(KINDS)}, in lower case, with nothing after it"


class Families:
    """The families of one body while it is read.

    Args:
        limits: What the body may hold. There may be as many families as samples, with samples or without.
    """

    __slots__ = ("_claims", "_done", "_limits", "current")

    def __init__(self, limits: Limits) -> None:
        self.current = Family("", 0)
        """The family of the last line; before the first line one without a name, to which no sample belongs."""
        self._limits = limits
        self._done: list[Family] = []
        self._claims: dict[str, Family] = {}

    def described(self, name: str, number: int) -> Family:
        """Return the family that a TYPE, UNIT or HELP line speaks of.

        Args:
            name: The family's name; any text if it was quoted.
            number: The number of the line.

        Raises:
            ParseError: The family has samples already, or stands further up; or the one before it is not complete.
            LimitError: The name is too long, or it is one family too many.
        """
        family = self.current
        if name != family.name or not family.name:
            return self._begin(name, number)
        if family.has_samples:
            hint = "TYPE, UNIT and HELP stand before the samples of their family"
            family.fail("metadata after samples", hint)
        return family

    def of_sample(self, name: str, number: int) -> tuple[Family, Part]:
        """Return the family that a sample belongs to, which may be a new one of no known type, and what the sample is.

        Raises:
            ParseError: As from `described`.
            LimitError: As from `described`.
        """
        family = self.current
        if family.name:
            family.fix_kind()
            part = family.parts.get(name)
            if part is not None:
                return family, part
            if name == family.name:
                names = " and ".join(family.parts)
                family.fail(f"a {family.kind.word} has no sample named {quote(name)}", f"expected {names}")
        family = self._begin(name, number)
        family.fix_kind()
        return family, Part.VALUE

    @property
    def count(self) -> int:
        """How many families there are, also without samples."""
        return len(self._done) + bool(self.current.name)

    def end(self, number: int) -> tuple[MetricFamily, ...]:
        """Return the families that have samples, in their order; `number` is that of the last line.

        Raises:
            ParseError: The last one is not complete, or claims a name of another.
        """
        self._close(number)
        return tuple([family.build() for family in self._done if family.metrics])

    def _begin(self, name: str, number: int) -> Family:
        self._close(number)
        other = self._claims.get(name)
        if other is not None:
            _fail_clash(name, name, other)
        size = len(name) if name.isascii() else len(name.encode())
        if size > self._limits.name_bytes:
            raise LimitError("name-bytes", allowed=self._limits.name_bytes, seen=size)
        if len(self._done) >= self._limits.samples_per_push:
            raise LimitError("samples-per-push", allowed=self._limits.samples_per_push)
        self.current = Family(name, number)
        return self.current

    def _close(self, number: int) -> None:
        family = self.current
        if not family.name:
            return
        family.close()
        for name in family.kind.names(family.name):
            other = self._claims.setdefault(name, family)
            if other is not family:
                _fail_clash(family.name, name, other, line=family.line - number)
        self._done.append(family)


def _fail_clash(name: str, shared: str, other: Family, *, line: int = 0) -> NoReturn:
    if name == other.name:
        hint = f"all lines of a family stand together; those of this one began in line {other.line}"
    else:
        hint = f"the {other.kind.word} {quote(other.name)} in line {other.line} has that name too, or may have"
    raise ParseError(f"clashing name {quote(shared)}", line=line, hint=hint, family=name)


class _Point:
    """What is known of the metric whose lines are being read."""

    __slots__ = (
        *("bounds", "count", "created_ns", "exemplar", "exemplars", "labels", "said", "sum", "timestamp_ms", "value"),
    )

    def __init__(self, labels: Labels, timestamp_ms: int | None) -> None:
        self.labels = labels
        self.timestamp_ms = timestamp_ms
        self.value: float | None = None
        self.exemplar: Exemplar | None = None
        self.bounds: list[tuple[float, float]] = []
        self.exemplars: list[Exemplar | None] = []
        self.said: set[float | str] = set()  # which quantiles or states
        self.sum: float | None = None
        self.count: int | None = None
        self.created_ns: int | None = None


class Family:
    """One family while its lines are read.

    Attributes:
        name: Its name in OpenMetrics; the family that it becomes may have a longer one.
        line: The number of its first line.
        kind: Its type; unknown until a TYPE line says more.
        parts: What samples of which names say; empty until the first sample.
        metrics: What is complete.
        seen: The label sets of the metrics, those without bounds and states.
        point: The metric whose lines are being read, None if it is complete. Readers may append to `metrics` and `seen`
            themselves while there is none: gauges and unknown samples, and counters that are not negative.
    """

    __slots__ = (
        *("_bounds", "_help", "_typed", "_unit"),
        *("bound_label", "kind", "line", "metrics", "name", "parts", "point", "seen"),
    )

    def __init__(self, name: str, line: int) -> None:
        self.name = name
        self.line = line
        self.kind: Kind = KINDS["unknown"]
        self.parts: dict[str, Part] = {}
        self.metrics: list[Metric] = []
        self.seen: set[Labels] = set()
        self.bound_label = ""
        self._bounds: dict[str, float] = {}  # every metric has the same few
        self._typed = False
        self._unit: str | None = None
        self._help: str | None = None
        self.point: _Point | None = None

    @property
    def has_samples(self) -> bool:
        """Whether a sample was met."""
        return bool(self.parts)

    def fail(self, message: str, hint: str, *, line: int = 0) -> NoReturn:
        """Raise an error about this family."""
        raise ParseError(message, line=line, hint=hint, family=self.name)

    # Metadata

    def describe(self, keyword: str, text: str) -> None:
        """Take what a TYPE, UNIT or HELP line says, escapes resolved.

        Raises:
            ParseError: There was such a line before, the type does not exist, or the unit is not that of the name.
        """
        if {"TYPE": self._typed, "UNIT": self._unit is not None, "HELP": self._help is not None}[keyword]:
            self.fail(f"more than one {keyword} line", f"give each family one {keyword} line")
        if keyword == "HELP":
            self._help = text
        elif keyword == "UNIT":
            self._unit = text
            if text and not self.name.endswith(f"_{text}"):
                self.fail(f"unit {quote(text)} does not match the metric name", "the name ends in _ and the unit")
        elif text in KINDS:
            self.kind, self._typed = KINDS[text], True
        else:
            self.fail(f"unknown metric type {quote(text)}", _TYPE_HINT)
        if self._unit and not self.kind.has_unit:
            self.fail(f"a unit is not allowed for type {self.kind.word}", "leave the UNIT line out")

    def fix_kind(self) -> None:
        """Settle, before the first sample, what the samples are named."""
        if not self.parts:
            self.parts = {self.name + suffix: part for suffix, part in self.kind.parts.items()}
            self.bound_label = self.name if self.kind.word == "stateset" else self.kind.bound_label

    # Samples

    def take(
        self,
        part: Part,
        labels: Labels,
        value: str,
        *,
        timestamp_ms: int | None = None,
        exemplar: Exemplar | None = None,
    ) -> None:
        """Take one sample.

        Args:
            part: What `Families.of_sample` says that it is.
            labels: Sorted by name.
            value: A number of the grammar.
            timestamp_ms: Its timestamp, if it has one.
            exemplar: Its exemplar, if it has one.

        Raises:
            ParseError: The family cannot have this sample, or not here.
        """
        if exemplar is not None and part not in {Part.TOTAL, Part.BUCKET}:
            self.fail("an exemplar at a sample that cannot have one", "_total and _bucket samples alone have exemplars")
        if part is Part.VALUE:
            self.check_new(labels, timestamp_ms)
            self.seen.add(labels)
            self.metrics.append(Sample(labels, float(value), timestamp_ms))
            return
        whole, bound = labels, None
        if self.bound_label:
            labels, bound = self._without_bound(labels, part)
        point = self.point
        if point is None and self.metrics and self.kind.type is MetricType.COUNTER:
            point = self._reopened(labels)
        if point is None or point.labels != labels or point.timestamp_ms != timestamp_ms:
            point = self._next_point(labels, timestamp_ms)
        if part is Part.BUCKET:
            self._take_bucket(point, bound or "", value, exemplar)
        elif part is Part.QUANTILE:
            self._take_quantile(point, bound or "", value)
        elif part is Part.STATE:
            self._take_state(point, bound or "", value, labels=whole)
        else:
            self._take_once(point, part, value)
            point.exemplar = exemplar or point.exemplar

    def check_new(self, labels: Labels, timestamp_ms: int | None = None) -> None:
        """Refuse a label set of a gauge or unknown family that is there already, unless time goes on.

        Raises:
            ParseError: It is, and it does not.
        """
        if labels in self.seen:
            last = self.metrics[-1]
            if last.labels != labels:
                self.fail("lines of one metric are not together, or one is there twice", _TOGETHER)
            self._check_order(last.timestamp_ms, timestamp_ms)

    def _check_order(self, before_ms: int | None, now_ms: int | None) -> None:
        if before_ms is None and now_ms is None:
            self.fail("a sample is there twice", _TOGETHER)
        if before_ms is None or now_ms is None:
            self.fail("only some points of a metric have timestamps", "give timestamps to all points, or none at all")
        if now_ms < before_ms:
            self.fail("timestamps went backwards", "points of one metric stand in the order of their timestamps")

    def _without_bound(self, labels: Labels, part: Part) -> tuple[Labels, str | None]:
        wanted = part in {Part.BUCKET, Part.QUANTILE, Part.STATE}
        for index, (name, text) in enumerate(labels):
            if name == self.bound_label:
                if not wanted:
                    hint = "only its buckets, quantiles or states have that label"
                    self.fail(f"a {self.kind.word} has no label {quote(name)} here", hint)
                return labels[:index] + labels[index + 1 :], text
        if wanted:
            self.fail(f"a {part.value} without the label {quote(self.bound_label)}", "that label says which it is")
        return labels, None

    def _reopened(self, labels: Labels) -> _Point | None:
        """Return the last counter, which a reader has appended, as one whose lines go on; None for other labels."""
        last = self.metrics[-1]
        if last.labels != labels or not isinstance(last, Sample):
            return None
        self.metrics.pop()
        point = self.point = _Point(last.labels, last.timestamp_ms)
        point.value, point.exemplar, point.created_ns = last.value, last.exemplar, last.created_ns
        return point

    def _next_point(self, labels: Labels, timestamp_ms: int | None) -> _Point:
        previous = self.point
        if previous is not None:
            self.close()
        if previous is not None and previous.labels == labels:
            self._check_order(previous.timestamp_ms, timestamp_ms)
        elif labels in self.seen:
            self.fail("lines of one metric are not together", _TOGETHER)
        self.seen.add(labels)
        self.point = _Point(labels, timestamp_ms)
        return self.point

    def _take_bucket(self, point: _Point, bound: str, value: str, exemplar: Exemplar | None) -> None:
        limit = self._bound(bound)
        count = self._count(value)
        if point.bounds:
            last, before = point.bounds[-1]
            if limit <= last:
                self.fail("buckets out of order", "buckets come in the order of le, each once")
            if count < before:
                self.fail("bucket values out of order", "a bucket counts all that the ones before it count")
        if exemplar is not None and not exemplar.value <= limit:
            self.fail(f"an exemplar outside of its bucket {quote(bound)}", "its value is at most le")
        point.bounds.append((limit, count))
        point.exemplars.append(exemplar)

    def _take_quantile(self, point: _Point, bound: str, value: str) -> None:
        quantile, measured = self._bound(bound), float(value)
        if not 0 <= quantile <= 1:
            self.fail(f"invalid quantile {quote(bound)}", "a quantile is a number from 0 to 1")
        if quantile in point.said:
            self.fail(f"quantile {quote(bound)} is there twice", _TOGETHER)
        point.said.add(quantile)
        if measured < 0:
            self.fail("a quantile's value is negative", "what summaries measure is never negative; use a gauge")
        point.bounds.append((quantile, measured))

    def _take_state(self, point: _Point, name: str, value: str, *, labels: Labels) -> None:
        state = float(value)
        if state not in (0, 1):
            self.fail("a state that is neither 0 nor 1", "1 says that the metric is in this state, 0 that it is not")
        if name in point.said:
            self.fail(f"state {quote(name)} is there twice", _TOGETHER)
        point.said.add(name)
        self.metrics.append(Sample(labels, state, point.timestamp_ms))

    def _take_once(self, point: _Point, part: Part, value: str) -> None:
        """Take what a metric says once."""
        said = {Part.SUM: point.sum, Part.COUNT: point.count, Part.CREATED: point.created_ns}.get(part, point.value)
        if said is not None:
            self.fail(f"the {part.value} of a metric is there twice", _TOGETHER)
        if part is Part.COUNT:
            point.count = self._count(value)
        elif part is Part.CREATED:
            try:
                point.created_ns = parse_seconds(value)
            except ValueError:
                self.fail(f"{quote(value)} is no time of creation", "expected Unix seconds, in the years 1 to 9999")
        elif part is Part.SUM:
            point.sum = float(value)
            if not point.sum >= 0 and self.kind.type is not MetricType.GAUGE_HISTOGRAM:
                self.fail("a sum is negative or NaN", _SUM_HINT)
        else:
            point.value = float(value)
            if part is Part.INFO and point.value != 1:
                self.fail("an info that is not 1", "the labels of an info say it all, its value is 1")
            if not point.value >= 0:
                self.fail("a counter is negative or NaN", "a counter that can fall is a gauge")

    def _bound(self, text: str) -> float:
        bound = self._bounds.get(text)
        if bound is not None:
            return bound
        try:
            bound = parse_float(text)
        except ValueError:
            bound = math.nan
        # The one bound whose text must be canonical: Prometheus looks for it.
        if math.isnan(bound) or (bound == math.inf and text != "+Inf"):
            self.fail(f"invalid {self.bound_label} label {quote(text)}", _BOUND_HINT)
        self._bounds[text] = bound
        return bound

    def _count(self, text: str) -> int:
        count = parse_count(text)
        if count is None:
            self.fail(f"{quote(text)} is no count", _COUNT_HINT)
        return count

    # The end

    def close(self) -> None:
        """Take the metric whose lines have ended for complete.

        Raises:
            ParseError: It is not; the line is the one before that at hand.
        """
        point, self.point = self.point, None
        if point is None or self.kind.word == "stateset":
            return
        match self.kind.type:
            case MetricType.SUMMARY:
                total = (_or_zero(point.sum), point.count or 0, point.timestamp_ms, point.created_ns)
                self.metrics.append(Summary(point.labels, tuple(point.bounds), *total))
            case MetricType.HISTOGRAM | MetricType.GAUGE_HISTOGRAM:
                self.metrics.append(self._histogram(point))
            case _:
                if point.value is None:
                    self.fail("a counter without _total", f"expected a sample {self.name}_total", line=-1)
                rest = (point.timestamp_ms, point.exemplar, point.created_ns)
                self.metrics.append(Sample(point.labels, point.value, *rest))

    def _histogram(self, point: _Point) -> Histogram:
        if not point.bounds or point.bounds[-1][0] != math.inf:
            hint = 'expected a last bucket le="+Inf", which counts everything'
            self.fail("the +Inf bucket is missing", hint, line=-1)
        total = point.bounds[-1][1]
        if point.count is not None and point.count != total:
            hint = f"the bucket has {total:.17g}, the count is {point.count}"
            self.fail("the count does not match the +Inf bucket", hint, line=-1)
        if (point.sum is None) != (point.count is None):
            self.fail("a sum without a count, or a count without a sum", "give both, or neither", line=-1)
        negative = point.bounds[0][0] < 0
        if point.sum is not None and self.kind.type is MetricType.HISTOGRAM and negative:
            hint = "what histograms with negative buckets measure may fall, so that sum and count must be left out"
            self.fail("a sum beside negative buckets", hint, line=-1)
        if point.sum is not None and not (point.sum >= 0 or (negative and point.sum == point.sum)):
            self.fail("a sum is negative or NaN", _SUM_HINT, line=-1)
        return Histogram(
            point.labels,
            tuple(point.bounds),
            _or_zero(point.sum),
            total,
            point.timestamp_ms,
            tuple(point.exemplars) if any(point.exemplars) else (),
            created_ns=point.created_ns,
        )

    def build(self) -> MetricFamily:
        """Return the family, under the name and type that it has outside of OpenMetrics."""
        name = self.name + self.kind.stored_suffix
        return MetricFamily(name, self.kind.type, self._help or "", tuple(self.metrics), self._unit or "")


def _or_zero(sum: float | None) -> float:
    return 0.0 if sum is None else sum
