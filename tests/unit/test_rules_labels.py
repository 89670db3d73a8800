"""Which labels does a pushed series end up with, and when are two series the same?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway import rules
from pushgateway.errors import LimitError
from pushgateway.formats import text
from pushgateway.model import GroupingKey, Histogram, Labels, MetricFamily, MetricType, Sample, Summary
from tests.unit import rules_strategies as values


def test_grouping_labels_replace_those_of_the_body_and_the_result_is_sorted() -> None:
    """A series gets every label of the key, over its own of that name, and its labels come out in name order."""
    pushed = values.family("x", MetricType.GAUGE, (("a", "body"), ("job", "body"), ("z", "1")))
    (labelled,) = rules.label([pushed], GroupingKey.of({"job": "key", "b": "2"}))
    assert labelled.metrics == (Sample((("a", "body"), ("b", "2"), ("instance", ""), ("job", "key"), ("z", "1")), 1.0),)


@pytest.mark.parametrize(
    ("body", "key", "expected"),
    [
        ((), {}, ""),
        ((("instance", "body"),), {}, "body"),
        ((("instance", ""),), {}, ""),
        ((), {"instance": "key"}, "key"),
        ((("instance", "body"),), {"instance": "key"}, "key"),
        ((("instance", "body"),), {"instance": ""}, "body"),
    ],
)
def test_instance_is_that_of_the_key_or_of_the_body_or_empty(body: Labels, key: dict[str, str], expected: str) -> None:
    """A series always has an instance, empty if nobody gave one, so that Prometheus does not attach the gateway's."""
    (labelled,) = rules.label([values.family("x", MetricType.GAUGE, body)], GroupingKey.of({**key, "job": "j"}))
    assert dict(labelled.metrics[0].labels)["instance"] == expected


def test_labelling_changes_nothing_but_labels() -> None:
    """Values, timestamps, buckets, help, unit, and the order of families and metrics stay as they were."""
    pushed = (
        MetricFamily("b", MetricType.SUMMARY, "help", (Summary((("q", "1"),), ((0.5, 2.0),), 3.0, 4, 5),), "s"),
        MetricFamily("a", MetricType.HISTOGRAM, "", (Histogram((), ((1.0, 2),), 3.0, 4, 5), Histogram((), (), 0.0, 0))),
        MetricFamily("c", MetricType.COUNTER, "", ()),
    )
    labelled = rules.label(pushed, GroupingKey.of({"job": "j"}))
    stripped = tuple(
        MetricFamily(
            new.name,
            new.type,
            new.help,
            tuple(
                metric._replace(labels=old_metric.labels)
                for metric, old_metric in zip(new.metrics, old.metrics, strict=True)
            ),
            new.unit,
        )
        for new, old in zip(labelled, pushed, strict=True)
    )
    assert stripped == pushed


def test_the_gateways_own_time_families_are_dropped() -> None:
    """A body cannot set push_time_seconds or push_failure_time_seconds, whatever type it gives them (Q5)."""
    pushed = [
        values.family("push_failure_time_seconds", MetricType.COUNTER, ()),
        values.family("push_time_seconds", MetricType.HISTOGRAM, ()),
        values.family("push_time_seconds_total", MetricType.COUNTER, ()),
    ]
    assert [family.name for family in rules.label(pushed, GroupingKey.of({"job": "j"}))] == ["push_time_seconds_total"]


def test_the_groups_own_series_have_its_labels_and_an_instance() -> None:
    """push_time_seconds carries the key's labels, and an empty instance if the key has none."""
    assert rules.group_labels(GroupingKey.of({"job": "j", "z": "1"})) == (("instance", ""), ("job", "j"), ("z", "1"))
    assert rules.group_labels(GroupingKey.of({"job": "j", "instance": "i"})) == (("instance", "i"), ("job", "j"))


@given(values.families, values.keys)
def test_the_size_of_a_push_is_what_its_labels_take_in_text(
    families: tuple[MetricFamily, ...], key: GroupingKey
) -> None:
    """What is held against the limit is the text of the group's labels, once a line that the body had."""
    lines = sum(len(text.render_metrics(one).splitlines()) for one in families)
    lines -= sum(isinstance(metric, Histogram) for one in families for metric in one.metrics)  # +Inf buckets
    # Braces count for nothing, and each label for a comma.
    size = lines * (len(text.render_labels(rules.group_labels(key))) - 1)
    rules.check_size(families, key, rendered_bytes=size)
    if size:
        with pytest.raises(LimitError) as caught:
            rules.check_size(families, key, rendered_bytes=size - 1)
        assert (caught.value.limit, caught.value.seen) == ("rendered-bytes", size)


