"""How do HTTP requests become pushes, scrapes and pages?

`create_app` makes a plain WSGI application that any server can run. The bridge hands it whole requests; views read the
environment, call formats and rules, and speak to the store. Each module but the shared ones (handlers, responses, body,
routing) is one Blueprint `bp`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import structlog
from flask import Flask, Request, Response, request
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.exceptions import HTTPException

from pushgateway.config import Config
from pushgateway.errors import PushgatewayError, WouldBlockError
from pushgateway.storage.base import Store
from pushgateway.telemetry import Telemetry
from pushgateway.web import api, body, lifecycle, push, responses, scrape, ui
from pushgateway.web.handlers import Services
from pushgateway.web.routing import Adapter, Table

__all__ = ["create_app"]

_log = structlog.get_logger(__name__)


def create_app(
    *,
    store: Store,
    telemetry: Telemetry,
    config: Config,
    clock: Callable[[], float],
    quit_gateway: Callable[[], None],
) -> Flask:
    """Make the gateway's application.

    Args:
        store: Where groups are kept; must be open, is not closed here.
        telemetry: The gateway's own metrics.
        config: The settings.
        clock: Returns the Unix time in seconds.
        quit_gateway: Starts the graceful stop and returns at once; called by /-/quit if that is enabled.

    Returns:
        A WSGI application, safe to call in several threads at once.
    """
    app = _Gateway()
    app.extensions["pushgateway"] = Services(store, telemetry, config, clock, quit_gateway)
    for module in (push, scrape, api, lifecycle, ui):
        app.register_blueprint(module.bp)
    app.register_error_handler(PushgatewayError, responses.failure)
    app.register_error_handler(WouldBlockError, _pass_on)
    app.register_error_handler(HTTPException, responses.generic)
    app.before_request(body.refuse_undecodable)
    app.table = Table(
        [rule for rule in app.url_map.iter_rules() if config.enable_admin_api or rule.endpoint != "api.wipe"],
        prefix=config.route_prefix,
        moved={"scrape.scrape": config.telemetry_path},
        bare={"lifecycle.stop_by_get"},
    )
    return app


class _Gateway(Flask):
    """Flask without what the gateway has no use for: sessions, static files, werkzeug's matching of paths."""

    response_class = responses.Answer
    table: Table

    def __init__(self) -> None:
        super().__init__("pushgateway.web", static_folder=None)
        self.session_interface = _NoSessions()

    def create_url_adapter(self, request: Request | None) -> Adapter | None:
        return None if request is None else Adapter(self.table, request.environ)

    def make_default_options_response(self) -> Response:
        response = responses.empty(200)
        response.headers["Allow"] = responses.allow(self.table.allowed(request.environ["PATH_INFO"]))
        return response

    def handle_exception(self, e: Exception) -> Response:
        # Not an answer but a message to the bridge: call again, in a thread that may wait.
        if isinstance(e, WouldBlockError):
            raise e
        return super().handle_exception(e)

    def log_exception(self, exc_info: tuple[type, BaseException, TracebackType] | tuple[None, None, None]) -> None:
        _log.error("unexpected error", method=request.method, path=request.path, exc_info=exc_info)


def _pass_on(error: WouldBlockError) -> Response:
    raise error


class _NoSessions(SessionInterface):
    """No cookie is read or written."""

    def open_session(self, app: Flask, request: Request) -> SessionMixin | None:
        return _NO_SESSION

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        raise AssertionError("an empty session is never saved")

    def is_null_session(self, obj: object) -> bool:
        return True


class _NoSession(dict[str, Any], SessionMixin):
    """The one session that all requests share; nobody writes to it."""


_NO_SESSION = _NoSession()
