import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric as ClientMetric
from prometheus_client.openmetrics import parser as openmetrics_parser

from pushgateway.formats import openmetrics, protobuf, text
from pushgateway.formats.openmetrics_kinds import Part
from pushgateway.model import Exemplar, Histogram, MetricFamily, MetricType, Sample, Summary
from tests.exposition import Exposition
from tests.unit.formats.format_strategies import as_text_says, thorough
from tests.unit.formats.openmetrics_strategies import broad, hostile_families, sayable_families
from tests.unit.name_strategies import label_names, odd_names


def family(name: str, type: MetricType, *metrics: object, help: str = "", unit: str = "") -> MetricFamily:
    return MetricFamily(name, type, help, metrics, unit)  # type: ignore[arg-type]


def lines(*families: MetricFamily) -> list[str]:
    rendered = openmetrics.render(families).decode()
    assert rendered.endswith("# EOF\n")
    return rendered.split("\n")[:-2]


def officially(families: Iterable[MetricFamily]) -> list[ClientMetric]:
    return list(openmetrics_parser.text_string_to_metric_families(openmetrics.render(families).decode()))


@broad
@given(sayable_families())
def test_what_openmetrics_can_say_comes_back(families: list[MetricFamily]) -> None:
    """Rendering and parsing again gives the same families: values, exemplars, times, units, every bit of a number."""
    assert repr(openmetrics.parse(openmetrics.render(families))) == repr(tuple(families))


@broad
@given(sayable_families())
def test_the_three_formats_agree(families: list[MetricFamily]) -> None:
    """What went through OpenMetrics or protobuf is the same in the others, and says in text what it said before."""
    through_openmetrics = openmetrics.parse(openmetrics.render(families))
    through_protobuf = protobuf.parse(protobuf.render(families))
    assert openmetrics.render(through_protobuf) == openmetrics.render(families)
    # As text, since a NaN equals nothing, and may have a sign in protobuf.
    assert repr(protobuf.parse(protobuf.render(through_openmetrics))) == repr(through_protobuf)
    assert text.render(through_openmetrics) == text.render(through_protobuf) == text.render(families)


@broad
@given(sayable_families())
def test_what_came_as_text_can_be_exposed_in_openmetrics(families: list[MetricFamily]) -> None:
    """What text 0.0.4 carries survives the way from text to OpenMetrics and back."""
    # Text calls gauge histograms histograms, whose sums OpenMetrics forbids to fall.
    plain = [family for family in families if family.type is not MetricType.GAUGE_HISTOGRAM]
    from_text = text.parse(text.render(plain))
    back = openmetrics.parse(openmetrics.render(from_text))
    assert as_text_says(back) == as_text_says(from_text)


def bounds_as_numbers(labels: dict[str, str]) -> frozenset[tuple[str, str]]:
    """Return a sample's labels, bounds written in one way."""
    return frozenset(
        (name, repr(float(value) + 0.0)) if name in {"le", "quantile"} and is_number(value) else (name, value)
        for name, value in labels.items()
    )


def is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


@broad
@given(hostile_families())
def test_whatever_is_stored_the_official_parser_reads_every_series(families: list[MetricFamily]) -> None:
    """Whatever names and numbers are stored, the exposition is valid, and holds each series of text under its name."""
    names = openmetrics.exposed_names({one.name: one.type for one in families if one.metrics})
    suffixes = {Part.BUCKET: "_bucket", Part.SUM: "_sum", Part.COUNT: "_count"}
    new_names = {
        name + suffixes.get(part, ""): sample for name, one in names.items() for part, sample in one.samples.items()
        if part is not Part.CREATED
    }  # fmt: skip
    created = {one.samples[Part.CREATED] for one in names.values() if Part.CREATED in one.samples}
    expected = {
        (new_names[line.name], bounds_as_numbers(line.label_map))
        for line in Exposition.parse(text.render(families)).lines()
    }
    found = {
        (sample.name, bounds_as_numbers(sample.labels))
        for metric in officially(families)
        for sample in metric.samples
        if sample.name not in created
    }
    assert found == expected


