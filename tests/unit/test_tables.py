"""Does a table of samples become whatever its samples would become one by one?"""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.errors import InconsistentPushError
from pushgateway.formats import protobuf, text
from pushgateway.model import GroupingKey, MetricFamily, MetricType, Push, Sample
from pushgateway.preparation import prepare_push
from pushgateway.tables import ROWS_AT_ONCE, LabelTable, SampleTable, join_rows, label_shapes

LABELS = LabelTable(("a", "b"), ("1", ["x", "", "y"]), 3)
TABLE = SampleTable(LABELS, array("d", [1.0, -0.0, 3.0]))
SAMPLES = (
    Sample((("a", "1"), ("b", "x")), 1.0),
    Sample((("a", "1"), ("b", "")), -0.0),
    Sample((("a", "1"), ("b", "y")), 3.0),
)

label_names = st.sampled_from(["a", "%s", "é", "job", "instance", "quantile", "z" * 120])
label_values = st.one_of(
    st.sampled_from(["", "1", "2", "%", "%s", '"', "\\", "\n", "\0", "a b", "é", "x" * 119, "x" * 120, "y" * 200]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
)


@st.composite
def tables(draw: st.DrawFn) -> SampleTable:
    """Tables of a few rows; some columns are one text, and some could be."""
    names = draw(st.lists(label_names, max_size=4, unique=True).map(sorted))
    count = draw(st.integers(1, 5))
    columns = [
        draw(label_values | st.lists(label_values, min_size=count, max_size=count) | st.just(list("edcba"[:count])))
        for _ in names
    ]
    values = draw(st.lists(st.floats(), min_size=count, max_size=count))
    return SampleTable(LabelTable(tuple(names), columns, count), array("d", values))


def test_a_table_is_a_sequence_of_its_samples() -> None:
    """Length, order, items and slices are those of the samples, and it is equal to a tuple of them."""
    assert tuple(TABLE) == SAMPLES
    assert TABLE == SAMPLES
    assert SAMPLES == TABLE
    assert hash(TABLE) == hash(SAMPLES)
    assert repr(TABLE) == repr(SAMPLES)
    assert TABLE[1] == SAMPLES[1]
    assert TABLE[1:] == SAMPLES[1:]
    assert len(TABLE) == 3
    assert SAMPLES[:2] != TABLE
    assert list(SAMPLES) != TABLE


def test_label_sets_without_labels_are_there_all_the_same() -> None:
    """A table without columns has as many rows as it says."""
    bare = LabelTable((), (), 2)
    assert tuple(bare) == ((), ())


def test_rows_are_joined_of_columns_and_texts() -> None:
    """A text stands in each row; where there is nothing else there are as many rows all the same."""
    assert join_rows(["<", ["a", "b"], ">", ["c", ""]], 2) == ["<a>c", "<b>"]
    assert join_rows(["100%", "s"], 2) == ["100%s", "100%s"]
    assert join_rows([], 2) == ["", ""]


def test_the_label_names_of_a_table_are_one_shape() -> None:
    """Whether in a table or not, metrics have the same shapes."""
    assert label_shapes(TABLE) == label_shapes(SAMPLES) == {("a", "b")}


def prepared(family: MetricFamily, key: GroupingKey, *, checked: bool) -> Push | tuple[str, ...]:
    try:
        return prepare_push(
            [family],
            key,
            replace=True,
            received_at_seconds=1.0,
            rendered_bytes=1 << 20,
            own={},
            checked=checked,
            utf8_names=True,
        )
    except InconsistentPushError as error:
        return error.reasons


@given(
    tables(),
    st.sampled_from([MetricType.COUNTER, MetricType.GAUGE, MetricType.UNTYPED]),
    st.sampled_from(["x", "ö%s"]),
    st.dictionaries(label_names, label_values, max_size=2).map(lambda labels: GroupingKey.of({**labels, "job": "j%"})),
    st.booleans(),
)
def test_a_push_of_a_table_is_that_of_its_samples(
    table: SampleTable, type: MetricType, name: str, key: GroupingKey, checked: bool
) -> None:
    """Text, canonical form, identities, hashes and refusals are the same."""
    family = MetricFamily(name, type, "help", table)
    one_by_one = family._replace(metrics=tuple(table))
    assert text.render_metrics(family) == text.render_metrics(one_by_one)
    assert protobuf.encode_metrics(family) == protobuf.encode_metrics(one_by_one)
    assert prepared(family, key, checked=checked) == prepared(one_by_one, key, checked=checked)


@pytest.mark.parametrize("odd", ["plain", "\0", "é", '"', "x" * 200, ""])
@pytest.mark.parametrize("at", [0, ROWS_AT_ONCE, 2 * ROWS_AT_ONCE + 6])
def test_a_table_in_several_pieces_is_that_of_its_samples(odd: str, at: int) -> None:
    """What is made of some rows at a time is as if it had been made of all, wherever a row is unlike the others."""
    count = 2 * ROWS_AT_ONCE + 7
    column = [str(number) for number in reversed(range(count))]
    column[at] = odd
    table = SampleTable(LabelTable(("a", "b"), ("1", column), count), array("d", range(count)))
    assert tuple(sample for piece in table.pieces() for sample in piece) == tuple(table)
    family = MetricFamily("x", MetricType.GAUGE, "help", table)
    key = GroupingKey.of({"job": "j"})
    one_by_one = prepared(family._replace(metrics=tuple(table)), key, checked=True)
    assert prepared(family, key, checked=True) == one_by_one
