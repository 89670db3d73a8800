"""What does each change leave behind, and what do reads return?"""

from __future__ import annotations

import math

import pytest

from pushgateway.errors import (
    InconsistentPushError,
    LimitError,
    OvertakenError,
    StoreUnreadableError,
    WouldBlockError,
)
from pushgateway.limits import Limits
from pushgateway.model import Change, Delete, Form, Group, MetricType, Refusal, Wipe
from pushgateway.storage import Store, Ticket
from tests.contract.conftest import Database
from tests.contract.values import family, key, push

A, B = key("a"), key("b")


def names(store: Store) -> list[str]:
    return [view.name for view in store.families(Form.TEXT).families]


def text(store: Store) -> str:
    return b"".join(body for view in store.families(Form.TEXT).families for body in view.bodies).decode()


def only_group(store: Store) -> Group:
    (group,) = store.families(Form.TEXT).groups
    return group


def test_empty(store: Store) -> None:
    """A new store holds nothing, and can be read."""
    store.ping()
    assert store.families(Form.TEXT) == ([], [], [], [])
    assert list(store.groups()) == []
    assert store.unwritable_reason() == ""


def test_push_is_read_back(store: Store) -> None:
    """A push can be read in either form as soon as it has returned."""
    x = family("x", MetricType.COUNTER, group=A, help="Things.")
    store.apply(push(A, x, at=7.5), None)
    snapshot = store.families(Form.TEXT)
    assert snapshot.families == [("x", MetricType.COUNTER, "Things.", [x.text], "")]
    assert store.families(Form.METRICS).families == [("x", MetricType.COUNTER, "Things.", [x.metrics], "")]
    assert snapshot.groups == [Group(A.key, b'{instance="",job="a"}', 7.5, 0.0, "")]
    assert snapshot.contested == []


def test_a_commit_can_be_read_before_it_is_flushed(store: Store) -> None:
    """What is committed is there for every read; refusals are raised, and a flush has nothing more to say."""
    store.commit(push(A, family("x", group=A), at=7.5), None)
    assert names(store) == ["x"]
    with pytest.raises(InconsistentPushError):
        store.commit(push(B, family("x", MetricType.COUNTER, group=B), at=8.5), Ticket())
    store.flush()
    assert [group.failed_at_seconds for group in store.families(Form.TEXT).groups] == [0.0, 8.5]


def test_times_of_families(store: Store) -> None:
    """A family whose own push time is given has that one, and the group that of the push; a later push replaces it."""
    x, y = family("x", group=A), family("y", group=A)
    store.apply(push(A, x, y, at=5.0)._replace(family_times={"x": 2.0}), None)
    (group,) = store.groups()
    assert group.group.pushed_at_seconds == 5.0
    assert [(block.pushed_at_seconds, block.typed_at_seconds) for block in group.families] == [(2.0, 2.0), (5.0, 5.0)]
    store.apply(push(A, x, replace=False, at=6.0), None)
    assert [block.pushed_at_seconds for block in store.groups()[0].families] == [6.0, 5.0]


def test_an_import_gives_way(store: Store) -> None:
    """What comes from another gateway does not replace what the group has got here later, unless it never gives way."""
    store.apply(push(A, family("x", group=A), at=5.0), None)
    imported = push(A, family("y", group=A), at=4.0)
    with pytest.raises(OvertakenError, match=r"later, at 5\.0"):
        store.apply(imported._replace(yields_after_seconds=4.0), None)
    (group,) = store.groups()
    assert (group.group.pushed_at_seconds, group.group.failed_at_seconds) == (5.0, 0.0)
    assert [block.name for block in group.families] == ["x"]
    for at_seconds in (5.0, math.inf):
        store.apply(imported._replace(yields_after_seconds=at_seconds), None)
        assert [block.name for block in store.groups()[0].families] == ["y"]


