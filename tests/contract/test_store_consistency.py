"""Which pushes does a store refuse because of what it holds, and what becomes of them unchecked?"""

from __future__ import annotations

import itertools

import pytest

from pushgateway.errors import InconsistentPushError
from pushgateway.model import Delete, Form, GroupingKey, MetricType, Push
from pushgateway.storage import Store
from tests.contract.conftest import Database
from tests.contract.values import family, key, push

A, B = key("a"), key("b")
COUNTER, GAUGE, SUMMARY, HISTOGRAM, UNTYPED = (
    MetricType.COUNTER,
    MetricType.GAUGE,
    MetricType.SUMMARY,
    MetricType.HISTOGRAM,
    MetricType.UNTYPED,
)


def refused(store: Store, change: Push, *mentioned: str) -> None:
    """Assert that a push is refused with words, leaves all families alone, and stores its failure time and reason."""
    before = store.families(Form.METRICS)
    with pytest.raises(InconsistentPushError) as raised:
        store.apply(change, None)
    for word in mentioned:
        assert word in str(raised.value)
    after = store.families(Form.METRICS)
    assert (after.families, after.contested) == (before.families, before.contested)
    pushed_before = {group.key: group.pushed_at_seconds for group in before.groups}
    (group,) = (group for group in after.groups if group.key == change.key.key)
    assert group.pushed_at_seconds == pushed_before.get(group.key, 0.0)
    assert (group.failed_at_seconds, group.failure_reason) == (change.received_at_seconds, str(raised.value))


def one(group: GroupingKey, name: str, type: MetricType = GAUGE, at: float = 2.0, **labels: str) -> Push:
    """Make a push of one family with one series."""
    return push(group, family(name, type, group=group, series=(labels,)), at=at)


@pytest.mark.parametrize(("stored", "pushed"), list(itertools.permutations(MetricType, 2)))
def test_other_type_in_another_group(store: Store, stored: MetricType, pushed: MetricType) -> None:
    """A family that another group has with another type is refused, in a new and in an old group."""
    store.apply(one(A, "x", stored), None)
    refused(store, one(B, "x", pushed), '"x"', stored.name, pushed.name, '{job="a"}')
    store.apply(one(B, "y"), None)
    refused(store, one(B, "x", pushed))


def test_other_type_once_shared(store: Store) -> None:
    """A group may not change a type that it shares with another, whichever came first."""
    store.apply(one(A, "x"), None)
    store.apply(one(B, "x"), None)
    for group in (A, B):
        refused(store, one(group, "x", COUNTER))
    store.apply(Delete(B), None)
    store.apply(one(A, "x", COUNTER), None)


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize(
    ("stem_type", "suffix", "clashes"),
    [
        (HISTOGRAM, "_bucket", True),
        (HISTOGRAM, "_count", True),
        (HISTOGRAM, "_sum", True),
        (MetricType.GAUGE_HISTOGRAM, "_bucket", True),
        (SUMMARY, "_bucket", False),
        (SUMMARY, "_count", True),
        (SUMMARY, "_sum", True),
        (COUNTER, "_count", False),
        (UNTYPED, "_sum", False),
        (HISTOGRAM, "_total", False),
    ],
)
def test_suffixes(store: Store, stem_type: MetricType, suffix: str, *, clashes: bool, replace: bool) -> None:
    """A name that a stored histogram or summary claims is refused, and the other way round, in any other group."""
    for first, second in itertools.permutations((("h", stem_type), (f"h{suffix}", COUNTER))):
        store.apply(push(A, family(*first, group=A)), None)
        change = push(B, family(*second, group=B), replace=replace, at=2.0)
        if clashes:
            refused(store, change, '"h"', f'"h{suffix}"', '{job="a"}')
        else:
            store.apply(change, None)
        store.apply(Delete(A), None)
        store.apply(Delete(B), None)


def test_suffix_left_in_the_group(store: Store) -> None:
    """A merging push may not collide with what it leaves in its own group; a replacing one leaves nothing."""
    store.apply(push(A, family("h_count", COUNTER, group=A)), None)
    histogram = family("h", HISTOGRAM, group=A)
    refused(store, push(A, histogram, replace=False, at=2.0), "h_count")
    store.apply(push(A, histogram), None)
    refused(store, push(A, family("h_count", COUNTER, group=A), replace=False, at=2.0), '"h"')
    store.apply(push(A, family("h_count", COUNTER, group=A), family("h", COUNTER, group=A), replace=False), None)


