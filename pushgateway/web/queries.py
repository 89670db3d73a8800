"""Which groups does a query string ask for: ``?q=&sort=&state=&stale=&limit=&cursor=``, for programs and for people?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeVar

from pushgateway import search
from pushgateway.errors import ConfigError, RequestError
from pushgateway.model import GroupQuery, GroupSort, GroupState
from pushgateway.values import duration_seconds, shown

__all__ = ["DEFAULT_STALE", "MOST_GROUPS", "MOST_ROWS", "asked_groups", "stale_seconds"]

DEFAULT_STALE: Final = "26h"
"""After what time without a push a group is stale, where nobody says: a job that runs each night may take two hours."""

MOST_GROUPS: Final = 1000
"""On one page for programs: 300 kB of JSON."""

MOST_ROWS: Final = 200
"""On one page for people: 290 kB of HTML, of which each refresh gets all again."""

_GROUPS: Final = 50
"""On one page, unless another number is asked for."""

_Choice = TypeVar("_Choice", GroupSort, GroupState)


def asked_groups(arguments: Mapping[str, str], *, now_seconds: float, most: int = MOST_GROUPS) -> GroupQuery:
    """Return which groups are asked for; a parameter that is missing or empty has its default.

    Args:
        arguments: The parameters, decoded; others than those of this module are ignored.
        now_seconds: Unix time.
        most: How many groups may be asked for at most.

    Raises:
        RequestError: One of them cannot be read; the message names it.
    """
    state = arguments.get("state", "")
    limit = arguments.get("limit", "") or str(_GROUPS)
    if not re.fullmatch("[0-9]{1,9}", limit) or not 1 <= int(limit) <= most:
        raise RequestError(f"limit {shown(limit)} is not a whole number from 1 to {most}")
    return GroupQuery(
        terms=search.parse(arguments.get("q", "")),
        sort=_chosen(GroupSort, "sort", arguments.get("sort", "") or GroupSort.PUSHED.value),
        limit=int(limit),
        cursor=arguments.get("cursor", ""),
        state=_chosen(GroupState, "state", state) if state else None,
        stale_before_seconds=now_seconds - stale_seconds(arguments),
    )


def stale_seconds(arguments: Mapping[str, str]) -> float:
    """Return after what time without a push a group is stale: ``90m``, or seconds without a unit.

    Raises:
        RequestError: It is no duration.
    """
    text = arguments.get("stale", "") or DEFAULT_STALE
    try:
        return float(duration_seconds(f"{text}s" if re.fullmatch("[0-9]{1,10}", text) else text, "stale"))
    except ConfigError as error:
        raise RequestError(str(error)) from error


def _chosen(choices: type[_Choice], name: str, text: str) -> _Choice:
    for choice in choices:
        if choice.value == text:
            return choice
    expected = ", ".join(choice.value for choice in choices)
    raise RequestError(f"{name} {shown(text)} is none of {expected}")
