"""How do the counts of child processes come home, also from a child that is killed?

A child of `multiprocessing` mirrors every additive cell into a file that it maps into memory, in a directory that
parent and child both derive from the parent's process id. What was stored survives the child, however it ends:
`with Pool()` terminates its workers, so nothing that runs at a child's end can be relied on. The parent reads the
files whenever it collects, and adds up those of children that are gone, so that few are left however many there were
(without heartbeats that is at the beginning and end of a run: until then each child has cost `_FIRST_BYTES` of disk).
A child forked with a bare os.fork has no parent in this sense, and mirrors nothing.

A forked child counts for the run that it was forked in. A spawned one knows of no run; what it counts while the parent
has just one run open is that run's, as for threads; with several open runs nobody can know, and it is the process's.

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
from threading import RLock
from typing import Any

from prometheus_client.core import Metric

from pymetrics_sdk import cells
from pymetrics_sdk.cells import Cell, Definition

__all__ = ["Entry", "Totals", "claim", "entries", "families", "forget", "metrics_of", "remove", "since", "unclaimed"]

logger = logging.getLogger("pymetrics_sdk")

_HEADER = struct.Struct("<Q")
_RECORD = struct.Struct("<II")
_FIRST_BYTES = 16 * 1024
"""Some hundred series; the file doubles when they do not fit."""
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
        # What is being counted now is among them.
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


Totals = dict[tuple[Definition, tuple[str, ...]], tuple[float, ...]]
"""Numbers by metric and label values."""

_folding = RLock()
_folded: dict[tuple[str, Definition, tuple[str, ...]], tuple[float, ...]] = {}
_claimed: Totals = {}


def entries() -> list[Entry]:
    """Return what the children of this process counted, and their children; several times a series, to be added up."""
    directory = _directory(os.getpid())
    with _folding:
        found: list[Entry] = []
        try:
            if _is_ours(directory.parent):
                # A process that is itself somebody's child leaves the files to its parent, who reads them too.
                _read(directory, found, fold=_parent_pid() is None)
        except OSError as error:
            logger.warning("the counts of child processes cannot all be read: %s", error)
        return [*(Entry(*key, values) for key, values in _folded.items()), *found]


def _read(directory: Path, found: list[Entry], *, fold: bool) -> None:
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        is_final = fold and not _is_alive(path.name)  # asked first: what a dead child wrote is all there
        counted: list[Entry] = []
        try:
            counted.extend(_parse(path.read_bytes()))
        except (OSError, ValueError, TypeError, struct.error) as error:
            logger.warning("the counts in %s cannot be read: %s", path, error)
        # A child that has children has a directory of its own name beside this one.
        below = directory.parent / path.name
        _read(below, found, fold=fold)
        if is_final and _is_gone(below):
            _fold(counted)
            path.unlink(missing_ok=True)
        else:
            found.extend(counted)


def _fold(counted: list[Entry]) -> None:
    wanted = {scope.scope_id for scope in cells.every_scope()}
    for entry in counted:
        if entry.scope_id in wanted:
            key = entry.scope_id, entry.definition, entry.label_values
            _folded[key] = _plus(_folded.get(key), entry.values)


def _plus(first: tuple[float, ...] | None, second: tuple[float, ...]) -> tuple[float, ...]:
    return second if first is None else tuple(a + b for a, b in zip(first, second, strict=True))


def _is_alive(name: str) -> bool:
    pid = name.partition("-")[0]
    return not pid.isdecimal() or _process_name(int(pid)) == name


def _is_gone(directory: Path) -> bool:
    """Whether a directory does not exist; removes it if it is empty."""
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def families(scope_id: str) -> list[Metric]:
    """Return what child processes counted for a run."""
    return metrics_of(_totals(scope_id))


def unclaimed() -> Totals:
    """Return what child processes counted that knew of no run, less what runs have claimed."""
    return since(_totals(""), _claimed)


def since(totals: Totals, before: Totals) -> Totals:
    """Return what has been added to `before`."""
    return {
        key: tuple(a - b for a, b in zip(values, before[key], strict=True)) if key in before else values
        for key, values in totals.items()
    }


def claim(share: Totals) -> None:
    """Note that a run pushed `share` as its own: it is in no later push."""
    for key, values in share.items():
        _claimed[key] = _plus(_claimed.get(key), values)


def forget(scope_id: str) -> None:
    """Let go of what was counted for a run that is over."""
    with _folding:
        for key in [key for key in _folded if key[0] == scope_id]:
            del _folded[key]


def metrics_of(totals: Totals) -> list[Metric]:
    """Return one metric a series."""
    found: list[Metric] = []
    for (definition, label_values), values in totals.items():
        metric = Metric(definition.name, definition.help, definition.kind)
        cells.add_samples(metric, definition, label_values, list(values))
        found.append(metric)
    return found


def _totals(scope_id: str) -> Totals:
    totals: Totals = {}
    for entry in entries():
        if entry.scope_id == scope_id:
            key = entry.definition, entry.label_values
            totals[key] = _plus(totals.get(key), entry.values)
    return totals


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
    global _folding  # noqa: PLW0603 -- the thread that held it may not exist here
    _folding = RLock()
    _folded.clear()
    _claimed.clear()
    if "multiprocessing.process" in sys.modules:
        cells.mirror_to(UndecidedMirror())


# Costs a process without such children one lstat at its end.
atexit.register(remove)
cells.forked.append(_await_parent)
# A spawned child imports this module while multiprocessing prepares it, before it says whose child it is.
_process: Any = sys.modules.get("multiprocessing.process")
if _process is not None and (_parent_pid() is not None or getattr(_process.current_process(), "_inheriting", False)):
    _await_parent()