def test_an_import_that_is_refused_leaves_no_trace(store: Store) -> None:
    """A conflict of what comes from another gateway is no failure of the group's job, and makes no group."""
    store.apply(push(A, family("x", group=A), at=5.0), None)
    for group in (B, key("new")):
        conflicting = push(group, family("x", MetricType.COUNTER, group=group), at=6.0)
        with pytest.raises(InconsistentPushError):
            store.apply(conflicting._replace(yields_after_seconds=math.inf), None)
    assert [group.group for group in store.groups()] == [Group(A.key, b'{instance="",job="a"}', 5.0, 0.0, "")]
    assert store.totals().groups == 1


def test_groups_are_read_back(store: Store) -> None:
    """Groups are listed by key with their families by name, in canonical form."""
    store.apply(push(B, family("y", group=B), at=2.0), None)
    store.apply(push(A, family("y", group=A), family("x", MetricType.COUNTER, group=A, help="h"), at=1.0), None)
    first, second = store.groups()
    assert (first.group.key, second.group.key) == (A.key, B.key)
    assert [(block.name, block.type, block.help, block.group) for block in first.families] == [
        ("x", MetricType.COUNTER, "h", A.key),
        ("y", MetricType.GAUGE, "", A.key),
    ]
    assert first.families[0].body == family("x", MetricType.COUNTER, group=A).metrics
    assert [(block.pushed_at_seconds, block.typed_at_seconds, block.suspect) for block in first.families] == [
        (1.0, 1.0, False)
    ] * 2


def test_bodies_are_sorted(store: Store) -> None:
    """Families come by name, and their bodies by the key of their group, whatever the order of the pushes."""
    keys = [key("b"), key("a", z="1"), key("a"), key("c"), key("a", b="2"), key("é"), key("Z")]
    for group in keys:
        store.apply(push(group, family("y", group=group), family("x", group=group)), None)
    by_key = sorted(keys, key=lambda group: group.key)
    snapshot = store.families(Form.TEXT)
    assert [group.key for group in snapshot.groups] == [group.key for group in by_key]
    assert snapshot.families == [
        (name, MetricType.GAUGE, "", [family(name, group=group).text for group in by_key], "") for name in ("x", "y")
    ]


def test_replace(store: Store) -> None:
    """A replacing push removes what it does not hold, and nothing of other groups."""
    store.apply(push(A, family("x", group=A), family("y", group=A)), None)
    store.apply(push(B, family("x", group=B)), None)
    store.apply(push(A, family("y", group=A, value="2"), family("z", group=A)), None)
    assert text(store) == 'x{job="b"} 1\ny{job="a"} 2\nz{job="a"} 1\n'


def test_merge(store: Store) -> None:
    """A merging push replaces families by name as a whole and leaves the others."""
    store.apply(push(A, family("x", group=A), family("y", group=A, series=({"l": "1"}, {"l": "2"}))), None)
    store.apply(push(A, family("y", group=A, series=({"l": "3"},)), family("z", group=A), replace=False), None)
    assert text(store) == 'x{job="a"} 1\ny{job="a",l="3"} 1\nz{job="a"} 1\n'


def test_merge_into_nothing(store: Store) -> None:
    """A merging push makes a group that does not exist."""
    store.apply(push(A, family("x", group=A), replace=False), None)
    assert text(store) == 'x{job="a"} 1\n'


@pytest.mark.parametrize(("replace", "left"), [(True, []), (False, ["x"])])
def test_empty_push(store: Store, *, replace: bool, left: list[str]) -> None:
    """An empty push sets the push time; replacing, it also empties the group, which stays."""
    store.apply(push(A, family("x", group=A), at=1.0), None)
    store.apply(push(A, replace=replace, at=2.0), None)
    assert names(store) == left
    assert only_group(store).pushed_at_seconds == 2.0


def test_a_family_may_change_in_its_only_group(store: Store) -> None:
    """The only group with a family may give it another type, help and series."""
    store.apply(push(A, family("x", group=A, help="old"), at=1.0), None)
    for replace in (True, False):
        x = family("x", MetricType.COUNTER, group=A, help="new", series=({"l": "1"},))
        store.apply(push(A, x, replace=replace, at=2.0), None)
        assert store.families(Form.TEXT).families == [("x", MetricType.COUNTER, "new", [x.text], "")]
        store.apply(push(A, family("x", group=A, help="old"), at=3.0), None)


