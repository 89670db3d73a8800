"""May a change add to what is stored in all?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pushgateway.errors import LimitError
from pushgateway.limits import Limits
from pushgateway.model import Totals

__all__ = ["NOTHING", "ONE_GROUP", "exceeded"]

NOTHING: Final = Totals(0, 0, 0)
ONE_GROUP: Final = Totals(1, 0, 0)


def exceeded(growth: Totals, limits: Limits, stored: Callable[[], Totals]) -> LimitError | None:
    """Return which limit a change would exceed: only one on something that it makes more, however much there is.

    Args:
        growth: What the change adds.
        limits: How much there may be.
        stored: Returns how much there is; it is only called where that matters.
    """
    most = Totals(limits.groups, limits.families, limits.series)
    limited = [at for at, more in enumerate(growth) if more > 0 and most[at]]
    if not limited:
        return None
    found = stored()
    for at in limited:
        if found[at] + growth[at] > most[at]:
            return LimitError(Totals._fields[at], allowed=most[at], seen=found[at] + growth[at])
    return None
