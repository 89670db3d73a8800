"""What does a scrape have to read again?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pushgateway.errors import InconsistentPushError
from pushgateway.limits import Limits
from pushgateway.model import NO_STAMPS, Change, Delete, Form, Known, MetricType, Refusal, Section, Wipe
from pushgateway.storage import StatusBoard, Store, Ticket, open_store, prepare_store, sqlite_sections
from tests.contract.values import family, key, push


@pytest.fixture
def open_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Store]]:
    """Open stores on one database, whose sections have two to four groups."""
    monkeypatch.setattr(sqlite_sections, "_GROUPS_IN_SECTION", 2)
    prepared = prepare_store(f"sqlite:{tmp_path}/store.db")
    stores: list[Store] = []

    def one() -> Store:
        stores.append(open_store(prepared.url, board=StatusBoard(), own={}, limits=Limits()))
        return stores[-1]

    yield one
    for store in stores:
        store.close()


class Reader:
    """Reads a store again and again, as a worker does, and notes what it has had to read.

    With `amending` it tells the store all that it knows, so that it need not be given what has not changed.
    """

    def __init__(self, store: Store, *, amending: bool = False) -> None:
        self.store = store
        self.amending = amending
        self.sections: list[Section] = []
        self.read: list[str] = []
        self.groups: list[str] = []

    def look(self) -> bool:
        """Read what has changed, and compare all with what the store tells otherwise; False if it has no sections."""
        self.read, self.groups = [], []
        known = [Known(one.first, one.mark, one.stamps if self.amending else NO_STAMPS) for one in self.sections]
        found = self.store.sections(known, self._take)
        snapshot = self.store.families(Form.TEXT, legacy_only=True)
        if found is None:
            assert snapshot.contested
            return False
        self.sections = [self.sections[one] if isinstance(one, int) else one for one in found.sections]
        assert [group for one in self.sections for group in one.groups] == snapshot.groups
        assert found.many_helps == snapshot.many_helps
        assert [view._replace(bodies=b"".join(view.bodies)) for view in snapshot.families] == [
            view._replace(bodies=b"".join(body for one in self.sections for _, body in one.bodies.get(view.name, ())))
            for view in found.families
        ]
        return True

    def _take(self, section: Section) -> Section:
        self.read.append(section.first)
        self.groups += [group.key for group in section.groups]
        return section if section.amends is None else amended(self.sections[section.amends], section)


def amended(old: Section, new: Section) -> Section:
    """Put what was read of a section into what was known of it."""
    groups = list(old.groups)
    for place, group in zip(new.places, new.groups, strict=True):
        groups[place] = group
    bodies = {
        name: sorted(
            [one for one in old.bodies.get(name, ()) if one[0] not in new.places] + list(new.bodies.get(name, ()))
        )
        for name in old.bodies.keys() | new.bodies.keys()
    }
    assert len(new.stamps.values) == len(groups)
    return new._replace(groups=groups, places=range(len(groups)), bodies=bodies, amends=None)


def pushed(number: int, at: float = 1.0, name: str = "x") -> Change:
    group = key("a", n=str(number))
    return push(group, family(name, group=group, value=str(at)), at=at, replace=False)


@pytest.mark.parametrize("amending", [False, True])
def test_only_changed_sections_are_read(open_one: Callable[[], Store], *, amending: bool) -> None:
    """All are read at first, then the one of a group that was pushed, refused, added or removed, and no other."""
    reader, writer = Reader(open_one(), amending=amending), open_one()
    for number in range(10, 19):
        writer.apply(pushed(number), Ticket())
    assert reader.look()
    firsts = [one.first for one in reader.sections]
    assert (reader.read, len(firsts), firsts[0]) == (firsts, 4, "")
    assert reader.look()
    assert reader.read == []
    for change, section in (
        (pushed(13, 2.0), 1),
        (pushed(13, 2.0), 1),
        (Refusal(key("a", n="10"), 3.0, b"{}", "why"), 0),
        (pushed(140), 2),
        (Delete(key("a", n="18")), 3),
        (pushed(0), 0),
    ):
        writer.apply(change, Ticket())
        assert reader.look()
        assert reader.read == [firsts[section]]


def test_of_a_section_that_is_known_only_changed_groups_are_read(
    open_one: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as its groups are the same, and no more than half of them have changed."""
    monkeypatch.setattr(sqlite_sections, "_GROUPS_IN_SECTION", 4)
    reader = Reader(open_one(), amending=True)
    for number in range(10, 14):
        reader.store.apply(pushed(number), None)
    assert reader.look()
    for changes, read in (
        ([pushed(12, 2.0)], [12]),
        ([pushed(13, 2.0, "y"), Refusal(key("a", n="10"), 3.0, b"{}", "why")], [10, 13]),
        ([pushed(number, 3.0) for number in (10, 11, 12)], [10, 11, 12, 13]),
        ([pushed(14)], [10, 11, 12, 13, 14]),
        ([Delete(key("a", n="11"))], [10, 12, 13, 14]),
        ([Delete(key("a", n="12")), pushed(12)], [12]),
    ):
        for change in changes:
            reader.store.apply(change, None)
        assert reader.look()
        assert reader.groups == [key("a", n=str(number)).key for number in read]


