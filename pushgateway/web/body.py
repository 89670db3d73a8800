"""What did the client send, whole, decompressed and within limits?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Final, cast

from flask import request

from pushgateway import formats
from pushgateway.config import Limits
from pushgateway.errors import LimitError, LongWorkError, RequestError
from pushgateway.formats import compression
from pushgateway.web.environ import Environ
from pushgateway.web.handlers import services

__all__ = ["read", "refuse_undecodable"]

_PEEK_BYTES: Final = 1 << 16
_PEEK_STEPS: Final = 4
"""How much is inflated of a body that nobody reads, in bytes and in steps of the inflating: the original looks no
further than at the gzip header."""


def read(environ: Environ, limits: Limits, *, check: Callable[[], None] | None = None) -> bytes:
    """Read a request's body.

    The body has a length, or the server says that its input ends by itself (chunked bodies); else there is none.

    Args:
        environ: The request. Its `wsgi.input` is read to the end of the body, and can be read no second time.
        limits: How large the body may be, as sent and after decompression.
        check: Called now and then while the body is decompressed; what it raises ends that. None for no call.

    Returns:
        The body, decompressed as Content-Encoding says.

    Raises:
        LimitError: `body-bytes` as sent or `decoded-bytes` after decompression are exceeded.
        LongWorkError: The decompressed body is larger than the `pushgateway.room_bytes` of the request.
        UnsupportedMediaError: A Content-Encoding that is not read here.
        ParseError: The body is not compressed as Content-Encoding says.
        RequestError: Content-Length is not a length, or the body is shorter.
    """
    body = _raw(environ, limits.body_bytes)
    header = cast(str, environ.get("HTTP_CONTENT_ENCODING", ""))
    if not header:
        return body
    encoding = formats.request_encoding(header)
    room_bytes = cast(int, environ.get("pushgateway.room_bytes", limits.decoded_bytes))
    try:
        return compression.decompress(body, encoding, limit_bytes=min(room_bytes, limits.decoded_bytes), check=check)
    except LimitError:
        if room_bytes >= limits.decoded_bytes:
            raise
        raise LongWorkError(f"the body has more than {room_bytes} bytes when it is decompressed") from None


def refuse_undecodable() -> None:
    """Refuse a wrong Content-Encoding also where nobody reads the body, as the original does outside of its API.

    Only the beginning of the body is looked at, so that no request can have a bomb inflated in vain.

    Raises:
        RequestError: As `read` does.
    """
    environ = request.environ
    if "HTTP_CONTENT_ENCODING" not in environ or request.endpoint == "push.push" or request.blueprint == "api":
        return
    encoding = formats.request_encoding(environ["HTTP_CONTENT_ENCODING"])
    body = _raw(environ, services().config.limits.body_bytes)
    steps = count()

    def check() -> None:
        if next(steps) == _PEEK_STEPS:
            raise _SeenEnough

    with suppress(_SeenEnough, LimitError):
        compression.decompress(body, encoding, limit_bytes=_PEEK_BYTES, check=check)


class _SeenEnough(Exception):  # noqa: N818 - nothing is wrong
    pass


def _raw(environ: Environ, limit_bytes: int) -> bytes:
    stream = environ["wsgi.input"]
    header = cast(str, environ.get("CONTENT_LENGTH", ""))
    if not header:
        if not environ.get("wsgi.input_terminated"):
            return b""
        body = cast(bytes, stream.read(limit_bytes + 1))  # type: ignore[attr-defined]
        if len(body) > limit_bytes:
            raise LimitError("body-bytes", allowed=limit_bytes)
        return body
    if not (header.isascii() and header.isdigit()):
        raise RequestError(f"Content-Length {header!r} is not a length")
    length = int(header)
    if length > limit_bytes:
        raise LimitError("body-bytes", allowed=limit_bytes, seen=length)
    body = cast(bytes, stream.read(length))  # type: ignore[attr-defined]
    if len(body) < length:
        raise RequestError(f"unexpected end of body: {len(body)} bytes where Content-Length says {length}")
    return body
