"""What does the store answer when the disk, the file or a page of it is not what it should be, and does it recover?

Long, since the failures share their set-up: small disks, stores in processes of their own, and what to expect of each.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from pushgateway.errors import InconsistentPushError, StoreUnreadableError, StoreUnwritableError
from pushgateway.model import Delete, Form, GroupingKey, Wipe
from pushgateway.storage import StatusBoard, Store, open_store, prepare_store
from pushgateway.storage.sqlite import SqliteStore
from tests.contract.forked import Workers
from tests.contract.values import family, key, push

REPOSITORY = Path(__file__).parents[2]
PAGE_BYTES = 8192
"""A page of the database."""


@pytest.fixture
def board() -> StatusBoard:
    return StatusBoard()


@contextlib.contextmanager
def opened(path: Path, board: StatusBoard | None = None) -> Iterator[Store]:
    store = open_store(f"sqlite:{path}", board=board or StatusBoard(), own={})
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of an empty store."""
    prepare_store(f"sqlite:{tmp_path}/x.db")
    return tmp_path / "x.db"


def put(store: Store, job: str, *, padding: int = 0) -> None:
    store.apply(push(key(job), family(f"x_{job}", group=key(job), padding=padding, dense=True)), None)


def put_many(store: Store, count: int, *, padding: int) -> None:
    for number in range(count):
        put(store, str(number), padding=padding)


def jobs(store: Store) -> list[str]:
    return [view.name.removeprefix("x_") for view in store.families(Form.TEXT).families]


def full_disk(small_disk: Path) -> None:
    """On a full disk a push says so and stores nothing, and reads go on; as soon as there is room a push succeeds."""
    path, board = small_disk / "x.db", StatusBoard()
    prepare_store(f"sqlite:{path}")
    with opened(path, board) as store:
        put(store, "a")
        (small_disk / "other").write_bytes(b"\0" * 1_500_000)
        with pytest.raises(StoreUnwritableError, match="full") as raised:
            put(store, "b", padding=300_000)
        assert "unknown" not in raised.value.reason
        assert store.unwritable_reason() == raised.value.reason
        assert jobs(store) == ["a"]
        store.ping()
        with opened(path, board) as other:
            assert jobs(other) == ["a"]
            assert other.unwritable_reason() == raised.value.reason
        (small_disk / "other").unlink()
        put(store, "b", padding=300_000)
        assert store.unwritable_reason() == ""
        assert jobs(store) == ["a", "b"]
    with opened(path) as again:
        assert jobs(again) == ["a", "b"]


def disk_filled_up_by_pushes(small_disk: Path) -> None:
    """When pushes themselves fill the disk, every one that was stored is kept, and a wipe makes room again."""
    path = small_disk / "x.db"
    prepare_store(f"sqlite:{path}")
    (small_disk / "other").write_bytes(b"\0" * 300_000)
    with opened(path) as store:
        with pytest.raises(StoreUnwritableError, match="full"):
            put_many(store, 1_000, padding=20_000)
        stored = jobs(store)
        assert len(stored) > 3
    with opened(path) as store:
        assert jobs(store) == stored
        (small_disk / "other").unlink()
        store.apply(Wipe(), None)
        put(store, "a")
        assert jobs(store) == ["a"]


def disk_smaller_than_the_log(small_disk: Path) -> None:
    """On a disk that the log could fill, overwriting never fails for it: the log moves into the database first."""
    path = small_disk / "x.db"
    prepare_store(f"sqlite:{path}")
    with opened(path) as store:
        for number in range(1_000):
            put(store, str(number % 5), padding=10_000)
        assert os.path.getsize(f"{path}-wal") < 1 << 20
        assert len(jobs(store)) == 5
        assert store.unwritable_reason() == ""


def killed_on_a_full_disk(small_disk: Path) -> None:
    """A worker that is killed when the disk is full loses nothing; the one in its place goes on when there is room."""
    path = small_disk / "x.db"
    prepare_store(f"sqlite:{path}")
    workers = Workers(path)
    first, second = workers.start(), workers.start()
    assert first.put("a", "b") + second.put("c") == ["", "", ""]
    (small_disk / "other").write_bytes(b"\0" * 1_500_000)
    [answer] = first.put("d", padding=300_000)
    assert "full" in answer
    first.kill()
    third = workers.start()
    assert third.jobs() == second.jobs() == "a b c"
    assert "full" in third.put("d", padding=300_000)[0]
    (small_disk / "other").unlink()
    assert third.put("d", padding=300_000) + second.put("e") == ["", ""]
    third.close()
    second.close()
    with opened(path) as store:
        assert jobs(store) == ["a", "b", "c", "d", "e"]


