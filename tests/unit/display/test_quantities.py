from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.display.quantities import Quantity, as_moment, exact, quantity_of, readable
from pushgateway.model import MetricType

COUNTER, GAUGE, HISTOGRAM = MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (7, "7"),
        (1234.0, "1 234"),
        (99_999, "99 999"),
        (100_000, "100 000"),
        (999.6, "1 000"),
        (1_234_567.0, "1.23 M"),
        (999_999.0, "999 999"),
        (999_999.7, "1 M"),
        (-1_500_000.0, "-1.5 M"),
        (3.14159, "3.14"),
        (184_632.55, "184 633"),
        (0.05, "0.05"),
        (0.000012, "1.2e-5"),
        (1e30, "1e30"),
        (2**64 - 1, "18.4 E"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
    ],
)
def test_numbers_have_three_digits_and_a_prefix(value: float, text: str) -> None:
    """A number is cut to three digits with a prefix of the SI, but for those that are short as whole ones."""
    assert readable(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (512.0, "512 B"), (1000, "1 kB"), (3_400_000_000.0, "3.4 GB"), (0.5, "0.5 B"), (2e15, "2 PB")],
)
def test_bytes_come_in_decimal_units(value: float, text: str) -> None:
    """Bytes have their unit, with prefixes that are powers of 1000."""
    assert readable(value, Quantity.BYTES) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 s"),
        (2.5e-9, "2.5 ns"),
        (0.0000125, "12.5 µs"),
        (0.25, "250 ms"),
        (0.9999, "1 s"),
        (1.5, "1.5 s"),
        (59.99, "1 min"),
        (245, "4 min 5 s"),
        (3599.8, "1 h"),
        (7380.0, "2 h 3 min"),
        (86399.0, "1 d"),
        (3 * 86400 + 4 * 3600.0, "3 d 4 h"),
        (-90.0, "-1 min 30 s"),
        (1e8, "1 157 d"),
        (1e12, "1 Ts"),
        (1e-30, "1e-21 ns"),
        (math.nan, "NaN"),
    ],
)
def test_durations_come_in_the_units_of_clocks(value: float, text: str) -> None:
    """Short ones in parts of a second, long ones in the two largest units, rounded and never 60 of the smaller."""
    assert readable(value, Quantity.SECONDS) == text


def test_moments_are_dates_and_what_is_none_stays_a_number() -> None:
    """A Unix time is a date in UTC; 0 (never), milliseconds and NaN are shown as numbers."""
    assert readable(1764284134.5, Quantity.MOMENT) == "2025-11-27 22:55:34 UTC"
    assert readable(0, Quantity.MOMENT) == "0"
    assert readable(1764284134000.0, Quantity.MOMENT) == "1.76 T"
    assert readable(math.nan, Quantity.MOMENT) == "NaN"
    assert as_moment(math.inf) is None


def test_ratios_are_percentages_unless_they_are_large() -> None:
    """0.125 is 12.5 %; a ratio of 30 was never meant as one of a whole."""
    assert readable(0.125, Quantity.RATIO) == "12.5 %"
    assert readable(30.0, Quantity.RATIO) == "30"


@pytest.mark.parametrize(
    ("name", "type", "unit", "quantity"),
    [
        ("requests_total", COUNTER, "", Quantity.NUMBER),
        ("process_cpu_seconds_total", COUNTER, "", Quantity.SECONDS),
        ("sent_bytes_total", COUNTER, "", Quantity.BYTES),
        ("request_duration_seconds", HISTOGRAM, "", Quantity.SECONDS),
        ("batch_job_next_run_timestamp_seconds", GAUGE, "", Quantity.MOMENT),
        ("push_time_seconds", MetricType.UNTYPED, "", Quantity.MOMENT),
        ("boot_time_seconds", COUNTER, "", Quantity.SECONDS),
        ("progress_ratio", GAUGE, "", Quantity.RATIO),
        ("size", GAUGE, "bytes", Quantity.BYTES),
        ("milliseconds", GAUGE, "", Quantity.NUMBER),
        ("bytes", GAUGE, "", Quantity.BYTES),
        ("disk.used.bytes", GAUGE, "", Quantity.BYTES),
        ("", GAUGE, "", Quantity.NUMBER),
    ],
)
def test_the_name_or_the_unit_says_what_is_measured(name: str, type: MetricType, unit: str, quantity: Quantity) -> None:
    """The unit counts, then the last word of the name before _total; only gauges and untyped values are times."""
    assert quantity_of(name, type, unit=unit) is quantity


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1764284134.25, "1764284134.25"),
        (1e6, "1000000"),
        (2**64 - 1, "18446744073709551615"),
        (0.1, "0.1"),
        (-0.0, "-0"),
        (1e300, "1e+300"),
        (5e-324, "5e-324"),
        (math.nan, "NaN"),
    ],
)
def test_the_exact_value_has_all_digits(value: float, text: str) -> None:
    """Nothing is rounded, and no exponent is used where digits can be read."""
    assert exact(value) == text


@given(st.floats() | st.integers(min_value=0, max_value=2**64 - 1), st.sampled_from(Quantity))
def test_every_number_can_be_read(value: float, quantity: Quantity) -> None:
    """Whatever was pushed is written in at most 24 characters, and its exact form reads back as the same number."""
    assert 0 < len(readable(value, quantity)) <= 24
    assert math.isnan(value) or type(value)(exact(value)) == value
