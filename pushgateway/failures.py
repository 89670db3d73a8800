"""Which pushes were refused lately, and why?

A ring in memory that all workers share: made before the fork, inherited by each, gone with the gateway. Not on disk:
there each record would cost a flush, and any client could have as many of them as it sends nonsense.

A worker may be stopped or killed at any instruction, and must neither keep the others waiting nor leave anything to be
tidied up. So nothing is locked. Whoever writes takes the next slot's number out of a pipe that holds one for each, and
puts it back for its next round: the kernel hands each number to one taker. (A counter in the memory, counted up under
a file lock, was rejected: a writer that did without the lock of a stopped one could set it back by many records.) Each
slot begins with a checksum, so that what is half written is not read. A worker that is killed within the two
microseconds in which it holds a number makes the ring shorter by one.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import weakref
import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from pushgateway.loglines import Log
from pushgateway.model import Labels

__all__ = ["CAPACITY", "Failure", "FailureRing"]

_log = Log(__name__)

CAPACITY: Final = 512
"""How many failures are kept; with their slots 2 MiB, of which the kernel provides what has been written."""

_SLOT_BYTES: Final = 4096
_CRC: Final = struct.Struct("=I")
_HEAD: Final = struct.Struct("=HQ")  # bytes of the record and its number, after their checksum and before the record
_RECORD_BYTES: Final = _SLOT_BYTES - _CRC.size - _HEAD.size
_NUMBER: Final = struct.Struct("=Q")

_LENGTHS: Final = (1024, 256, 64)
"""To how many characters texts are cut: the first that lets the record into its slot."""

_Data: TypeAlias = Mapping[str, str | float]


class Failure(NamedTuple):
    """A push or delete that was refused or has failed.

    Attributes:
        at_seconds: Unix time of the answer.
        group: The labels of the grouping key; None if the path names no group.
        path: As asked for, percent-decoded.
        method: The HTTP method.
        source: The client's address, "" if it is not known.
        status: The HTTP status of the answer.
        kind: What JSON errors call `errorType`.
        reason: Why, in one sentence or several.
        data: What else is known, as in JSON errors: line, family, limit, ...
    """

    at_seconds: float
    group: Labels | None
    path: str
    method: str
    source: str
    status: int
    kind: str
    reason: str
    data: _Data


class FailureRing:
    """The last `CAPACITY` failures of all processes that were forked after it was made.

    All threads of all processes may use it.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SLOT_BYTES * CAPACITY)
        self._take, self._put_back = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # 4 KiB, which the smallest pipe takes; what is written or read at once is not divided (pipe(7)).
        os.write(self._put_back, b"".join(_NUMBER.pack(number) for number in range(1, CAPACITY + 1)))
        weakref.finalize(self, _close, self._take, self._put_back)

    def record(self, failure: Failure) -> None:
        """Add a failure in place of the oldest. Takes some 15 us, waits for nobody and never raises.

        Texts are cut where the record would not fit in 4 KiB; a group with too many labels for that becomes None.
        """
        try:
            self._write(_encode(failure))
        except BlockingIOError:
            pass  # as many are being recorded as there is room for
        except Exception:
            # Whatever it is, the client is to get its answer.
            _log.exception("failure not recorded")

    def recent(self, limit: int = CAPACITY) -> list[Failure]:
        """Return the last failures, newest first.

        Args:
            limit: How many at most.
        """
        slots = range(0, _SLOT_BYTES * CAPACITY, _SLOT_BYTES)
        numbered = sorted(((_HEAD.unpack_from(self._memory, at + _CRC.size)[1], at) for at in slots), reverse=True)
        found: list[Failure] = []
        oldest = 0
        for number, at in numbered:
            # A slot that nobody writes any more does not count as recent for ever.
            if len(found) == limit or number <= oldest:
                break
            if (record := self._read(at, number)) is not None:
                oldest = oldest or max(0, number - CAPACITY)
                found.append(_decode(record))
        return found

    def _write(self, record: bytes) -> None:
        taken = os.read(self._take, _NUMBER.size)
        (number,) = _NUMBER.unpack(taken)
        summed = _HEAD.pack(len(record), number) + record
        at = number % CAPACITY * _SLOT_BYTES
        self._memory[at : at + _CRC.size + len(summed)] = _CRC.pack(zlib.crc32(summed)) + summed
        os.write(self._put_back, _NUMBER.pack(number + CAPACITY))

    def _read(self, at: int, number: int) -> bytes | None:
        """Return the record of a slot, None if it is half written or was just replaced."""
        slot = self._memory[at : at + _SLOT_BYTES]
        length, found = _HEAD.unpack_from(slot, _CRC.size)
        summed = slot[_CRC.size : _CRC.size + _HEAD.size + length]
        whole = _CRC.pack(zlib.crc32(summed)) == slot[: _CRC.size]
        return summed[_HEAD.size :] if whole and found == number else None


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _encode(failure: Failure) -> bytes:
    for most in _LENGTHS:
        record = _encode_cut(failure, most)
        if len(record) <= _RECORD_BYTES:
            return record
    data = {name: value for name, value in failure.data.items() if not isinstance(value, str)}
    return _encode_cut(failure._replace(group=None, data=data), _LENGTHS[-1])


def _encode_cut(failure: Failure, most: int) -> bytes:
    group, shortest = failure.group, _LENGTHS[-1]
    values = (
        failure.at_seconds,
        None if group is None else [(_cut(name, most), _cut(value, most)) for name, value in group],
        _cut(failure.path, most),
        _cut(failure.method, shortest),
        _cut(failure.source, shortest),
        failure.status,
        _cut(failure.kind, shortest),
        _cut(failure.reason, most),
        {name: _cut(value, most) if isinstance(value, str) else value for name, value in failure.data.items()},
    )
    return json.dumps(values, ensure_ascii=False).encode()


def _cut(text: str, most: int) -> str:
    """Return the beginning of a text, without what UTF-8 cannot hold."""
    if len(text) > most:
        text = text[: most - 3] + "..."
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _decode(record: bytes) -> Failure:
    at_seconds, group, path, method, source, status, kind, reason, data = json.loads(record)
    labels = None if group is None else tuple((name, value) for name, value in group)
    return Failure(at_seconds, labels, path, method, source, status, kind, reason, data)
