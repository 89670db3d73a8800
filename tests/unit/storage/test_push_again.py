"""Does a push that brings what its group has, with other values, leave what the long way would?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pushgateway.limits import Limits
from pushgateway.model import Change, Delete, MetricType, Push, Refusal
from pushgateway.storage import schema
from pushgateway.storage.checks import QUICK_BYTES, OwnFamilies, Rules
from pushgateway.storage.sqlite_writes import MAX_FAMILY_BYTES, Prepared, apply_change
from tests.contract.values import family, key, push

RULES = Rules(OwnFamilies({"own": MetricType.GAUGE}), Limits(), may_wait=True, family_bytes=MAX_FAMILY_BYTES)
KEYS = (key("a"), key("a", l="1"), key("b"))


def opened() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    schema.create(db)
    return db


def apply(db: sqlite3.Connection, change: Change, *, again: bool = True) -> str:
    """Apply a change, with `again` False the long way; returns why it was refused, "" if it was not."""
    prepared = Prepared(change)
    if not again:
        prepared.signature = None
    db.execute("BEGIN")
    refusal = apply_change(db, prepared, RULES)
    db.execute("COMMIT")
    return "" if refusal is None else str(refusal)


def statements(db: sqlite3.Connection, change: Change) -> list[str]:
    """Return which statements a change takes, the transaction left out."""
    seen: list[str] = []
    db.set_trace_callback(seen.append)
    try:
        assert apply(db, change) == ""
    finally:
        db.set_trace_callback(None)
    return [" ".join(sql.split()[:2]) for sql in seen if not sql.startswith(("BEGIN", "COMMIT"))]


def contents(db: sqlite3.Connection) -> list[list[tuple[Any, ...]]]:
    """Return all rows; of the groups neither the stamps, which differ by chance, nor the signatures."""
    groups = """
        SELECT id, key, labels, job, legacy, shape, series, families, family_series, bytes, pushed_at, failed_at,
            failure_reason
        FROM groups ORDER BY id
    """
    others = [f"SELECT * FROM {table} ORDER BY 1, 2" for table in sorted(schema.TABLES - {"groups"})]  # noqa: S608
    return [db.execute(sql).fetchall() for sql in (groups, *others)]


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """Mostly pushes of one of a few shapes to one of a few groups."""
    group = draw(st.sampled_from(KEYS))
    at = draw(st.floats(min_value=1, max_value=9))
    kind = draw(st.sampled_from(["push"] * 8 + ["refusal", "delete"]))
    if kind == "refusal":
        return Refusal(group, at, b"", "why")
    if kind == "delete":
        return Delete(group)
    value = str(draw(st.integers(0, 9)))
    names = draw(st.sampled_from([("x", "y"), ("x", "y"), ("x",), ("y", "x"), ("own",), ("x_count", "y"), ()]))
    usual = draw(st.sampled_from([True, True, True, False]))
    families = [
        family(
            name,
            MetricType.GAUGE if usual else draw(st.sampled_from([MetricType.GAUGE, MetricType.HISTOGRAM])),
            group=group,
            series=({},) if usual else draw(st.sampled_from([({},), ({"l": "1"},), ({"l": "1"}, {"m": "2"})])),
            help="" if usual else draw(st.sampled_from(["", "help"])),
            value=value,
            padding=0 if usual else draw(st.sampled_from([0, 20_000])),
        )
        for name in names
    ]
    checked = draw(st.sampled_from([True] * 5 + [False]))
    return push(group, *families, replace=draw(st.booleans()), at=at, checked=checked)


@given(st.lists(changes(), min_size=1, max_size=25))
def test_the_short_way_leaves_what_the_long_one_does(steps: list[Change]) -> None:
    """Whatever comes before, whoever checks: the same rows, and the same refusals."""
    with closing(opened()) as short, closing(opened()) as long:
        for change in steps:
            assert apply(short, change) == apply(long, change, again=False)
            assert contents(short) == contents(long)


def pushed(value: str, *, replace: bool = True, type: MetricType = MetricType.GAUGE, padding: int = 0) -> Push:
    x = family("x", type, group=KEYS[0], series=({}, {"m": "1"}), value=value, padding=padding)
    return push(KEYS[0], x, family("y", group=KEYS[0], value=value), replace=replace, at=float(value))


SHORT = ["UPDATE groups", "UPDATE families", "UPDATE families"]


def test_the_short_way_looks_nothing_up() -> None:
    """The second push changes the group's row and those of its families; so does one that adds to the group."""
    with closing(opened()) as db:
        apply(db, pushed("1"))
        for change in (pushed("2"), pushed("3", replace=False)):
            assert statements(db, change) == SHORT
        assert db.execute("SELECT pushed_at, text FROM families WHERE name = 'y'").fetchall() == [
            (3.0, b'y{job="a"} 3\n')
        ]


def test_what_takes_the_long_way() -> None:
    """Another type, large families, a suspect anywhere, and a group that has more than the push."""
    other = push(KEYS[2], family("z", group=KEYS[2]))
    with closing(opened()) as db:
        apply(db, pushed("1"))
        for change in (pushed("2", type=MetricType.HISTOGRAM), pushed("3", padding=QUICK_BYTES)):
            assert statements(db, change) != SHORT
        apply(db, push(KEYS[0], family("more", group=KEYS[0]), replace=False))
        assert statements(db, pushed("4", replace=False)) != SHORT
        apply(db, pushed("5"))
        assert statements(db, pushed("6")) == SHORT
        apply(db, other)
        db.execute("UPDATE families SET suspect = 1 WHERE name = 'z'")
        assert statements(db, pushed("7")) != SHORT


def test_a_signature_tells_all_that_is_compared() -> None:
    """Pushes that differ in anything but values and labels of the group have signatures that differ."""
    group = KEYS[0]
    alike = [family("x", group=group, series=({"l": "1"},), value=value) for value in "12"]
    others = [
        family("x2", group=group, series=({"l": "1"},)),
        family("x", MetricType.COUNTER, group=group, series=({"l": "1"},)),
        family("x", group=group, series=({"l": "2"},)),
        family("x", group=group, series=({"l": "1"}, {"l": "2"})),
        family("x", group=group, series=({"l": "1"},), help="help"),
        family("x", group=group, series=({"l": "1"},), legacy=False),
    ]
    signatures = [Prepared(push(group, one)).signature for one in (*alike, *others)]
    assert None not in signatures
    assert len(set(signatures)) == 1 + len(others)
