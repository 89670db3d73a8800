"""How much may be stored in all, and who is refused when there is no more room?"""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pushgateway.errors import InconsistentPushError, LimitError
from pushgateway.limits import Limits
from pushgateway.model import Delete, MetricType, Push, Refusal, Totals, Wipe
from pushgateway.storage import Store, Ticket
from tests.contract.conftest import Database
from tests.contract.values import family, key, push

A, B = key("a"), key("b")
TWO: tuple[dict[str, str], ...] = ({"l": "1"}, {"l": "2"})


def counted(store: Store) -> Totals:
    """Count what is stored, one by one; a family's bodies of these tests say how many series it has."""
    groups = store.groups()
    families = [block for contents in groups for block in contents.families]
    return Totals(len(groups), len(families), sum(block.body.count(b"('job'") for block in families))


def counts(store: Store) -> Totals:
    """Return the totals without the bytes, of which test_store_listing knows."""
    return store.totals()._replace(bytes=0)


def test_totals(store: Store) -> None:
    """Groups, families and series of all groups are counted; a histogram is one series, and a failed group a group."""
    assert counts(store) == Totals(0, 0, 0)
    store.apply(push(A, family("x", group=A, series=TWO), family("y", group=A)), None)
    store.apply(push(B, family("x", group=B)), None)
    store.apply(Refusal(key("c"), 1.0, b"{}", "why"), None)
    assert counts(store) == Totals(3, 3, 4) == counted(store)
    store.apply(push(A, family("x", group=A), replace=False), None)
    assert counts(store) == Totals(3, 3, 3)
    store.apply(push(A, family("y", group=A)), None)
    assert counts(store) == Totals(3, 2, 2)
    store.apply(Delete(A), None)
    store.apply(Delete(A), None)
    assert counts(store) == Totals(2, 1, 1)
    store.apply(Wipe(), None)
    assert counts(store) == Totals(0, 0, 0)


def test_totals_of_large_families(store: Store) -> None:
    """Families whose series are too many to stand in a row are counted when they come, shrink and go."""
    many = tuple({"l": str(number)} for number in range(1000))
    store.apply(push(A, family("x", group=A, series=many), family("y", group=A, series=many[:300])), Ticket())
    assert counts(store) == Totals(1, 2, 1300)
    store.apply(push(A, family("x", group=A, series=many[:200]), replace=False), Ticket())
    assert counts(store) == Totals(1, 2, 500)
    store.apply(push(A, family("x", group=A, series=many[:5]), replace=False), Ticket())
    assert counts(store) == Totals(1, 2, 305)
    store.apply(Delete(A), Ticket())
    assert counts(store) == Totals(0, 0, 0)


@pytest.mark.parametrize(
    ("limits", "change", "expected"),
    [
        (Limits(groups=1), push(B, family("z", group=B)), ("groups", 1, 2)),
        (Limits(groups=1), push(B), ("groups", 1, 2)),
        (Limits(families=2), push(B, family("z", group=B)), ("families", 2, 3)),
        (Limits(families=2), push(A, family("z", group=A), replace=False), ("families", 2, 3)),
        (Limits(series=3), push(B, family("z", group=B)), ("series", 3, 4)),
        (Limits(series=3), push(A, family("x", group=A, series=(*TWO, {})), replace=False), ("series", 3, 4)),
        (Limits(series=3), push(A, family("z", group=A, series=(*TWO, {}, {"m": "1"}))), ("series", 3, 4)),
        (Limits(series=3), push(B, family("z", group=B), checked=False), ("series", 3, 4)),
    ],
)
def test_a_push_that_would_exceed_a_limit(
    database: Database, limits: Limits, change: Push, expected: tuple[str, int, int]
) -> None:
    """It is refused, checked or not, by limit, allowed and what it would come to, and changes no family."""
    database.open().apply(push(A, family("x", group=A, series=TWO), family("y", group=A)), None)
    store = database.open(limits=limits)
    before = [(contents.group.key, contents.families) for contents in store.groups()]
    with pytest.raises(LimitError) as raised:
        store.apply(change, None)
    assert (raised.value.limit, raised.value.allowed, raised.value.seen) == expected
    after = [(contents.group.key, contents.families) for contents in store.groups()]
    assert [one for one in after if one[1]] == before
    assert len(after) == (1 if limits.groups == 1 or change.key == A else 2)
    assert counts(store) == counted(store)


