"""Does a store list, search and count its groups as one would that looks at everything?"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pushgateway.errors import RequestError, StoreUnreadableError
from pushgateway.model import (
    Delete,
    GroupingKey,
    GroupQuery,
    GroupSort,
    GroupState,
    GroupSummary,
    LabelTerm,
    Push,
    Refusal,
    TextTerm,
    Wipe,
)
from pushgateway.storage import Store, Ticket
from tests.contract.conftest import Database
from tests.contract.listing import listed
from tests.contract.values import family, key, push

A = key("a")
ALL = GroupQuery(sort=GroupSort.NAME, limit=1000)


def refusal(group: GroupingKey, at: float, reason: str = "why") -> Refusal:
    return Refusal(group, at, b"{}", reason)


def names(groups: Sequence[GroupSummary]) -> list[str]:
    """Return the labels of each group, in one word that begins with the job."""
    return ["/".join(value for _, value in reversed(json.loads(one.key))) for one in groups]


def walked(store: Store, query: GroupQuery) -> list[list[GroupSummary]]:
    """Return all pages of a query, from the first to the last."""
    pages = []
    while True:
        page = store.find_groups(query)
        pages.append(list(page.groups))
        if not page.next_cursor:
            return pages
        query = query._replace(cursor=page.next_cursor)


def counted(store: Store) -> list[GroupSummary]:
    """Return what the list should say, from the families that are stored; series as their makers say."""
    found = []
    for group, blocks, size in store.groups():
        series = sum(block.body.count(b"('job'") for block in blocks)
        found.append(GroupSummary(*group[:1], *group[2:5], len(blocks), series, size))
    return found


def test_group(store: Store) -> None:
    """One group is returned as it stands among all of them, and None where there is none."""
    b = key("b", l="1")
    store.apply(push(A, family("x", group=A), family("y", group=A, padding=20_000), at=5.0), None)
    store.apply(push(b, family("x", group=b), at=6.0), None)
    store.apply(refusal(key("c"), 7.0), None)
    assert [store.group(contents.group.key) for contents in store.groups()] == list(store.groups())
    assert store.group(key("d").key) is None
    assert store.group("no key at all") is None


def test_a_group_in_the_list(store: Store) -> None:
    """Its times, its last failure, and how many families, series and bytes of both forms it has."""
    x, y = family("x", group=A, series=({"l": "1"}, {"l": "2"})), family("y", group=A)
    size = sum(len(one.text) + len(one.metrics) for one in (x, y))
    store.apply(push(A, x, y, at=5.0), None)
    assert store.find_groups(GroupQuery()).groups == [GroupSummary(A.key, 5.0, 0.0, "", 2, 3, size)]
    store.apply(refusal(A, 6.0, "too bad"), None)
    assert store.find_groups(GroupQuery()).groups == [GroupSummary(A.key, 5.0, 6.0, "too bad", 2, 3, size)]
    assert store.totals().bytes == size
    store.apply(push(A, y, at=7.0), None)
    size = len(y.text) + len(y.metrics)
    assert store.find_groups(GroupQuery()).groups == [GroupSummary(A.key, 7.0, 6.0, "too bad", 1, 1, size)]
    assert store.totals().bytes == size
    store.apply(Delete(A), None)
    assert store.find_groups(GroupQuery()) == ([], 0, "", "")
    assert store.totals().bytes == 0


def test_an_empty_store(store: Store) -> None:
    """There is nothing to list, in any order, and no page before or behind it."""
    for sort in GroupSort:
        assert store.find_groups(GroupQuery(sort=sort)) == ([], 0, "", "")
        assert store.find_groups(GroupQuery((TextTerm("a"),), sort=sort)) == ([], 0, "", "")


def test_orders(store: Store) -> None:
    """Newest push first; failures first; largest first; or by the labels, job first."""
    for job, at, padding in (("a", 3.0, 10), ("b", 5.0, 30), ("c", 4.0, 20)):
        store.apply(push(key(job), family("x", group=key(job), padding=padding), at=at), None)
    store.apply(refusal(key("never"), 1.0), None)
    store.apply(refusal(key("c"), 6.0), None)
    store.apply(refusal(key("a"), 2.0), None)
    found = {sort: names(store.find_groups(GroupQuery(sort=sort)).groups) for sort in GroupSort}
    assert found == {
        GroupSort.PUSHED: ["b", "c", "a", "never"],
        GroupSort.FAILED: ["c", "never", "b", "a"],
        GroupSort.SIZE: ["b", "c", "a", "never"],
        GroupSort.NAME: ["a", "b", "c", "never"],
    }


def test_order_of_labels(store: Store) -> None:
    """Names that begin another one come before it, and the job counts first, wherever its label stands in the key."""
    groups = [key("etl"), key("etl", a="2"), key("etl", a="10"), key("etl", z="1"), key("etl-2"), key("etl2", a="1")]
    for group in reversed(groups):
        store.apply(push(group), None)
    assert [one.key for one in store.find_groups(ALL).groups] == [groups[at].key for at in (0, 2, 1, 3, 4, 5)]
    for sort in GroupSort:
        assert store.find_groups(ALL._replace(sort=sort)).groups == store.find_groups(ALL).groups


def test_states(store: Store) -> None:
    """Only failed groups, or only those whose last push is older than the caller says."""
    for at in range(1, 6):
        store.apply(push(key(f"j{at}"), at=float(at)), None)
    store.apply(refusal(key("j3"), 9.0), None)
    store.apply(refusal(key("never"), 2.0), None)
    store.apply(refusal(key("j5"), 4.0), None)
    failed = store.find_groups(ALL._replace(state=GroupState.FAILED))
    assert (names(failed.groups), failed.matching) == (["j3", "never"], 2)
    stale = store.find_groups(ALL._replace(state=GroupState.STALE, stale_before_seconds=3.0))
    assert (names(stale.groups), stale.matching) == (["j1", "j2"], 2)
    one = store.find_groups(
        ALL._replace(terms=(LabelTerm("job", "j2"),), state=GroupState.STALE, stale_before_seconds=3.0)
    )
    assert (names(one.groups), one.matching) == (["j2"], 1)


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ([], ["etl", "etl/dev", "ETL/prod", "other/dev"]),
        ([LabelTerm("job", "etl")], ["etl", "etl/dev"]),
        ([LabelTerm("job", "et")], []),
        ([LabelTerm("job", "etl", equal=False)], ["ETL/prod", "other/dev"]),
        ([LabelTerm("env", "dev", equal=False)], ["etl", "ETL/prod"]),
        ([LabelTerm("env", "")], ["etl"]),
        ([LabelTerm("env", "", equal=False)], ["etl/dev", "ETL/prod", "other/dev"]),
        ([LabelTerm("job", "etl"), LabelTerm("env", "dev", equal=False)], ["etl"]),
        ([LabelTerm("", "")], ["etl", "etl/dev", "ETL/prod", "other/dev"]),
        ([TextTerm("etl")], ["etl", "etl/dev", "ETL/prod"]),
        ([TextTerm("ETL"), TextTerm("rod")], ["ETL/prod"]),
        ([TextTerm("ENV")], ["etl/dev", "ETL/prod", "other/dev"]),
        ([TextTerm("etldev")], []),
        ([TextTerm("%")], []),
        ([TextTerm("_tl")], []),
        ([TextTerm('","')], []),
        ([TextTerm("[")], []),
        ([TextTerm("\0")], []),
        ([TextTerm("\ud800")], []),
        ([LabelTerm("job", "\ud800")], []),
    ],
)
def test_search(store: Store, terms: list[LabelTerm | TextTerm], expected: list[str]) -> None:
    """A label's value is compared exactly, an absent one is empty; a text is found in names and values in any case."""
    for group in (key("etl"), key("etl", env="dev"), key("ETL", env="prod"), key("other", env="dev")):
        store.apply(push(group), None)
    page = store.find_groups(ALL._replace(terms=tuple(terms)))
    assert (sorted(names(page.groups), key=str.casefold), page.matching) == (expected, len(expected))


