"""What does each change do to the tables on PostgreSQL?

Looking and writing are apart: a change looks under locks (`postgres_locks`), decides, and returns the statements that
carry it out, which are sent together with COMMIT.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Final, NamedTuple

from pushgateway.errors import RequestError, StoreBusyError
from pushgateway.model import Delete, Push, Refusal, StoredFamily, Totals
from pushgateway.storage.checks import Beside, Rules, Verdict, check_quick, judge, overtaken, shape_text
from pushgateway.storage.growth import ONE_GROUP
from pushgateway.storage.listing import labels_of
from pushgateway.storage.postgres_connections import Statement, Transaction
from pushgateway.storage.postgres_locks import Locks, lock_all_jobs, lock_job, lock_names, wanted_locks
from pushgateway.storage.postgres_lookups import TOTALS, Found, PostgresLookups, StoredRow
from pushgateway.storage.postgres_schema import FIND_VERSION, TABLES, VERSION, check_version, identity
from pushgateway.storage.postgres_totals import add_totals, read_totals, refused_growth
from pushgateway.storage.schema import TYPE_CODES, TYPES, SchemaError, newer
from pushgateway.storage.series import PushedSeries, cut_pages

__all__ = ["MAX_FAMILY_BYTES", "Outcome", "delete", "push", "read_shapes", "refuse", "wipe"]

MAX_FAMILY_BYTES: Final = 400_000_000
"""Both forms of a family in a group. A message to the server holds less than 2^30 bytes, and a scrape a family's bodies
of all groups in one value of that size."""

_ATTEMPTS: Final = 8
"""A push that is new to the store takes three; others come between at times."""

_STAMP_BITS: Final = 63
"""What a bigint has beside its sign."""

_BYTES_AT_ONCE: Final = 32 << 20
"""How much goes to the server in one statement."""

_SHAPES: Final = """
    WITH RECURSIVE found (id, shape) AS (
        (
            SELECT shape_id, shape FROM pushgateway_groups
            WHERE job = %b AND shape_id > ''::bytea ORDER BY shape_id LIMIT 1
        )
        UNION ALL
        SELECT next.shape_id, next.shape FROM found CROSS JOIN LATERAL (
            SELECT shape_id, shape FROM pushgateway_groups
            WHERE job = %b AND shape_id > found.id ORDER BY shape_id LIMIT 1
        ) next
    )
    SELECT shape FROM found
"""
_SHAPE: Final = "SELECT shape FROM pushgateway_groups WHERE job = %b AND shape_id > ''::bytea ORDER BY shape_id"
_STATE: Final = f"""
    SELECT version, EXISTS (SELECT 1 FROM pushgateway_suspects), ({_SHAPE} LIMIT 1), ({_SHAPE} DESC LIMIT 1)
    FROM pushgateway_meta WHERE id = 1
"""  # noqa: S608 - the constant above
_ADD_GROUP: Final = """
    INSERT INTO pushgateway_groups VALUES (%b, %b, %b, NULL, NULL, %b, 0, 0, 0, 0, 0, '', %b, %b)
    ON CONFLICT (id) DO NOTHING RETURNING id
"""
_LOCK_GROUP: Final = """
    SELECT shape, bytes, families, family_series, pushed_at FROM pushgateway_groups WHERE id = %b FOR UPDATE
"""
_ROWS: Final = """
    SELECT name, name_id, type, suspect, series, bytes, hashes IS NULL FROM pushgateway_families WHERE group_id = %b
"""
_ROWS_PUSHED: Final = f"{_ROWS} AND name_id = ANY(%b::bytea[])"
# Whether each of these names is stored elsewhere with its type.
_JOINED: Final = """
    SELECT count(*) FROM unnest(%b::bytea[], %b::smallint[]) AS wanted (name_id, type)
    WHERE EXISTS (
        SELECT 1 FROM pushgateway_families f
        WHERE f.name_id = wanted.name_id AND f.type = wanted.type AND f.group_id <> %b
    )
"""
_SET_GROUP: Final = """
    UPDATE pushgateway_groups
    SET pushed_at = %b, series = %b, families = %b, family_series = %b, bytes = %b, stamp = %b WHERE id = %b