def test_escapes_count_in_the_size_of_a_push() -> None:
    """A character that is escaped in text counts for both of its characters, one that is no ASCII for its bytes."""
    key = GroupingKey.of({"job": 'é"\\\n'})
    families = (values.family("x", MetricType.GAUGE, ()),)
    with pytest.raises(LimitError) as caught:
        rules.check_size(families, key, rendered_bytes=1)
    assert caught.value.seen == len(text.render_labels(rules.group_labels(key))) - 1


@given(values.families, values.keys)
def test_labelling_twice_is_labelling_once(families: tuple[MetricFamily, ...], key: GroupingKey) -> None:
    """A labelled push, pushed to the same group again, stays as it is."""
    once = rules.label(families, key)
    assert rules.label(once, key) == once


@given(values.families, values.keys)
def test_every_series_ends_up_with_the_labels_that_a_dict_would_hold(
    families: tuple[MetricFamily, ...], key: GroupingKey
) -> None:
    """The labels are those of an instance default, updated by the body, updated by the key."""
    for old, new in zip(families, rules.label(families, key), strict=True):
        for old_metric, new_metric in zip(old.metrics, new.metrics, strict=True):
            expected = {"instance": "", **dict(old_metric.labels), **dict(key.labels)}
            assert new_metric.labels == tuple(sorted(expected.items()))


def test_an_identity_has_no_empty_labels() -> None:
    """Two series that differ in empty labels alone have one identity."""
    assert rules.identity((("a", ""), ("b", "1"), ("instance", ""))) == (("b", "1"),)
    assert rules.identity(()) == ()
    family = values.family("x", MetricType.GAUGE, (("a", ""),), (("a", "1"),), ())
    assert rules.identities(family) == ((), (("a", "1"),), ())


def test_hashes_stay_the_same_for_ever() -> None:
    """Stores keep these hashes: another result would make every stored twin invisible."""
    series = [(), (("job", "j"),), (("a", "é"), ("job", "j")), (("a", "\0"),)]
    assert rules.hashes(series).hex() == "94f6d9cdd1ea824820abcd80bd22be8cf652d545d8a254fccf3ad1efc2fd20f8"


def test_hashes_are_one_after_the_other_in_the_order_of_the_series() -> None:
    """The n-th hash is that of the n-th identity alone."""
    series = [(("a", str(number)),) for number in range(5)]
    joined = rules.hashes(series)
    assert joined == b"".join(rules.hashes([one]) for one in series)
    assert len(joined) == 5 * rules.HASH_BYTES
    assert rules.hashes([]) == b""


def test_pushes_are_alike_that_differ_in_values_alone() -> None:
    """A name, type, help, unit, series or their number and order: each of them makes another likeness."""
    one, two = rules.hashes([(("job", "a"),)]), rules.hashes([(("job", "b"),)])
    x = ("x", MetricType.GAUGE, "help", "", True, one)
    y = ("y", MetricType.GAUGE, "help", "", True, two)
    others = [
        [("z", *x[1:]), y],
        [("x", MetricType.COUNTER, *x[2:]), y],
        [(*x[:2], "", *x[3:]), y],
        [(*x[:3], "seconds", *x[4:]), y],
        [(*x[:4], False, one), y],
        [(*x[:5], two), y],
        [(*x[:5], one + two), (*y[:5], b"")],
        [x],
        [y, x],
        [],
    ]
    found = [rules.likeness(families) for families in others]
    assert rules.likeness([x, y]) == rules.likeness(iter([x, y]))
    assert len({rules.likeness([x, y]), *found}) == len(others) + 1


nasty_values = st.text(st.sampled_from("\0a1:é"), max_size=5)
nasty_identities = st.dictionaries(st.sampled_from(["a", "b", "a1"]), nasty_values, max_size=3).map(
    lambda labels: rules.identity(tuple(sorted(labels.items())))
)


@given(nasty_identities, nasty_identities)
def test_different_identities_have_different_hashes(one: Labels, other: Labels) -> None:
    """What is hashed tells any two identities apart, even if values hold the separator."""
    assert (rules.hashes([one]) == rules.hashes([other])) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((("a", "1\0b\0002"),), (("a", "1"), ("b", "2"))),
        ((("a", "\0"),), (("a", "1:\0"),)),
        ((("a", "1\0b"),), (("a", "1"), ("b", ""))),
    ],
)
def test_a_value_that_looks_like_two_labels_has_a_hash_of_its_own(one: Labels, other: Labels) -> None:
    """A NUL inside a value never passes for the joint between labels."""
    assert rules.hashes([one]) != rules.hashes([other])
