"""Which HTTP answer does an error get?

`_TABLE` is the one place that knows statuses. Errors are text, as the original words them, or with
``Accept: application/json`` the same text as JSON beside the data that the error carries.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from flask import Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from pushgateway.errors import (
    GroupingKeyError,
    InconsistentPushError,
    LimitError,
    ParseError,
    PushgatewayError,
    RequestError,
    StoreBusyError,
    StoreError,
    StoreUnreadableError,
    StoreUnwritableError,
    UnsupportedMediaError,
)
from pushgateway.web.answers import INTERNAL, PLAIN, error_answer, limit_data
from pushgateway.web.diagnosis import remember

__all__ = ["Answer", "allow", "empty", "failure", "generic", "plain"]


class Answer(Response):
    """A response that has no Content-Type unless it is given one, as the original's empty answers have none."""

    default_mimetype = None


class _Kind(NamedTuple):
    """How a class of errors is answered; `retry_after_seconds` 0 means that a retry will not help."""

    status: int
    word: str
    retry_after_seconds: int = 0


_TABLE: Final[Mapping[type[PushgatewayError], _Kind]] = {
    GroupingKeyError: _Kind(400, "grouping_key"),
    ParseError: _Kind(400, "parse"),
    InconsistentPushError: _Kind(400, "inconsistent"),
    UnsupportedMediaError: _Kind(415, "unsupported_media"),
    LimitError: _Kind(400, "limit"),
    RequestError: _Kind(400, "request"),
    # Writers are quick: the queue has moved on after a second.
    StoreBusyError: _Kind(503, "store_busy", 1),
    # What an operator or a volume has to mend takes longer; a job that retries should not hammer meanwhile.
    StoreUnwritableError: _Kind(503, "store_unwritable", 5),
    StoreUnreadableError: _Kind(503, "store_unreadable", 5),
    StoreError: _Kind(503, "store", 5),
}
"""Errors to answers. The most specific class counts; what is not here is a bug, and is answered 500."""

_INCONSISTENT: Final = "pushed metrics are invalid or inconsistent with existing metrics: "


def failure(error: PushgatewayError) -> Response:
    """Return the answer to an error of a lower layer, as text or JSON as the current request asks."""
    kind = next((_TABLE[one] for one in type(error).__mro__ if one in _TABLE), _Kind(500, INTERNAL))
    if isinstance(error, LimitError) and error.limit.endswith("-bytes"):
        kind = kind._replace(status=413)
    return _error(
        kind.status, kind.word, _message(error), data=_data(error), retry_after_seconds=kind.retry_after_seconds
    )


def generic(error: HTTPException) -> Response:
    """Return the answer to a request that no view takes: 404, 405, or 500 for what nobody foresaw."""
    match error.code:
        case 400:
            return _error(400, "request", error.description or error.name)
        case 404:
            return _error(404, "not_found", "404 page not found")
        case 405:
            response = _error(405, "method_not_allowed", "Method Not Allowed")
            methods = error.valid_methods if isinstance(error, MethodNotAllowed) else None
            response.headers["Allow"] = allow(methods or ())
            return response
        case 500:
            return _error(500, INTERNAL, "internal server error")
    return _error(error.code or 500, "request", error.name)


def allow(methods: Iterable[str]) -> str:
    """Return the value of an Allow header: sorted, OPTIONS always among them, HEAD never, as in the original."""
    return ", ".join(sorted({*methods, "OPTIONS"} - {"HEAD"}))


def empty(status: int) -> Response:
    """Return an answer without a body."""
    return Answer(status=status)


def plain(body: str, status: int = 200) -> Response:
    """Return a text answer, exactly as given."""
    return Answer(body, status=status, content_type=PLAIN)


def _error(
    status: int,
    word: str,
    message: str,
    *,
    data: Mapping[str, object] | None = None,
    retry_after_seconds: int = 0,
) -> Response:
    remember(request.environ, kind=word, reason=message, data=data)
    accept = request.environ.get("HTTP_ACCEPT", "")
    answer = error_answer(status, word, message, accept=accept, data=data, retry_after_seconds=retry_after_seconds)
    return Answer(answer.body, status=answer.status, headers=answer.headers)


def _message(error: PushgatewayError) -> str:
    match error:
        case ParseError():
            # Without a line it is about a body that cannot be decompressed.
            place = f"{error.format} parsing error in line {error.line}: " if error.line else ""
            family = f" (metric family {json.dumps(error.family, ensure_ascii=False)})" if error.family else ""
            hint = f"; {error.hint}" if error.hint else ""
            return f"{place}{error.message}{family}{hint}"
        case InconsistentPushError(reasons=(reason,)):
            return _INCONSISTENT + reason
        case InconsistentPushError(reasons=reasons):
            return f"{_INCONSISTENT}{len(reasons)} error(s) occurred:" + "".join(f"\n* {reason}" for reason in reasons)
    return str(error)


def _data(error: PushgatewayError) -> Mapping[str, object]:
    """Return what a JSON error tells beside its text; keys whose value is not known are absent."""
    match error:
        case ParseError():
            named = {"format": error.format} if error.line else {}
            data = {"line": error.line, "family": error.family, "hint": error.hint, **named}
        case InconsistentPushError():
            data = {"reasons": error.reasons}
        case LimitError():
            return limit_data(error.limit, allowed=error.allowed, seen=error.seen)
        case UnsupportedMediaError():
            data = {"header": error.header, "value": error.value, "expected": error.expected}
        case _:
            data = {}
    return {name: value for name, value in data.items() if value not in (0, "", None)}
