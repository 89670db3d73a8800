"""How is a text shown that may be anything: cut where it is long, and with escapes for what cannot be seen?

HTML knows no way to write most control characters, a carriage return in it becomes a line feed, and marks of direction
make a line read otherwise than it is. So all of these stand as the escapes that Python has for them.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["Excerpt", "excerpt", "visible"]

_JOINERS: Final = "\u200c\u200d"
"""What joins emoji and letters of some scripts: not to be seen, but no harm and needed."""

_plain: Final = re.compile(r"[\x20-\x7e]*").fullmatch


class Excerpt(NamedTuple):
    """The beginning of a text, with escapes, and how many of its characters are left out."""

    text: str
    hidden: int


def excerpt(text: str, most: int) -> Excerpt:
    """Return the first characters of a text.

    Args:
        text: Any text.
        most: How many of its characters to show; escapes count as what they stand for.
    """
    return Excerpt(visible(text[:most]), max(0, len(text) - most))


def visible(text: str, *, keep: str = "") -> str:
    r"""Return a text with escapes for what cannot be seen, such as ``\x00``, ``\r`` or ``\u202e``.

    Args:
        text: Any text.
        keep: Characters to leave as they are, such as line ends.
    """
    if _plain(text):
        return text
    kept = _JOINERS + keep
    return "".join([one if one.isprintable() or one in kept else _escaped(one) for one in text])


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
