"""Is the exposition of a group what a scrape says of it, and its beginning a beginning?"""

from __future__ import annotations

from pushgateway.display.raw import begin_exposition, render_exposition
from pushgateway.model import Group, GroupContents, Histogram, MetricType, Sample, Summary
from tests.unit.display.values import SHARED, block

GROUP = Group('[["job","etl"]]', b'{instance="",job="etl"}', 12.5, 0.0, "")


def test_the_exposition_has_families_and_times() -> None:
    """Sorted by name, with help and type; the push times are the gateway's."""
    contents = GroupContents(GROUP, [block("rows", Sample(SHARED, 3.0), help="Rows."), block("a", Sample(SHARED, 1.0))])
    assert render_exposition(contents).decode().splitlines() == [
        "# TYPE a gauge",
        'a{instance="",job="etl"} 1',
        "# HELP push_failure_time_seconds Last Unix time when changing this group in the Pushgateway failed.",
        "# TYPE push_failure_time_seconds gauge",
        'push_failure_time_seconds{instance="",job="etl"} 0',
        "# HELP push_time_seconds Last Unix time when changing this group in the Pushgateway succeeded.",
        "# TYPE push_time_seconds gauge",
        'push_time_seconds{instance="",job="etl"} 12.5',
        "# HELP rows Rows.",
        "# TYPE rows gauge",
        'rows{instance="",job="etl"} 3',
    ]


def test_names_beyond_the_legacy_grammar_are_in_quotes() -> None:
    """As a scraper that takes them gets them."""
    contents = GroupContents(GROUP, [block("disk.used", Sample(SHARED, 1.0))])
    assert b'{"disk.used",instance="",job="etl"} 1\n' in render_exposition(contents)


def test_a_short_exposition_is_whole() -> None:
    """Families stand in the order in which they are given."""
    blocks = [block("b", Sample((), 1.0)), block("a", Sample((), 2.0), type=MetricType.COUNTER)]
    assert begin_exposition(blocks, most=1000) == ("# TYPE b gauge\nb 1\n# TYPE a counter\na 2\n", True)


def test_a_long_exposition_is_cut() -> None:
    """After so many characters, and of each family after a hundred metrics."""
    many = block("x", *(Sample((("n", f"{number:03}"),), 1.0) for number in range(150)))
    text, whole = begin_exposition([many], most=100_000)
    assert (text.count("\n"), whole) == (101, False)
    text, whole = begin_exposition([many, many], most=50)
    assert (len(text), whole) == (50, False)


def test_the_beginning_of_a_long_metric_is_that_of_all_of_it() -> None:
    """Of a histogram or summary of very many lines only those are written that can be shown."""
    pairs = tuple((float(number), number) for number in range(5000))
    for metric, type in (
        (Histogram(SHARED, pairs, 0.0, 5000), MetricType.HISTOGRAM),
        (Summary(SHARED, pairs, 0.0, 5000), MetricType.SUMMARY),
    ):
        long = block("x", metric, type=type)
        text, whole = begin_exposition([long], most=3000)
        assert render_exposition(GroupContents(GROUP, [long])).decode().partition("# TYPE x ")[2].startswith(text[9:])
        assert (len(text), whole) == (3000, False)


def test_what_cannot_be_seen_is_escaped() -> None:
    """A carriage return or a mark of direction in a value neither breaks a line nor turns it."""
    text, _ = begin_exposition([block("x", Sample((("l", "a\r\u202eb"),), 1.0))], most=1000)
    assert text == '# TYPE x gauge\nx{l="a\\r\\u202eb"} 1\n'
