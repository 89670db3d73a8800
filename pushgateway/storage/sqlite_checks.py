"""Does a push conflict with what is stored?

Nothing here reads more than the push is long: names and series are looked up in indexes, at most one page of hashes for
each series and shape of its job. It rests on two promises that `sqlite_writes` keeps:

- Families that are not suspect never conflict with each other. So as long as no family is suspect, one that is stored
  already, with its type, has nothing to fear from another name or type; only its series may be new.
- A header exists only while some family has it. So a name's types are found without looking at its groups.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from pushgateway.model import MetricType, Push, StoredFamily
from pushgateway.rules import HASH_BYTES, conflicts, suffix_rivals
from pushgateway.storage.schema import TYPE_CODES, TYPES
from pushgateway.storage.sqlite_twins import PushedSeries, Twin, find_twins

__all__ = ["NO_GROUP", "Conflicts", "OwnFamilies", "StoredRow", "find_conflicts", "shapes_of"]

NO_GROUP: Final = -1
"""An id that no group has."""

_NEXT_SHAPE: Final = """
    WITH RECURSIVE found (shape) AS (
        SELECT (SELECT shape FROM groups WHERE job = ?1 AND shape > '' ORDER BY shape LIMIT 1)
        UNION ALL
        SELECT (SELECT shape FROM groups WHERE job = ?1 AND shape > found.shape ORDER BY shape LIMIT 1)
        FROM found WHERE found.shape IS NOT NULL
    )
    SELECT shape FROM found WHERE shape IS NOT NULL
"""
_ANY_SUSPECT: Final = "SELECT 1 FROM families INDEXED BY families_suspect WHERE suspect LIMIT 1"
# CROSS JOIN keeps the order of the joins, and so the cost, whatever statistics somebody's ANALYZE has left.
_NAMESAKE: Final = """
    SELECT h.type, g.key
    FROM headers h CROSS JOIN families f INDEXED BY families_by_header CROSS JOIN groups g
    WHERE h.name = ? AND h.type IN (?, ?, ?, ?, ?, ?) AND f.header = h.id AND f.group_id <> ? AND g.id = f.group_id
    LIMIT 1