def test_search_in_any_script(store: Store) -> None:
    """Case is folded as Unicode says, and not only for ASCII."""
    for job in ("STRASSE", "straße", "ΣΊΣΥΦΟΣ", "Ночь"):
        store.apply(push(key(job)), None)
    assert store.find_groups(GroupQuery((TextTerm("straße"),))).matching == 2
    assert store.find_groups(GroupQuery((TextTerm("σίσυφος"),))).matching == 1
    assert store.find_groups(GroupQuery((TextTerm("НОЧ"),))).matching == 1
    assert store.find_groups(GroupQuery((LabelTerm("job", "НОЧЬ"),))).matching == 0


@pytest.mark.parametrize("sort", list(GroupSort))
def test_pages(store: Store, sort: GroupSort) -> None:
    """Pages follow each other without a gap, and lead back the same way."""
    for at in range(7):
        group = key(f"j{at}")
        store.apply(push(group, family("x", group=group, padding=at % 3), at=float(at % 2)), None)
    whole = store.find_groups(GroupQuery(sort=sort, limit=100))
    assert (whole.matching, whole.next_cursor, whole.previous_cursor) == (7, "", "")
    query = GroupQuery(sort=sort, limit=3)
    first = store.find_groups(query)
    second = store.find_groups(query._replace(cursor=first.next_cursor))
    third = store.find_groups(query._replace(cursor=second.next_cursor))
    assert [*first.groups, *second.groups, *third.groups] == whole.groups
    assert (first.previous_cursor, third.next_cursor) == ("", "")
    back = store.find_groups(query._replace(cursor=third.previous_cursor))
    assert back == second
    assert store.find_groups(query._replace(cursor=back.previous_cursor)) == first


