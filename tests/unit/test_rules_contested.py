"""What is exposed of families that an unchecked push brought into conflict?"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pushgateway import rules
from pushgateway.errors import InconsistentPushError
from pushgateway.model import FamilyBlock, GroupingKey, Labels, MetricFamily, MetricType, Sample
from pushgateway.rules import Contested
from tests.unit import rules_strategies as values

GAUGE, COUNTER, HISTOGRAM, SUMMARY = MetricType.GAUGE, MetricType.COUNTER, MetricType.HISTOGRAM, MetricType.SUMMARY
A, B = (("a", "1"),), (("b", "1"),)


def contested(
    name: str,
    type: MetricType,
    *series: Labels,
    group: str = "g",
    typed_at: float = 1.0,
    pushed_at: float = 1.0,
    value: float = 1.0,
    help: str = "",
) -> Contested:
    """Make a decoded block; rules do not look at its body."""
    block = FamilyBlock(name, type, help, b"", group, pushed_at, typed_at, suspect=True)
    return Contested(block, tuple(values.metric(type, labels, value) for labels in series))


def test_without_conflicts_everything_is_exposed() -> None:
    """Families come out by name, their metrics by group and in pushed order, and nothing is left out."""
    blocks = [
        contested("y", GAUGE, A, group="2"),
        contested("x", GAUGE, B, A, group="2"),
        contested("x", GAUGE, (("c", "1"),), group="1"),
    ]
    families, left_out = rules.resolve(blocks, {})
    assert [(family.name, [metric.labels for metric in family.metrics]) for family in families] == [
        ("x", [(("c", "1"),), B, A]),
        ("y", [A]),
    ]
    assert left_out == 0


def test_nothing_resolves_to_nothing() -> None:
    """An empty state is not an error."""
    assert rules.resolve([], {}) == ((), 0)


def test_the_oldest_type_wins() -> None:
    """Whatever was pushed since, a family keeps the type it had first; series of other types are left out."""
    blocks = [
        contested("x", COUNTER, A, B, group="1", typed_at=2.0, pushed_at=9.0),
        contested("x", GAUGE, A, group="2", typed_at=1.0, pushed_at=1.0),
        contested("x", GAUGE, B, group="3", typed_at=3.0),
    ]
    (family,), left_out = rules.resolve(blocks, {})
    assert (family.type, len(family.metrics), left_out) == (GAUGE, 2, 2)


def test_types_of_one_age_are_decided_by_group() -> None:
    """Two types that came in the same instant: the first group's wins."""
    blocks = [contested("x", COUNTER, A, group="2"), contested("x", GAUGE, A, group="1")]
    assert rules.resolve(blocks, {}).families[0].type is GAUGE


def test_the_newest_push_of_a_series_wins() -> None:
    """Of twins in several groups the one pushed last is exposed, an empty label being no label."""
    blocks = [
        contested("x", GAUGE, A, B, group="1", pushed_at=1.0, value=1.0),
        contested("x", GAUGE, (*A, ("z", "")), group="2", pushed_at=3.0, value=3.0),
        contested("x", GAUGE, A, group="3", pushed_at=2.0, value=2.0),
    ]
    (family,), left_out = rules.resolve(blocks, {})
    assert family.metrics == (Sample(B, 1.0), Sample((*A, ("z", "")), 3.0))
    assert left_out == 2


def test_twins_of_one_age_are_decided_by_group() -> None:
    """Two pushes of the same instant: the last group's series wins."""
    blocks = [contested("x", GAUGE, A, group=group, value=float(group)) for group in ("2", "3", "1")]
    assert rules.resolve(blocks, {}).families[0].metrics == (Sample(A, 3.0),)


def test_the_last_of_a_series_in_one_block_wins() -> None:
    """A body that holds a series twice exposes the later line."""
    block = contested("x", GAUGE, A, A, value=1.0)
    block = block._replace(metrics=(Sample(A, 1.0), Sample(B, 2.0), Sample(A, 3.0)))
    assert rules.resolve([block], {}) == ((MetricFamily("x", GAUGE, "", (Sample(B, 2.0), Sample(A, 3.0))),), 1)


def test_the_older_of_two_colliding_names_wins() -> None:
    """A histogram and a gauge named like one of its lines are never exposed together."""
    for older, other in (("h", "h_sum"), ("h_sum", "h")):
        blocks = [
            contested(name, HISTOGRAM if name == "h" else GAUGE, A, B, typed_at=1.0 if name == older else 2.0)
            for name in (older, other)
        ]
        families, left_out = rules.resolve(blocks, {})
        assert ([family.name for family in families], left_out) == ([older], 2)


