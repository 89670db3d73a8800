"""Do estimates follow histogram_quantile of Prometheus, and stay safe whatever was pushed?"""

from __future__ import annotations

import math
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.display.quantiles import Cumulative, cumulative, estimate
from pushgateway.model import Histogram, NativeBuckets, NativeHistogram

INF, NAN = math.inf, math.nan


def classic(*buckets: tuple[float, float], count: float | None = None) -> Histogram:
    """Make a histogram; its count is that of the last bucket unless another is given."""
    return Histogram((), buckets, 0.0, buckets[-1][1] if count is None and buckets else count or 0)


def exponential(
    positive: tuple[int, ...] = (),
    negative: tuple[int, ...] = (),
    *,
    zero: float = 0,
    sum: float = 1.0,
    extra: int = 0,
) -> Histogram:
    """Make a native histogram of schema 0, whose buckets begin at (0.5, 1]; `extra` observations are NaN."""
    sides = [
        NativeBuckets(((0, len(side)),) if side else (), counts=tuple(map(float, side)))
        for side in (negative, positive)
    ]
    total = float(sum_of(positive) + sum_of(negative) + zero + extra)
    return Histogram((), (), sum, total, native=NativeHistogram(0, 0.001, float(zero), *sides))


def sum_of(counts: tuple[int, ...]) -> int:
    """Add counts up."""
    return sum(counts)


@pytest.mark.parametrize(
    ("buckets", "share", "quantile"),
    [
        # The observations of a bucket are spread evenly over it; those of the first one from 0.
        (((1, 10), (2, 20), (INF, 20)), 0.25, 0.5),
        (((1, 10), (2, 20), (INF, 20)), 0.5, 1.0),
        (((1, 10), (2, 20), (INF, 20)), 0.75, 1.5),
        (((1, 10), (2, 20), (INF, 20)), 0.99, 1.98),
        # Beyond the highest bound, that bound is the answer.
        (((1, 10), (2, 20), (INF, 40)), 0.9, 2.0),
        # A first bucket that ends at or below 0 has no lower end.
        (((-5, 10), (5, 20), (INF, 20)), 0.25, -5.0),
        (((0, 10), (5, 20), (INF, 20)), 0.25, 0.0),
        # Empty buckets are passed over.
        (((1, 0), (2, 0), (4, 8), (8, 8), (INF, 8)), 0.5, 3.0),
        # In any order; a missing +Inf is the count; a falling count is raised; one bound twice is added up.
        (((2, 20), (1, 10)), 0.75, 1.5),
        (((1, 10), (2, 5), (3, 20), (INF, 20)), 0.5, 1.0),
        (((1, 5), (1.0, 5), (2, 20), (INF, 20)), 0.25, 0.5),
    ],
)
def test_classic_quantiles_are_those_of_prometheus(
    buckets: tuple[tuple[float, float], ...], share: float, quantile: float
) -> None:
    """Linear interpolation in the bucket where the share is reached, by Prometheus' rules for its ends."""
    ordered = sorted(buckets)
    assert estimate(classic(*buckets, count=ordered[-1][1]), [share]) == (pytest.approx(quantile),)


@pytest.mark.parametrize(
    "histogram",
    [
        classic(),
        classic((1, 0), (INF, 0)),
        classic((INF, 5)),
        classic((NAN, 5), (INF, 5)),
        classic((1, NAN), (INF, NAN)),
        classic((1, INF), (INF, INF)),
        exponential(),
        Histogram((), (), NAN, 3, native=NativeHistogram(0, 0.0, 0)),
    ],
)
def test_without_observations_there_is_no_quantile(histogram: Histogram) -> None:
    """No buckets, no observations, only +Inf, or numbers that are none: NaN, as Prometheus says."""
    assert all(map(math.isnan, estimate(histogram, [0.0, 0.5, 1.0])))


def test_rounding_never_leads_out_of_a_bucket() -> None:
    """A bucket so wide that its bounds and its width cannot all be exact ends where it ends."""
    wide = classic((-9007199254740996.0, 0), (-1.0, 1), (0.0, 2), (INF, 2))
    assert estimate(wide, [0.5]) == (-1.0,)


