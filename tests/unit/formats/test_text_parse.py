import contextlib
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.config import Limits
from pushgateway.errors import LimitError, ParseError
from pushgateway.formats import text
from pushgateway.model import Histogram, MetricFamily, MetricType, Sample, Summary
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
        text.parse(body, lenient_line_endings=lenient, limits=Limits(samples=samples))


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
    assert len(text.parse(body, limits=Limits(samples=2))) == 2
    with pytest.raises(LimitError) as caught:
        text.parse(body, limits=Limits(samples=1))
    assert (caught.value.limit, caught.value.allowed) == ("samples", 1)


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
