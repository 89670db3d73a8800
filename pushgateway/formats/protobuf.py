"""How are bodies of delimited protobuf read and written, the format of the Go client and of native histograms?

A body is io.prometheus.client.MetricFamily messages, each behind its length as a varint. The modules:

    protobuf_messages   the message classes            protobuf_encode   metrics to the canonical form, by hand
    protobuf_decode     messages to metrics            protobuf_fields   where fields begin and end
    protobuf_tables     large families to tables

Two bytes of a body can become an empty message, which takes a hundred bytes of memory, so nothing that is large is
given to the protobuf library whole: a family is read in windows, cut between its metrics, and of a metric that is
larger than a window the fields are counted before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final

from pushgateway.config import Limits
from pushgateway.errors import LimitError, ParseError
from pushgateway.formats.protobuf_decode import decode_metrics, read_metric
from pushgateway.formats.protobuf_encode import (
    VALUES,
    count_metrics,
    cut_metrics,
    encode_metrics,
    encode_starts,
    encode_varint,
)
from pushgateway.formats.protobuf_fields import CutShortError, count_fields, fields, split_delimited
from pushgateway.formats.protobuf_messages import METRIC_TYPES, decode_error, family_class, is_loaded
from pushgateway.formats.protobuf_tables import FEWEST_BYTES, find_metrics, read_metrics
from pushgateway.formats.spending import check_spending
from pushgateway.model import Exemplar, Histogram, Labels, Metric, MetricFamily, MetricType, Sample, Summary
from pushgateway.rules import conflicts
from pushgateway.rules.conflicts import Findings
from pushgateway.tables import SampleTable

__all__ = [
    "count_metrics",
    "cut_metrics",
    "decode_metrics",
    "encode_metrics",
    "encode_starts",
    "is_loaded",
    "most_samples",
    "parse",
    "render",
    "render_as_text",
    "render_family",
]

_WINDOW_BYTES: Final = 1 << 16
"""How much of a family is given to the protobuf library at a time, and read between two calls of a caller's check."""

_FIELDS_A_SAMPLE: Final = 4
"""For each sample that a push may have, how many fields it may: they take 0.5 us each to find, whatever is in them."""

_STANDARD: Final = Limits()

_TYPES: Final = {number: type_ for type_, number in METRIC_TYPES.items()}
_VALUES: Final = {
    MetricType.COUNTER: "counter",
    MetricType.GAUGE: "gauge",
    MetricType.SUMMARY: "summary",
    MetricType.UNTYPED: "untyped",
    MetricType.HISTOGRAM: "histogram",
    MetricType.GAUGE_HISTOGRAM: "histogram",
}
"""The field of a Metric that holds the value of each type."""

_METRIC: Final = 4
_NAME_TAG: Final = b"\x0a"
_HELP_TAG: Final = b"\x12"
_TYPE_TAG: Final = b"\x18"
_UNIT_TAG: Final = b"\x2a"


def parse(
    body: bytes, *, limits: Limits = _STANDARD, check: Callable[[], None] | None = None
) -> tuple[MetricFamily, ...]:
    """Read a body.

    Args:
        body: The decompressed body; empty means no families.
        limits: What the body may hold: `samples-per-push` (as many as the lines in text, and the buckets of native
            histograms; also as many families, and four times as many fields), `labels_per_series`, `name_bytes` and
            `value_bytes`, and `prepared_bytes` for all of that together.
        check: Called for each window of at most 64 KiB (or one metric, if it is larger) before it is read, and for as
            many bytes when they are looked through; what it raises ends the reading. None for no call.

    Returns:
        The families in the order of the body, also those without metrics and those with the same name. Labels are
        sorted by name; names are not looked at.

    Raises:
        ParseError: The body is not delimited protobuf, or a text in it is not UTF-8.
        InconsistentPushError: A metric has no value of its family's type; the original's consistency check says so.
        LimitError: One of `limits` is exceeded.
    """
    reader = _Reader(limits, check)
    try:
        for number, message in enumerate(split_delimited(body), start=1):
            reader.read(message, number)
    except CutShortError:
        raise ParseError("unexpected EOF", hint="the body ends inside a message or its length") from None
    reader.findings.raise_any()
    return tuple(reader.families)


