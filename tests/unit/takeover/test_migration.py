"""Does a store arrive in another one whole, however often, and is every difference between two found?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pushgateway.errors import StoreUnwritableError
from pushgateway.model import (
    Change,
    Delete,
    FamilyBlock,
    Form,
    GroupingKey,
    Histogram,
    Labels,
    MetricFamily,
    MetricType,
    NativeBuckets,
    NativeHistogram,
    Push,
    Refusal,
    Sample,
    Summary,
)
from pushgateway.own_families import TYPES
from pushgateway.preparation import prepare_push
from pushgateway.storage import StatusBoard, Store, Ticket, open_store, prepare_store
from pushgateway.takeover import Migration, Outcome, compare_stores


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Two empty stores."""
    with ExitStack() as stack:
        found = []
        for name in ("old", "new"):
            store = open_store(prepare_store(f"sqlite:{tmp_path}/{name}.db").url, board=StatusBoard(), own=TYPES)
            stack.callback(store.close)
            found.append(store)
        yield found[0], found[1]


def key(job: str, **labels: str) -> GroupingKey:
    return GroupingKey.of({"job": job, **labels})


def family(
    name: str = "x", type: MetricType = MetricType.GAUGE, *, value: float = 1.0, labels: Labels = (), unit: str = ""
) -> MetricFamily:
    metric = Summary(labels, (), value, 1) if type is MetricType.SUMMARY else Sample(labels, value)
    return MetricFamily(name, type, "help", (metric,), unit)


def put(store: Store, job: str, *families: MetricFamily, at: float, replace: bool = True, checked: bool = True) -> None:
    push = prepare_push(
        families,
        key(job),
        replace=replace,
        received_at_seconds=at,
        rendered_bytes=10**6,
        own=TYPES,
        checked=checked,
        utf8_names=True,
    )
    store.apply(push, Ticket())


def refuse(store: Store, job: str, at: float, reason: str) -> None:
    store.apply(Refusal(key(job), at, f'{{instance="",job="{job}"}}'.encode(), reason), Ticket())


def migrate(old: Store, new: Store) -> tuple[dict[Outcome, int], list[str]]:
    """Migrate; return what came of the groups, and which differences are left."""
    migration = Migration(old.groups(), new, own=TYPES)
    outcomes = Counter(migration.run())
    return dict(outcomes), list(compare_stores(old, new).found.differences)


def fill(store: Store) -> None:
    """Store what there is of kinds of families, names and groups."""
    native = NativeHistogram(3, 0.5, 1, positive=NativeBuckets(((0, 2),), (1, 1)))
    histogram = Histogram((), ((1.0, 2),), 3.0, 4, native=native)
    put(
        store, "a", MetricFamily("h", MetricType.HISTOGRAM, "", (histogram,)), family("t_seconds", unit="seconds"), at=1
    )
    put(store, "a", family("later", MetricType.COUNTER), at=2.25, replace=False)
    put(store, "b", family("my.metric", labels=(("m.x", "é"),)), at=3)
    put(store, "empty", at=4)
    refuse(store, "b", 5.5, "no such luck")
    refuse(store, "never", 6.5, "never any")


def test_everything_is_kept(stores: tuple[Store, Store]) -> None:
    """What the stores return is equal, down to bytes, times of each family, units and reasons of failures."""
    old, new = stores
    fill(old)
    assert migrate(old, new) == ({Outcome.IMPORTED: 4}, [])
    assert [contents.group for contents in new.groups()] == [contents.group for contents in old.groups()]
    assert [block._replace(typed_at_seconds=0) for block in blocks(new)] == [
        block._replace(typed_at_seconds=0) for block in blocks(old)
    ]
    for form in Form:
        assert new.families(form) == old.families(form)
    assert new.totals() == old.totals()


def test_again(stores: tuple[Store, Store]) -> None:
    """A second migration writes nothing, and a later one brings what was pushed and refused meanwhile, and no more."""
    old, new = stores
    fill(old)
    migrate(old, new)
    assert migrate(old, Failing(new)) == ({Outcome.UNCHANGED: 4}, [])
    put(old, "a", family("x"), at=7)
    refuse(old, "b", 8, "again")
    assert migrate(old, new) == ({Outcome.IMPORTED: 2, Outcome.UNCHANGED: 2}, [])


class Failing:
    """A store that takes so many changes, and then fails."""

    def __init__(self, store: Store, changes: int = 0) -> None:
        self._store = store
        self._left = changes

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def apply(self, change: Change, ticket: Ticket | None) -> None:
        """Apply a change if there is one left."""
        if self._left == 0:
            raise StoreUnwritableError("the database is gone")
        self._left -= 1
        self._store.apply(change, ticket)


