import math

import pytest
from hypothesis import given

from pushgateway.formats import text
from pushgateway.model import Histogram, MetricFamily, MetricType, Sample, Summary
from tests.unit.formats.format_strategies import family_lists, thorough


def sample(value: float = 1.0, **labels: str) -> Sample:
    return Sample(tuple(sorted(labels.items())), value)


def lines(*metrics: object, type: MetricType = MetricType.GAUGE) -> list[str]:
    rendered = text.render_metrics(MetricFamily("x", type, "", metrics)).decode()
    assert rendered == "" or rendered.endswith("\n")
    return rendered.split("\n")[:-1]


def test_fewer_labels_come_first_then_values_decide() -> None:
    """Inside a family metrics are ordered by how many labels they have, then by values, whatever the names are."""
    assert lines(sample(a="2", b="1"), sample(z="3"), sample(a="1", b="2"), sample(), sample(b="1")) == [
        "x 1",
        'x{b="1"} 1',
        'x{z="3"} 1',
        'x{a="1",b="2"} 1',
        'x{a="2",b="1"} 1',
    ]


def test_values_of_equal_labels_keep_their_order() -> None:
    """Metrics that differ in label names only, or not at all, stay in the order in which they came."""
    assert lines(sample(2.0, b="1"), sample(1.0, a="1")) == ['x{b="1"} 2', 'x{a="1"} 1']


def test_label_values_are_escaped() -> None:
    """Backslashes, quotes and line feeds in label values are escaped, and nothing else is."""
    assert lines(sample(a='\\ " \n \t é')) == ['x{a="\\\\ \\" \\n \t é"} 1']


def test_timestamps_are_written() -> None:
    """A timestamp follows the value."""
    assert lines(Sample((), 1.0, -5)) == ["x 1 -5"]


def test_a_histogram_gets_its_last_bucket_from_the_count() -> None:
    """Buckets keep the pushed order, and +Inf is added if it is not there."""
    histogram = Histogram((("a", "b"),), ((2.0, 5), (1.0, 3)), 7.5, 9)
    assert lines(histogram, type=MetricType.HISTOGRAM) == [
        'x_bucket{a="b",le="2"} 5',
        'x_bucket{a="b",le="1"} 3',
        'x_bucket{a="b",le="+Inf"} 9',
        'x_sum{a="b"} 7.5',
        'x_count{a="b"} 9',
    ]


def test_a_histogram_with_its_last_bucket_gets_no_second_one() -> None:
    """A pushed +Inf bucket stays as it is, even where it differs from the count."""
    histogram = Histogram((), ((math.inf, 3),), 1.0, 9)
    assert lines(histogram, type=MetricType.GAUGE_HISTOGRAM) == ['x_bucket{le="+Inf"} 3', "x_sum 1", "x_count 9"]


def test_a_float_histogram_keeps_its_fractions() -> None:
    """Counts that are floats are written as they are."""
    histogram = Histogram((), ((1.0, 0.5),), 1.0, 2.0)
    assert lines(histogram, type=MetricType.HISTOGRAM)[:2] == ['x_bucket{le="1"} 0.5', 'x_bucket{le="+Inf"} 2']


def test_a_summary_is_quantiles_then_sum_then_count() -> None:
    """Quantiles keep the pushed order; a count beyond a million has an exponent like any other number."""
    summary = Summary((("a", "b"),), ((0.9, math.nan), (0.5, 1.0)), -1.0, 2**64 - 1)
    assert lines(summary, type=MetricType.SUMMARY) == [
        'x{a="b",quantile="0.9"} NaN',
        'x{a="b",quantile="0.5"} 1',
        'x_sum{a="b"} -1',
        'x_count{a="b"} 1.8446744073709552e+19',
    ]


@pytest.mark.parametrize(
    ("type", "help", "header"),
    [
        (MetricType.UNTYPED, "", "# TYPE x untyped\n"),
        (MetricType.COUNTER, "two words", "# HELP x two words\n# TYPE x counter\n"),
        (MetricType.GAUGE, '\\ \n "', '# HELP x \\\\ \\n "\n# TYPE x gauge\n'),
        (MetricType.GAUGE_HISTOGRAM, "", "# TYPE x histogram\n"),
    ],
)
def test_headers(type: MetricType, help: str, header: str) -> None:
    """HELP is written if there is a help text, escaped; a gauge histogram is called a histogram."""
    assert text.render_header("x", type, help) == header.encode()


def test_label_sets_alone() -> None:
    """A label set is written with its braces and escapes, no labels as nothing."""
    assert text.render_labels((("a", 'b"'), ("instance", ""))) == b'{a="b\\"",instance=""}'
    assert text.render_labels(()) == b""


def test_an_exposition_is_sorted_by_name_and_leaves_out_empty_families() -> None:
    """Families come sorted by name, each under its header."""
    families = [
        MetricFamily("b", MetricType.GAUGE, "help", (sample(),)),
        MetricFamily("c", MetricType.GAUGE, "help", ()),
        MetricFamily("a", MetricType.COUNTER, "", (sample(),)),
    ]
    assert text.render(families) == b"# TYPE a counter\na 1\n# HELP b help\n# TYPE b gauge\nb 1\n"


@thorough
@given(family_lists())
def test_lines_of_text_are_lines_of_samples(families: list[MetricFamily]) -> None:
    """Whatever labels hold, every line that is rendered is one sample, and ends in LF."""
    for family in families:
        rendered = text.render_metrics(family)
        expected = sum(
            1 if isinstance(metric, Sample)
            else len(metric.quantiles) + 2 if isinstance(metric, Summary)
            else len(metric.buckets) + 2 + all(bound != math.inf for bound, _ in metric.buckets)
            for metric in family.metrics
        )  # fmt: skip
        assert rendered.count(b"\n") == expected