def test_a_section_that_has_grown_is_divided(open_one: Callable[[], Store]) -> None:
    """Sections stay small, and one that has lost all of its groups goes, but for the first."""
    reader = Reader(open_one())
    assert reader.look()
    assert [one.first for one in reader.sections] == [""]
    for number in range(10, 15):
        reader.store.apply(pushed(number), None)
    assert reader.look()
    assert [len(one.groups) for one in reader.sections] == [2, 3]
    reader.store.apply(Wipe(), None)
    assert reader.look()
    assert [(one.first, one.groups) for one in reader.sections] == [("", [])]


@pytest.mark.parametrize("what", ["suspects", "names"])
def test_what_has_to_be_resolved_has_no_sections(open_one: Callable[[], Store], what: str) -> None:
    """With a suspect, or a name or a label that is not legacy, there are no sections until it has gone."""
    reader = Reader(open_one())
    a, b = key("a"), key("b")
    reader.store.apply(push(a, family("x", group=a)), None)
    if what == "suspects":
        reader.store.apply(push(b, family("x", MetricType.COUNTER, group=b), checked=False), None)
    else:
        reader.store.apply(push(b, family("ä", group=b, legacy=False)), None)
    assert not reader.look()
    reader.store.apply(Delete(b), None)
    assert reader.look()
    unusual = key("c", **{"ä": "1"})
    reader.store.apply(push(unusual), None)
    assert reader.store.sections((), lambda one: one) is None


CHANGES = st.one_of(
    st.builds(pushed, st.integers(0, 12), st.sampled_from([1.0, 2.0]), st.sampled_from("xy")),
    st.builds(lambda number: Delete(key("a", n=str(number))), st.integers(0, 12)),
    st.builds(lambda number: Refusal(key("a", n=str(number)), 3.0, b"{}", "why"), st.integers(0, 12)),
    st.just(Wipe()),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories=st.lists(st.lists(CHANGES, max_size=6), max_size=6))
def test_sections_are_what_is_stored(open_one: Callable[[], Store], histories: list[list[Change]]) -> None:
    """Whatever is stored between two looks, what was kept and what is read are together what the store holds."""
    writer = open_one()
    writer.apply(Wipe(), None)
    readers = [Reader(writer, amending=True), Reader(open_one()), Reader(open_one(), amending=True)]
    for at, history in enumerate(histories):
        for change in history:
            with suppress(InconsistentPushError):
                writer.apply(change, None)
        for reader in readers[at % 3 :]:
            assert reader.look()
    for reader in readers:
        reader.store.close()
