"""What is read of a body of delimited protobuf, and what is refused?"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.config import Limits
from pushgateway.errors import InconsistentPushError, LimitError, ParseError
from pushgateway.formats.protobuf import most_samples, parse, render, render_as_text
from pushgateway.formats.protobuf_encode import encode_varint
from pushgateway.formats.protobuf_messages import family_class
from pushgateway.model import Histogram, MetricFamily, MetricType, NativeBuckets, NativeHistogram, Sample, Summary
from tests.unit.formats.format_strategies import family_lists, thorough

MetricFamilyMessage = family_class()

GAUGE = MetricType.GAUGE


def delimited(*messages: bytes) -> bytes:
    return b"".join(encode_varint(len(message)) + message for message in messages)


def family(*metrics: Sample, name: str = "x", type: MetricType = GAUGE) -> MetricFamily:
    return MetricFamily(name, type, "", metrics)


@thorough
@given(family_lists())
def test_what_is_rendered_is_read(families: Sequence[MetricFamily]) -> None:
    """Reading gives back every family: names, types, help, native histograms, exemplars and times of creation."""
    with_unit = [one._replace(unit="seconds") for one in families]
    assert repr(parse(render(with_unit))) == repr(tuple(with_unit))


@pytest.mark.parametrize("size", [10, 1_000, 70_000, 500_000])
def test_families_of_any_size_are_read_in_windows(size: int) -> None:
    """Whether a metric is smaller or larger than a window of 64 KiB, the family comes back whole."""
    limits = Limits()._replace(value_bytes=1_000_000)
    families = (family(*(Sample((("a", "x" * size), ("b", str(at))), 1.0) for at in range(9))), family(name="y"))
    calls: list[None] = []
    assert parse(render(families), limits=limits, check=lambda: calls.append(None)) == families
    windows = max(1, min(9, 9 * size // (1 << 16)))
    # One call for each when it is looked through, if it is a whole one, and one when it is read.
    assert windows <= len(calls) <= 2 * windows + 1


def test_fields_come_in_any_order() -> None:
    """The name may stand behind the metrics, among them, or twice: the last one counts, as protobuf has it."""
    metric = MetricFamilyMessage()
    metric.metric.add().gauge.value = 1.0
    name, kind = MetricFamilyMessage(name="first"), MetricFamilyMessage(name="x", type=1)
    body = delimited(b"".join(m.SerializeToString() for m in (name, metric, kind, metric)))
    assert parse(body) == (family(Sample((), 1.0), Sample((), 1.0)),)


def test_labels_are_sorted() -> None:
    """The labels of a metric come in any order, and are sorted by name."""
    (read,) = parse(render([family(Sample((("b", "1"), ("a", "2")), 1.0))]))
    assert read.metrics[0].labels == (("a", "2"), ("b", "1"))


def test_a_type_that_is_missing_is_counter() -> None:
    """The default of the enum is COUNTER, so that a gauge's value without a type is refused, as by the original."""
    message = MetricFamilyMessage(name="x")
    message.metric.add().gauge.value = 1.0
    with pytest.raises(InconsistentPushError, match=r'collected metric "x" {} is not a COUNTER'):
        parse(delimited(message.SerializeToString()))


@pytest.mark.parametrize("type_", MetricType)
def test_a_metric_without_a_value_of_its_type_is_refused(type_: MetricType) -> None:
    """Whatever the type, a metric that has another value or none is refused by its labels; the rest is read first."""
    message = MetricFamilyMessage(name="x", type=list(MetricType).index(type_))
    message.type = {"gauge_histogram": 5, "histogram": 4, "untyped": 3, "summary": 2, "gauge": 1, "counter": 0}[
        type_.value
    ]
    message.metric.add().label.add(name="a", value="b")
    with pytest.raises(InconsistentPushError, match=re.escape(f'{{a="b"}} is not a {type_.name}')):
        parse(delimited(message.SerializeToString()))
    with pytest.raises(ParseError):
        parse(delimited(message.SerializeToString()) + b"x")


