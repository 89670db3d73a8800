"""Where could a series of a push already be stored, under another group?"""

from __future__ import annotations

import json
from collections.abc import Mapping

from hypothesis import example, given
from hypothesis import strategies as st

from pushgateway import rules
from pushgateway.model import GroupingKey, Labels, MetricFamily, MetricType, Push, StoredFamily
from tests.unit import rules_strategies as values


def push(families: tuple[MetricFamily, ...], key: GroupingKey) -> Push:
    """Make ready what was parsed, as far as stores look for twins."""
    stored = []
    for family in rules.label(families, key):
        identities = rules.identities(family)
        stored.append(
            StoredFamily(family.name, family.type, "", b"", b"", identities, rules.hashes(identities), len(identities))
        )
    return Push(key, tuple(stored), replace=False, received_at_seconds=0.0, series=b"")


def gauges(**series: list[Labels]) -> tuple[MetricFamily, ...]:
    return tuple(values.family(name, MetricType.GAUGE, *labels) for name, labels in series.items())


def key(**labels: str) -> GroupingKey:
    return GroupingKey.of({"job": "j", **labels})


def members(*identities: Labels) -> frozenset[bytes]:
    return frozenset(rules.hashes([one]) for one in identities)


def test_a_series_names_the_group_of_its_labels() -> None:
    """Cut down to a shape's names, a series is the key of the only group of that shape that could hold it."""
    one, two, three = ((("a", str(number)), ("b", "1"), ("job", "j")) for number in (1, 2, 3))
    pushed = push(gauges(x=[one[:1], two[:1]], y=[three[:1]]), key(b="1"))
    assert rules.project(pushed, ("a", "job")) == {
        key(a="1").key: {"x": members(one)},
        key(a="2").key: {"x": members(two)},
        key(a="3").key: {"y": members(three)},
    }


def test_a_shape_inside_the_pushs_own_names_one_group() -> None:
    """Every series has all labels of the key, and so all of a smaller key."""
    pushed = push(gauges(x=[(), (("a", "1"),)], y=[()]), key(b="1", c="2"))
    plain = (("b", "1"), ("c", "2"), ("job", "j"))
    found = {"x": members(plain, (("a", "1"), *plain)), "y": members(plain)}
    assert rules.project(pushed, ("job",)) == {key().key: found}
    assert rules.project(pushed, ("c", "job")) == {key(c="2").key: found}


def test_series_without_a_label_of_the_shape_name_no_group() -> None:
    """A missing or empty label cannot be part of a key."""
    pushed = push(gauges(x=[(), (("a", ""),), (("a", "1"),)], y=[]), key())
    assert rules.project(pushed, ("a", "job")) == {key(a="1").key: {"x": members((("a", "1"), ("job", "j")))}}
    assert rules.project(pushed, ("a", "job", "zone")) == {}


def test_the_pushs_own_group_is_never_named() -> None:
    """Groups of one shape differ in a label that all their series carry."""
    assert rules.project(push(gauges(x=[()]), key(a="1")), ("a", "job")) == {}


def test_nothing_pushed_names_nothing() -> None:
    """An empty push and a family without series have no twins."""
    assert rules.project(push((), key()), ("a", "job")) == {}
    assert rules.project(push(gauges(x=[]), key(a="1")), ("job",)) == {}


def overlap(one: Push, other: Push) -> dict[str, set[Labels]]:
    """Compare every series of one push with every series of another."""
    return {
        family.name: common
        for family in one.families
        for rival in other.families
        if family.name == rival.name and (common := set(family.identities) & set(rival.identities))
    }


@given(values.families, values.keys, st.lists(st.tuples(values.families, values.keys), max_size=4))
@example(gauges(x=[(("a", "1"),)]), key(b="1"), [(gauges(x=[(("b", "1"),)]), key(a="1"))])
def test_a_projection_finds_exactly_the_twins_that_a_comparison_of_everything_finds(
    families: tuple[MetricFamily, ...],
    own_key: GroupingKey,
    others: list[tuple[tuple[MetricFamily, ...], GroupingKey]],
) -> None:
    """A group has a hash that the projection on its shape says to look for just where both hold a series."""
    pushed = push(families, own_key)
    for other_families, other_key in others:
        stored = push(other_families, other_key)
        if stored.key == pushed.key:
            continue
        wanted = rules.project(pushed, other_key.shape).get(other_key.key, {})
        assert matches(wanted, stored) == {name: members(*common) for name, common in overlap(pushed, stored).items()}


def matches(wanted: Mapping[str, frozenset[bytes]], stored: Push) -> dict[str, frozenset[bytes]]:
    """Look hashes up in a group, as a store does."""
    found = {
        family.name: wanted.get(family.name, frozenset()) & members(*family.identities) for family in stored.families
    }
    return {name: common for name, common in found.items() if common}


@given(values.families, values.keys, values.keys)
def test_what_a_projection_names_is_of_the_shape_and_of_the_push(
    families: tuple[MetricFamily, ...], own_key: GroupingKey, other: GroupingKey
) -> None:
    """Every key has the shape asked for, is not the push's own, and comes with hashes of the push."""
    pushed = push(families, own_key)
    hashes = {family.name: members(*family.identities) for family in pushed.families}
    for found_key, found in rules.project(pushed, other.shape).items():
        labels = dict(json.loads(found_key))
        assert tuple(sorted(labels)) == other.shape
        assert found_key != own_key.key
        assert all(found[name] <= hashes[name] for name in found)
