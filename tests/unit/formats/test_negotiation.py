import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.errors import UnsupportedMediaError
from pushgateway.formats import (
    BodyFormat,
    Exposition,
    ExpositionFormat,
    accepted_encoding,
    body_format,
    exposition,
    request_encoding,
)
from pushgateway.names import Escaping

PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    "content_type",
    [
        "", "text/plain", "text/plain; version=0.0.4", "application/json", "application/x-www-form-urlencoded",
        "application/openmetrics", "nonsense", ";;;", '"', "application/vnd.google.protobuf",
        "application/vnd.google.protobuf; encoding=text; proto=io.prometheus.client.MetricFamily",
        "application/vnd.google.protobuf; encoding=delimited; proto=other",
    ],
)  # fmt: skip
def test_whatever_has_no_format_of_its_own_is_text(content_type: str) -> None:
    """Any Content-Type but those of delimited protobuf and OpenMetrics is read as text 0.0.4, as by the original."""
    assert body_format(content_type) is BodyFormat.TEXT


@pytest.mark.parametrize(
    "content_type",
    [
        PROTOBUF,
        "Application/VND.google.protobuf;encoding=delimited;proto=io.prometheus.client.MetricFamily",
        'application/vnd.google.protobuf; PROTO="io.prometheus.client.MetricFamily"; encoding="delimited"; x=y',
    ],
)
def test_delimited_protobuf_is_known_however_its_header_is_spelt(content_type: str) -> None:
    """Order, case, quotes and further parameters of the header do not matter."""
    assert body_format(content_type) is BodyFormat.PROTOBUF


@pytest.mark.parametrize(
    "parameters", ["", "; version=1.0.0; charset=utf-8", ";Version=0.0.1", '; charset="UTF-8"; q=1']
)
def test_openmetrics_is_known_by_its_media_type(parameters: str) -> None:
    """OpenMetrics is version 1.0.0, its draft 0.0.1 or of no version, and UTF-8."""
    assert body_format(f"Application/OpenMetrics-Text{parameters}") is BodyFormat.OPENMETRICS


@pytest.mark.parametrize("parameters", ["version=2.0.0", "version=0.0.4", "version=1.0.0; charset=iso-8859-1"])
def test_openmetrics_of_another_version_or_character_set_is_refused(parameters: str) -> None:
    """What could only be read by chance is refused, and the error says what can be sent."""
    with pytest.raises(UnsupportedMediaError, match=r"version=1\.0\.0; charset=utf-8"):
        body_format(f"application/openmetrics-text; {parameters}")


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("", "identity"), ("identity", "identity"), ("gzip", "gzip"), ("GZip", "gzip"), (" gzip ", "gzip"),
        ("x-gzip", "gzip"), ("X-GZIP", "gzip"), ("snappy", "snappy"), ("Snappy", "snappy"), ("ZSTD", "zstd"),
    ],
)  # fmt: skip
def test_request_encodings(header: str, encoding: str) -> None:
    """Encodings are known in any case, gzip by its old name too (RFC 9110, section 8.4.1.3)."""
    assert request_encoding(header) == encoding


@pytest.mark.parametrize("header", ["gzip, gzip", "gzip,", "deflate", "br", "gzip, zstd", "x-snappy", "gzip;q=1", "*"])
def test_other_request_encodings_are_refused(header: str) -> None:
    """Lists and unknown encodings are refused, and the error says what can be sent."""
    with pytest.raises(UnsupportedMediaError, match="gzip, snappy, zstd, identity"):
        request_encoding(header)


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("", "identity"), ("gzip", "gzip"), ("GZIP", "gzip"), ("zstd", "zstd"), ("br, deflate", "identity"),
        ("*", "identity"), ("gzip, *", "identity"), ("gzip, identity", "identity"), ("gzip, *;q=0.5", "gzip"),
        ("gzip;q=0.5, identity", "identity"), ("gzip, identity;q=0.5", "gzip"), ("identity;q=0.2, gzip;q=0.3", "gzip"),
        ("gzip;q=0", "identity"), ("gzip;q=0.0, zstd", "zstd"), ("*;q=0", "identity"), ("identity;q=0, gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"), ("gzip;q=1.0, zstd;q=0.9", "gzip"), ("gzip ; q=0.7 , zstd; q=0.6", "gzip"),
        ("gzip;q=nonsense", "identity"), ("gzip;q=2", "identity"), (",, gzip,", "gzip"),
    ],
)  # fmt: skip
def test_accepted_encodings(header: str, encoding: str) -> None:
    """The highest q-value wins, ties and wildcards are for identity, q=0 is a no; zstd beats gzip where both may be."""
    assert accepted_encoding(header) == encoding


