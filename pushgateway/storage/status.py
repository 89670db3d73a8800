"""What do the workers have to tell each other about the store?

A page of memory that all workers share: made before the fork, inherited by each.
"""

from __future__ import annotations

import mmap
import struct
import threading
import zlib
from typing import Final, TypeAlias

__all__ = ["FileIdentity", "StatusBoard"]

FileIdentity: TypeAlias = tuple[int, int]
"""Device and inode."""

_BYTES: Final = 4096
_HEAD: Final = 6  # CRC-32 of what follows it, then its length in 2 bytes
_TRIES: Final = 100
_IDENTITY: Final = struct.Struct("=QQ")
_UNREADABLE: Final = "the last write failed; why is just being noted"


class StatusBoard:
    """A sentence and a few file identities that every process forked after this was made can read and replace.

    No lock is shared: what is half replaced has the wrong checksum and is read again. Writers are rare, since a store
    notes changes of state only, and files when it opens them. SQLite's does so while it holds the writers' lock; of two
    workers on PostgreSQL that note something at once, the next write mends what they leave.
    """

    def __init__(self) -> None:
        memory = mmap.mmap(-1, 2 * _BYTES)
        self._reason = _Slot(memory, 0)
        self._files = _Slot(memory, _BYTES)

    def note(self, reason: str) -> None:
        """Replace the sentence.

        Args:
            reason: Why writes fail; "" if they succeed. What exceeds 4 KiB of UTF-8 is cut off.
        """
        data = reason.encode("utf-8", "replace")[: _BYTES - _HEAD]
        self._reason.write(data.decode("utf-8", "ignore").encode())

    def reason(self) -> str:
        """Return the sentence, "" if writes succeed."""
        data = self._reason.read()
        return _UNREADABLE if data is None else data.decode()

    def note_files(self, files: tuple[FileIdentity, ...]) -> None:
        """Replace the identities of the database and of the files beside it, as they are used; () if they are not."""
        self._files.write(b"".join(_IDENTITY.pack(*file) for file in files))

    def files(self) -> tuple[FileIdentity, ...]:
        """Return the identities of the files in use, () if none are known."""
        return tuple((device, inode) for device, inode in _IDENTITY.iter_unpack(self._files.read() or b""))


class _Slot:
    """A piece of the memory that holds a few bytes."""

    def __init__(self, memory: mmap.mmap, at: int) -> None:
        self._memory = memory
        self._at = at
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        head = zlib.crc32(data).to_bytes(4, "big") + len(data).to_bytes(2, "big")
        with self._lock:
            self._memory[self._at : self._at + _HEAD + len(data)] = head + data

    def read(self) -> bytes | None:
        for _ in range(_TRIES):
            page = self._memory[self._at : self._at + _BYTES]
            length = int.from_bytes(page[4:_HEAD], "big")
            data = page[_HEAD : _HEAD + length]
            if zlib.crc32(data).to_bytes(4, "big") == page[:4]:
                return data
        return None
