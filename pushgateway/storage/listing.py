"""Which groups does a list show, in which order, and where does its next page begin?

The same for every database, which only differ in how they write what is asked for (`Dialect`).

Labels. Each group's row has its labels once more as bytes that can be searched and sorted (`labels_of`): the pairs with
`job` first, between bytes that stand in no label, and behind them, if that is not the same, all of it in folded case.
So a label's exact value is a search for bytes, whatever stands in it, and a text is one that cannot match what only
separates labels. They are written once, when the group is made. Rejected: to search in the key, where brackets and
quotes are part of the JSON, and where case is folded by one database for ASCII and by another as its locale says.

Pages. A page ends at a group's position: what the list is sorted by, the beginning of its labels, and its id, which
makes it unique. The next page is what comes after that position, so that no page counts what lies before it, and what
is pushed meanwhile moves no other group from one page to another. Each order is one of ascending numbers, so that one
comparison of rows does for all.

No index serves these orders: it would have to be changed by every push. A pass over the rows of 100 000 groups takes
SQLite 20 to 40 ms of processor time, and looks at no family.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from pushgateway.errors import RequestError
from pushgateway.model import (
    GroupingKey,
    GroupPage,
    GroupQuery,
    GroupSort,
    GroupState,
    GroupSummary,
    Term,
    TextTerm,
)

__all__ = ["Dialect", "Listing", "Statement", "labels_of"]

Id: TypeAlias = int | bytes
Row: TypeAlias = Sequence[Any]
"""A row of `Listing.page`: a position (its numbers, the beginning of the labels, the id), then a summary's columns."""

_PAIR: Final = b"\x00"
"""Before each label and behind the last one."""

_VALUE: Final = b"\x01"
"""Between a label's name and its value."""

_FOLDED: Final = b"\x02"
"""Before each name and value in folded case: a search for a label finds none of them."""

_ASIDE: Final = bytes.maketrans(_PAIR + _VALUE + _FOLDED, b"\xf8\xf9\xfa")
"""A value may hold these three characters; these bytes occur in no UTF-8."""

_NAME_BYTES: Final = 256
"""How much of its labels is part of a group's position, since a cursor has to fit into a URL."""

_POSITIONS: Final = {
    GroupSort.PUSHED: ("-pushed_at",),
    GroupSort.FAILED: ("CASE WHEN failed_at > pushed_at THEN -failed_at ELSE 0.0 END", "-pushed_at"),
    GroupSort.SIZE: ("-bytes",),
    GroupSort.NAME: (),
}
_NAME: Final = f"substr(labels, 1, {_NAME_BYTES})"
_COLUMNS: Final = "key, pushed_at, failed_at, failure_reason, families, family_series, bytes"

_BEYOND: Final = {"after": ">", "before": "<", "until": "<="}
"""What a cursor may say of its position, and how groups there compare to it: "until" is from an empty page back."""


class Dialect(NamedTuple):
    """How a database writes a list.

    Attributes:
        table: The groups'.
        mark: What stands for a parameter.
        contains: An expression of one mark that is true where `labels` contain it.
        write_id: Makes an id text for a cursor.
        read_id: The reverse; raises ValueError for what is no id.
        scan: The order in which it passes over the groups; "" leaves that to the database.
    """

    table: str
    mark: str
    contains: str
    write_id: Callable[[Any], str]
    read_id: Callable[[str], Id]
    scan: str = ""


def labels_of(key: GroupingKey) -> bytes:
    """Return the labels of a group as they are searched and sorted."""
    pairs = key.job_first
    plain = b"".join(_PAIR + _bytes(name) + _VALUE + _bytes(value) for name, value in pairs) + _PAIR
    folded = [text.casefold() for pair in pairs for text in pair]
    if folded == [text for pair in pairs for text in pair]:
        return plain
    return plain + b"".join(_FOLDED + _bytes(text) for text in folded)


class _Cursor(NamedTuple):
    """Where a page begins: `beyond` is a key of `_BEYOND`."""

    beyond: str
    numbers: tuple[float, ...]
    name: bytes
    id: Id


class Statement(NamedTuple):
    """One statement and its parameters."""

    sql: str
    parameters: tuple[object, ...]


