"""Where does each process keep what it counts, and how are all of them read together?

With a directory, prometheus_client maps two files there for each process that counts. A page of such a file that the
disk has no room for ends the process that touches it with SIGBUS, so each page is reserved before it is mapped. What
cannot be reserved is not counted, and tried again with the next request.

A dead worker's files are folded into one set of files for all the dead. prometheus_client leaves them lying, one set a
process that ever lived; deleting them would make counters fall, which Prometheus takes for a restart. The arbiter folds
between two steps of a number that all processes share, and a scrape that finds it changed reads again. A file lock was
rejected: scrapes that overlap can keep whoever wants it alone, here the arbiter, waiting for ever.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias, TypeVar

from prometheus_client import CollectorRegistry

from pushgateway.loglines import Log
from pushgateway.model import MetricFamily
from pushgateway.telemetry import families

__all__ = ["Counters", "Kind", "MappedCounters", "OwnCounters"]

log = Log(__name__)

Kind: TypeAlias = Literal["counter", "histogram"]
T = TypeVar("T")

_FIRST_BYTES: Final = 1 << 16
"""The size that prometheus_client gives a new file; about 250 series. It doubles what is full."""

_GROUP_BYTES: Final = 1 << 13
"""More than the longest entries that one call adds: the 14 buckets and the sum of a histogram, 250 bytes each."""

_READ_SECONDS: Final = 1.0
"""How long a scrape waits for the arbiter to finish a fold, which takes 1 ms. Then it was stopped in the middle."""

_PAUSE_SECONDS: Final = 0.001
_HEAD_BYTES: Final = 8
_LENGTH: Final = struct.Struct("i")
_VALUE: Final = struct.Struct("dd")
_OWNER: Final = re.compile(r"_([0-9]+)\.db")


class Counters(Protocol):
    """What counts are kept in. All threads of all processes may use it."""

    def usable(self) -> bool:
        """Tell whether this process may add to series that it has made."""

    def make(self, kind: Kind, series: Callable[[], T]) -> T | None:
        """Make one series of a counter or a histogram; None if there is no room for it."""

    def collect(self) -> Sequence[MetricFamily]:
        """Return the sums over all processes, those families that have series."""

    def fold(self, pid: int) -> None:
        """Keep what a dead process has counted, and remove its files."""


class OwnCounters:
    """Counts of this process alone, in its memory.

    Args:
        registry: Where its metrics are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def usable(self) -> bool:
        """Tell that memory has room."""
        return True

    def make(self, kind: Kind, series: Callable[[], T]) -> T | None:
        """Make a series."""
        return series()

    def collect(self) -> Sequence[MetricFamily]:
        """Return what this process has counted."""
        found = (
            families.counter(metric) if metric.type == "counter" else families.histogram(metric)
            for metric in self._registry.collect()
        )
        return [family for family in found if family.metrics]

    def fold(self, pid: int) -> None:
        """Do nothing: other processes have counted nothing here."""


