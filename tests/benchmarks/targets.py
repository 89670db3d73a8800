"""Which figures do we want to reach, and which are reached?

Each target is a ratio within one run, since machines differ: most to the original, some to ours in another state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.benchmarks.figures import Figure, Row, number
from tests.benchmarks.plan import amount
from tests.benchmarks.scenarios import footprint, large, pushes, scrapes, sdk
from tests.benchmarks.wrk import LOADS

__all__ = ["Verdict", "verdicts"]

Find = Callable[[str, str, str], Figure | None]
"""Returns the figure of a table, a subject and a column."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target beside what was measured.

    Attributes:
        target: What is wanted.
        measured: What came out; empty if this run did not measure it.
        met: None if this run did not measure it.
    """

    target: str
    measured: str
    met: bool | None

    def cells(self) -> tuple[str, str, str]:
        """Return what a table says."""
        word = {True: "met", False: "missed", None: ""}[self.met]
        return self.target, self.measured or "not in this run", word


@dataclass(frozen=True, slots=True)
class Faster:
    """Ours must be so many times better than the original, by the ratio of the medians.

    Attributes:
        text: The target as we say it.
        wanted: The least advantage.
        table: The title of the table.
        subjects: Rows; the worst of them counts.
        column: The name of the column.
    """

    text: str
    wanted: float
    table: str
    subjects: Sequence[str]
    column: str

    def judge(self, find: Find) -> Verdict:
        """Compare."""
        found = [find(self.table, subject, self.column) for subject in self.subjects]
        ratios = [figure.advantage for figure in found if figure is not None and figure.advantage is not None]
        if not ratios:
            return Verdict(self.text, "", None)
        worst, best = min(ratios), max(ratios)
        rate = any(figure is not None and figure.column.more_is_better for figure in found)
        shown = f"{worst:.3g} x" if rate else as_share(worst)
        if len(ratios) > 1 and best > worst:
            shown += f" to {best:.3g} x" if rate else f" to {as_share(best)}"
        return Verdict(self.text, shown, worst >= self.wanted)


@dataclass(frozen=True, slots=True)
class Steady:
    """A push must not cost much more beside 100 000 groups than beside one, by rate and by processor time."""

    text: str
    wanted: float

    def judge(self, find: Find) -> Verdict:
        """Compare."""
        few, many = (f"{amount(groups)}, put-4-close" for groups in (1, 100_000))
        rates = [find(pushes.TITLE, subject, pushes.RATE.name) for subject in (few, many)]
        costs = [find(pushes.TITLE, subject, pushes.CPU.name) for subject in (few, many)]
        if rates[0] is None or rates[1] is None or costs[0] is None or costs[1] is None:
            return Verdict(self.text, "", None)
        slower, dearer = rates[0].median / rates[1].median, costs[1].median / costs[0].median
        return Verdict(self.text, f"{slower:.3g} x by time, {dearer:.3g} x by processor time", slower <= self.wanted)


def as_share(advantage: float) -> str:
    """Say which part of the original's time or size ours is."""
    return f"1/{advantage:.3g}" if advantage >= 1 else f"{1 / advantage:.3g} x"


def of_pushes(groups: int) -> list[str]:
    """Return the rows of pushes with so many groups stored, whatever the load."""
    return [f"{amount(groups)}, {name}" for name in LOADS]


RATE, P99 = pushes.RATE.name, pushes.P99.name
SCRAPE = scrapes.SECONDS.name

TARGETS: tuple[Faster | Steady, ...] = (
    Faster("pushes/s, 1 group stored: >= 1.3 x", 1.3, pushes.TITLE, of_pushes(1), RATE),
    Faster("pushes/s, 100 groups: >= 8 x", 8, pushes.TITLE, of_pushes(100), RATE),
    Faster("pushes/s, 1 000 groups: >= 60 x", 60, pushes.TITLE, of_pushes(1000), RATE),
    Faster("pushes/s, 10 000 groups: >= 800 x", 800, pushes.TITLE, of_pushes(10_000), RATE),
    Faster(
        "p99 of a push at 1 000 groups, 4 connections: <= 1/10",
        10,
        pushes.TITLE,
        [f"{amount(1000)}, {load.name}" for load in LOADS.values() if load.connections == 4],
        P99,
    ),
    Steady("cost of a push at 100 000 groups over 1 group: <= 1.3 x", 1.3),
    *(
        Faster(
            f"scrape gzip, {number(20 * groups)} samples, after a push: <= 1/{wanted}",
            wanted,
            scrapes.TITLE,
            [f"{amount(groups)}, gzip, after a push"],
            SCRAPE,
        )
        for groups, wanted in ((1000, 6), (10_000, 10))
    ),
    *(
        Faster(
            f"second scrape with nothing changed, {form}: <= 1/20",
            20,
            scrapes.TITLE,
            [f"{amount(groups)}, {form}, nothing changed" for groups in (1000, 10_000)],
            SCRAPE,
        )
        for form in ("gzip", "plain")
    ),
    Faster(
        "100 000-sample push: <= 1 x the original's time",
        1,
        large.TITLE,
        [large.subject(form, 100_000) for form in large.FORMS],
        large.SECONDS.name,
    ),
    Faster(
        "memory at 10 000 groups (200 000 samples): <= 1/2",
        2,
        footprint.TITLE,
        [amount(10_000)],
        footprint.MEMORY.name,
    ),
    *(
        Faster(
            f"start to ready at {number(groups)} groups: <= 1/{wanted}",
            wanted,
            footprint.TITLE,
            [amount(groups)],
            footprint.START.name,
        )
        for groups, wanted in ((10_000, 1), (100_000, 5))
    ),
    Faster(
        "measure() over prometheus_client's Histogram.time(): <= 2 x", 0.5, sdk.TITLE, [sdk.CALL], sdk.OVERHEAD.name
    ),
)


def verdicts(rows: Sequence[Row]) -> Iterator[Verdict]:
    """Judge all targets by what a run has found."""
    by_subject = {(row.table, row.subject): row for row in rows}

    def find(table: str, subject: str, column: str) -> Figure | None:
        row = by_subject.get((table, subject))
        return None if row is None else row.figures.get(column)

    for target in TARGETS:
        yield target.judge(find)
