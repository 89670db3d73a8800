"""Do names come out legacy and different, whatever they were?"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway import rules
from pushgateway.model import GroupingKey, Labels, MetricFamily, MetricType
from pushgateway.names import Escaping, escape_metric_name, is_label_name, is_legacy_label_name, is_metric_name
from tests.unit import rules_strategies as values
from tests.unit.name_strategies import near_names, odd_names

GAUGE, HISTOGRAM, SUMMARY = MetricType.GAUGE, MetricType.HISTOGRAM, MetricType.SUMMARY
UNDERSCORES, DOTS, VALUES = Escaping.UNDERSCORES, Escaping.DOTS, Escaping.VALUES

escapings = st.sampled_from([UNDERSCORES, DOTS, VALUES])
types = st.sampled_from(MetricType)
label_names = (near_names | odd_names).filter(lambda name: is_label_name(name, utf8=True))


def written(types: Mapping[str, MetricType], others: Mapping[str, MetricType], escaping: Escaping) -> dict[str, str]:
    """Return the name under which each family is exposed."""
    families = [values.family(name, type_, ()) for name, type_ in types.items()]
    return {
        before.name: after.name
        for before, after in zip(families, rules.escape(families, others, escaping), strict=True)
    }


def collisions(types: Collection[tuple[str, MetricType]]) -> list[tuple[str, str]]:
    """Return pairs of names that may not stand side by side."""
    return [
        (one, other)
        for (one, type_), (other, other_type) in itertools.permutations(types, 2)
        if one == other
        or any(
            one_rival == other and (of is None or other_type in of) for one_rival, of in rules.suffix_rivals(one, type_)
        )
    ]


@st.composite
def consistent(draw: st.DrawFn) -> tuple[dict[str, MetricType], dict[str, MetricType]]:
    """Families that may stand side by side in the store, and others with legacy names that may stand beside them."""
    stored: list[tuple[str, MetricType]] = []
    for name, type_ in draw(st.dictionaries(near_names | odd_names, types, max_size=8)).items():
        if not collisions([*stored, (name, type_)]):
            stored.append((name, type_))
    families, others = {}, {}
    for name, type_ in stored:
        (others if is_metric_name(name) and draw(st.booleans()) else families)[name] = type_
    return families, others


@pytest.mark.parametrize(
    ("escaping", "names", "expected"),
    [
        (UNDERSCORES, ["a.b"], ["a_b"]),
        (UNDERSCORES, ["a.b", "a_b"], ["U__a_2e_b", "a_b"]),
        (UNDERSCORES, ["a.b", "a-b"], ["U__a_2e_b", "U__a_2d_b"]),
        (UNDERSCORES, ["a.b", "a-b", "c.d"], ["U__a_2e_b", "U__a_2d_b", "c_d"]),
        (DOTS, ["a.b", "a-b", "a__b"], ["a_dot_b", "U__a_2d_b", "a__b"]),
        (VALUES, ["a.b", "a_b"], ["U__a_2e_b", "a_b"]),
        (VALUES, ["a.b", "U__a_2e_b"], ["U__a_2e_b_1", "U__a_2e_b"]),
        (UNDERSCORES, ["a.b", "a_b", "U__a_2e_b"], ["U__a_2e_b_1", "a_b", "U__a_2e_b"]),
        (UNDERSCORES, ["a.b", "a_b", "U__a_2e_b", "U__a_2e_b_1"], ["U__a_2e_b_2", "a_b", "U__a_2e_b", "U__a_2e_b_1"]),
        # What comes out as another name's last resort has to make room for it.
        (UNDERSCORES, ["a.b", "a_b", "U__a.2e_b"], ["U__a_2e_b", "a_b", "U__U____a_2e_2e__b"]),
    ],
)
def test_names_that_collide_are_written_by_value(escaping: Escaping, names: list[str], expected: list[str]) -> None:
    """A name is escaped as asked for where that is possible, else by value, else with a number; legacy ones stay."""
    assert list(written(dict.fromkeys(names, GAUGE), {}, escaping).values()) == expected


@pytest.mark.parametrize(
    ("families", "others", "expected"),
    [
        ({"h.x": HISTOGRAM, "h_x_count": GAUGE}, {}, {"h.x": "U__h_2e_x", "h_x_count": "h_x_count"}),
        ({"h.x": SUMMARY}, {"h_x_sum": GAUGE}, {"h.x": "U__h_2e_x"}),
        ({"h.x": SUMMARY}, {"h_x_bucket": GAUGE}, {"h.x": "h_x"}),
        ({"h.x_count": GAUGE}, {"h_x": HISTOGRAM}, {"h.x_count": "U__h_2e_x__count"}),
        ({"h.x_count": GAUGE}, {"h_x": GAUGE}, {"h.x_count": "h_x_count"}),
        ({"h.x_count": GAUGE, "h-x": HISTOGRAM}, {}, {"h.x_count": "U__h_2e_x__count", "h-x": "U__h_2d_x"}),
        ({"h.x": HISTOGRAM, "h_x_count": GAUGE, "U__h_2e_x_sum": GAUGE}, {}, {"h.x": "U__h_2e_x_1"}),
        ({"process.open.fds": GAUGE}, {"process_open_fds": GAUGE}, {"process.open.fds": "U__process_2e_open_2e_fds"}),
    ],
)
def test_names_collide_through_suffixes_and_with_others(
    families: dict[str, MetricType], others: dict[str, MetricType], expected: dict[str, str]
) -> None:
    """What the lines of histograms and summaries are named counts, and what is exposed beside."""
    assert written(families, others, UNDERSCORES).items() >= expected.items()


@given(consistent(), escapings)
def test_families_that_may_be_stored_may_be_scraped(
    stored: tuple[dict[str, MetricType], dict[str, MetricType]], escaping: Escaping
) -> None:
    """Names come out legacy and without a collision, in every scheme, and legacy ones as they were."""
    families, others = stored
    names = written(families, others, escaping)
    assert all(is_metric_name(name) for name in names.values())
    assert all(names[name] == name for name in names if is_metric_name(name))
    assert collisions([*((names[name], type_) for name, type_ in families.items()), *others.items()]) == []


@given(consistent(), escapings, st.randoms())
def test_the_order_of_families_does_not_matter(
    stored: tuple[dict[str, MetricType], dict[str, MetricType]], escaping: Escaping, random: object
) -> None:
    """The same names are written the same, in whatever order a worker meets them."""
    families, others = stored
    shuffled = list(families.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert written(dict(shuffled), others, escaping) == written(families, others, escaping)


@pytest.mark.parametrize(
    ("escaping", "names", "expected"),
    [
        (UNDERSCORES, {"a.b", "job"}, {"a.b": "a_b"}),
        (UNDERSCORES, {"a.b", "a_b"}, {"a.b": "U__a_2e_b"}),
        (UNDERSCORES, {"a.b", "a:b"}, {"a.b": "U__a_2e_b", "a:b": "U__a_3a_b"}),
        (UNDERSCORES, {"..name.."}, {"..name..": "U___2e__2e_name_2e__2e_"}),
        (DOTS, {"_a.b"}, {"_a.b": "U____a_2e_b"}),
        (VALUES, {"a.b", "U__a_2e_b"}, {"a.b": "U__a_2e_b_1"}),
        (UNDERSCORES, {"h.x", "h_x_count"}, {"h.x": "h_x"}),
        (UNDERSCORES, {"a", "b"}, {}),
        (UNDERSCORES, (), {}),
    ],
)
def test_labels_of_a_family_stay_different_and_are_never_reserved(
    escaping: Escaping, names: set[str], expected: dict[str, str]
) -> None:
    """Labels that would come out the same, or with two underscores in front, are written by value."""
    assert rules.escape_labels(names, escaping) == expected


@given(st.frozensets(label_names, max_size=8), escapings)
def test_any_labels_come_out_legacy_and_different(names: frozenset[str], escaping: Escaping) -> None:
    """No two label names of a family become one, and none reserved."""
    new = rules.escape_labels(names, escaping)
    assert new.keys() == {name for name in names if not is_legacy_label_name(name)}
    together = [new.get(name, name) for name in names]
    assert len(set(together)) == len(names)
    assert all(is_label_name(name) for name in together)


label_sets = st.dictionaries(label_names, st.sampled_from("12"), max_size=3).map(
    lambda labels: tuple(sorted(labels.items()))
)


@given(types, st.lists(label_sets, max_size=5, unique=True), escapings)
def test_no_series_is_lost(type: MetricType, series: list[Labels], escaping: Escaping) -> None:
    """Series that differ still do, in order, with the same values, sorted labels and all else that was told."""
    family = MetricFamily("x.y", type, "Help.", values.family("x.y", type, *series).metrics, "bytes")
    (new,) = rules.escape([family], {}, escaping)
    assert (new.type, new.help, new.unit, new.name) == (type, "Help.", "bytes", escape_metric_name("x.y", escaping))
    assert [metric[1:] for metric in new.metrics] == [metric[1:] for metric in family.metrics]
    assert len({metric.labels for metric in new.metrics}) == len(series)
    for before, after in zip(family.metrics, new.metrics, strict=True):
        assert list(after.labels) == sorted(after.labels)
        assert sorted(value for _, value in after.labels) == sorted(value for _, value in before.labels)
    assert rules.is_legacy(new)


def test_a_family_is_legacy_if_all_its_names_are() -> None:
    """One name of any series is enough to make a family one that has to be escaped."""
    plain, dotted = (("a", "1"),), (("a.b", "1"),)
    assert rules.is_legacy(values.family("x:y", GAUGE, plain, ()))
    assert not rules.is_legacy(values.family("x.y", GAUGE, plain))
    assert not rules.is_legacy(values.family("x", GAUGE, plain, dotted))
    assert GroupingKey.of({"job": "a", "b": "1"}).legacy
    assert not GroupingKey.of({"job": "a", "b.c": "1"}).legacy


def test_ten_thousand_names_that_collide_thrice_take_little_time() -> None:
    """Names chosen to collide in every way come out, too: each compared with each, they would take minutes."""
    names = [f"a.{n}" for n in range(10_000)]
    others = {escape_metric_name(name, UNDERSCORES): GAUGE for name in names}
    others |= {escape_metric_name(name, VALUES): GAUGE for name in names}
    others |= {f"{escape_metric_name('a.0', VALUES)}_{n}": GAUGE for n in range(1, 10_000)}
    new = written(dict.fromkeys(names, GAUGE), others, UNDERSCORES)
    assert new["a.0"] == "U__a_2e_0_10000"
    assert new["a.1"] == "U__a_2e_1_1"
