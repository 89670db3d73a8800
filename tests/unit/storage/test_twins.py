"""How much is done to find twins, and when: before the lock or under it?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import pytest

from pushgateway.errors import InconsistentPushError, LimitError, StoreBusyError, StoreUnreadableError, WouldBlockError
from pushgateway.model import Delete, Form, Push, Wipe
from pushgateway.storage import StatusBoard, Ticket, open_store, prepare_store, series, twins
from pushgateway.storage import sqlite as sqlite_module
from pushgateway.storage.series import HASHES_IN_ROW, PushedSeries
from pushgateway.storage.sqlite import SqliteStore
from tests.contract.values import family, key, push

LABELS = [f"l{number:02}" for number in range(20)]
LARGE = 10 * HASHES_IN_ROW


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = open_store(prepare_store(f"sqlite:{path}").url, board=StatusBoard(), own={})
    assert isinstance(store, SqliteStore)
    yield store
    store.close()


def put_shapes(store: SqliteStore, *names: str, value: str = "none") -> None:
    """Store a group of a shape of its own for each label name."""
    for name in names:
        group = key("a", **{name: value})
        store.apply(push(group, family("x", group=group, series=({"own": name},))), None)


def wide(count: int) -> Push:
    """Make a push of so many series with all labels that shapes are made of, their values counted."""
    group = key("a")
    series = tuple(dict.fromkeys(LABELS, str(number)) for number in range(count))
    return push(group, family("y", group=group, series=series))


def test_much_is_projected_before_the_lock(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push to be compared with many shapes waits where that is allowed, and does the work before its turn."""
    monkeypatch.setattr(series, "_PROJECTIONS_UNDER_LOCK", 50)
    put_shapes(store, *LABELS)
    with pytest.raises(WouldBlockError):
        store.apply(wide(10), None)
    assert len(store.groups()) == len(LABELS)
    under_lock = []
    project = PushedSeries.project

    def watched(series: PushedSeries, shapes: list[str]) -> None:
        if store._lock._mutex.locked():
            under_lock.extend(shapes)
        project(series, shapes)

    monkeypatch.setattr(PushedSeries, "project", watched)
    store.apply(wide(10), Ticket())
    assert under_lock == []
    store.apply(wide(2), None)
    assert len(under_lock) == len(LABELS)


