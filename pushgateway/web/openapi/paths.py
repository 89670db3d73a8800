"""What does each path take, and what does it answer?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from pushgateway.config import Config
from pushgateway.failures import CAPACITY
from pushgateway.formats import OPENMETRICS_FORMATS, ExpositionFormat
from pushgateway.model import GroupSort, GroupState
from pushgateway.web.openapi.schemas import Json, json_body, named, response
from pushgateway.web.queries import DEFAULT_STALE, MOST_GROUPS, MOST_ROWS

__all__ = ["paths"]

_ANYWHERE: Final = (400, 401, 408, 413, 414, 415, 429, 431, 500, 501, 503, 505)
"""What may be answered before anybody has looked at the path, or whatever it is."""

_TEXT: Final = "text/plain; charset=utf-8"
_EXAMPLE: Final = (
    "# TYPE backup_size_bytes gauge\n# HELP backup_size_bytes Size of the last backup.\nbackup_size_bytes 1.5e9\n"
)

_ALLOW: Final[Json] = {"Allow": {"required": True, "schema": {"type": "string"}}}

_ACTIVITY: Final = "Tell how much was pushed and refused in the last hour, and who pushed slowly or much"

_CORS: Final[Json] = {
    "Access-Control-Allow-Origin": {"required": True, "schema": {"const": "*"}},
    "Access-Control-Allow-Methods": {"schema": {"type": "string"}},
    "Access-Control-Allow-Headers": {"schema": {"type": "string"}},
    "Access-Control-Expose-Headers": {"schema": {"type": "string"}},
    "Cache-Control": {"schema": {"type": "string"}},
}

_LOCATION: Final[Json] = {"Location": {"required": True, "schema": {"type": "string"}}}

_NAME: Final = "(_?[a-zA-Z][a-zA-Z0-9_]*|_[0-9][a-zA-Z0-9_]*|_)"
"""A label name: `[a-zA-Z_][a-zA-Z0-9_]*`, but not with two underscores at its beginning."""

_PAIR_UTF8: Final = "[^/]+/[^/]*"
_PAIR: Final = f"{_NAME}(/[^/]*|@base64/[A-Za-z0-9_-]*={{0,2}})"


def paths(config: Config) -> Json:
    """Return every path with its operations, as `web.routing` knows them."""
    return {
        **_groups(config),
        **_group_pages(config),
        config.telemetry_path: _item(get=_scrape(config)),
        "/": _item(get=_page("overview", "Show a person how the gateway is", parameters=_OVERVIEW, errors=(400,))),
        "/groups": _item(
            get=_page("groups", "Show a person the groups", parameters=[*_LISTED, _most(MOST_ROWS)], errors=(400,))
        ),
        "/groups/delete": _item(post=_delete_by_form()),
        "/failures": _item(get=_page("failures", "Show a person what was refused lately")),
        "/status": _item(get=_page("status", "Show a person what this gateway is and how it is set up")),
        **({"/status/wipe": _item(post=_wipe_by_form())} if config.enable_admin_api else {}),
        "/static/{file}": _item(get=_static(), parameters=[_path("file", "A file of the pages.", example="style.css")]),
        "/-/healthy": _item(get=_health("healthy", "Tell whether the gateway answers", ())),
        "/-/ready": _item(get=_health("ready", "Tell whether the gateway can serve", (503,))),
        "/-/quit": _quit(),
        "/api/v1/status": _item(get=_api("getStatus", "Tell what this gateway is and its flags", "Status"), cors=True),
        "/api/v1/metrics": _item(get=_api("getGroups", "Tell all groups with their families", "Groups"), cors=True),
        "/api/v1/groups": _item(get=_listed(), cors=True),
        "/api/v1/activity": _item(get=_api("getActivity", _ACTIVITY, "Activity"), cors=True),
        "/api/v1/failures": _item(get=_failures(), cors=True),
        "/api/v1/openapi.json": _item(get=_api("getOpenAPI", "Tell this description", "OpenAPI"), cors=True),
        "/api/v1/admin/wipe": _item(put=_wipe(), cors=True),
        "/api/v1/": {"options": _options("apiRoot", cors=True)},
        "/api/v1/{rest}": {
            "parameters": [_path("rest", "Anything, slashes too.", example="metrics")],
            "options": _options("api", cors=True),
        },
    }


def _operation(
    operation_id: str,
    summary: str,
    tag: str,
    *,
    responses: Mapping[int, Json],
    errors: Iterable[int] = (),
    **more: object,
) -> Json:
    """Return an operation, with the errors that are its own and those that are everybody's."""
    known = {str(status): answer for status, answer in responses.items()}
    known |= {
        str(status): named("responses", f"Error{status}") for status in sorted({*_ANYWHERE, *errors} - {*responses})
    }
    return {"operationId": operation_id, "summary": summary, "tags": [tag], **more, "responses": known}


