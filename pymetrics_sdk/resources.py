"""What did the run cost the machine, and what did its container allow?"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cgroup", "Usage", "read_cgroup", "read_usage"]

_UNLIMITED_BYTES = 1 << 60
"""cgroup v1 says "no limit" with the largest page-aligned number of bytes."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time and memory as getrusage(2) tells them.

    Args:
        user_seconds: Processor time in user mode.
        system_seconds: Processor time in the kernel.
        max_resident_bytes: The largest resident set so far; of children, that of the largest one.
    """

    user_seconds: float
    system_seconds: float
    max_resident_bytes: int

    @classmethod
    def of(cls, usage: resource.struct_rusage) -> Usage:
        """Convert what getrusage and wait4 return; Linux gives ru_maxrss in KiB."""
        return cls(usage.ru_utime, usage.ru_stime, usage.ru_maxrss * 1024)

    def since(self, earlier: Usage) -> Usage:
        """Return the processor time used since `earlier`; memory has no difference."""
        return Usage(
            max(0.0, self.user_seconds - earlier.user_seconds),
            max(0.0, self.system_seconds - earlier.system_seconds),
            self.max_resident_bytes,
        )


def read_usage(*, children: bool) -> Usage:
    """Return the usage of this process, or of its children that were waited for."""
    return Usage.of(resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF))


@dataclass(frozen=True, slots=True)
class Cgroup:
    """What the process's control group says; None where it does not.

    Args:
        memory_peak_bytes: The most memory that the group ever used.
        memory_limit_bytes: None without a limit.
        oom_kills: Processes of the group that the kernel killed for want of memory.
        cpu_throttled_seconds: How long the group was kept from running by its quota.
    """

    memory_peak_bytes: float | None = None
    memory_limit_bytes: float | None = None
    oom_kills: float | None = None
    cpu_throttled_seconds: float | None = None


def read_cgroup(root: Path = Path("/")) -> Cgroup:
    """Read the control group of this process, version 2 or 1.

    Args:
        root: Where /proc and /sys are.
    """
    groups = _membership(_text(root / "proc/self/cgroup"))
    mount = root / "sys/fs/cgroup"
    if _text(mount / "cgroup.controllers"):
        return _read_v2(_directory(mount, groups.get("", "/")))
    memory = _directory(mount / "memory", groups.get("memory", "/"))
    cpu = _directory(mount / "cpu", groups.get("cpu", "/"))
    return _read_v1(memory, cpu)


def _read_v2(group: Path) -> Cgroup:
    throttled = _entry(group / "cpu.stat", "throttled_usec")
    return Cgroup(
        memory_peak_bytes=_number(group / "memory.peak"),
        memory_limit_bytes=_number(group / "memory.max"),
        oom_kills=_entry(group / "memory.events", "oom_kill"),
        cpu_throttled_seconds=None if throttled is None else throttled / 1e6,
    )


def _read_v1(memory: Path, cpu: Path) -> Cgroup:
    limit = _number(memory / "memory.limit_in_bytes")
    throttled = _entry(cpu / "cpu.stat", "throttled_time")
    return Cgroup(
        memory_peak_bytes=_number(memory / "memory.max_usage_in_bytes"),
        memory_limit_bytes=None if limit is None or limit >= _UNLIMITED_BYTES else limit,
        oom_kills=_entry(memory / "memory.oom_control", "oom_kill"),
        cpu_throttled_seconds=None if throttled is None else throttled / 1e9,
    )


def _membership(text: str) -> dict[str, str]:
    """Return controller to path from /proc/self/cgroup; "" is version 2."""
    groups = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        groups.update(dict.fromkeys(controllers.split(","), path))
    return groups


def _directory(mount: Path, path: str) -> Path:
    """Return a group's directory: inside a container the mount itself is the group, and the path names the host's."""
    group = mount / path.strip("/")
    return group if os.path.isdir(group) else mount


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    return _float(_text(path).strip())


def _entry(path: Path, name: str) -> float | None:
    find: Callable[[str], list[str]] = str.split
    return next((_float(parts[1]) for parts in map(find, _text(path).splitlines()) if parts[:1] == [name]), None)


def _float(text: str) -> float | None:
    return float(text) if text.isdigit() else None
