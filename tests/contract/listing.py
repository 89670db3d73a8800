"""What does a list of groups say, if whoever makes it looks at everything?"""

from __future__ import annotations

import json
from collections.abc import Sequence

from pushgateway.model import (
    GroupContents,
    GroupingKey,
    GroupQuery,
    GroupSort,
    GroupState,
    GroupSummary,
    LabelTerm,
    Term,
)

__all__ = ["listed", "matches", "summary"]


def summary(contents: GroupContents, *, series: int, size: int) -> GroupSummary:
    """Return what a list shows of a group with so many series and bytes."""
    group = contents.group
    return GroupSummary(
        group.key,
        group.pushed_at_seconds,
        group.failed_at_seconds,
        group.failure_reason,
        len(contents.families),
        series,
        size,
    )


def listed(groups: Sequence[GroupSummary], query: GroupQuery) -> list[GroupSummary]:
    """Return all groups that a query is about, in its order."""
    found = [one for one in groups if _is_in_state(one, query) and all(matches(one.key, term) for term in query.terms)]
    return sorted(found, key=lambda one: (_rank(one, query.sort), labels_in_order(one.key)))


def matches(key: str, term: Term) -> bool:
    """Return whether the labels of a group are what a term asks for."""
    labels = dict(json.loads(key))
    if isinstance(term, LabelTerm):
        return (labels.get(term.name, "") == term.value) is term.equal
    return any(term.text.casefold() in part.casefold() for pair in labels.items() for part in pair)


def labels_in_order(key: str) -> list[tuple[bytes, bytes]]:
    """Return the labels of a group, `job` first, as they compare: what separates labels in a store comes last."""
    aside = bytes.maketrans(b"\0\1\2", b"\xf8\xf9\xfa")
    labels = GroupingKey.of(json.loads(key)).labels
    pairs = [(name.encode().translate(aside), value.encode().translate(aside)) for name, value in labels]
    return sorted(pairs, key=lambda pair: pair[0] != b"job")


def _rank(group: GroupSummary, sort: GroupSort) -> tuple[float, ...]:
    pushed, failed = group.pushed_at_seconds, group.failed_at_seconds
    match sort:
        case GroupSort.PUSHED:
            return (-pushed,)
        case GroupSort.FAILED:
            return (-failed if failed > pushed else 0.0, -pushed)
        case GroupSort.SIZE:
            return (-group.bytes,)
        case GroupSort.NAME:
            return ()


def _is_in_state(group: GroupSummary, query: GroupQuery) -> bool:
    match query.state:
        case GroupState.FAILED:
            return group.failed_at_seconds > group.pushed_at_seconds
        case GroupState.STALE:
            return 0 < group.pushed_at_seconds < query.stale_before_seconds
        case None:
            return True