"""
_SET_SHAPE: Final = "UPDATE pushgateway_groups SET shape_id = %b, shape = %b WHERE id = %b"
_FAIL_GROUP: Final = "UPDATE pushgateway_groups SET failed_at = %b, failure_reason = %b, stamp = %b WHERE id = %b"
_STORE: Final = """
    INSERT INTO pushgateway_families AS f
    SELECT %b, name_id, type, suspect, series, bytes, at, at, name, help, unit, legacy, hashes, text, metrics
    FROM unnest(
        %b::bytea[], %b::smallint[], %b::boolean[], %b::integer[], %b::bigint[], %b::double precision[],
        %b::bytea[], %b::bytea[], %b::bytea[], %b::boolean[], %b::bytea[], %b::bytea[], %b::bytea[]
    ) AS pushed (name_id, type, suspect, series, bytes, at, name, help, unit, legacy, hashes, text, metrics)
    ON CONFLICT (group_id, name_id) DO UPDATE SET
        type = excluded.type, suspect = excluded.suspect, series = excluded.series, bytes = excluded.bytes,
        pushed_at = excluded.pushed_at,
        typed_at = CASE WHEN f.type = excluded.type THEN f.typed_at ELSE excluded.typed_at END,
        help = excluded.help, unit = excluded.unit, legacy = excluded.legacy,
        hashes = excluded.hashes, text = excluded.text, metrics = excluded.metrics
"""
_REMOVE: Final = "DELETE FROM pushgateway_families WHERE group_id = %b AND name_id = ANY(%b::bytea[])"
_REMOVE_PAGES: Final = "DELETE FROM pushgateway_hash_pages WHERE group_id = %b AND name_id = ANY(%b::bytea[])"
_ADD_PAGES: Final = """
    INSERT INTO pushgateway_hash_pages
    SELECT %b, name_id, first, hashes
    FROM unnest(%b::bytea[], %b::bytea[], %b::bytea[]) AS pages (name_id, first, hashes)
"""
_REMOVE_SUSPECTS: Final = "DELETE FROM pushgateway_suspects WHERE group_id = %b AND name_id = ANY(%b::bytea[])"
_ADD_SUSPECTS: Final = "INSERT INTO pushgateway_suspects SELECT %b, name_id FROM unnest(%b::bytea[]) AS names (name_id)"
_EMPTY_GROUP: Final = tuple(
    f"DELETE FROM pushgateway_{table} WHERE group_id = %b"  # noqa: S608 - one of three names
    for table in ("families", "hash_pages", "suspects")
)
_REMOVE_GROUP: Final = "DELETE FROM pushgateway_groups WHERE id = %b"
_WIPE: Final = tuple(
    f"DELETE FROM pushgateway_{table}"  # noqa: S608 - names of ours
    for table in TABLES
    if table not in ("meta", "locks", "totals")
)
_NO_TOTALS: Final = "UPDATE pushgateway_totals SET groups = 0, families = 0, series = 0"


class Outcome(NamedTuple):
    """What came of looking.

    Attributes:
        statements: What is left to do; () if nothing is to be changed.
        refusal: Why a push was refused, to be raised once its failure time, which is written instead, is committed.
        crowded: If the job of the push has several shapes: whether its lock was exclusive.
    """

    statements: tuple[Statement, ...]
    refusal: RequestError | None = None
    crowded: bool | None = None


class _Group(NamedTuple):
    """A group's row as it was locked; `shape` is None if no push has reached it."""

    shape: str | None
    bytes: int
    families: int
    series: int
    pushed_at_seconds: float


def read_shapes(transaction: Transaction, job: str) -> list[str]:
    """Return the shapes of a job, without a lock."""
    job_id = identity(job)
    (rows,) = transaction.ask(Statement(_SHAPES, (job_id, job_id)))
    return [shape.decode() for (shape,) in rows]


def push(
    transaction: Transaction, change: Push, series: PushedSeries, rules: Rules, *, crowded: Mapping[str, bool]
) -> Outcome:
    """Decide on a push and say what stores it.

    Args:
        transaction: Not begun.
        change: The push.
        series: Its series.
        rules: What is allowed.
        crowded: Jobs that have several shapes, as far as is known, and whether their lock had better be exclusive.

    Raises:
        StoreBusyError: It had to begin anew too often, or takes long, and the caller may not wait.
    """
    job = change.key.job
    locks = Locks(reads_shapes=job in crowded, job_alone=crowded.get(job, False))
    for _ in range(_ATTEMPTS):
        group, found = _look(transaction, change, locks)
        if group is not None and (later := overtaken(change, group.pushed_at_seconds)) is not None:
            return Outcome((), later)
        check_quick(_replaced(change, found), rules)
        wanted = wanted_locks(change, series, found, locks)
        # The group may have been removed between its insertion, which then did nothing, and its lock.
        if wanted == locks and group is not None:
            outcome = _decided(transaction, change, series, rules, group=group, found=found)
            return outcome._replace(crowded=locks.job_alone if len(found.beside.shapes) > 1 else None)
        locks = wanted
        transaction.restart()
    raise StoreBusyError("others kept changing what this push was compared with; nothing was stored")


