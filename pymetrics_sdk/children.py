"""How do the counts of child processes come home, also from a child that is killed?

A child of `multiprocessing` mirrors every additive cell into a file that it maps into memory, in a directory that
parent and child both derive from the parent's process id. What was stored survives the child, however it ends:
`with Pool()` terminates its workers, so nothing that runs at a child's end can be relied on. The parent reads the
files whenever it collects. A child forked with a bare os.fork has no parent in this sense, and mirrors nothing.

A file is a header of 8 bytes, the number of bytes in use, and records: the length of the key and the number of floats
(4 bytes each), the key as JSON padded to 8 bytes, the floats. The number of bytes in use grows last, so a reader never
sees half a record.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import mmap
import os
import stat
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric

from pymetrics_sdk import cells
from pymetrics_sdk.cells import Cell, Definition

__all__ = ["Entry", "entries", "families", "remove"]

logger = logging.getLogger("pymetrics_sdk")

_HEADER = struct.Struct("<Q")
_RECORD = struct.Struct("<II")
_FIRST_BYTES = 64 * 1024
"""A few hundred series; the file doubles when they do not fit."""
STALE_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One series of one child.

    Args:
        scope_id: The run it belongs to; "" for none.
        definition: The metric.
        label_values: In the order of its label names.
        values: As in a cell.
    """

    scope_id: str
    definition: Definition
    label_values: tuple[str, ...]
    values: tuple[float, ...]


