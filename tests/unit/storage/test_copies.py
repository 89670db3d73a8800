"""Is a copy of a store whole and alone, and is nothing else written?"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pushgateway.errors import CommandError
from pushgateway.storage import (
    StatusBoard,
    join_store,
    open_store,
    prepare_store,
    schema,
)
from pushgateway.storage.copies import check_copy, copy_store
from pushgateway.storage.sqlite_files import in_use, log_problem
from tests.contract.values import key, push
from tests.stores import GROUPS, HOLD_IN_SQLITE, PUSH_AND_DIE, fill_store, used_by_another

PAGE_BYTES = 8192
"""A page of the database."""


def nothing(_done: int, _total: int) -> None:
    """Take progress without showing it."""


def names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def test_a_copy_holds_everything_in_one_file(tmp_path: Path) -> None:
    """A copy has all groups and families, only its owner may read it, and nothing stands beside it."""
    store = fill_store(tmp_path / "store.db")
    (tmp_path / "copies").mkdir()
    target = tmp_path / "copies" / "copy.db"
    found = copy_store(str(store), str(target), force=False, progress=nothing)
    assert (found.groups, found.families, found.version) == (GROUPS, 2 * GROUPS, schema.VERSION)
    assert str(found) == f"{GROUPS} groups with {2 * GROUPS} families ({target.stat().st_size / 2**20:.1f} MiB)"
    assert names(target.parent) == {"copy.db"}
    assert target.stat().st_mode & 0o777 == 0o600
    assert check_copy(str(target)) == found
    assert names(target.parent) == {"copy.db"}


def test_a_copy_holds_what_is_only_in_the_log(tmp_path: Path) -> None:
    """What was pushed last stands in the log alone when a gateway is killed, and is in the copy all the same."""
    store = fill_store(tmp_path / "store.db", groups=1)
    command = [sys.executable, "-c", PUSH_AND_DIE, str(store)]
    assert subprocess.run(command, cwd=Path(__file__).parents[3], check=False).returncode == -signal.SIGKILL
    shutil.copyfile(store, tmp_path / "naive.db")
    assert copy_store(str(store), str(tmp_path / "copy.db"), force=False, progress=nothing).groups == 2
    assert check_copy(str(tmp_path / "naive.db")).groups == 1


def test_a_copy_can_be_opened_as_a_store(tmp_path: Path) -> None:
    """A copy is a store itself: it can be prepared, read and pushed to."""
    store = fill_store(tmp_path / "store.db")
    copy = tmp_path / "copy.db"
    copy_store(str(store), str(copy), force=False, progress=nothing)
    opened = open_store(prepare_store(f"sqlite:{copy}").url, board=StatusBoard(), own={})
    assert len(opened.groups()) == GROUPS
    opened.apply(push(key("new")), None)
    opened.close()


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    """Progress counts bytes up to the size of the copy."""
    store = fill_store(tmp_path / "store.db")
    seen: list[tuple[int, int]] = []
    found = copy_store(
        str(store), str(tmp_path / "copy.db"), force=False, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (found.bytes, found.bytes)
    assert seen == sorted(seen)


def test_an_interrupted_copy_leaves_nothing(tmp_path: Path) -> None:
    """When the operator interrupts the copying, no file of it is left."""
    store = fill_store(tmp_path / "store.db")

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_store(str(store), str(tmp_path / "copy.db"), force=False, progress=interrupt)
    assert names(tmp_path) == {"store.db", "store.db-lock"}


def test_a_command_joins_a_store(tmp_path: Path) -> None:
    """A command creates a store or writes to one beside a gateway, but not if it would write to another log."""
    path = tmp_path / "store.db"
    with join_store(f"sqlite:{path}", own={}, prepare=True) as store:
        store.apply(push(key("a")), None)
    with used_by_another(path):
        with join_store(f"sqlite:{path}", own={}, prepare=True) as store:
            store.apply(push(key("b")), None)
            assert len(store.groups()) == 2
        (tmp_path / "store.db-wal").unlink()
        with (
            pytest.raises(CommandError, match=r"cannot use .*store.db-wal is missing .*restart the gateway"),
            join_store(f"sqlite:{path}", own={}, prepare=True),
        ):
            pass


def refuse(store: Path, target: Path, *words: str, force: bool = False) -> None:
    """Assert that a copy is refused in one line that holds some words, and that no file comes or goes."""
    before = {path: path.read_bytes() for path in target.parent.iterdir() if path.is_file()}
    with pytest.raises(CommandError) as raised:
        copy_store(str(store), str(target), force=force, progress=nothing)
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert {path: path.read_bytes() for path in target.parent.iterdir() if path.is_file()} == before


def test_an_existing_file_stays(tmp_path: Path) -> None:
    """A file that exists is replaced only if that is asked for, and only by a whole copy."""
    store, target = fill_store(tmp_path / "store.db"), tmp_path / "copy.db"
    target.write_bytes(b"precious")
    refuse(store, target, str(target), "exists", "--force")
    assert copy_store(str(store), str(target), force=True, progress=nothing).groups == GROUPS


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-lock"])
def test_the_store_is_never_overwritten(tmp_path: Path, suffix: str) -> None:
    """A copy is not written over the store itself or a file beside it, whatever is asked for, nor through a link."""
    store = fill_store(tmp_path / "store.db")
    (tmp_path / "link").symlink_to(tmp_path / f"store.db{suffix}")
    for name in (f"store.db{suffix}", "link"):
        refuse(store, tmp_path / name, "belongs to the store", force=True)


def test_another_store_in_use_is_not_overwritten(tmp_path: Path) -> None:
    """A store that a gateway uses is not replaced by a copy of another one."""
    store, other = fill_store(tmp_path / "store.db"), fill_store(tmp_path / "other.db", groups=1)
    with used_by_another(other):
        refuse(store, other, "a gateway uses it", force=True)


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
@pytest.mark.parametrize("existing", [True, False])
def test_a_log_where_the_copy_would_be(tmp_path: Path, suffix: str, *, existing: bool) -> None:
    """A log that a killed gateway has left beside the target would be read as the copy's, so the copy is refused."""
    store, target = fill_store(tmp_path / "store.db"), tmp_path / "copies" / "copy.db"
    target.parent.mkdir()
    if existing:
        fill_store(target, groups=1)
    (target.parent / f"copy.db{suffix}").write_bytes(b"x")
    refuse(store, target, f"copy.db{suffix}", "remove it", force=True)
    (target.parent / f"copy.db{suffix}").write_bytes(b"")
    assert copy_store(str(store), str(target), force=True, progress=nothing).groups == GROUPS


