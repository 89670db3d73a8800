"""What does every view have at hand?"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

from flask import current_app

from pushgateway.activity import ActivityBoard
from pushgateway.config import Config
from pushgateway.errors import RequestError, UnflushedError
from pushgateway.failures import FailureRing
from pushgateway.memory import LargeTurns
from pushgateway.model import Change
from pushgateway.recurring import Recurring
from pushgateway.storage.base import Store, Ticket
from pushgateway.telemetry import Telemetry
from pushgateway.web.diagnosis import Diagnosis
from pushgateway.web.environ import Environ, GroupingKeys
from pushgateway.web.kept import Kept

__all__ = ["Services", "services"]


class Services(NamedTuple):
    """What views work with.

    Attributes:
        store: Where groups are kept.
        telemetry: The gateway's own metrics.
        config: The settings.
        clock: Unix time in seconds.
        quit_gateway: Starts the graceful stop and returns at once.
        scrapes: The turns of scrapes, which hold all that is stored.
        kept: What scrapes may show again.
        failures: The pushes that were refused lately.
        activity: What was pushed lately, and by whom.
        keys: The groups of paths.
        recurring: Prepares the pushes whose shape it knows; None where settings leave it out.
        diagnosis: Is told what becomes of requests.
        openapi: Returns the description of the API.
        web_config_problem: Why the web configuration, as its files are now, cannot be used; "" if it can.
    """

    store: Store
    telemetry: Telemetry
    config: Config
    clock: Callable[[], float]
    quit_gateway: Callable[[], None]
    scrapes: LargeTurns
    kept: Kept
    failures: FailureRing
    activity: ActivityBoard
    keys: GroupingKeys
    recurring: Recurring | None
    diagnosis: Diagnosis
    openapi: Callable[[], bytes]
    web_config_problem: Callable[[], str]

    def apply(self, change: Change, environ: Environ) -> None:
        """Apply a change, waiting for other writers as the request says.

        `pushgateway.ticket` in the environment is the caller's place in the queue; None asks not to wait. A plain WSGI
        server sets nothing: then the request waits in its own thread. With `pushgateway.flushes` the caller flushes the
        store: then what came of the change waits in `pushgateway.scratch` for the second call of the same request.

        Raises:
            WouldBlockError: There is no ticket, and another writer is at work. The caller repeats the whole request.
            UnflushedError: It is committed. The caller repeats the whole request when it has flushed the store.
            Exception: Whatever else `Store.apply` raises.
        """
        ticket = cast("Ticket | None", environ["pushgateway.ticket"] if "pushgateway.ticket" in environ else Ticket())
        if not environ.get("pushgateway.flushes"):
            self.store.apply(change, ticket)
            return
        scratch = cast("dict[str, object]", environ["pushgateway.scratch"])
        if "committed" not in scratch:
            refusal: RequestError | None = None
            try:
                self.store.commit(change, ticket)
            except RequestError as error:
                refusal = error
            scratch["committed"] = refusal
            raise UnflushedError("the change is to be flushed")
        if (outcome := cast("Exception | None", scratch.get("unflushed") or scratch["committed"])) is not None:
            raise outcome


def services() -> Services:
    """Return the services of the application that answers the current request."""
    return cast(Services, current_app.extensions["pushgateway"])
