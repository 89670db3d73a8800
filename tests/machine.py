"""How does a test run units under a real systemd, on a machine that is run by anything?

    with Machine(units, program="/opt/pushgateway") as machine:
        machine.systemctl("start", "pushgateway.socket")

systemd itself, as process 1 of namespaces of its own: processes, mounts, cgroups, host name, IPC. The file system is
this machine's, read-only, with memory over what a service writes to. It knows no units but those of the test, so that
nothing of this machine is started. The network is this machine's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

from tests.harness import poll, require_program

__all__ = ["Machine"]

ROOT: Final = Path(__file__).parents[1]

TARGETS: Final = ("sysinit", "basic", "sockets", "timers", "multi-user", "shutdown")
"""What units depend on; empty here."""

NAMESPACES: Final = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--cgroup", "--ipc", "--uts")

BOOT: Final = r"""
set -eu
units=$1 base=$2 packages=$3 checkout=$4 program=$5
mount --make-rprivate /
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/units /mnt/base /mnt/packages /mnt/checkout
cp -r "$units"/. /mnt/units
mount --bind "$base" /mnt/base
mount --bind "$packages" /mnt/packages
mount --bind "$checkout" /mnt/checkout
for directory in /run /tmp /var/tmp /var/lib /opt /sys; do mount -t tmpfs -o mode=755 tmpfs $directory; done
chmod 1777 /tmp /var/tmp
mkdir -p /sys/fs/cgroup /run/log
mount -t cgroup2 cgroup2 /sys/fs/cgroup
export LD_LIBRARY_PATH=/mnt/base/lib
/mnt/base/bin/python3 -m venv --without-pip "$program"
printf '%s\n' /mnt/packages /mnt/checkout > "$(echo "$program"/lib/python3*/site-packages)/mounted.pth"
printf '#!%s/bin/python3\nimport sys\nfrom pushgateway.__main__ import main\nsys.exit(main())\n' "$program" \
    > "$program/bin/pushgateway"
chmod 755 "$program/bin/pushgateway"
mount -o remount,bind,ro /
exec env -i PATH="$PATH" container=other SYSTEMD_UNIT_PATH=/mnt/units \
    /lib/systemd/systemd --system --unit=multi-user.target --show-status=no --log-target=console
"""


class Machine:
    """A systemd with some units, none of them started; a context manager.

    Args:
        units: The text of each file, by its path below the directory of units.
        program: The directory in which the gateway is installed there.
    """

    def __init__(self, units: dict[str, str], *, program: str) -> None:
        self._program = program
        self._base = Path(tempfile.mkdtemp(prefix="machine-"))
        self._log = self._base / "log"
        self._cgroup: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        targets = {f"{name}.target": "[Unit]\nDefaultDependencies=no\n" for name in TARGETS}
        for name, text in {**targets, **units}.items():
            path = self._base / "units" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def __enter__(self) -> Self:
        try:
            self._boot()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"the end of the machine's log:\n{self.log()[-5000:]}")
        self._clean()

    def _boot(self) -> None:
        for program in ("unshare", "nsenter", "systemctl"):
            require_program(program)
        self._cgroup = make_cgroup()
        packages = sysconfig.get_path("purelib")
        arguments = [str(self._base / "units"), sys.base_prefix, packages, str(ROOT), self._program]
        procs = self._cgroup / "cgroup.procs"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", f'echo $$ > {procs} && exec "$@"', "sh", *NAMESPACES, "sh", "-c", BOOT, "sh", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        poll(self._is_up, seconds=30, what=f"systemd to boot; its log:\n{self.log()}")

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"systemd did not boot:\n{self.log()}"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children:
            return False
        self._pid = int(children[0])
        state = self._run("systemctl", "is-active", "multi-user.target")
        return state.stdout.strip() == "active"

    def _clean(self) -> None:
        if self._process is not None:
            # The kernel then kills systemd, and with it all that is in its namespace.
            self._process.kill()
            self._process.wait()
        if self._cgroup is not None:
            poll(lambda: remove_cgroup(self._cgroup), seconds=10, what=f"{self._cgroup} to become empty")
        shutil.rmtree(self._base, ignore_errors=True)

    def log(self) -> str:
        """What could not be booted has written, and what services have appended to files in /run/log there."""
        files = [self._log, *(self.path("/run/log").glob("*") if self._pid else ())]
        return "".join(path.read_text(errors="replace") for path in files if path.exists())

    def path(self, name: str) -> Path:
        """A file of the machine as seen from outside."""
        return Path(f"/proc/{self._pid}/root{name}")

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", f"--target={self._pid}", "--mount", "--pid", "--cgroup"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, timeout=60, check=False)

    def run(self, *command: str) -> str:
        """Run a program there as root and return what it prints; AssertionError unless it succeeds."""
        done = self._run(*command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """A property of a unit, as systemctl show prints it."""
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def processes(self, unit: str) -> list[int]:
        """The pids of a service, as seen from outside."""
        assert self._cgroup is not None
        group = self.show(unit, "ControlGroup")
        text = (self._cgroup / group.lstrip("/") / "cgroup.procs").read_text() if group else ""
        return [int(pid) for pid in text.split()]


def make_cgroup() -> Path:
    """Make a cgroup for the machine; skip where nobody can, but fail where root should: with CI=true."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    places = [Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"]
    problem = "no cgroup2 is mounted"
    for place in places:
        try:
            return Path(tempfile.mkdtemp(prefix="machine-", dir=place))
        except OSError as error:
            problem = str(error)
    reason = f"cannot run a systemd: {problem}"
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(reason)
    pytest.skip(reason)


def remove_cgroup(top: Path | None) -> bool:
    """Remove a cgroup and all below it; returns whether nothing is left."""
    assert top is not None
    for directory, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    return not top.exists()
