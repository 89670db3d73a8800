import re

import pytest

from pushgateway import names


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