"""


class StoredRow(NamedTuple):
    """What the push's own group has under a name already: `paged` if its hashes are in pages.

    `large` is where its bodies are, None if they are in its row; `series` is how many it has; `bytes` is how large both
    bodies are (0 in a PUT, to which the group's row tells it).
    """

    header: int
    type: MetricType
    help: str
    unit: str
    legacy: bool
    suspect: bool
    typed_at_seconds: float
    paged: bool
    large: int | None
    series: int
    bytes: int


class OwnFamilies:
    """The gateway's own families, which count as stored.

    Args:
        types: Their names and types, also of those without series yet.
    """

    __slots__ = ("_near", "types")

    def __init__(self, types: Mapping[str, MetricType]) -> None:
        self.types = dict(types)
        rivals = (rival for name, type_ in types.items() for rival, _ in suffix_rivals(name, type_))
        self._near = frozenset(types) | frozenset(rivals)

    def may_concern(self, name: str) -> bool:
        """Return whether a family of this name could conflict with one of ours."""
        return name in self._near


class Conflicts:
    """What was found: sentences for whoever pushed, and the names of the families."""

    __slots__ = ("findings", "names")

    def __init__(self) -> None:
        self.findings = conflicts.Findings()
        self.names: set[str] = set()


def shapes_of(db: sqlite3.Connection, job: str) -> list[str]:
    """Return the distinct shapes of a job's groups, as JSON arrays of label names, in one lookup a shape."""
    return [shape for (shape,) in db.execute(_NEXT_SHAPE, (job,))]


def find_conflicts(
    db: sqlite3.Connection,
    push: Push,
    *,
    group_id: int,
    stored: Mapping[str, StoredRow],
    series: PushedSeries,
    shapes: Sequence[str],
    own: OwnFamilies,
) -> Conflicts:
    """Compare a push with all other groups, with the gateway's own families, and with what it leaves in its own group.

    Args:
        db: In the write transaction.
        push: What is to be stored.
        group_id: Its group, `NO_GROUP` if that is new.
        stored: What the group has, for each pushed name that it has.
        series: The push's series, projected on as many shapes as were known before the lock.
        shapes: All other shapes of the job.
        own: The gateway's own families.

    Raises:
        LimitError: It would take too many look-ups.
        StoreBusyError: It would take too long under the lock, and may take less time when the caller comes again.
    """
    found = Conflicts()
    any_suspect = db.execute(_ANY_SUSPECT).fetchone() is not None
    pushed = {family.name for family in push.families}
    for family in push.families:
        row = stored.get(family.name)
        if any_suspect or row is None or row.type is not family.type or row.suspect:
            _check_type(db, family, group_id, found)
            _check_rivals(db, family, group_id, found, replaced=None if push.replace else pushed)
        if own.may_concern(family.name):
            _check_own(family, own.types, found)
    for twin in find_twins(db, push.key.job, series.onto(shapes)):
        _add_twin(push, twin, found)
    return found


def _check_type(db: sqlite3.Connection, family: StoredFamily, group_id: int, found: Conflicts) -> None:
    others = [type_ for type_ in TYPES if type_ is not family.type]
    namesake = _namesake(db, family.name, others, group_id)
    if namesake is not None:
        type_, key = namesake
        found.names.add(family.name)
        found.findings.add(conflicts.other_type, family.name, family.type, stored=type_, group=key)


def _check_rivals(
    db: sqlite3.Connection, family: StoredFamily, group_id: int, found: Conflicts, *, replaced: set[str] | None
) -> None:
    """Look for names that collide by suffix.

    Args:
        db: In the write transaction.
        family: A pushed family.
        group_id: Its group.
        found: Where to add.
        replaced: Which names of its own group the push replaces; None for all. Those were compared inside the push.
    """
    for rival, types in suffix_rivals(family.name, family.type):
        leaving = replaced is None or rival in replaced
        namesake = _namesake(db, rival, types or TYPES, group_id if leaving else NO_GROUP)
        if namesake is not None:
            type_, key = namesake
            where = conflicts.in_group(key)
            found.names.add(family.name)
            found.findings.add(
                conflicts.suffix_collision, family.name, family.type, rival=rival, rival_type=type_, where=where
            )


def _check_own(family: StoredFamily, own: Mapping[str, MetricType], found: Conflicts) -> None:
    own_type = own.get(family.name, family.type)
    if own_type is not family.type:
        found.names.add(family.name)
        found.findings.add(conflicts.own_type, family.name, family.type, own=own_type)
    for rival, types in suffix_rivals(family.name, family.type):
        rival_type = own.get(rival)
        if rival_type is not None and (types is None or rival_type in types):
            found.names.add(family.name)
            found.findings.add(
                conflicts.suffix_collision,
                family.name,
                family.type,
                rival=rival,
                rival_type=rival_type,
                where=conflicts.OWN,
            )


def _add_twin(push: Push, twin: Twin, found: Conflicts) -> None:
    name, wanted, key = twin
    found.names.add(name)
    family = next(family for family in push.families if family.name == name)
    for at, labels in enumerate(family.identities):
        if family.hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES] == wanted:
            found.findings.add(conflicts.twin, name, labels, group=key)
            return


def _namesake(
    db: sqlite3.Connection, name: str, types: Iterable[MetricType], except_group: int
) -> tuple[MetricType, str] | None:
    """Return type and group of a stored family that has this name and one of these types."""
    codes = [TYPE_CODES[type_] for type_ in types]
    codes += [codes[0]] * (len(TYPES) - len(codes))
    row = db.execute(_NAMESAKE, (name, *codes, except_group)).fetchone()
    return None if row is None else (TYPES[row[0]], row[1])
