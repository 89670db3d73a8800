"""What does a store look up to decide on a push, and how much of it at once?

The decision itself (`checks`, `twins`) is the same whatever the database. It asks for everything of one kind in one
call, so that a database behind a network answers it in one round trip. All of it is read inside the transaction that
writes, and each call costs what it is asked for, not what is stored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from pushgateway.model import MetricType, Totals

__all__ = ["Lookups", "Namesake", "Sought", "StoredFamilyState"]


class Sought(NamedTuple):
    """A stored family that would be a conflict: one of this name and one of these types.

    `elsewhere` is True if the push's own group is not to be looked at.
    """

    name: str
    types: Collection[MetricType]
    elsewhere: bool


class Namesake(NamedTuple):
    """What was found of a `Sought`: its type, and `GroupingKey.key` of its group, one of several."""

    type: MetricType
    group: str


class StoredFamilyState(Protocol):
    """What the push's own group has under a name already, as far as decisions need it."""

    @property
    def type(self) -> MetricType:
        """Its type."""

    @property
    def suspect(self) -> bool:
        """Whether it conflicts with others."""

    @property
    def series(self) -> int:
        """How many series it has."""


class Lookups(Protocol):
    """What one push may ask of a database, in the transaction that stores it."""

    def any_suspect(self) -> bool:
        """Return whether any stored family is suspect."""

    def namesakes(self, sought: Sequence[Sought]) -> Sequence[Namesake | None]:
        """Return for each whether it is stored: one that was found, or None."""

    def known_groups(self, keys: Collection[str]) -> Sequence[str]:
        """Return those of some groups that are stored; others may be among them where that saves a round trip."""

    def groups_of_shape(self, shape: str, most: int) -> Sequence[str]:
        """Return the keys of at most so many groups that the push's job has of a shape, a JSON array of label names."""

    def hashes(self, families: Sequence[tuple[str, str]]) -> Sequence[tuple[bytes | None] | None]:
        """Return the hashes of families, given as (key of one of the groups above, name).

        Returns:
            For each None if the group has no such family, (None,) if its hashes stand in pages, else (hashes,).
        """

    def pages(self, group: str, name: str, wanted: Sequence[bytes]) -> Iterable[bytes]:
        """Return the pages that may hold some hashes of a family.

        Args:
            group: The key of its group.
            name: Its name.
            wanted: Sorted hashes.

        Returns:
            The pages in order, each once; b"" for a look-up that has found none.
        """

    def totals(self) -> Totals:
        """Return how much is stored in all."""
