"""Are the buckets of histograms drawn as what each of them holds?"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.display.bars import Bar, Bars, draw
from pushgateway.model import Histogram, NativeBuckets, NativeHistogram

INF, NAN = math.inf, math.nan


def test_each_bucket_has_its_own_observations() -> None:
    """The cumulative counts are taken apart; the fullest bar is the longest, and the implied +Inf bucket is drawn."""
    drawn = draw(Histogram((), ((1, 10), (2, 50)), 0.0, 60))
    assert drawn == Bars(
        (
            Bar(-INF, 1, 10, pytest.approx(1 / 6), 25.0),
            Bar(1, 2, 40, pytest.approx(2 / 3), 100.0),
            Bar(2, INF, 10, pytest.approx(1 / 6), 25.0),
        ),
        buckets=3,
    )


def test_a_bar_with_anything_in_it_is_seen() -> None:
    """One observation beside a million has a length of 1 of 100; none has 0."""
    drawn = draw(Histogram((), ((1, 1), (2, 1), (3, 1_000_000)), 0.0, 1_000_000))
    assert [bar.length for bar in drawn.bars] == [1.0, 0.0, 100.0, 0.0]


def test_empty_buckets_at_the_ends_are_one_bar() -> None:
    """What is below the first observation, and above the last one, needs no bar for each bucket."""
    counts = (0, 0, 0, 5, 5, 9, 9, 9)
    drawn = draw(Histogram((), tuple((float(at), count) for at, count in enumerate(counts)), 0.0, 9))
    assert [(bar.lower, bar.upper, bar.observations) for bar in drawn.bars] == [
        (-INF, 2, 0),
        (2, 3, 5),
        (3, 4, 0),
        (4, 5, 4),
        (5, INF, 0),
    ]
    empty = draw(Histogram((), ((1, 0), (2, 0)), 0.0, 0))
    assert [(bar.lower, bar.upper, bar.observations) for bar in empty.bars] == [(-INF, INF, 0)]


def test_native_histograms_are_drawn_from_negative_to_positive() -> None:
    """Buckets that are empty are left out; the zero bucket stands in the middle."""
    side = NativeBuckets(((0, 1), (1, 1)), (2, 1))
    histogram = Histogram((), (), 0.0, 12, native=NativeHistogram(0, 0.25, 2, side, side))
    assert [(bar.lower, bar.upper, bar.observations) for bar in draw(histogram).bars] == [
        (-4, -2, 3),
        (-1, -0.5, 2),
        (-0.25, 0.25, 2),
        (0.5, 1, 2),
        (2, 4, 3),
    ]


def test_too_many_buckets_are_joined_with_their_neighbours() -> None:
    """101 buckets at most 40 bars: three make one, nothing is lost, and it is said."""
    drawn = draw(Histogram((), tuple((float(at), 10 * at) for at in range(1, 101)), 0.0, 1000))
    assert (drawn.buckets, drawn.joined, len(drawn.bars)) == (101, 3, 34)
    assert (drawn.bars[1].lower, drawn.bars[1].upper, drawn.bars[1].observations) == (3, 6, 30)
    assert sum(bar.observations for bar in drawn.bars) == 1000


@pytest.mark.parametrize(
    "histogram",
    [Histogram((), (), 0.0, 0), Histogram((), (), NAN, 3, native=NativeHistogram(0, 0.0, 0))],
)
def test_nothing_to_draw_is_no_bar(histogram: Histogram) -> None:
    """Neither a histogram without buckets nor a native one that is empty has bars."""
    assert draw(histogram) == Bars((), buckets=0)


@given(
    st.lists(st.tuples(st.floats(), st.floats() | st.integers(min_value=0, max_value=2**64 - 1)), max_size=90),
    st.floats() | st.integers(min_value=0, max_value=2**64 - 1),
)
def test_no_histogram_breaks_the_drawing(buckets: list[tuple[float, float]], count: float) -> None:
    """Whatever the bounds and counts are, lengths are numbers from 0 to 100, and shares make up 1 at most."""
    drawn = draw(Histogram((), tuple(buckets), 0.0, count))
    assert len(drawn.bars) <= 40
    assert all(0 <= bar.length <= 100 and 0 <= bar.share <= 1 for bar in drawn.bars)
    assert sum(bar.share for bar in drawn.bars) <= 1.000001