def most_samples(body: bytes, *, enough: int) -> int:
    """Return about how many samples, buckets, families and exemplars a body has at most: 0.1 ms a MiB, unread.

    All but families stand behind their tag, which may be other things too: most bodies have a third of that. Families
    may have nothing at all, and are found one by one.

    Args:
        body: The decompressed body, which may be damaged.
        enough: Where to stop counting families.

    Returns:
        The number; some number above `enough` if it is more.
    """
    samples = body.count(b"\x22") + body.count(b"\x1a") + body.count(b"\x82\x01")
    with suppress(CutShortError):
        samples += sum(1 for _ in islice(split_delimited(body), max(0, enough - samples + 1)))
    return samples


class _Reader:
    """One body on its way to families."""

    def __init__(self, limits: Limits, check: Callable[[], None] | None) -> None:
        self.families: list[MetricFamily] = []
        self.findings = Findings()
        self._limits = limits
        self._check = check
        self._seen_bytes = self._fields = self._samples = self._labels = self._text_bytes = self._wide_bytes = 0
        self._names: dict[tuple[str, ...], bool] = {}
        """Combinations of label names that are within the limits, and whether they are sorted."""

    def read(self, message: memoryview, number: int) -> None:
        """Read the `number`-th message of the body."""
        if len(self.families) >= self._limits.samples_per_push:
            raise LimitError("samples-per-push", allowed=self._limits.samples_per_push)
        try:
            if not self._read_table(message):
                self._read_family(*self._split(message))
        except CutShortError:
            problem = f"message {number} of the body is cut short or damaged"
            raise ParseError("proto: cannot parse invalid wire-format data", hint=problem) from None
        except decode_error() as error:
            problem = f"message {number} of the body: {error}"
            raise ParseError("proto: cannot parse invalid wire-format data", hint=problem) from None
        except UnicodeDecodeError as error:
            problem = f"message {number} of the body has a byte {error.object[error.start]:#04x}; text must be UTF-8"
            raise ParseError("string field contains invalid UTF-8", hint=problem) from None

    def _read_table(self, message: memoryview) -> bool:
        """Read a family that is a table; returns False, and has read nothing, if it is none or beyond a limit."""
        if len(message) < FEWEST_BYTES:
            return False
        try:
            found = find_metrics(message)
            value = VALUES.get(_type(found.head)) if found is not None else None
            if found is None or value is None:
                return False
            read = read_metrics(found, value, limits=self._limits, check=self._check)
            if read is None:
                return False
            table, tail = read
            head = family_class().FromString(bytes(found.head) + bytes(tail))
            number = found.fields + len(table) + sum(1 for _ in fields(tail))
        except (CutShortError, decode_error()):
            return False
        if VALUES.get(_TYPES[head.type]) != value or not self._take(table, len(found.rest) - len(tail), number):
            return False
        self._check_head(head)
        self._add_family(head, table)
        return True

    def _take(self, table: SampleTable, size_bytes: int, number: int) -> bool:
        """Count a table, unless that is beyond a limit."""
        samples, labels = self._samples + len(table), self._labels + len(table) * len(table.labels.names)
        text_bytes = self._text_bytes + size_bytes
        most = self._limits.samples_per_push
        if samples > most or self._fields + number > _FIELDS_A_SAMPLE * most:
            return False
        counted = self._samples, self._labels, self._text_bytes
        self._samples, self._labels, self._text_bytes = samples, labels, text_bytes
        try:
            self._check_spending()
        except LimitError:
            self._samples, self._labels, self._text_bytes = counted
            return False
        self._fields += number
        return True

    def _split(self, message: memoryview) -> tuple[Any, list[memoryview]]:
        """Part a family into a message of all but its metrics, and windows of those."""
        head = bytearray()
        windows: list[memoryview] = []
        number = 0
        for window, is_metrics, number in _windows(message):
            if self._fields + number > _FIELDS_A_SAMPLE * self._limits.samples_per_push:
                raise LimitError("samples-per-push", allowed=self._limits.samples_per_push)
            if is_metrics:
                windows.append(window)
            else:
                head += window
            self._go_on(len(window))
        self._fields += number
        self._go_on(1)  # the length of the message, which may be all of it
        return family_class().FromString(bytes(head)), windows

    def _go_on(self, seen_bytes: int) -> None:
        """Call the caller's check if that many bytes more make it a window."""
        self._seen_bytes += seen_bytes
        if self._seen_bytes >= _WINDOW_BYTES:
            self._seen_bytes = 0
            if self._check is not None:
                self._check()

    def _read_family(self, head: Any, windows: Iterable[memoryview]) -> None:
        self._check_head(head)
        type_ = _TYPES[head.type]
        value = _VALUES[type_]
        metrics: list[Metric] = []
        for window in windows:
            if self._check is not None:
                self._check()
            if len(window) > _WINDOW_BYTES:
                self._check_large(window)
            for message in family_class().FromString(bytes(window)).metric:
                metric = self._finished(read_metric(type_, message))
                if not message.HasField(value):
                    self.findings.add(conflicts.other_value, head.name, metric.labels, type=type_)
                metrics.append(metric)
            if self._samples > self._limits.samples_per_push:
                raise LimitError("samples-per-push", allowed=self._limits.samples_per_push)
            self._text_bytes += len(window)
            self._check_spending()
        self._add_family(head, tuple(metrics))

    def _add_family(self, head: Any, metrics: Sequence[Metric]) -> None:
        self.families.append(MetricFamily(head.name, _TYPES[head.type], head.help, metrics, head.unit))

    def _check_head(self, head: Any) -> None:
        _check_text("name-bytes", head.name, self._limits.name_bytes)
        _check_text("value-bytes", head.help, self._limits.value_bytes)
        _check_text("name-bytes", head.unit, self._limits.name_bytes)

    def _check_spending(self) -> None:
        check_spending(
            self._limits,
            samples=self._samples,
            families=len(self.families),
            labels=self._labels,
            text_bytes=self._text_bytes,
            wide_bytes=self._wide_bytes,
        )

    def _check_large(self, window: memoryview) -> None:
        """Count the fields of a metric that is larger than a window before messages are made of them."""
        allowed = self._limits.samples_per_push
        found = count_fields(window, family_class().DESCRIPTOR, at_most=4 * allowed)
        if found > 4 * allowed:
            raise LimitError("samples-per-push", allowed=allowed)
        self._labels += found  # what a field becomes is about as large
        self._check_spending()

    def _finished(self, metric: Metric) -> Metric:
        """Return a metric with its labels sorted, and count it."""
        in_order = self._check_labels(metric.labels)
        if not isinstance(metric, Sample):
            self._samples += _line_count(metric)
            for exemplar in _exemplars(metric):
                self._check_labels(exemplar.labels)
        else:
            self._samples += 1
            if metric.exemplar is not None:
                self._check_labels(metric.exemplar.labels)
        if isinstance(metric, Histogram) and (native := metric.native) is not None:
            # Two bytes of a body may be one of these.
            self._labels += len(native.negative.spans) + len(native.positive.spans) + len(native.exemplars)
        if not in_order:
            metric = metric._replace(labels=tuple(sorted(metric.labels)))
        return metric

    def _check_labels(self, labels: Labels) -> bool:
        """Return whether labels, which are within the limits and UTF-8, are sorted by name."""
        names = tuple([name for name, _ in labels])
        in_order = self._names.get(names)
        if in_order is None:
            in_order = self._names[names] = self._check_names(names)
        self._labels += len(names)
        values = [value for _, value in labels]
        try:
            text = "".join(values)
        except TypeError:  # not UTF-8
            text = ""
            self._check_values(values)
        if 4 * len(text) > self._limits.value_bytes or not text.isascii():
            self._check_values(values)
        return in_order

    def _check_names(self, names: tuple[str, ...]) -> bool:
        limits = self._limits
        if len(names) > limits.labels_per_series:
            raise LimitError("labels-per-series", allowed=limits.labels_per_series, seen=len(names))
        for name in names:
            _check_text("name-bytes", name, limits.name_bytes)
        return list(names) == sorted(names)

    def _check_values(self, values: Iterable[str]) -> None:
        for value in values:
            _check_text("value-bytes", value, self._limits.value_bytes)
            if not value.isascii():
                self._wide_bytes += len(value)


