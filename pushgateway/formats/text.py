"""How is text format 0.0.4, the exposition format of Prometheus, read and written?

The format: https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details. Bodies are read as
strictly as the original reads them.

Reading is the gateway's hottest loop, so it has two paths. One regular expression splits a window of the body into
rows, and takes the well-formed sample lines apart on the way; all else goes, a line at a time, to
`pushgateway.formats.text_line`, which knows the whole grammar and every error. The fast path takes a strict subset of
what the careful one takes, which tests hold them to (`parse_carefully`). Many rows of one name with the same labels are
taken apart all at once, and stay columns (`pushgateway.tables`).

A row is a line, or a run of lines that say nothing: blank ones and comments. A compressed body can have a hundred
million of those, and they take 1 to 70 ns each this way, where a line for itself takes 1.4 us.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby, islice, pairwise
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from pushgateway.config import Limits
from pushgateway.errors import LimitError, ParseError
from pushgateway.formats.drafts import Drafts, Target
from pushgateway.formats.label_shapes import Shape, find_shape
from pushgateway.formats.line_starts import PairTexts, escape, pair_text, start_line, starts, written_name
from pushgateway.formats.numbers import format_value, format_values
from pushgateway.formats.spending import check_spending
from pushgateway.formats.text_line import read_line
from pushgateway.model import Histogram, Labels, Metric, MetricFamily, MetricType, Sample, Summary
from pushgateway.names import METRIC_NAME_RE, is_metric_name, shown
from pushgateway.tables import ROWS_AT_ONCE, Column, SampleTable, join_rows

__all__ = [
    "VALUE",
    "format_value",
    "parse",
    "parse_carefully",
    "render",
    "render_header",
    "render_labels",
    "render_metrics",
]

_WINDOW_BYTES: Final = 1 << 16
"""How much of a body is split into rows at a time; bounds what a body costs in memory beside its families, and what is
read between two calls of a caller's check: at most some 15 000 samples, 50 ms."""

_STANDARD: Final = Limits()

_CRLF_HINT: Final = "the line ends with CR LF, and only LF ends a line; --push.lenient-line-endings accepts both"

# Digits are limited so that no number here can overflow a double: those with more digits go the careful way.
VALUE: Final = r"[+-]?(?:[0-9]{1,99}+(?:\.[0-9]{0,99}+)?|\.[0-9]{1,99}+)(?:[eE][+-]?[0-9]{1,2}+)?|[+-]Inf|NaN"

# What stands between braces is checked by its shape: see label_shapes. It may hold closing braces, as paths do, but not
# with a blank after them: a pattern that tries every closing brace, from the end of the line, takes half as long again.
_LABELS: Final = r"[^\\\n}]*+(?:\}(?! )[^\\\n}]*+)*+"

# Lines that say nothing: blank, or a comment that is neither HELP nor TYPE.
_SILENT: Final = r"(?:[ \t]*+(?:#(?![ \t]*+(?:HELP|TYPE)[ \t\n])[^\n]*+)?+\n++)++"

# Any one line, which ends without an LF only where the body does.
_LINE: Final = r"[^\n]*\n|[^\n]+"

# Before _SILENT only because a third of the lines of many bodies are these, and need not be tried for silence.
_DESCRIPTION: Final = r"# (?:HELP|TYPE) [^\n]*\n"

# A row is name, labels, value of a well-formed sample; or else all of the text is in the last place.
_rows = re.compile(rf"({METRIC_NAME_RE})(?:\{{({_LABELS})\}})? ({VALUE})\n|({_DESCRIPTION}|{_SILENT}|{_LINE})")
_lines_or_silence = re.compile(rf"()()()({_SILENT}|{_LINE})")
_lines = re.compile(rf"()()()({_LINE})")


_Row: TypeAlias = tuple[str, str, str, str]
_name = itemgetter(0)

_RUN: Final = 32
"""How many lines of one name are worth being read as columns."""

_ALIKE: Final = 256
"""How many lines that look alike are worth an expression for those that follow, which takes up to 2 ms to compile."""