@broad
@given(hostile_families())
def test_whatever_is_stored_we_read_it_ourselves(families: list[MetricFamily]) -> None:
    """What is exposed could be pushed: the strict parser takes it."""
    openmetrics.parse(openmetrics.render(families))


@pytest.mark.parametrize(
    ("name", "declared", "sample"),
    [("x_total", "x", "x_total"), ("x", "x", "x_total"), ("x_total_total", "x_total", "x_total_total"),
     ("_total", "_total", "_total_total")],
)  # fmt: skip
def test_counters_are_named_as_openmetrics_wants_them(name: str, declared: str, sample: str) -> None:
    """A counter's family has no _total, its samples have one, whether the pushed name had it or not."""
    assert lines(family(name, MetricType.COUNTER, Sample((), 1.0))) == [f"# TYPE {declared} counter", f"{sample} 1.0"]


@pytest.mark.parametrize("other", ["x", "x_total", "x_created"])
def test_a_counter_whose_names_are_taken_keeps_its_own(other: str) -> None:
    """Where another family has a name that the counter would claim, it is unknown under the name that it was given."""
    counter = family("x_total" if other == "x" else "x", MetricType.COUNTER, Sample((), 1.0, created_ns=5))
    gauge = family(other, MetricType.GAUGE, Sample((), 2.0))
    rendered = lines(counter, gauge)
    assert f"# TYPE {counter.name} unknown\n{counter.name} 1.0" in "\n".join(rendered)
    assert f"# TYPE {other} gauge\n{other} 2.0" in "\n".join(rendered)
    assert len(rendered) == 4


def test_two_counters_that_want_one_name_both_keep_their_own() -> None:
    """Neither x nor x_total can be the family x."""
    counters = [family(name, MetricType.COUNTER, Sample((), 1.0)) for name in ("x", "x_total")]
    assert lines(*counters) == ["# TYPE x unknown", "x 1.0", "# TYPE x_total unknown", "x_total 1.0"]


@pytest.mark.parametrize("value", [-1.0, math.nan, -math.inf])
def test_a_counter_that_is_none_is_of_no_known_type(value: float) -> None:
    """One negative counter or NaN makes its family unknown; its names stay what they are."""
    told = Sample((("a", "1"),), 1.0, None, Exemplar((), 1.0), 5)
    rendered = lines(family("x", MetricType.COUNTER, told, Sample((), value)))
    assert rendered[:2] == ["# TYPE x_total unknown", 'x_total{a="1"} 1.0']
    assert rendered[3:] == ["# TYPE x_created unknown", 'x_created{a="1"} 0.000000005']


def test_units_are_told_where_the_name_ends_in_them() -> None:
    """A UNIT line stands only where the family's name has the unit at its end, before _total."""
    sample = Sample((), 1.0)
    assert "# UNIT x_seconds seconds" in lines(family("x_seconds_total", MetricType.COUNTER, sample, unit="seconds"))
    assert "# UNIT x_seconds seconds" in lines(family("x_seconds", MetricType.GAUGE, sample, unit="seconds"))
    for name, unit in [("x", "seconds"), ("xseconds", "seconds"), ("x_total", "total"), ("x_seconds", "")]:
        assert not any("UNIT" in line for line in lines(family(name, MetricType.COUNTER, sample, unit=unit)))


