"""How is OpenMetrics 1.0 read and written?

The format: https://prometheus.io/docs/specs/om/open_metrics_spec/. Bodies are read strictly: what the specification
forbids is refused, though many parsers take it. The modules:

    openmetrics_line       the grammar of a line        openmetrics_families   what lines add up to, and may not say
    openmetrics_kinds      the types and their names    openmetrics_render     families to text
    openmetrics_numbers    floats, counts, instants

Reading has two paths, as that of text 0.0.4 has: one regular expression takes the ordinary sample lines apart, and
`openmetrics_line` reads all others. The fast path takes a strict subset of what the careful one takes, which tests hold
it to (`parse_carefully`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from pushgateway.errors import LimitError, ParseError
from pushgateway.formats.label_shapes import Shape, find_shape
from pushgateway.formats.openmetrics_families import Families
from pushgateway.formats.openmetrics_kinds import Part
from pushgateway.formats.openmetrics_line import EXEMPLAR_CHARACTERS, read_line
from pushgateway.formats.openmetrics_numbers import parse_seconds
from pushgateway.formats.openmetrics_render import END, exposed_names, render, render_family
from pushgateway.formats.spending import check_spending
from pushgateway.limits import Limits
from pushgateway.model import Exemplar, Labels, MetricFamily, Sample
from pushgateway.names import METRIC_NAME_RE, shown

__all__ = ["END", "exposed_names", "parse", "parse_carefully", "render", "render_family"]

_FORMAT: Final = "openmetrics"

_WINDOW_BYTES: Final = 1 << 16
"""How much of a body is split into lines at a time, and read between two calls of a caller's check."""

_STANDARD: Final = Limits()

_END_LINES: Final = frozenset({"# EOF\n", "# EOF"})
_END_HINT: Final = "an OpenMetrics body ends with the line # EOF, and nothing stands behind it"
_CRLF_HINT: Final = "the line ends with CR LF, and only LF ends a line"

# Digits are limited so that no number here can overflow a double: those with more digits go the careful way.
_VALUE: Final = r"[+-]?(?:[0-9]{1,99}+(?:\.[0-9]{0,99}+)?|\.[0-9]{1,99}+)(?:[eE][+-]?[0-9]{1,2}+)?|[+-]Inf|NaN"

# What stands between braces is checked by its shape. It may hold closing braces, but not with a blank after them.
_LABELS: Final = r"[^\\\n}]*+(?:\}(?! )[^\\\n}]*+)*+"
_LINE: Final = r"[^\n]*\n|[^\n]+"

# A row is name, labels, value of a well-formed sample; or else the line is in the last place.
_rows = re.compile(rf"({METRIC_NAME_RE})(?:\{{({_LABELS})\}})? ({_VALUE})\n|({_LINE})")
_lines = re.compile(rf"()()()({_LINE})")
_EXEMPLAR: Final = rf"# \{{({_LABELS})\}} ({_VALUE})(?: ([0-9]{{1,11}}(?:\.[0-9]{{1,9}})?))?"
_usual_exemplar = re.compile(rf"({METRIC_NAME_RE})(?:\{{({_LABELS})\}})? ({_VALUE}) {_EXEMPLAR}\n").fullmatch


def parse(
    body: bytes, *, limits: Limits = _STANDARD, check: Callable[[], None] | None = None
) -> tuple[MetricFamily, ...]:
    """Read a body.

    Args:
        body: The decompressed body.
        limits: What it may hold: `samples_per_push`, `labels_per_series`, `name_bytes` and `value_bytes`, and
            `prepared_bytes` for all of that together.
        check: Called before each window of at most 64 KiB (or one line, if it is longer); what it raises ends the
            reading. None for no call.

    Returns:
        The families that have samples, in the order of the body. Their names and types are those of text 0.0.4: a
        counter ``x`` is ``x_total``, an info ``x`` is the gauge ``x_info``, a state set is a gauge. Labels are sorted
        by name; quoted names may be any text that is not empty.

    Raises:
        ParseError: The body is not valid; knows line, family and what was expected.
        LimitError: There are more sample lines or families than `samples-per-push`, more labels in a line than
            `labels-per-series`, a name longer than `name-bytes`, a label value or HELP text longer than `value-bytes`,
            or all in all more than `prepared-bytes`.
    """
    return _Reader(limits, careful=False).read(body, check)


def parse_carefully(body: bytes, *, limits: Limits = _STANDARD) -> tuple[MetricFamily, ...]:
    """Read a body as `parse` does, but every line by the whole grammar: slower, and what `parse` is tested against.

    Raises:
        ParseError: The body is not valid.
        LimitError: The body is beyond a limit.
    """
    return _Reader(limits, careful=True).read(body, None)