def _type(head: memoryview) -> MetricType:
    return _TYPES[family_class().FromString(bytes(head)).type]


def _windows(message: memoryview) -> Iterator[tuple[memoryview, bool, int]]:
    """Cut a family into runs of metrics of up to 64 KiB, or one that is larger, and runs of its other fields.

    Yields:
        A run, whether it is of metrics, and how many fields there are up to its end.
    """
    start, of_metrics, count = 0, False, 0
    for count, (number, begin, end) in enumerate(fields(message), start=1):
        if begin > start and ((number == _METRIC) != of_metrics or end - start > _WINDOW_BYTES):
            yield message[start:begin], of_metrics, count - 1
            start = begin
        of_metrics = number == _METRIC
    if start < len(message):
        yield message[start:], of_metrics, count


def _exemplars(metric: Metric) -> Iterator[Exemplar]:
    if isinstance(metric, Histogram):
        yield from filter(None, metric.exemplars)
        if metric.native is not None:
            yield from metric.native.exemplars
    elif isinstance(metric, Sample) and metric.exemplar is not None:
        yield metric.exemplar


def _check_text(limit: str, text: str | bytes, allowed: int) -> None:
    if isinstance(text, bytes):  # how the protobuf library hands on what is not UTF-8
        text = text.decode()
    if 4 * len(text) > allowed and (seen := len(text.encode())) > allowed:
        raise LimitError(limit, allowed=allowed, seen=seen)


