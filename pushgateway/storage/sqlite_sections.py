"""Which sections of the groups have changed since they were read last, and what do they hold now?

Groups are looked at in sections, some that follow one another in the order of their keys. Each group's row has a random
number, which each change of the group replaces; how many groups a section has and what these numbers sum up to tells
one content from all others. SQLite adds them up for 10 000 groups in 4 ms, where reading the families takes 90.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from pushgateway.model import FamilyView, Group, Known, Mark, Section, Sections, Stamps
from pushgateway.storage.schema import TYPES
from pushgateway.storage.sqlite_reads import COLUMNS, TEXT, newest_headers

__all__ = ["read_sections"]

_T = TypeVar("_T")

_GROUPS_IN_SECTION: Final = 128
"""Which are read again for a change of one of them, in 1.5 ms; half as many would be compressed to 5 % more."""

_LAST: Final = "\U0010ffff"
"""Behind all keys: each begins with a bracket."""

_BETWEEN: Final = "key >= ? AND key < ?"
_MARK: Final = f"SELECT count(*), coalesce(sum(stamp), 0), coalesce(min(legacy), 1) FROM groups WHERE {_BETWEEN}"  # noqa: S608 - the constant
_CUT: Final = f"SELECT key FROM groups WHERE {_BETWEEN} ORDER BY key LIMIT 1 OFFSET ?"  # noqa: S608 - the constant
_STAMPS: Final = f"SELECT key, stamp FROM groups WHERE {_BETWEEN} ORDER BY key"  # noqa: S608 - the constant
_GROUPS: Final = f"SELECT id, stamp, {COLUMNS} FROM groups WHERE {_BETWEEN} ORDER BY key"  # noqa: S608 - the constants
_BODIES: Final = f"""
    SELECT f.header, g.id, {TEXT} FROM groups g CROSS JOIN families f
    WHERE f.group_id = g.id AND g.key >= ? AND g.key < ? ORDER BY g.key
"""  # noqa: S608 - the constant
_UNUSUAL: Final = """
    SELECT EXISTS (SELECT 1 FROM families INDEXED BY families_suspect WHERE suspect)
        OR EXISTS (SELECT 1 FROM headers WHERE NOT legacy)
"""


def read_sections(db: sqlite3.Connection, known: Sequence[Known], take: Callable[[Section], _T]) -> Sections[_T] | None:
    """Return the sections that are as they were, and what `take` makes of the others; see `base.Store`."""
    if db.execute(_UNUSUAL).fetchone()[0]:
        return None
    found: list[int | _T] = []
    headers, many_helps = newest_headers(db)
    names = {header[0]: name for name, (_, same) in headers.items() for header in same}
    firsts = [one.first for one in known] or [""]
    for at, (first, end) in enumerate(zip(firsts, [*firsts[1:], _LAST], strict=True)):
        mark, legacy = _mark(db, first, end)
        if not legacy:
            return None
        if known and known[at].mark == mark:
            found.append(at)
        elif known and (changed := _read_changed(db, (first, end), mark, at, known[at], names)):
            found.append(take(changed))
        else:
            # The first one stays, so that there is one for whatever comes before all others.
            found.extend(take(one) for one in _read(db, first, end, mark, names) if one.groups or not first)
    views = [FamilyView(name, TYPES[newest[2]], newest[3], (), newest[4]) for name, (newest, _) in headers.items()]
    return Sections(views, found, many_helps)


def _mark(db: sqlite3.Connection, first: str, end: str) -> tuple[Mark, bool]:
    groups, stamps, legacy = db.execute(_MARK, (first, end)).fetchone()
    return (groups, stamps), bool(legacy)


def _read(db: sqlite3.Connection, first: str, end: str, mark: Mark, names: Mapping[int, str]) -> Iterator[Section]:
    """Read a section; as several if it has become too large."""
    groups, stamps = mark
    while groups > 2 * _GROUPS_IN_SECTION:
        (cut,) = db.execute(_CUT, (first, end, _GROUPS_IN_SECTION)).fetchone()
        section = _section(db, first, cut, names)
        yield section
        first, groups, stamps = cut, groups - section.mark[0], stamps - section.mark[1]
    yield _section(db, first, end, names)


def _section(db: sqlite3.Connection, first: str, end: str, names: Mapping[int, str]) -> Section:
    stamps, groups, bodies = _contents(db, first, end, names)
    return Section(first, (len(stamps), sum(stamps.values())), Stamps.of(stamps), groups, range(len(groups)), bodies)


def _read_changed(
    db: sqlite3.Connection, between: tuple[str, str], mark: Mark, number: int, known: Known, names: Mapping[int, str]
) -> Section | None:
    """Read of a section what has changed; None if its stamps are not known, its groups are others, or most changed."""
    if not known.stamps.keys:
        return None
    by_key: dict[str, int] = dict(db.execute(_STAMPS, between))
    stamps = Stamps.of(by_key)
    if stamps.keys != known.stamps.keys:
        return None
    pairs = zip(by_key, stamps.values, known.stamps.values, strict=True)
    changed = {key: place for place, (key, now, before) in enumerate(pairs) if now != before}
    if 2 * len(changed) > len(by_key):
        return None
    groups: list[Group] = []
    bodies: dict[str, list[tuple[int, bytes]]] = {}
    for key, place in changed.items():
        _, found, own = _contents(db, key, key + "\0", names)
        groups += found
        for name, ((_, body),) in own.items():
            bodies.setdefault(name, []).append((place, body))
    return Section(between[0], mark, stamps, groups, [*changed.values()], bodies, number)


def _contents(
    db: sqlite3.Connection, first: str, end: str, names: Mapping[int, str]
) -> tuple[dict[str, int], list[Group], dict[str, list[tuple[int, bytes]]]]:
    """Return stamps, groups and bodies as a `Section` has them."""
    stamps: dict[str, int] = {}
    groups: list[Group] = []
    places: dict[int, int] = {}
    for number, stamp, *row in db.execute(_GROUPS, (first, end)):
        places[number] = len(groups)
        stamps[row[0]] = stamp
        groups.append(Group._make(row))
    bodies: dict[str, list[tuple[int, bytes]]] = {}
    for header, number, body in db.execute(_BODIES, (first, end)):
        bodies.setdefault(names[header], []).append((places[number], body))
    return stamps, groups, bodies
