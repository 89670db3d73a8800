"""Are families of protobuf that are read as tables what they are one metric after the other?"""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.config import Limits
from pushgateway.errors import InconsistentPushError, LimitError, ParseError
from pushgateway.formats import protobuf, protobuf_tables
from pushgateway.formats.protobuf_encode import encode_varint
from pushgateway.formats.protobuf_tables import find_metrics
from pushgateway.model import Exemplar, MetricFamily, MetricType, Sample
from pushgateway.tables import SampleTable
from tests.unit.formats.format_strategies import thorough

ODD = (
    Sample((("a", "1"), ("b", "2")), 1.0, 5),
    Sample((("a", "é"), ("b", "2")), 1.0),
    Sample((("a", "x" * 300), ("b", "2")), 1.0),
    Sample((("a", "1"),), 1.0),
    Sample((), 1.0),
    Sample((("a", "1"), ("b", "2")), 1.0, None, Exemplar((("t", "1"),), 2.0)),
    Sample((("a", "1"), ("b", "2")), 1.0, None, None, 7),
)
NAMES = st.sampled_from(
    [("a", "b"), ("b", "a"), ("a", "a"), ("a",), ("n" * 100, "b"), ("a", "b", "c" * 30), ("é", "b")]
)
VALUES = st.sampled_from(["", "1", "22", "*\t\t", "*", '"', "x" * 21, "y" * 40, "\n", '\x1a\t\t"', "%s"])
TYPES = st.sampled_from([MetricType.COUNTER, MetricType.GAUGE, MetricType.UNTYPED])


def outcome(body: bytes, limits: Limits, *, fewest: int) -> object:
    """Return what is read of a body if smaller families are no tables, in a form that compares NaN, too."""
    with patch.object(protobuf, "FEWEST_BYTES", fewest):
        try:
            return repr(protobuf.parse(body, limits=limits))
        except (ParseError, LimitError, InconsistentPushError) as error:
            return type(error), str(error), getattr(error, "hint", "")


@st.composite
def families(draw: st.DrawFn) -> MetricFamily:
    """Families of samples alike, some with one among them that is not."""
    names = draw(NAMES)
    pools = [draw(st.lists(VALUES, min_size=1, max_size=3)) for _ in names]
    count = draw(st.sampled_from([60, 64, 65, 200]))
    metrics = [
        Sample(tuple((name, pool[at % len(pool)]) for name, pool in zip(names, pools, strict=True)), at / 2)
        for at in range(count)
    ]
    for at, odd in draw(st.lists(st.tuples(st.integers(0, count), st.sampled_from(ODD)), max_size=1)):
        metrics.insert(at, odd)
    unit = draw(st.sampled_from(["", "seconds"]))
    return MetricFamily(draw(st.sampled_from(["x", "y"])), draw(TYPES), "help", tuple(metrics), unit)


bodies = st.lists(families(), min_size=1, max_size=2).map(protobuf.render)
limits = st.sampled_from(
    [
        Limits(),
        Limits(samples_per_push=100),
        Limits(prepared_bytes=100_000),
        Limits(labels_per_series=1),
        Limits(name_bytes=10),
        Limits(value_bytes=20),
    ]
)


@thorough
@given(bodies, limits)
def test_a_table_is_what_its_metrics_are_one_by_one(body: bytes, limits: Limits) -> None:
    """Families, and errors beyond a limit, are the same."""
    assert outcome(body, limits, fewest=0) == outcome(body, limits, fewest=1 << 30)


@thorough
@given(bodies, st.data())
def test_a_damaged_table_is_what_it_is_one_by_one(body: bytes, data: st.DataObject) -> None:
    """Whichever bytes are others, missing or more, the families or the error are the same."""
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(len(damaged), 300)) | st.integers(0, len(damaged)))
        damaged[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b"\n", b"\x12", b'"', b"\x01", b"\x80", b"*", b"\t", b"a"]) | st.binary(max_size=2)
        )
    assert outcome(bytes(damaged), Limits(), fewest=0) == outcome(bytes(damaged), Limits(), fewest=1 << 30)


def read(metrics: Sequence[Sample], *, type: MetricType = MetricType.GAUGE) -> MetricFamily:
    (family,) = protobuf.parse(protobuf.render([MetricFamily("x", type, "", metrics)]))
    return family


@pytest.mark.parametrize("type_", [MetricType.COUNTER, MetricType.GAUGE, MetricType.UNTYPED])
def test_samples_alike_become_a_table_whatever_windows_they_stand_in(type_: MetricType) -> None:
    """Labels are sorted by name, those with one value are it, and doubles keep their bits."""
    family = read([Sample((("b", f"{at}*"), ("a", "1")), -0.0) for at in range(5000)], type=type_)
    assert isinstance(family.metrics, SampleTable)
    assert family.metrics.labels.names == ("a", "b")
    assert family.metrics.labels.columns == ("1", [f"{at}*" for at in range(5000)])
    assert set(map(str, family.metrics.values)) == {"-0.0"}


