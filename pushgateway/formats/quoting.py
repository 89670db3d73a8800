"""How is text from a body shown in an error message, and what do its escapes mean?

It is shown as the original's messages do (Go's ``%q``): in quotes, with escapes for what cannot be printed, so that a
carriage return or a stray byte is seen. Text here may hold bytes that are not UTF-8, as Python's ``surrogateescape``
keeps them.
"""

from __future__ import annotations

from typing import Final

from pushgateway.names import SHOWN_CHARACTERS

__all__ = ["has_bad_utf8", "quote", "quote_character", "unescape"]

_ESCAPES: Final = dict(zip("\\\a\b\f\n\r\t\v", ["\\\\", *(f"\\{letter}" for letter in "abfnrtv")], strict=True))


def quote(text: str) -> str:
    """Return `text` in double quotes, cut after 200 characters."""
    shown = "".join(_escape(character, '"') for character in text[:SHOWN_CHARACTERS])
    return f'"{shown}"' if len(text) <= SHOWN_CHARACTERS else f'"{shown}"...'


def quote_character(character: str) -> str:
    """Return one character in single quotes."""
    return f"'{_escape(character, chr(39))}'"


def has_bad_utf8(text: str) -> bool:
    """Return whether `text` holds bytes that were not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _escape(character: str, delimiter: str) -> str:
    if character == delimiter:
        return "\\" + character
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def unescape(text: str) -> str:
    r"""Resolve the escapes \\, \" and \n; a backslash before anything else stays."""
    # The first backslash of a pair never belongs to an escape before it: no need to look at single characters, where
    # five million escapes took 2.4 s.
    return "\\".join(part.replace("\\n", "\n").replace('\\"', '"') for part in text.split("\\\\"))