IN_SMALL_DISK = 'mount -t tmpfs -o size=2m tmpfs "$1" && shift && exec "$@"'
WITHOUT_ROOT = ["unshare", "--user", "--map-root-user", "--mount"]
"""A process of its own mounts the small disk, so that nothing stays mounted: as root, or as root of a namespace."""


@pytest.mark.parametrize(
    "scenario", ["full_disk", "disk_filled_up_by_pushes", "disk_smaller_than_the_log", "killed_on_a_full_disk"]
)
def test_small_disk(tmp_path: Path, scenario: str) -> None:
    """On a file system of 2 MiB, what the scenario's docstring says holds."""
    code = f"import sys; from tests.integration.test_storage_failures import *; {scenario}(Path(sys.argv[1]))"
    inner = ["sh", "-c", IN_SMALL_DISK, "sh", str(tmp_path)]
    for namespace in (["unshare", "--mount"], WITHOUT_ROOT):
        if subprocess.run([*namespace, *inner, "true"], capture_output=True, check=False).returncode == 0:
            command = [*namespace, *inner, sys.executable, "-W", "error", "-c", code, str(tmp_path)]
            done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)
            assert done.returncode == 0, done.stderr
            return
    why = "a disk that is full takes the right to mount a small one, as root or in a user namespace"
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


LIMITED_FILES = """
import resource, sys
from pushgateway.errors import StoreUnwritableError
from tests.integration.test_storage_failures import *

path = Path(sys.argv[1])
with opened(path) as store:
    put(store, "a")
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    try:
        put(store, "b", padding=300_000)
    except StoreUnwritableError as error:
        assert "SQLITE_" in error.reason, error.reason
        assert store.unwritable_reason() == error.reason
    else:
        raise AssertionError("the push was stored")
    assert jobs(store) == ["a"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    put(store, "b", padding=300_000)
    assert jobs(store) == ["a", "b"]
    assert store.unwritable_reason() == ""
"""