def test_a_page_is_not_moved_by_pushes(store: Store) -> None:
    """While groups come, go and are pushed again, those that stay as they are come once each."""
    for at in range(10):
        store.apply(push(key(f"j{at}"), at=float(10 - at)), None)
    query = GroupQuery(limit=3)
    first = store.find_groups(query)
    assert names(first.groups) == ["j0", "j1", "j2"]
    store.apply(push(key("new"), at=20.0), None)
    store.apply(push(key("j8"), at=21.0), None)
    store.apply(Delete(key("j2")), None)
    store.apply(Delete(key("j4")), None)
    second = store.find_groups(query._replace(cursor=first.next_cursor))
    assert names(second.groups) == ["j3", "j5", "j6"]
    back = store.find_groups(query._replace(cursor=second.previous_cursor))
    assert names(back.groups) == ["new", "j0", "j1"]
    start = store.find_groups(query._replace(cursor=back.previous_cursor))
    assert names(start.groups) == ["j8", "new", "j0"]
    assert (start.previous_cursor, start.matching) == ("", 9)


def test_a_page_whose_groups_are_gone(store: Store) -> None:
    """A page that has become empty leads back to those that are left, the last one among them."""
    for at in range(4):
        store.apply(push(key(f"j{at}"), at=float(10 - at)), None)
    query = GroupQuery(limit=2)
    first = store.find_groups(query)
    for at in (2, 3):
        store.apply(Delete(key(f"j{at}")), None)
    empty = store.find_groups(query._replace(cursor=first.next_cursor))
    assert (empty.groups, empty.next_cursor, empty.matching) == ([], "", 2)
    assert names(store.find_groups(query._replace(cursor=empty.previous_cursor)).groups) == ["j0", "j1"]
    store.apply(Wipe(), None)
    assert store.find_groups(query._replace(cursor=empty.previous_cursor)) == ([], 0, "", "")


def test_groups_alike_for_more_than_a_cursor_holds(store: Store) -> None:
    """Groups whose labels differ only far behind come once each all the same, and their cursors stay short."""
    for at in range(9):
        store.apply(push(key("j" * 5000 + str(at))), None)
    for sort in GroupSort:
        query = GroupQuery(sort=sort, limit=2)
        pages = walked(store, query)
        assert [len(page) for page in pages] == [2, 2, 2, 2, 1]
        assert len({one.key for page in pages for one in page}) == 9
        assert len(store.find_groups(query).next_cursor) < 1000