class _Alike(NamedTuple):
    """How lines look, and what takes them apart: name, values, number; any other lines stand between.

    100 000 lines took 105 ms this way, and 185 where all was split and compared.
    """

    shape: Shape
    rows: re.Pattern[str]


@lru_cache(maxsize=64)
def _alike_rows(separators: tuple[str, ...]) -> re.Pattern[str]:
    labels = r'"([^"\\\n]*+)"'.join(map(re.escape, separators))
    return re.compile(rf"^({METRIC_NAME_RE})\{{{labels}\}} ({VALUE})\n", re.MULTILINE)


def parse(
    body: bytes,
    *,
    limits: Limits = _STANDARD,
    lenient_line_endings: bool = False,
    utf8_names: bool = False,
    check: Callable[[], None] | None = None,
) -> tuple[MetricFamily, ...]:
    """Read a body.

    Args:
        body: The decompressed body; empty means no families.
        limits: What the body may hold: `samples_per_push`, `labels_per_series`, `name_bytes` and `value_bytes`, and
            `prepared_bytes` for all of that together. The default is that of `Limits`, so that nothing is ever read
            without limits.
        lenient_line_endings: Whether CR LF may end a line and the last line may lack its LF.
        utf8_names: Whether names in quotes may have any characters.
        check: Called before each window of at most 64 KiB (or one line, if it is longer); what it raises ends the
            reading. None for no call.

    Returns:
        The families that have samples, in the order of their first appearance. Labels are sorted by name.

    Raises:
        ParseError: The body is not valid; knows line, family and what was expected.
        LimitError: There are more sample lines or families than `samples-per-push`, more labels in a line than
            `labels-per-series`, a name longer than `name-bytes`, a label value or HELP text longer than `value-bytes`,
            or all in all more than `prepared-bytes`.
    """
    if lenient_line_endings:
        body = _with_line_feeds(body)
    return _Reader(limits, careful=False, utf8_names=utf8_names).read(body, check)


def parse_carefully(body: bytes, *, limits: Limits = _STANDARD, utf8_names: bool = False) -> tuple[MetricFamily, ...]:
    """Read a body as `parse` does, but every line by the whole grammar: slower, and what `parse` is tested against.

    Raises:
        ParseError: The body is not valid.
        LimitError: The body is beyond a limit.
    """
    return _Reader(limits, careful=True, utf8_names=utf8_names).read(body, None)


def _with_line_feeds(body: bytes) -> bytes:
    body = body.replace(b"\r\n", b"\n")
    return body if body.endswith(b"\n") else body + b"\n"