class MappedFile:
    """A child's file, written to without a system call."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        _allocate(self._fd, _FIRST_BYTES)
        self._map = mmap.mmap(self._fd, _FIRST_BYTES)
        self._used = _HEADER.size
        self._broken = False
        _HEADER.pack_into(self._map, 0, self._used)

    def store(self, cell: Cell) -> None:
        """Take a cell's numbers; gauges of the job's own stay in the child, since they cannot be added up.

        Where that fails, as on a full disk, what was stored so far is all that comes home; the child counts on.
        """
        if self._broken or not cell.family.definition.additive:
            return
        try:
            if cell.slot < 0:
                self._append(cell)
            struct.pack_into(f"<{len(cell.values)}d", self._map, cell.slot, *cell.values)
        except Exception as error:
            self._broken = True
            _give_up(error)

    def _append(self, cell: Cell) -> None:
        key = _key(cell)
        size = _RECORD.size + len(key) + 8 * len(cell.values)
        while self._used + size > len(self._map):
            _allocate(self._fd, 2 * len(self._map))
            self._map.resize(2 * len(self._map))
        _RECORD.pack_into(self._map, self._used, len(key), len(cell.values))
        start = self._used + _RECORD.size
        self._map[start : start + len(key)] = key
        cell.slot = start + len(key)
        self._used += size
        _HEADER.pack_into(self._map, 0, self._used)


class UndecidedMirror:
    """Stands in until multiprocessing has told this process whose child it is; then everything so far is copied."""

    def store(self, cell: Cell) -> None:
        """Become a `MappedFile` as soon as that is possible."""
        parent = _parent_pid()
        if parent is None:
            return
        try:
            file = MappedFile(_child_path(parent))
        except Exception as error:
            _give_up(error)
            return
        cells.mirror_to(file)
        for scope in cells.every_scope():
            for family in scope.families:
                for each in family.cells.values():
                    file.store(each)


def _allocate(fd: int, size: int) -> None:
    """Let a file have `size` bytes on the disk; raises OSError where there is no room.

    Not ftruncate, which makes a hole: on a full disk the first store into it ends the process with SIGBUS.
    """
    os.posix_fallocate(fd, 0, size)


def _give_up(error: Exception) -> None:
    """Mirror nothing any more; said once, since nothing calls the mirror again."""
    cells.mirror_to(None)
    logger.warning("what this child process counts from here on is lost: %s: %s", type(error).__name__, error)


def _key(cell: Cell) -> bytes:
    definition = cell.family.definition
    parts = [
        cell.family.scope.scope_id,
        [definition.kind, definition.name, definition.help, definition.label_names, definition.bounds],
        cell.label_values,
    ]
    text = json.dumps(parts, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def _parse(data: bytes) -> Iterator[Entry]:
    used = _HEADER.unpack_from(data)[0] if len(data) >= _HEADER.size else 0
    position = _HEADER.size
    while position < min(used, len(data)):
        key_length, count = _RECORD.unpack_from(data, position)
        start = position + _RECORD.size
        scope_id, (kind, name, help_text, label_names, bounds), label_values = json.loads(
            data[start : start + key_length]
        )
        values = struct.unpack_from(f"<{count}d", data, start + key_length)
        definition = Definition(kind, name, help_text, tuple(label_names), tuple(bounds))
        yield Entry(scope_id, definition, tuple(label_values), values)
        position = start + key_length + 8 * count


def entries() -> Iterator[Entry]:
    """Yield what the children of this process counted, and their children."""
    directory = _directory(os.getpid())
    if _is_ours(directory.parent):
        yield from _entries(directory)


def _entries(directory: Path) -> Iterator[Entry]:
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        try:
            yield from _parse(path.read_bytes())
        except (OSError, ValueError, struct.error) as error:
            logger.warning("the counts in %s cannot be read: %s", path, error)
        # A child that has children has a directory of its own name beside this one.
        yield from _entries(directory.parent / path.name)


def families(scope_id: str) -> list[Metric]:
    """Return what child processes counted for a run, or outside runs for ""."""
    found: list[Metric] = []
    for entry in entries():
        if entry.scope_id == scope_id:
            metric = Metric(entry.definition.name, entry.definition.help, entry.definition.kind)
            cells.add_samples(metric, entry.definition, entry.label_values, list(entry.values))
            found.append(metric)
    return found


def remove() -> None:
    """Delete what children left; called when a process ends, and does nothing in one that is somebody's child.

    Also deletes what processes left that were killed, a day after they wrote last.
    """
    if _parent_pid() is not None:
        return
    root = _directory(os.getpid()).parent
    if not _is_ours(root):
        return
    with contextlib.suppress(OSError):
        _remove(_directory(os.getpid()))
        for each in root.iterdir():
            alive = Path("/proc", each.name.partition("-")[0]).exists()
            if not alive and time.time() - each.stat().st_mtime > STALE_SECONDS:
                _remove(each)


def _remove(directory: Path) -> None:
    if directory.is_dir():
        for path in directory.iterdir():
            _remove(directory.parent / path.name)
            path.unlink(missing_ok=True)
        directory.rmdir()


def _directory(pid: int) -> Path:
    """Return where the children of a process write: derived from its id and start time, since ids are used again."""
    return Path(tempfile.gettempdir()) / f"pymetrics-{os.getuid()}" / _process_name(pid)


def _child_path(parent: int) -> Path:
    directory = _directory(parent)
    directory.parent.mkdir(mode=0o700, exist_ok=True)
    if not _is_ours(directory.parent):
        raise PermissionError(f"{directory.parent} belongs to somebody else")
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory / _process_name(os.getpid())


def _is_ours(directory: Path) -> bool:
    try:
        status = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def _process_name(pid: int) -> str:
    try:
        # After the last ")": a program's name may hold blanks and brackets. Field 22 of stat(5) is the start time.
        started = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        started = "0"
    return f"{pid}-{started}"


def _parent_pid() -> int | None:
    process: Any = sys.modules.get("multiprocessing.process")
    parent = process.parent_process() if process is not None else None
    return None if parent is None else int(parent.pid)


def _await_parent() -> None:
    """In a process that may be a child of multiprocessing, mirror from the first update on."""
    if "multiprocessing.process" in sys.modules:
        cells.mirror_to(UndecidedMirror())


# Costs a process without such children one lstat at its end.
atexit.register(remove)
cells.forked.append(_await_parent)
# A spawned child imports this module while multiprocessing prepares it, before it says whose child it is.
_process: Any = sys.modules.get("multiprocessing.process")
if _process is not None and (_parent_pid() is not None or getattr(_process.current_process(), "_inheriting", False)):
    _await_parent()
