from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.display.texts import Excerpt, excerpt, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain <b>&amp;\"'", "plain <b>&amp;\"'"),
        ("a\x00b\x1b[31m\x7f", "a\\x00b\\x1b[31m\\x7f"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("\u200f\ufeff\u2028", "\\u200f\\ufeff\\u2028"),
        ("שלום عربى é", "שלום عربى é"),
        ("👩\u200d👩\u200d👧 🇩🇪 ❤\ufe0f", "👩\u200d👩\u200d👧 🇩🇪 ❤\ufe0f"),
    ],
)
def test_what_cannot_be_seen_is_written_as_an_escape(text: str, shown: str) -> None:
    """Controls and marks of direction are escaped; letters of all scripts and joined emoji stay as they are."""
    assert visible(text) == shown


def test_line_ends_may_be_kept() -> None:
    """Where lines are shown as lines, only the other controls are escaped."""
    assert visible("a\nb\r\n", keep="\n") == "a\nb\\r\n"


def test_a_long_text_is_cut_and_says_how_much_is_hidden() -> None:
    """Characters count before they are escaped, so that what is hidden is what was pushed."""
    assert excerpt("abc", 3) == Excerpt("abc", 0)
    assert excerpt("\0" * 10, 3) == Excerpt("\\x00\\x00\\x00", 7)


@given(st.text(st.characters(codec="utf-8")))
def test_every_text_can_be_written_in_html(text: str) -> None:
    """No character remains that HTML forbids or changes, whatever was pushed."""
    assert not any(ord(one) < 0x20 or 0x7F <= ord(one) < 0xA0 for one in visible(text))
