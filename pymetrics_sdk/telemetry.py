"""What does the SDK tell about itself?

Its few families live in the process's scope, so that each final push carries them, and never in a run's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from prometheus_client.core import Metric

from pymetrics_sdk import cells
from pymetrics_sdk.cells import Definition, process_scope

__all__ = ["ATTEMPT_RESULTS", "announce", "count_attempt", "count_internal_error", "overflow_family"]

logger = logging.getLogger("pymetrics_sdk")

ATTEMPT_RESULTS = ("ok", "refused", "retried", "unreachable")
"""How a request to the gateway may end."""
_PUSH_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_ATTEMPTS = Definition(
    "counter", "pymetrics_push_attempts", "Requests sent to the gateway, by how they ended.", ("result",)
)
_SECONDS = Definition(
    "histogram", "pymetrics_push_duration_seconds", "Duration of requests to the gateway.", bounds=_PUSH_BUCKETS
)
_ERRORS = Definition("counter", "pymetrics_internal_errors", "Errors inside the SDK that it kept from the job.")


def count_attempt(result: str, seconds: float) -> None:
    """Count one request to the gateway."""
    cells.add(process_scope.family(_ATTEMPTS).cell((result,)), 1.0)
    cells.observe(process_scope.family(_SECONDS).cell(()), seconds)


def count_internal_error(where: str) -> None:
    """Log and count an exception that is being handled, which the job must not see.

    Args:
        where: What the SDK was doing.
    """
    logger.warning("pymetrics_sdk failed while %s; the job goes on", where, exc_info=True)
    cells.add(process_scope.family(_ERRORS).cell(()), 1.0)


def announce() -> None:
    """Let the SDK's own counters exist from the start, with 0, so that their first increase can be seen."""
    process_scope.family(_ERRORS).cell(())
    for result in ATTEMPT_RESULTS:
        process_scope.family(_ATTEMPTS).cell((result,))


def overflow_family(*scopes: cells.Scope) -> Iterator[Metric]:
    """Yield the family that counts updates which went to overflow series, if there were any."""
    totals: dict[str, float] = {}
    for scope in scopes:
        for name, count in scope.overflows.items():
            totals[name] = totals.get(name, 0.0) + count
    metric = Metric("pymetrics_label_overflow", "Updates that found their metric at its max_series.", "counter")
    for name, count in totals.items():
        metric.add_sample("pymetrics_label_overflow_total", {"metric": name}, count)
    if totals:
        yield metric