def test_type_time(store: Store) -> None:
    """A family keeps the time at which it got its type until the type changes."""
    for at, type_ in ((1.0, MetricType.GAUGE), (2.0, MetricType.GAUGE), (3.0, MetricType.COUNTER)):
        store.apply(push(A, family("x", type_, group=A), at=at), None)
        (contents,) = store.groups()
        (block,) = contents.families
        assert (block.pushed_at_seconds, block.typed_at_seconds) == (at, 3.0 if at == 3.0 else 1.0)


def test_newest_help(store: Store) -> None:
    """Of several helps of a family, that of the newest push is given, even if an older one comes back."""
    store.apply(push(A, family("x", group=A, help="old"), at=1.0), None)
    store.apply(push(B, family("x", group=B, help="new"), at=2.0), None)
    (view,) = store.families(Form.TEXT).families
    assert (view.help, len(view.bodies)) == ("new", 2)
    store.apply(push(A, family("x", group=A, help="old"), at=3.0), None)
    (view,) = store.families(Form.TEXT).families
    assert view.help == "old"
    store.apply(Delete(A), None)
    (view,) = store.families(Form.TEXT).families
    assert view.help == "new"


def test_groups_that_disagree_about_a_help(store: Store) -> None:
    """A snapshot names the families whose groups have not the same help, as long as they have not."""
    store.apply(push(A, family("x", group=A, help="one"), family("y", group=A, help="same"), at=1.0), None)
    assert list(store.families(Form.TEXT).many_helps) == []
    store.apply(push(B, family("x", group=B, help="another"), family("y", group=B, help="same"), at=2.0), None)
    assert list(store.families(Form.TEXT).many_helps) == ["x"]
    store.apply(push(B, family("x", group=B, help="one"), at=3.0), None)
    assert list(store.families(Form.TEXT).many_helps) == []


def test_family_without_series(store: Store) -> None:
    """A family without series, as protobuf can send it, is stored."""
    store.apply(push(A, family("x", group=A, series=())), None)
    (contents,) = store.groups()
    assert [(block.name, block.body[:0]) for block in contents.families] == [("x", b"")]


@pytest.mark.parametrize("padding", [2_000, 2_000_000])
def test_large_families(store: Store, padding: int) -> None:
    """Bodies of any size come back as they were, large and small ones side by side."""
    pushed = [family(name, group=A, padding=padding if name in "bd" else 0) for name in "abcd"]
    store.apply(push(A, *pushed), None)
    store.apply(push(A, *pushed, replace=False), Ticket())
    assert [view.bodies for view in store.families(Form.TEXT).families] == [[one.text] for one in pushed]
    assert [view.bodies for view in store.families(Form.METRICS).families] == [[one.metrics] for one in pushed]


def test_unusual_text(store: Store) -> None:
    """Keys and helps may hold any Unicode text, control characters too."""
    group = key('a"\\\n\x00é\U0001f600', l="[]{},\x7f")
    store.apply(push(group, family("x", group=group, help="NUL \x00 end")), None)
    snapshot = store.families(Form.TEXT)
    assert snapshot.groups[0].key == group.key
    assert snapshot.families[0].help == "NUL \x00 end"
    store.apply(Delete(group), None)
    assert names(store) == []


def test_refusal(store: Store) -> None:
    """A refusal noted for a group sets its failure time and reason, and changes nothing else."""
    store.apply(push(A, family("x", group=A), at=1.0), None)
    store.apply(Refusal(A, 2.0, b"{}", "timestamps"), None)
    assert text(store) == 'x{job="a"} 1\n'
    assert only_group(store) == Group(A.key, b'{instance="",job="a"}', 1.0, 2.0, "timestamps")