def _line_count(metric: Metric) -> int:
    if isinstance(metric, Histogram):
        native = metric.native
        sides = (native.negative, native.positive) if native is not None else ()
        return len(metric.buckets) + 2 + sum(len(side.deltas) + len(side.counts) for side in sides)
    return len(metric.quantiles) + 2 if isinstance(metric, Summary) else 1


def render(families: Iterable[MetricFamily]) -> bytes:
    """Write families as delimited messages, in their order, also those without metrics."""
    return b"".join(
        render_family(family.name, family.type, family.help, unit=family.unit, bodies=(encode_metrics(family),))
        for family in families
    )


def render_family(name: str, type: MetricType, help: str, *, unit: str, bodies: Iterable[bytes]) -> bytes:
    """Write one family as a delimited message.

    Args:
        name: Its name.
        type: Its type.
        help: Its help text, "" for none.
        unit: Its unit, "" for none.
        bodies: Results of `encode_metrics`, which stand one after the other.
    """
    head = _text(_NAME_TAG, name) + _text(_HELP_TAG, help) + _TYPE_TAG + encode_varint(METRIC_TYPES[type])
    tail = _text(_UNIT_TAG, unit)
    parts = (head, *bodies, tail)
    return b"".join((encode_varint(sum(map(len, parts))), *parts))


def _text(tag: bytes, text: str) -> bytes:
    data = text.encode()
    return tag + encode_varint(len(data)) + data if data else b""


def render_as_text(body: bytes, *, compact: bool) -> bytes:
    """Write delimited messages in protobuf's text format, which is for people to read.

    Args:
        body: A result of `render` or of several `render_family`.
        compact: One line a family, else one line a field and a blank line behind each family.
    """
    from google.protobuf import text_format  # noqa: PLC0415 - see protobuf_messages.family_class

    messages = (family_class().FromString(bytes(message)) for message in split_delimited(body))
    texts = (text_format.MessageToString(message, as_one_line=compact, as_utf8=True) for message in messages)
    return "".join(f"{text}\n" for text in texts).encode()
