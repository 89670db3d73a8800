"""What does every view have at hand, and who counts what it answers?

A view is wrapped in `counted`, which turns the errors of lower layers into answers and counts each answer once. Views
that the original does not count (scrapes, quit) are not wrapped; Flask's error handlers then make the same answers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeAlias, cast

from flask import Response, current_app, request
from werkzeug.exceptions import HTTPException

from pushgateway.config import Config
from pushgateway.errors import PushgatewayError, WouldBlockError
from pushgateway.model import Change
from pushgateway.storage.base import Store, Ticket
from pushgateway.telemetry import Telemetry
from pushgateway.web import responses

__all__ = ["Environ", "Services", "counted", "services"]

Environ: TypeAlias = dict[str, object]
"""A WSGI environment; the keys of this gateway's own are `pushgateway.ticket` and `pushgateway.scratch`."""

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Services:
    """What views work with.

    Attributes:
        store: Where groups are kept.
        telemetry: The gateway's own metrics.
        config: The settings.
        clock: Unix time in seconds.
        quit_gateway: Starts the graceful stop and returns at once.
    """

    store: Store
    telemetry: Telemetry
    config: Config
    clock: Callable[[], float]
    quit_gateway: Callable[[], None]

    def apply(self, change: Change, environ: Environ) -> None:
        """Apply a change, waiting for other writers as the request says.

        `pushgateway.ticket` in the environment is the caller's place in the queue; None asks not to wait. A plain WSGI
        server sets nothing: then the request waits in its own thread.

        Raises:
            WouldBlockError: There is no ticket, and another writer is at work. The caller repeats the whole request.
            Exception: Whatever else `Store.apply` raises.
        """
        ticket = environ["pushgateway.ticket"] if "pushgateway.ticket" in environ else Ticket()
        self.store.apply(change, cast("Ticket | None", ticket))


def services() -> Services:
    """Return the services of the application that answers the current request."""
    return cast(Services, current_app.extensions["pushgateway"])


def counted(handler: str) -> Callable[[Callable[P, Response]], Callable[P, Response]]:
    """Wrap a view so that each of its answers is counted in pushgateway_http_requests_total.

    `WouldBlockError` passes through uncounted: the request has not been answered and will come again.

    Args:
        handler: The label value, the original's word for this part of the gateway.
    """

    def decorate(view: Callable[P, Response]) -> Callable[P, Response]:
        @functools.wraps(view)
        def answer(*args: P.args, **kwargs: P.kwargs) -> Response:
            code = 500
            try:
                response = view(*args, **kwargs)
                code = response.status_code
            except WouldBlockError:
                code = 0
                raise
            except PushgatewayError as error:
                response = responses.failure(error)
                code = response.status_code
            except HTTPException as error:
                code = error.code or code
                raise
            finally:
                if code:
                    services().telemetry.count_request(handler=handler, method=request.method, code=code)
            return response

        return answer

    return decorate