def _item(*, parameters: Iterable[Json] = (), cors: bool = False, **operations: Json) -> Json:
    """Return a path, with the HEAD of its GET and with OPTIONS, which tells of other origins where `cors` is set."""
    first = next(iter(operations.values()))
    item: Json = {"parameters": list(parameters)} if parameters else {}
    item |= operations
    if "get" in operations:
        get = operations["get"]
        item["head"] = get | {
            "operationId": "head" + get["operationId"].removeprefix("get"),
            "summary": "The same without a body",
            "responses": {
                status: answer if "$ref" in answer else {key: answer[key] for key in answer if key != "content"}
                for status, answer in get["responses"].items()
            },
        }
    item["options"] = _options(first["operationId"], cors=cors)
    return item


def _options(name: str, *, cors: bool) -> Json:
    summary, answer = "Tell which methods are taken", response("The methods.", headers=_ALLOW)
    if cors:
        summary = "Tell a browser what a page of another origin may do"
        answer = response("Always, whether anything is there or not.", headers=_CORS)
    return _operation(f"options{name[0].upper()}{name[1:]}", summary, "options", responses={200: answer})


def _path(name: str, description: str, *, example: str, pattern: str = "") -> Json:
    schema: Json = {"type": "string", "minLength": 1} | ({"pattern": pattern} if pattern else {})
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
        "example": example,
    }


# Pushes

_JOB: Final = _path(
    "job", "The job, percent-encoded. A slash is not possible, not even as %2F.", example="backup", pattern="^[^/]+$"
)
_JOB_BASE64: Final = _path(
    "job",
    "The job, as UTF-8 in the URL-safe alphabet of base64 (RFC 4648, section 5), padded or not.",
    example="YmFja3Vw",
    pattern="^[A-Za-z0-9_-]+={0,2}$",
)


def _labels(config: Config) -> Json:
    pair = _PAIR_UTF8 if config.enable_utf8_names else _PAIR
    return _path(
        "labels",
        "More labels of the group: NAME/VALUE pairs, one after the other, in any order. OpenAPI has no parameter that "
        "spans several segments, and this is one: its slashes may be sent as they are or as %2F, which is read alike. "
        "A value that holds a slash is written NAME@base64/VALUE, in the URL-safe alphabet, padded or not; "
        "`NAME@base64/=` is the empty value, which is the same as no label. With --push.enable-utf8-names a name may "
        "be any, percent-encoded or escaped behind U__, and what stands behind U__ is unescaped.",
        example="instance/db1/shard@base64/YS9i",
        pattern=f"^{pair}(/{pair})*$",
    )


class _Form(NamedTuple):
    """One of the ways in which a path names a group: how it ends, and in which words operations speak of it."""

    path: str
    name: str
    what: str
    parameters: Sequence[Json]


def _forms(config: Config) -> Sequence[_Form]:
    labels = _labels(config)
    return (
        _Form("/job/{job}", "Group", "a group", [_JOB]),
        _Form("/job/{job}/{labels}", "LabelledGroup", "a group of more labels than its job", [_JOB, labels]),
        _Form("/job@base64/{job}", "EncodedGroup", "a group whose job is in base64", [_JOB_BASE64]),
        _Form(
            "/job@base64/{job}/{labels}",
            "EncodedLabelledGroup",
            "a group of more labels whose job is in base64",
            [_JOB_BASE64, labels],
        ),
    )


def _groups(config: Config) -> Json:
    stored = 202 if config.disable_consistency_check else 200
    return {
        f"/metrics{path}": _item(
            parameters=parameters,
            put=_push(f"put{name}", f"Replace {what}", stored),
            post=_push(f"post{name}", f"Replace families of {what}", stored),
            delete=_operation(
                f"delete{name}",
                f"Remove {what}",
                "push",
                responses={202: response("It is gone, or was never there.")},
                errors=(403,),
            ),
        )
        for path, name, what, parameters in _forms(config)
    }