def test_help_and_labels_are_escaped() -> None:
    """Backslashes, quotes and line feeds are escaped in labels and in help texts."""
    gauge = family("x", MetricType.GAUGE, Sample((("a", '\\ " \n'),), -0.0), help='\\ " \n')
    assert lines(gauge) == ["# TYPE x gauge", '# HELP x \\\\ \\" \\n', 'x{a="\\\\ \\" \\n"} -0.0']


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.0, "0.0"), (1.0, "1.0"), (100000.0, "100000.0"), (1e6, "1e+06"), (1e-5, "1e-05"), (math.inf, "+Inf"),
     (-math.inf, "-Inf"), (math.nan, "NaN"), (123456.789, "123456.789"), (1e23, "1e+23")],
)  # fmt: skip
def test_floats_have_a_point_or_an_exponent(value: float, written: str) -> None:
    """Floats are written as the specification's canonical numbers."""
    assert lines(family("x", MetricType.GAUGE, Sample((), value)))[1] == f"x {written}"


def test_a_histogram_is_put_in_order() -> None:
    """Buckets come sorted, each bound once, with +Inf; exemplars stay with their buckets."""
    exemplars = (Exemplar((), 0.5), None, None, None)
    buckets = ((2.0, 5), (1.0, 3), (2.0, 4), (1.5, 4))
    histogram = Histogram((("a", "b"),), buckets, 7.5, 9, None, exemplars, created_ns=10**9)
    assert lines(family("x", MetricType.HISTOGRAM, histogram)) == [
        "# TYPE x histogram",
        'x_bucket{a="b",le="1.0"} 3',
        'x_bucket{a="b",le="1.5"} 4',
        'x_bucket{a="b",le="2.0"} 5 # {} 0.5',
        'x_bucket{a="b",le="+Inf"} 9',
        'x_count{a="b"} 9',
        'x_sum{a="b"} 7.5',
        'x_created{a="b"} 1',
    ]


@pytest.mark.parametrize(
    "histogram",
    [
        Histogram((), ((1.0, 5), (2.0, 3)), 1.0, 5),
        Histogram((), ((1.0, 5),), 1.0, 3),
        Histogram((), ((math.inf, 3),), 1.0, 5),
        Histogram((), ((1.0, 0.5),), 1.0, 1.0),
        Histogram((), ((1.0, 1),), -1.0, 1),
        Histogram((), ((1.0, 1),), math.nan, 1),
        Histogram((), ((-1.0, 1),), 1.0, 1),
        Histogram((), ((math.nan, 1),), 1.0, 1),
        Histogram((), ((1.0, 2.0**64),), 1.0, 2.0**64),
    ],
)
def test_a_histogram_that_is_none_is_of_no_known_type(histogram: Histogram) -> None:
    """Counts that fall, fractions, sums that may fall: the lines stay, each name a family of type unknown."""
    types = [line for line in lines(family("x", MetricType.HISTOGRAM, histogram)) if line.startswith("# TYPE")]
    assert types == ["# TYPE x_bucket unknown", "# TYPE x_count unknown", "# TYPE x_sum unknown"]
    assert {metric.type for metric in officially([family("x", MetricType.HISTOGRAM, histogram)])} == {"unknown"}


def test_gauge_histograms_have_their_own_suffixes() -> None:
    """A gauge histogram has _gcount and _gsum, and may have a negative sum beside negative buckets."""
    histogram = Histogram((), ((-1.0, 1),), -3.0, 2)
    assert lines(family("x", MetricType.GAUGE_HISTOGRAM, histogram)) == [
        "# TYPE x gaugehistogram", 'x_bucket{le="-1.0"} 1', 'x_bucket{le="+Inf"} 2', "x_gcount 2", "x_gsum -3.0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "summary",
    [
        Summary((), ((1.5, 1.0),), 1.0, 1),
        Summary((), ((0.5, -1.0),), 1.0, 1),
        Summary((), (), -1.0, 1),
        Summary((), (), math.nan, 1),
    ],
)
def test_a_summary_that_is_none_is_of_no_known_type(summary: Summary) -> None:
    """Quantiles beyond 1 and what may fall: the lines stay, each name a family of type unknown."""
    assert {metric.type for metric in officially([family("x", MetricType.SUMMARY, summary)])} == {"unknown"}
    assert not any("summary" in line for line in lines(family("x", MetricType.SUMMARY, summary)))


