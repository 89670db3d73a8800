"""What does every view have at hand?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

from flask import current_app

from pushgateway.config import Config
from pushgateway.model import Change
from pushgateway.storage.base import Store, Ticket
from pushgateway.telemetry import Telemetry

__all__ = ["Environ", "Services", "services"]

Environ: TypeAlias = dict[str, object]
"""A WSGI environment. Keys of this gateway's own are `pushgateway.ticket`, `pushgateway.scratch` and
`pushgateway.room_bytes`, which the bridge sets, and `pushgateway.path`, the path without the route prefix."""


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
