"""Does a store's version tell every change, whoever makes it?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pushgateway.errors import InconsistentPushError, LimitError, StoreUnreadableError
from pushgateway.limits import Limits
from pushgateway.model import Change, Delete, Form, MetricType, Refusal, Snapshot, Wipe
from pushgateway.storage import Store, Ticket
from pushgateway.storage.base import Version
from tests.contract.conftest import Database
from tests.contract.values import family, key, push

A, B = key("a"), key("b")

CHANGES: dict[str, Callable[[int], Change]] = {
    "a push": lambda at: push(A, family("x", group=A, value=str(at)), at=float(at)),
    "the same push at the same time": lambda _: push(A, family("x", group=A), at=1.0),
    "a push of another name": lambda at: push(A, family("y", group=A), replace=False, at=float(at)),
    "a push that stores nothing": lambda at: push(A, replace=False, at=float(at)),
    "a push to another group": lambda at: push(B, family("x", group=B), at=float(at)),
    "an unchecked push that conflicts": lambda at: push(
        B, family("x", MetricType.COUNTER, group=B), at=float(at), checked=False
    ),
    "a large push": lambda at: push(B, family("z", group=B, padding=100_000), at=float(at)),
    "a refusal": lambda at: Refusal(A, float(at), b"{}", "why"),
    "a refusal that makes a group": lambda at: Refusal(key(f"failed{at}"), float(at), b"{}", "why"),
    "a push that is refused": lambda at: push(B, family("x", MetricType.COUNTER, group=B), at=float(at)),
    "a deletion": lambda _: Delete(A),
    "a deletion of another group": lambda _: Delete(B),
    "a wipe": lambda _: Wipe(),
}


def apply(store: Store, change: Change) -> None:
    with suppress(InconsistentPushError):
        store.apply(change, Ticket())


def whole(store: Store) -> tuple[Snapshot, Snapshot]:
    return store.families(Form.TEXT), store.families(Form.METRICS, legacy_only=True)


def test_the_version_stays_while_nothing_changes(store: Store) -> None:
    """However often a store is asked and read, it is the same version, and not unknown."""
    apply(store, CHANGES["a push"](1))
    version = store.version()
    assert version is not None
    whole(store)
    store.groups()
    store.ping()
    assert store.version() == version


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("writer", ["this store", "another"])
def test_every_change_makes_another_version(database: Database, what: str, writer: str) -> None:
    """As soon as a change has returned every store has another version, also the one that has made the change."""
    reader = database.open()
    changing = reader if writer == "this store" else database.open()
    for at in (1, 2):
        apply(changing, CHANGES["a push"](at))
        apply(changing, CHANGES["a push to another group"](at))
    before = reader.version()
    apply(changing, CHANGES[what](3))
    assert reader.version() != before


def test_a_refused_push_makes_another_version(database: Database) -> None:
    """A limit that refuses a push sets the failure time, which scrapes show."""
    store = database.open(limits=Limits(series=1))
    store.apply(push(A, family("x", group=A)), Ticket())
    before = store.version()
    with pytest.raises(LimitError):
        store.apply(push(A, family("x", group=A, series=({"l": "1"}, {"l": "2"})), at=2.0), Ticket())
    assert store.version() != before


def test_a_closed_store_has_no_version(database: Database) -> None:
    """Nothing that was made before is taken for what is stored when the store cannot be read."""
    store = database.open()
    store.close()
    with pytest.raises(StoreUnreadableError):
        store.version()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), st.integers(0, 2)), min_size=1, max_size=12))
def test_equal_versions_are_equal_states(database: Database, history: list[tuple[str, int]]) -> None:
    """Whatever three stores do to one database, what any of them read under a version is what it reads under it now."""
    stores = [database.open() for _ in range(3)]
    stores[0].apply(Wipe(), Ticket())
    seen: list[dict[Version, tuple[Snapshot, Snapshot]]] = [{}, {}, {}]
    for at, (what, number) in enumerate(history):
        apply(stores[number], CHANGES[what](at + 1))
        for store, known in zip(stores, seen, strict=True):
            version = store.version()
            found = whole(store)
            assert version is not None
            assert known.setdefault(version, found) == found
    for store in stores:
        store.close()
