"""How is a pushed body inflated without letting it fill the memory, and how is an answer compressed?

Bodies come from anyone. Inflating stops at the limit and not after it, so a bomb costs no more than an honest body of
the limit's size. The standard library's zlib inflates, since it can be told where to stop.

Answers are large, and compressing one costs more than the rest of its scrape. For 20 000 samples, 1.7 MB, measured by
tests/benchmarks/bench_compression.py:

    gzip by zlib 6       17.9 ms  281 KB      gzip by zlib-ng 2    5.8 ms  282 KB      gzip by isal 1   2.2 ms  275 KB
    gzip by zlib 1        8.6 ms  306 KB      gzip by cramjam 1    4.1 ms  285 KB      gzip by isal 0   2.6 ms  394 KB
    zstd by cramjam 3     5.0 ms  290 KB      zstd by cramjam 1    2.5 ms  245 KB

All of them let other threads run.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

import cramjam
from isal import isal_zlib

from pushgateway.errors import LimitError, ParseError
from pushgateway.formats import ContentEncoding

__all__ = ["compress", "decompress"]

_CHUNK_BYTES: Final = 1 << 14
"""How much zlib is given at a time. It copies what follows the end of a gzip member, so a body of many small members
would cost its length squared if it were given whole."""

_GZIP_FORMAT: Final = 31
_GZIP_HEADER_BYTES: Final = 10
_GZIP_MAGIC: Final = b"\x1f\x8b\x08"


def decompress(
    data: bytes, encoding: ContentEncoding, *, limit_bytes: int, check: Callable[[], None] | None = None
) -> bytes:
    """Decode a request's body.

    Args:
        data: The body as it came.
        encoding: How it is encoded, gzip or identity, from `request_encoding`. Concatenated gzip members are read as
            one body.
        limit_bytes: How many decoded bytes there may be; nothing beyond is inflated.
        check: Called before every 16 KiB of `data` and every gzip member, of which a body may have millions; what it
            raises ends the work. None for no call.

    Raises:
        ParseError: The body is not in this encoding, or is cut short. Messages are those of the original, but for less
            than a header that is no gzip data: that is said here too, where the original finds it cut short.
        LimitError: There are more than `limit_bytes` bytes in it.
    """
    if encoding != "identity":
        return _inflate(data, limit_bytes, check)
    if len(data) > limit_bytes:
        raise LimitError("decoded-bytes", allowed=limit_bytes, seen=len(data))
    return data


def _inflate(data: bytes, limit_bytes: int, check: Callable[[], None] | None) -> bytes:
    if not data:
        raise ParseError("EOF", hint="Content-Encoding is gzip, but the body is empty")
    parts: list[bytes] = []
    room = limit_bytes
    position = 0
    member = None
    while position < len(data):
        if check is not None:
            check()
        if member is None:
            _check_header(data[position : position + _GZIP_HEADER_BYTES])
            member = zlib.decompressobj(wbits=_GZIP_FORMAT)
        chunk = data[position : position + _CHUNK_BYTES]
        try:
            part = member.decompress(chunk, room + 1)
        except zlib.error as error:
            raise _parse_error(error) from None
        room -= len(part)
        if room < 0:
            raise LimitError("decoded-bytes", allowed=limit_bytes)
        parts.append(part)
        position += len(chunk) - len(member.unused_data)
        if member.eof:
            member = None
    if member is not None:
        raise ParseError("unexpected EOF", hint="the gzip data is cut short")
    return b"".join(parts)


def _check_header(header: bytes) -> None:
    if not header.startswith(_GZIP_MAGIC[: len(header)]):
        raise ParseError("gzip: invalid header", hint="Content-Encoding is gzip, but this is no gzip data")
    if len(header) < _GZIP_HEADER_BYTES:
        raise ParseError("unexpected EOF", hint="the gzip data is cut short")


def _parse_error(error: zlib.error) -> ParseError:
    """Translate zlib's error to the original's words; only zlib's text says what is wrong."""
    reason = str(error)
    if "header" in reason:
        return ParseError("gzip: invalid header", hint=reason)
    if "check" in reason:
        return ParseError("gzip: invalid checksum", hint=reason)
    return ParseError("flate: corrupt input", hint=reason)


def compress(data: bytes, encoding: ContentEncoding) -> bytes:
    """Encode an answer's body.

    Args:
        data: The finished body.
        encoding: From `accepted_encoding`.

    Returns:
        The encoded body, `data` itself for identity.
    """
    if encoding == "gzip":
        return isal_zlib.compress(data, 1, wbits=_GZIP_FORMAT)
    if encoding == "zstd":
        return bytes(cramjam.zstd.compress(data, level=1))
    return data
