"""How much is stored in all on PostgreSQL, and who may add to it?

A single row would be a lock that every push takes that makes something more. So there are some, of which a group always
has the same, and the sum is what counts. Reading it takes no lock. Two pushes at the same time could so exceed a limit
together: whoever comes near to one locks all of the rows first, and reads again. What is left is that more than ten
writers, each of which adds nearly a tenth of a limit, pass it together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pushgateway.errors import LimitError
from pushgateway.limits import Limits
from pushgateway.model import Totals
from pushgateway.storage.growth import NOTHING, exceeded
from pushgateway.storage.postgres_connections import Statement, Transaction
from pushgateway.storage.postgres_lookups import TOTALS
from pushgateway.storage.postgres_schema import totals_row

__all__ = ["add_totals", "read_all_totals", "read_totals", "refused_growth"]

_ADD: Final = """
    UPDATE pushgateway_totals SET groups = groups + %b, families = families + %b, series = series + %b WHERE id = %b
"""
_BYTES: Final = "SELECT coalesce(sum(bytes), 0)::bigint FROM pushgateway_groups"
_LOCK: Final = "SELECT id FROM pushgateway_totals ORDER BY id FOR UPDATE"

_NEAR: Final = 10
"""Within a tenth of a limit, or of ten times what a push adds: as much as others may be adding meanwhile."""


def read_totals(transaction: Transaction) -> Totals:
    """Return what is stored in all, but for the bytes."""
    (((groups, families, series),),) = transaction.ask(Statement(TOTALS))
    return Totals(groups, families, series)


def read_all_totals(transaction: Transaction) -> Totals:
    """Return what is stored in all, and end the transaction."""
    (((groups, families, series),), ((size,),)) = transaction.ask_last(Statement(TOTALS), Statement(_BYTES))
    return Totals(groups, families, series, size)


def add_totals(group_id: bytes, growth: Totals) -> list[Statement]:
    """Return what adds to the totals what a change of a group has added, negative where it has removed."""
    return [] if growth == NOTHING else [Statement(_ADD, (*growth[:3], totals_row(group_id)))]


def refused_growth(
    transaction: Transaction, growth: Totals, limits: Limits, stored: Callable[[], Totals]
) -> LimitError | None:
    """Return which limit a change would exceed; close to one, the totals are locked, and read again, to tell exactly.

    Args:
        transaction: Holds all other locks that it needs.
        growth: What the change adds.
        limits: How much there may be.
        stored: Returns how much there is, or was a moment ago.
    """
    found = exceeded(growth, limits, stored)
    if found is not None or not _is_near(growth, limits, stored):
        return found
    transaction.ask(Statement(_LOCK))
    return exceeded(growth, limits, lambda: read_totals(transaction))


def _is_near(growth: Totals, limits: Limits, stored: Callable[[], Totals]) -> bool:
    if all(more <= 0 for more in growth):
        return False
    most = Totals(limits.groups, limits.families, limits.series)
    return any(
        more > 0 and limit and total + _NEAR * more > limit - limit // _NEAR
        for more, limit, total in zip(growth, most, stored(), strict=True)
    )