def test_shapes_that_come_while_a_push_waits(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few new shapes are looked at under the lock; for many the push is to come again, and nothing of it is stored."""
    monkeypatch.setattr(series, "_PROJECTIONS_UNDER_LOCK", 50)
    monkeypatch.setattr(sqlite_module, "shapes_of", lambda db, job: [])
    put_shapes(store, "l00", value="3")
    with pytest.raises(InconsistentPushError):
        store.apply(push(key("a"), family("x", group=key("a"), series=({"l00": "3", "own": "l00"},))), Ticket())
    put_shapes(store, *LABELS[1:])
    with pytest.raises(StoreBusyError, match="other shapes"):
        store.apply(wide(10), Ticket())
    assert not any(view.name == "y" for view in store.families(Form.TEXT).families)


def test_look_ups_are_limited(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push that would take too many look-ups under the lock is refused, checked or not, and that is noted."""
    monkeypatch.setattr(twins, "_LOOK_UPS", 30)
    put_shapes(store, *LABELS[:10])
    for number in range(40):
        group = key("a", l00=str(number))
        store.apply(push(group, family("z", group=group)), None)
    with pytest.raises(LimitError) as raised:
        store.apply(wide(100), Ticket())
    assert (raised.value.limit, raised.value.allowed) == ("twin-lookups", 30)
    assert "twin-lookups" in store.groups()[-1].group.failure_reason
    store.apply(wide(1), None)


def test_shapes_with_few_groups_are_looked_at_whole(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys a shape would have, no more is looked up than it has groups; twins are found all the same."""
    monkeypatch.setattr(twins, "_LOOK_UPS", 50)
    put_shapes(store, *LABELS, value="500")
    store.apply(wide(400), Ticket())
    for name in LABELS:
        twin = family("x", group=key("a"), series=({name: "500", "own": name}, *({name: str(n)} for n in range(400))))
        with pytest.raises(InconsistentPushError, match=f'own="{name}"'):
            store.apply(push(key("a"), twin, replace=False), Ticket())


def test_projections_are_limited(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push of very many series to be compared with very many shapes is refused before it takes the lock for long."""
    monkeypatch.setattr(series, "_PROJECTIONS", 10_000)
    put_shapes(store, *LABELS)
    with pytest.raises(LimitError, match="twin-projections"):
        store.apply(wide(100), Ticket())
    store.apply(wide(20), Ticket())


@pytest.mark.parametrize("count", [1, HASHES_IN_ROW, HASHES_IN_ROW + 1, LARGE])
@pytest.mark.parametrize("pushed", [1, 3, HASHES_IN_ROW + 1])
def test_twins_in_families_of_any_size(store: SqliteStore, count: int, pushed: int) -> None:
    """A twin is found wherever its hash stands, and nothing else is taken for one."""
    tight = key("a", l="1")
    store.apply(push(tight, family("x", group=tight, series=tuple({"n": str(n)} for n in range(count)))), None)
    others = tuple({"l": "1", "n": str(count + n)} for n in range(pushed - 1))
    for number in {0, count // 2, count - 1}:
        loose = family("x", group=key("a"), series=({"l": "1", "n": str(number)}, *others))
        with pytest.raises(InconsistentPushError, match=f'n="{number}"'):
            store.apply(push(key("a"), loose), Ticket())
    free = family("x", group=key("a"), series=({"l": "1", "n": "free"}, *others))
    store.apply(push(key("a"), free), Ticket())


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


def pages(path: Path) -> int:
    return count(path, "hash_pages")


def test_no_row_that_searches_pass_is_large(store: SqliteStore, path: Path) -> None:
    """Large bodies stand in a table of their own, which no search passes, and go with their family, however it goes."""
    group = key("a")

    def of(padding: int, name: str = "x") -> Push:
        return push(group, family(name, group=group, padding=padding))

    for last in (push(group), of(0), of(0, "y"), of(300_000, "y"), Delete(group), Wipe()):
        for padding in (5_000, 200_000, 100_000):
            store.apply(of(padding), None)
            (view,) = store.families(Form.TEXT).families
            assert view.bodies == [of(padding).families[0].text]
            (contents,) = store.groups()
            assert contents.families[0].body == of(padding).families[0].metrics
            with closing(sqlite3.connect(path)) as db:
                sizes = db.execute("SELECT max(length(text) + length(metrics)) FROM families").fetchone()
                assert (sizes[0] or 0) < 20_000
        store.apply(last, None)
        assert count(path, "large_bodies") == (last == of(300_000, "y"))


def test_the_largest_bodies_are_compressed(store: SqliteStore, path: Path) -> None:
    """What lies in the file is smaller than what is read, and how large that is counts."""
    group = key("a")
    small, large = (push(group, family("x", group=group, padding=padding)) for padding in (30_000, 300_000))
    for change, most in ((small, 100_000), (large, 1_000)):
        store.apply(change, None)
        (contents,) = store.groups()
        assert contents.families[0].body == change.families[0].metrics
        assert contents.bytes == len(change.families[0].text) + len(change.families[0].metrics)
        with closing(sqlite3.connect(path)) as db:
            ((stored, size),) = db.execute("SELECT length(text) + length(metrics), bytes FROM large_bodies")
        assert size == contents.bytes
        assert stored < most
    store.apply(small, None)
    assert store.families(Form.TEXT).families[0].bodies == [small.families[0].text]


@pytest.mark.parametrize("at", [0, 12, -1])
def test_a_damaged_body_is_an_error_of_the_store(store: SqliteStore, path: Path, at: int) -> None:
    """Wherever a bit is another, whoever reads it is told that the store is damaged, and may push it again."""
    group = key("a")
    change = push(group, family("x", group=group, padding=300_000))
    store.apply(change, None)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        stored = bytearray(db.execute("SELECT text FROM large_bodies").fetchone()[0])
        stored[at] ^= 1
        db.execute("UPDATE large_bodies SET text = ?", (bytes(stored),))
    with pytest.raises(StoreUnreadableError, match="is damaged; restore it from a backup"):
        store.families(Form.TEXT)
    store.apply(change, None)
    assert store.families(Form.TEXT).families[0].bodies == [change.families[0].text]


@pytest.mark.parametrize("checked", [True, False])
def test_pages_stay_while_the_series_do(store: SqliteStore, path: Path, *, checked: bool) -> None:
    """The same series in another order leave the pages as they are, and any other series, or one twice, does not."""
    group = key("a")

    def of(*numbers: int) -> Push:
        some = family("x", group=group, series=[{"n": str(n)} for n in numbers])
        return push(group, some)._replace(checked=checked)

    def is_stored(change: Push) -> None:
        hashes = change.families[0].hashes
        ordered = b"".join(sorted(hashes[at : at + 8] for at in range(0, len(hashes), 8)))
        with closing(sqlite3.connect(path)) as db:
            pages = db.execute("SELECT first, hashes FROM hash_pages ORDER BY first").fetchall()
        assert pages == series.cut_pages(ordered)
        assert b"".join(page for _, page in pages) == ordered

    def sort(hashes: bytes) -> bytes:
        assert not store._lock._mutex.locked()
        return sort_them(hashes)

    sort_them = series._sort
    first, again = of(*range(LARGE)), of(*reversed(range(LARGE)))
    with patch.object(series, "_sort", sort):
        store.apply(first, Ticket())
        with patch.object(series, "_sort") as made:
            store.apply(again, Ticket())
        made.assert_not_called()
        is_stored(first)
        others = [of(*range(1, LARGE + 1)), of(*range(LARGE + 1))]
        if not checked:
            others.append(of(*range(LARGE), LARGE - 1))
        for other in others:
            store.apply(other, Ticket())
            is_stored(other)
        # Another push came between the look before the lock and the lock.
        with patch.object(
            sqlite_module, "stored_hashes", lambda db, key, names: {"x": sort_them(first.families[0].hashes)}
        ):
            store.apply(again, Ticket())
        is_stored(first)
    store.apply(others[0], None)
    is_stored(others[0])


def test_pages_go_with_their_family(store: SqliteStore, path: Path) -> None:
    """Pages of hashes are replaced, and removed, with the family, however it goes."""
    group = key("a")

    def of(count: int, name: str = "x") -> Push:
        return push(group, family(name, group=group, series=tuple({"n": str(n)} for n in range(count))))

    store.apply(of(LARGE), None)
    before = pages(path)
    assert before > 3
    store.apply(of(LARGE), None)
    assert pages(path) == before
    store.apply(of(1), None)
    assert pages(path) == 0
    for last in (push(group), of(1, "y"), of(LARGE, "y"), Delete(group), Wipe()):
        store.apply(of(LARGE), None)
        store.apply(last, None)
        assert pages(path) == (before if last == of(LARGE, "y") else 0)
