"""How do HTTP requests become pushes, scrapes and pages?

`create_app` makes a plain WSGI application that any server can run. The bridge hands it whole requests; views read the
environment, call formats and rules, and speak to the store. Each module but the shared ones (handlers, responses, body,
routing) is one Blueprint `bp`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, NoReturn, TypeAlias, cast

from flask import Flask, Request, Response, request
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.exceptions import HTTPException
from werkzeug.sansio.response import Response as BaseResponse

from pushgateway.activity import ActivityBoard
from pushgateway.config import Config
from pushgateway.errors import LimitError, PushgatewayError, WouldBlockError
from pushgateway.failures import FailureRing
from pushgateway.memory import LargeTurns
from pushgateway.recurring import Recurring
from pushgateway.storage.base import Store
from pushgateway.telemetry import Telemetry
from pushgateway.web import api, body, lifecycle, push, responses, scrape, ui
from pushgateway.web.answers import Refused
from pushgateway.web.diagnosis import Diagnosis
from pushgateway.web.environ import PUSHES, RAISED, GroupingKeys, seconds_since_begin
from pushgateway.web.handlers import Services
from pushgateway.web.kept import Kept
from pushgateway.web.routing import Adapter, Route, Table

__all__ = ["Gateway", "create_app"]

_HANDLERS: Final = {
    "api.activity": "api/v1/activity",
    "api.failures": "api/v1/failures",
    "api.groups": "api/v1/groups",
    "api.group": "api/v1/group",
    "api.metrics": "api/v1/metrics",
    "api.openapi": "api/v1/openapi.json",
    "api.options": "api/v1/options",
    "api.status": "api/v1/status",
    "api.wipe": "wipe",
    "lifecycle.healthy": "healthy",
    "lifecycle.ready": "ready",
    "push.delete": "delete",
    "push.push": "push",
    "ui.delete": "delete",
    "ui.failures": "failures",
    "ui.group": "group",
    "ui.groups": "groups",
    "ui.overview": "status",
    "ui.static": "static",
    "ui.status": "status",
    "ui.wipe": "wipe",
}
"""The views whose answers pushgateway_http_requests_total counts, with the original's word for each: it counts neither
scrapes nor /-/quit."""

_ADMIN: Final = frozenset(("api.wipe", "ui.wipe"))
"""Views that are only there with --web.enable-admin-api."""

_LARGE_SCRAPE_BYTES: Final = 4 << 20
"""Beyond it a worker makes one exposition at a time, each of which takes two to three times its size. Together they
would not be faster: most of it is done under the interpreter's lock."""

_Carried: TypeAlias = tuple[str, list[tuple[str, str]], Sequence[bytes]]
"""Status, headers and body of what was answered without Flask's dispatch."""

_WORDS: Final = {200: "200 OK", 202: "202 ACCEPTED", 304: "304 NOT MODIFIED"}

_BROWSERS: Final = ("HTTP_ORIGIN", "HTTP_REFERER", "HTTP_SEC_FETCH_SITE", "HTTP_COOKIE")
"""Headers that browsers send, and jobs do not."""

_OUTSIDE: Final = "server"
"""The word for what is refused before anybody knows which of these views it would be for."""


