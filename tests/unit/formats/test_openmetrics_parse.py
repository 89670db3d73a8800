import contextlib
import math
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pushgateway.errors import LimitError, ParseError
from pushgateway.formats import openmetrics, text
from pushgateway.limits import Limits
from pushgateway.model import Exemplar, Histogram, MetricFamily, MetricType, Sample
from tests.unit.formats.format_strategies import thorough
from tests.unit.formats.openmetrics_strategies import broad, hostile_families

CORPUS = Path(__file__).parents[2] / "data" / "openmetrics"
ACCEPTED = tomllib.loads((CORPUS / "accepted.toml").read_text(encoding="utf-8"))["case"]
REFUSED = tomllib.loads((CORPUS / "refused.toml").read_text(encoding="utf-8"))["case"]


def body_of(case: dict[str, str]) -> bytes:
    return bytes.fromhex(case["body_hex"]) if "body_hex" in case else case["body"].encode()


def outcome(parse: Callable[[bytes], object], body: bytes) -> object:
    """Return what a parser makes of a body, in a form that can be compared even if there is a NaN in it."""
    try:
        return repr(parse(body))
    except ParseError as error:
        return error.message, error.line, error.hint, error.family, error.format
    except LimitError as error:
        return str(error)


def read_officially(body: bytes) -> None:
    list(text_string_to_metric_families(body.decode()))


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case["name"])
def test_every_accepted_row_is_exposed_in_both_formats(case: dict[str, str]) -> None:
    """A body of the table is taken, by the official parser too, and exposed as the table says."""
    families = openmetrics.parse(body_of(case))
    assert text.render(families).decode() == case["text"]
    assert openmetrics.render(families).decode() == case.get("openmetrics", case["body"])
    read_officially(body_of(case))


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["name"])
def test_every_refused_row_has_its_message_and_line(case: dict[str, str]) -> None:
    """A body of the table is refused with a message that says what is wrong, the right line and a hint."""
    with pytest.raises(ParseError) as caught:
        openmetrics.parse(body_of(case))
    assert (caught.value.message, caught.value.line) == (case["message"], case.get("line", 1))
    assert caught.value.hint
    assert caught.value.format == "openmetrics"


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["name"])
def test_the_official_parser_refuses_what_we_refuse(case: dict[str, str]) -> None:
    """A body of the table is refused by the official parser too, unless the row says why it is not."""
    if "official" in case:
        read_officially(body_of(case))
    else:
        with pytest.raises(Exception):  # noqa: B017, PT011  it has no errors of its own
            read_officially(body_of(case))


@pytest.mark.parametrize("case", ACCEPTED + REFUSED, ids=lambda case: case["name"])
def test_the_fast_path_agrees_with_the_careful_one_on_the_corpus(case: dict[str, str]) -> None:
    """What the fast path takes apart itself comes out as the whole grammar reads it."""
    assert outcome(openmetrics.parse, body_of(case)) == outcome(openmetrics.parse_carefully, body_of(case))


FRAGMENTS = [
    *["x", "y1", "h_bucket", "h_count", "h_sum", "c_total", "c_created", "{", "}", "{a=", '{a="b"}', '{le="0.5"}', "a"],
    *[
        '{a="b",le="+Inf"}',
        "le",
        "quantile",
        "__name__",
        "=",
        '"',
        '"b"',
        '"1"',
        ",",
        " ",
        "  ",
        "\t",
        "\n",
        "\n",
        "\n",
    ],
    *[" 1\n", " 2.5\n", " NaN\n", "1e3", "+Inf", "-", "1e999", "123", "} 1", "é", "\udcff", "\r", "\\", "\\n", '\\"'],
    *[" # {} 1\n", ' # {a="b"} 1 2\n', "#", "# TYPE ", "# HELP ", "# UNIT ", "counter", "# EOF\n", "# EOF\n", "# EOF"],
    *["# TYPE h histogram\n", "# TYPE c counter\n", "# TYPE s stateset\n", '{s="a"} 1\n', 's{a="1",s="b"} 1\n'],
    *['x{a="1",b="2"} 7\n', 'x{b="1",a="2"} 7\n', 'h_bucket{a="b",le="+Inf"} 1\n', 'c_total{a="b"} 1\n', "x 1\n"],
]
fragment_bodies = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map(
    lambda fragments: "".join(fragments).encode(errors="surrogateescape")
)


@thorough
@given(fragment_bodies | fragment_bodies.map(lambda body: body + b"# EOF\n"))
def test_the_fast_path_agrees_with_the_careful_one_on_odd_bodies(body: bytes) -> None:
    """On bodies made of the grammar's pieces both paths give the same families or the same error."""
    assert outcome(openmetrics.parse, body) == outcome(openmetrics.parse_carefully, body)