def test_suffix_of_an_overwritten_type(store: Store) -> None:
    """A merging push that turns the histogram into something else in the same go frees its names."""
    store.apply(push(A, family("h", HISTOGRAM, group=A)), None)
    store.apply(push(A, family("h", GAUGE, group=A), family("h_sum", GAUGE, group=A), replace=False), None)
    refused(store, push(B, family("h", HISTOGRAM, group=B), at=2.0), "h_sum")


def test_own_families(database: Database) -> None:
    """The gateway's own families count as stored: their types and suffixes are kept free, their names may be shared."""
    store = database.open(own={"own_total": COUNTER, "own_seconds": HISTOGRAM, "own_seconds_x_count": GAUGE})
    store.apply(one(A, "own_total", COUNTER), None)
    refused(store, one(A, "own_total", GAUGE), "own_total", "COUNTER")
    refused(store, one(A, "own_seconds_sum", COUNTER), "own_seconds")
    refused(store, one(A, "own_seconds_x", SUMMARY), "own_seconds_x_count")
    store.apply(push(B, family("own_seconds_x", GAUGE, group=B)), None)


@pytest.mark.parametrize("replace", [True, False])
def test_twins(store: Store, *, replace: bool) -> None:
    """A series that a group with other label names holds already is refused, whichever group is more specific."""
    loose, tight = key("a"), key("a", l="1")
    for first, second in itertools.permutations((loose, tight)):
        labels = {"l": "1", "m": "2"}
        store.apply(push(first, family("x", group=first, series=({"o": "1"}, labels))), None)
        x = family("x", group=second, series=({"l": "1", "m": "3"}, labels))
        refused(store, push(second, x, replace=replace, at=2.0), '"x"', 'm="2"')
        x = family("x", group=second, series=({"l": "1", "m": "3"},))
        store.apply(push(second, x, replace=replace), None)
        store.apply(push(second, family("y", group=second, series=(labels,)), replace=replace), None)
        store.apply(Delete(loose), None)
        store.apply(Delete(tight), None)


def test_twins_by_empty_labels(store: Store) -> None:
    """An empty label is no label: it neither tells series apart nor makes a group of its own."""
    loose, tight = key("a"), key("a", l="1")
    store.apply(push(loose, family("x", group=loose, series=({"l": "1", "m": ""},))), None)
    refused(store, push(tight, family("x", group=tight, series=({},)), at=2.0), '"x"')
    assert key("a", z="") == key("a")


def test_no_twins_across_jobs_and_values(store: Store) -> None:
    """Groups that differ in the value of a common label never hold the same series."""
    for group in (key("a", l="1"), key("a", l="2"), key("b", l="1"), key("a", m="1"), key("a"), key("b")):
        store.apply(push(group, family("x", group=group, series=({"s": "1"},))), None)
    assert len(store.families(Form.TEXT).families[0].bodies) == 6


def test_twins_are_looked_for_in_every_shape(store: Store) -> None:
    """Each of many shapes of a job is looked at."""
    shapes = [
        key("a", **dict.fromkeys(names, "1")) for size in range(5) for names in itertools.combinations("bcde", size)
    ]
    for group in shapes:
        store.apply(push(group, family(f"x_{len(group.labels)}", group=group, series=({"own": group.key},))), None)
    for group in shapes:
        other = key("a", b="1", c="1", d="1", e="1", f="1")
        change = one(other, f"x_{len(group.labels)}", own=group.key)
        # The series of `other` has its labels b to f, those of the shapes lack f: no twins.
        store.apply(change, None)
    for group in shapes:
        target = key("a", own=group.key)
        missing = {name: "1" for name, _ in group.labels if name != "job"}
        refused(store, one(target, f"x_{len(group.labels)}", **missing), group.key.split('"')[1])


def test_replaced_series_are_free(store: Store) -> None:
    """Series that a push removed from their group may be pushed to another."""
    loose, tight = key("a"), key("a", l="1")
    store.apply(one(loose, "x", l="1"), None)
    refused(store, one(tight, "x"))
    store.apply(one(loose, "x", l="2"), None)
    store.apply(one(tight, "x"), None)
    refused(store, one(loose, "x", l="1"))


def test_all_findings_are_told(store: Store) -> None:
    """A refusal tells everything that it found, a reason each."""
    store.apply(push(A, family("x", COUNTER, group=A), family("h", HISTOGRAM, group=A)), None)
    with pytest.raises(InconsistentPushError) as raised:
        store.apply(push(B, family("x", GAUGE, group=B), family("h_sum", group=B)), None)
    assert len(raised.value.reasons) == 2