@pytest.mark.parametrize("name", ["", "new/"])
def test_a_target_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A target that names no file is refused before anything is written, above the working directory least of all."""
    store = fill_store(tmp_path / "store.db")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    before = names(tmp_path)
    with pytest.raises(CommandError, match="names no file"):
        copy_store(str(store), name, force=True, progress=nothing)
    assert names(tmp_path) == before


def test_no_store(tmp_path: Path) -> None:
    """What is missing, empty, no file or not ours is refused in a line that says so."""
    target = tmp_path / "copy.db"
    refuse(tmp_path / "missing.db", target, "missing.db", "No such file")
    refuse(tmp_path, target, "not a file")
    (tmp_path / "empty.db").touch()
    refuse(tmp_path / "empty.db", target, "empty")
    (tmp_path / "text").write_text("x 1\n")
    refuse(tmp_path / "text", target, "not a pushgateway database")
    with closing(sqlite3.connect(tmp_path / "foreign.db")) as db:
        db.execute("CREATE TABLE x (y)")
    refuse(tmp_path / "foreign.db", target, "another program")


def test_no_directory(tmp_path: Path) -> None:
    """A target in a directory that does not exist is refused before anything is read."""
    store = fill_store(tmp_path / "store.db")
    with pytest.raises(CommandError, match=r"cannot copy .*No such file or directory"):
        copy_store(str(store), str(tmp_path / "missing" / "copy.db"), force=False, progress=nothing)


def test_a_damaged_store_gives_no_copy(tmp_path: Path) -> None:
    """What SQLite's check finds damaged never gets the name of the copy."""
    store = fill_store(tmp_path / "store.db")
    with store.open("r+b") as file:
        file.seek(os.path.getsize(store) // PAGE_BYTES // 2 * PAGE_BYTES)
        file.write(b"\xff" * PAGE_BYTES)
    refuse(store, tmp_path / "copy.db", "damaged")
    assert names(tmp_path) == {"store.db", "store.db-lock"}


def test_a_damaged_frame_gives_no_copy(tmp_path: Path) -> None:
    """What SQLite finds whole, but holds a family that cannot be unpacked, is no copy."""
    store = fill_store(tmp_path / "store.db")
    with closing(sqlite3.connect(store, isolation_level=None)) as db:
        frame = db.execute("SELECT text FROM large_bodies LIMIT 1").fetchone()[0]
        db.execute("UPDATE large_bodies SET bytes = 70000, text = ?", (frame[::-1],))
    refuse(store, tmp_path / "copy.db", "damaged", "a large family cannot be unpacked")


def test_a_newer_store(tmp_path: Path) -> None:
    """The store of a newer release is refused, and the line says both versions."""
    store = fill_store(tmp_path / "store.db")
    with closing(sqlite3.connect(store)) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    refuse(store, tmp_path / "copy.db", f"version {schema.VERSION + 1}", f"up to {schema.VERSION}")


def test_a_file_with_a_log_is_no_copy(tmp_path: Path) -> None:
    """A database with a log beside it is not whole by itself, and the line says what is expected instead."""
    store = fill_store(tmp_path / "store.db")
    (tmp_path / "link.db").symlink_to(store)
    (tmp_path / "store.db-wal").write_bytes(b"x")
    for name in ("store.db", "link.db"):
        with pytest.raises(
            CommandError, match=r"not complete without .*store.db-wal; expected a copy made by pushgateway"
        ):
            check_copy(str(tmp_path / name))


def test_users_of_a_store_are_seen(tmp_path: Path) -> None:
    """A store is in use while any program has it open, a gateway or another one, and no longer."""
    store = fill_store(tmp_path / "store.db")
    assert not in_use(str(store))
    with used_by_another(store):
        assert in_use(str(store))
        assert log_problem(str(store)) == ""
    assert not in_use(str(store))
    with used_by_another(store, HOLD_IN_SQLITE):
        assert in_use(str(store))
    assert not in_use(str(store))


@pytest.mark.parametrize(("removed", "made_again"), [("-wal", b""), ("-shm", b""), ("-shm", bytes(32768))])
def test_a_store_whose_log_was_removed(tmp_path: Path, removed: str, made_again: bytes) -> None:
    """Beside a gateway whose log or its index was removed the store is not opened: its last pushes would be missing."""
    store = fill_store(tmp_path / "store.db")
    with used_by_another(store):
        (tmp_path / f"store.db{removed}").unlink()
        if made_again:
            (tmp_path / f"store.db{removed}").write_bytes(made_again)
        refuse(store, tmp_path / "copy.db", f"store.db{removed}", "restart the gateway")