def run(code: str, path: Path) -> str:
    """Run code in a process of its own, since it changes what the whole process may do; return what it prints."""
    command = [sys.executable, "-W", "error", "-c", code, str(path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_limited_file_size(path: Path) -> None:
    """A limit of the system on the size of files is a failure to write like a full disk, and is recovered from."""
    run(LIMITED_FILES, path)


WITHOUT_RIGHTS = """
import os, sys
from tests.integration.test_storage_failures import *

path = Path(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)
with opened(path) as store:
    try:
        put(store, "b")
    except StoreUnwritableError as error:
        assert str(path) in error.reason, error.reason
        assert store.unwritable_reason() == error.reason
    else:
        raise AssertionError("the push was stored")
    try:
        assert jobs(store) == ["a"]
    except StoreUnreadableError as error:
        assert str(path) in error.reason, error.reason
        print("unreadable")
"""


@pytest.mark.parametrize(
    ("file_mode", "directory_mode", "readable"),
    [(0o444, 0o777, True), (0o444, 0o555, False), (0o666, 0o555, False), (0o000, 0o777, False)],
)
def test_missing_rights(path: Path, file_mode: int, directory_mode: int, *, readable: bool) -> None:
    """A worker without the right to write the file, or beside it, answers pushes with a reason.

    It reads what it can: SQLite needs to write an index beside the database even to read.
    """
    with opened(path) as store:
        put(store, "a")
    path.with_name("x.db-lock").chmod(0o666)
    path.chmod(file_mode)
    path.parent.chmod(directory_mode)
    for above in path.parents[1:]:  # pytest keeps its directories to the user who runs it
        if above.name.startswith(("pytest-", "popen-")):
            above.chmod(0o755)
    try:
        assert run(WITHOUT_RIGHTS, path) == ("" if readable else "unreadable\n")
    finally:
        path.parent.chmod(0o777)


def test_deleted_file(path: Path, board: StatusBoard) -> None:
    """After the file is deleted pushes fail and say so; reads go on from the open file, by all threads."""
    with opened(path, board) as store:
        put(store, "a")
        path.unlink()
        for _ in range(2):
            with pytest.raises(StoreUnwritableError, match=r"x\.db has been deleted"):
                put(store, "b")
            assert jobs(store) == ["a"]
            store.ping()
        assert "deleted" in board.reason()


def test_deleted_before_the_first_read(path: Path) -> None:
    """Reads go on from the open file even if there was none before it was deleted."""
    with opened(path) as store:
        put(store, "a")
        path.unlink()
        assert jobs(store) == ["a"]
        assert len(store.groups()) == 1


def test_deleted_between_check_and_commit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that goes while a push is being stored fails the push, and says that the outcome is unknown."""
    with opened(path) as store:
        put(store, "a")
        monkeypatch.setattr("pushgateway.storage.sqlite.give_back_space", lambda db, may_wait: path.unlink())
        with pytest.raises(StoreUnwritableError, match=r"has been deleted .* is unknown"):
            put(store, "b")


class FailingOnce:
    """A connection whose commits fail with these errors, one after the other, before they reach SQLite."""

    def __init__(self, db: sqlite3.Connection, *codes: str) -> None:
        self._db = db
        self._codes = list(codes)

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        """Execute a statement, unless it is to fail."""
        if sql == "COMMIT" and self._codes:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = self._codes.pop(0)
            error.sqlite_errorcode = getattr(sqlite3, error.sqlite_errorname)
            raise error
        return self._db.execute(sql, *parameters)


@pytest.mark.parametrize("second", ["SQLITE_FULL", "SQLITE_BUSY", "SQLITE_CORRUPT"])
def test_the_retry_does_not_hide_an_unknown_outcome(path: Path, second: str) -> None:
    """If a commit may have reached the disk, a retry that fails for another reason does not make that certain."""
    with opened(path) as store:
        assert isinstance(store, SqliteStore)
        put(store, "a")
        writer = store._handles.writer
        store._handles.writer = FailingOnce(writer, "SQLITE_IOERR_FSYNC", second)
        with pytest.raises(StoreUnwritableError, match=f"{second}.*SQLITE_IOERR_FSYNC.*is unknown"):
            put(store, "b")
        put(store, "b")
        store._handles.writer = FailingOnce(writer, "SQLITE_IOERR_FSYNC")
        put(store, "c")
        store._handles.writer = writer
        assert jobs(store) == ["a", "b", "c"]


def test_closing_beside_a_writer(path: Path) -> None:
    """A store that is closed while another process writes leaves the log to that one, and does not wait for it."""
    with opened(path) as other, opened(path) as store:
        put(store, "a")
        written_at = path.stat().st_mtime_ns
        with path.with_name("x.db-lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            store.close()
        assert path.stat().st_mtime_ns == written_at
        assert jobs(other) == ["a"]


def test_file_put_back(path: Path, board: StatusBoard) -> None:
    """A file that was moved away and back is written to again, with all that was stored before."""
    with opened(path, board) as store:
        put(store, "a")
        path.rename(path.with_name("away"))
        with pytest.raises(StoreUnwritableError):
            put(store, "b")
        path.with_name("away").rename(path)
        put(store, "b")
        assert jobs(store) == ["a", "b"]
        assert board.reason() == ""


def remove_with_its_log(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()


def test_restored_file(path: Path, tmp_path: Path, board: StatusBoard) -> None:
    """When a valid file takes the place of the deleted one, every worker goes on with it, without a restart."""
    backup = tmp_path / "backup.db"
    with opened(path) as store:
        put(store, "old")
    shutil.copy(path, backup)
    with opened(path, board) as store, opened(path, board) as other:
        put(store, "a")
        assert jobs(other) == ["a", "old"]
        remove_with_its_log(path)
        for worker in (store, other):
            with pytest.raises(StoreUnwritableError, match="deleted"):
                put(worker, "b")
            assert jobs(worker) == ["a", "old"]
        shutil.copy(backup, path)
        assert jobs(other) == ["old"]
        put(store, "c")
        assert jobs(other) == ["c", "old"]
        put(other, "d")
        assert board.reason() == ""
    with opened(path) as again:
        assert jobs(again) == ["c", "d", "old"]


def test_restored_over_an_old_log(path: Path, tmp_path: Path) -> None:
    """A new file beside the old one's log is not opened, since that would mix the two, until the log is removed."""
    backup = tmp_path / "backup.db"
    with opened(path) as store:
        put(store, "old")
    shutil.copy(path, backup)
    with opened(path) as store:
        put(store, "a")
        path.unlink()
        shutil.copy(backup, path)
        with pytest.raises(StoreUnwritableError, match=r"replaced.*remove .*x\.db-wal"):
            put(store, "b")
        assert jobs(store) == ["a", "old"]
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink()
        put(store, "b")
        assert jobs(store) == ["b", "old"]


@pytest.mark.parametrize("data", [b"", b"something else", b"SQLite format 3\0" + b"\0" * 4080])
def test_replaced_by_something_else(path: Path, data: bytes) -> None:
    """A file of another kind in its place is neither written to nor read."""
    with opened(path) as store:
        put(store, "a")
        remove_with_its_log(path)
        path.write_bytes(data)
        for _ in range(2):
            with pytest.raises(StoreUnwritableError, match="replaced"):
                put(store, "b")
            assert jobs(store) == ["a"]
        assert path.read_bytes() == data


def test_removed_log(path: Path) -> None:
    """A write-ahead log removed under the store fails pushes before they are lost; the rest is kept over a restart."""
    with opened(path) as store:
        put(store, "a")
        path.with_name("x.db-wal").unlink()
        with pytest.raises(StoreUnwritableError, match=r"x\.db-wal has been deleted"):
            put(store, "b")
        assert jobs(store) == ["a"]
    with opened(path) as again:
        assert jobs(again) == ["a"]


def test_a_worker_without_a_file(path: Path, board: StatusBoard) -> None:
    """A store whose file is missing answers errors and creates nothing, and works once the file is there."""
    path.rename(path.with_name("away"))
    with opened(path, board) as store:
        with pytest.raises(StoreUnreadableError, match=r"x\.db: No such file"):
            store.ping()
        with pytest.raises(StoreUnwritableError, match=r"x\.db: No such file"):
            put(store, "a")
        assert not path.exists()
        assert "No such file" in board.reason()
        path.with_name("away").rename(path)
        put(store, "a")
        assert jobs(store) == ["a"]
        assert board.reason() == ""


def test_missing_directory(path: Path) -> None:
    """A store whose whole directory is gone says so."""
    with opened(path) as store:
        put(store, "a")
        shutil.rmtree(path.parent)
        with pytest.raises(StoreUnwritableError, match=r"deleted|No such file"):
            put(store, "b")
        assert jobs(store) == ["a"]


def damage(path: Path, *, page: int, size: int = PAGE_BYTES) -> None:
    with path.open("r+b") as file:
        file.seek(page * size)
        file.write(b"\xa5" * size)


def answer(store: Store, group: GroupingKey) -> set[type[Exception]]:
    """Do everything that can be done with a store; return the errors that the contract knows."""
    pushed = push(group, family("x_new", group=group), family("x_0", group=group))
    known: set[type[Exception]] = set()
    for use in (
        store.ping,
        store.groups,
        lambda: store.families(Form.TEXT),
        lambda: store.families(Form.METRICS),
        lambda: store.apply(pushed, None),
        lambda: store.apply(Delete(key("1")), None),
        lambda: store.apply(Wipe(), None),
    ):
        try:
            use()
        except (StoreUnreadableError, StoreUnwritableError, InconsistentPushError) as error:
            known.add(type(error))
    return known


def test_damaged_pages(path: Path) -> None:
    """Whatever page is overwritten, the store answers with what it has or with a reason, and nothing else."""
    with opened(path) as store:
        for number in range(60):
            put(store, str(number), padding=2_000)
    whole = path.read_bytes()
    failed = 0
    for page in range(1, len(whole) // PAGE_BYTES, 5):
        path.write_bytes(whole)
        damage(path, page=page)
        with opened(path) as store:
            failed += StoreUnreadableError in answer(store, key("new"))
    assert failed


def test_flipped_bytes(path: Path) -> None:
    """The same holds for single bytes, which may leave a page that looks whole."""
    with opened(path) as store:
        for number in range(60):
            put(store, str(number), padding=300)
        put_twins(store)
    whole = path.read_bytes()
    random = Random(1)
    failed = 0
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(random.choice([1, 5, 50])):
            data[random.randrange(100, len(data))] = random.randrange(256)
        path.write_bytes(data)
        with opened(path) as store:
            failed += StoreUnreadableError in answer(store, key("1", l="1"))
    assert failed


def put_twins(store: Store) -> None:
    """Store groups of several shapes, so that the search for twins has something to look at."""
    for group in (key("1", l="1"), key("1", m="1"), key("1", l="1", m="1")):
        store.apply(push(group, family("x_new", group=group, series=({"o": "1"},))), None)


def test_damaged_page_and_recovery(path: Path, board: StatusBoard) -> None:
    """Damaged pages fail the reads and pushes that need them; a restored file mends that without a restart."""
    with opened(path) as store:
        put_many(store, 200, padding=500)
    whole = path.read_bytes()
    for page in range(20, len(whole) // PAGE_BYTES - 20):
        damage(path, page=page)
    with opened(path, board) as store:
        with pytest.raises(StoreUnreadableError, match="damaged"):
            store.families(Form.TEXT)
        with pytest.raises(StoreUnreadableError, match="damaged"):
            put_many(store, 200, padding=500)
        assert "damaged" in board.reason()
        remove_with_its_log(path)
        path.write_bytes(whole)
        assert len(jobs(store)) == 200
        put(store, "new")
        assert board.reason() == ""


def test_cut_file(path: Path) -> None:
    """A file that was cut short under the store is an error, not a crash."""
    with opened(path) as store:
        for number in range(100):
            put(store, str(number), padding=2_000)
    os.truncate(path, path.stat().st_size // 2)
    with opened(path) as store, pytest.raises(StoreUnreadableError, match=r"damaged|SQLITE_IOERR"):
        store.families(Form.METRICS)
