"""How is a pushed body inflated without letting it fill the memory, and how is an answer compressed?

Bodies come from anyone. Inflating stops at the limit and not after it, so a bomb costs no more than an honest body of
the limit's size: gzip by zlib and zstd by libzstd, both told where to stop; snappy a chunk of at most 64 KiB at a time.

Answers are large, and compressing one costs more than the rest of its scrape. For 20 000 samples, 1.7 MB, measured by
tests/benchmarks/bench_compression.py (docs/explanation/compression.md has the whole table):

    gzip by zlib 6       23.2 ms  281 KB      gzip by zlib-ng 2    7.9 ms  282 KB      gzip by isal 1   2.5 ms  275 KB
    gzip by zlib 1        9.9 ms  306 KB      gzip by cramjam 1    5.8 ms  285 KB      gzip by isal 0   2.6 ms  394 KB
    zstd by cramjam 1     3.6 ms  245 KB      zstd by libzstd 3    4.9 ms  294 KB      zstd by libzstd 1  2.7 ms  245 KB

All of them let other threads run.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import cramjam
from isal import isal_zlib

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from pushgateway.errors import LimitError, ParseError
from pushgateway.formats import ContentEncoding

__all__ = ["Piece", "Run", "decompress", "join", "pack", "pack_one", "unpack"]

_CHUNK_BYTES: Final = 1 << 14
"""How much a decompressor is given at a time. It copies what follows the end of a member, so a body of many small
members would cost its length squared if it were given whole."""

_GZIP_FORMAT: Final = 31
_GZIP_HEADER_BYTES: Final = 10
_GZIP_MAGIC: Final = b"\x1f\x8b\x08"

_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_OPTIONS: Final[Mapping[int, int]] = {zstd.DecompressionParameter.window_log_max: 23}
"""8 MiB, the most that a frame may ask a server to keep of it (RFC 9659)."""

_SNAPPY_BEGIN: Final = b"\xff\x06\x00\x00sNaPpY"
_SNAPPY_HEAD_BYTES: Final = 4
_SNAPPY_DATA: Final = (0x00, 0x01)
_SNAPPY_SKIPPABLE: Final = 0x80
"""Chunk types from here on hold no data: padding, what later versions add, and the beginning of another stream."""

_LEAST_MEMBER_BYTES: Final = 1 << 10
_LEAST_CHUNK_BYTES: Final = 1 << 7
"""As how much a member counts that inflates to less, and a chunk of snappy: nothing at all takes 1 us (gzip, snappy) to
12 us (zstd), and two million of them fit into a body. The last one, which often is the only one, counts as it is."""

_PIECE_BYTES: Final = 1 << 18
"""From which size on a piece is as small as in one with all others; of 64 KiB they come to 4 % more."""

_RAW_DEFLATE: Final = -15
_GZIP_HEADER: Final = _GZIP_MAGIC + bytes(6) + b"\xff"
"""No flags, no time, no hint, an unknown system (RFC 1952, section 2.3)."""
_LAST_BLOCK: Final = b"\x03\x00"
"""The end of deflate: an empty block that says that it is the last (RFC 1951, section 3.2.3)."""
_GZIP_TRAILER: Final = struct.Struct("<II")
"""The checksum of what was compressed, and its length modulo 2^32."""

_EOF: Final = "unexpected EOF"


def decompress(
    data: bytes, encoding: ContentEncoding, *, limit_bytes: int, check: Callable[[], None] | None = None
) -> bytes:
    """Decode a request's body.

    Args:
        data: The body as it came.
        encoding: How it is encoded, from `request_encoding`. Concatenated gzip members, zstd frames and snappy streams
            are read as one body.
        limit_bytes: How many decoded bytes there may be; nothing beyond is inflated. Each member or frame but the last
            counts as 1 KiB at least, each chunk of snappy as 128 bytes.
        check: Called before every 16 KiB of `data` and every member or chunk, of which a body may have millions; what
            it raises ends the work. None for no call.

    Raises:
        ParseError: The body is not in this encoding, or is cut short. Messages about gzip and snappy are those of the
            original, but for less than a header that is no gzip data: that is said here too, where the original finds
            it cut short.
        LimitError: There are more than `limit_bytes` bytes in it.
    """
    if encoding == "identity":
        if len(data) > limit_bytes:
            raise LimitError("decoded-bytes", allowed=limit_bytes, seen=len(data))
        return data
    room = _Room(limit_bytes)
    if encoding == "snappy":
        return b"".join(_snappy_chunks(data, room, check))
    return b"".join(_members(data, encoding, room, check))


class _Room:
    """How many more bytes there may be."""

    __slots__ = ("_limit_bytes", "left")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = self.left = limit_bytes

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise LimitError("decoded-bytes", allowed=self._limit_bytes)


class _Member(Protocol):
    """One gzip member or zstd frame on its way to bytes; zlib's and zstd's own classes."""

    @property
    def eof(self) -> bool:
        """Whether its end has been seen."""

    @property
    def unused_data(self) -> bytes:
        """What follows its end."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return what data inflates to, at most `max_length` bytes of it."""


