"""What did the client send, whole, decompressed and within limits?"""

from __future__ import annotations

from typing import cast

from flask import request

from pushgateway import formats
from pushgateway.config import Limits
from pushgateway.errors import LimitError, RequestError
from pushgateway.formats import compression
from pushgateway.web.handlers import Environ, services

__all__ = ["read", "refuse_undecodable"]


def read(environ: Environ, limits: Limits) -> bytes:
    """Read a request's body.

    The body has a length, or the server says that its input ends by itself (chunked bodies); else there is none.

    Args:
        environ: The request. Its `wsgi.input` is read to the end of the body, and can be read no second time.
        limits: How large the body may be, as sent and after decompression.

    Returns:
        The body, decompressed as Content-Encoding says.

    Raises:
        LimitError: `body-bytes` as sent or `decoded-bytes` after decompression are exceeded.
        UnsupportedMediaError: A Content-Encoding that is not read here.
        ParseError: The body is not compressed as Content-Encoding says.
        RequestError: Content-Length is not a length, or the body is shorter.
    """
    body = _raw(environ, limits.body_bytes)
    header = cast(str, environ.get("HTTP_CONTENT_ENCODING", ""))
    if not header:
        return body
    encoding = formats.request_encoding(header)
    return compression.decompress(body, encoding, limit_bytes=limits.decoded_bytes)


def refuse_undecodable() -> None:
    """Refuse a wrong Content-Encoding also where nobody reads the body, as the original does outside of its API.

    Raises:
        RequestError: As `read` does.
    """
    environ = request.environ
    if "HTTP_CONTENT_ENCODING" not in environ or request.endpoint == "push.push" or request.blueprint == "api":
        return
    # When the bridge repeats a request (see push), the body has been read, and was in order.
    if not environ.get("pushgateway.scratch"):
        read(environ, services().config.limits)


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