def create_app(
    *,
    store: Store,
    telemetry: Telemetry,
    config: Config,
    clock: Callable[[], float],
    quit_gateway: Callable[[], None],
    failures: FailureRing | None = None,
    activity: ActivityBoard | None = None,
    web_config_problem: Callable[[], str] = lambda: "",
) -> Gateway:
    """Make the gateway's application.

    Args:
        store: Where groups are kept; must be open, is not closed here.
        telemetry: The gateway's own metrics.
        config: The settings.
        clock: Returns the Unix time in seconds.
        quit_gateway: Starts the graceful stop and returns at once; called by /-/quit if that is enabled.
        failures: Where refused pushes are listed; None for a list of this process alone.
        activity: Where pushes are counted and ranked; None for what this process alone answers.
        web_config_problem: Returns why the web configuration, as its files are now, cannot be used; "" if it can.

    Returns:
        A WSGI application, safe to call in several threads at once.
    """
    app = Gateway()
    ring = FailureRing() if failures is None else failures
    board = ActivityBoard() if activity is None else activity
    app.diagnosis = Diagnosis(ring=ring, activity=board, config=config, clock=clock)
    app.services = app.extensions["pushgateway"] = Services(
        store=store,
        telemetry=telemetry,
        config=config,
        clock=clock,
        quit_gateway=quit_gateway,
        scrapes=LargeTurns(large_bytes=_LARGE_SCRAPE_BYTES),
        kept=Kept(),
        failures=ring,
        activity=board,
        keys=GroupingKeys(config),
        recurring=_recurring(config, telemetry),
        diagnosis=app.diagnosis,
        openapi=functools.cache(functools.partial(_describe, config)),
        web_config_problem=web_config_problem,
    )
    for module in (push, scrape, api, lifecycle, ui):
        app.register_blueprint(module.bp)
    app.register_error_handler(PushgatewayError, app.answer_failure)
    app.register_error_handler(WouldBlockError, _pass_on)
    app.register_error_handler(HTTPException, responses.generic)
    app.before_request(body.refuse_undecodable)
    app.telemetry = telemetry
    app.table = Table(
        [rule for rule in app.url_map.iter_rules() if config.enable_admin_api or rule.endpoint not in _ADMIN],
        prefix=config.route_prefix,
        moved={"scrape.scrape": config.telemetry_path},
        bare={"lifecycle.stop_by_get"},
    )
    return app


