"""How is an end classified, from what left the run, the signal that came, and the time it took?"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from pymetrics_sdk import Skip
from pymetrics_sdk.command import Ended, judge
from pymetrics_sdk.exits import Exit, Result, SignalExit, classify
from pymetrics_sdk.resources import Cgroup, read_cgroup

TERM = signal.SIGTERM


@pytest.mark.parametrize(
    ("error", "signum", "fatal", "late", "expected"),
    [
        (None, None, None, False, Exit(Result.SUCCESS)),
        (None, None, None, True, Exit(Result.TIMEOUT)),
        (GeneratorExit(), None, None, False, Exit(Result.SUCCESS)),
        (Skip("x"), None, None, False, Exit(Result.SKIP)),
        (SystemExit(), None, None, False, Exit(Result.SUCCESS)),
        (SystemExit(0), None, None, False, Exit(Result.SUCCESS)),
        (SystemExit(3), None, None, True, Exit(Result.FAILURE, 3)),
        (SystemExit(256 + 3), None, None, False, Exit(Result.FAILURE, 3)),
        (SystemExit("text"), None, None, False, Exit(Result.FAILURE, 1)),
        (KeyboardInterrupt(), None, None, False, Exit(Result.CANCELLATION, 130)),
        (asyncio.CancelledError(), None, None, False, Exit(Result.CANCELLATION, 1)),
        (asyncio.CancelledError(), TERM, TERM, False, Exit(Result.CANCELLATION, 143)),
        (asyncio.CancelledError(), TERM, None, False, Exit(Result.CANCELLATION, 143)),
        (SignalExit(TERM), TERM, TERM, False, Exit(Result.CANCELLATION, 143)),
        (SignalExit(TERM), TERM, TERM, True, Exit(Result.TIMEOUT, 143)),
        (SystemExit(7), TERM, None, False, Exit(Result.CANCELLATION, 7)),
        (None, TERM, None, False, Exit(Result.SUCCESS)),
        (None, TERM, TERM, False, Exit(Result.CANCELLATION, 143)),
        (ValueError("x"), None, None, True, Exit(Result.ERROR, 1, "ValueError")),
        (TimeoutError(), None, None, False, Exit(Result.ERROR, 1, "TimeoutError")),
    ],
)
def test_classification(
    error: BaseException | None,
    signum: int | None,
    fatal: int | None,
    late: bool,
    expected: Exit,
) -> None:
    """Each way to end has its result, its exit status and, for exceptions, its class."""
    assert classify(error, signum=signum, fatal=fatal, late=late) == expected


@pytest.mark.parametrize(
    ("ended", "late", "expected"),
    [
        (Ended(0), False, Exit(Result.SUCCESS)),
        (Ended(0), True, Exit(Result.TIMEOUT)),
        (Ended(3), True, Exit(Result.FAILURE, 3)),
        (Ended(137, 9, oom_kills=1), False, Exit(Result.ERROR, 137, "OOMKilled")),
        (Ended(137, oom_kills=1), False, Exit(Result.ERROR, 137, "OOMKilled")),
        (Ended(1, oom_kills=1), False, Exit(Result.FAILURE, 1)),
        (Ended(137, 9), False, Exit(Result.CANCELLATION, 137)),
        (Ended(143, 15, killed_late=True), False, Exit(Result.TIMEOUT, 143)),
        (Ended(143, 15, signalled=True), True, Exit(Result.TIMEOUT, 143)),
        (Ended(9, signalled=True), False, Exit(Result.CANCELLATION, 9)),
        (Ended(0, signalled=True), False, Exit(Result.SUCCESS)),
        (Ended(134, 6), False, Exit(Result.ERROR, 134, "SIGABRT")),
    ],
)
def test_ends_of_commands(ended: Ended, late: bool, expected: Exit) -> None:
    """An out-of-memory kill is told from a kill, a crash from a cancellation, a clean shutdown from a failure."""
    assert judge(ended, late=late) == expected


def write(root: Path, files: dict[str, str]) -> Path:
    """Make a file system."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_cgroup_version_2(tmp_path: Path) -> None:
    """The unified hierarchy, from the group that /proc/self/cgroup names."""
    group = "sys/fs/cgroup/kubepods/pod1"
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/kubepods/pod1\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
            f"{group}/memory.peak": "1048576\n",
            f"{group}/memory.max": "2097152\n",
            f"{group}/memory.events": "low 0\nhigh 0\noom 1\noom_kill 2\n",
            f"{group}/cpu.stat": "usage_usec 5\nnr_throttled 1\nthrottled_usec 1500000\n",
        },
    )
    assert read_cgroup(root) == Cgroup(1048576, 2097152, 2, 1.5)


def test_cgroup_version_2_inside_a_container(tmp_path: Path) -> None:
    """With a namespace the path is "/", without a limit the file says "max"."""
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cgroup.controllers": "memory\n",
            "sys/fs/cgroup/memory.max": "max\n",
            "sys/fs/cgroup/memory.events": "oom_kill 0\n",
        },
    )
    assert read_cgroup(root) == Cgroup(None, None, 0, None)


def test_cgroup_version_1(tmp_path: Path) -> None:
    """One hierarchy a controller; no limit is a huge number; throttling is in nanoseconds."""
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n",
            "sys/fs/cgroup/memory/memory.max_usage_in_bytes": "1048576\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
            "sys/fs/cgroup/cpu/cpu.stat": "nr_periods 0\nnr_throttled 0\nthrottled_time 2500000000\n",
        },
    )
    assert read_cgroup(root) == Cgroup(1048576, None, 3, 2.5)


def test_without_control_groups_nothing_is_said(tmp_path: Path) -> None:
    """On a machine without them every value is absent, not 0."""
    assert read_cgroup(tmp_path) == Cgroup()
