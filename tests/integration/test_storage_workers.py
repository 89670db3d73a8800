"""What becomes of answered pushes when a file beside the database is removed under several workers?

Each scenario is a function that runs in a process of its own, since workers are forked and this one may have threads.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pushgateway.model import Form
from pushgateway.storage import StatusBoard, open_store, prepare_store
from pushgateway.storage.sqlite_handles import connect
from tests.contract.forked import Workers

REPOSITORY = Path(__file__).parents[2]
OLD = [f"old{number}" for number in range(100)]
NEW = [f"new{number}" for number in range(50)]


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def all_refused(answers: list[str], why: str) -> bool:
    return all(answer.startswith("StoreUnwritableError") and why in answer for answer in answers)


def replaced_worker(path: Path, suffix: str) -> None:
    """A file is removed, one worker dies and another takes its place, which must not open another file."""
    workers = Workers(path)
    first, second = workers.start(), workers.start()
    assert set(first.put(*OLD[:50]) + second.put(*OLD[50:])) == {""}
    beside(path, suffix).unlink()
    second.kill()
    third = workers.start()
    for _ in range(2):
        assert all_refused(third.put(*NEW[:3]), f"{suffix} has been deleted")
        assert all_refused(first.put(*NEW), f"{suffix} has been deleted")
    assert "restart the gateway" in third.jobs()
    assert first.jobs().split() == sorted(OLD)
    assert not beside(path, suffix).exists()
    assert "restart the gateway" in workers.board.reason()
    third.close()
    first.close()


def file_made_anew(path: Path, suffix: str) -> None:
    """As before, but another program opens the database and makes the file anew, even writes."""
    workers = Workers(path)
    first, second = workers.start(), workers.start()
    assert set(first.put(*OLD[:50]) + second.put(*OLD[50:])) == {""}
    beside(path, suffix).unlink()
    for worker in (first, second):
        assert all_refused(worker.put("late"), f"{suffix} has been deleted")
    with closing(connect(str(path), mode="rw")) as other:
        other.execute("SELECT count(*) FROM groups").fetchone()
        assert beside(path, suffix).exists()
        for worker in (first, second, workers.start()):
            assert all_refused(worker.put(*NEW[:5]), f"{suffix} has been replaced")
    first.close()
    second.close()


def everybody_killed(path: Path, suffix: str) -> None:
    """Once nobody has the old files open, a new worker uses what lies beside the database."""
    workers = Workers(path)
    first, second = workers.start(), workers.start()
    assert set(first.put(*OLD)) == {""}
    first.kill()
    second.kill()
    if suffix == "-shm":
        beside(path, suffix).unlink()
    third = workers.start()
    assert third.put("new") == [""]
    assert third.jobs().split() == sorted([*OLD, "new"])
    third.close()
    fourth = workers.start()
    assert fourth.jobs().split() == sorted([*OLD, "new"])
    fourth.close()


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
@pytest.mark.parametrize("scenario", [replaced_worker, file_made_anew, everybody_killed])
def test_files_beside_the_database(tmp_path: Path, scenario: Callable[[Path, str], None], suffix: str) -> None:
    """Whatever happens to log or index, no acknowledged push is lost, and the rest is told to restart the gateway."""
    path = tmp_path / "x.db"
    prepare_store(f"sqlite:{path}")
    call = f"{scenario.__name__}(Path(sys.argv[1]), sys.argv[2])"
    code = f"import sys; from tests.integration.test_storage_workers import *; {call}"
    command = [sys.executable, "-W", "error", "-c", code, str(path), suffix]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    prepare_store(f"sqlite:{path}")
    store = open_store(f"sqlite:{path}", board=StatusBoard(), own={})
    kept = {view.name.removeprefix("x_") for view in store.families(Form.TEXT).families}
    store.close()
    assert kept >= set(OLD)
    with closing(connect(str(path), mode="rw")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
