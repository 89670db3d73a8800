"""What does a whole gateway answer when its disk is full, read-only, or without its database, and is it well again?

What `docs/reference/behavior.md` says under "When the disk fails", row by row.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import Gateway, Reply, poll, require_program
from tests.mounts import Mounted, make_disk, require_mounts, tmpfs

LARGE = b"".join(b'y{l="%d"} 1\n' % number for number in range(6_000))
"""More than the log has room for."""


def state(gateway: Gateway, *metrics: str) -> dict[str, float]:
    """Return what a scrape tells of some metrics, 200 being taken for granted."""
    scrape = gateway.scrape()
    assert scrape.problems() == []
    return {line.name: float(line.value) for name in metrics if scrape.has(name) for line in scrape[name].lines}


def refusal(reply: Reply) -> str:
    """Return why something was not stored."""
    assert (reply.status, reply.header("Retry-After")) == (503, "5"), (reply.status, reply.text)
    return reply.text.strip()


def check_unwritable(gateway: Gateway, reason: str) -> None:
    """The gateway is up and says that it cannot write, and why; what was stored is read."""
    for path in ("/-/healthy", "/-/ready"):
        reply = gateway.get(path)
        assert (reply.status, reply.text) == (200, f"store cannot be written: {reason}\n")
    assert state(gateway, "x", "pushgateway_store_writable") == {"x": 1, "pushgateway_store_writable": 0}


def check_well(gateway: Gateway, **values: float) -> None:
    """The gateway takes pushes, and holds what it should."""
    assert gateway.push("job/probe", b"probe 1\n").status == 200
    assert gateway.get("/-/ready").text == "OK"
    assert state(gateway, *values, "pushgateway_store_writable") == values | {"pushgateway_store_writable": 1}


def replace_worker(gateway: Gateway) -> None:
    """Kill a worker and wait for the one in its place."""
    before = set(gateway.all_workers())
    os.kill(min(before), signal.SIGKILL)
    poll(lambda: len(set(gateway.workers()) - {min(before)}) == 2, seconds=20, what="the worker is replaced")


def test_full_disk(tmp_path: Path) -> None:
    """What finds no room is 503 and leaves nothing; scrapes go on, a worker is replaced, and with room all is well."""
    require_mounts()
    with Mounted(tmp_path, tmpfs("24m"), f"--storage.url=sqlite:{tmp_path}/p.db") as gateway:
        check_well(gateway)
        assert gateway.push("job/a", b"x 1\n").status == 200
        gateway.fill()
        reason = refusal(gateway.push("job/large", LARGE))
        assert "is full" in reason
        assert "unknown" not in reason
        check_unwritable(gateway, reason)
        replace_worker(gateway)
        check_unwritable(gateway, reason)
        assert state(gateway, "y") == {}
        gateway.filling.unlink()
        assert gateway.push("job/large", LARGE).status == 200
        check_well(gateway, x=1, y=1)
        assert gateway.terminate() == 0
        assert "Traceback" not in gateway.log()


def test_start_on_a_full_disk(tmp_path: Path) -> None:
    """A gateway starts on a full disk and serves what is there."""
    mount = make_disk(tmp_path / "image", size_bytes=24 << 20)
    place = tmp_path / "disk"
    place.mkdir()
    with Mounted(place, mount, f"--storage.url=sqlite:{place}/p.db", root=True) as gateway:
        assert gateway.push("job/a", b"x 1\n").status == 200
        gateway.fill()
        gateway.restart()
        assert gateway.filling.exists()
        assert state(gateway, "x") == {"x": 1}
        assert "is full" in refusal(gateway.push("job/large", LARGE))
        gateway.filling.unlink()
        check_well(gateway, x=1)


def test_read_only_disk(tmp_path: Path) -> None:
    """On a disk that becomes read-only changes are 503, scrapes go on, and it stops cleanly; mended, all is there."""
    require_program("e2fsck")
    mount = make_disk(tmp_path / "image", size_bytes=24 << 20)
    place = tmp_path / "disk"
    place.mkdir()
    with Mounted(place, mount, f"--storage.url=sqlite:{place}/p.db", root=True) as gateway:
        assert gateway.push("job/a", b"x 1\n").status == 200
        # As after an error of the disk (errors=remount-ro). An ordinary remount is refused while files are open.
        gateway.remount("abort")
        # A worker that has written before meets files that are open for writing; another one cannot open the lock.
        reasons = [refusal(gateway.push("job/a", b"x 2\n")) for _ in range(10)]
        reasons += [refusal(gateway.delete("job/a")) for _ in range(10)]
        assert all("Read-only file system" in reason for reason in reasons), set(reasons)
        assert state(gateway, "x", "pushgateway_store_writable") == {"x": 1, "pushgateway_store_writable": 0}
        assert gateway.get("/-/ready").status == 200
        assert "Read-only file system" in gateway.get("/-/healthy").text
        assert gateway.terminate() == 0
        subprocess.run(["e2fsck", "-f", "-y", tmp_path / "image"], capture_output=True, timeout=60, check=False)
        gateway.start()
        check_well(gateway, x=1)
        assert "Traceback" not in gateway.log()


def test_start_on_a_read_only_disk(tmp_path: Path) -> None:
    """A gateway does not start on a disk that is read-only, and says so in one line."""
    mount = make_disk(tmp_path / "image", size_bytes=24 << 20)
    gateway = Mounted(tmp_path, mount.replace("loop,", "loop,ro,"), f"--storage.url=sqlite:{tmp_path}/p.db", root=True)
    with pytest.raises(RuntimeError, match="ended with exit code 1"), gateway:
        pass


def delete(gateway: Gateway) -> None:
    """Delete the database with the files beside it, as `rm -rf data/*` does."""
    for path in gateway.directory.glob("pushgateway.db*"):
        path.unlink()


def move_back(gateway: Gateway, backup: Path) -> None:
    """Put a backup in its place."""
    shutil.copy(backup, gateway.directory / "pushgateway.db")


def restart(gateway: Gateway, _: Path) -> None:
    """Start the gateway again, which makes a new database."""
    gateway.restart()


@pytest.mark.parametrize(("mend", "kept"), [(move_back, True), (restart, False)])
def test_deleted_database(tmp_path: Path, mend: Callable[[Gateway, Path], None], *, kept: bool) -> None:
    """When its files are deleted, pushes are 503, scrapes go on; a backup in their place or a restart ends that."""
    with Gateway() as gateway:
        assert gateway.push("job/a", b"x 1\n").status == 200
        command = [*gateway.command()[:3], "backup", str(tmp_path / "backup.db")]
        subprocess.run(command, cwd=gateway.directory, check=True, capture_output=True, timeout=60)
        delete(gateway)
        reason = refusal(gateway.push("job/a", b"x 2\n"))
        assert "has been deleted" in reason
        check_unwritable(gateway, reason)
        mend(gateway, tmp_path / "backup.db")
        check_well(gateway, **({"x": 1} if kept else {}))
        assert "Traceback" not in gateway.log()
