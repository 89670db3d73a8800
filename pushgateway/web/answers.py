"""What does an error look like on the wire, whoever answers it?

The application, the bridge before it and the protocol before that: each may have to refuse a request, and a client
cannot tell who did. So all of them let `error_answer` write what they say; and the latter two report a `Refused`, so
that the application counts, logs and records what it has not seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

__all__ = ["INTERNAL", "JSON", "PLAIN", "ErrorAnswer", "Refused", "Report", "error_answer", "limit_data", "unreported"]

JSON: Final = "application/json"
PLAIN: Final = "text/plain; charset=utf-8"

INTERNAL: Final = "internal"
"""The kind of error that is a bug."""


class ErrorAnswer(NamedTuple):
    """A whole error answer but for its framing: no Content-Length, no Connection."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Refused(NamedTuple):
    """A request that was answered, or ended, without the application.

    Attributes:
        method: The HTTP method, "" if it is not known.
        path: PATH_INFO, "" if it is not known.
        status: The HTTP status; 0 if the connection was ended without an answer.
        kind: The kind of error, `errorType` in JSON.
        reason: What is wrong, as the answer says it.
        source: The client's address, "" if it is not known.
        data: What JSON tells beside the reason.
        duration_seconds: Since the request began, as far as that is known.
    """

    method: str
    path: str
    status: int
    kind: str
    reason: str
    source: str = ""
    data: Mapping[str, object] = {}
    duration_seconds: float = 0.0


class Report(Protocol):
    """Is told of each request that did not reach the application."""

    def __call__(self, refused: Refused) -> None:
        """Count it, log it, record it. Never raises, and never waits."""


def unreported(refused: Refused) -> None:
    """Report to nobody."""


def error_answer(
    status: int,
    word: str,
    message: str,
    *,
    accept: str = "",
    data: Mapping[str, object] | None = None,
    retry_after_seconds: int = 0,
) -> ErrorAnswer:
    """Write an error as text, or as JSON if the client would rather have that.

    Args:
        status: The HTTP status.
        word: The kind of error, `errorType` in JSON.
        message: What is wrong, without a line end.
        accept: The request's Accept header, "" for none.
        data: What JSON tells beside the message.
        retry_after_seconds: What Retry-After says; 0 leaves it out, since a retry will not help.

    Returns:
        The answer. Characters that no UTF-8 can hold are written as escapes, since an answer must not fail.
    """
    if _wants_json(accept):
        values = {"status": "error", "errorType": word, "error": message, **(data or {})}
        text, media = json.dumps(values, ensure_ascii=False), JSON
    else:
        text, media = message, PLAIN
    retry = (("Retry-After", str(retry_after_seconds)),) if retry_after_seconds else ()
    headers = (("Content-Type", media), ("X-Content-Type-Options", "nosniff"), *retry)
    return ErrorAnswer(status, headers, f"{text}\n".encode(errors="backslashreplace"))


def limit_data(limit: str, *, allowed: float, seen: float | None) -> dict[str, object]:
    """Return what JSON tells of an exceeded limit; `seen` only where it is known."""
    return {"limit": limit, "allowed": allowed} | ({} if seen is None else {"seen": seen})


def _wants_json(accept: str) -> bool:
    # Text is the original's answer: whoever accepts anything, or prefers text, gets text.
    if JSON not in accept:
        return False
    accepted = parse_accept_header(accept, MIMEAccept)
    return accepted[JSON] > 0 and accepted[JSON] >= accepted["text/plain"]
