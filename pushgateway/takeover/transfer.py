"""How do groups of another gateway get into the store, and which of them do not?

Each group is one change of the store, checked as a push is, with the push times that it had. So a gateway that runs on
the store shows it at once, whole; and an import that is repeated changes nothing, since it finds the same push times.
Jobs may push to that gateway meanwhile: which push is newer is known when the import begins, and asked again by the
store when it writes.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pushgateway import grouping
from pushgateway.errors import InconsistentPushError, OvertakenError, RequestError
from pushgateway.limits import Limits
from pushgateway.model import Group, GroupingKey, MetricType, Push, Refusal
from pushgateway.preparation import prepare_push, prepare_refusal
from pushgateway.storage import Store, Ticket
from pushgateway.takeover.merging import HeldGroup

__all__ = ["Outcome", "Transfer"]

_REFUSED_ELSEWHERE = InconsistentPushError(["refused by the gateway that this group was imported from"])


class Outcome(enum.Enum):
    """What came of a group."""

    IMPORTED = "imported"
    UNCHANGED = "unchanged"
    NEWER_HERE = "newer here"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class _Prepared:
    changes: tuple[Push | Refusal, ...] = ()
    outcome: Outcome = Outcome.IMPORTED


class Transfer:
    """Groups on their way into a store.

    Args:
        store: Where to; None only tells what would be done.
        existing: The groups that it has.
        own: The gateway's own families.
        limits: What a group may hold.
        overwrite: Whether a group that was pushed later to the store gives way.
        utf8_names: Whether names may have any characters.
    """

    def __init__(
        self,
        store: Store | None,
        *,
        existing: Iterable[Group],
        own: Mapping[str, MetricType],
        limits: Limits,
        overwrite: bool,
        utf8_names: bool = False,
    ) -> None:
        self._store = store
        self._existing = {group.key: group for group in existing}
        self._own = own
        self._limits = limits
        self._overwrite = overwrite
        self._utf8_names = utf8_names
        self.refused: list[tuple[GroupingKey, str]] = []
        """The groups that could not be taken, with the reason."""

    def take(self, group: HeldGroup) -> Outcome:
        """Take one group over, or say in `refused` why not.

        Raises:
            StoreError: The store cannot be read or written.
        """
        try:
            prepared = self._prepare(group)
            for change in prepared.changes:
                if self._store is not None:
                    self._store.apply(change, Ticket())
        except OvertakenError:
            return Outcome.NEWER_HERE
        except RequestError as error:
            self.refused.append((group.key, str(error)))
            return Outcome.REFUSED
        return prepared.outcome

    def _prepare(self, group: HeldGroup) -> _Prepared:
        """Decide what is to be done.

        Raises:
            RequestError: The group cannot be taken.
        """
        if group.problem:
            raise RequestError(group.problem)
        path = grouping.format_path(group.key, utf8_names=self._utf8_names)
        grouping.parse(path.encode(), limits=self._limits, utf8_names=self._utf8_names)
        here = self._existing.get(group.key.key)
        pushed_here, failed_here = (here.pushed_at_seconds, here.failed_at_seconds) if here else (0.0, 0.0)
        if pushed_here > group.pushed_at_seconds and not self._overwrite:
            return _Prepared(outcome=Outcome.NEWER_HERE)
        changes: list[Push | Refusal] = []
        if group.pushed_at_seconds > pushed_here or (self._overwrite and 0 < group.pushed_at_seconds != pushed_here):
            changes.append(self._push(group))
        failed = group.failed_at_seconds
        if failed > failed_here or (self._overwrite and failed != failed_here):
            changes.append(prepare_refusal(group.key, _REFUSED_ELSEWHERE, received_at_seconds=failed))
        return _Prepared(tuple(changes), Outcome.IMPORTED if changes else Outcome.UNCHANGED)

    def _push(self, group: HeldGroup) -> Push:
        push = prepare_push(
            group.families,
            group.key,
            replace=True,
            received_at_seconds=group.pushed_at_seconds,
            rendered_bytes=self._limits.rendered_bytes,
            own=self._own,
            utf8_names=self._utf8_names,
        )
        yields_after_seconds = math.inf if self._overwrite else group.pushed_at_seconds
        return push._replace(family_times=group.family_times, yields_after_seconds=yields_after_seconds)
