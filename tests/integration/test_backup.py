"""Is a copy of the store that is made under load whole, and does nobody notice?"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from tests.harness import Gateway

JOBS = 4

BALLAST = b"".join(b'x{n="%d"} 1\n' % number for number in range(200))
"""Some 40 KB of the store a group, so that a copy takes several steps."""


def run(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the program to its end."""
    command = [sys.executable, "-m", "pushgateway", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=60)


class Load:
    """Jobs that push a number each, one higher each time, and remember the last that was acknowledged."""

    def __init__(self, gateway: Gateway) -> None:
        self.acknowledged = [0] * JOBS
        self.failures: list[str] = []
        self._gateway = gateway
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._push, args=(job,)) for job in range(JOBS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _push(self, job: int) -> None:
        while not self._stop.is_set():
            number = self.acknowledged[job] + 1
            # Two families, so that half a push would show.
            reply = self._gateway.push(f"job/load{job}", b"first %d\nsecond %d\n" % (number, number))
            if reply.status != 200:
                self.failures.append(f"{reply.status} {reply.text}")
                return
            self.acknowledged[job] = number


def test_backups_under_load(tmp_path: Path) -> None:
    """Each copy has every push that was acknowledged before, none by halves, and serves; no push fails meanwhile."""
    with Gateway() as gateway:
        for number in range(100):
            assert gateway.push(f"job/ballast/instance/{number}", BALLAST).status == 200
        known = []
        with Load(gateway) as load:
            for number in range(2):
                known.append(list(load.acknowledged))
                done = run("backup", str(tmp_path / f"{number}.db"), directory=gateway.directory)
                assert (done.returncode, done.stderr) == (0, "")
                assert done.stdout.startswith(f"{tmp_path / f'{number}.db'} holds ")
        assert load.failures == []
        assert min(load.acknowledged) > 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.db", "1.db"]
    for number in range(2):
        with Gateway(f"--storage.url=sqlite:{tmp_path / f'{number}.db'}") as copy:
            scrape = copy.scrape()
        for job in range(JOBS):
            values = [scrape.value(name, job=f"load{job}") if scrape.has(name) else 0.0 for name in ("first", "second")]
            assert values[0] == values[1]
            assert known[number][job] <= values[0] <= load.acknowledged[job]


def test_a_failed_backup(tmp_path: Path) -> None:
    """A backup that cannot be made is one line and exit code 1, wrong usage exit code 2, and no file is left."""
    done = run("backup", "copy.db", "--storage.url=sqlite:none.db", directory=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pushgateway: error: cannot copy none.db: No such file or directory\n"
    done = run("backup", "copy.db", "--storage.url=none.db", directory=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert list(tmp_path.iterdir()) == []
