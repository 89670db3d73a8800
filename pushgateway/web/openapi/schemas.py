"""What do the bodies of requests and answers look like, and which errors are there?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from pushgateway.activity import MINUTES, RANKED
from pushgateway.failures import CAPACITY
from pushgateway.limits import Limits
from pushgateway.model import MetricType
from pushgateway.web.queries import MOST_GROUPS

__all__ = ["ERRORS", "Json", "components", "json_body", "named", "response"]

Json: TypeAlias = dict[str, Any]

_TEXT: Final = "text/plain; charset=utf-8"


class _Error(NamedTuple):
    """A status of errors: what it means, and the values of `errorType` that it comes with."""

    meaning: str
    kinds: tuple[str, ...]


ERRORS: Final[Mapping[int, _Error]] = {
    400: _Error(
        "The path names no group, the body cannot be read, the push contradicts itself or what is stored, or a limit "
        "is exceeded.",
        ("grouping_key", "parse", "inconsistent", "limit", "request"),
    ),
    401: _Error("The operator has configured users, and this request names none with its password.", ("unauthorized",)),
    403: _Error(
        "A browser marks the request as one of another site's page, which may only read; or it is not enabled.",
        ("cross_site",),
    ),
    404: _Error("Nothing is there.", ("not_found",)),
    405: _Error("Another method is expected; `Allow` names it.", ("method_not_allowed",)),
    408: _Error("The request took too long to arrive.", ("limit",)),
    413: _Error("The body, or something in it, has too many bytes.", ("limit",)),
    414: _Error("The request line is too long.", ("limit",)),
    415: _Error("A content encoding that is not read here.", ("unsupported_media",)),
    429: _Error("More requests than the operator's rate limit allows.", ("throttled",)),
    431: _Error("The headers are too large.", ("limit",)),
    500: _Error("A bug; the log has a traceback.", ("internal",)),
    501: _Error("A transfer encoding that is not supported.", ("request",)),
    503: _Error(
        "Nothing was stored: others were before this request for too long, or the store cannot be written or read.",
        ("store_busy", "store_unwritable", "store_unreadable", "store", "limit", "busy"),
    ),
    505: _Error("A version of HTTP that is not supported.", ("request",)),
}
"""Every status of errors."""


def named(kind: str, name: str) -> Json:
    """Return a reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def response(description: str, content: Json | None = None, headers: Json | None = None) -> Json:
    """Return a response; without content it has no body."""
    found: Json = {"description": description}
    return found | ({"headers": headers} if headers else {}) | ({"content": content} if content else {})


def json_body(schema: str, example: object | None = None) -> Json:
    """Return the content of a JSON answer, whose schema is a component."""
    media: Json = {"schema": named("schemas", schema)}
    return {"application/json": media if example is None else media | {"example": example}}


def components() -> Json:
    """Return what operations refer to."""
    return {
        "schemas": _SCHEMAS | {"Error": _error_schema()},
        "responses": {f"Error{status}": _error_response(status, error) for status, error in ERRORS.items()},
        "securitySchemes": {
            "basic": {"type": "http", "scheme": "basic", "description": "If the operator has configured users."}
        },
    }


def _error_response(status: int, error: _Error) -> Json:
    headers: Json = {}
    if status == 405:
        headers = {"Allow": {"description": "The methods that the path takes.", "schema": {"type": "string"}}}
    if status == 401:
        headers = {"WWW-Authenticate": {"description": "The scheme.", "schema": {"const": "Basic"}}}
    if status in (429, 503):
        headers = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
    content: Json = {_TEXT: {"schema": {"type": "string"}}}
    if error.kinds:
        content["application/json"] = {"schema": named("schemas", "Error")}
    return response(error.meaning, content, headers)


