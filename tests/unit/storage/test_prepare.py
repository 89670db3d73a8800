"""Which files may the gateway use, and is every other one left as it was?"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pushgateway.errors import StartError
from pushgateway.storage import StatusBoard, open_store, parse_url, prepare_store, schema
from pushgateway.storage import prepare as prepare_module
from pushgateway.storage.prepare import file_system, prepare_file
from tests.contract.values import family, key, push
from tests.stores import HOLD_IN_SQLITE, used_by_another

# How a file of the original (1.5.1) begins: encoding/gob's description of a map.
GOB = bytes.fromhex("29ff8d04010118") + b"GroupingKeyToMetricGroup" + bytes.fromhex("01ff8e00010c01ff82000025")


def contents(directory: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in directory.iterdir() if entry.is_file()}


def refuse(path: Path, *words: str) -> None:
    """Assert that a file is refused in one line, and that it and its directory are as before."""
    before = contents(path.parent)
    with pytest.raises(StartError) as raised:
        prepare_store(f"sqlite:{path}")
    message = str(raised.value)
    assert "\n" not in message
    assert str(path) in message
    for word in words:
        assert word in message
    assert contents(path.parent) == before


@pytest.mark.parametrize("existing", [None, b""])
def test_a_new_file(tmp_path: Path, existing: bytes | None) -> None:
    """A missing or empty file becomes a database of today's layout, with nothing but the lock beside it."""
    path = tmp_path / "new.db"
    if existing is not None:
        path.write_bytes(existing)
    prepared = prepare_store(f"sqlite:{path}")
    assert parse_url(prepared.url) == str(path)
    assert set(contents(tmp_path)) == {"new.db", "new.db-lock"}
    with closing(sqlite3.connect(path)) as db:
        schema.verify(db)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_prepared_twice(tmp_path: Path) -> None:
    """What is stored survives being prepared again, and cleaning up."""
    url = prepare_store(f"sqlite:{tmp_path}/x.db").url
    store = open_store(url, board=StatusBoard(), own={})
    store.apply(push(key(), family("x", group=key())), None)
    store.close()
    prepare_store(url).cleanup()
    again = open_store(prepare_store(url).url, board=StatusBoard(), own={})
    assert len(again.groups()) == 1
    again.close()


KILLED = """
import os, signal, sys
from pushgateway.storage import prepare_store, schema

create = schema.create
schema.create = lambda db: (create(db), os.kill(os.getpid(), signal.SIGKILL))
prepare_store(sys.argv[1])
"""


def test_killed_while_created(tmp_path: Path) -> None:
    """What a start leaves that was killed while it laid the database out is no obstacle to the next."""
    url = f"sqlite:{tmp_path}/x.db"
    killed = subprocess.run([sys.executable, "-c", KILLED, url], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "x.db").exists()
    prepare_store(url)
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        schema.verify(db)