class Listing:
    """What one query asks of a database.

    Args:
        query: Which groups.
        dialect: How the database writes it.

    Attributes:
        is_all: Whether every group matches, so that nothing has to be counted.

    Raises:
        RequestError: The cursor is none of this database for this order.
    """

    def __init__(self, query: GroupQuery, dialect: Dialect) -> None:
        self._query = query
        self._dialect = dialect
        self._cursor = _read_cursor(query.cursor, query.sort, dialect) if query.cursor else None
        self._order = (*_POSITIONS[query.sort], _NAME, "id")
        self._conditions, self._parameters = _conditions(query, dialect)
        self.is_all = not self._conditions

    def count(self) -> Statement:
        """Return what counts the groups that match."""
        return Statement(f"SELECT count(*) FROM {self._dialect.table}{_where(self._conditions)}", self._parameters)  # noqa: S608 - constants

    def page(self, *, from_start: bool = False) -> Statement:
        """Return what reads the page, and one group more: see `Row`.

        Args:
            from_start: Whether to read the first page, whatever the cursor says.
        """
        cursor = None if from_start else self._cursor
        conditions, parameters = list(self._conditions), list(self._parameters)
        if cursor is not None:
            marks = ", ".join([self._dialect.mark] * len(self._order))
            conditions.append(f"({', '.join(self._order)}) {_BEYOND[cursor.beyond]} ({marks})")
            parameters += [*cursor.numbers, cursor.name, cursor.id]
        names = [f"p{at}" for at in range(len(self._order))]
        selected = ", ".join(f"{one} AS {name}" for one, name in zip(self._order, names, strict=True))
        order = ", ".join(f"{name} DESC" if _is_back(cursor) else name for name in names)
        table, where = self._dialect.table, _where(conditions)
        # The innermost one passes over all groups, and so reads of each no more than it needs.
        scan = f"(SELECT {selected} FROM {table}{where} {self._dialect.scan}) AS scan"  # noqa: S608 - constants
        sql = f"""
            SELECT {", ".join(names)}, {_COLUMNS}
            FROM (SELECT {", ".join(names)} FROM {scan} ORDER BY {order} LIMIT {self._dialect.mark}) AS page
            JOIN {table} ON id = {names[-1]} ORDER BY {order}
        """  # noqa: S608 - constants
        return Statement(sql, (*parameters, self._query.limit + 1))

    def is_short(self, rows: Sequence[Row]) -> bool:
        """Return whether a page read backwards has come to the start: then the first page is shown, and is full."""
        return _is_back(self._cursor) and len(rows) <= self._query.limit

    def result(self, rows: Sequence[Row], matching: int, *, from_start: bool = False) -> GroupPage:
        """Return the page.

        Args:
            rows: What `page` has read.
            matching: What `count` has counted.
            from_start: As `page` was asked.
        """
        cursor = None if from_start else self._cursor
        limit, width = self._query.limit, len(self._order)
        has_more, shown = len(rows) > limit, rows[:limit]
        is_back = _is_back(cursor)
        if is_back:
            shown = shown[::-1]
        following = previous = ""
        if shown and (has_more or is_back):
            following = self._cursor_at("after", shown[-1])
        if shown and (has_more if is_back else cursor is not None):
            previous = self._cursor_at("before", shown[0])
        elif not shown and cursor is not None:
            previous = self._written(cursor._replace(beyond="until"))
        return GroupPage([_summary(row[width:]) for row in shown], matching, following, previous)

    def _cursor_at(self, beyond: str, row: Row) -> str:
        *numbers, name, id_ = row[: len(self._order)]
        return self._written(_Cursor(beyond, tuple(map(float, numbers)), bytes(name), id_))

    def _written(self, cursor: _Cursor) -> str:
        name = base64.b85encode(cursor.name).decode()
        parts = [self._query.sort.value, cursor.beyond, *cursor.numbers, name, self._dialect.write_id(cursor.id)]
        return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    # A lone surrogate, which no stored label has, is to be found nowhere, and not to be an error.
    return text.encode("utf-8", "surrogatepass").translate(_ASIDE)


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _conditions(query: GroupQuery, dialect: Dialect) -> tuple[tuple[str, ...], tuple[object, ...]]:
    conditions: list[str] = []
    parameters: list[object] = []
    for term in query.terms:
        fragment, is_wanted = _fragment(term)
        conditions.append(dialect.contains if is_wanted else f"NOT ({dialect.contains})")
        parameters.append(fragment)
    if query.state is GroupState.FAILED:
        conditions.append("failed_at > pushed_at")
    elif query.state is GroupState.STALE:
        conditions.append(f"pushed_at > 0 AND pushed_at < {dialect.mark}")
        parameters.append(query.stale_before_seconds)
    return tuple(conditions), tuple(parameters)


def _fragment(term: Term) -> tuple[bytes, bool]:
    """Return which bytes the labels have to hold, or, if that is False, not to hold."""
    if isinstance(term, TextTerm):
        return _bytes(term.text.casefold()), True
    name = _PAIR + _bytes(term.name) + _VALUE
    if not term.value:
        return name, not term.equal
    return name + _bytes(term.value) + _PAIR, term.equal


def _summary(columns: Row) -> GroupSummary:
    key, pushed_at, failed_at, reason, families, series, size = columns
    return GroupSummary(_text(key), pushed_at, failed_at, _text(reason), families, series, size)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _is_back(cursor: _Cursor | None) -> bool:
    return cursor is not None and cursor.beyond != "after"


def _read_cursor(text: str, sort: GroupSort, dialect: Dialect) -> _Cursor:
    try:
        made_for, beyond, *numbers, name, id_ = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", True))
        cursor = _Cursor(beyond, tuple(map(float, numbers)), base64.b85decode(name), dialect.read_id(id_))
        is_good = (
            GroupSort(made_for) is sort
            and beyond in _BEYOND
            and len(numbers) == len(_POSITIONS[sort])
            and all(map(math.isfinite, cursor.numbers))
            and len(cursor.name) <= _NAME_BYTES
        )
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, binascii.Error):
        is_good = False
    if not is_good:
        raise RequestError(f"the cursor is none that this gateway has given out for sort={sort.value}")
    return cursor
