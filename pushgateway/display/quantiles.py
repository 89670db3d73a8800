"""Which quantiles does a histogram let one estimate?

By the rules of Prometheus' histogram_quantile, so that the page says what a query would say of the same counts:
https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile. Where the estimate is not possible
it is NaN, and nothing is ever raised: what was pushed may have any numbers.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from pushgateway.model import Histogram, NativeHistogram
from pushgateway.rules import native

__all__ = ["Cumulative", "cumulative", "estimate"]


class Cumulative(NamedTuple):
    """The bound of a bucket, and how many observations are at or below it."""

    upper: float
    count: float  # type: ignore[assignment]  # hides tuple.count, which nobody wants here


def cumulative(histogram: Histogram) -> tuple[Cumulative, ...]:
    """Return the classic buckets in order, counts never falling, up to +Inf.

    Mended as Prometheus mends them: buckets of one bound are added up, a count below the one before is raised to it. A
    bound or count that is NaN is left out; a missing +Inf bucket holds the count of all, as in the exposition.

    Returns:
        The buckets; () for a histogram that has none.
    """
    if not histogram.buckets:
        return ()
    counts: dict[float, float] = {}
    for upper, count in histogram.buckets:
        if not (math.isnan(upper) or math.isnan(count)):
            counts[upper] = counts.get(upper, 0) + count
    if math.inf not in counts:
        counts[math.inf] = 0 if math.isnan(histogram.count) else histogram.count
    mended: list[Cumulative] = []
    highest: float = 0
    for upper in sorted(counts):
        highest = max(highest, counts[upper])
        mended.append(Cumulative(upper, highest))
    return tuple(mended)


def estimate(histogram: Histogram, shares: Sequence[float]) -> tuple[float, ...]:
    """Estimate quantiles.

    Args:
        histogram: Its native side counts if it has one, else its classic buckets.
        shares: From 0 to 1; 0.5 is the median.

    Returns:
        One number a share: NaN without observations, or where nothing can be said.
    """
    if histogram.native is not None:
        buckets = tuple(native.buckets(histogram.native))
        return tuple(_native(share, histogram, histogram.native, buckets) for share in shares)
    classic = cumulative(histogram)
    return tuple(_classic(share, classic) for share in shares)


def _classic(share: float, buckets: Sequence[Cumulative]) -> float:
    """Interpolate in the bucket in which the share is reached, as if its observations were evenly spread."""
    if len(buckets) < 2 or not buckets[-1].count or math.isinf(buckets[-1].count):
        return math.nan
    rank = share * buckets[-1].count
    index = bisect_left(buckets, rank, hi=len(buckets) - 1, key=lambda bucket: bucket.count)
    if index == len(buckets) - 1:
        return buckets[-2].upper
    upper, count = buckets[index]
    if index == 0:
        if upper <= 0:
            return upper
        lower, below = 0.0, 0.0
    else:
        lower, below = buckets[index - 1]
    found = lower + (upper - lower) * _part(rank - below, count - below)
    # Rounding in a bucket that is very wide could lead out of it.
    return upper if found > upper else found


def _native(
    share: float, histogram: Histogram, native_side: NativeHistogram, buckets: Sequence[native.Bucket]
) -> float:
    """Interpolate in the bucket in which the share is reached, on a scale of powers; linearly around zero."""
    if not histogram.count or math.isinf(histogram.count) or not buckets:
        return math.nan
    # Counted from the nearer end, which keeps the rounding of floats small. What was observed as NaN is in the count
    # and in no bucket: it is taken to lie above all others, so that only counting from below finds what is asked for.
    from_below = share < 0.5 or math.isnan(histogram.sum)
    rank = share * histogram.count if from_below else (1 - share) * histogram.count
    seen = 0.0
    bucket = buckets[0]
    for bucket in buckets if from_below else reversed(buckets):
        seen += bucket.observations
        if seen >= rank:
            break
    if seen < rank and math.isnan(histogram.sum):
        return math.nan
    seen = min(seen, histogram.count)
    part = _part(rank - (seen - bucket.observations) if from_below else seen - rank, bucket.observations)
    return _within(_one_sided(bucket, native_side), min(max(part, 0.0), 1.0))


def _one_sided(bucket: native.Bucket, native_side: NativeHistogram) -> native.Bucket:
    """Cut the zero bucket at 0 where all other observations are on one side of it."""
    if not bucket.lower < 0 < bucket.upper:
        return bucket
    below, above = bool(native_side.negative.spans), bool(native_side.positive.spans)
    if above and not below:
        return bucket._replace(lower=0.0)
    return bucket._replace(upper=0.0) if below and not above else bucket


def _within(bucket: native.Bucket, part: float) -> float:
    lower, upper = bucket.lower, bucket.upper
    if lower <= 0 <= upper:
        return lower + (upper - lower) * part
    if math.isinf(lower) or math.isinf(upper):
        return lower if lower > 0 else upper
    low, high = math.log2(abs(lower)), math.log2(abs(upper))
    exponent = low + (high - low) * part
    # The logarithm of the largest double is rounded up to what is none any more.
    size: float = 2.0**exponent if exponent < sys.float_info.max_exp else sys.float_info.max
    return size if lower > 0 else -size


def _part(count: float, whole: float) -> float:
    return count / whole if whole else math.nan