def test_refusal_of_a_new_group(store: Store) -> None:
    """A refusal makes a group that does not exist, without a push time."""
    store.apply(Refusal(A, 2.0, b"{}", "timestamps"), None)
    assert only_group(store) == Group(A.key, b"{}", 0.0, 2.0, "timestamps")
    store.apply(push(A, family("x", group=A), at=3.0), None)
    assert only_group(store) == Group(A.key, b'{instance="",job="a"}', 3.0, 2.0, "timestamps")


def test_failure_time_stays(store: Store) -> None:
    """A later push of either kind does not reset the failure time."""
    store.apply(Refusal(A, 2.0, b"{}", "why"), None)
    for replace in (True, False):
        store.apply(push(A, family("x", group=A), at=3.0, replace=replace), None)
        assert only_group(store)[2:5] == (3.0, 2.0, "why")


def test_delete(store: Store) -> None:
    """A delete removes its group alone, times included; an unknown group is fine."""
    store.apply(push(A, family("x", group=A)), None)
    store.apply(push(B, family("x", group=B)), None)
    store.apply(Delete(key("a", l="1")), None)
    store.apply(Delete(A), None)
    store.apply(Delete(A), None)
    assert text(store) == 'x{job="b"} 1\n'
    assert only_group(store).key == B.key


def test_deleted_types_are_forgotten(store: Store) -> None:
    """Once a family's last group is gone, another may give it another type."""
    store.apply(push(A, family("x", group=A)), None)
    store.apply(Delete(A), None)
    store.apply(push(B, family("x", MetricType.COUNTER, group=B)), None)
    store.apply(push(B), None)
    store.apply(push(A, family("x", MetricType.SUMMARY, group=A)), None)
    assert names(store) == ["x"]


def test_wipe(store: Store) -> None:
    """A wipe removes everything, and the store goes on."""
    for group in (A, B):
        store.apply(push(group, family("x", group=group)), None)
    store.apply(Wipe(), None)
    assert store.families(Form.TEXT) == ([], [], [], [])
    store.apply(push(A, family("x", MetricType.COUNTER, group=A)), None)
    assert names(store) == ["x"]


def test_stores_share_the_database(database: Database) -> None:
    """What one worker stored, another reads, and a later one finds after all have closed."""
    first, second = database.open(), database.open()
    assert names(second) == []
    first.apply(push(A, family("x", group=A)), None)
    assert names(second) == ["x"]
    second.apply(push(A, family("y", group=A), replace=False), None)
    assert names(first) == ["x", "y"]
    first.close()
    second.close()
    assert names(database.open()) == ["x", "y"]


def test_shapes_per_job(database: Database) -> None:
    """A push that would give a job one set of label names too many is refused, and its failure time stored."""
    store = database.open(limits=Limits(shapes_per_job=3))
    groups = [key("a"), key("a", b="1"), key("a", c="1")]
    for group in groups:
        store.apply(push(group, family("x", group=group)), None)
    other = key("a", b="1", c="1")
    for checked in (True, False):
        with pytest.raises(LimitError) as raised:
            store.apply(push(other, family("x", group=other), at=5.0, checked=checked), None)
        assert (raised.value.limit, raised.value.allowed, raised.value.seen) == ("shapes-per-job", 3, 4)
    assert [
        (group.pushed_at_seconds, group.failed_at_seconds)
        for group in store.families(Form.TEXT).groups
        if group.key == other.key
    ] == [(0.0, 5.0)]
    same_shape, other_job = key("a", b="2"), key("b", d="1")
    for group in (same_shape, other_job, *groups):
        store.apply(push(group, family("x", group=group)), None)
    store.apply(Delete(groups[2]), None)
    store.apply(push(other, family("x", group=other)), None)


def test_failed_groups_use_up_no_shapes(database: Database) -> None:
    """Groups that only ever failed do not count against the limit of shapes."""
    store = database.open(limits=Limits(shapes_per_job=1))
    for number in range(5):
        store.apply(Refusal(key("a", **{f"l{number}": "1"}), 1.0, b"{}", "why"), None)
    store.apply(push(A, family("x", group=A)), None)
    assert names(store) == ["x"]


