"""Is the description of the API valid, and in step with the routes, the errors and the limits?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from pushgateway import errors as errors_module
from pushgateway.config import Config
from pushgateway.formats import OPENMETRICS_FORMATS, BodyFormat, ExpositionFormat, body_format, request_encoding
from pushgateway.limits import Limits
from pushgateway.web import diagnosis, responses
from pushgateway.web.openapi import document
from pushgateway.web.openapi.schemas import ERRORS
from tests.unit.web.fakes import Site

METHODS = {"get", "head", "put", "post", "delete", "options"}


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], list[dict[str, Any]]]]:
    """Yield path, method, operation and all parameters of each operation."""
    for path, item in described["paths"].items():
        for method in METHODS & set(item):
            yield path, method, item[method], [*item.get("parameters", []), *item[method].get("parameters", [])]


def parts(value: Any) -> Iterator[Any]:
    """Yield a value and all that is in it."""
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(part)


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The document, as a client reads it."""
    return json.loads(json.dumps(document(Config(enable_admin_api=True))))


def test_it_is_served_as_the_rest_of_the_api() -> None:
    """The document comes with the CORS headers of the API, and with the prefix and paths that the operator chose."""
    site = Site(route_prefix="/ä", telemetry_path="/all")
    reply = site.get("/%C3%A4/api/v1/openapi.json")
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "application/json")
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert reply.json is not None
    assert reply.json["servers"][0]["url"] == "/%C3%A4"
    assert "/all" in reply.json["paths"]
    assert "/metrics" not in reply.json["paths"]
    assert site.counted() == {("api/v1/openapi.json", "get", "200"): 1}


def test_schemas_are_schemas(described: dict[str, Any]) -> None:
    """Every schema is one of JSON Schema 2020-12, and examples are what their schemas ask for."""
    components = described["components"]
    schemas = list(components["schemas"].values())
    schemas += [part["schema"] for part in parts(described) if isinstance(part, dict) and "schema" in part]
    for schema in schemas:
        jsonschema.Draft202012Validator.check_schema(schema)
    for schema in components["schemas"].values():
        for example in schema.get("examples", []):
            jsonschema.Draft202012Validator(schema).validate(example)
    for *_, parameters in operations(described):
        for parameter in parameters:
            if "example" in parameter:
                jsonschema.Draft202012Validator(parameter["schema"]).validate(parameter["example"])


def test_references_lead_somewhere(described: dict[str, Any]) -> None:
    """Every reference is to a component that is there, and every component is referred to."""
    found = {part["$ref"] for part in parts(described) if isinstance(part, dict) and "$ref" in part}
    there = {
        f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in described["components"][kind]
    }
    unused = {"#/components/responses/Error405"}  # which has its own words
    assert found == there - unused


def test_operations_have_names_of_their_own(described: dict[str, Any]) -> None:
    """Each operation has an id that no other has, a tag that is described, and the parameters that its path names."""
    tags = {tag["name"] for tag in described["tags"]}
    names = [operation["operationId"] for _, _, operation, _ in operations(described)]
    assert len(names) == len(set(names))
    for path, _, operation, parameters in operations(described):
        assert set(operation["tags"]) <= tags
        assert re.findall(r"\{(\w+)\}", path) == [one["name"] for one in parameters if one["in"] == "path"]


def test_every_route_is_described_and_nothing_else(described: dict[str, Any]) -> None:
    """Each operation reaches a view, and each view is reached by one with each of its methods."""
    app = Site(enable_admin_api=True).app
    reached = set()
    for path, method, *_ in operations(described):
        sample = re.sub(r"\{\w+\}", "x", path)
        rule = app.table.match(sample, method.upper())
        reached |= {(rule.rule, method)}
    routed = {(rule.rule, method.lower()) for rule in app.url_map.iter_rules() for method in rule.methods or ()}
    assert reached == routed


def test_every_error_is_described(described: dict[str, Any]) -> None:
    """Every kind of error has its status, and every status of the tables is described with what may come with it."""
    for kind in responses._TABLE.values():
        assert kind.word in ERRORS[kind.status].kinds
    kinds = {kind for error in ERRORS.values() for kind in error.kinds}
    assert kinds == set(described["components"]["schemas"]["Error"]["properties"]["errorType"]["enum"])
    assert set(diagnosis._EVENTS) <= kinds
    assert {f"Error{status}" for status in ERRORS} == set(described["components"]["responses"])


def test_every_limit_is_described(described: dict[str, Any]) -> None:
    """A JSON error may name each limit that there is."""
    names = {name.replace("_", "-") for name in Limits._fields}
    assert names <= set(described["components"]["schemas"]["Error"]["properties"]["limit"]["enum"])


@pytest.mark.parametrize(
    "error",
    [
        errors_module.ParseError("bad", line=3, hint="mend it", family="x"),
        errors_module.InconsistentPushError(["a", "b"]),
        errors_module.LimitError("body-bytes", allowed=10, seen=11),
        errors_module.LimitError("request-seconds", allowed=0.5),
        errors_module.UnsupportedMediaError("Content-Encoding", "br", expected="gzip"),
    ],
)
def test_errors_are_as_described(described: dict[str, Any], error: errors_module.PushgatewayError) -> None:
    """Whatever an error knows is in its schema."""
    with Site().app.test_request_context("/", headers={"Accept": "application/json"}):
        told = responses.failure(error).json
    jsonschema.Draft202012Validator(described["components"]["schemas"]["Error"]).validate(told)


def test_every_encoding_is_described(described: dict[str, Any]) -> None:
    """The encodings that a push may have are those that are read."""
    operation = described["paths"]["/metrics/job/{job}"]["put"]
    (parameter,) = operation["parameters"]
    for encoding in parameter["schema"]["enum"]:
        request_encoding(encoding)
    with pytest.raises(errors_module.UnsupportedMediaError) as caught:
        request_encoding("br")
    assert set(re.findall(r"[a-z]+", caught.value.expected)) - {"one", "of"} <= set(parameter["schema"]["enum"])


def test_every_format_is_described(described: dict[str, Any]) -> None:
    """The media types of a push and of a scrape are as many as there are formats."""
    pushed = described["paths"]["/metrics/job/{job}"]["put"]["requestBody"]["content"]
    scraped = described["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert {body_format(media) for media in pushed} == set(BodyFormat)
    assert set(scraped) == {format_.value for format_ in ExpositionFormat if format_ not in OPENMETRICS_FORMATS}
    enabled = document(Config(enable_openmetrics=True))["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert set(enabled) == {format_.value for format_ in ExpositionFormat}


@pytest.mark.parametrize(("enabled", "taken"), [(False, False), (True, True)])
def test_which_names_are_described_depends_on_the_flag(enabled: bool, taken: bool) -> None:
    """Names beyond the legacy grammar match the pattern of the labels only where they are taken."""
    item = document(Config(enable_utf8_names=enabled))["paths"]["/metrics/job/{job}/{labels}"]
    pattern = item["parameters"][1]["schema"]["pattern"]
    assert bool(re.search(pattern, "größe/a")) is taken
    for labels in ("instance/a", "a/", "_a1/b/c@base64/YQ"):
        assert re.search(pattern, labels)


@pytest.mark.parametrize(("disabled", "status"), [(False, "200"), (True, "202")])
def test_what_a_push_is_answered_depends_on_the_checks(disabled: bool, status: str) -> None:
    """Without the consistency check a push is described to be answered 202."""
    put = document(Config(disable_consistency_check=disabled))["paths"]["/metrics/job/{job}"]["put"]
    assert [code for code in put["responses"] if code.startswith("2")] == [status]
