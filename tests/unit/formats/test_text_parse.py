import contextlib
import tomllib
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.config import Limits
from pushgateway.errors import LimitError, ParseError
from pushgateway.formats import text
from pushgateway.model import Histogram, MetricFamily, MetricType, Sample, Summary
from pushgateway.tables import SampleTable
from tests.unit.formats.format_strategies import as_text_says, family_lists, thorough

CORPUS = Path(__file__).parents[2] / "data" / "text"
ACCEPTED = tomllib.loads((CORPUS / "accepted.toml").read_text(encoding="utf-8"))["case"]
REFUSED = tomllib.loads((CORPUS / "refused.toml").read_text(encoding="utf-8"))["case"]


def body_of(case: dict[str, str]) -> bytes:
    return bytes.fromhex(case["body_hex"]) if "body_hex" in case else case["body"].encode()


def outcome(parse: Callable[[bytes], object], body: bytes) -> object:
    """Return what a parser makes of a body, in a form that can be compared even if there is a NaN in it."""
    try:
        return repr(parse(body))
    except ParseError as error:
        return error.message, error.line, error.hint, error.family
    except LimitError as error:
        return str(error)


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case["name"])
def test_every_accepted_row_becomes_what_the_original_makes_of_it(case: dict[str, str]) -> None:
    """A body of the contract's table is taken, and exposed as the original exposes it."""
    assert text.render(text.parse(body_of(case))).decode() == case["exposition"]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["name"])
def test_every_refused_row_has_the_original_message_and_line(case: dict[str, str]) -> None:
    """A body of the contract's table is refused with the original's message, the right line and a hint."""
    with pytest.raises(ParseError) as caught:
        text.parse(body_of(case))
    assert (caught.value.message, caught.value.line) == (case["message"], case.get("line", 1))
    assert caught.value.hint


@pytest.mark.parametrize("case", ACCEPTED + REFUSED, ids=lambda case: case["name"])
def test_the_fast_path_agrees_with_the_careful_one_on_the_corpus(case: dict[str, str]) -> None:
    """What the fast path takes apart itself comes out as the whole grammar reads it."""
    assert outcome(text.parse, body_of(case)) == outcome(text.parse_carefully, body_of(case))


FRAGMENTS = [
    *["x", "y1", "h_bucket", "h_count", "h_sum", "s", "{", "}", "{a=", '{a="b"}', '{a="b",le="1"}', '{le="0.5"}', "a"],
    *["le", "quantile", "__name__", "=", '"', '"b"', '"1"', ",", " ", "  ", "\t", "\n", "\n", "\n", " 1\n", " 2.5\n"],
    *[
        " NaN\n",
        "1e3",
        "+Inf",
        "-",
        "1e999",
        "123",
        "} 1",
        "é",
        "\udcff",
        "\r",
        "\\",
        "\\n",
        '\\"',
        "# ",
        "#",
        "# TYPE ",
    ],
    *["# HELP ", "counter", "# TYPE h histogram\n", "# TYPE s summary\n", 'x{a="1",b="2"} 7\n', 'x{b="1",a="2"} 7\n'],
]
fragment_bodies = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map(
    lambda fragments: "".join(fragments).encode(errors="surrogateescape")
)


@thorough
@given(fragment_bodies)
def test_the_fast_path_agrees_with_the_careful_one_on_odd_bodies(body: bytes) -> None:
    """On bodies made of the grammar's pieces both paths give the same families or the same error."""
    assert outcome(text.parse, body) == outcome(text.parse_carefully, body)