def test_what_does_not_grow_is_never_refused(database: Database) -> None:
    """In a store that is far above its limits, groups are replaced by as much or less, and removed."""
    store = database.open()
    for group in (A, B):
        store.apply(push(group, family("x", group=group, series=TWO), family("y", group=group)), None)
    store = database.open(limits=Limits(groups=1, families=1, series=1))
    store.apply(push(A, family("x", group=A, series=TWO), family("y", group=A)), None)
    store.apply(push(A, family("x", group=A, series=TWO[:1]), replace=False), None)
    store.apply(push(A, family("z", group=A)), None)
    store.apply(push(A), None)
    store.apply(Refusal(A, 5.0, b"{}", "why"), None)
    store.apply(Delete(B), None)
    store.apply(Delete(A), None)
    assert counts(store) == Totals(0, 0, 0)
    store.apply(push(A, family("x", group=A)), None)


def test_no_limit(database: Database) -> None:
    """0 is no limit."""
    store = database.open(limits=Limits(groups=0, families=0, series=0))
    for number in range(20):
        group = key(str(number))
        store.apply(push(group, family("x", group=group)), None)
    assert counts(store) == Totals(20, 20, 20)


def test_refused_pushes_do_not_fill_the_store(database: Database) -> None:
    """Refused pushes into new groups create groups up to the limit, and after that none; known groups still fail."""
    store = database.open(limits=Limits(groups=3))
    store.apply(push(A, family("x", group=A)), None)
    for number in range(10):
        store.apply(Refusal(key(f"r{number}"), 5.0, b"{}", "why"), None)
        other = key(f"p{number}")
        with pytest.raises((InconsistentPushError, LimitError)):
            store.apply(push(other, family("x", MetricType.COUNTER, group=other)), None)
    assert store.totals().groups == 3
    store.apply(Refusal(A, 7.0, b"{}", "why"), None)
    failed = {contents.group.key: contents.group.failed_at_seconds for contents in store.groups()}
    assert failed[A.key] == 7.0
    assert len(failed) == 3


def test_of_two_writers_that_race_for_the_last_place_one_wins(database: Database) -> None:
    """Over all workers never more is stored than is allowed."""
    stores = [database.open(limits=Limits(groups=1000, series=50)) for _ in range(4)]
    taken: list[bool] = []

    def work(number: int) -> None:
        for at in range(25):
            group = key(f"g{number}-{at}")
            try:
                stores[number].apply(push(group, family("x", group=group)), Ticket())
                taken.append(True)
            except LimitError:
                taken.append(False)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken.count(True) == 50
    assert counts(stores[0]) == Totals(100, 50, 50)


KEYS = [key(job, **labels) for job in "ab" for labels in ({}, {"l": "1"})]


@st.composite
def histories(draw: st.DrawFn) -> list[Push | Delete | Refusal | Wipe]:
    """Make changes to a few groups, some with families that are too large for a row."""
    history: list[Push | Delete | Refusal | Wipe] = []
    for _ in range(draw(st.integers(1, 10))):
        group = draw(st.sampled_from(KEYS))
        match draw(st.sampled_from(("push",) * 6 + ("delete", "refusal", "wipe"))):
            case "push":
                names = draw(st.lists(st.sampled_from(("x", "y", "z")), unique=True, max_size=3))
                sizes = [draw(st.sampled_from((1, 2, 3, 200))) for _ in names]
                families = (
                    family(name, group=group, series=tuple({"s": str(at)} for at in range(size)))
                    for name, size in zip(names, sizes, strict=True)
                )
                history.append(push(group, *families, replace=draw(st.booleans()), checked=draw(st.booleans())))
            case "delete":
                history.append(Delete(group))
            case "refusal":
                history.append(Refusal(group, 1.0, b"{}", "why"))
            case _:
                history.append(Wipe())
    return history


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(), groups=st.integers(0, 4), families=st.integers(0, 8), series=st.integers(0, 300))
def test_totals_are_a_recount_and_limits_hold(
    database: Database, history: list[Push | Delete | Refusal | Wipe], groups: int, families: int, series: int
) -> None:
    """After any history the totals are what a recount finds, and nothing is beyond its limit."""
    store = database.open(limits=Limits(groups=groups, families=families, series=series))
    store.apply(Wipe(), None)
    for change in history:
        before = counted(store)
        try:
            store.apply(change, Ticket())
        except LimitError:
            assert counted(store)[1:] == before[1:]
        found = counted(store)
        assert counts(store) == found
        for limit, total in zip((groups, families, series), found[:3], strict=True):
            assert not limit or total <= limit
    store.close()
