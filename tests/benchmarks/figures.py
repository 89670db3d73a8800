"""What was measured of two sides, which is better, and how is it printed, as text, Markdown and JSON?"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Column", "Figure", "Row", "Table", "number", "records"]


@dataclass(frozen=True, slots=True)
class Column:
    """One quantity.

    Attributes:
        name: With its unit, as the table's head says it.
        more_is_better: A rate; False for times and sizes.
    """

    name: str
    more_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantity of both sides, once a round; the second side may not have been measured."""

    column: Column
    ours: tuple[float, ...]
    theirs: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """Our median."""
        return statistics.median(self.ours)

    @property
    def reference(self) -> float | None:
        """The other side's median; None if it was not measured."""
        return statistics.median(self.theirs) if self.theirs else None

    @property
    def advantage(self) -> float | None:
        """How many times better ours is, whichever way that is; None without the other side."""
        reference = self.reference
        if reference is None or not reference or not self.median:
            return None
        return self.median / reference if self.column.more_is_better else reference / self.median

    def cell(self) -> str:
        """Return `OURS / THEIRS (ADVANTAGE)`, or as much of it as there is."""
        if self.reference is None:
            return number(self.median)
        both = f"{number(self.median)} / {number(self.reference)}"
        return both if self.advantage is None else f"{both} ({number(self.advantage)}x)"


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one subject.

    Attributes:
        table: The title of the table it stands in.
        subject: What was measured, unique in its table: `1 000 groups, put-4-close`.
        figures: By the names of their columns, in order.
    """

    table: str
    subject: str
    figures: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under one title."""

    title: str
    rows: Sequence[Row]

    def columns(self) -> list[str]:
        """Return the names of all columns, in the order in which rows brought them."""
        return list(dict.fromkeys(name for row in self.rows for name in row.figures))

    def markdown(self) -> Iterator[str]:
        """Yield the lines of a Markdown table below its title."""
        columns = self.columns()
        yield f"### {self.title}"
        yield ""
        yield "| | " + " | ".join(columns) + " |"
        yield "|---|" + "---|" * len(columns)
        for row in self.rows:
            cells = [row.figures[name].cell() if name in row.figures else "" for name in columns]
            yield f"| {row.subject} | " + " | ".join(cells) + " |"
        yield ""

    @classmethod
    def group(cls, rows: Iterable[Row]) -> list[Table]:
        """Sort rows into their tables, in the order in which the tables began."""
        made: dict[str, list[Row]] = {}
        for row in rows:
            made.setdefault(row.table, []).append(row)
        return [cls(title, found) for title, found in made.items()]


def number(value: float) -> str:
    """Return a number with three digits that count, thousands apart."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def line(row: Row) -> str:
    """Return a row as it is printed when it is known."""
    cells = (f"{name} {figure.cell()}" for name, figure in row.figures.items())
    return f"  {row.subject:<32} " + " | ".join(cells)


def records(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return all rounds of all rows as plain values, for JSON."""
    return [
        {
            "table": row.table,
            "subject": row.subject,
            "quantity": name,
            "ours": list(figure.ours),
            "original": list(figure.theirs),
            "advantage": figure.advantage,
        }
        for row in rows
        for name, figure in row.figures.items()
    ]
