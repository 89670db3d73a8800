"""Does a store decide like a naive one that looks at everything stored?"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pushgateway.errors import InconsistentPushError
from pushgateway.model import Delete, Form, GroupingKey, Labels, MetricType, Push, StoredFamily, Totals, Wipe
from pushgateway.rules import suffix_rivals
from pushgateway.storage import Store
from tests.contract.conftest import Database
from tests.contract.values import family, key, push

KEYS = [key(job, **labels) for job in "ab" for labels in ({}, {"l": "1"}, {"l": "2"}, {"m": "1"}, {"l": "1", "m": "1"})]
NAMES = ["h", "h_count", "h_sum", "h_count_sum", "x"]
TYPES = [MetricType.COUNTER, MetricType.SUMMARY, MetricType.HISTOGRAM]
SERIES = st.dictionaries(st.sampled_from("lmn"), st.sampled_from(["", "1", "2"]), max_size=3)


def collides(name: str, type: MetricType, others: dict[str, MetricType]) -> bool:
    return any(
        rival in others and (types is None or others[rival] in types) for rival, types in suffix_rivals(name, type)
    )


class Naive:
    """All that is stored, in dictionaries; every check looks at all of it."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, StoredFamily]] = {}

    def apply(self, change: Push | Delete | Wipe) -> bool:
        """Apply a change; False if it was refused."""
        if isinstance(change, Wipe):
            self.groups = {}
            return True
        key = change.key.key
        after = dict(self.groups)
        if isinstance(change, Delete):
            after.pop(key, None)
        else:
            kept = {} if change.replace else after.get(key, {})
            after[key] = {**kept, **{one.name: one for one in change.families}}
        if isinstance(change, Push) and not self.scrapeable(after):
            self.groups.setdefault(key, {})
            return False
        self.groups = after
        return True

    def totals(self) -> Totals:
        """Count everything."""
        families = [one for group in self.groups.values() for one in group.values()]
        return Totals(len(self.groups), len(families), sum(len(one.identities) for one in families))

    @staticmethod
    def scrapeable(groups: dict[str, dict[str, StoredFamily]]) -> bool:
        """Return whether a state has one type a name, no colliding names, and each series once."""
        types: dict[str, MetricType] = {}
        seen: set[tuple[str, Labels]] = set()
        for families in groups.values():
            for one in families.values():
                if types.setdefault(one.name, one.type) is not one.type:
                    return False
                for labels in one.identities:
                    if (one.name, labels) in seen:
                        return False
                    seen.add((one.name, labels))
        return not any(collides(name, type_, types) for name, type_ in types.items())


@st.composite
def families(draw: st.DrawFn, group: GroupingKey) -> tuple[StoredFamily, ...]:
    """Make families that are consistent among themselves, as a store may expect."""
    types: dict[str, MetricType] = {}
    made = []
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3)):
        type_ = draw(st.sampled_from(TYPES))
        if collides(name, type_, types) or any(
            collides(other, other_type, {name: type_}) for other, other_type in types.items()
        ):
            continue
        types[name] = type_
        series = {
            family(name, group=group, series=(labels,)).identities: labels
            for labels in draw(st.lists(SERIES, min_size=1, max_size=3))
        }
        made.append(
            family(name, type_, group=group, series=tuple(series.values()), help=draw(st.sampled_from(["", "h"])))
        )
    return tuple(made)


@st.composite
def changes(draw: st.DrawFn) -> list[Push | Delete | Wipe]:
    """Make a history; time advances with each change."""
    history: list[Push | Delete | Wipe] = []
    for at in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(["push"] * 8 + ["delete", "wipe"]))
        group = draw(st.sampled_from(KEYS))
        if kind == "push":
            history.append(push(group, *draw(families(group)), replace=draw(st.booleans()), at=float(at + 1)))
        else:
            history.append(Delete(group) if kind == "delete" else Wipe())
    return history


@contextmanager
def opened(database: Database) -> Iterator[Store]:
    store = database.open()
    store.apply(Wipe(), None)
    yield store
    store.close()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=changes())
def test_decides_like_a_naive_store(database: Database, history: list[Push | Delete | Wipe]) -> None:
    """Whatever the history, the store refuses exactly what would make the whole unscrapeable, and holds the rest."""
    naive = Naive()
    with opened(database) as store:
        for change in history:
            try:
                store.apply(change, None)
                accepted = True
            except InconsistentPushError:
                accepted = False
            assert accepted == naive.apply(change), change
            assert store.totals()._replace(bytes=0) == naive.totals()
            found = {
                contents.group.key: {block.name: (block.type, block.help, block.body) for block in contents.families}
                for contents in store.groups()
            }
            assert found == {
                key: {one.name: (one.type, one.help, one.metrics) for one in families.values()}
                for key, families in naive.groups.items()
            }
        snapshot = store.families(Form.METRICS)
        assert snapshot.contested == []
        for view in snapshot.families:
            assert view.bodies == [
                families[view.name].metrics for _, families in sorted(naive.groups.items()) if view.name in families
            ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=changes(), unchecked=st.sets(st.integers(0, 11)))
def test_what_is_not_contested_can_be_scraped(
    database: Database, history: list[Push | Delete | Wipe], unchecked: set[int]
) -> None:
    """Whatever is pushed unchecked, the families that are not contested are consistent with all others."""
    with opened(database) as store:
        for number, change in enumerate(history):
            try:
                store.apply(
                    Push(
                        change.key,
                        change.families,
                        change.replace,
                        change.received_at_seconds,
                        change.series,
                        number not in unchecked,
                    )
                    if isinstance(change, Push)
                    else change,
                    None,
                )
            except InconsistentPushError:
                continue
        snapshot = store.families(Form.METRICS)
        everywhere = {(block.name, block.type) for block in snapshot.contested}
        contested = {name for name, _ in everywhere}
        types = {view.name: view.type for view in snapshot.families}
        assert contested.isdisjoint(types)
        for name, type_ in types.items():
            assert not collides(name, type_, types)
            for other, other_type in everywhere:
                assert not collides(name, type_, {other: other_type})
        series = [
            (view.name, labels)
            for view in snapshot.families
            for body in view.bodies
            for labels in ast.literal_eval(body.decode())[1]
        ]
        assert len(series) == len(set(series))
