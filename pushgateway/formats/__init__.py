"""Which format does a request speak, in which encoding, and which does its answer get?

Pure functions of header values. A format is a module beside this one: `text`, `protobuf`, `openmetrics`,
`json_api`.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

from pushgateway.errors import UnsupportedMediaError
from pushgateway.names import Escaping

__all__ = [
    "OPENMETRICS_FORMATS",
    "BodyFormat",
    "ContentEncoding",
    "Exposition",
    "ExpositionFormat",
    "accepted_encoding",
    "body_format",
    "exposition",
    "request_encoding",
]

ContentEncoding: TypeAlias = Literal["gzip", "snappy", "zstd", "identity"]
"""The values of Content-Encoding that are read or written here; identity is the absence of the header."""


class BodyFormat(enum.Enum):
    """The parser that reads a pushed body."""

    TEXT = "text"
    PROTOBUF = "protobuf"
    OPENMETRICS = "openmetrics"


_OPENMETRICS: Final = "application/openmetrics-text"
_OPENMETRICS_VERSIONS: Final = frozenset({"", "1.0.0", "0.0.1"})
"""The last is a draft of the first, which Prometheus asks for by both names; they do not differ in what is read."""

_PROTOBUF: Final = "application/vnd.google.protobuf"
_PROTO: Final = "io.prometheus.client.MetricFamily"
_PROTOBUF_PARAMETERS: Final = {"encoding": "delimited", "proto": _PROTO}


def body_format(content_type: str) -> BodyFormat:
    """Choose the parser of a pushed body.

    Like the original, whatever has a format of its own neither by its name nor by its parameters is text 0.0.4: a
    missing header, JSON, forms, nonsense.

    Args:
        content_type: The header's value; "" if there is none.

    Raises:
        UnsupportedMediaError: It is OpenMetrics of another version or character set than those that are read here. Read
            as text, such a body would nearly be understood.
    """
    lowered = content_type.lower()
    if "protobuf" not in lowered and "openmetrics" not in lowered:
        return BodyFormat.TEXT  # nearly every push: spare the header's parameters
    kind, parameters = _media_type(content_type)
    if kind == _PROTOBUF and _PROTOBUF_PARAMETERS.items() <= parameters.items():
        return BodyFormat.PROTOBUF
    if kind != _OPENMETRICS:
        return BodyFormat.TEXT
    charset = parameters.get("charset", "utf-8").lower()
    if parameters.get("version", "") not in _OPENMETRICS_VERSIONS or charset != "utf-8":
        expected = f"{_OPENMETRICS}; version=1.0.0; charset=utf-8"
        raise UnsupportedMediaError("Content-Type", content_type, expected=expected)
    return BodyFormat.OPENMETRICS


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
    if encoding == "zstd":
        return "zstd"
    if encoding == "snappy":  # in its framing format, as client_python sends it
        return "snappy"
    raise UnsupportedMediaError("Content-Encoding", content_encoding, expected="one of gzip, snappy, zstd, identity")


_OFFERED: Final[tuple[ContentEncoding, ...]] = ("identity", "zstd", "gzip")
"""In the order in which ties are settled: who lists identity, or takes anything, gets it, as from the original."""


def accepted_encoding(accept_encoding: str) -> ContentEncoding:
    """Choose the encoding of an answer: the one with the highest q-value, never one with q=0.

    Source: RFC 9110, section 12.5.3, and the original's choice in ties (`_OFFERED`).

    Args:
        accept_encoding: The header's value; "" if there is none.
    """
    return _chosen_encoding(accept_encoding[:_MAX_HEADER_CHARACTERS])


@functools.lru_cache(maxsize=64)
def _chosen_encoding(header: str) -> ContentEncoding:
    best: ContentEncoding = "identity"
    best_quality = 0.0
    clauses = list(_clauses(header))
    for offer in _OFFERED:
        for clause in clauses:
            if clause.value in (offer, "*") and clause.quality > best_quality:
                best, best_quality = offer, clause.quality
    return best


class ExpositionFormat(enum.Enum):
    """What a scrape is written in; the value is its media type with the parameters that tell it from others."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    PROTOBUF = f"{_PROTOBUF}; proto={_PROTO}; encoding=delimited"
    PROTOBUF_TEXT = f"{_PROTOBUF}; proto={_PROTO}; encoding=text"
    PROTOBUF_COMPACT_TEXT = f"{_PROTOBUF}; proto={_PROTO}; encoding=compact-text"
    OPENMETRICS = f"{_OPENMETRICS}; version=1.0.0; charset=utf-8"
    OPENMETRICS_0_0_1 = f"{_OPENMETRICS}; version=0.0.1; charset=utf-8"


class Exposition(NamedTuple):
    """What a scraper is answered with."""

    format: ExpositionFormat
    escaping: Escaping

    @property
    def content_type(self) -> str:
        """The value of Content-Type."""
        return f"{self.format.value}; escaping={self.escaping.value}"


_ESCAPINGS: Final = {escaping.value: escaping for escaping in Escaping}
_TEXT_VERSIONS: Final = frozenset({"", "0.0.4"})
_PROTOBUF_FORMATS: Final = {
    "delimited": ExpositionFormat.PROTOBUF,
    "text": ExpositionFormat.PROTOBUF_TEXT,
    "compact-text": ExpositionFormat.PROTOBUF_COMPACT_TEXT,
}


_OPENMETRICS_BY_VERSION: Final = {
    "": ExpositionFormat.OPENMETRICS,
    "1.0.0": ExpositionFormat.OPENMETRICS,
    "0.0.1": ExpositionFormat.OPENMETRICS_0_0_1,
}

OPENMETRICS_FORMATS: Final = frozenset(_OPENMETRICS_BY_VERSION.values())
"""Those that are served only where they are enabled."""


def exposition(accept: str, *, openmetrics: bool = False) -> Exposition:
    """Choose what a scraper is answered with: of what it accepts the most wanted, text 0.0.4 if there is nothing else.

    ``escaping`` is that of the last clause which names one, in order of q-values, up to the one that was chosen, as in
    the original.

    Args:
        accept: The Accept header's value; "" if there is none.
        openmetrics: Whether OpenMetrics may be chosen.
    """
    return _chosen_exposition(accept[:_MAX_HEADER_CHARACTERS], openmetrics)


@functools.lru_cache(maxsize=64)
def _chosen_exposition(header: str, openmetrics: bool) -> Exposition:
    escaping = Escaping.UNDERSCORES
    for clause in sorted(_clauses(header), key=_precedence):
        if not clause.quality:
            break  # not acceptable, and sorted to the end
        escaping = _ESCAPINGS.get(clause.parameters.get("escaping", ""), escaping)
        if (chosen := _offered(clause, openmetrics=openmetrics)) is not None:
            return Exposition(chosen, escaping)
    return Exposition(ExpositionFormat.TEXT, escaping)


def _offered(clause: _Clause, *, openmetrics: bool) -> ExpositionFormat | None:
    parameters = clause.parameters
    if clause.value == _OPENMETRICS and openmetrics:
        return _OPENMETRICS_BY_VERSION.get(parameters.get("version", ""))
    if clause.value == _PROTOBUF and parameters.get("proto") == _PROTO:
        return _PROTOBUF_FORMATS.get(parameters.get("encoding", ""))
    if clause.value == "text/plain" and parameters.get("version", "") in _TEXT_VERSIONS:
        return ExpositionFormat.TEXT
    return None


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
