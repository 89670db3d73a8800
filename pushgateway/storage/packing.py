"""How do the bodies of large families lie in a file, and how are they read?

Those of more than 64 KiB compressed, each as a frame of zstd: the lines of a family are much alike. 100 000 samples in
ten families, of which both forms come to 24 MB, become 1 MB in 25 ms of processor time, and are back in 15. To write
them as they are took 50 ms, and as many bytes through the log, the disk, the file and the system's cache.

Smaller ones stay as they are: to begin a frame takes 8 us, to read one 10, so that a push of 1 000 samples in ten
families took half as long again, and reading them twice as long.
"""

from __future__ import annotations

import sqlite3
import sys
from typing import Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["PACKED_BYTES", "add_unpacking", "pack", "unpacked"]

PACKED_BYTES: Final = 64 << 10
"""Both forms of a family that are compressed, if they are larger. Part of the layout, which has no other mark."""

_LEVEL: Final = 1
"""Of the fast levels -1 takes as long, and makes 0.8 MB of text where this makes 0.44."""


def pack(size: int, text: bytes, metrics: bytes) -> tuple[bytes, bytes]:
    """Return two forms that come to so many bytes as they are stored. Other threads run meanwhile."""
    if size <= PACKED_BYTES:
        return text, metrics
    return zstd.compress(text, _LEVEL), zstd.compress(metrics, _LEVEL)


def unpacked(column: str) -> str:
    """Return the expression that reads a form out of `large_bodies`, by way of what `add_unpacking` adds."""
    return f"CASE WHEN bytes > {PACKED_BYTES} THEN unpacked({column}) ELSE {column} END"


def add_unpacking(db: sqlite3.Connection) -> None:
    """Let the statements of a connection read what is packed; one that reads a damaged frame fails."""
    db.create_function("unpacked", 1, zstd.decompress, deterministic=True)
