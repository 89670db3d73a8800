"""Why did the last write of any worker fail?

A page of memory that all workers share: made before the fork, inherited by each.
"""

from __future__ import annotations

import mmap
import threading
import zlib
from typing import Final

__all__ = ["StatusBoard"]

_BYTES: Final = 4096
_HEAD: Final = 6  # CRC-32 of the text, then its length in 2 bytes
_TRIES: Final = 100


class StatusBoard:
    """One sentence that every process forked after this was made can read and replace.

    No lock is shared: a text half replaced has the wrong checksum and is read again. Writers are rare, since a store
    notes changes of state only, and it does so while it holds the writers' lock.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _BYTES)
        self._lock = threading.Lock()

    def note(self, reason: str) -> None:
        """Replace the sentence.

        Args:
            reason: Why writes fail; "" if they succeed. What exceeds 4 KiB of UTF-8 is cut off.
        """
        data = reason.encode("utf-8", "replace")[: _BYTES - _HEAD].decode("utf-8", "ignore").encode()
        head = zlib.crc32(data).to_bytes(4, "big") + len(data).to_bytes(2, "big")
        with self._lock:
            self._memory[: _HEAD + len(data)] = head + data

    def reason(self) -> str:
        """Return the sentence, "" if writes succeed."""
        for _ in range(_TRIES):
            page = self._memory[:_BYTES]
            length = int.from_bytes(page[4:_HEAD], "big")
            data = page[_HEAD : _HEAD + length]
            if zlib.crc32(data).to_bytes(4, "big") == page[:4]:
                return data.decode()
        return "the last write failed; why is just being noted"