@pytest.mark.parametrize(
    ("accept", "escaping"),
    [
        ("", "underscores"),
        ("*/*", "underscores"),
        ("text/plain", "underscores"),
        ("text/plain;escaping=dots", "dots"),
        ("text/plain; version=0.0.4; escaping=values", "values"),
        ("text/plain;escaping=unheard-of", "underscores"),
        ("text/plain;version=1.0.0;escaping=allow-utf-8,text/plain;version=0.0.4;q=0.2", "allow-utf-8"),
        ("text/plain;version=0.0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.2", "underscores"),
        ("text/plain;version=1.0.0;escaping=dots;q=0.2,text/plain;version=1.0.0;escaping=values;q=0.9", "dots"),
        (PROMETHEUS_3, "allow-utf-8"),
    ],
)
def test_expositions_say_the_escaping(accept: str, escaping: str) -> None:
    """Whatever is accepted gets text 0.0.4, with the escaping of the last clause up to the one that matches."""
    expected = f"text/plain; version=0.0.4; charset=utf-8; escaping={escaping}"
    assert exposition(accept).content_type == expected


@pytest.mark.parametrize(
    ("accept", "format"),
    [
        (PROTOBUF, ExpositionFormat.PROTOBUF),
        (PROTOBUF.replace("delimited", "text"), ExpositionFormat.PROTOBUF_TEXT),
        (PROTOBUF.replace("delimited", "compact-text"), ExpositionFormat.PROTOBUF_COMPACT_TEXT),
        (PROTOBUF.replace("delimited", "json"), ExpositionFormat.TEXT),
        ("application/vnd.google.protobuf", ExpositionFormat.TEXT),
        ("application/vnd.google.protobuf; proto=other; encoding=delimited", ExpositionFormat.TEXT),
        (f"{PROTOBUF}; q=0.7, {PROMETHEUS_3}", ExpositionFormat.PROTOBUF),
        (f"{PROTOBUF}; q=0.2, {PROMETHEUS_3}", ExpositionFormat.TEXT),
        (f"{PROTOBUF}; q=0", ExpositionFormat.TEXT),
        (f"text/plain; q=0.5, {PROTOBUF}", ExpositionFormat.PROTOBUF),
        (f"text/plain, {PROTOBUF}", ExpositionFormat.TEXT),
    ],
)
def test_protobuf_is_served_to_who_asks_for_it(accept: str, format: ExpositionFormat) -> None:
    """Of what can be served the highest q-value wins, then what stands first; protobuf needs its exact parameters."""
    assert exposition(accept).format is format


@pytest.mark.parametrize(
    ("accept", "format"),
    [
        ("application/openmetrics-text", ExpositionFormat.OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", ExpositionFormat.OPENMETRICS),
        ("application/openmetrics-text; version=0.0.1", ExpositionFormat.OPENMETRICS_0_0_1),
        ("application/openmetrics-text; version=2.0.0", ExpositionFormat.TEXT),
        ("application/openmetrics-text; q=0.5, text/plain", ExpositionFormat.TEXT),
        ("text/plain; q=0.5, application/openmetrics-text", ExpositionFormat.OPENMETRICS),
        ("application/openmetrics-text; q=0", ExpositionFormat.TEXT),
        (PROMETHEUS_3, ExpositionFormat.OPENMETRICS),
        (f"{PROTOBUF}; q=0.7, {PROMETHEUS_3}", ExpositionFormat.PROTOBUF),
        ("", ExpositionFormat.TEXT),
        ("*/*", ExpositionFormat.TEXT),
    ],
)
def test_openmetrics_is_served_to_who_asks_for_it_where_it_is_enabled(accept: str, format: ExpositionFormat) -> None:
    """With the setting OpenMetrics is one format more; without it, and without a wish, the answer is what it was."""
    assert exposition(accept, openmetrics=True).format is format
    assert "openmetrics" not in exposition(accept).content_type


def test_the_content_type_of_openmetrics_says_version_and_escaping() -> None:
    """The answer names the version that was asked for."""
    assert exposition(PROMETHEUS_3, openmetrics=True).content_type == (
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
    )
    assert exposition("application/openmetrics-text;version=0.0.1", openmetrics=True).content_type == (
        "application/openmetrics-text; version=0.0.1; charset=utf-8; escaping=underscores"
    )


def test_the_content_type_of_protobuf_has_the_escaping_too() -> None:
    """The answer repeats message and encoding, and says how names are escaped."""
    assert exposition(f"{PROTOBUF};escaping=values") == Exposition(ExpositionFormat.PROTOBUF, Escaping.VALUES)
    assert exposition(f"{PROTOBUF};escaping=values").content_type == f"{PROTOBUF}; escaping=values"


def test_what_stands_behind_4096_characters_of_a_header_is_not_read() -> None:
    """A header of any length costs no more than the longest honest one, and what stands first counts."""
    assert accepted_encoding("gzip" + ", x" * 1_000_000) == "gzip"
    assert accepted_encoding("br, " * 1_024 + "gzip") == "identity"
    assert exposition("text/plain" + ";a=b" * 1_000_000).escaping is Escaping.UNDERSCORES
    assert body_format(PROTOBUF.replace(";", ";a=b" * 1_024 + ";", 1)) is BodyFormat.TEXT


@given(st.text(alphabet=st.sampled_from('gzip,;=q.01 */"\\texval-')))
def test_no_header_is_too_odd(header: str) -> None:
    """Negotiation never fails, whatever a client sends; the answer is always one of ours."""
    assert accepted_encoding(header) in {"gzip", "zstd", "identity"}
    assert exposition(header).format is ExpositionFormat.TEXT
    assert body_format(header) is BodyFormat.TEXT
