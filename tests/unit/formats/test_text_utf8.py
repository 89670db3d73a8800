"""Are names beyond the legacy grammar read from quotes and written in quotes, where they are allowed?"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from pushgateway.errors import LimitError, ParseError
from pushgateway.formats import text
from pushgateway.limits import Limits
from pushgateway.model import MetricFamily, MetricType, Sample
from tests.exposition import Exposition
from tests.unit.formats import format_strategies
from tests.unit.formats.format_strategies import as_text_says, thorough
from tests.unit.name_strategies import label_names, odd_names

ROWS = tomllib.loads((Path(__file__).parents[2] / "data" / "utf8" / "bodies.toml").read_text(encoding="utf-8"))


def body_of(row: dict[str, str]) -> bytes:
    return bytes.fromhex(row["body_hex"]) if "body_hex" in row else row["body"].encode()


@pytest.mark.parametrize("row", ROWS["accepted"], ids=lambda row: row["name"])
def test_names_in_quotes_are_taken_and_written(row: dict[str, str]) -> None:
    """A body with such names becomes the exposition of its row, which is valid where such names are asked for."""
    families = text.parse(body_of(row), utf8_names=True)
    rendered = text.render(families).decode()
    assert rendered == row["exposition"]
    assert text.parse_carefully(body_of(row), utf8_names=True) == families
    Exposition.parse(rendered.encode(), quoted_names=True)


@pytest.mark.parametrize("row", ROWS["refused"], ids=lambda row: row["name"])
def test_improper_names_in_quotes_are_refused(row: dict[str, str]) -> None:
    """Such a body is refused with a message in the manner of the original, the line and a hint."""
    with pytest.raises(ParseError) as caught:
        text.parse(body_of(row), utf8_names=True)
    assert (caught.value.message, caught.value.line) == (row["message"], row.get("line", 1))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"x.y"} 1\n', 'invalid metric name "x.y"'),
        (b'x{"l.x"="1"} 1\n', 'invalid label name "l.x"'),
        (b'# TYPE "x.y" gauge\n', 'invalid metric name "x.y"'),
    ],
)
def test_without_the_setting_the_hint_names_it(body: bytes, message: str) -> None:
    """Names beyond the legacy grammar are refused unless they are allowed, and the hint says how to allow them."""
    with pytest.raises(ParseError) as caught:
        text.parse(body)
    assert caught.value.message == message
    assert "--push.enable-utf8-names" in caught.value.hint


def test_name_bytes_are_counted_in_utf8() -> None:
    """The limit is one of bytes, also where a character has several."""
    limits = Limits(name_bytes=8)
    assert text.parse('{"éééé","éééé"="1"} 1\n'.encode(), limits=limits, utf8_names=True)
    for body in ('{"ééééé"} 1\n', 'x{"ééééé"="1"} 1\n'):
        with pytest.raises(LimitError) as caught:
            text.parse(body.encode(), limits=limits, utf8_names=True)
        assert (caught.value.limit, caught.value.seen) == ("name-bytes", 10)


label_sets = st.dictionaries(
    label_names.filter(lambda name: name not in {"le", "quantile"}),
    format_strategies.label_values,
    max_size=3,
).map(lambda labels: tuple(sorted(labels.items())))


@st.composite
def family_lists(draw: st.DrawFn) -> list[MetricFamily]:
    """Families whose names and label names have any characters."""
    families = []
    for name in draw(st.lists(odd_names.map(lambda name: f"{name}x"), unique=True, max_size=3)):
        type_ = draw(st.sampled_from(MetricType))
        metrics = draw(st.lists(format_strategies.METRICS[type_], max_size=3))
        labels = draw(st.lists(label_sets, min_size=len(metrics), max_size=len(metrics), unique=True))
        renamed = tuple(metric._replace(labels=own) for metric, own in zip(metrics, labels, strict=True))
        families.append(MetricFamily(name, type_, "", renamed))
    return families


@thorough
@given(family_lists())
def test_what_is_written_is_read_back(families: list[MetricFamily]) -> None:
    """Rendering and parsing with names of any characters loses nothing, on either path."""
    body = text.render(families)
    for parse in (text.parse, text.parse_carefully):
        assert as_text_says(parse(body, utf8_names=True)) == as_text_says(families)


@given(odd_names, label_sets)
def test_others_read_what_is_written(name: str, labels: tuple[tuple[str, str], ...]) -> None:
    """The official Python client reads the same name and labels from our lines."""
    body = text.render([MetricFamily(name, MetricType.GAUGE, "", (Sample(labels, 1.0),))])
    (family,) = text_string_to_metric_families(body.decode())
    (sample,) = family.samples
    assert (sample.name, sample.labels, sample.value) == (name, dict(labels), 1)
