"""Does a copy take the store's place whole, or not at all?"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pushgateway.errors import CommandError, PushgatewayError
from pushgateway.storage import StatusBoard, open_store, prepare_store, restoration, schema
from pushgateway.storage import prepare as prepare_module
from pushgateway.storage.copies import copy_store
from pushgateway.storage.restoration import restore_store
from tests.stores import GROUPS, HOLD_IN_SQLITE, PUSH_AND_DIE, fill_store, used_by_another

NOON = 1_700_000_000.0
KEPT = ".before-restore-20231114T221320Z"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of a store, in a directory of its own."""
    (tmp_path / "copies").mkdir()
    original = fill_store(tmp_path / "copies" / "original.db")
    target = tmp_path / "copies" / "copy.db"
    copy_store(str(original), str(target), force=False, progress=lambda _done, _total: None)
    for path in target.parent.glob("original.db*"):
        path.unlink()
    return target


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty directory for a store."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def group_count(path: Path) -> int:
    """Open a store as a gateway does and count its groups."""
    store = open_store(prepare_store(f"sqlite:{path}").url, board=StatusBoard(), own={})
    try:
        return len(store.groups())
    finally:
        store.close()


def contents(directory: Path) -> dict[str, bytes]:
    """Return all files but the lock, with what they hold."""
    files = [path for path in directory.iterdir() if path.is_file() and not path.name.endswith("-lock")]
    return {path.name: path.read_bytes() for path in files}


def refuse(copy: Path, path: Path, *words: str, force: bool = False) -> None:
    """Assert that a restore is refused in one line that holds some words, and that all files are as before."""
    before = contents(path.parent), contents(copy.parent)
    with pytest.raises(PushgatewayError) as raised:
        restore_store(str(copy), str(path), force=force, at_seconds=NOON)
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert (contents(path.parent), contents(copy.parent)) == before


@pytest.mark.parametrize("existing", ["nothing", "an empty file", "a store without groups"])
def test_where_nothing_was(copy: Path, home: Path, existing: str) -> None:
    """Where there is no group to lose, the copy becomes the store, and nothing else is left; the copy stays."""
    path, before = home / "store.db", contents(copy.parent)
    if existing == "an empty file":
        path.touch()
    elif existing == "a store without groups":
        fill_store(path, groups=0)
    restored = restore_store(str(copy), str(path), force=False, at_seconds=NOON)
    assert (restored.contents.groups, restored.contents.families, restored.kept) == (GROUPS, 2 * GROUPS, "")
    assert set(contents(home)) == {"store.db"}
    assert contents(copy.parent) == before
    assert group_count(path) == GROUPS


def test_a_store_with_groups_is_kept(copy: Path, home: Path) -> None:
    """A store with groups is replaced only if that is asked for, and is kept with a name that says when."""
    path = fill_store(home / "store.db", groups=3)
    path.chmod(0o640)
    refuse(copy, path, "holds 3 groups", "--force", KEPT)
    restored = restore_store(str(copy), str(path), force=True, at_seconds=NOON)
    assert restored.kept == str(path) + KEPT
    assert set(contents(home)) == {"store.db", f"store.db{KEPT}"}
    assert (group_count(path), group_count(home / f"store.db{KEPT}")) == (GROUPS, 3)
    assert path.stat().st_mode & 0o777 == 0o640


def test_the_log_of_the_old_store(copy: Path, home: Path) -> None:
    """What a killed gateway has left in the log belongs to what is kept, and does not touch the restored store."""
    path = fill_store(home / "store.db", groups=3)
    subprocess.run([sys.executable, "-c", PUSH_AND_DIE, str(path)], cwd=Path(__file__).parents[3], check=False)
    assert (home / "store.db-wal").stat().st_size
    restore_store(str(copy), str(path), force=True, at_seconds=NOON)
    assert set(contents(home)) == {"store.db", f"store.db{KEPT}"}
    assert (group_count(path), group_count(home / f"store.db{KEPT}")) == (GROUPS, 4)


def test_a_damaged_store_is_replaced_when_asked_for(copy: Path, home: Path) -> None:
    """A store that cannot be read any more is not replaced silently; with force it is kept as it is, with its log."""
    path = fill_store(home / "store.db", groups=3)
    damaged = path.read_bytes()[:100] + b"\xff" * 8000
    path.write_bytes(damaged)
    (home / "store.db-wal").write_bytes(b"not a log")
    with pytest.raises(CommandError, match=r"cannot be read .*--force"):
        restore_store(str(copy), str(path), force=False, at_seconds=NOON)
    (home / "store.db-wal").write_bytes(b"not a log")
    restore_store(str(copy), str(path), force=True, at_seconds=NOON)
    assert group_count(path) == GROUPS
    assert (home / f"store.db{KEPT}").read_bytes() == damaged


def test_a_log_without_its_database(copy: Path, home: Path) -> None:
    """A log that lies where there is no database is not read as that of the restored store."""
    other = fill_store(home / "other.db", groups=3)
    subprocess.run([sys.executable, "-c", PUSH_AND_DIE, str(other)], cwd=Path(__file__).parents[3], check=False)
    shutil.move(home / "other.db-wal", home / "store.db-wal")
    (home / "store.db-journal").write_bytes(b"x")
    restore_store(str(copy), str(home / "store.db"), force=False, at_seconds=NOON)
    assert set(contents(home)) == {"other.db", "other.db-shm", "store.db"}
    assert group_count(home / "store.db") == GROUPS


