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
from collections.abc import Mapping
from typing import Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["PACKED_BYTES", "UNPACKING_FAILED", "add_unpacking", "all_unpack", "pack", "unpacked"]

PACKED_BYTES: Final = 64 << 10
"""Both forms of a family that are compressed, if they are larger. Part of the layout, which has no other mark."""

UNPACKING_FAILED: Final = "user-defined function raised exception"
"""What the sqlite3 module says of a statement that met a damaged frame, beside the general code of SQLite."""

_SETTINGS: Final[Mapping[int, int]] = {
    # Of the fast levels -1 takes as long, and makes 0.8 MB of text where this makes 0.44.
    zstd.CompressionParameter.compression_level: 1,
    # Else of 60 flipped bits 40 make other lines, and no error. Takes 1 ms for 10 MB, to write and to read.
    zstd.CompressionParameter.checksum_flag: 1,
}


def pack(size: int, text: bytes, metrics: bytes) -> tuple[bytes, bytes]:
    """Return two forms that come to so many bytes as they are stored. Other threads run meanwhile."""
    if size <= PACKED_BYTES:
        return text, metrics
    return zstd.compress(text, options=_SETTINGS), zstd.compress(metrics, options=_SETTINGS)


def unpacked(column: str) -> str:
    """Return the expression that reads a form out of `large_bodies`, by way of what `add_unpacking` adds."""
    return f"CASE WHEN bytes > {PACKED_BYTES} THEN unpacked({column}) ELSE {column} END"


def add_unpacking(db: sqlite3.Connection) -> None:
    """Let the statements of a connection read what is packed; one that reads a damaged frame fails."""
    db.create_function("unpacked", 1, zstd.decompress, deterministic=True)


def all_unpack(db: sqlite3.Connection) -> bool:
    """Return whether all that is packed can be read, and is as large as it says."""
    add_unpacking(db)
    lengths = f"length({unpacked('text')}) + length({unpacked('metrics')})"
    try:
        return db.execute(f"SELECT 1 FROM large_bodies WHERE {lengths} <> bytes LIMIT 1").fetchone() is None  # noqa: S608 - constants
    except sqlite3.OperationalError as error:
        if str(error) == UNPACKING_FAILED:
            return False
        raise