def _members(data: bytes, encoding: ContentEncoding, room: _Room, check: Callable[[], None] | None) -> Iterator[bytes]:
    """Yield what members inflate to; of what is beyond the room one byte is inflated at most."""
    if not data:
        raise ParseError("EOF", hint=f"Content-Encoding is {encoding}, but the body is empty")
    begin = _begin_gzip if encoding == "gzip" else _begin_zstd
    position = missing = 0
    member: _Member | None = None
    while position < len(data):
        if check is not None:
            check()
        if member is None:
            room.take(missing)
            missing = _LEAST_MEMBER_BYTES
            member = begin(data[position : position + _GZIP_HEADER_BYTES])
        chunk = data[position : position + _CHUNK_BYTES]
        try:
            part = member.decompress(chunk, room.left + 1)
        except (zlib.error, zstd.ZstdError) as error:
            raise _parse_error(error) from None
        room.take(len(part))
        missing = max(0, missing - len(part))
        yield part
        position += len(chunk) - len(member.unused_data)
        if member.eof:
            member = None
    if member is not None:
        raise ParseError(_EOF, hint=f"the {encoding} data is cut short")


def _begin_gzip(header: bytes) -> _Member:
    if not header.startswith(_GZIP_MAGIC[: len(header)]):
        raise ParseError("gzip: invalid header", hint="Content-Encoding is gzip, but this is no gzip data")
    if len(header) < _GZIP_HEADER_BYTES:
        raise ParseError(_EOF, hint="the gzip data is cut short")
    return zlib.decompressobj(wbits=_GZIP_FORMAT)


def _begin_zstd(header: bytes) -> _Member:
    # Skippable frames (RFC 8878, section 3.1.2) have one of sixteen other beginnings; the library knows them.
    if not header.startswith(_ZSTD_MAGIC[: len(header)]) and header[1:4] != b"\x2a\x4d\x18":
        raise ParseError("zstd: invalid header", hint="Content-Encoding is zstd, but this is no zstd data")
    return zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)


def _snappy_chunks(data: bytes, room: _Room, check: Callable[[], None] | None) -> Iterator[bytes]:
    """Yield what the chunks of a framed stream inflate to, 64 KiB each at most.

    The format: https://github.com/google/snappy/blob/main/framing_format.txt. The library is given a chunk at a time,
    each as a stream of its own, since it cannot be told where to stop; it looks at the checksums.
    """
    if data and not data.startswith(_SNAPPY_BEGIN[: len(data)]):
        hint = "Content-Encoding is snappy, but this is no data in snappy's framing format"
        raise ParseError("snappy: corrupt input", hint=hint)
    position = missing = 0
    while position < len(data):
        if check is not None:
            check()
        room.take(missing)
        missing = _LEAST_CHUNK_BYTES if position else 0  # every stream has a chunk at its beginning
        end = position + _SNAPPY_HEAD_BYTES + int.from_bytes(data[position + 1 : position + 4], "little")
        if position + _SNAPPY_HEAD_BYTES > len(data) or end > len(data):
            raise ParseError(_EOF, hint="the snappy data is cut short")
        kind = data[position]
        if kind in _SNAPPY_DATA:
            try:
                part = bytes(cramjam.snappy.decompress(_SNAPPY_BEGIN + data[position:end]))
            except cramjam.DecompressionError as error:
                raise ParseError("snappy: corrupt input", hint=str(error)) from None
            room.take(len(part))
            missing = max(0, missing - len(part))
            yield part
        elif kind < _SNAPPY_SKIPPABLE:
            raise ParseError("snappy: unsupported input", hint=f"a chunk has the unknown type {kind:#04x}")
        position = end