def refuse(transaction: Transaction, change: Refusal, rules: Rules) -> Outcome:
    """Say what notes a push that was refused before.

    Raises:
        SchemaError: A newer release has changed the layout meanwhile.
    """
    group_id, job_id = identity(change.key.key), identity(change.key.job)
    _, added, _, version = transaction.ask(
        lock_job(job_id, alone=False),
        _new_group(change),
        Statement(_LOCK_GROUP, (group_id,)),
        Statement(FIND_VERSION),
    )
    check_version(version)
    return _failed(transaction, change, change.reason, rules, is_new=bool(added))


def delete(transaction: Transaction, change: Delete, rules: Rules) -> Outcome:
    """Say what removes a group.

    Raises:
        SchemaError: A newer release has changed the layout meanwhile.
        StoreBusyError: It is large, and the caller may not wait.
    """
    group_id = identity(change.key.key)
    _, rows, version = transaction.ask(
        lock_job(identity(change.key.job), alone=False), Statement(_LOCK_GROUP, (group_id,)), Statement(FIND_VERSION)
    )
    check_version(version)
    group = _group(rows)
    if group is None:
        return Outcome(())
    check_quick(group.bytes, rules)
    return Outcome(
        (
            *(Statement(sql, (group_id,)) for sql in (*_EMPTY_GROUP, _REMOVE_GROUP)),
            *add_totals(group_id, Totals(-1, -group.families, -group.series)),
        )
    )


def wipe(transaction: Transaction) -> Outcome:
    """Say what removes everything, while nothing else is being changed.

    Raises:
        SchemaError: A newer release has changed the layout meanwhile.
    """
    _, version = transaction.ask(lock_all_jobs(), Statement(FIND_VERSION))
    check_version(version)
    return Outcome(tuple(Statement(sql) for sql in (*_WIPE, _NO_TOTALS)))


def _new_group(change: Push | Refusal) -> Statement:
    key = change.key
    values = (identity(key.key), key.key.encode(), identity(key.job), change.series, key.legacy, labels_of(key))
    return Statement(_ADD_GROUP, values)


def _look(transaction: Transaction, change: Push, locks: Locks) -> tuple[_Group | None, Found]:
    """Take the locks and read what most pushes need, in one round trip.

    Raises:
        SchemaError: A newer release has changed the layout meanwhile.
    """
    group_id, job_id = identity(change.key.key), identity(change.key.job)
    names = {family.name: TYPE_CODES[family.type] for family in change.families if family.name in locks.names}
    asked = {"job": lock_job(job_id, alone=locks.job_alone)}
    if names:
        asked["names"] = lock_names(names, alone=locks.names_alone)
    if locks.creates:
        asked["added"] = _new_group(change)
    asked["group"] = Statement(_LOCK_GROUP, (group_id,))
    asked["rows"] = (
        Statement(_ROWS, (group_id,))
        if change.replace
        else Statement(_ROWS_PUSHED, (group_id, [identity(family.name) for family in change.families]))
    )
    asked["state"] = Statement(_STATE, (job_id, job_id))
    if names:
        asked["joined"] = Statement(_JOINED, ([identity(name) for name in names], list(names.values()), group_id))
        asked["totals"] = Statement(TOTALS)
    if locks.reads_shapes:
        asked["shapes"] = Statement(_SHAPES, (job_id, job_id))
    found = dict(zip(asked, transaction.ask(*asked.values()), strict=True))
    ((version, any_suspect, first, last),) = found["state"]
    shapes = [shape for (shape,) in found["shapes"]] if locks.reads_shapes else [first] if first is not None else []
    if version != VERSION:
        raise SchemaError(newer(version, VERSION))
    group = _group(found["group"])
    stored = {
        name.decode(): StoredRow(name_id, TYPES[type_], suspect, count, size, paged)
        for name, name_id, type_, suspect, count, size, paged in found["rows"]
    }
    beside = Beside(
        is_new=bool(found.get("added", group is None)),
        shape=None if group is None else group.shape,
        stored=stored,
        shapes=[shape.decode() for shape in shapes],
    )
    return group, Found(
        beside,
        stored,
        bytes=0 if group is None else group.bytes,
        any_suspect=any_suspect,
        joined=not any_suspect and bool(names) and found["joined"][0][0] == len(names),
        totals=Totals(*found["totals"][0]) if "totals" in found else None,
        has_more_shapes=first != last and not locks.reads_shapes,
    )


def _group(rows: Sequence[tuple[bytes | None, int, int, int, float]]) -> _Group | None:
    for shape, size, families, series, pushed_at in rows:
        return _Group(None if shape is None else shape.decode(), size, families, series, pushed_at)
    return None