class _Reader:
    """One body on its way to families."""

    __slots__ = ("_alike", "_careful", "_drafts", "_labels", "_limits", "_samples", "_text_bytes", "_wide_bytes")

    def __init__(self, limits: Limits, *, careful: bool, utf8_names: bool) -> None:
        self._limits = limits
        self._careful = careful
        self._drafts = Drafts(limits, utf8_names=utf8_names)
        self._alike: _Alike | None = None  # how many lines of the last window looked
        self._samples = self._labels = self._text_bytes = self._wide_bytes = 0

    def read(self, body: bytes, check: Callable[[], None] | None) -> tuple[MetricFamily, ...]:
        size = min(_WINDOW_BYTES, self._limits.value_bytes)
        start = 0
        while start < len(body):
            if check is not None:
                check()
            # Whole lines of at most `size` bytes together; a line that is longer stands alone.
            end = body.rfind(b"\n", start, start + size) + 1 or body.find(b"\n", start + size) + 1 or len(body)
            try:
                self._read_window(body[start:end])
            except ParseError as error:
                error.line += body.count(b"\n", 0, start)
                raise
            start = end
        return self._drafts.build()

    def _read_window(self, window: bytes) -> None:
        # The fast way looks at no value's length: what could be too long stands in a window that is.
        pattern = _rows if len(window) <= self._limits.value_bytes else _lines_or_silence
        try:
            text = window.decode()
        except UnicodeDecodeError:
            # Comments may hold any bytes, names and values may not: only the careful way looks.
            text = window.decode(errors="surrogateescape")
            pattern = _lines_or_silence
        self._samples += self._read_rows(_lines if self._careful else pattern, text)
        if self._samples > self._limits.samples_per_push:
            raise LimitError("samples-per-push", allowed=self._limits.samples_per_push)
        self._labels += window.count(b'="')
        self._text_bytes += len(window)
        if not window.isascii():
            self._wide_bytes += len(window)
        check_spending(
            self._limits,
            samples=self._samples,
            families=self._drafts.count,
            labels=self._labels,
            text_bytes=self._text_bytes,
            wide_bytes=self._wide_bytes,
        )

    def _read_rows(self, pattern: re.Pattern[str], text: str) -> int:
        """Read a window and return how many samples it has; the lines of errors are counted from its beginning."""
        if self._alike is not None and pattern is _rows and (read := self._read_alike(text)) is not None:
            return read
        return self._read_rows_of_any(pattern, text)

    def _read_rows_of_any(self, pattern: re.Pattern[str], text: str) -> int:
        rows: list[_Row] = pattern.findall(text)
        read = samples = 0
        for start, end in _runs(rows):
            samples += self._read_each(rows, read, start, pattern=pattern, text=text)
            read = start
            if self._read_run(rows[start:end]):
                samples += end - start
                read = end
        return samples + self._read_each(rows, read, len(rows), pattern=pattern, text=text)

    def _read_run(self, rows: Sequence[_Row]) -> bool:
        """Read lines of one name as columns; returns False, and has read none, if they are not all alike."""
        target = self._drafts.target(rows[0][0])
        if target.append is None:
            return False
        _, braced, values, _ = zip(*rows, strict=True)
        separators = braced[0].split('"')[::2]
        shape = find_shape(separators, self._limits)
        # A line feed stands in no line, so that it tells lines that have other numbers of quotes.
        parts = '"\n"'.join(braced).split('"')
        width = len(separators) * 2
        if shape is None or shape.parts != width - 1 or len(parts) != width * len(rows) - 1:
            return False
        if any(parts[2 * at :: width].count(one) < len(rows) for at, one in enumerate(separators)):
            return False
        if parts[width - 1 :: width].count("\n") < len(rows) - 1:
            return False
        if len(rows) >= _ALIKE:
            self._alike = _Alike(shape, _alike_rows(tuple(separators)))
        columns: list[Sequence[str]] = [parts[at::width] for at in range(1, width - 1, 2)]
        _take(target, shape, columns, map(float, values))
        return True

    def _read_alike(self, text: str) -> int | None:
        """Read a window of which many lines may look like the last ones; returns None, and has read none, if not."""
        assert self._alike is not None  # noqa: S101 - asked by the caller
        alike, (shape, pattern) = self._alike, self._alike
        # One list, of which columns are slices: tuples are neither made nor turned.
        flat = pattern.split(text)
        width = pattern.groups + 1
        others, names = flat[::width], flat[1::width]
        edges = {0, *[at for at, other in enumerate(others) if other]}
        if names and names.count(names[0]) < len(names):
            edges.update([at for at, (one, next_) in enumerate(pairwise(names), start=1) if one != next_])
        if len(edges) * _RUN > len(names):
            self._alike = None
            return None
        samples = lines = 0
        for begin, end in pairwise([*sorted(edges), len(names)]):
            try:
                if other := others[begin]:
                    samples += self._read_rows_of_any(_rows, other)
                    lines += other.count("\n")
                if begin < end:
                    _, *columns, values = [flat[begin * width + at : end * width : width] for at in range(1, width)]
                    _take(self._drafts.target(names[begin]), shape, columns, map(float, values))
                    samples += len(values)
                    lines += len(values)
            except ParseError as error:
                error.line += lines
                raise
        if 2 * len(names) < lines and self._alike is alike:
            self._alike = None
        return samples

    def _read_each(self, rows: Sequence[_Row], start: int, end: int, *, pattern: re.Pattern[str], text: str) -> int:
        """Read some rows of a window, one by one, and return how many samples they are."""
        drafts, limits, new = self._drafts, self._limits, tuple.__new__
        samples = end - start
        last_name, line, index = "", "", 0
        last_separators: list[str] = []
        try:
            for index, (name, braced, value, line) in enumerate(islice(rows, start, end), start):  # noqa: B007  read in the handler
                if line:
                    samples -= not read_line(line, drafts)
                    continue
                if name != last_name:
                    target, last_name = drafts.target(name), name
                    append = target.append
                labels: Labels = ()
                if braced:
                    parts = braced.split('"')
                    separators, values = parts[::2], parts[1::2]
                    if separators != last_separators:
                        shape, last_separators = find_shape(separators, limits), separators
                    if shape is None or len(parts) != shape.parts:
                        read_line(f"{name}{{{braced}}} {value}\n", drafts)
                        continue
                    labels = tuple(zip(shape.names, shape.sort(values) if shape.sort else values, strict=True))
                if append is None:
                    target.draft.add(target.part, labels, float(value))
                else:
                    # Not Sample(...), whose Python-level __new__ costs a tenth of the whole parse.
                    append(new(Sample, (labels, float(value), None, None, None)))
        except ParseError as error:
            hint = _CRLF_HINT if line.endswith(("\r\n", "\r")) else error.hint
            before = next(islice(pattern.finditer(text), index, None)).start()
            number = 1 + text.count("\n", 0, before)
            raise ParseError(error.message, line=number, hint=hint, family=shown(error.family)) from None
        return samples


