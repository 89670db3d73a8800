"""Which format does a request speak, in which encoding, and which does its answer get?

Pure functions of header values. A format is a module beside this one: `text`, `protobuf`, `json_api`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

from pushgateway.errors import UnsupportedMediaError

__all__ = [
    "BodyFormat",
    "ContentEncoding",
    "accepted_encoding",
    "body_format",
    "exposition_content_type",
    "request_encoding",
]

ContentEncoding: TypeAlias = Literal["gzip", "zstd", "identity"]
"""The values of Content-Encoding that are read or written here; identity is the absence of the header."""


class BodyFormat(enum.Enum):
    """The parser that reads a pushed body."""

    TEXT = "text"


_PROTOBUF: Final = "application/vnd.google.protobuf"
_PROTOBUF_PARAMETERS: Final = {"encoding": "delimited", "proto": "io.prometheus.client.MetricFamily"}
_READABLE: Final = "a body in text format 0.0.4, as text/plain"


def body_format(content_type: str) -> BodyFormat:
    """Choose the parser of a pushed body.

    Like the original, whatever is not protobuf is text 0.0.4: a missing header, JSON, forms, OpenMetrics, nonsense.

    Args:
        content_type: The header's value; "" if there is none.

    Raises:
        UnsupportedMediaError: The body is delimited protobuf, which this version does not read.
    """
    if "protobuf" not in content_type.lower():
        return BodyFormat.TEXT  # nearly every push: spare the header's parameters
    kind, parameters = _media_type(content_type)
    if kind == _PROTOBUF and _PROTOBUF_PARAMETERS.items() <= parameters.items():
        raise UnsupportedMediaError("Content-Type", content_type, expected=f"{_READABLE}: protobuf is not read yet")
    return BodyFormat.TEXT


def request_encoding(content_encoding: str) -> ContentEncoding:
    """Return how a request's body is encoded.

    Args:
        content_encoding: The header's value, in any case; "" if there is none.

    Raises:
        UnsupportedMediaError: It is not one encoding that is read here. The original ignores such a header and fails on
            the encoded bytes.
    """
    encoding = content_encoding.strip().lower()
    if encoding in {"", "identity"}:
        return "identity"
    if encoding in {"gzip", "x-gzip"}:  # the same, by RFC 9110, section 8.4.1.3
        return "gzip"
    raise UnsupportedMediaError("Content-Encoding", content_encoding, expected="one of gzip, identity")


_OFFERED: Final[tuple[ContentEncoding, ...]] = ("identity", "zstd", "gzip")
"""In the order in which ties are settled: who lists identity, or takes anything, gets it, as from the original."""


def accepted_encoding(accept_encoding: str) -> ContentEncoding:
    """Choose the encoding of an answer: the one with the highest q-value, never one with q=0.

    Source: RFC 9110, section 12.5.3, and the original's choice in ties (`_OFFERED`).

    Args:
        accept_encoding: The header's value; "" if there is none.
    """
    best: ContentEncoding = "identity"
    best_quality = 0.0
    clauses = list(_clauses(accept_encoding))
    for offer in _OFFERED:
        for clause in clauses:
            if clause.value in (offer, "*") and clause.quality > best_quality:
                best, best_quality = offer, clause.quality
    return best


_ESCAPINGS: Final = frozenset({"allow-utf-8", "underscores", "dots", "values"})
_TEXT_VERSIONS: Final = frozenset({"", "0.0.4"})


def exposition_content_type(accept: str) -> str:
    """Return the Content-Type of a scrape, which is text 0.0.4 whatever is asked for.

    Its parameter ``escaping`` tells the scraper how names beyond the legacy grammar would be written. Like the
    original's it is that of the last clause of Accept which names one, in order of q-values, up to the first that asks
    for text 0.0.4.

    Args:
        accept: The header's value; "" if there is none.
    """
    escaping = "underscores"
    for clause in sorted(_clauses(accept), key=_precedence):
        asked = clause.parameters.get("escaping", "")
        if asked in _ESCAPINGS:
            escaping = asked
        if clause.value == "text/plain" and clause.parameters.get("version", "") in _TEXT_VERSIONS:
            break
    return f"text/plain; version=0.0.4; charset=utf-8; escaping={escaping}"


class _Clause(NamedTuple):
    """One element of an Accept or Accept-Encoding header."""

    value: str
    quality: float
    parameters: dict[str, str]


def _precedence(clause: _Clause) -> tuple[float, int]:
    return -clause.quality, clause.value.count("*")


_quality = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)").fullmatch


def _clauses(header: str) -> Iterator[_Clause]:
    """Split a header into its clauses; one with a q-value that is none counts as not acceptable."""
    for element in header[:_MAX_HEADER_CHARACTERS].split(","):
        value, parameters = _media_type(element)
        if value:
            quality = parameters.pop("q", "1")
            yield _Clause(value, float(quality) if _quality(quality) else 0.0, parameters)


_MAX_HEADER_CHARACTERS: Final = 4096
"""What stands behind is not read: the longest of browsers and scrapers are a tenth of this."""

_parameter = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))\s*').match


def _media_type(text: str) -> tuple[str, dict[str, str]]:
    """Split a value from its parameters, names and value in lower case. What cannot be read ends the parameters."""
    text = text[:_MAX_HEADER_CHARACTERS]
    value = text.partition(";")[0]
    parameters: dict[str, str] = {}
    position = len(value)
    while match := _parameter(text, position):
        name, quoted, token = match.groups()
        parameters[name.lower()] = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        position = match.end()
    return value.strip().lower(), parameters