def test_infinite_lower_bounds_are_safe() -> None:
    """A bucket up to -Inf is the first one below 0; nothing can be interpolated behind it."""
    assert estimate(classic((-INF, 5), (1, 10), (INF, 10)), [0.25]) == (-INF,)


@pytest.mark.parametrize(
    ("histogram", "share", "quantile"),
    [
        # Within (1, 2] on a scale of powers: half of its observations lie below the root of 2.
        (exponential((0, 4)), 0.5, math.sqrt(2)),
        (exponential((2, 2)), 0.25, 2**-0.5),
        (exponential((2, 2)), 1.0, 2.0),
        (exponential((2, 2)), 0.0, 0.5),
        # Negative buckets are the mirror.
        (exponential((), (0, 4)), 0.5, -math.sqrt(2)),
        (exponential((2,), (2,)), 0.25, -(2**-0.5)),
        # The zero bucket is linear, and ends at 0 where nothing is on the other side.
        (exponential((2,), (2,), zero=4), 0.5, 0.0),
        (exponential((2,), zero=2), 0.25, 0.0005),
        (exponential((), (2,), zero=2), 0.75, -0.0005),
    ],
)
def test_native_quantiles_are_those_of_prometheus(histogram: Histogram, share: float, quantile: float) -> None:
    """Exponential interpolation in the bucket where the share is reached, linear around zero."""
    assert estimate(histogram, [share]) == (pytest.approx(quantile),)


@pytest.mark.parametrize(("side", "share", "quantile"), [("positive", 1.0, 1), ("negative", 0.0, -1)])
def test_the_bucket_of_the_largest_double_is_safe(side: str, share: float, quantile: int) -> None:
    """Its bound is a double, though its logarithm, which is rounded, is that of none."""
    buckets = NativeBuckets(((1024, 1),), counts=(4.0,))
    histogram = Histogram((), (), 1.0, 4.0, native=NativeHistogram(0, 0.0, 0.0)._replace(**{side: buckets}))
    assert estimate(histogram, [share]) == (quantile * sys.float_info.max,)


def test_observations_that_are_not_numbers_lie_above_all_others() -> None:
    """They count in the total and are in no bucket: quantiles below them are found, those among them are NaN."""
    low, high = estimate(exponential((0, 4), extra=4, sum=NAN), [0.25, 0.9])
    assert low == pytest.approx(math.sqrt(2))
    assert math.isnan(high)


def test_the_native_side_counts_before_the_classic_one() -> None:
    """It is the finer one, and the one that Prometheus keeps."""
    both = exponential((0, 4))._replace(buckets=((100, 4), (INF, 4)))
    assert estimate(both, [1.0]) == (2.0,)


def test_buckets_are_mended_as_prometheus_mends_them() -> None:
    """Sorted, never falling, ending at +Inf."""
    mended = cumulative(classic((2, 3), (1, 5), (NAN, 7), count=9))
    assert mended == (Cumulative(1, 5), Cumulative(2, 5), Cumulative(INF, 9))


numbers = st.floats() | st.integers(min_value=0, max_value=2**64 - 1)


@given(st.lists(st.tuples(st.floats(), numbers), max_size=6), numbers)
def test_no_histogram_breaks_the_estimate(buckets: list[tuple[float, float]], count: float) -> None:
    """Any bounds and counts give quantiles that never fall from one share to the next, or NaN."""
    found = estimate(Histogram((), tuple(buckets), 0.0, count), [0.5, 0.9, 0.95, 0.99])
    known = [one for one in found if not math.isnan(one)]
    assert len(found) == 4
    assert all(low <= high or math.isclose(low, high) for low, high in pairwise(known))


counts = st.lists(st.integers(min_value=0, max_value=1000), max_size=5).map(tuple)


@given(counts, counts, st.integers(min_value=0, max_value=9), st.sampled_from([0, 3]), st.sampled_from([1.0, NAN]))
def test_no_native_histogram_breaks_the_estimate(
    positive: tuple[int, ...], negative: tuple[int, ...], zero: int, extra: int, sum: float
) -> None:
    """The same of native ones."""
    histogram = exponential(positive, negative, zero=zero, extra=extra, sum=sum)
    known = [one for one in estimate(histogram, [0.0, 0.5, 0.9, 0.95, 0.99, 1.0]) if not math.isnan(one)]
    assert all(low <= high or math.isclose(low, high) for low, high in pairwise(known))