class _Reader:
    """One body on its way to families."""

    __slots__ = (
        *("_careful", "_ended", "_exemplars", "_families", "_label_count", "_limits", "_line"),
        *("_samples", "_text_bytes", "_wide_bytes"),
    )

    def __init__(self, limits: Limits, *, careful: bool) -> None:
        self._limits = limits
        self._careful = careful
        self._families = Families(limits)
        self._line = 0  # how many were read
        self._samples = self._exemplars = self._label_count = self._text_bytes = self._wide_bytes = 0
        self._ended = False

    def read(self, body: bytes, check: Callable[[], None] | None) -> tuple[MetricFamily, ...]:
        size = min(_WINDOW_BYTES, self._limits.value_bytes)
        start = 0
        while start < len(body):
            if check is not None:
                check()
            # Whole lines of at most `size` bytes together; a line that is longer stands alone.
            end = body.rfind(b"\n", start, start + size) + 1 or body.find(b"\n", start + size) + 1 or len(body)
            self._read_window(body[start:end])
            start = end
        if not self._ended:
            self._fail("missing # EOF at the end", max(self._line, 1))
        try:
            return self._families.end(self._line)
        except ParseError as error:
            raise self._located(error, self._line) from None

    def _read_window(self, window: bytes) -> None:
        if self._ended:
            self._fail("a line after # EOF", self._line + 1)
        # The fast way looks at no value's length: what could be too long stands in a window that is.
        pattern = _rows if len(window) <= self._limits.value_bytes and not self._careful else _lines
        try:
            text = window.decode()
        except UnicodeDecodeError:
            # The careful way tells which line it is.
            text, pattern = window.decode(errors="surrogateescape"), _lines
        self._read_rows(pattern.findall(text))
        if self._samples > self._limits.samples_per_push:
            raise LimitError("samples-per-push", allowed=self._limits.samples_per_push)
        self._check_spending(window)

    def _check_spending(self, window: bytes) -> None:
        self._exemplars += window.count(b" # {")
        self._label_count += window.count(b'="')
        self._text_bytes += len(window)
        if not window.isascii():
            self._wide_bytes += len(window)
        check_spending(
            self._limits,
            samples=self._samples + self._exemplars,  # of which each takes about as much
            families=self._families.count,
            labels=self._label_count,
            text_bytes=self._text_bytes,
            wide_bytes=self._wide_bytes,
        )

    def _read_rows(self, rows: list[tuple[str, str, str, str]]) -> None:
        families, limits, new = self._families, self._limits, tuple.__new__
        last_name, line, number, last_number = "", "", self._line, self._line + len(rows)
        last_separators: list[str] = []
        others = 0
        try:
            for number, (name, braced, value, line) in enumerate(rows, self._line + 1):
                if line:
                    others += not self._read_line(line, number, last=number == last_number)
                    last_name = ""
                    continue
                labels: Labels = ()
                if braced:
                    parts = braced.split('"')
                    separators, values = parts[::2], parts[1::2]
                    if separators != last_separators:
                        shape, last_separators = _strict_shape(separators, limits), separators
                    if shape is None or len(parts) != shape.parts:
                        self._read_line(f"{name}{{{braced}}} {value}\n", number, last=False)
                        last_name = ""
                        continue
                    labels = tuple(zip(shape.names, shape.sort(values) if shape.sort else values, strict=True))
                if name != last_name:
                    (family, part), last_name = families.of_sample(name, number), name
                    seen, append = family.seen, family.metrics.append
                if part is not Part.VALUE and (part is not Part.TOTAL or family.point is not None):
                    family.take(part, labels, value)
                    continue
                measured = float(value)
                if labels in seen or (part is Part.TOTAL and not measured >= 0):
                    family.take(part, labels, value)  # which says what is wrong
                    continue
                seen.add(labels)
                # Not Sample(...), whose Python-level __new__ costs a tenth of the whole parse.
                append(new(Sample, (labels, measured, None, None, None)))
        except ParseError as error:
            if line.endswith("\r\n"):
                error.hint = _CRLF_HINT
            raise self._located(error, number) from None
        self._line = number
        self._samples += len(rows) - others

    def _read_line(self, line: str, number: int, *, last: bool) -> bool:
        """Read a line by the whole grammar, the `last` of a window or not; returns whether it was a sample."""
        if line in _END_LINES:
            if not last:
                raise ParseError("a line after # EOF", line=1, hint=_END_HINT)
            self._ended = True
            return False
        if not line.endswith("\n"):
            raise ParseError("missing # EOF at the end", hint=_END_HINT)
        if not self._careful and self._read_usual_exemplar(line, number):
            return True
        return read_line(line, self._families, number=number, limits=self._limits)

    def _read_usual_exemplar(self, line: str, number: int) -> bool:
        """Read a sample with an exemplar if both are well formed and have no escapes; a third of the careful time."""
        match = _usual_exemplar(line)
        if match is None or len(line) > self._limits.value_bytes or not line.isascii():
            return False
        name, braced, value, inside, measured, seconds = match.groups()
        labels, pairs = self._labels(braced or ""), self._labels(inside)
        if labels is None or pairs is None or len(inside) > EXEMPLAR_CHARACTERS or len(name) > self._limits.name_bytes:
            return False
        exemplar = Exemplar(pairs, float(measured), parse_seconds(seconds) if seconds else None)
        family, part = self._families.of_sample(name, number)
        family.take(part, labels, value, exemplar=exemplar)
        return True

    def _labels(self, braced: str) -> Labels | None:
        """Return a label set without escapes; None if it is not valid."""
        if not braced:
            return ()
        parts = braced.split('"')
        shape = _strict_shape(parts[::2], self._limits)
        if shape is None or len(parts) != shape.parts:
            return None
        values = parts[1::2]
        return tuple(zip(shape.names, shape.sort(values) if shape.sort else values, strict=True))

    def _fail(self, message: str, number: int) -> None:
        raise ParseError(message, line=number, hint=_END_HINT, format=_FORMAT)

    def _located(self, error: ParseError, number: int) -> ParseError:
        """Return an error whose line counts from the beginning of the body."""
        return ParseError(
            error.message, line=number + error.line, hint=error.hint, family=shown(error.family), format=_FORMAT
        )


def _strict_shape(separators: list[str], limits: Limits) -> Shape | None:
    """Return the shape of a label set without blanks, and without a comma at its end."""
    if separators[-1] or any(" " in separator or "\t" in separator for separator in separators):
        return None
    return find_shape(separators, limits)