class MappedCounters:
    """Counts of many processes, in mapped files of one directory; to be made before the fork.

    Args:
        directory: PROMETHEUS_MULTIPROC_DIR.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.RLock()
        self._pid = 0  # whose files are reserved
        self._sizes: dict[Kind, int] = {"counter": _FIRST_BYTES, "histogram": _FIRST_BYTES}
        self._complained = False
        # Odd while the arbiter folds.
        self._folds = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")
        self._last: tuple[list[bytes], Sequence[MetricFamily]] = ([], ())

    def usable(self) -> bool:
        """Tell whether this process has its files; costs 0.1 us once it has them."""
        return self._pid == os.getpid() or self._begin()

    def make(self, kind: Kind, series: Callable[[], T]) -> T | None:
        """Make one series, in a file with room for it."""
        # All of it under the lock: another thread could fill the room that was found.
        with self._lock:
            if not self.usable():
                return None
            if not self._has_room(kind):
                self._complain()
                return None
            return series()

    def collect(self) -> Sequence[MetricFamily]:
        """Return the sums over all files, each dead process counted once."""
        deadline = time.monotonic() + _READ_SECONDS
        while True:
            before = self._folds[0]
            with contextlib.suppress(FileNotFoundError):
                files = [_used(path) for path in self._files()]
                if (before % 2 == 0 and before == self._folds[0]) or time.monotonic() > deadline:
                    return self._summed(files)
            time.sleep(_PAUSE_SECONDS)

    def fold(self, pid: int) -> None:
        """Fold what a dead process has counted, and what of other dead ones could not be folded yet.

        Without room for that the files stay, and are counted as they are.
        """
        files = [path for path in self._directory.glob("*_*.db") if _is_left(path, pid)]
        if not files:
            return
        self._folds[0] += 1
        try:
            for path in files:
                _fold(path, path.with_name(path.name.partition("_")[0] + "_dead.db"))
        except OSError as error:
            log.warning("cannot fold the counters of dead workers yet", reason=str(error))
        finally:
            self._folds[0] += 1

    def _begin(self) -> bool:
        """Reserve the files of this process; after a fork prometheus_client fills them with all series at once."""
        with self._lock:
            pid = os.getpid()
            if self._pid != pid and all(_reserve(self._path(kind), size) for kind, size in self._sizes.items()):
                self._pid = pid
                self._complained = False
            if self._pid != pid:
                self._complain()
            return self._pid == pid

    def _has_room(self, kind: Kind) -> bool:
        path = self._path(kind)
        try:
            with path.open("rb") as file:
                used = int.from_bytes(file.read(4), sys.byteorder)
                size = os.fstat(file.fileno()).st_size
        except OSError:
            return False  # the directory has been removed
        if used + _GROUP_BYTES <= size:
            return True
        # Twice the size, to which prometheus_client will set it: a smaller one would cut off what we have reserved.
        if not _reserve(path, 2 * size):
            return False
        self._sizes[kind] = 2 * size
        return True

    def _complain(self) -> None:
        if not self._complained:
            self._complained = True
            log.warning("no room for counters, some requests are not counted", directory=str(self._directory))

    def _path(self, kind: Kind) -> Path:
        return self._directory / f"{kind}_{os.getpid()}.db"

    def _files(self) -> list[str]:
        """Return all files; none if the directory has been removed."""
        # Not Path.glob, which takes ten times as long.
        with contextlib.suppress(FileNotFoundError):
            return [f"{self._directory}/{name}" for name in sorted(os.listdir(self._directory)) if name.endswith(".db")]
        return []

    def _summed(self, files: list[bytes]) -> Sequence[MetricFamily]:
        """Sum files up; between two scrapes without a request they are the same, byte for byte."""
        before, found = self._last
        if files != before:
            sums: dict[bytes, float] = {}
            for data in files:
                for key, value in _entries(data):
                    sums[key] = sums.get(key, 0.0) + value
            found = families.of_sums(sums)
            self._last = files, found
        return found


def _reserve(path: Path, size: int) -> bool:
    """Give a file this size, with room on the disk for each byte of it; what it holds stays. False if there is none."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return False
    before = os.fstat(fd).st_size
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError:
        with contextlib.suppress(OSError):
            if before:
                os.ftruncate(fd, before)
            else:
                path.unlink()
        return False
    finally:
        os.close(fd)
    return True


def _is_left(path: Path, pid: int) -> bool:
    """Tell whether a file was left by this process, or by one that is gone."""
    match = _OWNER.search(path.name)
    if match is None:
        return False
    owner = int(match[1])
    if owner == pid:
        return True
    try:
        os.kill(owner, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # somebody else's process of that number; its turn comes
    return False


def _fold(path: Path, into: Path) -> None:
    """Add the values of one file to those of another, which appears or changes whole."""
    values: dict[bytes, float] = {}
    for source in (path, into):
        for key, value in _values(source):
            values[key] = values.get(key, 0.0) + value
    # Not *.db, so that a left-over of an interrupted fold is never summed up. Written and not mapped: see the module.
    fresh = into.with_suffix(".new")
    try:
        with fresh.open("wb") as file:
            file.write(_encode(values))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    fresh.replace(into)
    path.unlink()


def _values(path: Path) -> Iterator[tuple[bytes, float]]:
    if not path.exists():
        return
    try:
        yield from _entries(_used(path))
    except (ValueError, struct.error) as error:
        raise OSError(f"{path} is damaged: {error}") from error


def _used(path: Path | str) -> bytes:
    """Read the part of a file that is in use; b"" of one that a worker has created and not yet reserved."""
    with open(path, "rb", buffering=0) as file:
        data = file.read(mmap.PAGESIZE)
        used = int.from_bytes(data[:4], sys.byteorder)
        while len(data) < used and (more := file.read(used - len(data))):
            data += more
    return data[:used]


def _entries(data: bytes) -> Iterator[tuple[bytes, float]]:
    """Yield keys and values as MmapedDict has written them: the length in use, then entries.

    An entry is the length of its key, the key, blanks up to a multiple of 8, the value, and a time. Read here and not
    by prometheus_client, whose sums of two workers took 0.6 ms of each scrape, and take 0.1.

    Raises:
        ValueError: A key ends behind the end of the file.
        struct.error: An entry does.
    """
    at = _HEAD_BYTES
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        end = at + _LENGTH.size + length
        if length < 0 or end > len(data):
            raise ValueError(f"the key at {at} is longer than the file")
        key = data[at + _LENGTH.size : end]
        at = end + _padding(length)
        yield key, _VALUE.unpack_from(data, at)[0]
        at += _VALUE.size


def _padding(length: int) -> int:
    return 8 - (length + _LENGTH.size) % 8


def _encode(values: Mapping[bytes, float]) -> bytes:
    """Write a file as `_entries` and MmapedDict read it."""
    data = b"".join(
        _LENGTH.pack(len(key)) + key + b" " * _padding(len(key)) + _VALUE.pack(value, 0.0)
        for key, value in values.items()
    )
    return struct.pack("i4x", _HEAD_BYTES + len(data)) + data