def contradict(store: Store) -> None:
    """Store what conflicts, as a gateway that does not check: the family whose type is older is pushed last."""
    put(store, "a", family("x"), at=1)
    put(store, "z", family("x", MetricType.COUNTER), family("y"), at=2, checked=False)
    put(store, "a", family("x", value=3.0), at=3, checked=False)
    put(store, "s", family("s", MetricType.SUMMARY), at=4, checked=False)
    put(store, "c", family("s_sum"), at=5, checked=False)
    store.apply(Delete(key("s")), Ticket())


@pytest.mark.parametrize("filled", [fill, contradict])
def test_one_that_was_cut_short(filled: Callable[[Store], None], stores: tuple[Store, Store]) -> None:
    """Wherever a migration ends for want of the database, the next one completes it."""
    old, new = stores
    filled(old)
    for _ in range(3):
        with pytest.raises(StoreUnwritableError):
            Counter(Migration(old.groups(), Failing(new, 1), own=TYPES).run())
        assert compare_stores(old, new).found.differences
    assert migrate(old, new)[1] == []


def test_contradictions_are_kept(stores: tuple[Store, Store]) -> None:
    """What an unchecked push brought into conflict is suspect in the new store too; a scrape shows the same of it."""
    old, new = stores
    contradict(old)
    assert migrate(old, new)[1] == []
    for mine, theirs in zip(blocks(new), blocks(old), strict=True):
        # What it conflicted with is gone: nothing is left to be suspected of.
        assert mine == theirs._replace(suspect=theirs.suspect and theirs.name != "s_sum")
    assert any(block.suspect for block in blocks(new))
    assert migrate(old, Failing(new)) == ({Outcome.UNCHANGED: 3}, [])


def blocks(store: Store) -> list[FamilyBlock]:
    return [block for contents in store.groups() for block in contents.families]


def test_what_is_newer_there_stays(stores: tuple[Store, Store]) -> None:
    """A group that was pushed to the new store later is left alone and not compared; others of its stay."""
    old, new = stores
    put(old, "a", family(value=1.0), at=1)
    put(old, "b", family(value=1.0), at=1)
    refuse(old, "b", 5, "old")
    put(new, "a", family(value=2.0), at=2)
    put(new, "b", family(value=2.0), at=2)
    put(new, "mine", family("y"), at=3)
    migration = Migration(old.groups(), new, own=TYPES)
    assert list(migration.run()) == [Outcome.NEWER_HERE] * 2
    compared = compare_stores(old, new)
    assert (compared.newer, compared.found.groups, compared.found.differences) == (2, 0, ())
    assert [block.body for block in blocks(new) if block.name == "x"] != [block.body for block in blocks(old)]
    assert [contents.group.failure_reason for contents in new.groups()] == ["", "old", ""]


def test_what_an_earlier_migration_left_is_no_obstacle(stores: tuple[Store, Store]) -> None:
    """Of two groups that exchange types of a name, the one that is refused at first is tried again."""
    old, new = stores
    put(old, "b", family("x"), at=1)
    migrate(old, new)
    put(old, "b", family("y"), at=2)
    put(old, "a", family("x", MetricType.COUNTER), at=3)
    put(old, "b", family("z"), at=4)
    assert migrate(old, new) == ({Outcome.IMPORTED: 2}, [])


def test_what_conflicts_is_refused_and_said(stores: tuple[Store, Store]) -> None:
    """A group that contradicts what the new store has of others leaves it as it was, and is a difference."""
    old, new = stores
    put(old, "a", family("x"), at=2)
    put(new, "b", family("x", MetricType.COUNTER), at=1)
    before = new.groups()
    migration = Migration(old.groups(), new, own=TYPES)
    assert list(migration.run()) == [Outcome.REFUSED]
    [(refused, reason)] = migration.refused
    assert (refused, "b" in reason) == (key("a"), True)
    assert new.groups() == before
    assert compare_stores(old, new).found.differences == ('{job="a"} is only in the old one',)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda store: put(store, "a", family(unit="s"), at=1), "unit of x"),
        (lambda store: refuse(store, "a", 2, "other"), "the reason of the last failure"),
        (lambda store: store.apply(replaced(family_times={"x": 9.0}), Ticket()), "when x of"),
        (lambda store: store.apply(replaced(text=b"other 1\n"), Ticket()), "has the line other 1"),
    ],
)
def test_differences_are_found(change: Callable[[Store], None], words: str, stores: tuple[Store, Store]) -> None:
    """What differs in something that no list of groups tells, or in nothing but what was rendered, is found."""
    for store in stores:
        put(store, "a", family(), at=1)
        refuse(store, "a", 2, "one")
    assert compare_stores(*stores).found.differences == ()
    change(stores[1])
    assert words in " ".join(compare_stores(*stores).found.differences)


def replaced(*, family_times: dict[str, float] | None = None, text: bytes = b"") -> Push:
    """Make the push of `x` anew, with another time of the family, or another text."""
    push = prepare_push([family()], key("a"), replace=True, received_at_seconds=1, rendered_bytes=10**6, own=TYPES)
    changed = [one._replace(text=text or one.text) for one in push.families]
    return push._replace(families=tuple(changed), family_times=family_times)