def test_a_family_that_is_left_out_pushes_no_other_out() -> None:
    """Of a chain of three collisions, the oldest and the one that collides only with the loser are exposed."""
    blocks = [
        contested("x", SUMMARY, A, typed_at=1.0),
        contested("x_sum", SUMMARY, A, typed_at=2.0),
        contested("x_sum_count", GAUGE, A, typed_at=3.0),
    ]
    families, left_out = rules.resolve(blocks, {})
    assert ([family.name for family in families], left_out) == (["x", "x_sum_count"], 1)


def test_the_gateways_own_families_win_over_all() -> None:
    """Another type of an own name, and names that collide with an own one, are left out; the same type merges."""
    blocks = [
        contested("own_a", COUNTER, A, typed_at=0.0),
        contested("own_b", GAUGE, A),
        contested("own_b", COUNTER, B, group="1", typed_at=0.0),
        contested("own_h_count", GAUGE, A, typed_at=0.0),
        contested("own", HISTOGRAM, A, typed_at=0.0),
    ]
    own = {"own_a": GAUGE, "own_b": GAUGE, "own_h": HISTOGRAM, "own_sum": GAUGE}
    families, left_out = rules.resolve(blocks, own)
    assert [(family.name, family.type) for family in families] == [("own_b", GAUGE)]
    assert left_out == 4


def test_help_is_that_of_the_newest_push_that_is_exposed() -> None:
    """A losing type has no say in the help text."""
    blocks = [
        contested("x", GAUGE, A, group="1", pushed_at=2.0, help="newer"),
        contested("x", GAUGE, B, group="2", pushed_at=1.0, help="older"),
        contested("x", COUNTER, B, group="3", pushed_at=3.0, typed_at=9.0, help="loser"),
    ]
    assert rules.resolve(blocks, {}).families[0].help == "newer"


blocks_lists = st.lists(
    st.builds(
        lambda name, type, series, group, typed_at, pushed_at: contested(
            name, type, *series, group=group, typed_at=typed_at, pushed_at=pushed_at
        ),
        values.family_names,
        st.sampled_from(MetricType),
        st.lists(values.body_labels, max_size=3),
        st.sampled_from("123"),
        st.sampled_from([1.0, 2.0]),
        st.sampled_from([1.0, 2.0]),
    ),
    max_size=8,
    unique_by=lambda one: (one.block.name, one.block.group),
)
own_families = st.dictionaries(values.family_names, st.sampled_from(MetricType), max_size=2)


@given(blocks_lists, own_families)
def test_what_is_exposed_is_always_consistent_and_everything_is_counted(
    blocks: list[Contested], own: dict[str, MetricType]
) -> None:
    """The result would pass the check of a push, holds only what was stored, and leaves nothing uncounted."""
    families, left_out = rules.resolve(blocks, own)
    try:
        rules.check(families, own)
    except InconsistentPushError as error:
        raise AssertionError(error.reasons) from error
    assert len({family.name for family in families}) == len(families)
    assert sum(len(family.metrics) for family in families) + left_out == sum(len(one.metrics) for one in blocks)
    for family in families:
        stored = [metric for one in blocks if one.block.name == family.name for metric in one.metrics]
        assert all(metric in stored for metric in family.metrics)


@given(blocks_lists, own_families, st.randoms(use_true_random=False))
def test_the_result_does_not_depend_on_the_order_of_the_blocks(
    blocks: list[Contested], own: dict[str, MetricType], random: Random
) -> None:
    """Every scrape of the same state shows the same."""
    shuffled: Sequence[Contested] = sorted(blocks, key=lambda _: random.random())
    assert rules.resolve(shuffled, own) == rules.resolve(blocks, own)


@given(values.families, values.keys)
def test_a_push_that_passes_the_check_is_exposed_whole(families: tuple[MetricFamily, ...], key: GroupingKey) -> None:
    """Where nothing conflicts nothing is left out."""
    labelled = rules.label(families, key)
    try:
        rules.check(labelled, {})
    except InconsistentPushError:
        return
    blocks = [
        Contested(FamilyBlock(one.name, one.type, one.help, b"", key.key, 1.0, 1.0, suspect=True), one.metrics)
        for one in labelled
    ]
    exposed = tuple(sorted(labelled, key=lambda family: family.name))
    assert rules.resolve(blocks, {}) == (exposed, 0)