def test_killed_before_the_log_was_on(tmp_path: Path) -> None:
    """A database that does not use the write-ahead log yet is made to."""
    url = prepare_store(f"sqlite:{tmp_path}/x.db").url
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    prepare_store(url)
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is resolved when the store is prepared."""
    monkeypatch.chdir(tmp_path)
    assert prepare_store("sqlite:x.db").url == f"sqlite:{tmp_path}/x.db"


def test_odd_names(tmp_path: Path) -> None:
    """A file name may hold what URLs would escape."""
    path = tmp_path / "a b?mode=ro#%41é.db"
    store = open_store(prepare_store(f"sqlite:{path}").url, board=StatusBoard(), own={})
    store.apply(push(key(), family("x", group=key())), None)
    store.close()
    assert set(contents(tmp_path)) == {path.name, f"{path.name}-lock"}


def test_symbolic_links(tmp_path: Path) -> None:
    """A link to a file leads to the file, beside which the lock is."""
    (tmp_path / "data").mkdir()
    (tmp_path / "x.db").symlink_to(tmp_path / "data" / "real.db")
    store = open_store(prepare_store(f"sqlite:{tmp_path}/x.db").url, board=StatusBoard(), own={})
    store.apply(push(key(), family("x", group=key())), None)
    store.close()
    assert set(contents(tmp_path / "data")) == {"real.db", "real.db-lock"}


def test_memory() -> None:
    """A temporary database works, and goes with its directory when it is cleaned up."""
    prepared = prepare_store("memory:")
    store = open_store(prepared.url, board=StatusBoard(), own={})
    store.apply(push(key(), family("x", group=key())), None)
    store.close()
    assert os.path.exists(parse_url(prepared.url))
    prepared.cleanup()
    prepared.cleanup()
    assert not os.path.exists(os.path.dirname(parse_url(prepared.url)))


def test_the_originals_file(tmp_path: Path) -> None:
    """A persistence file of the Go Pushgateway is recognised and named."""
    path = tmp_path / "metrics.store"
    path.write_bytes(GOB)
    refuse(path, "not a pushgateway database", "Go Pushgateway's persistence file", "how-to/migrate")


@pytest.mark.parametrize("data", [b"x", b"hello world, this is a text file\n" * 50, b"\0" * 4096, b"SQLite format 2\0"])
def test_not_sqlite(tmp_path: Path, data: bytes) -> None:
    """Any other file is refused, however short."""
    path = tmp_path / "x.db"
    path.write_bytes(data)
    refuse(path, "not a pushgateway database", "SQLite format 3", "not been changed")


def test_cut_short(tmp_path: Path) -> None:
    """A file that ends within SQLite's header is refused."""
    path = tmp_path / "x.db"
    path.write_bytes(b"SQLite format 3\0" + b"\0" * 20)
    refuse(path, "another program")


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_another_programs_database(tmp_path: Path, journal: str) -> None:
    """A database of another program is refused unopened: nothing appears beside it."""
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA journal_mode = {journal}")
        db.execute("CREATE TABLE groups (x)")
        db.commit()
    refuse(path, "another program", "application_id 0x0 where 0x50474d53 was expected")


def test_our_mark_without_our_tables(tmp_path: Path) -> None:
    """A database that has our application_id but not our tables is refused, with its tables as they were."""
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE groups (x)")
        db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {schema.VERSION}")
        db.commit()
    with pytest.raises(StartError, match="no table families, hash_pages, headers, large_bodies"):
        prepare_store(f"sqlite:{path}")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("groups",)]


def test_an_older_schema_in_use(tmp_path: Path) -> None:
    """What an older gateway has open is not brought up to date beneath it, and is when that one has ended."""
    path = tmp_path / "x.db"
    url = prepare_store(f"sqlite:{path}").url
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION - 1}")
        db.execute("DROP TABLE large_bodies")
        db.execute("CREATE TABLE large_bodies (id INTEGER PRIMARY KEY, text BLOB NOT NULL, metrics BLOB NOT NULL)")
    with used_by_another(path, HOLD_IN_SQLITE):
        with pytest.raises(StartError, match=r"x\.db is of an older release, and a gateway uses it, .* stop it first"):
            prepare_store(url)
        with closing(sqlite3.connect(path)) as db:
            assert schema.version(db) == schema.VERSION - 1
    prepare_store(url)
    with closing(sqlite3.connect(path)) as db:
        schema.verify(db)
    with used_by_another(path):
        prepare_store(url)


def test_newer_schema(tmp_path: Path) -> None:
    """A database of a newer release is refused, and can be used by that release still."""
    url = prepare_store(f"sqlite:{tmp_path}/x.db").url
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StartError, match=r"x\.db cannot be used: its schema has version 99, made by a newer release"):
        prepare_store(url)
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        assert schema.version(db) == 99