def _group_pages(config: Config) -> Json:
    text = {"schema": {"type": "string"}, "example": _EXAMPLE.replace(" 1.5", '{instance="",job="backup"} 1.5')}
    told = {ExpositionFormat.TEXT.value: text, **json_body("OneGroup")}
    found: Json = {}
    for path, name, what, parameters in _forms(config):
        page = _page(name[0].lower() + name[1:], f"Show a person {what}", parameters=_FAMILIES, errors=(400, 404))
        read = _operation(
            f"get{name}",
            f"Tell {what}",
            "read",
            responses={200: response("What a scrape says of it, or as JSON, if Accept names that.", told, _CORS)},
            errors=(404,),
        )
        found[f"/groups{path}"] = _item(get=page, parameters=parameters)
        found[f"/api/v1/groups{path}"] = _item(get=read, parameters=parameters, cors=True)
    return found


def _push(operation_id: str, summary: str, stored: int) -> Json:
    encoding = {
        "name": "Content-Encoding",
        "in": "header",
        "description": "How the body is compressed, in any case; snappy in its framing format.",
        "schema": {"enum": ["identity", "gzip", "x-gzip", "snappy", "zstd"]},
    }
    body = {
        "description": "Metric families. What is said to be neither delimited protobuf nor OpenMetrics is read as text "
        "0.0.4, whatever it is said to be; an empty body holds no families, but OpenMetrics ends with # EOF.",
        "content": {
            ExpositionFormat.TEXT.value: {"schema": {"type": "string"}, "example": _EXAMPLE},
            ExpositionFormat.PROTOBUF.value: {"schema": _BINARY},
            ExpositionFormat.OPENMETRICS.value: {"schema": _OPENMETRICS},
        },
    }
    answer = response("It is stored, durably, and shown by every scrape that starts now.")
    return _operation(
        operation_id,
        summary,
        "push",
        parameters=[encoding],
        requestBody=body,
        responses={stored: answer},
        errors=(403,),
    )


_OPENMETRICS: Final[Json] = {"description": "Lines of OpenMetrics 1.0, the last of which is # EOF."}
_BINARY: Final[Json] = {"description": "io.prometheus.client.MetricFamily messages, each behind its length."}

# Reads


def _scrape(config: Config) -> Json:
    described = {
        "Accept-Encoding": "gzip and zstd are offered.",
        "If-None-Match": "The ETag of a scrape: while it holds, the answer is 304.",
    }
    parameters = [
        {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}
        for name, description in described.items()
    ]
    tag = {"ETag": {"description": "Weak; of all but the gateway's own metrics.", "schema": {"type": "string"}}}
    text = {"schema": {"type": "string"}, "example": _EXAMPLE.replace(" 1.5", '{instance="",job="backup"} 1.5')}
    schemas = {ExpositionFormat.TEXT: text} | {one: {"schema": _OPENMETRICS} for one in OPENMETRICS_FORMATS}
    content = {
        format_.value: schemas.get(format_, {"schema": _BINARY})
        for format_ in ExpositionFormat
        if config.enable_openmetrics or format_ not in OPENMETRICS_FORMATS
    }
    return _operation(
        "getMetrics",
        "Tell everything to Prometheus",
        "read",
        parameters=parameters,
        responses={
            200: response(
                "The exposition, in the format that Accept asks for; text if it asks for none.", content, tag
            ),
            304: response("Nothing has been stored since.", headers=tag),
        },
    )


def _api(operation_id: str, summary: str, schema: str, *, parameters: Iterable[Json] = ()) -> Json:
    return _operation(
        operation_id,
        summary,
        "read",
        parameters=list(parameters),
        responses={200: response(summary + ".", json_body(schema), headers=_CORS)},
    )


def _limit(least: int, most: int, *, default: int) -> Json:
    return {"type": "integer", "minimum": least, "maximum": most, "default": default}


def _asked(name: str, description: str, **schema: object) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string", **schema}}


_LISTED: Final = (
    _asked("q", "What their labels have to be: `job=etl env!=dev text`, with quotes around what has blanks."),
    _asked("sort", "Which come first.", enum=[one.value for one in GroupSort], default="pushed"),
    _asked("state", "Only those that have failed, or are stale.", enum=[one.value for one in GroupState]),
    _asked("stale", "After what time without a push a group is stale.", default=DEFAULT_STALE, examples=["1h"]),
    _asked("cursor", "Where to go on: a cursor of an answer in the same order."),
)
"""Which groups are listed, for programs and for people."""


def _most(most: int) -> Json:
    return _asked("limit", "How many at most.") | {"schema": _limit(1, most, default=50)}


def _listed() -> Json:
    return _api(
        "findGroups",
        "Tell which groups are stored, page by page",
        "GroupPage",
        parameters=[*_LISTED, _most(MOST_GROUPS)],
    )


