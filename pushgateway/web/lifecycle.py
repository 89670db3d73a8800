"""Is the gateway alive and able to serve, and how is it told to stop?"""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response

from pushgateway.errors import StoreUnreadableError
from pushgateway.loglines import Log
from pushgateway.web import responses
from pushgateway.web.handlers import services

__all__ = ["bp"]

bp = Blueprint("lifecycle", __name__)

_log = Log(__name__)

_WELL: Final = "OK"


@bp.get("/-/healthy")
def healthy() -> Response:
    """Answer 200 while the process answers: a restart would mend neither a full disk nor a damaged database."""
    try:
        services().store.ping()
    except StoreUnreadableError as error:
        return responses.plain(f"store cannot be read: {error.reason}\n")
    return responses.plain(_state())


@bp.get("/-/ready")
def ready() -> Response:
    """Answer 503 only if the store cannot be read, since scrapes are served also without writes."""
    services().store.ping()
    return responses.plain(_state())


def _state() -> str:
    at_hand = services()
    reason, problem = at_hand.store.unwritable_reason(), at_hand.web_config_problem()
    lines = [f"store cannot be written: {reason}\n"] if reason else []
    if problem:
        lines.append(f"web configuration cannot be used, the last good one stays: {problem}\n")
    return "".join(lines) or _WELL


@bp.route("/-/quit", methods=["PUT", "POST"])
def stop() -> Response:
    """Stop the gateway gracefully, if that is enabled. May be asked for more than once."""
    if not services().config.enable_lifecycle:
        return responses.plain("Lifecycle API is not enabled.", 403)
    _log.info("received termination request via web service, exiting gracefully...")
    services().quit_gateway()
    return responses.plain("Requesting termination... Goodbye!")


@bp.get("/-/quit")
def stop_by_get() -> Response:
    """Say how to stop. As in the original not behind the route prefix, and without an Allow header."""
    return responses.plain("Only POST or PUT requests allowed.", 405)
