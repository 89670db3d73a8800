"""What of a push's series can be made ready before anything is locked?

Cutting the series down to the label names of the job's other shapes, and sorting the hashes of large families: the
costly part of looking for twins. What is left for `twins` are look-ups. Most pushes bring the series that are stored,
and then no hashes need to be sorted, which takes 30 ms for 100 000: two sets of them tell in 10.

Hashes are stored in one of two ways: with the family, if there are few, or as sorted pages of a table of their own, of
which a look-up reads one. (SQLite's incremental blob I/O, the other way to read a part, takes no tables without rowid.)
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

from pushgateway.errors import LimitError, StoreBusyError
from pushgateway.model import Push, StoredFamily
from pushgateway.rules import HASH_BYTES, Projector

__all__ = ["HASHES_IN_ROW", "Projection", "PushedSeries", "cut_pages"]

HASHES_IN_ROW: Final = 128
"""How many hashes stand in their family's row: a look-up that compares them all takes 10 microseconds."""

_HASHES_IN_PAGE: Final = 96
"""With the name they stay below the 1 002 bytes at which SQLite would put a row of such a table on further pages, where
pages have 4 KiB."""

_PROJECTIONS: Final = 4_000_000
"""Before the lock, for one push, about 3 s: series times shapes whose label names they have, and what follows."""

_A_KEY: Final = 20
"""What a group's key weighs among the projections: making it takes 16 microseconds."""

_PROJECTIONS_UNDER_LOCK: Final = 2_000
"""For shapes that were not there, or not looked for, before the lock: 2 ms, or 24 ms where a series has 63 labels."""

Projection: TypeAlias = Mapping[str, Mapping[str, frozenset[bytes]]]
"""For the key of each group that could hold some of the series, and each family: the hashes to look for."""


class PushedSeries:
    """The series of a push, as far as they can be made ready before the lock.

    Args:
        push: What is to be stored.

    Attributes:
        count: How many there are.
        paged: Its large families by name, whose hashes stand in pages.
        sizes: The bytes of each family in both forms.
        refusal: Set if the search would be too much work.
    """

    __slots__ = ("_made", "_projector", "_push", "_sorted", "_spent", "count", "paged", "refusal", "sizes")

    def __init__(self, push: Push) -> None:
        self._push = push
        self._projector: Projector | None = None
        self._made: dict[str, Projection] = {}
        self._spent = 0
        self.count = sum(len(family.identities) for family in push.families)
        self._sorted: dict[str, bytes] = {}
        self.paged = {family.name: family for family in push.families if _is_large(family)}
        self.sizes = [len(family.text) + len(family.metrics) for family in push.families]
        self.refusal: LimitError | None = None

    @property
    def job(self) -> str:
        """The push's job."""
        return self._push.key.job

    def sort(self, stored: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """Sort the hashes of all large families.

        Args:
            stored: What a family has in its pages; if these are the pushed hashes, they need not be sorted.
        """
        for name, family in self.paged.items():
            before = stored.get(name, b"")
            if _is_same(before, family.hashes):
                self._sorted[name] = before
            self.sorted_hashes(name)

    def sorted_hashes(self, name: str) -> bytes:
        """Return the hashes of a large family, sorted."""
        data = self._sorted.get(name)
        if data is None:
            data = self._sorted[name] = _sort(self.paged[name].hashes)
        return data

    def is_quick(self, shapes: int) -> bool:
        """Return whether so many shapes may be left to be looked at under the lock."""
        return self.count * shapes <= _PROJECTIONS_UNDER_LOCK

    def project(self, shapes: Iterable[str]) -> None:
        """Find the groups of these shapes that could hold a series; sets `refusal` if that is too much work."""
        own = self._push.key.shape
        for text in shapes:
            shape = tuple(json.loads(text))
            if text in self._made or shape == own or self.refusal is not None or not self.count:
                continue
            projector = self._projector = self._projector or Projector(self._push)
            self._spent += projector.label_sets
            if self._spent <= _PROJECTIONS:
                self._spent += projector.covered(shape)
            if self._spent > _PROJECTIONS:
                self.refusal = LimitError("twin-projections", allowed=_PROJECTIONS)
            else:
                self._made[text] = projector.onto(shape)
                self._spent += _A_KEY * len(self._made[text])

    def onto(self, shapes: Sequence[str]) -> Mapping[str, Projection]:
        """Return what was found for these shapes, looking at new ones only if that is quick.

        Raises:
            StoreBusyError: It is not. The caller is to come again without the lock.
        """
        new = [shape for shape in shapes if shape not in self._made]
        if new and self.count:
            if not self.is_quick(len(new)):
                raise StoreBusyError("the job has other shapes of groups than before the push; nothing was stored")
            self.project(new)
        return {shape: self._made[shape] for shape in shapes if shape in self._made}


def cut_pages(hashes: bytes) -> list[tuple[bytes, bytes]]:
    """Return sorted hashes as pages with the first hash of each.

    A series that an unchecked push has hundreds of times fills pages with one hash. Behind the first of them that hash
    is longer, by the page's place: so no two are the same, and whoever looks for it or the next one finds it.
    """
    page = _HASHES_IN_PAGE * HASH_BYTES
    pages, last = [], b""
    for at in range(0, len(hashes), page):
        first = hashes[at : at + HASH_BYTES]
        pages.append((first if first != last else first + at.to_bytes(4, "big"), hashes[at : at + page]))
        last = first
    return pages


def _sort(hashes: bytes) -> bytes:
    words = struct.Struct(f">{len(hashes) // HASH_BYTES}Q")
    # As integers, which sort like the bytes and faster: 30 ms for 100 000, in place of 42.
    return words.pack(*sorted(words.unpack(hashes)))


def _is_same(some: bytes, others: bytes) -> bool:
    """Return whether two families have the same hashes, in any order; False where one of them is there twice."""
    if len(some) != len(others):
        return False
    words = set(memoryview(some).cast("Q"))
    return len(words) * HASH_BYTES == len(some) and words == set(memoryview(others).cast("Q"))


def _is_large(family: StoredFamily) -> bool:
    return len(family.hashes) > HASHES_IN_ROW * HASH_BYTES
