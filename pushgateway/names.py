"""Which names may metrics and labels have, how are they written where few characters can stand, and which are reserved?

There are two grammars in the Prometheus data model (https://prometheus.io/docs/concepts/data_model/). The legacy one
has ASCII letters, digits and underscores, colons in metric names only, no digit first. The other one, which
``--push.enable-utf8-names`` allows, has any characters. Here any but NUL: the lexer of Prometheus' text parser
(model/textparse) skips a NUL in values and comments only, so that one in a name in quotes would make Prometheus drop
the whole scrape.

A name beyond the legacy grammar is written in one of the schemes of `Escaping` for a scraper that knows no other
grammar, and in that of `Escaping.VALUES` in URLs.
"""

from __future__ import annotations

import enum
import re
from typing import Final

__all__ = [
    "LABEL_NAME_RE",
    "METRIC_NAME_RE",
    "PUSH_FAILURE_TIME",
    "PUSH_FAILURE_TIME_HELP",
    "PUSH_TIME",
    "PUSH_TIME_HELP",
    "RESERVED_PREFIX",
    "SHOWN_CHARACTERS",
    "TIME_FAMILIES",
    "Escaping",
    "escape_label_name",
    "escape_metric_name",
    "escape_url_name",
    "is_label_name",
    "is_legacy_label_name",
    "is_metric_name",
    "shown",
    "unescape_name",
]

METRIC_NAME_RE: Final = "[a-zA-Z_:][a-zA-Z0-9_:]*"
"""A metric name, unanchored and without groups, to be built into larger patterns."""

LABEL_NAME_RE: Final = "[a-zA-Z_][a-zA-Z0-9_]*"
"""A label name, reserved ones included; unanchored and without groups."""

RESERVED_PREFIX: Final = "__"
"""Label names that begin so belong to Prometheus itself (``__name__``, ``__address__``)."""

PUSH_TIME: Final = "push_time_seconds"
PUSH_TIME_HELP: Final = "Last Unix time when changing this group in the Pushgateway succeeded."

PUSH_FAILURE_TIME: Final = "push_failure_time_seconds"
PUSH_FAILURE_TIME_HELP: Final = "Last Unix time when changing this group in the Pushgateway failed."

TIME_FAMILIES: Final = frozenset({PUSH_TIME, PUSH_FAILURE_TIME})
"""What is ignored in a push, since the gateway exposes it for each group."""

SHOWN_CHARACTERS: Final = 200
"""How much of a name or value messages show: they go into answers, logs and the store, and may come from anyone."""


class Escaping(enum.Enum):
    """How names beyond the legacy grammar are written for a scraper; the value is what Accept calls it.

    Source: https://prometheus.io/docs/instrumenting/escaping_schemes/
    """

    ALLOW_UTF_8 = "allow-utf-8"
    UNDERSCORES = "underscores"
    DOTS = "dots"
    VALUES = "values"


_metric_name = re.compile(METRIC_NAME_RE).fullmatch
_label_name = re.compile(LABEL_NAME_RE).fullmatch
# NUL, and what no UTF-8 can say: Python's marks of bytes that were none.
_no_character = re.compile("[\0\ud800-\udfff]").search


def is_metric_name(name: str, *, utf8: bool = False) -> bool:
    """Return whether a metric may have this name; the empty name is none.

    Args:
        name: The name.
        utf8: Whether any characters are allowed, or those of the legacy grammar only.
    """
    return _metric_name(name) is not None or (utf8 and _is_utf8_name(name))


def is_label_name(name: str, *, utf8: bool = False) -> bool:
    """Return whether users may give a label this name: in the grammar, and without the reserved prefix.

    Args:
        name: The name.
        utf8: Whether any characters are allowed, or those of the legacy grammar only.
    """
    if name.startswith(RESERVED_PREFIX):
        return False
    return _label_name(name) is not None or (utf8 and _is_utf8_name(name))


def is_legacy_label_name(name: str) -> bool:
    """Return whether a label name is of the legacy grammar, reserved ones included."""
    # What Python calls an identifier is in ASCII just that, and this takes half the time of the regular expression.
    return name.isascii() and name.isidentifier()


def _is_utf8_name(name: str) -> bool:
    return bool(name) and _no_character(name) is None


# A digit in front, and all characters but those that no scheme touches; underscores among them, though they are valid.
_metric_special = re.compile("^[0-9]|[^a-zA-Z0-9:]")
_label_special = re.compile("^[0-9]|[^a-zA-Z0-9]")


def escape_metric_name(name: str, escaping: Escaping) -> str:
    """Write a metric name in a scheme; a legacy name is the same in all of them.

    Source: https://prometheus.io/docs/instrumenting/escaping_schemes/ and EscapeMetricFamily of prometheus/common.

    Args:
        name: A name of either grammar.
        escaping: The scheme.

    Returns:
        A legacy name, unless the scheme is ALLOW_UTF_8. Only VALUES keeps different names different.
    """
    return name if is_metric_name(name) else _escape(name, escaping, _metric_special)


def escape_label_name(name: str, escaping: Escaping) -> str:
    """Write a label name in a scheme; a legacy name is the same in all of them.

    A colon, which prometheus/common leaves as it is, is escaped: no legacy label has one.

    Args:
        name: A name of either grammar.
        escaping: The scheme.

    Returns:
        A legacy name, unless the scheme is ALLOW_UTF_8. It may have the reserved prefix.
    """
    return name if is_legacy_label_name(name) else _escape(name, escaping, _label_special)


def _escape(name: str, escaping: Escaping, special: re.Pattern[str]) -> str:
    match escaping:
        case Escaping.ALLOW_UTF_8:
            return name
        case Escaping.UNDERSCORES:
            return special.sub("_", name)
        case Escaping.DOTS:
            return special.sub(lambda match: "_dot_" if match[0] == "." else "__", name)
        case Escaping.VALUES:
            return _ESCAPED + special.sub(lambda match: "__" if match[0] == "_" else f"_{ord(match[0]):x}_", name)


_ESCAPED: Final = "U__"
_unescapable = re.compile("U__(?:[^_]|__|_[0-9a-fA-F]{1,6}_)*+").fullmatch
_escape_sequence = re.compile("_([0-9a-fA-F]*)_")


def escape_url_name(name: str) -> str:
    """Write a label name so that `unescape_name` returns it, and nothing on the way through URLs can change it."""
    if is_legacy_label_name(name) and not name.startswith(_ESCAPED):
        return name
    return _escape(name, Escaping.VALUES, _label_special)


def unescape_name(name: str) -> str:
    """Undo `Escaping.VALUES`, as names in URLs are read.

    Args:
        name: Any name.

    Returns:
        The name that was escaped; `name` itself if it does not begin with ``U__``, or if what follows could not have
        come from a name: a lone underscore, more than six hexadecimal digits, the number of no character.
    """
    if not _unescapable(name):
        return name
    try:
        unescaped = _escape_sequence.sub(lambda match: chr(int(match[1], 16)) if match[1] else "_", name[3:])
        unescaped.encode()  # surrogates have numbers, and are no characters
    except ValueError:
        return name
    return unescaped


def shown(name: str) -> str:
    """Return a name as messages show it: cut after `SHOWN_CHARACTERS`, and with escapes for what is not printable."""
    cut = name if len(name) <= SHOWN_CHARACTERS else name[:SHOWN_CHARACTERS] + "..."
    return cut if cut.isprintable() else "".join(map(_printable, cut))


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
