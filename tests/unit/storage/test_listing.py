"""How are a group's labels laid down to be searched and sorted, and what does a list look at?"""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from pushgateway.model import GroupQuery, GroupSort, GroupState, LabelTerm, TextTerm
from pushgateway.storage import schema
from pushgateway.storage.listing import labels_of
from pushgateway.storage.sqlite_reads import find_groups
from pushgateway.storage.sqlite_totals import read_all_totals
from tests.contract.values import key


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"job": "etl"}, b"\0job\1etl\0"),
        ({"job": "etl", "a": "b"}, b"\0job\1etl\0a\1b\0"),
        ({"job": "ETL", "a": "ß"}, b"\0job\1ETL\0a\1\xc3\x9f\0\2job\2etl\2a\2ss"),
        ({"job": "\0a\1b\2"}, b"\0job\1\xf8a\xf9b\xfa\0"),
    ],
)
def test_labels(labels: dict[str, str], expected: bytes) -> None:
    """Job first, each label between bytes that no text holds, and in folded case if that is not the same."""
    assert labels_of(key(**labels)) == expected


@pytest.mark.parametrize("sort", list(GroupSort))
def test_a_list_looks_at_no_family(sort: GroupSort) -> None:
    """Whatever is asked for, what groups hold is not read: only their rows, and how many there are."""
    tables: set[str] = set()

    def note(action: int, table: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_READ and table:
            tables.add(table)
        return sqlite3.SQLITE_OK

    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        schema.create(db)
        db.set_authorizer(note)
        for terms in ((), (LabelTerm("job", "a"), TextTerm("b"))):
            for state in (None, *GroupState):
                find_groups(db, GroupQuery(terms, sort, state=state))
        read_all_totals(db)
    assert tables == {"groups", "totals"}
