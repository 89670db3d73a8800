"""Which pushes were refused lately, and what is to be done about it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flask import Response

from pushgateway.failures import Failure
from pushgateway.model import GroupingKey
from pushgateway.web.handlers import services
from pushgateway.web.ui.frame import bp, page

__all__ = ["failures"]

FAILURES_PER_PAGE: Final = 100
"""The newest; the API tells them all."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One refused push, as the page shows it; `target` is its group, or its path if that names none."""

    at: float
    target: str
    source: str
    status: int
    reason: str


@bp.get("/failures")
def failures() -> Response:
    """Show what was refused lately, newest first."""
    return page("failures.html", failures=[_row(one) for one in services().failures.recent(FAILURES_PER_PAGE)])


def _row(failure: Failure) -> _Row:
    return _Row(
        at=failure.at_seconds,
        target=f"{failure.method} {failure.path if failure.group is None else GroupingKey.of(failure.group)}",
        source=failure.source,
        status=failure.status,
        reason=failure.reason,
    )