def test_refused_push_over_an_old_group(store: Store) -> None:
    """A refused push leaves the old group as it was, its push time too."""
    store.apply(one(A, "x", COUNTER), None)
    store.apply(one(B, "y", at=1.0), None)
    refused(store, push(B, family("x", GAUGE, group=B), family("z", group=B), at=9.0))


def test_unchecked(store: Store) -> None:
    """An unchecked push without conflicts is stored like any other."""
    store.apply(push(A, family("x", group=A), checked=False), None)
    store.apply(push(B, family("x", group=B), checked=False), None)
    snapshot = store.families(Form.TEXT)
    assert snapshot.contested == []
    assert len(snapshot.families[0].bodies) == 2


def suspects(store: Store) -> dict[tuple[str, str], bool]:
    return {(block.name, block.group): block.suspect for block in store.families(Form.TEXT).contested}


@pytest.mark.parametrize("replace", [True, False])
def test_unchecked_conflicts(store: Store, *, replace: bool) -> None:
    """An unchecked push that conflicts is stored as suspect, and all it could concern is contested."""
    store.apply(
        push(A, family("x", COUNTER, group=A), family("h", HISTOGRAM, group=A), family("y", group=A), at=1.0), None
    )
    change = push(
        B,
        family("x", GAUGE, group=B),
        family("h_count", group=B),
        family("z", group=B),
        at=2.0,
        replace=replace,
        checked=False,
    )
    for _ in range(2):
        store.apply(change, None)
        snapshot = store.families(Form.TEXT)
        assert [view.name for view in snapshot.families] == ["y", "z"]
        assert suspects(store) == {
            ("h", A.key): False,
            ("h_count", B.key): True,
            ("x", A.key): False,
            ("x", B.key): True,
        }
    x = next(block for block in snapshot.contested if block.name == "x" and block.group == B.key)
    assert x.body == family("x", GAUGE, group=B).metrics
    assert (x.type, x.pushed_at_seconds, x.typed_at_seconds) == (GAUGE, 2.0, 2.0)


def test_unchecked_twins(store: Store) -> None:
    """The family of an unchecked push that holds another group's series is suspect."""
    loose, tight = key("a"), key("a", l="1")
    store.apply(one(loose, "x", l="1"), None)
    store.apply(push(tight, family("x", group=tight), family("y", group=tight), checked=False), None)
    assert suspects(store) == {("x", loose.key): False, ("x", tight.key): True}


def test_unchecked_series_that_are_there_many_times(store: Store) -> None:
    """A push may have a series a thousand times; it counts as often, and a twin of any of its series is found."""
    copies = ({"l": "1", "n": "many"},) * 1000
    others = tuple([{"l": "1", "n": str(number)} for number in range(200)])
    loose = push(A, family("x", group=A, series=(*others, *copies)), checked=False)
    for _ in range(2):
        store.apply(loose._replace(contradictory=True), None)
        assert store.totals().series == 1200
    tight = key("a", l="1")
    for labels in (copies[0], *others[::40]):
        refused(store, one(tight, "x", **labels), f'n="{labels["n"]}"')
    store.apply(one(tight, "x", n="free"), None)
    store.apply(Delete(A), None)
    assert store.totals().series == 1


def test_unchecked_against_own(database: Database) -> None:
    """An unchecked push that conflicts with the gateway's own families is suspect."""
    store = database.open(own={"own": COUNTER})
    store.apply(push(A, family("own", GAUGE, group=A), checked=False), None)
    assert suspects(store) == {("own", A.key): True}


def test_checked_pushes_beside_suspects(store: Store) -> None:
    """A checked push is refused if it conflicts with a suspect or with what that conflicts with."""
    store.apply(one(A, "x", COUNTER), None)
    store.apply(push(B, family("x", GAUGE, group=B), checked=False), None)
    c = key("c")
    for type_ in (COUNTER, GAUGE, SUMMARY):
        refused(store, one(c, "x", type_), "x")
    refused(store, one(A, "x", COUNTER))
    store.apply(one(c, "y"), None)


def test_suspects_are_cleared(store: Store) -> None:
    """A family is no longer suspect once a push finds no conflict, or its group is gone."""
    store.apply(one(A, "x", COUNTER), None)
    store.apply(push(B, family("x", GAUGE, group=B), checked=False), None)
    store.apply(one(B, "x", COUNTER), None)
    assert suspects(store) == {}
    store.apply(push(B, family("x", GAUGE, group=B), checked=False), None)
    store.apply(Delete(B), None)
    assert suspects(store) == {}
    assert [view.name for view in store.families(Form.TEXT).families] == ["x"]
