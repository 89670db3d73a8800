"""What may a caller expect of a store, whichever database is behind it?

A store keeps groups of metric families. It sees keys, names, types, hashes and bytes, never a format.

Ordering. Changes are applied one after the other, as if there were a single writer, over all threads, worker processes
and replicas that share the database. A read that starts after `apply` has returned sees the change.

Durability. When `apply` returns, the change has been committed and flushed to stable storage: it survives kill -9 and
loss of power. When it raises, nothing of the change has been stored (but for a refused push's failure time), except
that a `StoreUnwritableError` whose commit's outcome is unknown says so in its reason. `commit` is `apply` without the
flush: the change is there for every read and survives kill -9, and the next `flush` of the same store object, which
covers all that was committed before it, keeps it from loss of power. Until that has returned nobody may be told that
the change is stored.

Consistency. A checked push that would leave a state that cannot be scraped raises `InconsistentPushError` and changes
nothing but the group's failure time and reason (the group is created if need be). Checked against what is stored,
inside the transaction: a family of the same name with another type in another group or among the gateway's own; names
that collide with a stored histogram or summary through _bucket, _sum and _count, in both directions, including families
that a POST leaves in the same group; the same series in a group of another shape. What is inside the push, and in the
group only to be replaced by it, has been checked before (`rules.check`). The cost is that of the push, and of what it
replaces, whatever else is stored; of that, what can be done before the writers' lock is done before.

Imports. A push that comes from another gateway gives way to one that the group has got here later, decided inside the
transaction: `OvertakenError`. Whatever it is refused for, it leaves no trace, no failure time either.

Suspects. An unchecked push is stored all the same, and its families that conflict are marked suspect, until a later
push of the family finds no conflict or removes it. So families that are not suspect never conflict with each other. A
checked push is refused for a conflict with a suspect as for any other: to let it through would make it suspect as well.

Limits. A job's groups have at most so many shapes, since each costs every push of the job a lookup; groups that no push
has ever reached, because all were refused, do not count. A push beyond it, with a family beyond what a row can hold, or
for which too much would have to be looked up, raises `LimitError`, checked or not, and sets the failure time.

There are at most so many groups, families and series, over all writers. A push that adds to one of them beyond its
limit is refused in the same way; one that does not is not, even when there are more than a lowered limit allows, and
removing always works. A group counts as soon as it has a failure time: when there are as many as there may be, a
refused push creates none, and leaves no trace.

Blocking. Reads neither wait for writers nor block them, but they may wait while the database is opened, repaired after
a crash, or locked by something that is not a gateway; a ping does not even then. `apply` waits for other writers, and
takes long, only with a ticket; without one it raises `WouldBlockError` rather than do either.

Failures. A store may be opened although its database is missing or damaged: every method then says so, and tries again
when it is next called. `unwritable_reason` is shared by all processes with one `StatusBoard`: any write that fails for
a reason that lasts sets it, any that succeeds clears it.

Threads and processes. A store object belongs to the process that opened it (open it after the fork) and may be used by
all its threads. After `close` every method raises `StoreUnreadableError`.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Protocol, TypeAlias, TypeVar

from pushgateway.model import (
    Change,
    Form,
    GroupContents,
    GroupPage,
    GroupQuery,
    Known,
    Section,
    Sections,
    Snapshot,
    Totals,
)

__all__ = ["UNKNOWN_OUTCOME", "Store", "Ticket", "Version"]

_T = TypeVar("_T")

Version: TypeAlias = Hashable
"""What tells one state of a store from all others; means something to the store that returned it, and is compared only
for being equal."""

UNKNOWN_OUTCOME: Final = "whether the change was stored is unknown"
"""Part of the reason of a `StoreUnwritableError` where the change may have been stored all the same."""


class _State(enum.Enum):
    WAITING = "waiting"
    CLAIMED = "claimed"
    EXPIRED = "expired"


class Ticket:
    """A place in the queue of writers that its holder may give up, in a race that exactly one side wins.

    The writer that has got the lock calls `claim` before it writes; whoever watches the deadline calls `expire`. So a
    push that was answered 503 for lateness is never applied afterwards.
    """

    __slots__ = ("_lock", "_state")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = _State.WAITING

    def claim(self) -> bool:
        """Take the turn; False if it has expired, and then nothing may be written."""
        return self._move(_State.CLAIMED)

    def expire(self) -> bool:
        """Give the turn up; False if the writer has begun, and then its result is to be awaited."""
        return self._move(_State.EXPIRED)

    @property
    def expired(self) -> bool:
        """Whether the turn was given up, so that whatever is still done for it is in vain."""
        return self._state is _State.EXPIRED

    def _move(self, to: _State) -> bool:
        with self._lock:
            if self._state is not _State.WAITING:
                return False
            self._state = to
            return True


class Store(Protocol):
    """The contract of this module's docstring, as methods."""

    @property
    def inline(self) -> bool:
        """Whether `apply` with no ticket is short enough to be called on an event loop (SQLite: yes)."""

    def apply(self, change: Change, ticket: Ticket | None) -> None:
        """Apply one change, whole and durably, or not at all.

        Args:
            change: What to do.
            ticket: None: do not wait for other writers. Else wait for them in this thread, then claim the ticket.

        Raises:
            WouldBlockError: There is no ticket, and another writer is at work, or there is some other reason to wait.
                Nothing was stored.
            StoreBusyError: The ticket expired before the turn came. Nothing was stored.
            InconsistentPushError: A checked push conflicts with what is stored. The failure time was stored.
            LimitError: The push would exceed a limit of the store. The failure time was stored, but for that of a
                group for which there is no more room.
            OvertakenError: What comes from another gateway is older than what the group has. Nothing was stored.
            StoreUnwritableError: The database does not take writes. Reads go on.
            StoreUnreadableError: The database is damaged or the store is closed.
        """

    def commit(self, change: Change, ticket: Ticket | None) -> None:
        """Apply one change without the flush, if that can be left for later; the caller calls `flush`.

        Args:
            change: What to do.
            ticket: As in `apply`.

        Raises:
            Exception: As `apply`. After `InconsistentPushError` and `LimitError` the failure time is committed, and to
                be flushed too.
        """

    def flush(self) -> None:
        """Wait until all that this store has committed before is on stable storage. Any thread may call it.

        Raises:
            StoreUnwritableError: It cannot be flushed, and whether it was stored is unknown.
            StoreUnreadableError: The store is closed.
        """

    def families(self, form: Form, *, legacy_only: bool = False) -> Snapshot:
        """Return one consistent state of everything, bodies in `form`.

        Args:
            form: Which bytes of the families.
            legacy_only: Whether families under a name of which any is not `StoredFamily.legacy` come apart from the
                others, in `Snapshot.contested`.

        Raises:
            StoreUnreadableError: The database is damaged, gone or closed.
        """

    def sections(self, known: Sequence[Known], take: Callable[[Section], _T]) -> Sections[_T] | None:
        """Return one consistent state of everything in TEXT form, of which only what has changed is read.

        Args:
            known: The sections as they were read last; () if nothing is known. Any state of the store may be meant,
                also one that was read by another process.
            take: Is called with each section that is not known as it is now, in the order of the keys, while the
                state is held; what it returns is returned. Where the stamps of a section are known, and it has the same
                groups, those that have changed may be all that was read of it.

        Returns:
            None where only `families` can tell: some family is suspect, some name is not legacy, or the store has no
            sections.

        Raises:
            StoreUnreadableError: The database is damaged, gone or closed.
        """

    def version(self) -> Version | None:
        """Return which state of the store this is, at the cost of one look-up.

        While equal versions are returned, `families` and `groups` return the same: nothing has changed from before the
        first of these calls until the last one has begun. None if that cannot be told now.

        Raises:
            StoreUnreadableError: The database is damaged, gone or closed.
        """

    def groups(self) -> Sequence[GroupContents]:
        """Return one consistent state of everything, a group at a time, sorted by key.

        Raises:
            StoreUnreadableError: The database is damaged, gone or closed.
        """

    def group(self, key: str) -> GroupContents | None:
        """Return one group, at the cost of what it holds; None if it is not stored.

        Args:
            key: `GroupingKey.key` of the group.

        Raises:
            StoreUnreadableError: The database is damaged, gone or closed.
        """

    def find_groups(self, query: GroupQuery) -> GroupPage:
        """Return one page of the groups that a query is about, at the cost of a pass over the groups, not the families.

        Cursors say between which groups a page ends, not how many come before it: a group that is not pushed meanwhile
        is neither skipped nor shown twice, whatever else comes, goes or moves.

        Args:
            query: Which groups.

        Raises:
            RequestError: The cursor is none of this store's for this order.
            StoreUnreadableError: The database is damaged, gone or closed.
        """

    def totals(self) -> Totals:
        """Return how much is stored, at the cost of a pass over the groups, not the families.

        Raises:
            StoreUnreadableError: The database is damaged, gone or closed.
        """

    def ping(self) -> None:
        """Read a little.

        Raises:
            StoreUnreadableError: The database is damaged, gone or closed.
        """

    def unwritable_reason(self) -> str:
        """Return why the last write of any process failed, "" if it succeeded or none was tried. Never raises."""

    def close(self) -> None:
        """Close all connections, after the change in progress if there is one. Idempotent."""