def _parse_error(error: Exception) -> ParseError:
    """Translate a library's error to the original's words; only the library's text says what is wrong."""
    reason = str(error)
    if isinstance(error, zstd.ZstdError):
        if "too much memory" in reason:
            reason = "a frame's window may have 8 MiB (RFC 9659): compress without --long"
        return ParseError("zstd: corrupt input", hint=reason)
    if "header" in reason:
        return ParseError("gzip: invalid header", hint=reason)
    if "check" in reason:
        return ParseError("gzip: invalid checksum", hint=reason)
    return ParseError("flate: corrupt input", hint=reason)


class Piece(NamedTuple):
    """What `size_bytes` bytes have been compressed to, before and behind which other pieces may stand.

    In gzip, blocks of deflate that end with a byte and refer to nothing before them (RFC 1951), with the `crc` of the
    bytes; a frame of zstd. `text` is the bytes, where they are kept.
    """

    data: bytes
    size_bytes: int
    crc: int
    text: bytes | None = None


class Run(NamedTuple):
    """Pieces that follow one another, with size and checksum of all of them."""

    pieces: Sequence[Piece]
    size_bytes: int
    crc: int

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Run:
        """Reckon the checksum, at 0.6 us a piece."""
        size, crc = 0, 0
        for piece in pieces:
            size += piece.size_bytes
            crc = isal_zlib.crc32_combine(crc, piece.crc, piece.size_bytes)
        return cls(pieces, size, crc)


def pack(parts: Iterable[bytes], packing: ContentEncoding, *, keep_text: bool = False) -> list[Piece]:
    """Compress what follows one another, so that the pieces do, too.

    Args:
        parts: The bytes; each is let go of before the next is asked for, but small ones share a piece.
        packing: ``gzip`` or ``zstd``.
        keep_text: Whether pieces hold what they have been made of, too.
    """
    pieces: list[Piece] = []
    pending: list[bytes] = []
    room = _PIECE_BYTES
    for part in parts:
        pending.append(part)
        room -= len(part)
        if room <= 0:
            pieces.append(pack_one(b"".join(pending), packing, keep_text=keep_text))
            pending.clear()
            room = _PIECE_BYTES
    if pending:
        pieces.append(pack_one(b"".join(pending), packing, keep_text=keep_text))
    return pieces


def pack_one(data: bytes, packing: ContentEncoding, *, keep_text: bool = False) -> Piece:
    """Compress to one piece; `packing` and `keep_text` as in `pack`."""
    text = data if keep_text else None
    if packing == "zstd":
        return Piece(zstd.compress(data, level=1), len(data), 0, text)
    deflate = isal_zlib.compressobj(1, isal_zlib.DEFLATED, _RAW_DEFLATE)
    packed = deflate.compress(data) + deflate.flush(isal_zlib.Z_FULL_FLUSH)
    return Piece(packed, len(data), isal_zlib.crc32(data), text)


def join(runs: Iterable[Run], packing: ContentEncoding) -> bytes:
    """Return an answer's body: all pieces as one gzip member, or as frames of zstd.

    One member: a file may have several (RFC 1952, section 2.2), but not every client reads them; curl 7.88 fails at the
    second.

    Args:
        runs: What it holds.
        packing: How the pieces were packed.
    """
    if packing == "zstd":
        return b"".join([piece.data for run in runs for piece in run.pieces])
    parts = [_GZIP_HEADER]
    size = crc = 0
    for run in runs:
        parts.extend([piece.data for piece in run.pieces])
        size += run.size_bytes
        crc = isal_zlib.crc32_combine(crc, run.crc, run.size_bytes)
    parts += (_LAST_BLOCK, _GZIP_TRAILER.pack(crc, size % 2**32))
    return b"".join(parts)


def unpack(piece: Piece) -> bytes:
    """Return what was compressed with gzip by `pack`."""
    if piece.text is not None:
        return piece.text
    return isal_zlib.decompress(piece.data + _LAST_BLOCK, wbits=_RAW_DEFLATE, bufsize=piece.size_bytes)
