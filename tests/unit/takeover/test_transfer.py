"""Do groups arrive as they were, and do those that cannot leave the store as it was?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pushgateway.limits import Limits
from pushgateway.model import GroupingKey, MetricFamily, MetricType, Sample
from pushgateway.own_families import TYPES
from pushgateway.storage import StatusBoard, Store, open_store, prepare_store
from pushgateway.takeover import HeldGroup, Outcome, Transfer, compare, stored_groups


def key(job: str = "a", **labels: str) -> GroupingKey:
    return GroupingKey.of({"job": job, **labels})


def gauge(name: str = "x", value: float = 1.0, type: MetricType = MetricType.GAUGE) -> MetricFamily:
    return MetricFamily(name, type, "h", (Sample((), value),))


def held(
    *families: MetricFamily, group: GroupingKey | None = None, pushed: float = 5.0, failed: float = 0.0
) -> HeldGroup:
    """Make a group of the old gateway, its families pushed a second before."""
    found = key() if group is None else group
    return HeldGroup(found, pushed, failed, families, {family.name: pushed - 1 for family in families})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = open_store(prepare_store(f"sqlite:{tmp_path}/x.db").url, board=StatusBoard(), own=TYPES)
    yield store
    store.close()


def take(
    store: Store, *groups: HeldGroup, overwrite: bool = False, limits: Limits | None = None
) -> tuple[Sequence[Outcome], list[str]]:
    """Take groups over; return what came of each, and why some could not be taken."""
    transfer = Transfer(
        store,
        existing=[contents.group for contents in store.groups()],
        own=TYPES,
        limits=limits or Limits(),
        overwrite=overwrite,
    )
    return [transfer.take(group) for group in groups], [reason for _, reason in transfer.refused]


def times(store: Store) -> dict[str, tuple[float, float]]:
    """Return when each group was pushed and refused."""
    return {
        contents.group.key: (contents.group.pushed_at_seconds, contents.group.failed_at_seconds)
        for contents in store.groups()
    }


def test_a_group_arrives_with_its_times(store: Store) -> None:
    """Values, types, HELP and the times of the group, of each family and of the last failure are as they were."""
    group = held(gauge("x"), gauge("y", type=MetricType.COUNTER), pushed=5.0, failed=3.0)
    assert take(store, group) == ([Outcome.IMPORTED], [])
    [found] = stored_groups(store.groups())
    assert (found.pushed_at_seconds, found.failed_at_seconds) == (5.0, 3.0)
    assert found.family_times == {"x": 4.0, "y": 4.0}
    assert [(family.name, family.type, family.help) for family in found.families] == [
        ("x", MetricType.GAUGE, "h"),
        ("y", MetricType.COUNTER, "h"),
    ]
    assert found.families[0].metrics == (Sample((("instance", ""), ("job", "a")), 1.0),)


def test_again(store: Store) -> None:
    """What was imported already is left alone."""
    groups = held(gauge(), failed=3.0), held(group=key("b"), pushed=0.0, failed=2.0)
    assert take(store, *groups)[0] == [Outcome.IMPORTED] * 2
    before = stored_groups(store.groups())
    for overwrite in (False, True):
        assert take(store, *groups, overwrite=overwrite) == ([Outcome.UNCHANGED] * 2, [])
    assert stored_groups(store.groups()) == before


def test_the_newer_push_wins(store: Store) -> None:
    """A group that was pushed later to the store stays, unless it is to be overwritten; an older one is replaced."""
    take(store, held(gauge(value=1.0), gauge("y"), pushed=5.0))
    assert take(store, held(gauge(value=2.0), pushed=4.0, failed=4.5))[0] == [Outcome.NEWER_HERE]
    assert times(store) == {key().key: (5.0, 0.0)}
    assert take(store, held(gauge(value=3.0), pushed=6.0))[0] == [Outcome.IMPORTED]
    assert [family.name for family in stored_groups(store.groups())[0].families] == ["x"]
    assert take(store, held(gauge(value=2.0), pushed=4.0, failed=4.5), overwrite=True)[0] == [Outcome.IMPORTED]
    [group] = stored_groups(store.groups())
    assert times(store) == {key().key: (4.0, 4.5)}
    assert [metric.value for metric in group.families[0].metrics if isinstance(metric, Sample)] == [2.0]


def test_a_group_that_was_never_pushed(store: Store) -> None:
    """A group that only ever was refused arrives with its failure time, and takes nothing from one that was pushed."""
    assert take(store, held(pushed=0.0, failed=7.0))[0] == [Outcome.IMPORTED]
    assert times(store) == {key().key: (0.0, 7.0)}
    take(store, held(gauge(), pushed=8.0))
    take(store, held(pushed=0.0, failed=7.0), overwrite=True)
    assert len(stored_groups(store.groups())[0].families) == 1


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        (held(gauge("a-b")), "a-b"),
        (held(gauge("process_open_fds", type=MetricType.COUNTER)), "process_open_fds"),
        (held(gauge("h_count"), MetricFamily("h", MetricType.SUMMARY, "", ())), "h_count"),
        (held(gauge(), group=key(**{"a.b": "1"})), "improper label name"),
        (held(gauge(), group=key(__a="1")), "improper label name"),
        (HeldGroup(key(), 5.0, 0.0, problem="it is known to be wrong"), "it is known to be wrong"),
        (held(gauge(), group=key("j" * 100)), "value-bytes"),
    ],
)
def test_what_breaks_the_rules(store: Store, group: HeldGroup, reason: str) -> None:
    """What no push could store is refused with the reason of that push, and leaves nothing."""
    outcomes, reasons = take(store, group, limits=Limits(value_bytes=50))
    assert outcomes == [Outcome.REFUSED]
    assert reason in reasons[0]
    assert times(store) == {}


def test_what_conflicts_with_the_store(store: Store) -> None:
    """A group that conflicts with another one is refused, and its failure is not noted, since no job has met it."""
    take(store, held(gauge(), group=key("b")), held(gauge("y"), group=key("c"), pushed=1.0, failed=2.0))
    before = times(store)
    new = held(gauge(type=MetricType.COUNTER), group=key("new"))
    known = held(gauge(type=MetricType.COUNTER), group=key("c"))
    outcomes, reasons = take(store, new, known)
    assert outcomes == [Outcome.REFUSED] * 2
    assert all("COUNTER" in reason or "counter" in reason for reason in reasons)
    assert times(store) == before


def test_a_push_during_the_import(store: Store) -> None:
    """A push that comes between the look at the store and the write stays, also when the import is then refused."""
    take(store, held(gauge("y"), group=key("other"), pushed=1.0))
    transfer = Transfer(store, existing=(), own=TYPES, limits=Limits(), overwrite=False)
    take(store, held(gauge(value=2.0), pushed=9.0), held(gauge(value=2.0), group=key("b"), pushed=3.0))
    before = stored_groups(store.groups())
    assert transfer.take(held(gauge(value=1.0), pushed=5.0)) is Outcome.NEWER_HERE
    conflict = gauge("y", type=MetricType.COUNTER)
    assert transfer.take(held(conflict, group=key("b"), pushed=5.0)) is Outcome.REFUSED
    assert stored_groups(store.groups()) == before


def test_without_a_store() -> None:
    """Without a store only the rules are looked at."""
    transfer = Transfer(None, existing=(), own=TYPES, limits=Limits(), overwrite=False)
    assert transfer.take(held(gauge())) is Outcome.IMPORTED
    assert transfer.take(held(gauge("a-b"))) is Outcome.REFUSED


def test_what_was_taken_compares_equal(store: Store) -> None:
    """A comparison of what was and what is finds nothing, and every difference that is made."""
    old = [held(gauge(), gauge("y", float("nan")), failed=2.0), held(gauge("z", -0.0), group=key("b", l="é"))]
    take(store, *old)
    labelled = stored_groups(store.groups())
    found = compare(labelled, labelled)
    assert (found.groups, found.series, found.differences) == (2, 3, ())
