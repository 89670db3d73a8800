"""How are the requests measured that a WSGI application serves?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pymetrics_sdk.instrumentation.http import ServerCall

__all__ = ["WSGIMiddleware"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]


class WSGIMiddleware:
    """Measures every request of a WSGI application until its body is closed.

        app.wsgi_app = WSGIMiddleware(app.wsgi_app)

    Args:
        app: The application.
        route: Returns the route's template for the environ of a request, when its response starts. Default: what
            werkzeug (Flask) or bottle matched; "" where nothing matched. It must not return raw paths.
    """

    def __init__(self, app: App, *, route: Callable[[Environ], str] | None = None) -> None:
        self._app = app
        self._route = route or matched_route

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        call = ServerCall(environ.get("REQUEST_METHOD", ""), environ.get("wsgi.url_scheme", ""))
        call.begin()

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            call.status = int(status[:3]) if status[:3].isdigit() else None
            # Now, since Flask takes its request out of the environ before the body is closed.
            call.route = self._matched(environ)
            return start_response(status, headers, *rest)

        try:
            body = self._app(environ, start)
        except BaseException as error:
            self._end(call, error)
            raise
        measured = _SizedBody if hasattr(body, "__len__") else _Body
        return measured(body, lambda error: self._end(call, error))

    def _end(self, call: ServerCall, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            call.status = 500  # what every server answers, or would have answered before the body began
        call.end(error)

    def _matched(self, environ: Environ) -> str:
        try:
            return self._route(environ) or ""
        except Exception:
            return ""  # the application's own function: its failure is not the request's


class _Body:
    """A response's body that tells when it is over."""

    def __init__(self, body: Iterable[bytes], end: Callable[[BaseException | None], None]) -> None:
        self._body = body
        self._iterator: Iterator[bytes] | None = None
        self._end = end
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._iterator is None:
                self._iterator = iter(self._body)
            return next(self._iterator)
        except StopIteration:
            raise
        except BaseException as error:
            self._error = error
            raise

    def close(self) -> None:
        """Close the application's body; PEP 3333 has servers call this however the response ended."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._end(self._error)


class _SizedBody(_Body):
    """The same for a body with a length, from which servers compute a Content-Length."""

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]


def matched_route(environ: Environ) -> str:
    """Return the template of the route that the framework matched; "" if none did or the framework is unknown."""
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None) or environ.get("bottle.route")
    return str(getattr(rule, "rule", "") or "")
