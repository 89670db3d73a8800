"""What does one line of OpenMetrics say, and if it says nothing valid, what exactly is wrong with it?

This is the whole grammar (OpenMetrics 1.0, "ABNF"), a token at a time, for the lines that the fast path of
`pushgateway.formats.openmetrics` leaves: metadata, escapes, exemplars, timestamps, quoted names, and everything that is
wrong. Exactly one blank stands between tokens, none within a label set. Quoted names are not of 1.0: they are what
client libraries write for names beyond the legacy grammar; which names may be stored is looked at later.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from pushgateway.errors import ParseError
from pushgateway.formats.numbers import parse_float
from pushgateway.formats.openmetrics_families import Families
from pushgateway.formats.openmetrics_numbers import parse_seconds
from pushgateway.formats.quoting import has_bad_utf8, quote, quote_character, unescape
from pushgateway.formats.sizes import check_label_size, check_name_size, check_value_size
from pushgateway.limits import Limits
from pushgateway.model import Exemplar
from pushgateway.names import LABEL_NAME_RE, METRIC_NAME_RE, shown

__all__ = ["EXEMPLAR_CHARACTERS", "read_line"]

EXEMPLAR_CHARACTERS: Final = 128
"""The most that names and values of an exemplar's labels may have together (OpenMetrics 1.0, "Exemplars")."""

_NS_PER_MS: Final = 10**6

_METADATA_HINT: Final = "a line that begins with # is # TYPE name type, # UNIT name unit, # HELP name text, or # EOF"
_METRIC_NAME_HINT: Final = "a metric name has ASCII letters, digits, _ and :, and begins with no digit"
_LABEL_NAME_HINT: Final = "a label name has ASCII letters, digits and _, and begins with no digit"
_LABELS_HINT: Final = 'labels look like {name="value",other="value"}, without blanks'
_VALUE_HINT: Final = "a value is a decimal number, +Inf, -Inf or NaN, one blank after the name or the labels"
_TIMESTAMP_HINT: Final = "one blank separates tokens, and a line ends with its last; a timestamp is in Unix seconds"
_EXEMPLAR_HINT: Final = 'an exemplar looks like # {trace_id="abc"} 0.5 or # {trace_id="abc"} 0.5 1600000000.5'
_ESCAPE_HINT: Final = 'the escapes are \\\\, \\" and \\n'

_token = re.compile(r"[^ \n]*").match
_quotable = re.compile(r'[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+').match
_describable = re.compile(r"[^\\\n]*+(?:\\[^\n][^\\\n]*+)*+").fullmatch
_metric_name = re.compile(METRIC_NAME_RE).match
_label_name = re.compile(LABEL_NAME_RE).match
_metadata = re.compile(r"# (TYPE|UNIT|HELP) ").match
# Metadata as nearly everyone writes it, which is a third of the lines of many bodies.
_usual_metadata = re.compile(rf"# (TYPE|UNIT|HELP) ({METRIC_NAME_RE}) ([^\n\\]*)\n").fullmatch


def read_line(line: str, families: Families, *, number: int, limits: Limits) -> bool:
    """Read one line into `families`.

    Args:
        line: The line with its LF. Bytes that are not UTF-8 are surrogates.
        families: The families read so far.
        number: The number of the line.
        limits: What it may hold.

    Returns:
        Whether the line was a sample.

    Raises:
        ParseError: The line is not valid, or not here; its line counts from this one.
        LimitError: It has too many labels, or a name or value that is too long, or is one family too many.
    """
    usual = _usual_metadata(line)
    if usual and line.isascii() and len(line) <= limits.value_bytes:
        keyword, name, text = usual.groups()
        families.described(name, number).describe(keyword, text)
        return False
    return _Line(line, families, number=number, limits=limits).read()


