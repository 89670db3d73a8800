"""Is what a family holds shown as it is, and no more of it than fits on a page?"""

from __future__ import annotations

import math

import pytest

from pushgateway.display.bars import draw
from pushgateway.display.families import SHARES, FamilyView, Label, MarkView, view_family
from pushgateway.display.quantiles import estimate
from pushgateway.display.quantities import Quantity
from pushgateway.display.texts import Excerpt
from pushgateway.formats.protobuf import cut_metrics, encode_metrics
from pushgateway.model import (
    Exemplar,
    FamilyBlock,
    Histogram,
    MetricFamily,
    MetricType,
    NativeBuckets,
    NativeHistogram,
    Sample,
    Summary,
)
from tests.unit.display.values import SHARED, block


def view(one: FamilyBlock, *, start: int = 0, most: int = 20, room: int = 100_000) -> FamilyView:
    """View a family with the usual bounds."""
    return view_family(one, SHARED, start=start, most=most, room=room)


def label(name: str, value: str) -> Label:
    """Return a label that is shown in full."""
    return Label(Excerpt(name, 0), Excerpt(value, 0))


def test_a_single_value_needs_no_table() -> None:
    """One series without labels but the group's is shown beside the family's name."""
    family = view(block("run_duration_seconds", Sample(SHARED, 12.5), help="How long."))
    assert family.single is not None
    assert family.single.value == 12.5
    assert (family.title.text, family.help.text, family.type) == ("run_duration_seconds", "How long.", MetricType.GAUGE)
    assert (family.quantity, family.total, family.pushed_at_seconds) == (Quantity.SECONDS, 1, 1000.0)


def test_labels_that_are_not_the_groups_become_columns() -> None:
    """Up to four label names are columns, a series without one of them has an empty cell."""
    get = Sample((("code", "200"), *SHARED, ("method", "get")), 3.0)
    put = Sample(((*SHARED, ("method", "put"))), 4.0)
    family = view(block("requests_total", get, put, type=MetricType.COUNTER))
    assert family.single is None
    assert [column.text for column in family.columns] == ["code", "method"]
    assert [one.cells for one in family.series] == [
        (Excerpt("200", 0), Excerpt("get", 0)),
        (None, Excerpt("put", 0)),
    ]


def test_many_label_names_are_shown_as_pairs() -> None:
    """Five names do not fit side by side; of a series with more than sixteen labels the rest is counted."""
    names = [f"l{number:02}" for number in range(20)]
    family = view(block("x", Sample(tuple((name, "v") for name in names), 1.0)))
    assert family.columns == ()
    (only,) = family.series
    assert only.labels == tuple(label(name, "v") for name in names[:16])
    assert only.hidden_labels == 4


def test_times_and_exemplars_are_told() -> None:
    """A sample's own time, the start of a counter, and its exemplar with labels and time."""
    exemplar = Exemplar((("trace_id", "abc"),), 0.5, 1_500_000_000)
    family = view(block("x_total", Sample(SHARED, 1.0, 2500, exemplar, 3_000_000_000), type=MetricType.COUNTER))
    assert family.timed
    (only,) = family.series
    assert (only.at_seconds, only.created_seconds) == (2.5, 3.0)
    assert only.marks == (MarkView(0.5, 1.5, (label("trace_id", "abc"),)),)


def test_histograms_are_drawn_and_estimated() -> None:
    """With sum, count, mean, the quantiles by Prometheus' rules and the bars; exemplars of all buckets together."""
    mark = Exemplar((), 1.5)
    histogram = Histogram(SHARED, ((1.0, 10), (2.0, 20)), 30.0, 20, exemplars=(None, mark))
    (only,) = view(block("h", histogram, type=MetricType.HISTOGRAM)).series
    assert (only.sum, only.count, only.mean) == (30.0, 20, 1.5)
    assert only.quantiles == tuple(zip(SHARES, estimate(histogram, SHARES), strict=True))
    assert only.bars == draw(histogram)
    assert only.marks == (MarkView(1.5, None, ()),)


