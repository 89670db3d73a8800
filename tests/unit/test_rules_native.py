"""Which native histograms would Prometheus take, and what do their buckets span?"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.errors import InconsistentPushError
from pushgateway.model import GroupingKey, Histogram, MetricFamily, MetricType, NativeBuckets, NativeHistogram
from pushgateway.rules import validate
from pushgateway.rules.native import Bucket, buckets, problem

KEY = GroupingKey.of({"job": "a"})


def histogram(count: float = 6, sum: float = 1.0, **native: object) -> Histogram:
    """A valid integer histogram with 1 + 2 positive, 1 + 1 negative and 1 zero observations, and what differs."""
    fields: dict[str, object] = {
        "schema": 0,
        "zero_threshold": 0.001,
        "zero_count": 1,
        "negative": NativeBuckets(((0, 1), (2, 1)), (1, 0)),
        "positive": NativeBuckets(((-3, 2),), (1, 1)),
    }
    return Histogram((), (), sum, count, native=NativeHistogram(**fields | native))  # type: ignore[arg-type]


def floats(count: float = 6.5, **native: object) -> Histogram:
    """A valid float histogram, and what differs."""
    sides = {
        "zero_count": 1.5,
        "negative": NativeBuckets(((0, 1), (2, 1)), counts=(1.0, 1.0)),
        "positive": NativeBuckets(((-3, 2),), counts=(1.0, 2.0)),
    }
    return histogram(count, **sides | native)


@pytest.mark.parametrize(
    "valid",
    [
        Histogram((), ((1.0, 5),), 1.0, 7),
        histogram(),
        floats(),
        histogram(schema=-4),
        histogram(schema=8),
        histogram(0, zero_count=0, negative=NativeBuckets(), positive=NativeBuckets()),
        histogram(0, zero_count=0, negative=NativeBuckets(), positive=NativeBuckets(((0, 0),))),
        histogram(9, math.nan),
        floats(1.0),
        floats(0.0),
        histogram(2**63 - 1, zero_count=0, negative=NativeBuckets(), positive=NativeBuckets(((0, 1),), (2**63 - 1,))),
        floats(negative=NativeBuckets(((5, 1),), counts=(math.inf,))),
    ],
)
def test_what_prometheus_takes(valid: Histogram) -> None:
    """Classic histograms, integers that add up, floats that need not, and more observations than buckets with NaN."""
    assert problem(valid) == ""


@pytest.mark.parametrize(
    ("invalid", "reason"),
    [
        (histogram(schema=-5), "schema is -5; expected -4 to 8"),
        (histogram(schema=9), "schema is 9"),
        (histogram(schema=-53), "schema is -53"),
        (histogram(zero_threshold=-1.0), "zero threshold is -1.0"),
        (histogram(zero_threshold=math.nan), "zero threshold is nan"),
        (histogram(zero_threshold=math.inf), "zero threshold is inf"),
        (floats(zero_count=-1.0), "zero bucket holds -1.0"),
        (floats(zero_count=math.nan), "zero bucket holds nan"),
        (floats(-1.0), "its count is -1.0; expected none below 0"),
        (floats(math.nan), "its count is nan"),
        (floats(0.0, zero_count=0.0), "its count is 0, and it has buckets in floats"),
        (histogram(positive=NativeBuckets(((0, 2),), (2**63 - 1, 1))), "holds more than 9223372036854775807"),
        (histogram(5), "hold 6 observations, and its count is 5"),
        (histogram(7), "hold 6 observations, and its count is 7"),
        (histogram(5, math.nan), "its count is 5"),
        (
            histogram(positive=NativeBuckets(((0, 3),), (1, 1))),
            "positive buckets are wrong: their spans have 3 buckets",
        ),
        (histogram(negative=NativeBuckets(((0, 1),), (1, 1))), "negative buckets are wrong: their spans have 1 bucket"),
        (histogram(positive=NativeBuckets(((0, 1), (-1, 1)), (1, 1))), "a span begins before"),
        (histogram(positive=NativeBuckets(((0, 2),), (1, -2))), "a count is negative"),
        (floats(positive=NativeBuckets(((0, 1),), counts=(-1.0,))), "a count is negative"),
        (floats(positive=NativeBuckets(((0, 1),), counts=(math.nan,))), "a count is negative or not a number"),
        (floats(positive=NativeBuckets(((0, 1),), (1,))), "differences of integers beside counts in floats"),
        (histogram(positive=NativeBuckets(((0, 2),), (1,), (1.0,))), "both differences and counts"),
        (histogram(positive=NativeBuckets(((2**31 - 1, 2),), (1, 1))), "reach beyond"),
    ],
)
def test_what_would_make_prometheus_drop_the_scrape_is_refused(invalid: Histogram, reason: str) -> None:
    """Each rule has its own words, and a push that breaks one is refused with them before it is stored."""
    assert reason in problem(invalid)
    family = MetricFamily("h", MetricType.HISTOGRAM, "", (invalid,))
    with pytest.raises(InconsistentPushError, match="is an invalid native histogram: its"):
        validate([family], KEY)


def test_the_buckets_from_the_lowest_to_the_highest() -> None:
    """Negative buckets end at their upper bound, positive ones at their lower, and empty ones are left out."""
    empty = histogram(positive=NativeBuckets(((-3, 2), (0, 1)), (1, 1, -2)))
    assert empty.native is not None
    assert list(buckets(empty.native)) == [
        Bucket(-8.0, -4.0, True, False, 1),
        Bucket(-1.0, -0.5, True, False, 1),
        Bucket(-0.001, 0.001, True, True, 1),
        Bucket(0.0625, 0.125, False, True, 1),
        Bucket(0.125, 0.25, False, True, 2),
    ]


@pytest.mark.parametrize(
    ("schema", "index", "upper"),
    [
        (0, 0, 1.0), (0, 1, 2.0), (0, -1, 0.5), (0, 1024, 1.7976931348623157e308), (0, 1025, math.inf),
        (3, 0, 1.0), (3, 1, 1.0905077326652577), (3, 8, 2.0), (3, -8, 0.5), (8, 1, 1.0027112750502025),
        (1, 1, 1.4142135623730951), (2, 3, 1.681792830507429), (-1, 1, 4.0), (-2, 1, 16.0), (-4, 1, 65536.0),
        (-4, -1, 2.0**-16), (0, -1100, 0.0),
    ],
)  # fmt: skip
def test_bounds_are_correctly_rounded(schema: int, index: int, upper: float) -> None:
    """A bound is 2 ** (index * 2 ** -schema), to the last digit; the largest double ends the last finite bucket."""
    (bucket,) = buckets(NativeHistogram(schema, 0.0, 0, positive=NativeBuckets(((index, 1),), (1,))))
    assert bucket.upper == upper


@given(st.integers(-4, 8), st.integers(-2000, 2000))
def test_neighbouring_buckets_touch(schema: int, index: int) -> None:
    """Where one bucket ends the next begins, in every schema."""
    first, second = buckets(NativeHistogram(schema, 0.0, 0, positive=NativeBuckets(((index, 2),), (1, 0))))
    assert first.upper == second.lower
    assert first.lower <= first.upper <= second.upper