def _take(target: Target, shape: Shape, columns: Sequence[Sequence[str]], values: Iterable[float]) -> None:
    """Take samples of one shape; the columns are in the order of their lines, of which errors have the number."""
    ordered: Sequence[Sequence[str]] = shape.sort(columns) if shape.sort else columns
    if target.append is not None:
        target.draft.add_run(shape.names, ordered, values)
        return
    for number, (*row, value) in enumerate(zip(*ordered, values, strict=True), start=1):
        try:
            target.draft.add(target.part, tuple(zip(shape.names, row, strict=True)), value)
        except ParseError as error:
            raise ParseError(error.message, line=number, hint=error.hint, family=shown(error.family)) from None


def _runs(rows: Sequence[_Row]) -> Iterator[tuple[int, int]]:
    """Yield where many sample lines of one name begin and end, as far as they stand in this window."""
    # Most bodies are short, or have a family for each few lines: to see that costs them next to nothing.
    if len(rows) < _RUN or len(set(map(_name, rows))) * _RUN > len(rows):
        return
    end = 0
    for name, run in groupby(rows, _name):
        start, end = end, end + sum(1 for _ in run)
        # Those at the edge of a window most likely go on in the next.
        if name and (end - start >= _RUN or start == 0 or end == len(rows)):
            yield start, end


def render(families: Iterable[MetricFamily]) -> bytes:
    """Write a whole exposition: families sorted by name, each with its header; those without metrics are left out."""
    parts = []
    for family in sorted(families, key=attrgetter("name")):
        if family.metrics:
            parts.append(render_header(family.name, family.type, family.help))
            parts.append(render_metrics(family))
    return b"".join(parts)


def render_header(name: str, type: MetricType, help: str) -> bytes:
    """Write a family's HELP line, if it has a help text, and its TYPE line.

    The format knows no gauge histograms: they are written as histograms.
    """
    word = "histogram" if type is MetricType.GAUGE_HISTOGRAM else type.value
    written = written_name(name)
    escaped = help.replace("\\", "\\\\").replace("\n", "\\n")
    head = f"# HELP {written} {escaped}\n" if help else ""
    return f"{head}# TYPE {written} {word}\n".encode()


def render_labels(labels: Labels) -> bytes:
    """Write a label set with its braces; nothing at all for no labels. Names beyond the legacy grammar are quoted."""
    joined = ",".join(map(pair_text, labels))
    return f"{{{joined}}}".encode() if joined else b""


