"""What is this gateway, and how is it set up?"""

from __future__ import annotations

from flask import Response

from pushgateway.web.handlers import services
from pushgateway.web.ui.frame import bp, page

__all__ = ["status"]


@bp.get("/status")
def status() -> Response:
    """Show what runs, since when, and every flag."""
    at_hand = services()
    return page(
        "status.html",
        build=at_hand.telemetry.build,
        flags=at_hand.config.flags,
        started=at_hand.telemetry.started_at_seconds,
    )