def made(*parts: object) -> str:
    """Make a cursor as the store writes them."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def test_cursors_of_others(store: Store) -> None:
    """A cursor that was not given out for this order is refused, whatever it says."""
    for at in range(3):
        store.apply(push(key(f"j{at}")), None)
    cursor = store.find_groups(GroupQuery(limit=1)).next_cursor
    sort, beyond, number, name, id_ = json.loads(base64.urlsafe_b64decode(cursor + "=="))
    bad = [
        "x",
        "ä",
        cursor[:-3],
        f"{cursor}!",
        made(),
        made(1),
        made(sort, beyond, number, name),
        made(sort, beyond, number, number, name, id_),
        made(sort, "beside", number, name, id_),
        made("name", beyond, number, name, id_),
        made("best", beyond, number, name, id_),
        made(sort, beyond, "x", name, id_),
        made(sort, beyond, float("nan"), name, id_),
        made(sort, beyond, 10**400, name, id_),
        made(sort, beyond, None, name, id_),
        made(sort, [], number, name, id_),
        made(sort, beyond, number, 5, id_),
        made(sort, beyond, number, name * 100, id_),
        made(sort, beyond, number, name, "1; DROP TABLE groups"),
        made(sort, beyond, number, name, "9" * 30),
        made(sort, beyond, number, name, None),
        base64.urlsafe_b64encode(b"[" * 20_000).decode(),
    ]
    for one in bad:
        with pytest.raises(RequestError, match="the cursor is none that this gateway has given out for sort=pushed"):
            store.find_groups(GroupQuery(limit=1, cursor=one))
    with pytest.raises(RequestError, match="sort=name"):
        store.find_groups(GroupQuery(limit=1, sort=GroupSort.NAME, cursor=cursor))
    assert store.find_groups(GroupQuery(limit=1, cursor=cursor)).matching == 3


def test_after_close(store: Store) -> None:
    """A closed store lists nothing, and has no group."""
    store.close()
    with pytest.raises(StoreUnreadableError):
        store.find_groups(GroupQuery())
    with pytest.raises(StoreUnreadableError):
        store.group(A.key)


TEXTS = st.text(st.sampled_from('aAb[],"\\\0\1\2%ß\U0001f600'), max_size=4)
KEYS = st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=3).map(lambda labels: GroupingKey.of({**labels, "job": "j"}))
TERMS = st.one_of(st.builds(TextTerm, TEXTS), st.builds(LabelTerm, TEXTS, TEXTS, st.booleans()))


@st.composite
def histories(draw: st.DrawFn) -> list[Push | Delete | Refusal]:
    """Make changes to a few groups with awkward labels."""
    keys = draw(st.lists(KEYS, min_size=1, max_size=5))
    history: list[Push | Delete | Refusal] = []
    for _ in range(draw(st.integers(1, 8))):
        group, at = draw(st.sampled_from(keys)), float(draw(st.integers(1, 4)))
        match draw(st.sampled_from(("push",) * 5 + ("delete", "refusal"))):
            case "push":
                some = draw(st.lists(st.sampled_from(("x", "y")), unique=True))
                series = tuple({"s": str(number)} for number in range(draw(st.sampled_from((1, 2, 200)))))
                families = [family(name, group=group, series=series) for name in some]
                history.append(push(group, *families, replace=draw(st.booleans()), at=at))
            case "delete":
                history.append(Delete(group))
            case _:
                history.append(refusal(group, at))
    return history


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=histories(),
    terms=st.lists(TERMS, max_size=2),
    sort=st.sampled_from(list(GroupSort)),
    limit=st.integers(1, 4),
    state=st.sampled_from([None, *GroupState]),
)
def test_the_list_is_what_a_naive_one_is(
    database: Database,
    history: list[Push | Delete | Refusal],
    terms: list[LabelTerm | TextTerm],
    sort: GroupSort,
    limit: int,
    state: GroupState | None,
) -> None:
    """After any history, whatever stands in labels and terms, pages hold what one finds who looks at every family."""
    store = database.open()
    store.apply(Wipe(), None)
    for change in history:
        store.apply(change, Ticket())
    groups = counted(store)
    assert store.totals().bytes == sum(one.bytes for one in groups)
    query = GroupQuery(tuple(terms), sort, limit, state=state, stale_before_seconds=3.0)
    expected = listed(groups, query)
    pages = walked(store, query)
    assert [one for page in pages for one in page] == expected
    assert store.find_groups(query).matching == len(expected)
    assert all(len(page) == limit for page in pages[:-1])
    store.close()
