"""Is a native histogram one that Prometheus will take?

Prometheus drops the whole scrape when a single native histogram in it is invalid, so that each one is checked before it
is stored. The rules are those of Prometheus itself (https://prometheus.io/docs/specs/native_histograms/ and the checks
of its model/histogram package), for the exponential schemas: protobuf has no way to say custom buckets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from decimal import Decimal, localcontext
from functools import lru_cache
from itertools import accumulate
from typing import Final, NamedTuple

from pushgateway.model import Histogram, NativeBuckets, NativeHistogram

__all__ = ["Bucket", "buckets", "problem"]

_LOWEST_SCHEMA: Final = -4
_HIGHEST_SCHEMA: Final = 8
_MOST_BUCKETS: Final = 1 << 31
"""Bucket indexes are 32-bit integers."""
_MOST_OBSERVATIONS: Final = 1 << 63
"""What integer buckets hold is added up from their differences as signed 64-bit integers."""


class Bucket(NamedTuple):
    """One bucket that is not empty, with whether its bounds belong to it."""

    lower: float
    upper: float
    includes_lower: bool
    includes_upper: bool
    observations: float


def problem(histogram: Histogram) -> str:
    """Return what is wrong with the native side of a histogram, as a clause that says what was expected; "" if nothing.

    Args:
        histogram: With or without a native side.
    """
    native = histogram.native
    if native is None:
        return ""
    if not _LOWEST_SCHEMA <= native.schema <= _HIGHEST_SCHEMA:
        return f"its schema is {native.schema}; expected {_LOWEST_SCHEMA} to {_HIGHEST_SCHEMA}"
    if not native.zero_threshold >= 0 or math.isinf(native.zero_threshold):
        return f"its zero threshold is {native.zero_threshold}; expected 0 or a positive number"
    is_float = type(histogram.count) is float
    if not histogram.count >= 0:
        return f"its count is {histogram.count}; expected none below 0"
    if not native.zero_count >= 0:
        return f"its zero bucket holds {native.zero_count}; expected a count"
    for sign, side in (("negative", native.negative), ("positive", native.positive)):
        if found := _side_problem(side, is_float=is_float):
            return f"its {sign} buckets are wrong: {found}"
    if is_float:
        # As in Prometheus sums of floats need not be exact. But without a count it takes the buckets for integers.
        if histogram.count or native.zero_count:
            return ""
        return "its count is 0, and it has buckets in floats; expected the number of all observations"
    total = int(native.zero_count) + sum(_counts(native.negative)) + sum(_counts(native.positive))
    # What was observed as NaN is in no bucket.
    if total == histogram.count or (math.isnan(histogram.sum) and total < histogram.count):
        return ""
    return f"its buckets hold {total} observations, and its count is {histogram.count}; expected the same"


def _side_problem(side: NativeBuckets, *, is_float: bool) -> str:
    if is_float and side.deltas:
        return "they have differences of integers beside counts in floats; expected one of them"
    if side.deltas and side.counts:
        return "they have both differences and counts; expected one of them"
    if any(offset < 0 for offset, _ in side.spans[1:]):
        return "a span begins before the one before it ends; expected an offset of 0 or more"
    in_spans, present = sum(length for _, length in side.spans), len(side.deltas) + len(side.counts)
    if in_spans != present:
        return f"their spans have {in_spans} buckets, and {present} are given"
    if side.spans and abs(side.spans[0][0]) + sum(sum(span) for span in side.spans[1:]) + in_spans >= _MOST_BUCKETS:
        return f"their spans reach beyond {_MOST_BUCKETS}"
    if any(not count >= 0 for count in _counts(side)):
        return "a count is negative or not a number; expected none below 0"
    if side.deltas and max(_counts(side)) >= _MOST_OBSERVATIONS:
        return f"a bucket holds more than {_MOST_OBSERVATIONS - 1} observations"
    return ""


def _counts(side: NativeBuckets) -> Iterable[float]:
    return side.counts or accumulate(side.deltas)


def buckets(native: NativeHistogram) -> Iterator[Bucket]:
    """Yield the buckets that are not empty, from the lowest to the highest, the zero bucket between the two sides.

    Args:
        native: A valid one, as `problem` says.
    """
    schema = native.schema
    for index, count in reversed(list(_indexed(native.negative))):
        yield Bucket(-_bound(schema, index), -_bound(schema, index - 1), True, False, count)
    if native.zero_count:
        yield Bucket(-native.zero_threshold, native.zero_threshold, True, True, native.zero_count)
    for index, count in _indexed(native.positive):
        yield Bucket(_bound(schema, index - 1), _bound(schema, index), False, True, count)


def _indexed(side: NativeBuckets) -> Iterator[tuple[int, float]]:
    counts = iter(_counts(side))
    index = 0
    for offset, length in side.spans:
        index += offset
        for _ in range(length):
            count = next(counts)
            if count:
                yield index, count
            index += 1


def _bound(schema: int, index: int) -> float:
    """Return the upper bound of a positive bucket: 2 ** (index * 2 ** -schema), infinity beyond the doubles."""
    if schema <= 0:
        exponent, fraction = index << -schema, 0
    else:
        exponent, fraction = index >> schema, index & ((1 << schema) - 1)
    if exponent >= 1024:
        # The bucket that holds the largest double is said to end there.
        return math.inf if exponent > 1024 or fraction else 1.7976931348623157e308
    return math.ldexp(_root(schema, fraction), exponent)


@lru_cache(maxsize=1024)
def _root(schema: int, fraction: int) -> float:
    """Return 2 ** (fraction / 2 ** schema), correctly rounded, which the power of two doubles is not."""
    if not fraction:
        return 1.0
    with localcontext() as context:
        context.prec = 40
        return float(Decimal(2) ** (Decimal(fraction) / (1 << schema)))