class Gateway(Flask):
    """Flask without what the gateway has no use for: sessions, static files, werkzeug's matching of paths.

    And without its dispatch for a push that is taken, and for a scrape: contexts, signals, hooks and a response object
    take 0.12 ms, a sixth of the whole push. A push that is refused, any that a browser may have sent, and a scrape that
    fails go the usual way.
    """

    response_class = responses.Answer
    url_rule_class = Route
    # Without folding constants: compiling the templates of a page, when it is first asked for, takes a tenth less.
    jinja_options = {"optimized": False}  # noqa: RUF012 - Flask's own is a plain class attribute, too
    services: Services
    table: Table
    telemetry: Telemetry
    diagnosis: Diagnosis

    def __init__(self) -> None:
        super().__init__("pushgateway.web", static_folder=None)
        self.session_interface = _NoSessions()

    def wsgi_app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        if self._begins_as_push(environ):
            carry_out = self._carry_out_push
        elif self._is_plain_scrape(environ):
            carry_out = self._carry_out_scrape
        else:
            return super().wsgi_app(environ, start_response)
        try:
            status, headers, parts = carry_out(environ)
        except WouldBlockError:
            raise
        except Exception as error:  # for the view, and so for whoever answers errors
            environ[RAISED] = error
            try:
                return super().wsgi_app(environ, start_response)
            finally:
                # Its frames hold the body and refer to it: all that would stay until the cycle collector comes.
                error.__traceback__ = None
        start_response(status, headers)
        return parts

    def _carry_out_push(self, environ: dict[str, Any]) -> _Carried:
        status = push.carry_out(self.services, environ)
        self.telemetry.count_request(handler="push", method=environ["REQUEST_METHOD"], code=status)
        return _WORDS[status], [("Content-Length", "0")], ()

    def _carry_out_scrape(self, environ: dict[str, Any]) -> _Carried:
        status, headers, parts = scrape.carry_out(self.services, environ)
        if status == 200:
            headers.append(("Content-Length", str(sum(map(len, parts)))))
        return _WORDS[status], headers, parts

    def _begins_as_push(self, environ: dict[str, Any]) -> bool:
        """Return whether a request is a push about which no hook of Flask's has anything to say.

        They look at paths with escapes that may be broken, and at what browsers say of the page that sends something.
        """
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if method not in ("PUT", "POST") or "%" in path or PUSHES not in path:
            return False
        if any(name in environ for name in _BROWSERS):
            return False
        try:
            if self.table.match(path, method).endpoint != "push.push":
                return False
        except HTTPException:
            return False
        environ["pushgateway.path"] = path.removeprefix(self.table.prefix)
        seconds_since_begin(environ)
        return True

    def _is_plain_scrape(self, environ: dict[str, Any]) -> bool:
        """Return whether a request is a scrape about which no hook of Flask's has anything to say."""
        if environ["REQUEST_METHOD"] != "GET" or "HTTP_CONTENT_ENCODING" in environ:
            return False
        path = environ["PATH_INFO"]
        try:
            return "%" not in path and self.table.match(path, "GET").endpoint == "scrape.scrape"
        except HTTPException:
            return False

    def report_outside(self, refused: Refused) -> None:
        """Count, log and record a request that was answered, or ended, before it reached the application."""
        limit = refused.data.get("limit")
        if isinstance(limit, str):
            self.telemetry.count_refusal(limit)
        self.diagnosis.note_outside(refused)
        if not refused.status:
            return
        try:
            endpoint = self.table.match(refused.path, refused.method).endpoint
        except HTTPException:
            endpoint = ""
        word = _HANDLERS.get(endpoint, _OUTSIDE)
        self.telemetry.count_request(handler=word, method=refused.method, code=refused.status)

    def create_url_adapter(self, request: Request | None) -> Adapter | None:
        """Match paths by our own table."""
        if request is None:
            return None
        if "pushgateway.begun" not in request.environ:
            seconds_since_begin(request.environ)  # which begins here, unless the bridge has said when
        return Adapter(self.table, request.environ)

    def raise_routing_exception(self, request: Request) -> NoReturn:
        """Raise what is wrong with the path, of which the request lets go.

        Its frames hold the request: both, and the connection, would stay until the cycle collector comes.
        """
        try:
            raise cast(HTTPException, request.routing_exception)
        finally:
            request.routing_exception = None

    def make_default_options_response(self) -> Response:
        """Answer OPTIONS with the methods of the path."""
        response = responses.empty(200)
        response.headers["Allow"] = responses.allow(self.table.allowed(request.environ["PATH_INFO"]))
        return response

    def process_response(self, response: Response) -> Response:
        """Finish an answer and count it: each one comes through here once, whoever has made it."""
        response = super().process_response(response)
        word = _HANDLERS.get(request.endpoint or "")
        if _is_abandoned():
            return response
        if response.status_code >= 400:
            self.diagnosis.note_refusal(request.environ, response.status_code)
        if word is not None and not (request.method == "OPTIONS" and request.endpoint != "api.options"):
            self.telemetry.count_request(handler=word, method=request.method, code=response.status_code)
        return response

    def answer_failure(self, error: PushgatewayError) -> Response:
        """Answer an error of a lower layer, and count it if it is one of limits."""
        if isinstance(error, LimitError) and not _is_abandoned():
            self.telemetry.count_refusal(error.limit)
        return responses.failure(error)

    def handle_http_exception(self, e: HTTPException) -> BaseResponse:
        """Make an answer of a redirect, which Flask would take for one itself and keep in a frame that it refers to."""
        answer = super().handle_http_exception(e)
        return e.get_response(request.environ) if answer is e else cast(BaseResponse, answer)

    def handle_exception(self, e: Exception) -> Response:
        """Answer 500 to what nobody foresaw."""
        # Not an answer but a message to the bridge: call again, in a thread that may wait.
        if isinstance(e, WouldBlockError):
            raise e
        return super().handle_exception(e)

    def log_exception(self, exc_info: tuple[type, BaseException, TracebackType] | tuple[None, None, None]) -> None:
        """Log what nobody foresaw."""
        self.diagnosis.note_unexpected(request.environ, exc_info)


def _describe(config: Config) -> bytes:
    # Not at the top: nobody asks most gateways, and they would start 6 ms later.
    from pushgateway.web import openapi  # noqa: PLC0415

    return openapi.render(config)


def _recurring(config: Config, telemetry: Telemetry) -> Recurring | None:
    if config.disable_consistency_check or config.enable_utf8_names or config.lenient_line_endings:
        return None
    return Recurring(limits=config.limits, own=telemetry.names())


def _is_abandoned() -> bool:
    """Return whether nobody gets the answer to the current request: the bridge has answered, and has counted that."""
    ticket = request.environ.get("pushgateway.ticket")
    return ticket is not None and ticket.expired


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
