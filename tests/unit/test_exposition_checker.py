from __future__ import annotations

import pytest

from tests.exposition import Exposition

GOOD = b"""# HELP a some help
# TYPE a counter
a{instance="",job="x"} 1
a{instance="",job="y"} 1e+06
# TYPE h histogram
h_bucket{job="x",le="1"} 1
h_bucket{job="x",le="+Inf"} 2
h_sum{job="x"} NaN
h_count{job="x"} 2
"""


def test_a_valid_exposition_has_no_problems() -> None:
    """Text as gateways write it parses, and nothing is wrong with it."""
    exposition = Exposition.parse(GOOD)
    assert exposition.problems() == []
    assert (exposition["a"].type, exposition["a"].help, exposition.value("a", job="y")) == ("counter", "some help", 1e6)
    assert [line.value for line in exposition.lines(job="x")] == ["1", "1", "2", "NaN", "2"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("# TYPE a gauge\na 1", id="no final LF"),
        pytest.param("a 1\n", id="no TYPE"),
        pytest.param("# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\na 2\n", id="a family in two places"),
        pytest.param("# TYPE a gauge\n# TYPE a counter\na 1\n", id="two types"),
        pytest.param("# TYPE a gauge\nb 1\n", id="a sample of another family"),
        pytest.param("# TYPE a unknown\na 1\n", id="an unknown type"),
        pytest.param('# TYPE a gauge\na{l="1",l="2"} 1\n', id="a label twice"),
        pytest.param('# TYPE a gauge\na{l="1" } 1\n', id="a blank that nobody writes"),
        pytest.param('# TYPE a gauge\na{l="\\t"} 1\n', id="an unknown escape"),
        pytest.param("# TYPE a gauge\na 1 123\n", id="a timestamp"),
        pytest.param("# TYPE a gauge\na one\n", id="a word as value"),
        pytest.param('# TYPE a histogram\na_bucket{le="1",z="1"} 1\n', id="le not last"),
        pytest.param("# HELP a help\n", id="HELP alone"),
        pytest.param('# TYPE a gauge\na{__l="1"} 1\n', id="a reserved label"),
        pytest.param('# TYPE "a.b" gauge\n{"a.b"} 1\n', id="names in quotes that the scraper did not ask for"),
    ],
)
def test_malformed_text_is_not_parsed(text: str) -> None:
    """Text that no gateway should write ends the parse."""
    with pytest.raises(AssertionError):
        Exposition.parse(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("# TYPE a gauge\na 1\na 2\n", id="a series twice"),
        pytest.param('# TYPE a gauge\na{l=""} 1\na 2\n', id="a series twice but for an empty label"),
        pytest.param('# TYPE a gauge\na{l="1",m="2"} 1\na{m="2",l="1"} 2\n', id="a series twice in another order"),
        pytest.param("# TYPE h histogram\nh_sum 1\n# TYPE h_count gauge\nh_count 1\n", id="a part's name taken"),
        pytest.param("# TYPE h_sum gauge\nh_sum 1\n# TYPE h summary\nh_count 1\n", id="a name taken as a part"),
        pytest.param("# TYPE a gauge\n# TYPE b gauge\nb 1\n", id="a family without samples"),
    ],
)
def test_what_prometheus_would_drop_is_a_problem(text: str) -> None:
    """Text that is well formed, but says a thing twice or nothing, has a problem."""
    assert len(Exposition.parse(text.encode()).problems()) >= 1


def test_twin_buckets_are_a_problem_unless_allowed() -> None:
    """Two buckets of one bound are found, and passed over where a pushed histogram may have them."""
    exposition = Exposition.parse(b'# TYPE h histogram\nh_bucket{le="1"} 1\nh_bucket{le="1"} 2\n')
    assert len(exposition.problems()) == 1
    assert exposition.problems(twin_buckets=True) == []


QUOTED = r"""# HELP "a.b" some help
# TYPE "a.b" counter
{"a.b"} 1
{"a.b",l="1","m\"\\\n"="2"} 1
# TYPE "h x" histogram
{"h x_bucket","l,=}"="1",le="1"} 1
# TYPE x gauge
x{"l.x"="1"} 1
"""


def test_names_in_quotes_are_read_where_they_are_expected() -> None:
    """Quoted names are unescaped, of families, of their parts and of labels."""
    exposition = Exposition.parse(QUOTED.encode(), quoted_names=True)
    assert exposition.problems() == []
    assert list(exposition.families) == ["a.b", "h x", "x"]
    assert exposition["a.b"].lines[1].labels == (("l", "1"), ('m"\\\n', "2"))
    assert exposition["h x"].lines[0][:2] == ("h x_bucket", (("l,=}", "1"), ("le", "1")))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('# TYPE "a" gauge\na 1\n', id="a family that needs none"),
        pytest.param('# TYPE a gauge\n{"a"} 1\n', id="a sample that needs none"),
        pytest.param('# TYPE a gauge\na{"l"="1"} 1\n', id="a label that needs none"),
        pytest.param('# TYPE "a.b" gauge\n"a.b" 1\n', id="a name before the braces"),
        pytest.param('# TYPE "a.b" gauge\n{l="1","a.b"} 1\n', id="a name behind a label"),
        pytest.param('# TYPE a gauge\na{"l\\t"="1"} 1\n', id="an unknown escape"),
        pytest.param('# TYPE a gauge\na{""="1"} 1\n', id="an empty name"),
    ],
)
def test_other_names_in_quotes_are_malformed(text: str) -> None:
    """Quotes around what needs none, or where they do not belong, end the parse."""
    with pytest.raises(AssertionError):
        Exposition.parse(text.encode(), quoted_names=True)
