"""How does PostgreSQL look up what a decision on a push needs, in as few round trips as can be?

Before a push is judged, one round trip takes its locks and reads what most pushes need (`Found`); the look-ups here are
for the others, one round trip a call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from pushgateway.model import MetricType, Totals
from pushgateway.storage.checks import Beside
from pushgateway.storage.lookups import Namesake, Sought
from pushgateway.storage.postgres_connections import Statement, Transaction
from pushgateway.storage.postgres_schema import identity
from pushgateway.storage.schema import TYPE_CODES, TYPES

__all__ = ["TOTALS", "Found", "PostgresLookups", "StoredRow"]

TOTALS: Final = """
    SELECT coalesce(sum(groups), 0)::bigint, coalesce(sum(families), 0)::bigint, coalesce(sum(series), 0)::bigint
    FROM pushgateway_totals
"""
# LIMIT 1 after a search in the index for each type; a group of our own hides at most itself.
_NAMESAKES: Final = """
    SELECT wanted.at, found.type, found.key
    FROM unnest(%b::integer[], %b::bytea[], %b::smallint[], %b::bytea[]) AS wanted (at, name_id, type, not_in)
    CROSS JOIN LATERAL (
        SELECT f.type, g.key FROM pushgateway_families f JOIN pushgateway_groups g ON g.id = f.group_id
        WHERE f.name_id = wanted.name_id AND f.type = wanted.type AND f.group_id <> wanted.not_in LIMIT 1
    ) found
"""
_GROUPS_OF_SHAPE: Final = "SELECT key FROM pushgateway_groups WHERE job = %b AND shape_id = %b LIMIT %b"
_HASHES: Final = """
    SELECT wanted.at, f.hashes
    FROM unnest(%b::integer[], %b::bytea[], %b::bytea[]) AS wanted (at, group_id, name_id)
    JOIN pushgateway_families f ON f.group_id = wanted.group_id AND f.name_id = wanted.name_id
"""
_PAGES: Final = """
    SELECT DISTINCT page.first, page.hashes
    FROM unnest(%b::bytea[]) AS wanted (hash)
    CROSS JOIN LATERAL (
        SELECT first, hashes FROM pushgateway_hash_pages
        WHERE group_id = %b AND name_id = %b AND first <= wanted.hash ORDER BY first DESC LIMIT 1
    ) page
    ORDER BY page.first
"""
_HASHES_AT_ONCE: Final = 1000
"""How many hashes are looked for in one round trip; what they find is a quarter of a megabyte at most."""


class StoredRow(NamedTuple):
    """What the push's own group has under a name already: `paged` if its hashes are in pages."""

    name_id: bytes
    type: MetricType
    suspect: bool
    series: int
    bytes: int
    paged: bool


class Found(NamedTuple):
    """What the first round trip of a push has found, under the locks that it has taken.

    Attributes:
        beside: What the push is judged beside.
        stored: The same families as in `beside`, with what PostgreSQL needs of them.
        bytes: How large the group is.
        any_suspect: Whether any stored family is suspect.
        joined: Whether every family that is new to the group is known to be stored elsewhere, not suspect, with its
            type, and will be until the push has been stored. Then nothing that is stored conflicts with its name.
        totals: How much is stored in all; None if it was not asked for.
        has_more_shapes: Whether the job has several shapes, and `beside` not all of them.
    """

    beside: Beside
    stored: Mapping[str, StoredRow]
    bytes: int
    any_suspect: bool
    joined: bool
    totals: Totals | None
    has_more_shapes: bool = False


class PostgresLookups:
    """The look-ups of one push; see `lookups.Lookups`.

    Args:
        transaction: The one that stores the push.
        job_id: The id of its job.
        group_id: The id of its group.
        found: What has been read already.
    """

    def __init__(self, transaction: Transaction, *, job_id: bytes, group_id: bytes, found: Found) -> None:
        self._transaction = transaction
        self._job_id = job_id
        self._group_id = group_id
        self._found = found
        self._totals = found.totals

    def any_suspect(self) -> bool:
        """Return whether any stored family is suspect."""
        return self._found.any_suspect

    def namesakes(self, sought: Sequence[Sought]) -> Sequence[Namesake | None]:
        """Return for each whether it is stored."""
        answers: list[Namesake | None] = [None] * len(sought)
        if self._found.joined:
            return answers
        wanted = [(at, one, type_) for at, one in enumerate(sought) for type_ in one.types]
        columns = (
            [at for at, _, _ in wanted],
            [identity(one.name) for _, one, _ in wanted],
            [TYPE_CODES[type_] for _, _, type_ in wanted],
            [self._group_id if one.elsewhere else b"" for _, one, _ in wanted],
        )
        (rows,) = self._transaction.ask(Statement(_NAMESAKES, columns))
        for at, type_, key in rows:
            answers[at] = Namesake(TYPES[type_], key.decode())
        return answers

    def known_groups(self, keys: Collection[str]) -> Sequence[str]:
        """Return the groups as they are given: their ids are known, and `hashes` finds those that are there."""
        return list(keys)

    def groups_of_shape(self, shape: str, most: int) -> Sequence[str]:
        """Return the keys of at most so many groups of a shape."""
        (rows,) = self._transaction.ask(Statement(_GROUPS_OF_SHAPE, (self._job_id, identity(shape), most)))
        return [key.decode() for (key,) in rows]

    def hashes(self, families: Sequence[tuple[str, str]]) -> Sequence[tuple[bytes | None] | None]:
        """Return the hashes of families of these groups."""
        columns = (
            list(range(len(families))),
            [identity(key) for key, _ in families],
            [identity(name) for _, name in families],
        )
        (rows,) = self._transaction.ask(Statement(_HASHES, columns))
        answers: list[tuple[bytes | None] | None] = [None] * len(families)
        for at, hashes in rows:
            answers[at] = (hashes,)
        return answers

    def pages(self, group: str, name: str, wanted: Sequence[bytes]) -> Iterable[bytes]:
        """Return the pages that may hold some hashes, a thousand hashes in a round trip."""
        for at in range(0, len(wanted), _HASHES_AT_ONCE):
            some = list(wanted[at : at + _HASHES_AT_ONCE])
            (rows,) = self._transaction.ask(Statement(_PAGES, (some, identity(group), identity(name))))
            for _, hashes in rows:
                yield hashes

    def totals(self) -> Totals:
        """Return how much is stored in all."""
        if self._totals is None:
            (((groups, families, series),),) = self._transaction.ask(Statement(TOTALS))
            self._totals = Totals(groups, families, series)
        return self._totals