@pytest.mark.parametrize(
    "exemplar",
    [
        Exemplar((("a", "é" * 128),), 1.0),
        Exemplar((("a", "1"), ("a", "2")), 1.0),
        Exemplar((("a.b", "1"),), 1.0),
        Exemplar((("", "1"),), 1.0),
        Exemplar((("__name__", "1"),), 1.0),
        Exemplar((("a", '"'),), 1.0),
        Exemplar((), math.nan),
        Exemplar((), 3.0),
    ],
)
def test_an_exemplar_that_openmetrics_cannot_say_is_left_out(exemplar: Exemplar) -> None:
    """Labels beyond 128 characters or the grammar, and values outside of the bucket: the bucket stands alone."""
    histogram = Histogram((), ((2.0, 1),), 1.0, 1, None, (exemplar,))
    assert lines(family("x", MetricType.HISTOGRAM, histogram))[1] == 'x_bucket{le="2.0"} 1'


def test_times_that_no_calendar_has_are_left_out() -> None:
    """A time of creation beyond the year 9999, or an exemplar's, is not told."""
    counter = Sample((), 1.0, None, Exemplar((), 1.0, 10**22), -(10**22))
    assert lines(family("x", MetricType.COUNTER, counter)) == ["# TYPE x counter", "x_total 1.0 # {} 1.0"]


def test_an_exposition_is_sorted_by_name_and_leaves_out_empty_families() -> None:
    """Families come sorted by name; one without metrics claims no name."""
    families = [
        family("b", MetricType.GAUGE, Sample((), 1.0)),
        family("c", MetricType.GAUGE),
        family("c_total", MetricType.COUNTER, Sample((), 1.0)),
        family("a", MetricType.UNTYPED, Sample((), 1.0)),
    ]
    assert lines(*families) == [
        "# TYPE a unknown", "a 1.0", "# TYPE b gauge", "b 1.0", "# TYPE c counter", "c_total 1.0",
    ]  # fmt: skip


def test_nothing_is_an_end() -> None:
    """Without families there is only the last line."""
    assert openmetrics.render([]) == b"# EOF\n"


@st.composite
def oddly_named(draw: st.DrawFn) -> list[MetricFamily]:
    """Families and labels with names beyond the legacy grammar."""
    families = []
    for stem in draw(st.lists(odd_names, max_size=3, unique=True)):
        labels = draw(st.dictionaries(label_names, st.text('a"\\\n{ é', max_size=4), max_size=2))
        sample = Sample(tuple(sorted(labels.items())), 1.0, None, draw(st.none() | st.just(Exemplar((), 1.0))))
        type_ = MetricType.COUNTER if sample.exemplar else MetricType.GAUGE
        families.append(family(stem + ("_total" if sample.exemplar else "x"), type_, sample))
    return sorted(families, key=lambda one: one.name)


@thorough
@given(oddly_named())
def test_names_beyond_the_legacy_grammar_come_back(families: list[MetricFamily]) -> None:
    """Names of any characters are quoted, and read again as they were, by the official parser too."""
    assert openmetrics.parse(openmetrics.render(families)) == tuple(families)
    read = {
        (sample.name, tuple(sorted(sample.labels.items()))) for one in officially(families) for sample in one.samples
    }
    assert read == {(one.name, one.metrics[0].labels) for one in families}


def test_quoted_names_stand_inside_the_braces() -> None:
    """A quoted name is the first thing in the braces, without and with labels, and in the header."""
    counter = family("my.rows_total", MetricType.COUNTER, Sample((), 1.0), Sample((("l.x", "v"),), 2.0))
    assert lines(counter) == [
        '# TYPE "my.rows" counter', '{"my.rows_total"} 1.0', '{"my.rows_total","l.x"="v"} 2.0',
    ]  # fmt: skip