@pytest.mark.parametrize("program", ["a gateway", "sqlite3"])
def test_a_store_in_use(copy: Path, home: Path, program: str) -> None:
    """A store that a gateway or any other program has open is not replaced, whatever is asked for."""
    path = fill_store(home / "store.db", groups=3)
    with used_by_another(path, *([HOLD_IN_SQLITE] if program == "sqlite3" else [])):
        for force in (False, True):
            refuse(copy, path, "uses it", "stop it first", force=force)


def test_a_copy_in_use(copy: Path, home: Path) -> None:
    """A store that a gateway uses is no copy."""
    with used_by_another(copy):
        refuse(copy, home / "store.db", str(copy), "a gateway uses it")


def test_a_gateway_that_starts_meanwhile_waits(copy: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the writers' lock, as a start does, nothing is replaced."""
    path = fill_store(home / "store.db", groups=0)
    monkeypatch.setattr(prepare_module, "BUSY_SECONDS", 0.05)
    with open(f"{path}-lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refuse(copy, path, "another process has held", "-lock")


def test_what_is_no_copy(tmp_path: Path, copy: Path, home: Path) -> None:
    """What is missing, not ours, damaged or newer is refused in one line, and the store stays."""
    path = fill_store(home / "store.db", groups=3)
    refuse(tmp_path / "missing.db", path, "missing.db", "No such file", force=True)
    text = tmp_path / "text"
    text.write_text("x 1\n")
    refuse(text, path, "not a pushgateway database", force=True)
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(copy.read_bytes()[: copy.stat().st_size // 2])
    refuse(damaged, path, "damaged.db", "damaged", force=True)
    newer = Path(shutil.copy(copy, tmp_path / "newer.db"))
    with closing(sqlite3.connect(newer)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    refuse(newer, path, f"version {schema.VERSION + 1}", force=True)
    refuse(path, path, "from itself", force=True)


def test_places_that_are_no_store(copy: Path, home: Path) -> None:
    """What is not ours is never replaced, and a missing directory is said."""
    (home / "notes.txt").write_text("precious")
    refuse(copy, home / "notes.txt", "not a pushgateway database", force=True)
    with pytest.raises(PushgatewayError, match="there is no directory"):
        restore_store(str(copy), str(home / "missing" / "store.db"), force=True, at_seconds=NOON)


def test_an_older_layout_is_migrated(copy: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of an older layout is brought up to date before it takes the place; the copy stays as it was."""
    before = copy.read_bytes()
    steps = {schema.VERSION: lambda db: db.execute("CREATE TABLE later (x)")}
    migrate = schema.migrate
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(schema, "migrate", lambda db: migrate(db, target=schema.VERSION, steps=steps))
    restored = restore_store(str(copy), str(home / "store.db"), force=False, at_seconds=NOON)
    assert restored.contents.version == schema.VERSION
    assert copy.read_bytes() == before
    with closing(sqlite3.connect(home / "store.db")) as db:
        assert db.execute("SELECT count(*) FROM later").fetchone() == (0,)


def test_a_restore_that_fails_at_the_last_step(copy: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the new file cannot get the store's name, the store is still there with all that it held."""
    path = fill_store(home / "store.db", groups=3)
    subprocess.run([sys.executable, "-c", PUSH_AND_DIE, str(path)], cwd=Path(__file__).parents[3], check=False)

    def fail(_old: str, _new: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(restoration.os, "replace", fail)
    with pytest.raises(CommandError, match="Input/output error"):
        restore_store(str(copy), str(path), force=True, at_seconds=NOON)
    assert group_count(path) == 4
    assert not list(home.glob("*.part*"))


def test_root_restores_for_the_gateways_user(copy: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What root writes belongs to whom the store, or else its directory, belongs to; a link is not followed."""
    chowned: list[str] = []

    def fchown(handle: int, _user: int, _group: int) -> None:
        chowned.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))

    def chown(file: str, _user: int, _group: int, *, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        chowned.append(os.path.basename(file))

    monkeypatch.setattr(restoration.os, "geteuid", lambda: 0)
    monkeypatch.setattr(restoration.os, "fchown", fchown)
    monkeypatch.setattr(restoration.os, "chown", chown)
    restore_store(str(copy), str(home / "store.db"), force=False, at_seconds=NOON)
    assert chowned[1] == "store.db-lock"
    assert re.fullmatch(r"store\.db\..*\.part", chowned[0])


def test_a_link_stays_a_link(copy: Path, home: Path, tmp_path: Path) -> None:
    """Where the store's name is a link, the file that it leads to is replaced."""
    (tmp_path / "disk").mkdir()
    real = fill_store(tmp_path / "disk" / "real.db", groups=3)
    (home / "store.db").symlink_to(real)
    restored = restore_store(str(copy), str(home / "store.db"), force=True, at_seconds=NOON)
    assert os.path.islink(home / "store.db")
    assert group_count(real) == GROUPS
    assert restored.kept == f"{real}{KEPT}"
    assert group_count(Path(restored.kept)) == 3