def render_metrics(family: MetricFamily) -> bytes:
    """Write a family's sample lines, without its header.

    Metrics with fewer labels come first, then they are ordered by the values of their labels, in the order of the names
    (which are not compared). Buckets and quantiles keep their order. Names beyond the legacy grammar are quoted, those
    of metrics inside the braces.

    Args:
        family: Its labels are sorted by name.

    Returns:
        Lines that end in LF; b"" for a family without metrics.
    """
    name = family.name
    legacy = is_metric_name(name)
    bare, labelled = starts(name, legacy=legacy)
    if isinstance(family.metrics, SampleTable) and family.metrics.labels.names:
        return _table_lines(labelled, family.metrics)
    lines: list[str] = []
    texts = PairTexts()
    for metric in sorted(family.metrics, key=_order) if len(family.metrics) > 1 else family.metrics:
        labels = ",".join([texts[pair] for pair in metric.labels])
        if isinstance(metric, Sample):
            start = f"{labelled}{labels}}}" if labels else bare
            lines.append(f"{start} {format_value(metric.value)}{_stamp(metric)}")
        elif isinstance(metric, Summary):
            lines += _summary_lines(name, metric, labels, legacy=legacy)
        else:
            lines += _histogram_lines(name, metric, labels, legacy=legacy)
    lines.append("")
    return "\n".join(lines).encode()


# Without these characters lines are in the order of their values: what follows a value is a quote, which is less than
# what follows a value that it is the beginning of.
_odd = re.compile(r'[\x00-"\\]').search


def _table_lines(start: str, table: SampleTable) -> bytes:
    labels = table.labels
    pieces: list[Column] = []
    is_odd = False
    for name, column in zip(labels.names, labels.columns, strict=True):
        if isinstance(column, str):
            pieces += (start, pair_text((name, column)))
        else:
            pieces += (start, pair_text((name, ""))[:-1], column, '"')
            if _odd("".join(set(column))):
                is_odd, pieces[-2] = True, list(map(escape, column))
        start = ","
    begins = join_rows([*pieces, "} "], len(table))
    words = format_values(table.values)
    # A text sorts faster than a tuple: 18 ms of 100 000.
    keys = list(zip(*labels.varying, strict=True)) if is_odd else begins
    order = sorted(range(len(begins)), key=keys.__getitem__)
    some = [order[at : at + ROWS_AT_ONCE] for at in range(0, len(order), ROWS_AT_ONCE)]
    return b"".join(["".join([f"{begins[at]}{words[at]}\n" for at in rows]).encode() for rows in some])


def _order(metric: Metric) -> list[Any]:
    # One list and not a tuple with a list in it: a third of the time of a sort of 100 000 metrics.
    return [len(metric.labels), *[value for _, value in metric.labels]]


def _stamp(metric: Metric) -> str:
    return "" if metric.timestamp_ms is None else f" {metric.timestamp_ms}"


def _summary_lines(name: str, summary: Summary, labels: str, *, legacy: bool) -> list[str]:
    stamp = _stamp(summary)
    start = f"{starts(name, legacy=legacy)[1]}{labels}{',' if labels else ''}quantile="
    return [
        *(f'{start}"{format_value(bound)}"}} {format_value(value)}{stamp}' for bound, value in summary.quantiles),
        f"{start_line(f'{name}_sum', labels, legacy=legacy)} {format_value(summary.sum)}{stamp}",
        f"{start_line(f'{name}_count', labels, legacy=legacy)} {format_value(summary.count)}{stamp}",
    ]


def _histogram_lines(name: str, histogram: Histogram, labels: str, *, legacy: bool) -> list[str]:
    stamp = _stamp(histogram)
    start = f"{starts(f'{name}_bucket', legacy=legacy)[1]}{labels}{',' if labels else ''}le="
    buckets = histogram.buckets
    if not any(bound == math.inf for bound, _ in buckets):
        buckets += ((math.inf, histogram.count),)
    return [
        *(f'{start}"{format_value(bound)}"}} {format_value(count)}{stamp}' for bound, count in buckets),
        f"{start_line(f'{name}_sum', labels, legacy=legacy)} {format_value(histogram.sum)}{stamp}",
        f"{start_line(f'{name}_count', labels, legacy=legacy)} {format_value(histogram.count)}{stamp}",
    ]