@thorough
@given(fragment_bodies, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_the_fast_path_agrees_with_the_careful_one_on_limits(body: bytes, labels: int, name: int, value: int) -> None:
    """Whatever the limits are, both paths give the same families or the same error."""
    limits = Limits(labels_per_series=labels, name_bytes=name, value_bytes=value)
    assert outcome(partial(text.parse, limits=limits), body) == outcome(
        partial(text.parse_carefully, limits=limits), body
    )


USUAL = [
    *['a="{0}",b="x y"', 'b="{0}",a="{0}"', 'a = "{0}", b="}}",', 'b="",a="é{0}"', "", 'le="{0}"', 'a="{0}" b="1"'],
    *['le="{0}",b="2"', 'le="{0}x"'],
]
ODD = [
    *[
        "",
        "# HELP y is odd",
        "# a comment",
        "x 1 5",
        'x{a="\\\\",b="1"} 2',
        'x{a="1""b="2} 3',
        'x{,b="2"} 4',
        "x{} +5",
        'x{a="1"}',
    ],
    *["# TYPE x gauge", "# TYPE h histogram", "y", 'h{le="2"} 6', "\udcff"],
]
runs = st.tuples(st.sampled_from(["x", "y", "h_bucket"]), st.sampled_from(USUAL), st.integers(1, 80)).map(
    lambda run: "".join([f"{run[0]}{{{run[1].format(at % 50)}}} {at}.5\n" for at in range(run[2])])
)
long_bodies = st.lists(runs | st.sampled_from(ODD).map(lambda line: f"{line}\n"), max_size=6).map(
    lambda parts: "".join(parts).encode(errors="surrogateescape")
)


@thorough
@given(
    long_bodies,
    st.sampled_from([100, 1000, 10_000]),
    st.sampled_from([1, 2, 128]),
    st.sampled_from([30, 10_000]),
    st.sampled_from([1, 40, 256]),
)
def test_lines_that_are_read_as_columns_say_what_each_of_them_says(
    body: bytes, window: int, labels: int, samples: int, alike: int
) -> None:
    """Many lines alike, and others among them, give the families or the error that they give one by one."""
    limits = Limits(value_bytes=window, labels_per_series=labels, samples_per_push=samples)
    with patch.object(text, "_ALIKE", alike):
        assert outcome(partial(text.parse, limits=limits), body) == outcome(
            partial(text.parse_carefully, limits=limits), body
        )


@pytest.mark.parametrize("bad", [b'h_bucket{a="1",le="x"} 1\n', b'h_bucket{a="1",le="1"} -1\n'])
def test_a_bad_bucket_among_lines_that_look_like_others_has_its_line(bad: bytes) -> None:
    """The line of an error is counted from the beginning of the body, also where lines are taken apart together."""
    alike = b"".join([b'x{a="%d",le="1"} 1\n' % at for at in range(4000)])
    good = b'h_bucket{a="1",le="1"} 1\n' * 50
    with pytest.raises(ParseError) as caught:
        text.parse(alike + b"# a comment\n\n# TYPE h histogram\n" + good + bad + good)
    assert (caught.value.line, caught.value.family) == (4054, "h")


def test_lines_that_say_nothing_take_little_behind_lines_alike() -> None:
    """65 000 blank lines of a window are one row, and not one each that has a place for every label."""
    names = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRS"
    alike = b"x{%b} 1\n" % b",".join([b'%c=""' % ord(name) for name in names]) * 300
    tracemalloc.start()
    try:
        text.parse(alike + b"\n" * (1 << 18))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 << 20


def test_lines_alike_become_a_table_whatever_windows_they_stand_in() -> None:
    """Samples of one family with the same labels are kept as columns, from the first window to the last."""
    body = b"# TYPE x gauge\n" + b"".join([b'x{b="%d",a="1"} %d\n' % (at, at) for at in range(5000)])
    (family,) = text.parse(body)
    assert isinstance(family.metrics, SampleTable)
    assert family.metrics.labels.names == ("a", "b")
    assert family.metrics.labels.columns == ("1", [str(at) for at in range(5000)])


@thorough
@given(
    fragment_bodies
    | st.binary(max_size=60)
    | st.lists(st.sampled_from(REFUSED)).map(lambda rows: b"".join(map(body_of, rows)))
)
def test_whatever_an_error_says_can_be_sent(body: bytes) -> None:
    """Message, hint and family of every error encode to UTF-8, whatever bytes the body has, and are short."""
    try:
        text.parse(body)
    except ParseError as error:
        for told in (error.message, error.hint, error.family):
            assert len(told.encode()) < 3_000


@pytest.mark.parametrize(
    "body",
    [
        b'x{a="\\\xff"} 1\n',
        b"# HELP x \\\xff\n",
        b'{"\\\xff"} 1\n',
        b'# HELP "\\\xff" y\n',
        b'x{\xff="1"} 1\n',
        b"x{a\xff} 1\n",
    ],
)
def test_a_stray_byte_is_told_by_its_number(body: bytes) -> None:
    r"""A byte that is not UTF-8 comes out of an error as \xff, behind a backslash too."""
    with pytest.raises(ParseError) as caught:
        text.parse(body)
    assert caught.value.message.isascii()


@thorough
@given(family_lists())
def test_the_fast_path_agrees_with_the_careful_one_on_rendered_families(families: list[MetricFamily]) -> None:
    """On what the renderer writes both paths give the same families."""
    body = text.render(families)
    assert outcome(text.parse, body) == outcome(text.parse_carefully, body)


@thorough
@given(st.binary(max_size=60) | fragment_bodies, st.booleans(), st.integers(1, 3))
def test_nothing_but_the_documented_errors_is_raised(body: bytes, lenient: bool, samples: int) -> None:
    """Any bytes are either families, a ParseError or a LimitError."""
    with contextlib.suppress(ParseError, LimitError):
        text.parse(body, lenient_line_endings=lenient, limits=Limits(samples_per_push=samples))


@thorough
@given(family_lists())
def test_what_is_rendered_is_parsed_back(families: list[MetricFamily]) -> None:
    """Rendering and parsing again gives the same families, as far as the format can say them."""
    assert as_text_says(text.parse(text.render(families))) == as_text_says(families)


def test_families_come_in_the_order_of_their_first_appearance() -> None:
    """A TYPE line is an appearance, and families without samples are left out."""
    body = b"# TYPE z gauge\n# TYPE nothing gauge\nb 1\na 1\nz 1\nb 2\n"
    assert [family.name for family in text.parse(body)] == ["z", "b", "a"]


def test_labels_are_sorted_by_name_and_timestamps_kept() -> None:
    """A parsed sample has sorted labels, its value and its timestamp, on the fast path and on the careful one."""
    (family,) = text.parse(b'x{b="1",a="2"} 3\nx{ b="1",a="3"} 4 5\n')
    labels = (("a", "2"), ("b", "1")), (("a", "3"), ("b", "1"))
    assert family.metrics == (Sample(labels[0], 3.0), Sample(labels[1], 4.0, 5))
    assert family.type is MetricType.UNTYPED


def test_histograms_count_in_integers_unless_one_count_is_not() -> None:
    """Whole counts are ints; a fraction in any of them turns all the histogram's counts into floats."""
    head = b'# TYPE h histogram\nh_bucket{le="1"} 2\nh_sum 2.5\n'
    (whole,) = text.parse(head + b"h_count 3\n")
    (fractional,) = text.parse(head + b"h_count 3.5\n")
    assert repr(whole.metrics) == repr((Histogram((), ((1.0, 2),), 2.5, 3),))
    assert repr(fractional.metrics) == repr((Histogram((), ((1.0, 2.0),), 2.5, 3.5),))


def test_summaries_keep_the_pushed_order_of_their_quantiles() -> None:
    """Quantiles come in the order of their lines, and the parts that are missing are 0."""
    (family,) = text.parse(b'# TYPE s summary\ns{quantile="0.9"} 2\ns{quantile="0.5"} 1\ns_count 7\n')
    assert family.metrics == (Summary((), ((0.9, 2.0), (0.5, 1.0)), 0.0, 7),)


@pytest.mark.parametrize("body", [b"x 1", b"x 1\r\n", b"x 1\r\ny 2", b"# HELP x h\r\n# TYPE x gauge\r\nx 1\r\n\r\n"])
def test_lenient_line_endings_take_crlf_and_a_missing_last_one(body: bytes) -> None:
    """With lenient line endings a body reads like the same body with LF at the end of each line."""
    expected = text.parse(body.replace(b"\r", b"").rstrip(b"\n") + b"\n")
    assert text.parse(body, lenient_line_endings=True) == expected


@pytest.mark.parametrize("body", [b"", b"\n", b" ", b"x 1\n"])
def test_lenient_line_endings_change_nothing_else(body: bytes) -> None:
    """A body with proper line endings reads the same either way."""
    assert text.parse(body, lenient_line_endings=True) == text.parse(body)


@pytest.mark.parametrize("body", [b"x 1\r\n", b"y 1\n# TYPE x gauge\r\n", b"y 1\n\r\n", b'x{a="b"}\r\n', b"x 1\r"])
def test_an_error_on_a_crlf_line_says_so_and_names_the_flag(body: bytes) -> None:
    """Whatever the parser trips over, the hint says that the line ends with CR LF and which flag accepts it."""
    with pytest.raises(ParseError) as caught:
        text.parse(body)
    assert "CR LF" in caught.value.hint
    assert "--push.lenient-line-endings" in caught.value.hint


@pytest.mark.parametrize("body", [b"x 1", b"x 1\n# EOF", b'x{a="b"} 1', b"x 1\nh"])
def test_a_missing_last_line_feed_is_named_with_its_flag(body: bytes) -> None:
    """The hint says that the last line must end with a line feed and which flag accepts it without."""
    with pytest.raises(ParseError, match="unexpected end of input stream") as caught:
        text.parse(body)
    assert "the last line must end with a line feed" in caught.value.hint
    assert "--push.lenient-line-endings" in caught.value.hint


def test_an_error_knows_its_family() -> None:
    """The error of a line that belongs to a histogram names the histogram."""
    with pytest.raises(ParseError) as caught:
        text.parse(b"# TYPE h histogram\nh_count x\n")
    assert caught.value.family == "h"


@pytest.mark.parametrize("separator", [" ", "  "])
def test_more_samples_than_allowed_are_refused(separator: str) -> None:
    """The limit counts sample lines on both paths, neither comments nor blank lines."""
    body = f"# TYPE x gauge\n\nx{separator}1\ny{separator}2\n".encode()
    assert len(text.parse(body, limits=Limits(samples_per_push=2))) == 2
    with pytest.raises(LimitError) as caught:
        text.parse(body, limits=Limits(samples_per_push=1))
    assert (caught.value.limit, caught.value.allowed) == ("samples-per-push", 1)


@pytest.mark.parametrize("separator", [" ", "  "])
@pytest.mark.parametrize(
    ("fits", "more", "limit"),
    [
        ('x{a="1",b="2"} 1', 'x{a="1",b="2",c="3"} 1', "labels-per-series"),
        ('# TYPE xxxx summary\nxxxx{quantile="1"} 1', '# TYPE x summary\nx{quantile="1",quantile="1",quantile="1"} 1',
         "labels-per-series"),
        ("xxxxxxxx 1", "xxxxxxxxx 1", "name-bytes"),
        ("# TYPE xxxxxxxx gauge", "# TYPE xxxxxxxxx gauge", "name-bytes"),
        ('x{aaaaaaaa="1"} 1', 'x{aaaaaaaaa="1"} 1', "name-bytes"),
        ('x{a="éé12"} 1', 'x{a="éé123"} 1', "value-bytes"),
        ('x{a="1234\\\\\\n"} 1', 'x{a="12345\\\\\\n"} 1', "value-bytes"),
        ("# HELP x 123456", "# HELP x 1234567", "value-bytes"),
        ("# HELP x 1234\\\\\\n", "# HELP x 12345\\\\\\n", "value-bytes"),
        ("# TYPE a gauge\n# TYPE b gauge\n# HELP c d", "# HELP a b\n# HELP b c\n# HELP c d\ne 1", "samples-per-push"),
    ],
)  # fmt: skip
def test_what_is_too_large_is_refused_by_the_name_of_its_limit(
    fits: str, more: str, limit: str, separator: str
) -> None:
    """Labels of a line, names, values, help texts and families have exact limits on both paths."""
    limits = Limits(samples_per_push=3, labels_per_series=2, name_bytes=8, value_bytes=6)
    text.parse(f"{fits.replace('} 1', f'}}{separator}1')}\n".encode(), limits=limits)
    with pytest.raises(LimitError) as caught:
        text.parse(f"{more.replace('} 1', f'}}{separator}1')}\n".encode(), limits=limits)
    assert caught.value.limit == limit


def test_a_line_that_is_longer_than_a_window_meets_the_limits_too() -> None:
    """A value beyond the limit is found wherever it stands, and its neighbours are read."""
    value = b"v" * (1 << 16)
    body = b'x{a="1"} 1\nx{a="' + value + b'"} 2\nx{a="2"} 3\n'
    (family,) = text.parse(body)
    assert [sample.value for sample in family.metrics] == [1, 2, 3]
    with pytest.raises(LimitError, match="value-bytes exceeded: 65537 where 65536"):
        text.parse(body.replace(value, value + b"v"))


SILENCE = [
    "\n",
    " \t\n",
    "#\n",
    "# comment\n",
    "\t# HELPER x\n",
    "#TYPES\n",
    "# HELP\n",
    "#  TYPE \n",
    "# HELP x\n",
    "#é\n",
    "\n\n\n",
]


@thorough
@given(st.lists(st.sampled_from([*SILENCE, "x 1\n", "# \udcff\n"]), max_size=12))
def test_lines_that_say_nothing_count_as_lines(lines: list[str]) -> None:
    """Blank lines and comments are passed over in runs, and an error behind them has its line all the same."""
    body = "".join(lines).encode(errors="surrogateescape")
    assert outcome(text.parse, body) == outcome(text.parse_carefully, body)
    with pytest.raises(ParseError) as caught:
        text.parse(body + b"x y\n")
    assert caught.value.line == body.count(b"\n") + 1


def test_the_check_is_called_once_a_window_and_can_end_the_reading() -> None:
    """A caller's check runs about once in 64 KiB, of samples and of silence, and what it raises comes out."""
    calls: list[int] = []
    text.parse(b"\n" * (1 << 20), check=lambda: calls.append(1))
    assert len(calls) == 16

    def give_up() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        text.parse(b"x 1\n", check=give_up)


def test_lines_are_counted_across_the_windows_of_a_large_body() -> None:
    """In a body of many windows an error has its line, and no sample is lost or cut at a border."""
    lines = [f'x{{path="/{number}"}} {number}\n' for number in range(20_000)]
    (family,) = text.parse("".join(lines).encode())
    assert [sample.value for sample in family.metrics] == list(range(20_000))
    lines[17_000] = "x 1 2 3\n"
    with pytest.raises(ParseError) as caught:
        text.parse("".join(lines).encode())
    assert caught.value.line == 17_001


def test_huge_values_are_cut_in_messages() -> None:
    """A megabyte of nonsense does not come back in the error."""
    with pytest.raises(ParseError) as caught:
        text.parse(b"x " + b"z" * 1_000_000 + b"\n")
    assert len(caught.value.message) < 300
