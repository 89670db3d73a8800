"""What does a change lock on PostgreSQL, so that changes happen as if one after the other?

Transactions are READ COMMITTED, where each statement sees what was committed before it began: what is read under a lock
holds until the lock is released, at the end of the transaction. Locks are always taken in the same order, so that no
two changes wait for each other: the job's, those of names sorted, the group's row, those of the totals sorted.

The job's is exclusive where two groups could come to hold the same series: when the push gives its job a new shape, or
has a series that could stand in a group of another shape. Of two such pushes, one sees what the other has stored. All
other changes share it, so that a wipe, which takes those of all jobs, has the store for itself.

Those of names are taken for families that are new to their group, change their type, or are suspect; a group that is
pushed again as it was takes none. Each such family stands for its name, and for its name without _count, _sum or
_bucket: names that collide share one of the two. They are shared, where each of these families is stored elsewhere with
its type and no family is suspect: then nothing that is stored conflicts with it (`checks`), and nobody can store what
would, since whoever brings a name or type that was not there takes them exclusively, and looks at everything.

The group's row is locked by whatever changes the group. A new group is inserted at that point: of two that do, the
second waits for the first, and then finds its group.

The totals are written last, one row of many, and only by what adds or removes. Whoever comes near to a limit first
locks all of these rows: so limits are exact near them, and far from them nobody waits (`postgres_totals`).

Rejected, measured with 4 writers (tests/benchmarks/bench_postgres.py): SERIALIZABLE without locks. See
docs/explanation/scaling.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Final

from pushgateway.model import MetricType, Push
from pushgateway.rules import suffix_rivals
from pushgateway.storage.checks import needs_check, shape_text
from pushgateway.storage.postgres_connections import Statement
from pushgateway.storage.postgres_lookups import Found
from pushgateway.storage.postgres_schema import JOB_LOCKS, identity, job_lock, name_lock
from pushgateway.storage.series import PushedSeries

__all__ = ["SHARE", "UPDATE", "Locks", "lock_all_jobs", "lock_job", "lock_names", "wanted_locks"]

UPDATE: Final = "FOR UPDATE"
SHARE: Final = "FOR SHARE"

_JOB: Final = "SELECT id FROM pushgateway_locks WHERE id = %b"
_NAMES: Final = "SELECT id FROM pushgateway_locks WHERE id = ANY(%b::integer[]) ORDER BY id"
_ALL_JOBS: Final = f"SELECT id FROM pushgateway_locks WHERE id < {JOB_LOCKS} ORDER BY id {UPDATE}"  # noqa: S608 - the constants


@dataclasses.dataclass(frozen=True, slots=True)
class Locks:
    """What a push locks; it begins with little, and comes again with more if that was too little.

    Attributes:
        job_alone: Whether the job's lock is exclusive.
        names: The families for whose names locks are taken.
        names_alone: Whether those are exclusive.
        creates: Whether the group is inserted if it is not there.
        reads_shapes: Whether all shapes of the job are read, and not only whether there are several: most jobs have
            one, and the statement that finds all takes the server 0.3 ms.
    """

    job_alone: bool = False
    names: frozenset[str] = frozenset()
    names_alone: bool = False
    creates: bool = False
    reads_shapes: bool = False


def lock_job(job_id: bytes, *, alone: bool) -> Statement:
    """Return what takes the lock of a job."""
    return Statement(f"{_JOB} {UPDATE if alone else SHARE}", (job_lock(job_id),))


def lock_all_jobs() -> Statement:
    """Return what takes the locks of all jobs, and so keeps all other changes out."""
    return Statement(_ALL_JOBS)


def lock_names(names: Iterable[str], *, alone: bool) -> Statement:
    """Return what takes the locks of some families' names."""
    rows = sorted({name_lock(identity(each)) for name in names for each in _with_stem(name)})
    return Statement(f"{_NAMES} {UPDATE if alone else SHARE}", (rows,))


def wanted_locks(push: Push, series: PushedSeries, found: Found, locks: Locks) -> Locks:
    """Return what a push has to lock, now that it is known what is stored: `locks` if that is enough.

    Raises:
        StoreBusyError: The job has many shapes that it did not have before.
    """
    beside = found.beside
    if found.has_more_shapes:
        return dataclasses.replace(locks, reads_shapes=True)
    own_shape = beside.shape or shape_text(push.key)
    others = [shape for shape in beside.shapes if shape != own_shape]
    meets_others = own_shape not in beside.shapes or any(series.onto(others).values())
    unchecked = {family.name for family in push.families if needs_check(family, found.stored.get(family.name))}
    is_known = unchecked <= locks.names
    return Locks(
        job_alone=locks.job_alone or meets_others,
        names=locks.names if is_known else locks.names | unchecked,
        names_alone=locks.names_alone or (bool(unchecked) and is_known and not found.joined),
        creates=locks.creates or beside.is_new,
        reads_shapes=locks.reads_shapes,
    )


def _with_stem(name: str) -> Iterator[str]:
    """Return a name, and without the suffix if it has one that a histogram's or summary's lines have."""
    yield name
    for rival, types in suffix_rivals(name, MetricType.UNTYPED):
        if types is not None:
            yield rival
