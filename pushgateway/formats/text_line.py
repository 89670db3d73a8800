"""What does one line of text format 0.0.4 say, and if it says nothing valid, what exactly is wrong with it?

This is the whole grammar, a token at a time, for the lines that the fast path of `pushgateway.formats.text` leaves:
comments, unusual spacing, escapes, timestamps, quoted names, and everything that is wrong. Messages are those of the
original's parser (prometheus/common), since people search for them; hints say what was expected.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from pushgateway.errors import ParseError
from pushgateway.formats.drafts import Draft, Drafts, Target
from pushgateway.formats.numbers import parse_float
from pushgateway.formats.quoting import has_bad_utf8, quote, quote_character, unescape
from pushgateway.formats.sizes import check_label_size, check_value_size
from pushgateway.model import MetricType, Sample
from pushgateway.names import (
    LABEL_NAME_RE,
    METRIC_NAME_RE,
    is_legacy_label_name,
    is_metric_name,
    shown,
)

__all__ = ["read_line"]

_MISSING_LF_HINT: Final = (
    "the last line must end with a line feed; --push.lenient-line-endings accepts a body whose last line has none"
)
_END: Final = "unexpected end of input stream"
_METRIC_NAME_HINT: Final = "a metric name has ASCII letters, digits, _ and :, and begins with no digit"
_LABEL_NAME_HINT: Final = "a label name has ASCII letters, digits and _, and begins with no digit"
_LEGACY_HINT: Final = "; --push.enable-utf8-names allows any others in quotes"
_UTF8_NAME_HINT: Final = "a name in quotes is UTF-8 without NUL, and not empty"
_LABELS_HINT: Final = 'labels look like {name="value",other="value"}'
_VALUE_HINT: Final = "a value is a decimal number, +Inf, -Inf or NaN, one blank after the name or the labels"
_TYPE_HINT: Final = "a type is counter, gauge, histogram, summary or untyped, with nothing after it"
_UTF8_HINT: Final = "text must be UTF-8"

_TYPES: Final = {type_.value: type_ for type_ in MetricType} | {"gaugehistogram": MetricType.GAUGE_HISTOGRAM}

_blanks = re.compile(r"[ \t]*").match
_token = re.compile(r"[^ \t\n]*").match
_rest = re.compile(r"[^\n]*").match
_quotable = re.compile(r'[^"\\\n]*+(?:\\[\\"n][^"\\\n]*+)*+').match
_describable = re.compile(r'[^\\\n]*+(?:\\[\\"n][^\\\n]*+)*+').match
_metric_name = re.compile(METRIC_NAME_RE).match
_label_name = re.compile(LABEL_NAME_RE).match
# A HELP or TYPE line as nearly everyone writes it, which is a third of the lines of many bodies.
_usual_comment = re.compile(rf"# (HELP|TYPE) ({METRIC_NAME_RE}) ([^\s\\][^\n\\]*)\n").fullmatch
_integer = re.compile(r"[+-]?[0-9]{1,30}").fullmatch


def read_line(line: str, drafts: Drafts) -> bool:
    """Read one line into `drafts`.

    Args:
        line: The line with its LF, or without one if the body ends without. Bytes that are not UTF-8 are surrogates.
            Further lines may follow it, and are not read.
        drafts: The families read so far.

    Returns:
        Whether the line was a sample.

    Raises:
        ParseError: The line is not valid; the error has no line number.
        LimitError: It has too many labels, or a name or value that is too long, or is one family too many.
    """
    usual = _usual_comment(line)
    if usual and line.isascii() and len(line) <= drafts.limits.value_bytes:
        keyword, name, rest = usual.groups()
        _describe(drafts.described(name), keyword, rest)
        return False
    return _Line(line, drafts).read()


def _describe(draft: Draft, keyword: str, rest: str) -> None:
    """Take what a HELP or TYPE line says, escapes resolved."""
    if keyword == "HELP":
        if draft.help is not None:
            message = f"second HELP line for metric name {quote(draft.name)}"
            raise ParseError(message, hint="give each family one HELP line", family=draft.name)
        draft.help = rest
        return
    if draft.type is not None:
        message = f"second TYPE line for metric name {quote(draft.name)}, or TYPE reported after samples"
        raise ParseError(message, hint="give each family one TYPE line, before its samples", family=draft.name)
    type_ = _TYPES.get(rest.lower())
    if type_ is None:
        message = f"unknown metric type {quote(rest)}"
        raise ParseError(message, hint=_TYPE_HINT, family=draft.name)
    draft.fix_type(type_)


class _Line:
    """One line and how far it has been read. The end of the text, other than an LF, is the end of the body."""

    __slots__ = ("_at", "_drafts", "_family", "_text")

    def __init__(self, text: str, drafts: Drafts) -> None:
        self._text = text
        self._at = 0
        self._drafts = drafts
        self._family = ""

    def read(self) -> bool:
        self._at = _blanks(self._text).end()  # type: ignore[union-attr]  # matches the empty text too
        if self._at == len(self._text):
            return False  # nothing but blanks may end a body without an LF
        first = self._text[self._at]
        if first == "\n":
            return False
        if first == "#":
            self._at += 1
            self._comment()
            return False
        self._sample(first)
        return True

    # Tokens

    def _fail(self, message: str, hint: str = "") -> NoReturn:
        raise ParseError(message, hint=hint, family=self._family)

    def _next(self) -> str:
        """Return the character to be read next.

        Raises:
            ParseError: The body ends here.
        """
        if self._at >= len(self._text):
            self._fail(_END, _MISSING_LF_HINT)
        return self._text[self._at]

    def _skip_blanks(self) -> str:
        self._at = _blanks(self._text, self._at).end()  # type: ignore[union-attr]
        return self._next()

    def _take(self, match: re.Match[str] | None) -> str:
        if match is None:
            return ""
        self._at = match.end()
        return match.group()

    def _until_blank(self) -> str:
        token = self._take(_token(self._text, self._at))
        self._next()
        return token

    def _until_line_feed(self) -> str:
        rest = self._take(_rest(self._text, self._at))
        self._next()
        return rest

    def _name(self, what: str) -> str:
        """Read a metric or label name, quoted or not; "" if there is none."""
        if self._next() == '"':
            self._at += 1
            return self._quoted(f"{what} name")
        name = self._take((_metric_name if what == "metric" else _label_name)(self._text, self._at))
        self._next()
        return name

    def _quoted(self, what: str) -> str:
        """Read the rest of a quoted text, escapes resolved, and its closing quote."""
        text = self._take(_quotable(self._text, self._at))
        if "\\" in text:
            text = unescape(text)
        character = self._next()
        if character == "\n":
            self._fail(f"{what} {quote(text)} contains unescaped new-line", "write a line feed as \\n")
        self._at += 1
        if character == "\\":
            self._fail_escape()
        return text

    def _fail_escape(self) -> NoReturn:
        character = self._next()
        if not character.isprintable():  # a stray byte, which no answer could carry
            character = quote_character(character)[1:-1]
        self._fail(f"invalid escape sequence '\\{character}'", 'the escapes are \\\\, \\" and \\n')

    def _checked(self, name: str) -> str:
        """Return a metric name that may have been quoted, and so may have any characters."""
        utf8 = self._drafts.utf8_names
        if not is_metric_name(name, utf8=utf8):
            self._fail(
                f"invalid metric name {quote(name)}", _UTF8_NAME_HINT if utf8 else _METRIC_NAME_HINT + _LEGACY_HINT
            )
        return name

    # Comments

    def _comment(self) -> None:
        if self._skip_blanks() == "\n":
            return
        keyword = self._until_blank()
        if keyword not in {"HELP", "TYPE"}:
            self._until_line_feed()
            return
        if self._skip_blanks() == "\n":
            return
        name = self._name("metric")
        if self._next() == "\n":
            return
        if self._next() not in " \t":
            self._fail("invalid metric name in comment", _METRIC_NAME_HINT)
        draft = self._drafts.described(self._checked(name))
        self._family = draft.name
        if self._skip_blanks() == "\n":
            return
        if keyword == "HELP":
            text = self._help()
            check_value_size(text, self._drafts.limits)
        else:
            text = self._until_line_feed()
        _describe(draft, keyword, text)

    def _help(self) -> str:
        start = self._at
        rest = self._until_line_feed()
        if has_bad_utf8(rest):
            self._fail(f"invalid help text {quote(rest)}", _UTF8_HINT)
        if "\\" not in rest:
            return rest
        self._at = start
        text = self._take(_describable(self._text, start))
        if self._next() == "\\":
            self._at += 1
            self._fail_escape()
        return unescape(text)

    # Samples

    def _sample(self, first: str) -> None:
        if first == "{":
            target, pairs = self._labels(None)
        else:
            name = self._name("metric")
            if not name:
                self._fail("invalid metric name", _METRIC_NAME_HINT)
            target, pairs = self._target(name), {}
            if self._skip_blanks() == "{":
                target, pairs = self._labels(target)
        value = self._value()
        timestamp_ms = self._timestamp_ms()
        labels = tuple(sorted(pairs.items()))
        if target.append is None:
            target.draft.add(target.part, labels, value, timestamp_ms=timestamp_ms)
        else:
            target.append(Sample(labels, value, timestamp_ms))

    def _target(self, name: str) -> Target:
        target = self._drafts.target(self._checked(name))
        self._family = target.draft.name
        return target

    def _labels(self, target: Target | None) -> tuple[Target, dict[str, str]]:
        """Read a label set from its opening brace to the value; without a target the metric's name is inside."""
        named_inside = target is None
        pairs: dict[str, str] = {}
        separator, number = "{", 0
        while separator != "}":
            self._at += 1
            if self._skip_blanks() == "}":
                break
            name = self._name("label")
            if not name:
                self._fail(f"invalid label name for metric {quote(self._family)}", _LABEL_NAME_HINT)
            separator = self._skip_blanks()
            if separator != "=":
                if not named_inside:
                    self._fail(f"expected '=' after label name, found {quote_character(separator)}", _LABELS_HINT)
                target = self._name_inside(name, separator, target)
                continue
            self._check_label(name, pairs, target)
            self._at += 1
            pairs[name] = self._label_value()
            number += 1  # more than the pairs if bounds are repeated
            check_label_size(name, pairs[name], number=number, limits=self._drafts.limits)
            if target is not None and name == target.draft.bound_label:
                target.draft.bound(pairs[name])  # checked even if it is repeated, when only the last one counts
            separator = self._skip_blanks()
            if separator not in ",}":
                self._fail(f"unexpected end of label value {quote(pairs[name])}", _LABELS_HINT)
        if target is None:
            self._fail("invalid metric name", "there is no metric name before or inside the braces")
        self._at += 1
        self._skip_blanks()
        return target, pairs

    def _name_inside(self, name: str, separator: str, target: Target | None) -> Target:
        if target is not None:
            self._fail(f"multiple metric names for metric {quote(self._family)}", _LABELS_HINT)
        if separator not in ",}":
            self._fail(f"unexpected end of metric name {quote_character(separator)}", _LABELS_HINT)
        return self._target(name)

    def _check_label(self, name: str, pairs: dict[str, str], target: Target | None) -> None:
        if name == "__name__":
            self._fail('label name "__name__" is reserved', "the metric's name stands before the braces")
        utf8 = self._drafts.utf8_names
        # With any characters, what can name a metric can name a label. Reserved names are left to `rules.validate`.
        if not (is_legacy_label_name(name) or (utf8 and is_metric_name(name, utf8=True))):
            self._fail(
                f"invalid label name {quote(name)}", _UTF8_NAME_HINT if utf8 else _LABEL_NAME_HINT + _LEGACY_HINT
            )
        # The original lets le and quantile be repeated where they are bounds; the last one counts.
        if name in pairs and (target is None or name != target.draft.bound_label):
            self._fail(f"duplicate label names for metric {quote(self._family)}", f"{shown(name)} is given twice")

    def _label_value(self) -> str:
        character = self._skip_blanks()
        if character != '"':
            self._fail(f"expected '\"' at start of label value, found {quote_character(character)}", _LABELS_HINT)
        self._at += 1
        value = self._quoted("label value")
        if has_bad_utf8(value):
            self._fail(f"invalid label value {quote(value)}", _UTF8_HINT)
        return value

    def _value(self) -> float:
        token = self._until_blank()
        try:
            return parse_float(token)
        except ValueError:
            self._fail(f"expected float as value, got {quote(token)}", _VALUE_HINT)

    def _timestamp_ms(self) -> int | None:
        if self._next() == "\n":
            return None
        self._skip_blanks()
        token = self._until_blank()
        number = int(token) if _integer(token) else None
        if number is None or not -(2**63) <= number < 2**63:
            hint = "a line ends with its value: no blank, comment or exemplar after it"
            self._fail(f"expected integer as timestamp, got {quote(token)}", hint)
        rest = self._until_line_feed()
        if rest:
            self._fail(f"spurious string after timestamp: {quote(rest)}", "a timestamp ends its line")
        return number
