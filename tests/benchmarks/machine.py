"""On which machine, with which versions, and when was something measured?"""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pushgateway
from tests.harness import require_program

__all__ = ["facts"]


def facts(*, alone: bool = False) -> Iterator[str]:
    """Yield a line a fact; `alone` leaves the original out."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    yield f"date: {datetime.now(UTC):%d %B %Y}; load of the machine at the start: {load:.1f}"
    if load > cores / 2:
        yield (
            "other programs were at work: rates and times are of both sides among them, and favour whoever has fewer "
            "processes and waits for no disk; processor time is what they disturb least"
        )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    yield f"machine: {cores} cores, {processor()}, {memory:.0f} GiB of memory, {system()}"
    yield (f"disk: {filesystem()}; writing and flushing 4 KiB takes {1e3 * flush_seconds():.2f} ms (median of 50)")
    yield (
        f"ours: pushgateway {pushgateway.__version__} ({commit()}), Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, gunicorn {version('gunicorn')}, uvicorn {version('uvicorn')}; as it comes: "
        "2 workers, each push flushed to disk, consistency checks on"
    )
    if not alone:
        original = first_line("prometheus-pushgateway", "--version")
        yield f"the original: {original}; in memory, consistency checks on"
    yield f"load: {first_line('wrk', '--version')}"


def processor() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def system() -> str:
    """Return the operating system and kernel."""
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        name = platform.system()
    return f"{name}, Linux {platform.release()}"


def filesystem() -> str:
    """Return the kind of file system on which the gateways keep their data."""
    command = ["stat", "--file-system", "--format=%T", tempfile.gettempdir()]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def flush_seconds() -> float:
    """Return how long the disk takes to keep four kibibytes: no push can be answered sooner."""
    times = []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(50):
            begun = time.perf_counter()
            os.pwrite(file.fileno(), b"x" * 4096, 0)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begun)
    return sorted(times)[25]


def commit() -> str:
    """Return the short name of the commit, if there is a repository."""
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return found.stdout.strip() or "no repository"


def first_line(program: str, flag: str) -> str:
    """Return what a program says of its version, wherever it says so."""
    done = subprocess.run([require_program(program), flag], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines()[0].split(" (")[0].split(" Copyright")[0]