def _replaced(change: Push, found: Found) -> int:
    return found.bytes if change.replace else sum(row.bytes for row in found.stored.values())


def _decided(
    transaction: Transaction, change: Push, series: PushedSeries, rules: Rules, *, group: _Group, found: Found
) -> Outcome:
    group_id, job_id = identity(change.key.key), identity(change.key.job)
    lookups = PostgresLookups(transaction, job_id=job_id, group_id=group_id, found=found)
    verdict = judge(lookups, change, series, beside=found.beside, rules=rules)
    refusal = verdict.refusal or refused_growth(transaction, verdict.growth, rules.limits, lookups.totals)
    if refusal is not None and change.yields_after_seconds is not None:
        return Outcome((), refusal)
    if refusal is not None:
        failed = _failed(transaction, change, str(refusal), rules, is_new=found.beside.is_new)
        return failed._replace(refusal=refusal)
    size = group.bytes + sum(series.sizes) - _replaced(change, found)
    families, count = group.families + verdict.growth.families, group.series + verdict.growth.series
    statements = list(_stored(change, series, group_id, found.stored, verdict))
    values = (change.received_at_seconds, change.series, families, count, size, _stamp(), group_id)
    statements.append(Statement(_SET_GROUP, values))
    if group.shape is None:
        shape = shape_text(change.key)
        statements.append(Statement(_SET_SHAPE, (identity(shape), shape.encode(), group_id)))
    return Outcome((*statements, *add_totals(group_id, verdict.growth)))


def _failed(transaction: Transaction, change: Push | Refusal, reason: str, rules: Rules, *, is_new: bool) -> Outcome:
    """Say what stores a failure time; nothing if that would need a group for which there is no more room."""
    group_id = identity(change.key.key)
    if is_new and refused_growth(transaction, ONE_GROUP, rules.limits, lambda: read_totals(transaction)) is not None:
        return Outcome(())
    fail = Statement(_FAIL_GROUP, (change.received_at_seconds, reason.encode(), _stamp(), group_id))
    return Outcome((fail, *(add_totals(group_id, ONE_GROUP) if is_new else ())))


def _stamp() -> int:
    """Return a number that no group has had before: their sum tells one state of the store from all others."""
    return secrets.randbits(_STAMP_BITS)


def _stored(
    change: Push, series: PushedSeries, group_id: bytes, stored: Mapping[str, StoredRow], verdict: Verdict
) -> Iterator[Statement]:
    """Say what stores the families of a push, in place of those that it replaces."""
    pushed = {family.name for family in change.families}
    gone = [row for name, row in stored.items() if name not in pushed]
    paged = [row.name_id for row in stored.values() if row.paged]
    cleared = [row.name_id for row in stored.values() if row.suspect]
    suspects = pushed if change.contradictory else verdict.suspects
    if paged:
        yield Statement(_REMOVE_PAGES, (group_id, paged))
    if gone:
        yield Statement(_REMOVE, (group_id, [row.name_id for row in gone]))
    if cleared:
        yield Statement(_REMOVE_SUSPECTS, (group_id, cleared))
    if suspects:
        yield Statement(_ADD_SUSPECTS, (group_id, [identity(name) for name in suspects]))
    for some in _batches(change, series):
        columns = zip(*(_row(change, family, size, series, suspects) for family, size in some), strict=True)
        yield Statement(_STORE, (group_id, *map(list, columns)))
    for name in series.paged:
        pages = cut_pages(series.sorted_hashes(name))
        ids = [identity(name)] * len(pages)
        yield Statement(_ADD_PAGES, (group_id, ids, [first for first, _ in pages], [hashes for _, hashes in pages]))


def _row(change: Push, family: StoredFamily, size: int, series: PushedSeries, suspects: Set[str]) -> tuple[object, ...]:
    """Return the columns of a family that `_STORE` wants, in its order."""
    return (
        identity(family.name),
        TYPE_CODES[family.type],
        family.name in suspects,
        len(family.identities),
        size,
        (change.family_times or {}).get(family.name, change.received_at_seconds),
        family.name.encode(),
        family.help.encode(),
        family.unit.encode(),
        family.legacy,
        None if family.name in series.paged else family.hashes,
        family.text,
        family.metrics,
    )


def _batches(change: Push, series: PushedSeries) -> Iterable[list[tuple[StoredFamily, int]]]:
    """Return the families of a push with their sizes, so many at a time that a statement stays small."""
    batch: list[tuple[StoredFamily, int]] = []
    room = _BYTES_AT_ONCE
    for family, size in zip(change.families, series.sizes, strict=True):
        if batch and size > room:
            yield batch
            batch, room = [], _BYTES_AT_ONCE
        batch.append((family, size))
        room -= size
    if batch:
        yield batch