def test_after_close(store: Store) -> None:
    """After close, which may be called twice, every method says so, but for the reason, which never raises."""
    store.apply(push(A, family("x", group=A)), None)
    store.close()
    store.close()
    for ticket in (None, Ticket()):
        with pytest.raises(StoreUnreadableError, match="closed"):
            store.apply(Wipe(), ticket)
    for read in (store.ping, store.groups, store.totals, lambda: store.families(Form.TEXT)):
        with pytest.raises(StoreUnreadableError, match="closed"):
            read()
    assert store.unwritable_reason() == ""


def test_close_unused(database: Database) -> None:
    """A store that was never used can be closed."""
    database.open().close()


@pytest.mark.parametrize("change", [push(A), push(A, family("b", group=A), replace=False), Delete(A)])
def test_giants_are_replaced_where_waiting_is_allowed(store: Store, change: Change) -> None:
    """Without a ticket what would take long is not begun, however small the request; with one it is done."""
    store.apply(push(A, family("a", group=A), family("b", group=A, padding=3_000_000)), None)
    before = store.groups()
    with pytest.raises(WouldBlockError, match="large"):
        store.apply(change, None)
    assert store.groups() == before
    store.apply(push(A, family("a", group=A), family("c", group=A), replace=False), None)
    store.apply(change, Ticket())
    assert store.groups() != before
    store.apply(Delete(A), None)
    assert store.groups() == []


UTF8 = key("a", **{"l.x": "1"})


def test_what_has_other_than_legacy_names_comes_apart_when_asked_for(store: Store) -> None:
    """All blocks under a name of which any is not legacy are contested, in METRICS form, and else nothing changes."""
    mixed = [family("x", group=UTF8, legacy=False), family("x", group=A)]
    dotted, plain = family("y.z", group=A, legacy=False), family("y", group=B)
    store.apply(push(A, mixed[1], dotted, at=1.0), None)
    store.apply(push(UTF8, mixed[0], at=2.0), None)
    store.apply(push(B, plain, at=3.0), None)

    whole = store.families(Form.TEXT)
    assert [(view.name, view.bodies) for view in whole.families] == [
        ("x", [one.text for one in mixed]),
        ("y", [plain.text]),
        ("y.z", [dotted.text]),
    ]
    assert whole.contested == []

    for form in Form:
        apart = store.families(form, legacy_only=True)
        assert [view.name for view in apart.families] == ["y"]
        assert [(block.name, block.group, block.body, block.suspect) for block in apart.contested] == [
            ("x", UTF8.key, mixed[0].metrics, False),
            ("x", A.key, mixed[1].metrics, False),
            ("y.z", A.key, dotted.metrics, False),
        ]
        assert apart.groups == whole.groups


def test_a_group_says_whether_its_labels_are_legacy(store: Store) -> None:
    """Whether a group was made by a push or by a refusal, it is known whether its label names are legacy."""
    store.apply(push(A), None)
    store.apply(push(UTF8), None)
    store.apply(Refusal(key("b", **{"é": "1"}), 2.0, b"{}", "timestamps"), None)
    assert {group.key: bool(group.legacy) for group in store.families(Form.TEXT).groups} == {
        A.key: True,
        UTF8.key: False,
        key("b", **{"é": "1"}).key: False,
    }


@pytest.mark.parametrize("replace", [True, False])
def test_a_family_whose_names_become_legacy_is_with_the_others(store: Store, *, replace: bool) -> None:
    """What a push replaces does not keep a family apart, in neither direction."""
    for legacy in (False, True, False):
        store.apply(push(A, family("x", group=A, legacy=legacy), replace=replace), None)
        apart = store.families(Form.TEXT, legacy_only=True)
        assert (len(apart.families), len(apart.contested)) == ((1, 0) if legacy else (0, 1))
    store.apply(Delete(A), None)
    assert store.families(Form.TEXT, legacy_only=True) == ([], [], [], [])