def test_native_histograms_are_drawn_and_estimated() -> None:
    """The same of a native one, also of a gauge histogram."""
    native = NativeHistogram(0, 0.001, 0, positive=NativeBuckets(((0, 2),), (2, 0)), exemplars=(Exemplar((), 1.0),) * 7)
    histogram = Histogram(SHARED, (), 3.0, 4, native=native)
    (only,) = view(block("h", histogram, type=MetricType.GAUGE_HISTOGRAM)).series
    assert only.bars is not None
    assert [bar.observations for bar in only.bars.bars] == [2, 2]
    assert only.quantiles[0] == (0.5, pytest.approx(1.0))
    assert (len(only.marks), only.hidden_marks) == (5, 2)


def test_summaries_have_their_quantiles_as_columns() -> None:
    """The shares of all series together, sorted; without observations there is no mean."""
    one = Summary(SHARED, ((0.9, 3.0), (0.5, 1.0)), 10.0, 5)
    two = Summary((("a", "b"), *SHARED), ((0.99, math.nan),), 0.0, 0)
    family = view(block("s", one, two, type=MetricType.SUMMARY))
    assert family.shares == (0.5, 0.9, 0.99)
    assert [series.mean for series in family.series] == [2.0, None]


def test_a_summary_of_many_quantiles_says_how_many_are_hidden() -> None:
    """Twenty are shown."""
    quantiles = tuple((number / 1000, 1.0) for number in range(1000))
    family = view(block("s", Summary(SHARED, quantiles, 1.0, 1), type=MetricType.SUMMARY))
    assert (len(family.series[0].quantiles), family.series[0].hidden_quantiles, len(family.shares)) == (20, 980, 20)


def test_a_large_family_is_shown_in_parts() -> None:
    """Of 100 000 series only those asked for are decoded and shown; the total is told."""
    large = block("x", *(Sample((("n", str(number)),), float(number)) for number in range(100_000)))
    family = view(large, start=500, most=20)
    assert (family.start, family.total, len(family.series)) == (500, 100_000, 20)
    assert (family.series[0].value, family.series[-1].value) == (500.0, 519.0)
    assert family.weight < 20_000


def test_series_behind_the_last_are_none() -> None:
    """A page that is not there shows nothing, and starts where the family ends."""
    family = view(block("x", Sample(SHARED, 1.0)), start=7)
    assert (family.start, family.total, family.series) == (1, 1, ())


@pytest.mark.parametrize(("room", "shown"), [(0, 0), (1, 1), (20_000, 5)])
def test_what_does_not_fit_is_not_shown(room: int, shown: int) -> None:
    """Series of long labels fill the room; one is shown while there is any, none where there is none."""
    labels = tuple((f"l{number:02}", "x" * 10_000) for number in range(10))
    family = view(block("x", *(Sample((("a", str(number)), *labels), 1.0) for number in range(50))), room=room)
    assert (len(family.series), family.total) == (shown, 50)
    assert family.weight < room + 6000


def test_long_and_odd_texts_are_cut_and_escaped() -> None:
    """Names, values and help of any length and any characters fit, and say how much is hidden."""
    odd = block("n" * 1000, Sample((("a", "\x00" + "v" * 10_000),), 1.0), help="\u202e" + "h" * 64_000)
    family = view(odd)
    assert family.name == "n" * 1000
    assert family.title.hidden == 800
    assert family.help.text.startswith("\\u202ehhh")
    assert family.series[0].labels[0].value.text.startswith("\\x00vvv")
    assert family.series[0].labels[0].value.hidden == 9801
    assert family.weight < 5000


@pytest.mark.parametrize(("start", "count"), [(0, 0), (0, 3), (2, 2), (2, 100), (7, 1), (8, 1), (100, 5)])
def test_cutting_is_slicing(start: int, count: int) -> None:
    """cut_metrics gives the same bytes as encoding the slice, and the total."""
    samples = tuple(Sample((("n", "v" * number * 50),), float(number)) for number in range(8))
    body = encode_metrics(MetricFamily("x", MetricType.GAUGE, "", samples))
    part = encode_metrics(MetricFamily("x", MetricType.GAUGE, "", samples[start : start + count]))
    assert cut_metrics(body, start=start, count=count) == (8, part)
