from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from markupsafe import Markup

from pushgateway.display.quantities import Quantity, exact
from pushgateway.web.ui import wording
from tests.unit.web.ui.reading import Page

NOW = 1_700_000_000.25


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "never"),
        (NOW, "just now"),
        (NOW - 59, "59 s ago"),
        (NOW - 61, "1 min ago"),
        (NOW - 7199, "1 h ago"),
        (NOW - 86400 * 3, "3 d ago"),
        (NOW + 120, "in 2 min"),
    ],
)
def test_times_are_relative(seconds: float, text: str) -> None:
    """A time is told from now in its largest unit, whole ones only."""
    assert Page(wording.ago(seconds, now_seconds=NOW)).text == text


def test_times_are_absolute_on_hover() -> None:
    """A relative time holds the absolute one, for a reader and for programs."""
    (time,) = Page(wording.ago(NOW - 61, now_seconds=NOW)).found("time")
    assert time == {"datetime": "2023-11-14T22:12:19Z", "title": "2023-11-14 22:12:19 UTC"}
    assert Page(wording.moment(NOW)).text == "2023-11-14 22:13:20 UTC"
    assert wording.moment(0) == "never"


@pytest.mark.parametrize("seconds", [1e18, -1e18, math.inf, math.nan])
def test_a_time_of_no_calendar_is_a_number(seconds: float) -> None:
    """What cannot be meant as a time is shown as the number it is."""
    assert wording.moment(seconds) == wording.readable(seconds)
    assert wording.ago(seconds, now_seconds=NOW) == wording.readable(seconds)


def test_numbers_are_short_and_exact_on_hover() -> None:
    """A number is shown in a few digits, and in all of them on hover and to programs."""
    for value, quantity, text in (
        (5_678_901, Quantity.NUMBER, "5.68 M"),
        (0.123456, Quantity.RATIO, "12.3 %"),
        (math.nan, Quantity.NUMBER, "NaN"),
    ):
        page = Page(wording.readable(value, quantity))
        assert page.text == text
        assert page.found("data", value=exact(value), title=exact(value))


def test_sizes_and_durations_have_their_unit() -> None:
    """Bytes and seconds are told in a unit that fits, and exactly with their own."""
    size, length = Page(wording.data_size(4_823_450)), Page(wording.duration(3723.5))
    assert (size.text, length.text) == ("4.82 MB", "1 h 2 min")
    assert size.found("data", value="4823450", title="4823450 bytes")
    assert length.found("data", value="3723.5", title="3723.5 s")


def test_nouns_follow_their_number() -> None:
    """One of a thing has its singular, any other number the plural."""
    texts = [Page(wording.plural(count, "group")).text for count in (0, 1, 2)]
    assert texts == ["0 groups", "1 group", "2 groups"]
    assert Page(wording.plural(2, "family", "families")).text == "2 families"


def test_what_stands_in_backticks_is_code() -> None:
    """Names and commands in a sentence are told apart from it, and escaped as everything is."""
    assert wording.with_code("say `a<b` & go") == "say <code>a&lt;b</code> &amp; go"


@pytest.mark.parametrize("made", [wording.moment, wording.duration, wording.readable, wording.data_size])
def test_everything_is_markup(made: Callable[[float], Markup]) -> None:
    """Templates show it without escaping it again."""
    assert isinstance(made(1), Markup)