class _Line:
    """One line and how far it has been read."""

    __slots__ = ("_at", "_families", "_family", "_limits", "_number", "_text")

    def __init__(self, text: str, families: Families, *, number: int, limits: Limits) -> None:
        self._text = text
        self._at = 0
        self._families = families
        self._number = number
        self._limits = limits
        self._family = ""

    def read(self) -> bool:
        if has_bad_utf8(self._text):
            self._fail(f"invalid UTF-8 in {quote(self._text.removesuffix(chr(10)))}", "text must be UTF-8")
        first = self._text[0]
        if first == "\n":
            self._fail("blank line", "blank lines are not allowed")
        if first == "#":
            self._read_metadata()
            return False
        if first == "\ufeff":
            self._fail("byte order mark", "the text begins with its first line")
        if first == '"':
            self._fail("invalid metric name", "a quoted name of a sample stands inside the braces")
        self._read_sample()
        return True

    # Tokens

    def _fail(self, message: str, hint: str) -> NoReturn:
        raise ParseError(message, hint=hint, family=shown(self._family))

    def _next(self) -> str:
        """Return the character to be read next; nothing is read beyond the line feed."""
        return self._text[self._at]

    def _take(self, match: re.Match[str] | None) -> str:
        if match is None:
            return ""
        self._at = match.end()
        return match.group()

    def _skip(self, expected: str, message: str, hint: str) -> None:
        """Read one character, which must be the expected one; the message says "found" and the other."""
        found = self._next()
        if found != expected:
            self._fail(f"{message}, found {quote_character(found)}", hint)
        self._at += 1

    def _quoted(self, what: str) -> str:
        """Read a quoted text, escapes resolved, from its opening to its closing quote."""
        self._at += 1
        text = self._take(_quotable(self._text, self._at))
        if self._next() != '"':
            self._fail(f"{what} {quote(text)} has no closing quote", f"write a line feed as \\n; {_ESCAPE_HINT}")
        self._at += 1
        return unescape(text) if "\\" in text else text

    def _name(self) -> str:
        """Read a metric name, quoted or not."""
        quoted = self._next() == '"'
        name = self._quoted("metric name") if quoted else self._take(_metric_name(self._text, self._at))
        if not name:
            self._fail("invalid metric name", _METRIC_NAME_HINT)
        check_name_size(name, self._limits)
        return name

    # Metadata

    def _read_metadata(self) -> None:
        match = _metadata(self._text)
        if match is None:
            self._fail(f"invalid line {quote(self._text.removesuffix(chr(10)))}", _METADATA_HINT)
        self._take(match)
        keyword = match[1]
        name = self._family = self._name()
        self._skip(" ", f"expected one blank after the name in # {keyword}", _METADATA_HINT)
        text = self._text[self._at : -1]
        if keyword == "HELP" and "\\" in text:
            if not _describable(text):
                self._fail("a backslash ends the help text", _ESCAPE_HINT)
            text = unescape(text)
        check_value_size(text, self._limits)
        self._families.described(name, self._number).describe(keyword, text)

    # Samples

    def _read_sample(self) -> None:
        pairs: dict[str, str] = {}
        name = ""
        if self._next() != "{":
            name = self._family = self._name()
        if self._next() == "{":
            name, pairs = self._labels(name)
        family, part = self._families.of_sample(name, self._number)
        self._family = family.name
        self._skip(" ", "expected one blank before the value", _VALUE_HINT)
        value = self._value()
        timestamp_ms = exemplar = None
        if self._next() == " ":
            self._at += 1
            if self._next() != "#":
                timestamp_ms = self._timestamp_ns() // _NS_PER_MS
                if self._next() == " ":
                    self._at += 1
                    exemplar = self._exemplar()
            else:
                exemplar = self._exemplar()
        labels = tuple(sorted(pairs.items()))
        family.take(part, labels, value, timestamp_ms=timestamp_ms, exemplar=exemplar)

    def _value(self) -> str:
        token = self._take(_token(self._text, self._at))
        try:
            parse_float(token)
        except ValueError:
            self._fail(f"expected float as value, got {quote(token)}", _VALUE_HINT)
        return token

    def _timestamp_ns(self) -> int:
        token = self._take(_token(self._text, self._at))
        try:
            return parse_seconds(token)
        except ValueError:
            self._fail(f"expected seconds as timestamp, got {quote(token)}", _TIMESTAMP_HINT)

    def _exemplar(self) -> Exemplar:
        """Read an exemplar from its number sign to the end of the line."""
        for expected in "# ":
            self._skip(expected, f"expected {quote_character(expected)} of an exemplar", _EXEMPLAR_HINT)
        if self._next() != "{":
            self._fail("an exemplar without labels", _EXEMPLAR_HINT)
        _, pairs = self._labels(self._family)
        size = sum(len(name) + len(value) for name, value in pairs.items())
        if size > EXEMPLAR_CHARACTERS:
            hint = f"its names and values have {size} characters, {EXEMPLAR_CHARACTERS} are allowed"
            self._fail("the labels of an exemplar are too long", hint)
        self._skip(" ", "expected one blank before the value of an exemplar", _EXEMPLAR_HINT)
        value = float(self._value())
        timestamp_ns = None
        if self._next() == " ":
            self._at += 1
            timestamp_ns = self._timestamp_ns()
        self._skip("\n", "expected the end of the line after an exemplar", _EXEMPLAR_HINT)
        return Exemplar(tuple(sorted(pairs.items())), value, timestamp_ns)

    def _labels(self, name: str) -> tuple[str, dict[str, str]]:
        """Read a label set; returns the metric's name, which may be inside if none is given, and the labels."""
        pairs: dict[str, str] = {}
        separator = ","
        if self._text.startswith("{}", self._at):
            self._at += 1
            separator = "}"
        while separator == ",":
            self._at += 1
            quoted = self._next() == '"'
            label = self._quoted("name") if quoted else self._take(_label_name(self._text, self._at))
            if quoted and self._next() != "=":
                name = self._name_inside(label, name)
            else:
                self._check_label(label, pairs)
                self._skip("=", "expected '=' after label name", _LABELS_HINT)
                if self._next() != '"':
                    found = quote_character(self._next())
                    self._fail(f"expected '\"' at start of label value, found {found}", _LABELS_HINT)
                pairs[label] = self._quoted("label value")
                check_label_size(label, pairs[label], number=len(pairs), limits=self._limits)
            separator = self._next()
        self._skip("}", "expected ',' or '}' after a label", _LABELS_HINT)
        if not name:
            self._fail("invalid metric name", "there is no metric name before or inside the braces")
        return name, pairs

    def _name_inside(self, name: str, before: str) -> str:
        if before:
            self._fail("multiple metric names", "the name stands either before the braces or, in quotes, inside")
        if not name:
            self._fail("invalid metric name", _METRIC_NAME_HINT)
        check_name_size(name, self._limits)
        self._family = name
        return name

    def _check_label(self, name: str, pairs: dict[str, str]) -> None:
        if not name:
            self._fail("invalid label name", f"{_LABEL_NAME_HINT}; {_LABELS_HINT}")
        if name == "__name__":
            self._fail('label name "__name__" is reserved', "the metric's name stands before the braces")
        if name in pairs:
            self._fail("duplicate label names", f"{shown(name)} is given twice")
