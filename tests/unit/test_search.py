"""What does a search for groups mean, and what is said of one that means nothing?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.errors import RequestError
from pushgateway.model import LabelTerm, Term, TextTerm
from pushgateway.search import MOST_TERMS, format_terms, parse


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ()),
        (" \t\n", ()),
        ('""', ()),
        ("etl", (TextTerm("etl"),)),
        ("job=etl", (LabelTerm("job", "etl"),)),
        ("env!=dev", (LabelTerm("env", "dev", equal=False),)),
        (
            "  job=etl   env!=dev  Text ",
            (LabelTerm("job", "etl"), LabelTerm("env", "dev", equal=False), TextTerm("Text")),
        ),
        ("env=", (LabelTerm("env", ""),)),
        ("env!=", (LabelTerm("env", "", equal=False),)),
        ('env=""', (LabelTerm("env", ""),)),
        ("url=http://a/?b=c", (LabelTerm("url", "http://a/?b=c"),)),
        ('job="nightly etl"', (LabelTerm("job", "nightly etl"),)),
        ('"nightly etl"', (TextTerm("nightly etl"),)),
        ('"my label"!="a \\"b\\" \\\\c"', (LabelTerm("my label", 'a "b" \\c', equal=False),)),
        ('"a=b"', (TextTerm("a=b"),)),
        ('job="~x"', (LabelTerm("job", "~x"),)),
        ("a!b", (TextTerm("a!b"),)),
        ("!", (TextTerm("!"),)),
        ("a\\b", (TextTerm("a\\b"),)),
        ("job=C:\\x", (LabelTerm("job", "C:\\x"),)),
        ('"job!~x"', (TextTerm("job!~x"),)),
        ("%_*'--;", (TextTerm("%_*'--;"),)),
        ("job=\u202eabc", (LabelTerm("job", "\u202eabc"),)),
    ],
)
def test_parse(query: str, expected: tuple[Term, ...]) -> None:
    """Labels are compared, other words are looked for, and quotes hold together what belongs together."""
    assert parse(query) == expected


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("=x", "at character 1: a label's name is missing before ="),
        ("a !=x", "at character 3: a label's name is missing before !="),
        ('job="x', "at character 5: the quote is not closed"),
        ('"x', "at character 1: the quote is not closed"),
        ('"x\\"', "at character 1: the quote is not closed"),
        ('job="\\n"', 'at character 6: a \\ in quotes stands before another \\ or a " only'),
        ('job="x"y', "at character 8: a blank is missing behind the quote"),
        ('"x"y', "at character 4: a blank is missing behind the quote"),
        ('a"b"', "at character 2: a quote stands in a word"),
        ('job=a"b"', "at character 6: a quote stands in a word"),
        (
            "my-label=x",
            "at character 1: 'my-label' is no label's name; put other names, and texts with =, in quotes",
        ),
        ('{job="x"}', "at character 9: a blank is missing behind the quote"),
        ("{job=x}", "at character 1: '{job' is no label's name"),
        ("job=~x.*", "at character 5: =~ is not supported"),
        ("job!~x", "at character 4: !~ is not supported"),
        (" ".join("a" * (MOST_TERMS + 1)), f"at character {2 * MOST_TERMS + 1}: more than {MOST_TERMS} terms"),
    ],
)
def test_bad_queries(query: str, message: str) -> None:
    """An error says what is wrong, and where."""
    with pytest.raises(RequestError) as raised:
        parse(query)
    assert str(raised.value).startswith(f"the search cannot be read {message}")


AWKWARD = st.text(st.sampled_from('ab_ "\\=!~{},\n\0ß'), max_size=5)
TERMS = st.one_of(
    st.builds(TextTerm, AWKWARD.filter(bool)), st.builds(LabelTerm, AWKWARD.filter(bool), AWKWARD, st.booleans())
)


@given(st.lists(TERMS, max_size=MOST_TERMS).map(tuple))
def test_round_trip(terms: tuple[Term, ...]) -> None:
    """Whatever stands in names, values and texts, it is written so that it is read again."""
    assert parse(format_terms(terms)) == terms


@given(st.one_of(st.text(), st.text(st.sampled_from('ab= !"\\~'))))
def test_anything(query: str) -> None:
    """Whatever is typed is either read, and written and read again the same, or refused with a place inside of it."""
    try:
        terms = parse(query)
    except RequestError as error:
        place = int(str(error).partition("at character ")[2].partition(":")[0])
    else:
        assert parse(format_terms(terms)) == terms
        return
    assert 1 <= place <= len(query)


def test_a_long_query_is_read_at_once() -> None:
    """What is hard to match takes no longer for it."""
    for query in ('"' + "\\\\" * 30_000, "!" * 60_000 + '"', "a" * 60_000 + '="', '"' + "a" * 60_000, '"' * 60_001):
        with pytest.raises(RequestError):
            parse(query)