VALID = render([family(Sample((("a", "b"),), 1.0), name="first"), family(name="second")])


@pytest.mark.parametrize("length", range(1, len(VALID)))
def test_a_body_that_is_cut_short_is_refused(length: int) -> None:
    """Wherever a body ends too early, nothing of it is read, unless it ends between two messages."""
    if length == VALID.index(b"second") - 3:
        assert [one.name for one in parse(VALID[:length])] == ["first"]
        return
    with pytest.raises(ParseError, match="unexpected EOF") as refused:
        parse(VALID[:length])
    assert "ends inside a message" in refused.value.hint


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (delimited(b"\xff"), "cannot parse"),
        (delimited(b"\x22\x05\x0a"), "cannot parse"),
        (delimited(b"\x0b\x0c"), "cannot parse"),
        (delimited(b"\x22\x02\x0a\x05"), "cannot parse"),
        (delimited(b"\x0a\x02x\xff"), "invalid UTF-8"),
        (delimited(b"\x0a\x01x\x18\x01\x22\x12\x0a\x05\x0a\x01\xff\x12\x00\x12\x09\x09" + bytes(8)), "invalid UTF-8"),
        (b"\xff" * 11, "unexpected EOF"),
        (b"x 1\n", "unexpected EOF"),
    ],
)
def test_what_is_no_protobuf_is_refused(body: bytes, message: str) -> None:
    """Damaged messages, groups, bad UTF-8, endless lengths and text say what is wrong and in which message."""
    with pytest.raises(ParseError, match=message):
        parse(body)


@given(st.binary(max_size=60))
def test_random_bytes_are_read_or_refused(body: bytes) -> None:
    """No body fails in any other way."""
    try:
        parse(body)
    except (ParseError, InconsistentPushError, LimitError):
        return
    assert all(isinstance(one, MetricFamily) for one in parse(body))


@given(family_lists(), st.data())
def test_damaged_bodies_are_read_or_refused(families: Sequence[MetricFamily], data: st.DataObject) -> None:
    """A body in which one byte is another one does not fail in any other way either."""
    body = bytearray(render(families))
    if body:
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse(bytes(body))
    except (ParseError, InconsistentPushError, LimitError):
        return
    assert isinstance(parse(bytes(body)), tuple)


SMALL = Limits()._replace(samples_per_push=5, labels_per_series=2, name_bytes=4, value_bytes=8)


@pytest.mark.parametrize(
    ("families", "limit"),
    [
        ([family(*[Sample((("a", str(at)),), 1.0) for at in range(6)])], "samples-per-push"),
        ([family(name=f"n{at}") for at in range(6)], "samples-per-push"),
        ([MetricFamily("h", MetricType.HISTOGRAM, "", (Histogram((), ((1.0, 1),) * 4, 1.0, 1),))], "samples-per-push"),
        ([MetricFamily("s", MetricType.SUMMARY, "", (Summary((), ((0.5, 1.0),) * 4, 1.0, 1),))], "samples-per-push"),
        (
            [
                MetricFamily(
                    "h",
                    MetricType.HISTOGRAM,
                    "",
                    (Histogram((), (), 1.0, 1, native=NativeHistogram(0, 0.0, 0, NativeBuckets(((0, 4),), (1,) * 4))),),
                )
            ],
            "samples-per-push",
        ),
        ([family(Sample((("a", "1"), ("b", "1"), ("c", "1")), 1.0))], "labels-per-series"),
        ([family(Sample((("abcde", "1"),), 1.0))], "name-bytes"),
        ([family(name="ééé")], "name-bytes"),
        ([family(Sample((("a", "ééééé"),), 1.0))], "value-bytes"),
        ([MetricFamily("x", GAUGE, "123456789", ())], "value-bytes"),
        ([MetricFamily("x", GAUGE, "", (), "unit5")], "name-bytes"),
    ],
)
def test_what_is_beyond_a_limit_is_refused(families: Sequence[MetricFamily], limit: str) -> None:
    """Each limit has its name; buckets and quantiles count as the lines that they are in text."""
    with pytest.raises(LimitError) as refused:
        parse(render(families), limits=SMALL)
    assert refused.value.limit == limit


