import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway import names
from pushgateway.names import Escaping
from tests.unit.name_strategies import odd_names

DATA = Path(__file__).parents[1] / "data" / "utf8"
ESCAPERS = {"metric": names.escape_metric_name, "label": names.escape_label_name}


def rows(file: str) -> list[Any]:
    """Read the rows of a table."""
    return [pytest.param(row, id=str(n)) for n, row in enumerate(tomllib.loads((DATA / file).read_text())["row"])]


@pytest.mark.parametrize("name", ["x", "X9", "_", "__x", ":x", "x:y", "a_total", "_1"])
def test_legacy_metric_names_are_accepted(name: str) -> None:
    """Letters, digits, underscores and colons make a metric name, and a digit may not be first."""
    assert names.is_metric_name(name)


@pytest.mark.parametrize("name", ["", "1x", "a.b", "a-b", "é", "x\n", " x", "x ", "٣x", "x٣"])
def test_other_metric_names_are_refused(name: str) -> None:
    """Empty names, other characters, digits of other scripts and a trailing line feed are no metric name."""
    assert not names.is_metric_name(name)


@pytest.mark.parametrize("name", ["x", "X9", "_", "_x", "job", "le"])
def test_legacy_label_names_are_accepted(name: str) -> None:
    """Letters, digits and underscores make a label name."""
    assert names.is_label_name(name)


@pytest.mark.parametrize("name", ["", "1x", "a:b", "a.b", "a-b", "é", "x\n", "__x", "__", "__name__"])
def test_other_and_reserved_label_names_are_refused(name: str) -> None:
    """Colons are for metric names only, and names with two leading underscores belong to Prometheus."""
    assert not names.is_label_name(name)


def test_patterns_can_be_built_into_larger_ones() -> None:
    """The patterns have no groups and no anchors, so that a parser can compose them."""
    composed = re.compile(f"({names.METRIC_NAME_RE})/({names.LABEL_NAME_RE})")
    match = composed.search("in a:b/c here")
    assert match is not None
    assert match.groups() == ("a:b", "c")


def test_a_shown_name_is_cut_after_200_characters() -> None:
    """Names stand whole in messages unless nobody would read them to the end."""
    assert names.shown("x" * 200) == "x" * 200
    assert names.shown("x" * 201) == "x" * 200 + "..."


def test_a_shown_name_has_escapes_for_what_cannot_be_printed() -> None:
    """Line feeds and stray bytes neither break a log line nor an answer."""
    assert names.shown("a\nb\x7f é \udcff") == "a\\nb\\x7f é \\udcff"


@pytest.mark.parametrize("name", ["a.b", "1x", "é", " ", "a\nb", '"', "{}", "\u202eb", "😱", "x" * 1024])
def test_any_characters_are_accepted_where_they_are_allowed(name: str) -> None:
    """With UTF-8 names all characters are fine, and without only those of the legacy grammar."""
    assert names.is_metric_name(name, utf8=True)
    assert names.is_label_name(name, utf8=True)
    assert not names.is_label_name(name + ".")
    assert not names.is_metric_name(name + ".")


@pytest.mark.parametrize("name", ["", "a\0", "\0", "a\udcff", "\ud800"])
def test_no_name_is_empty_or_has_nul_or_what_is_not_utf8(name: str) -> None:
    """Nothing allows an empty name, a NUL or a surrogate."""
    assert not names.is_metric_name(name, utf8=True)
    assert not names.is_label_name(name, utf8=True)


@pytest.mark.parametrize("name", ["__", "__a", "__a.b", "__é", "__name__"])
def test_reserved_names_stay_reserved(name: str) -> None:
    """No label of any characters may begin with two underscores; a metric may."""
    assert not names.is_label_name(name, utf8=True)
    assert names.is_metric_name(name, utf8=True)


@given(odd_names)
def test_a_legacy_label_name_is_one_by_the_grammar(name: str) -> None:
    """The quick test says what the pattern says."""
    assert names.is_legacy_label_name(name) == bool(re.fullmatch(names.LABEL_NAME_RE, name))


@pytest.mark.parametrize("row", rows("escaping.toml"))
@pytest.mark.parametrize("kind", ["metric", "label"])
def test_names_are_escaped_as_the_schemes_say(row: dict[str, str], kind: str) -> None:
    """Each scheme writes each name as its table says, and ALLOW_UTF_8 leaves it."""
    if row.get("kind", kind) != kind:
        return
    name, escape = row["name"], ESCAPERS[kind]
    assert {scheme.value: escape(name, scheme) for scheme in Escaping} == {
        "allow-utf-8": name,
        "underscores": row["underscores"],
        "dots": row["dots"],
        "values": row["values"],
    }


@given(odd_names, st.sampled_from([scheme for scheme in Escaping if scheme is not Escaping.ALLOW_UTF_8]))
def test_an_escaped_name_is_legacy(name: str, escaping: Escaping) -> None:
    """Whatever a name is, every scheme makes a legacy one of it, which it leaves as it is then."""
    metric, label = names.escape_metric_name(name, escaping), names.escape_label_name(name, escaping)
    assert names.is_metric_name(metric)
    assert names.is_legacy_label_name(label)
    assert names.escape_metric_name(metric, escaping) == metric
    assert names.escape_label_name(label, escaping) == label


@pytest.mark.parametrize("row", rows("unescaping.toml"))
def test_names_in_urls_are_unescaped(row: dict[str, str]) -> None:
    """What could have come from a name is that name, and all else is left as it is."""
    assert names.unescape_name(row["written"]) == row.get("name", row["written"])


@given(odd_names)
def test_the_scheme_of_values_can_be_undone(name: str) -> None:
    """Escaped by value, a name that is not legacy comes back; written for a URL, every name."""
    if not names.is_metric_name(name):
        assert names.unescape_name(names.escape_metric_name(name, Escaping.VALUES)) == name
    if not names.is_legacy_label_name(name):
        assert names.unescape_name(names.escape_label_name(name, Escaping.VALUES)) == name
    assert names.unescape_name(names.escape_url_name(name)) == name
    assert re.fullmatch(names.LABEL_NAME_RE, names.escape_url_name(name))


@given(odd_names)
def test_unescaping_gives_characters(name: str) -> None:
    """Whatever a URL holds, what is read of it is text that UTF-8 can say."""
    names.unescape_name(name).encode()