@thorough
@given(
    st.lists(st.sampled_from(["1", "22", "*\t\t", "x" * 21, '"', "é", ""]), min_size=1, max_size=4),
    st.lists(st.integers(400, 1500), min_size=4, max_size=4),
    st.booleans(),
)
def test_values_that_change_later_are_read(pool: list[str], lengths: list[int], damaged: bool) -> None:
    """Values that all metrics of some windows have are another then, in one column or the other, or are damaged."""
    samples = [
        Sample(
            (("a", pool[run % len(pool)]), ("b", "y" * 60), ("c", str(at)), ("d", pool[run // 2 % len(pool)])), at / 3
        )
        for run, length in enumerate(lengths)
        for at in range(length)
    ]
    body = bytearray(protobuf.render([MetricFamily("x", MetricType.GAUGE, "", samples)]))
    if damaged:
        body[len(body) // 2] ^= 1
    assert outcome(bytes(body), Limits(), fewest=0) == outcome(bytes(body), Limits(), fewest=1 << 30)


def test_few_expressions_are_made_for_one_family() -> None:
    """Of a family in which one label after the other gets other values, some windows are read without an expression."""
    names = [f"l{at:02}" for at in range(12)]
    samples = [
        Sample(tuple([(name, str(row if at < row // 700 else 1)) for at, name in enumerate(names)]), float(row))
        for row in range(700 * 13)
    ]
    with patch.object(protobuf_tables, "_alike_pattern", wraps=protobuf_tables._alike_pattern) as made:
        family = read(samples)
    assert isinstance(family.metrics, SampleTable)
    assert tuple(family.metrics) == tuple(samples)
    assert len({call.args for call in made.call_args_list}) == 4


@pytest.mark.parametrize("length", [123, 124, 200])
def test_names_of_any_length_are_read(length: int) -> None:
    """A label whose length takes more than a byte makes a family none, as does one that only looks like it."""
    alike = [Sample((("a" * length, "1"),), float(at)) for at in range(100)]
    assert tuple(read(alike).metrics) == tuple(alike)
    metric = b"\n\x7f\n" + bytes([min(length, 127)]) + b"a" * length + b"\x12\x00" + b"\x12\x09\x09" + bytes(8)
    message = b"\n\x01x\x18\x01" + (b'"' + encode_varint(len(metric)) + metric) * 100
    body = encode_varint(len(message)) + message
    assert outcome(body, Limits(), fewest=0) == outcome(body, Limits(), fewest=1 << 30)


@pytest.mark.parametrize("odd", ODD)
def test_one_other_metric_makes_a_family_none(odd: Sample) -> None:
    """Timestamps, exemplars, times of creation, long values, other labels: the family is read metric by metric."""
    alike = [Sample((("a", str(at)), ("b", "2")), 1.0) for at in range(100)]
    assert isinstance(read([*alike, odd], type=MetricType.COUNTER).metrics, tuple)


def test_a_type_behind_the_metrics_counts() -> None:
    """The last of two types is that of the family, as protobuf has it: its metrics have another value."""
    samples = tuple(Sample((("a", str(at)),), 1.0) for at in range(100))
    message = protobuf.render([MetricFamily("x", MetricType.GAUGE, "", samples)])
    body = message[2:] + b"\x18\x00"
    with pytest.raises(InconsistentPushError, match="is not a COUNTER"):
        protobuf.parse(encode_varint(len(body)) + body)


def test_what_a_caller_raises_ends_the_reading() -> None:
    """The check is called for each 64 KiB of a table, too."""
    body = protobuf.render([MetricFamily("x", MetricType.GAUGE, "", [Sample((("a", "b" * 60),), 1.0)] * 5000)])
    calls: list[None] = []
    protobuf.parse(body, check=lambda: calls.append(None))
    assert len(body) // (1 << 16) <= len(calls) <= len(body) // (1 << 16) + 2


def test_limits_count_tables() -> None:
    """As many samples as there may be are read, and one more is refused, whether in one table or two."""
    samples = tuple(Sample((("a", str(at)),), 1.0) for at in range(100))
    two = protobuf.render([MetricFamily(name, MetricType.GAUGE, "", samples) for name in ("x", "y")])
    limits = Limits()._replace(samples_per_push=200)
    assert [len(family.metrics) for family in protobuf.parse(two, limits=limits)] == [100, 100]
    with pytest.raises(LimitError):
        protobuf.parse(two, limits=limits._replace(samples_per_push=199))


@pytest.mark.parametrize("place", ["before", "behind"])
def test_many_other_fields_make_a_family_no_table(place: str) -> None:
    """A body may have millions of them: only the reader that has a limit for them, and a check, goes through them."""
    samples = tuple(Sample((("a", str(at)),), 1.0) for at in range(100))
    metrics = protobuf.encode_metrics(MetricFamily("x", MetricType.GAUGE, "", samples))
    helps, head = b"\x12\x00" * 100, b"\n\x01x\x18\x01"
    body = helps + head + metrics if place == "before" else head + metrics + helps
    (family,) = protobuf.parse(encode_varint(len(body)) + body)
    assert isinstance(family.metrics, tuple)
    assert family.metrics == samples


def test_of_the_first_metric_few_fields_are_looked_at() -> None:
    """What is damaged behind them is left to whoever reads the metric."""
    metric = b"\n\x06\n\x01a\x12\x011" + b"\x30\x00" * 100 + b"\x07"
    message = b'"' + encode_varint(len(metric)) + metric
    found = find_metrics(memoryview(message))
    assert found is not None
    assert found.labels == 1
    with pytest.raises(ParseError):
        protobuf.parse(encode_varint(len(message)) + message)
