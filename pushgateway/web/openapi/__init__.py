"""How is the whole HTTP API described to a program?

    schemas.py  what bodies look like, and every error
    paths.py    what each path takes and answers

An OpenAPI 3.1 document of plain dictionaries, rather than a file beside the code: statuses, limits, prefix and paths
are the gateway's own, and what many operations share is said once. A test keeps it in step with the routes, and
schemathesis with a running gateway.
"""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import quote

from pushgateway import __version__
from pushgateway.config import Config
from pushgateway.web.openapi.paths import paths
from pushgateway.web.openapi.schemas import Json, components

__all__ = ["document", "render"]

_DESCRIPTION: Final = """\
Short-lived jobs push metrics in groups; Prometheus scrapes them.

`HEAD` is answered wherever `GET` is. Errors are text; with `Accept: application/json` they are JSON. A path that is
written in another case, or with a slash too many, is redirected if it can be read, and never if it is pushed to.

The text of the reference, docs/reference/http-api.md, says what a push means.
"""


def document(config: Config) -> Json:
    """Return the description of a gateway with these settings.

    Args:
        config: Of which the route prefix, the telemetry path and what is enabled are described.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pushgateway",
            "version": __version__,
            "summary": "A durable drop-in for the Prometheus Pushgateway",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": quote(config.route_prefix) or "/", "description": "This gateway"}],
        "tags": [
            {"name": "push", "description": "Groups come and go"},
            {"name": "read", "description": "What is stored, and what was refused"},
            {"name": "lifecycle", "description": "Health, readiness and the end"},
            {"name": "pages", "description": "For people"},
            {"name": "options", "description": "Which methods a path takes"},
        ],
        # Without credentials, or with them where the operator has asked for them.
        "security": [{}, {"basic": []}],
        "paths": paths(config),
        "components": components(),
    }


def render(config: Config) -> bytes:
    """Return the body of ``/api/v1/openapi.json``, which stays the same while the gateway runs."""
    return json.dumps(document(config), ensure_ascii=False, separators=(",", ":")).encode()
