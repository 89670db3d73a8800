"""How do the groups of one store get into another, with all that a store knows of them?

Each group is one change, checked as a push is: a gateway that runs on the other store shows it at once, whole. What is
there already is left alone, so that a migration can be repeated, also one that was cut short, and a later one brings
only what was pushed meanwhile.

If anything in the old store is suspect, its gateway ran with --push.disable-consistency-check. Then nothing is checked;
what is not suspect comes first, and meets nothing that it could conflict with; then come the suspects, one by one, and
twice, so that each meets all others. Which of them a scrape shows depends on when each family got its type: so every
family is pushed at that time first, and then at its last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from pushgateway.errors import OvertakenError, RequestError
from pushgateway.model import (
    FamilyBlock,
    Group,
    GroupContents,
    GroupingKey,
    MetricType,
    Push,
    Refusal,
)
from pushgateway.preparation import prepare_push
from pushgateway.storage import Store, Ticket
from pushgateway.takeover.comparison import family_of, key_of
from pushgateway.takeover.transfer import Outcome

__all__ = ["Migration", "is_newer"]

_EVERYTHING: Final = 2**62
"""What the labels of a push may take: the old store has them already."""

_WRITERS: Final = 4


class Migration:
    """All groups of a store on their way into another.

    Args:
        groups: What the old one holds.
        store: The new one, without limits on how much it may hold.
        own: The gateway's own families.
    """

    def __init__(self, groups: Iterable[GroupContents], store: Store, *, own: Mapping[str, MetricType]) -> None:
        # In the order of their pushes each meets what it met when it was pushed.
        self._groups = sorted(groups, key=lambda contents: (contents.group.pushed_at_seconds, contents.group.key))
        self._checked = not any(block.suspect for contents in self._groups for block in contents.families)
        self._store = store
        self._own = own
        self._here = {contents.group.key: contents for contents in store.groups()}
        self._suspects: list[tuple[Group, FamilyBlock]] = []
        self.refused: list[tuple[GroupingKey, str]] = []
        """The groups that could not be taken, with the reason."""

    def run(self) -> Iterator[Outcome]:
        """Take the groups, and say of each, once, what came of it.

        One that is refused because of what is left of an earlier migration is tried again when that is replaced.

        Raises:
            StoreError: The store cannot be read or written.
        """
        waiting = self._groups
        while waiting:
            refused: list[tuple[GroupContents, RequestError]] = []
            # A database server flushes what several commit at once; a file has one writer.
            with ThreadPoolExecutor(1 if self._store.inline else _WRITERS) as pool:
                for contents, result in zip(waiting, pool.map(self._attempt, waiting), strict=True):
                    if isinstance(result, RequestError):
                        refused.append((contents, result))
                    else:
                        yield result
            if len(refused) == len(waiting):
                self.refused += [(key_of(contents.group), str(error)) for contents, error in refused]
                yield from [Outcome.REFUSED] * len(refused)
                break
            waiting = [contents for contents, _ in refused]
        for at_last in (False, True):
            for group, block in self._suspects:
                # Somebody else may push to the group now, and then it is theirs.
                with suppress(OvertakenError):
                    self._store.apply(self._push(group, [block], replaces=False, at_last=at_last), Ticket())

    def _attempt(self, contents: GroupContents) -> Outcome | RequestError:
        try:
            return self._take(contents)
        except RequestError as error:
            return error

    def _take(self, contents: GroupContents) -> Outcome:
        """Take one group.

        Raises:
            RequestError: It conflicts with what is stored.
        """
        group, blocks, _ = contents
        here = self._here.get(group.key)
        changes: list[Push | Refusal] = []
        if _wants_push(contents, here):
            certain = [block for block in blocks if not block.suspect]
            if not self._checked:
                changes.append(self._push(group, certain, replaces=True, at_last=False))
            changes.append(self._push(group, certain, replaces=True, at_last=True))
            self._suspects += [(group, block) for block in blocks if block.suspect]
        if _wants_failure(group, here):
            changes.append(Refusal(key_of(group), group.failed_at_seconds, group.series, group.failure_reason))
        try:
            for change in changes:
                self._store.apply(change, Ticket())
        except OvertakenError:
            return Outcome.NEWER_HERE
        if is_newer(contents, here):
            return Outcome.NEWER_HERE
        return Outcome.IMPORTED if changes else Outcome.UNCHANGED

    def _push(self, group: Group, blocks: Sequence[FamilyBlock], *, replaces: bool, at_last: bool) -> Push:
        """Make a push of stored families, at their last times or at those when they got their types."""
        push = prepare_push(
            [family_of(block) for block in blocks],
            key_of(group),
            replace=replaces,
            received_at_seconds=group.pushed_at_seconds,
            rendered_bytes=_EVERYTHING,
            own=self._own,
            checked=self._checked,
            utf8_names=True,
        )
        times = {block.name: block.pushed_at_seconds if at_last else block.typed_at_seconds for block in blocks}
        return push._replace(family_times=times, yields_after_seconds=group.pushed_at_seconds)


def is_newer(contents: GroupContents, here: GroupContents | None) -> bool:
    """Return whether a group was pushed to the new store after the last push to the old one.

    Args:
        contents: What the old store holds of it.
        here: What the new one holds of it.
    """
    return here is not None and here.group.pushed_at_seconds > contents.group.pushed_at_seconds


def _wants_push(contents: GroupContents, here: GroupContents | None) -> bool:
    pushed_at = contents.group.pushed_at_seconds
    pushed_here = 0.0 if here is None else here.group.pushed_at_seconds
    if here is None or pushed_at != pushed_here:
        return pushed_at > pushed_here
    return list(map(_kept, contents.families)) != list(map(_kept, here.families))


def _wants_failure(group: Group, here: GroupContents | None) -> bool:
    failed_here, reason_here = (0.0, "") if here is None else (here.group.failed_at_seconds, here.group.failure_reason)
    return group.failed_at_seconds > failed_here or (
        group.failed_at_seconds == failed_here > 0 and group.failure_reason != reason_here
    )


def _kept(block: FamilyBlock) -> FamilyBlock:
    """Return what has to be the same: whether a family is suspect depends on what is stored beside it."""
    return block._replace(typed_at_seconds=0.0, suspect=False)