def test_a_metric_of_many_tiny_fields_costs_no_more_than_the_limit() -> None:
    """Two bytes a message are counted before a hundred are spent on each: labels, buckets, spans and differences."""
    limits = Limits()._replace(samples_per_push=1_000)
    for inside in (
        b"\x0a\x00",
        b"\x3a\x84\x80\x08" + b"\x1a\x00" * 65_538,
        b"\x3a\x84\x80\x08\x6a\x80\x80\x08" + bytes(1 << 17),
    ):
        metric = inside * (1 if len(inside) > 2 else 100_000)
        body = delimited(b"\x0a\x01x\x18\x04\x22" + encode_varint(len(metric)) + metric)
        with pytest.raises(LimitError, match="samples"):
            parse(body, limits=limits)


class GivenUpError(Exception):
    pass


@pytest.mark.parametrize(
    "body",
    [
        bytes(1 << 20),
        delimited(b"\x30\x00" * (1 << 19)),
        delimited(b"\x0a\x00" * (1 << 19)),
        delimited(b"\x22\x00\x30\x00" * (1 << 18)),
    ],
    ids=["families", "unknown fields", "names", "metrics and others"],
)
def test_what_says_nothing_is_limited_too_and_the_work_can_be_ended(body: bytes) -> None:
    """Nameless families and fields that mean nothing take time alone: there is a limit, and a check before it."""
    with pytest.raises(LimitError, match="samples"):
        parse(body, limits=Limits()._replace(samples_per_push=50_000))

    def give_up() -> None:
        raise GivenUpError

    with pytest.raises(GivenUpError):
        parse(body, check=give_up)


def histogram_fields(inside: bytes) -> bytes:
    histogram = b"\x3a" + encode_varint(len(inside)) + inside
    return b"\x22" + encode_varint(len(histogram)) + histogram


@pytest.mark.parametrize("inside", [b"\x62\x00", b"\x4a\x00", b"\x62\x00" + b"\x82\x01\x00" * 2])
def test_spans_and_exemplars_count_as_memory(inside: bytes) -> None:
    """What takes two or three bytes of a body and a hundred of memory is reckoned, in whatever metric it stands."""
    body = delimited(b"\x0a\x01x\x18\x04" + histogram_fields(inside * 5000) * 10)
    limits = Limits()._replace(prepared_bytes=3_000_000)
    with pytest.raises(LimitError, match="prepared"):
        parse(body, limits=limits)


@pytest.mark.parametrize("body", [bytes(50), delimited(*[b"\x30\x00"] * 50)])
def test_families_without_anything_are_counted(body: bytes) -> None:
    """A body of families that hold nothing is work all the same; counting them ends where there are enough."""
    assert most_samples(body, enough=1000) == 50
    assert most_samples(body, enough=10) == 11


@given(family_lists())
def test_no_body_has_more_samples_than_is_said(families: Sequence[MetricFamily]) -> None:
    """What a body may cost is never estimated too low: each metric, bucket and quantile is counted."""
    counted = sum(
        1 + len(getattr(metric, "buckets", ())) + len(getattr(metric, "quantiles", ()))
        for one in families
        for metric in one.metrics
    )
    assert most_samples(render(families), enough=1000) >= counted


def test_the_text_form_of_protobuf_is_for_people() -> None:
    """A family takes a line, or a block of lines with a blank one behind it."""
    body = render([family(Sample((("a", "é"),), 1.0)), family(name="y")])
    assert render_as_text(body, compact=True).decode().splitlines() == [
        'name: "x" type: GAUGE metric { label { name: "a" value: "é" } gauge { value: 1.0 } }',
        'name: "y" type: GAUGE',
    ]
    assert render_as_text(body, compact=False).decode().endswith('\n}\n\nname: "y"\ntype: GAUGE\n\n')