def _failures() -> Json:
    limit = {
        "name": "limit",
        "in": "query",
        "description": "How many at most.",
        "schema": _limit(1, CAPACITY, default=100),
    }
    return _api("getFailures", "Tell the pushes that were refused lately, newest first", "Failures", parameters=[limit])


_FAMILIES: Final[tuple[Json, ...]] = tuple(
    _asked(name, description)
    for name, description in (
        ("find", "Only families that have this in their names or help texts."),
        ("family", "Only the family of this name."),
        ("page", "Which page of the families, or of the series of one; what is not a number is the first one."),
        ("stale", "After what time without a push the group is marked; what is no duration is 26h."),
    )
)

_OVERVIEW: Final = (
    _asked("stale", "After what time without a push a group is told to need attention; 26h if not given."),
)

_HTML: Final[Json] = {"text/html; charset=utf-8": {"schema": {"type": "string"}}}


def _page(name: str, summary: str, *, parameters: Iterable[Json] = (), errors: Iterable[int] = ()) -> Json:
    answers = {200: _html("A page.")} | _wrong(*errors, 503)
    operation_id = f"get{name[0].upper()}{name[1:]}Page"
    return _operation(operation_id, summary, "pages", responses=answers, parameters=[*parameters])


def _wrong(*statuses: int) -> dict[int, Json]:
    """Return errors that browsers get as a page, and programs as text or JSON."""
    content: Json = {**_HTML, _TEXT: {"schema": {"type": "string"}}, **json_body("Error")}
    return {status: response("What is wrong.", content) for status in statuses}


def _html(description: str) -> Json:
    return response(description, _HTML)


def _wipe_by_form() -> Json:
    form: Json = {"type": "object", "properties": {"confirm": {"type": "string"}}, "required": ["confirm"]}
    return _operation(
        "wipeByForm",
        "Delete all groups, as the form of the status page asks; only with --web.enable-admin-api",
        "pages",
        requestBody={"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}},
        responses={
            200: _html("`confirm` is not `delete all groups`: nothing was deleted."),
            303: response("They are gone; this is the page to look at.", headers=_LOCATION),
            **_wrong(503),
        },
        errors=(403, 404),
    )


def _delete_by_form() -> Json:
    keys: Json = {"type": "array", "items": {"type": "string"}, "description": 'Keys, such as `[["job","a"]]`.'}
    form: Json = {"type": "object", "properties": {"group": keys, "confirm": {"type": "string"}}}
    return _operation(
        "deleteByForm",
        "Delete groups, as the forms of the pages ask",
        "pages",
        requestBody={"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}},
        responses={
            200: _html("`confirm` is not `yes`: nothing was deleted, and the page names the groups and asks."),
            303: response("They are gone; this is the page to look at.", headers=_LOCATION),
            **_wrong(400, 503),
        },
        errors=(403,),
    )


def _static() -> Json:
    media = ("text/css", "application/javascript", "image/svg+xml")
    content: Json = {f"{one}; charset=utf-8": {"schema": {}} for one in media} | {"image/x-icon": {"schema": {}}}
    return _operation(
        "getStatic", "Get a file of the pages", "pages", responses={200: response("The file.", content)}, errors=(404,)
    )


# Lifecycle


def _plain(description: str, example: str) -> Json:
    return response(description, {_TEXT: {"schema": {"type": "string"}, "example": example}})


def _health(name: str, summary: str, errors: Iterable[int]) -> Json:
    ok = _plain("`OK`, or what is wrong although it is not a reason to end.", "OK")
    return _operation(f"get{name.capitalize()}", summary, "lifecycle", responses={200: ok}, errors=errors)


def _quit() -> Json:
    def stop(method: str) -> Json:
        return _operation(
            f"{method}Quit",
            "Stop the gateway gracefully",
            "lifecycle",
            responses={200: _plain("It is about to stop.", "Requesting termination... Goodbye!")},
            errors=(403,),
            description="Needs --web.enable-lifecycle; without it the answer is 403.",
        )

    # As in the original, the route prefix does not hold for it.
    by_get = _operation(
        "getQuit",
        "Say how to stop",
        "lifecycle",
        servers=[{"url": "/"}],
        responses={405: _plain("Always; without Allow.", "Only POST or PUT requests allowed.")},
    )
    return _item(put=stop("put"), post=stop("post"), get=by_get)


def _wipe() -> Json:
    return _operation(
        "wipe",
        "Remove every group",
        "push",
        responses={202: response("They are gone.")},
        errors=(403, 404),
        description="Needs --web.enable-admin-api; without it there is nothing here.",
    )