@thorough
@given(fragment_bodies, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_the_fast_path_agrees_with_the_careful_one_on_limits(body: bytes, labels: int, name: int, value: int) -> None:
    """Whatever the limits are, both paths give the same families or the same error."""
    limits = Limits(labels_per_series=labels, name_bytes=name, value_bytes=value)
    assert outcome(partial(openmetrics.parse, limits=limits), body) == outcome(
        partial(openmetrics.parse_carefully, limits=limits), body
    )


@thorough
@given(fragment_bodies.map(lambda body: body + b"# EOF\n"))
def test_what_we_take_the_official_parser_takes_too(body: bytes) -> None:
    """A body made of the grammar's pieces that is taken here is no nonsense for the official parser either."""
    with contextlib.suppress(ParseError):
        openmetrics.parse(body)
        read_officially(body)


@broad
@given(hostile_families())
def test_the_fast_path_agrees_with_the_careful_one_on_rendered_families(families: list[MetricFamily]) -> None:
    """On what the renderer writes both paths give the same families."""
    body = openmetrics.render(families)
    assert outcome(openmetrics.parse, body) == outcome(openmetrics.parse_carefully, body)


@thorough
@given(
    fragment_bodies
    | st.binary(max_size=60)
    | st.lists(st.sampled_from(REFUSED)).map(lambda rows: b"".join(map(body_of, rows))),
    st.integers(1, 3),
)
def test_nothing_but_the_documented_errors_is_raised_and_they_can_be_sent(body: bytes, samples: int) -> None:
    """Any bytes are families, a ParseError that is short and encodes to UTF-8, or a LimitError."""
    error = None
    try:
        openmetrics.parse(body, limits=Limits(samples_per_push=samples))
    except (ParseError, LimitError) as caught:
        error = caught
    if isinstance(error, LimitError):
        assert error.limit == "samples-per-push"
    elif error is not None:
        assert 1 <= error.line <= body.count(b"\n") + 1
        for told in (error.message, error.hint, error.family):
            assert len(told.encode()) < 3_000


def test_a_counter_keeps_its_exemplar_unit_and_time_of_creation() -> None:
    """What text cannot say is in the family: nanoseconds exactly, exemplars, the unit."""
    body = (
        b"# TYPE x_seconds counter\n# UNIT x_seconds seconds\n# HELP x_seconds Help.\n"
        b'x_seconds_total{b="1",a="2"} 3 # {trace_id="t"} 0.5 1600000000.000000001\n'
        b'x_seconds_created{a="2",b="1"} 1520430000.123456789\n# EOF\n'
    )
    exemplar = Exemplar((("trace_id", "t"),), 0.5, 1_600_000_000_000_000_001)
    sample = Sample((("a", "2"), ("b", "1")), 3.0, None, exemplar, 1_520_430_000_123_456_789)
    assert openmetrics.parse(body) == (
        MetricFamily("x_seconds_total", MetricType.COUNTER, "Help.", (sample,), "seconds"),
    )


def test_what_the_official_client_writes_is_read() -> None:
    """Every type of prometheus_client, with exemplars, units and times of creation, is read from its OpenMetrics."""
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.Counter("c", 'Help with "quotes".', ["l"], registry=registry).labels("x").inc(
        2, {"trace_id": "t"}
    )
    prometheus_client.Gauge("g", "Help.", unit="bytes", registry=registry).set(1.5)
    prometheus_client.Summary("s", "Help.", registry=registry).observe(2)
    prometheus_client.Histogram("h", "Help.", registry=registry).observe(0.3, {"trace_id": "u"})
    prometheus_client.Info("i", "Help.", registry=registry).info({"version": "7"})
    prometheus_client.Enum("e", "Help.", states=["on", "off"], registry=registry)
    families = {family.name: family for family in openmetrics.parse(generate_latest(registry))}
    assert {name: family.type for name, family in families.items()} == {
        "c_total": MetricType.COUNTER, "g_bytes": MetricType.GAUGE, "s": MetricType.SUMMARY,
        "h": MetricType.HISTOGRAM, "i_info": MetricType.GAUGE, "e": MetricType.GAUGE,
    }  # fmt: skip
    assert families["g_bytes"].unit == "bytes"
    (counter,), (histogram,) = families["c_total"].metrics, families["h"].metrics
    assert isinstance(counter, Sample)
    assert isinstance(histogram, Histogram)
    assert (counter.value, counter.exemplar is not None, counter.created_ns is not None) == (2, True, True)
    assert [exemplar.value for exemplar in histogram.exemplars if exemplar] == [0.3]


def test_timestamps_are_kept_for_the_rules_to_refuse() -> None:
    """Points with timestamps are read, in milliseconds; points of one metric are metrics of their own."""
    (family,) = openmetrics.parse(b"x 1 1.5\nx 2 2.0019\n# EOF\n")
    assert family.metrics == (Sample((), 1.0, 1500), Sample((), 2.0, 2001))


def test_quoted_names_may_be_anything_for_the_rules_to_judge() -> None:
    """Names of metrics and labels beyond the legacy grammar are read, escapes resolved."""
    body = '# TYPE "my.metric" counter\n{"my.metric_total","l.x"="v","\\"\\n"="é"} 1\n# EOF\n'.encode()
    (family,) = openmetrics.parse(body)
    assert family.name == "my.metric_total"
    assert family.metrics[0].labels == (('"\n', "é"), ("l.x", "v"))


@pytest.mark.parametrize(
    ("fits", "more", "limit"),
    [
        ('x{a="1",b="2"} 1', 'x{a="1",b="2",c="3"} 1', "labels-per-series"),
        ('x{a="1",b="\\""} 1', 'x{a="1",b="\\"",c="3"} 1', "labels-per-series"),
        ("xxxxxxxx 1", "xxxxxxxxx 1", "name-bytes"),
        ('{"éééé"} 1', '{"éééé1"} 1', "name-bytes"),
        ("# TYPE xxxxxxxx gauge", "# TYPE xxxxxxxxx gauge", "name-bytes"),
        ('x{aaaaaaaa="1"} 1', 'x{aaaaaaaaa="1"} 1', "name-bytes"),
        ('x{a="éé12"} 1', 'x{a="éé123"} 1', "value-bytes"),
        ('x{a="1234\\\\\\n"} 1', 'x{a="12345\\\\\\n"} 1', "value-bytes"),
        ("# HELP x 123456", "# HELP x 1234567", "value-bytes"),
        ('x{a="1"} 1\nx{a="2"} 1\nx 1', 'x{a="1"} 1\nx{a="2"} 1\nx 1\ny 1', "samples-per-push"),
        ("# TYPE a gauge\n# HELP b c\n# HELP c d", "# TYPE a gauge\n# HELP b c\n# HELP c d\ne 1", "samples-per-push"),
    ],
)  # fmt: skip
def test_what_is_too_large_is_refused_by_the_name_of_its_limit(fits: str, more: str, limit: str) -> None:
    """Labels of a line, names, values, help texts, samples and families have exact limits."""
    limits = Limits(samples_per_push=3, labels_per_series=2, name_bytes=8, value_bytes=6)
    openmetrics.parse(f"{fits}\n# EOF\n".encode(), limits=limits)
    with pytest.raises(LimitError) as caught:
        openmetrics.parse(f"{more}\n# EOF\n".encode(), limits=limits)
    assert caught.value.limit == limit


def test_a_line_that_is_longer_than_a_window_meets_the_limits_too() -> None:
    """A value beyond the limit is found wherever it stands, and its neighbours are read."""
    value = b"v" * (1 << 16)
    body = b'x{a="1"} 1\nx{a="' + value + b'"} 2\nx{a="2"} 3\n# EOF\n'
    (family,) = openmetrics.parse(body)
    assert [sample.value for sample in family.metrics] == [1, 2, 3]
    with pytest.raises(LimitError, match="value-bytes exceeded: 65537 where 65536"):
        openmetrics.parse(body.replace(value, value + b"v"))


def test_the_check_is_called_once_a_window_and_can_end_the_reading() -> None:
    """A caller's check runs about once in 64 KiB, and what it raises comes out."""
    calls: list[int] = []
    body = b"".join(b'x{a="%015d"} 1\n' % number for number in range(20_000))
    openmetrics.parse(body + b"# EOF\n", check=lambda: calls.append(1))
    assert len(calls) == math.ceil(len(body) / 65_536)

    def give_up() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        openmetrics.parse(b"# EOF\n", check=give_up)


def test_lines_are_counted_across_the_windows_of_a_large_body() -> None:
    """In a body of many windows an error has its line, and no sample is lost or cut at a border."""
    lines = [f'x{{path="/{number}"}} {number}\n' for number in range(20_000)]
    (family,) = openmetrics.parse("".join([*lines, "# EOF\n"]).encode())
    assert [sample.value for sample in family.metrics] == list(range(20_000))
    lines[17_000] = "x 1 2 3\n"
    with pytest.raises(ParseError) as caught:
        openmetrics.parse("".join([*lines, "# EOF\n"]).encode())
    assert caught.value.line == 17_001
    with pytest.raises(ParseError, match="after # EOF") as caught:
        openmetrics.parse(("x{path=" + '"' + "v" * 65_000 + '"} 1\n# EOF\n' + "".join(lines[:5_000])).encode())
    assert caught.value.line == 3


def test_many_quantiles_states_and_families_take_no_more_than_their_share() -> None:
    """One summary of 20 000 quantiles, one state set of as many states: nothing looks through them for each."""
    quantiles = "".join(f's{{quantile="0.{number:06d}"}} 1\n' for number in range(20_000))
    states = "".join(f't{{t="{number}"}} 1\n' for number in range(20_000))
    body = f"# TYPE s summary\n{quantiles}# TYPE t stateset\n{states}# EOF\n"
    summary, state_set = openmetrics.parse(body.encode())
    assert len(summary.metrics[0].quantiles) == len(state_set.metrics) == 20_000