def test_damaged(tmp_path: Path) -> None:
    """A database whose first page is damaged behind the header is refused in one line."""
    url = prepare_store(f"sqlite:{tmp_path}/x.db").url
    with open(tmp_path / "x.db", "r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 500)
    with pytest.raises(StartError, match="cannot be opened as a database: "):
        prepare_store(url)


def test_not_files(tmp_path: Path) -> None:
    """Directories, pipes, sockets and devices are refused, and say what they are."""
    (tmp_path / "dir").mkdir()
    os.mkfifo(tmp_path / "pipe")
    refuse(tmp_path / "dir", "a directory", "expected a file")
    refuse(tmp_path / "pipe", "a pipe")
    refuse(Path("/dev/null"), "a device")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        refuse(tmp_path / "s", "a socket")


def test_missing_directory(tmp_path: Path) -> None:
    """A directory that is not there is named, and not made."""
    with pytest.raises(StartError, match=f"there is no directory {tmp_path}/missing"):
        prepare_store(f"sqlite:{tmp_path}/missing/x.db")
    assert contents(tmp_path) == {}


def test_a_file_for_a_directory(tmp_path: Path) -> None:
    """A path through a file is refused."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StartError, match="there is no directory"):
        prepare_store(f"sqlite:{tmp_path}/file/x.db")


@pytest.mark.parametrize(("denied", "words"), [("", "directory .* is not writable"), ("x.db", "file is read-only")])
def test_missing_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, denied: str, words: str) -> None:
    """A directory or file without the right to write is refused."""
    # Asked of a fake, since root may everything.
    (tmp_path / "x.db").write_bytes(b"")
    path = str(tmp_path / denied) if denied else str(tmp_path)
    monkeypatch.setattr(prepare_module.os, "access", lambda asked, mode: asked != path)
    with pytest.raises(StartError, match=words):
        prepare_store(f"sqlite:{tmp_path}/x.db")
    assert contents(tmp_path) == {"x.db": b""}


def test_the_lock_of_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that another process is writing to for too long is not touched."""
    monkeypatch.setattr(prepare_module, "BUSY_SECONDS", 0.0)
    with open(tmp_path / "x.db-lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StartError, match=r"another process has held .*x\.db-lock for"):
            prepare_store(f"sqlite:{tmp_path}/x.db")
    assert set(contents(tmp_path)) == {"x.db-lock"}


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /srv rw - nfs4 server:/export rw,vers=4.2
31 30 8:2 / /srv/local rw - xfs /dev/sdb rw
32 22 0:41 / /mnt/with\\040blank rw master:2 - cifs //server/share rw
33 22 0:42 / /home rw - fuse.sshfs me@host: rw
34 22 0:43 / /over rw - nfs server:/x rw
35 22 0:44 / /over rw - tmpfs none rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/x/y", "nfs4"),
        ("/srv/local/z", "xfs"),
        ("/srvother", "ext4"),
        ("/mnt/with blank/x", "cifs"),
        ("/home", "fuse.sshfs"),
        ("/over/x", "tmpfs"),
    ],
)
def test_file_systems(tmp_path: Path, path: str, kind: str) -> None:
    """The mount that holds a path is the deepest one, and of those on one directory the last."""
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert file_system(path, mountinfo=str(tmp_path / "mountinfo")) == kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs"])
def test_network_file_systems(tmp_path: Path, kind: str) -> None:
    """A directory on a network file system is refused, and named."""
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"{MOUNTS}36 22 0:45 / {tmp_path.resolve()} rw - {kind} server:/y rw\n")
    with pytest.raises(StartError, match=rf"network file system \({kind}\).*expected a local disk"):
        prepare_file(str(tmp_path / "x.db"), mountinfo=str(mountinfo))
    assert set(contents(tmp_path)) == {"mountinfo"}


def test_unknown_file_systems(tmp_path: Path) -> None:
    """Where the table of mounts cannot be read, nothing is refused for it."""
    assert file_system("/", mountinfo=str(tmp_path / "missing")) == ""
    prepare_file(str(tmp_path / "x.db"), mountinfo=str(tmp_path / "missing"))