def _object(properties: Json, *optional: str, **more: Any) -> Json:
    """Return the schema of an object that has these properties, all of them but the optional ones, and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False, **more}


def _success(data: Json) -> Json:
    return _object({"status": {"const": "success"}, "data": data})


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


_STRING: Final[Json] = {"type": "string"}
_STRINGS: Final[Json] = {"type": "object", "additionalProperties": _STRING}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_TIME: Final[Json] = {"type": "string", "format": "date-time"}
_LIMIT_NAMES: Final = sorted({name.replace("_", "-") for name in Limits._fields} | {"headers"})
_KINDS: Final = sorted({kind for error in ERRORS.values() for kind in error.kinds})

_KNOWN: Final[Json] = {
    "line": {"type": "integer", "minimum": 1, "description": "Of the body, of a syntax error."},
    "family": {"type": "string", "description": "The metric family of a syntax error."},
    "limit": {"enum": _LIMIT_NAMES, "description": "The limit that is exceeded."},
    "allowed": {"type": "number", "description": "Its value."},
    "seen": {"type": "number", "description": "What the request would have needed."},
}
"""What an error may know beside its text; the list of failures has it too."""


def _error_schema() -> Json:
    more: Json = {
        "format": {"enum": ["text format", "openmetrics"], "description": "The format of a body that has lines."},
        "hint": {"type": "string", "description": "What was expected."},
        "reasons": _list(_STRING) | {"description": "What the push contradicts, each on its own."},
        "header": {"type": "string", "description": "The header that is not understood."},
        "value": {"type": "string", "description": "Its value."},
        "expected": {"type": "string", "description": "What it could be instead."},
    }
    properties = {"status": {"const": "error"}, "errorType": {"enum": _KINDS}, "error": _STRING, **_KNOWN, **more}
    example = {
        "status": "error",
        "errorType": "parse",
        "error": 'text format parsing error in line 2: expected float as value, got "1.5GB"',
        "line": 2,
        "format": "text format",
    }
    return _object(properties, *_KNOWN, *more, examples=[example])


_BUCKETS: Final[Json] = {
    "oneOf": [
        _STRINGS | {"description": "Counts by upper bound."},
        _list(
            {
                "type": "array",
                "prefixItems": [{"type": "integer", "minimum": 0, "maximum": 3}, _STRING, _STRING, _STRING],
                "minItems": 4,
                "maxItems": 4,
            }
        )
        | {"description": "Of a native histogram: which ends belong to it, lower and upper end, count."},
    ]
}
_SHARES: Final[Json] = {"labels": _STRINGS, "count": _STRING, "sum": _STRING}

_SCHEMAS: Final[Json] = {
    "Status": _success(
        _object(
            {
                "build_information": _STRINGS,
                "extensions": _list(_STRING) | {"description": "What this gateway can do beyond the Go Pushgateway."},
                "flags": _STRINGS | {"description": "Every flag as a string."},
                "start_time": _TIME,
            }
        )
    ),
    "Groups": _success(_list(named("schemas", "Group"))),
    "OneGroup": _success(named("schemas", "Group")),
    "Group": {
        "type": "object",
        "description": "A group; each further key is a metric family.",
        "required": ["labels", "last_push_successful", "push_time_seconds", "push_failure_time_seconds"],
        "properties": {"labels": _STRINGS, "last_push_successful": {"type": "boolean"}},
        "additionalProperties": named("schemas", "Family"),
    },
    "Family": _object(
        {
            "time_stamp": _TIME,
            "type": {"enum": [kind.name for kind in MetricType]},
            "help": _STRING,
            "metrics": _list(named("schemas", "Metric")),
        },
        "help",
    ),
    "Metric": {
        "description": "A series. All numbers are strings.",
        "oneOf": [
            _object({"labels": _STRINGS, "value": _STRING}, title="Counter, gauge or untyped"),
            _object(_SHARES | {"quantiles": _STRINGS}, title="Summary"),
            _object(_SHARES | {"buckets": _BUCKETS}, title="Histogram"),
        ],
    },
    "GroupPage": _success(
        _object(
            {
                "groups": _list(named("schemas", "GroupSummary")) | {"maxItems": MOST_GROUPS},
                "matching": _COUNT | {"description": "How many groups the query is about."},
                "next_cursor": _STRING | {"description": "Of the next page; empty on the last one."},
                "previous_cursor": _STRING | {"description": "Of the page before; empty on the first one."},
            }
        )
    ),
    "GroupSummary": _object(
        {
            "labels": _STRINGS,
            "last_push_successful": {"type": "boolean"},
            "push_time": {"type": ["string", "null"], "format": "date-time", "description": "Null if no push came."},
            "push_time_seconds": {"type": "number", "description": "The same as Unix time; 0 if no push came."},
            "push_failure_time": {"type": ["string", "null"], "format": "date-time"},
            "push_failure_time_seconds": {"type": "number", "description": "0 if no push was refused."},
            "failure_reason": _STRING | {"description": "Of the last refusal, even if a push came after it."},
            "families": _COUNT,
            "series": _COUNT | {"description": "A histogram is one."},
            "bytes": _COUNT | {"description": "What the families take in the store."},
        }
    ),
    "Activity": _success(
        _object(
            {
                "minutes": _list(named("schemas", "Minute")) | {"minItems": MINUTES, "maxItems": MINUTES},
                "slowest": _list(named("schemas", "Pusher")) | {"maxItems": RANKED},
                "largest": _list(named("schemas", "Pusher")) | {"maxItems": RANKED},
            }
        )
    ),
    "Minute": _object(
        {
            "time_seconds": {"type": "number", "description": "Unix time of its beginning."},
            "pushes": _COUNT | {"description": "Pushes that were stored."},
            "refusals": _COUNT | {"description": "Pushes and deletes that were refused or have failed."},
        }
    ),
    "Pusher": _object(
        {
            "time": _TIME,
            "time_seconds": {"type": "number", "description": "The same as Unix time."},
            "group": {"type": "object", "additionalProperties": _STRING, "description": "The labels of the group."},
            "group_is_cut": {"type": "boolean", "description": "Whether the key was too long to be kept whole."},
            "duration_seconds": {"type": "number", "minimum": 0},
            "body_bytes": _COUNT,
            "samples": _COUNT,
        }
    ),
    "Failures": _success(_list(named("schemas", "Failure")) | {"maxItems": CAPACITY}),
    "Failure": _object(
        {
            "time": _TIME,
            "time_seconds": {"type": "number", "description": "The same as Unix time."},
            "group": {
                "type": ["object", "null"],
                "additionalProperties": _STRING,
                "description": "The labels of the group; null if the path names none.",
            },
            "path": _STRING,
            "method": _STRING,
            "source": {"type": "string", "description": "The client's address."},
            "status": {"type": "integer", "description": "Of the answer; 0 if there was none."},
            "errorType": {"enum": _KINDS},
            "reason": _STRING,
            **_KNOWN,
        },
        *_KNOWN,
    ),
    "OpenAPI": {"type": "object", "required": ["openapi", "info", "paths"]},
}
