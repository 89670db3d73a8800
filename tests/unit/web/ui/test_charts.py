from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.web.ui import charts

BEGIN = 1_700_000_000.0 - 1_700_000_000 % 60


def minutes(*counts: int) -> list[tuple[float, int]]:
    """One count after the other, a minute apart."""
    return [(BEGIN + 60 * number, count) for number, count in enumerate(counts)]


def test_a_column_is_as_high_as_its_count() -> None:
    """Columns stand side by side on the ground, in proportion to their counts; there is none for 0."""
    chart = charts.columns("Pushes a minute", minutes(5, 0, 10), noun="pushes")
    assert chart.top == 10
    assert chart.columns == (
        charts.Column(20.0, 50.0, 160.0, 50.0, "22:13: 5 pushes"),
        charts.Column(420.0, 0.0, 160.0, 100.0, "22:15: 10 pushes"),
    )


@pytest.mark.parametrize(
    ("most", "top"), [(0, 2), (1, 2), (2, 2), (3, 4), (5, 10), (11, 20), (41, 100), (9999, 10_000)]
)
def test_the_scale_ends_at_a_round_number(most: int, top: int) -> None:
    """The full height is the next round number, of which half is whole."""
    assert charts.columns("", minutes(most), noun="pushes").top == top


def test_a_small_count_is_seen_beside_a_large_one() -> None:
    """What happened once is not invisible."""
    small, _ = charts.columns("", minutes(1, 10_000), noun="pushes").columns
    assert small.height == 2


def test_the_chart_is_told_in_words() -> None:
    """Who does not see the chart learns the span, the total and the peak."""
    chart = charts.columns("", minutes(1, 7, 2), noun="refusals")
    assert chart.description == ("In 3 minutes from 22:13 to 22:15 UTC: 10 refusals, at most 7 in a minute, at 22:14.")
    assert (chart.total, chart.times) == (10, ("22:13", "22:14", "22:15"))
    assert charts.columns("", minutes(0, 0), noun="pushes").description.endswith(": no pushes.")


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=90))
def test_no_column_leaves_the_drawing(counts: list[int]) -> None:
    """Whatever is counted, columns stay inside and do not overlap."""
    found = charts.columns("", minutes(*counts), noun="pushes").columns
    assert all(one.x >= 0 and one.x + one.width <= charts.WIDTH + 0.01 for one in found)
    assert all(one.y >= 0 and abs(one.y + one.height - charts.HEIGHT) < 0.02 for one in found)
    assert all(one.x + one.width <= other.x + 0.02 for one, other in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("used", "limit", "percent"), [(0, 100, 0), (25, 100, 25), (150, 100, 100), (5, 0, 0), (1, 100_000, 0.001)]
)
def test_the_share_of_a_limit(used: int, limit: int, percent: float) -> None:
    """It is told in percent, and never beyond the limit; where there is none, nothing of it is used."""
    assert charts.share(used, limit) == percent
