"""Do changes that could conflict take a lock in common, and which do not wait for each other?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pushgateway.model import MetricType, Push
from pushgateway.rules import suffix_rivals
from pushgateway.storage.checks import Beside, shape_text
from pushgateway.storage.postgres_locks import SHARE, UPDATE, Locks, lock_job, lock_names, wanted_locks
from pushgateway.storage.postgres_lookups import Found, StoredRow
from pushgateway.storage.postgres_schema import JOB_LOCKS, TOTALS_ROWS, identity, job_lock, name_lock, totals_row
from pushgateway.storage.series import PushedSeries
from tests.contract.values import family, key, push

A = key("a")
NAMES = st.text(alphabet="hc", min_size=1, max_size=2).flatmap(
    lambda stem: st.sampled_from(["", "_count", "_sum", "_bucket", "_count_sum"]).map(lambda suffix: stem + suffix)
)


def rows(*names: str) -> set[int]:
    (found,) = lock_names(names, alone=True).parameters
    assert isinstance(found, list)
    assert found == sorted(found)
    return set(found)


@given(name=NAMES, other=NAMES, type_=st.sampled_from(MetricType), other_type=st.sampled_from(MetricType))
def test_names_that_may_collide_share_a_lock(name: str, other: str, type_: MetricType, other_type: MetricType) -> None:
    """Equal names, and names of which one claims the other through a suffix, have a row in common."""
    rivals = dict(suffix_rivals(name, type_))
    collides = other in rivals and (rivals[other] is None or other_type in (rivals[other] or ()))
    if name == other or collides:
        assert rows(name) & rows(other)


@given(text=st.text())
def test_each_lock_has_its_row(text: str) -> None:
    """Whatever is locked or counted has a row, and those of names come after those of jobs."""
    assert 0 <= job_lock(identity(text)) < JOB_LOCKS <= name_lock(identity(text)) < 2 * JOB_LOCKS
    assert 0 <= totals_row(identity(text)) < TOTALS_ROWS


def found(stored: dict[str, StoredRow], *shapes: str, joined: bool = False, is_new: bool = False) -> Found:
    own = None if is_new else shape_text(A)
    return Found(Beside(is_new, own, stored, shapes), stored, 0, any_suspect=False, joined=joined, totals=None)


def row(type_: MetricType = MetricType.GAUGE, *, suspect: bool = False) -> StoredRow:
    return StoredRow(b"", type_, suspect, 1, 0, paged=False)


def locks_for(change: Push, state: Found, locks: Locks = Locks()) -> Locks:  # noqa: B008 - frozen
    series = PushedSeries(change)
    series.project(state.beside.shapes)
    return wanted_locks(change, series, state, locks)


X = push(A, family("x", group=A))


def test_a_steady_push_shares_its_job_and_locks_no_name() -> None:
    """A group that is pushed again as it was needs no more than it began with."""
    assert locks_for(X, found({"x": row()}, shape_text(A))) == Locks()


def test_new_families_lock_their_names_and_share_them_where_they_are_known() -> None:
    """A family that is new, of another type or suspect is locked by name, alone only if it is not known elsewhere."""
    for stored in ({}, {"x": row(MetricType.COUNTER)}, {"x": row(suspect=True)}):
        first = locks_for(X, found(stored, shape_text(A)))
        assert first == Locks(names=frozenset("x"))
        assert locks_for(X, found(stored, shape_text(A), joined=True), first) == first
        assert locks_for(X, found(stored, shape_text(A)), first) == Locks(names=frozenset("x"), names_alone=True)


def test_new_shapes_and_possible_twins_have_the_job_alone() -> None:
    """Whoever brings a shape, or could hold a series of another shape's group, keeps other pushes of the job out."""
    other = shape_text(key("a", l="1"))
    assert locks_for(X, found({"x": row()})).job_alone
    assert not locks_for(X, found({"x": row()}, shape_text(A), other)).job_alone
    twin = push(A, family("x", group=A, series=({"l": "1"},)))
    assert locks_for(twin, found({"x": row()}, shape_text(A), other)).job_alone


def test_locks_are_shared_or_not() -> None:
    """The statements say so."""
    assert lock_job(b"12", alone=True).sql.endswith(UPDATE)
    assert lock_job(b"12", alone=False).sql.endswith(SHARE)
    assert lock_names("x", alone=False).sql.endswith(SHARE)
