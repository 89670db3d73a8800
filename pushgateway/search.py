r"""Which groups does someone mean who types ``job=etl env!=dev text``?

    query  = { term } , between blanks
    term   = label ( "=" | "!=" ) value     the label's value, exactly; an absent label has the empty value
           | text                           somewhere in a label's name or value, in any case
    label, value, text = a word without blanks and quotes, or "anything", with \" and \\ for these two

A label that is not in quotes has to be one of the legacy grammar, so that what was meant otherwise is an error and not
a search that finds nothing: a selector in braces, a comparison that is not there. A text that is not in quotes has
neither ``=`` nor quotes in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from pushgateway.errors import RequestError
from pushgateway.model import LabelTerm, Term, TextTerm
from pushgateway.names import is_legacy_label_name
from pushgateway.values import shown

__all__ = ["MOST_TERMS", "format_terms", "parse"]

MOST_TERMS: Final = 16
"""Each costs a look at every group: 1 ms for each 10 000."""

_QUOTED: Final = r'"(?:[^"\\]|\\["\\])*"'
_BARE: Final = r'[^\s"=!]|!(?!=)'
_TERM: Final = re.compile(
    rf"""
    (?P<label>{_QUOTED}|(?:{_BARE})*)
    (?:(?P<operator>!?=)(?P<value>{_QUOTED}|[^\s"]*))?
    (?=\s|$)
    """,
    re.VERBOSE,
)
_BLANKS: Final = re.compile(r"\s*")
_ESCAPED: Final = re.compile(r'\\(["\\])')
_PLAIN_TEXT: Final = re.compile(r'[^\s"=]+')
_PLAIN_VALUE: Final = re.compile(r'[^\s"~][^\s"]*')


def parse(query: str) -> tuple[Term, ...]:
    """Read what someone is looking for.

    Args:
        query: As typed; blanks alone mean everything.

    Returns:
        What all groups that are meant have in common, in the order of the query.

    Raises:
        RequestError: It is no such query; the message says what is wrong, and at which character, counted from 1.
    """
    terms: list[Term] = []
    at = _after_blanks(query, 0)
    while at < len(query):
        if len(terms) == MOST_TERMS:
            raise _error(at, f"more than {MOST_TERMS} terms")
        match = _TERM.match(query, at)
        if match is None or match.end() == at:
            raise _error(*_broken(query, at))
        terms.append(_term(match))
        at = _after_blanks(query, match.end())
    return tuple(term for term in terms if term != TextTerm(""))


def format_terms(terms: Iterable[Term]) -> str:
    """Write terms as `parse` reads them, in quotes only where those are needed."""
    return " ".join(map(_format, terms))


def _format(term: Term) -> str:
    if isinstance(term, TextTerm):
        return term.text if _PLAIN_TEXT.fullmatch(term.text) and not _looks_like_regex(term.text) else _quote(term.text)
    name = term.name if is_legacy_label_name(term.name) else _quote(term.name)
    value = term.value if _PLAIN_VALUE.fullmatch(term.value) else _quote(term.value)
    return f"{name}{'=' if term.equal else '!='}{value}"


def _term(match: re.Match[str]) -> Term:
    label, operator, value = match["label"], match["operator"], match["value"]
    if operator is None:
        if not label.startswith('"') and (regex := _looks_like_regex(label)):
            raise _error(match.start() + regex, "!~ is not supported; = and != compare the whole value")
        return TextTerm(_unquoted(label))
    if not label:
        raise _error(match.start(), f"a label's name is missing before {operator}")
    if not label.startswith('"') and not is_legacy_label_name(label):
        raise _error(match.start(), f"{shown(label)} is no label's name; put other names, and texts with =, in quotes")
    if value.startswith("~"):
        raise _error(match.start("value"), "=~ is not supported; for a value that begins with ~ put it in quotes")
    return LabelTerm(_unquoted(label), _unquoted(value), operator == "=")


def _looks_like_regex(text: str) -> int:
    """Return where a text has !~ behind a label's name, 0 if it has not."""
    name, found, _ = text.partition("!~")
    return len(name) if found and is_legacy_label_name(name) else 0


def _broken(query: str, at: int) -> tuple[int, str]:
    """Say where and why no term begins at a place."""
    quote = query.find('"', at)
    closed = re.compile(_QUOTED).match(query, quote)
    if closed is not None and quote > at and not query[at:quote].endswith("="):
        return quote, 'a quote stands in a word; put the whole of it in quotes, with \\" for a quote'
    if closed is not None:
        return closed.end(), "a blank is missing behind the quote"
    escape = re.compile(r'"(?:[^"\\]|\\["\\])*(?P<bad>\\[^"\\])').match(query, quote)
    if escape is not None:
        return escape.start("bad"), 'a \\ in quotes stands before another \\ or a " only'
    return quote, "the quote is not closed"


def _after_blanks(query: str, at: int) -> int:
    match = _BLANKS.match(query, at)
    return at if match is None else match.end()


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquoted(word: str) -> str:
    return _ESCAPED.sub(r"\1", word[1:-1]) if word.startswith('"') else word


def _error(at: int, problem: str) -> RequestError:
    return RequestError(f"the search cannot be read at character {at + 1}: {problem}")
