import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.formats.numbers import format_value, format_values, parse_float, uint64_or_none, wrap_uint64

FORMATTED = {
    0.0: "0",
    1.0: "1",
    -1.0: "-1",
    0.5: "0.5",
    123456.0: "123456",
    999999.0: "999999",
    999999.5: "999999.5",
    100000.0: "100000",
    1e6: "1e+06",
    -1e6: "-1e+06",
    1234567.0: "1.234567e+06",
    1000000.5: "1.0000005e+06",
    12345678.9: "1.23456789e+07",
    1700000000.123: "1.700000000123e+09",
    1e15: "1e+15",
    1234567890123456.0: "1.234567890123456e+15",
    1e16: "1e+16",
    1.5e16: "1.5e+16",
    1e21: "1e+21",
    1e100: "1e+100",
    0.0001: "0.0001",
    0.00012: "0.00012",
    0.00001: "1e-05",
    1.5e-5: "1.5e-05",
    5e-324: "5e-324",
    1.7976931348623157e308: "1.7976931348623157e+308",
    math.inf: "+Inf",
    -math.inf: "-Inf",
}


@pytest.mark.parametrize(("value", "written"), FORMATTED.items())
def test_values_are_written_as_go_writes_them(value: float, written: str) -> None:
    """Exponents below 1e-4 and from 1e6 on, two digits at least, shortest digits."""
    assert format_value(value) == written


@given(
    st.lists(st.floats(), min_size=1)
    | st.lists(st.integers(0, 10**16).map(float), min_size=1)
    | st.lists(st.integers(0, 10**9).map(lambda number: number * 1e5), min_size=1)
    | st.lists(st.sampled_from([0.0, -0.0, 999_999.0, 1e6, 1_000_001.0, 1e15 - 1, 1e15]), min_size=1)
)
def test_many_values_are_written_as_each_is(numbers: list[float]) -> None:
    """Whether all of them are whole or not."""
    assert format_values(numbers) == [format_value(number) for number in numbers]


@given(st.integers(1, 10**16) | st.integers(1, 10**9).map(lambda number: number * 10**6))
def test_whole_numbers_have_the_shortest_digits(number: int) -> None:
    """The digits before the exponent are those of Python's repr, which are the shortest."""
    value = float(number)
    digits = repr(value).removesuffix(".0").replace(".", "").partition("e")[0].strip("0")
    assert format_value(value).partition("e")[0].replace(".", "").rstrip("0") == digits
    assert format_value(-value) == f"-{format_value(value)}"


def test_minus_zero_and_nan() -> None:
    """Minus zero is written as 0, and NaN as NaN."""
    assert format_value(-0.0) == "0"
    assert format_value(math.nan) == "NaN"


def test_integers_are_written_as_the_doubles_that_they_become() -> None:
    """A count that is an int looks as if it were a float."""
    assert format_value(1_000_000) == "1e+06"
    assert format_value(2**64 - 1) == "1.8446744073709552e+19"


@given(st.floats(allow_nan=False))
def test_what_is_written_reads_back(value: float) -> None:
    """The digits are enough to get the same double."""
    assert parse_float(format_value(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_an_exponent_is_used_exactly_where_go_uses_one(value: float) -> None:
    """Plain digits from 1e-4 up to 1e6, an exponent elsewhere."""
    assert ("e" in format_value(value)) == (value != 0 and not 1e-4 <= abs(value) < 1e6)


@pytest.mark.parametrize(
    ("token", "value"),
    [
        ("+1", 1.0), (".5", 0.5), ("5.", 5.0), ("1e3", 1000.0), ("1E+3", 1000.0), ("-0", 0.0), ("1e-400", 0.0),
        ("007", 7.0), ("inf", math.inf), ("+Inf", math.inf), ("-INFINITY", -math.inf), ("infinity", math.inf),
    ],
)  # fmt: skip
def test_numbers_are_read(token: str, value: float) -> None:
    """Decimal numbers, with a sign, a bare point or an exponent, and infinities in any case."""
    assert parse_float(token) == value


@pytest.mark.parametrize("token", ["nan", "NaN", "NAN"])
def test_nan_is_read_in_any_case(token: str) -> None:
    """NaN has no sign, and any case."""
    assert math.isnan(parse_float(token))


@pytest.mark.parametrize(
    "token",
    [
        "", " 1", "1 ", "1_0", "0x10", "0x1p-2", "-nan", "+nan", "1e400", "-1e400", "9" * 400, "1e", "e1", ".", "-",
        "--1", "infinit", "1\n", "٣", "1,5", "ınf", "nan\n",
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused(token: str) -> None:
    """Blanks, underscores, other bases, signed NaN, overflow and digits of other scripts are no numbers here."""
    with pytest.raises(ValueError, match=r"is not a number|is too large"):
        parse_float(token)


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        (0.0, 0), (-0.0, 0), (3.0, 3), (2.0**53, 2**53), (2.0**64 - 2048, 2**64 - 2048),
        (2.0**64, None), (0.5, None), (-1.0, None), (math.nan, None), (math.inf, None),
    ],
)  # fmt: skip
def test_whole_counts_are_told_from_others(value: float, whole: int | None) -> None:
    """Only a double that is exactly an unsigned 64-bit integer is one."""
    assert uint64_or_none(value) == whole


@pytest.mark.parametrize(
    ("value", "cast"),
    [
        (3.7, 3), (-0.5, 0), (-3.0, 2**64 - 3), (-3.7, 2**64 - 3), (1e19, 10**19), (-(2.0**63), 2**63),
        (math.nan, 2**63), (math.inf, 2**63), (-math.inf, 2**63), (1e30, 2**63), (2.0**64, 2**63),
    ],
)  # fmt: skip
def test_casts_wrap_as_in_go(value: float, cast: int) -> None:
    """Numbers are truncated, negative ones wrapped around; what has no cast is 2**63."""
    assert wrap_uint64(value) == cast
