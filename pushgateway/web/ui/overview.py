"""How is the gateway, at a glance?"""

from __future__ import annotations

from flask import Response

from pushgateway.web.handlers import services
from pushgateway.web.ui.frame import bp, page

__all__ = ["overview"]


@bp.get("/")
def overview() -> Response:
    """Show how much is stored."""
    at_hand = services()
    return page("overview.html", totals=at_hand.store.totals(), started=at_hand.telemetry.started_at_seconds)
