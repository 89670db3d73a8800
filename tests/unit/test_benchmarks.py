"""Are measured figures compared the right way round, and targets judged by the worst of what they speak of?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.benchmarks.bench_gateway import BEGIN, END, put_in_place
from tests.benchmarks.figures import Column, Figure, Row, Table, number, records
from tests.benchmarks.plan import amount
from tests.benchmarks.scenarios import pushes
from tests.benchmarks.sides import BODY, bodies
from tests.benchmarks.targets import TARGETS, verdicts

RATE = pushes.RATE
P50 = pushes.P50


def pushed(groups: int, load: str, *, ours: float, theirs: float) -> Row:
    """One row of pushes/s."""
    figure = Figure(RATE, (ours,), (theirs,))
    return Row(pushes.TITLE, f"{amount(groups)}, {load}", {RATE.name: figure})


def test_an_advantage_is_above_one_when_ours_is_better() -> None:
    """More of a rate and less of a time are better."""
    assert Figure(RATE, (100.0, 200.0, 300.0), (50.0,)).advantage == 4
    assert Figure(P50, (2.0,), (8.0, 6.0, 100.0)).advantage == 4
    assert Figure(P50, (2.0,)).advantage is None


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.01234, "0.0123"), (99.96, "100"), (1234567.8, "1 234 568"), (12.345, "12.3")]
)
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    """Nobody reads the fourth digit of what varies in the second."""
    assert number(value) == text


def test_a_table_has_the_columns_of_all_its_rows() -> None:
    """A cell that a row does not have stays empty."""
    rows = [
        Row("T", "a", {"x": Figure(Column("x"), (1.0,), (2.0,))}),
        Row("T", "b", {"y": Figure(Column("y"), (3.0,))}),
    ]
    (table,) = Table.group(rows)
    assert list(table.markdown()) == [
        "### T",
        "",
        "| | x | y |",
        "|---|---|---|",
        "| a | 1 / 2 (2x) |  |",
        "| b |  | 3 |",
        "",
    ]
    assert records(rows)[0] == {
        "table": "T",
        "subject": "a",
        "quantity": "x",
        "ours": [1.0],
        "original": [2.0],
        "advantage": 2.0,
    }


def test_a_target_is_judged_by_the_worst_load() -> None:
    """One load that misses makes the target missed, and both ends are shown."""
    rows = [
        pushed(1, "put-4-close", ours=260, theirs=100),
        pushed(1, "post-64-keep", ours=120, theirs=100),
    ]
    verdict = next(verdicts(rows))
    assert verdict.cells() == ("pushes/s, 1 group stored: >= 1.3 x", "1.2 x to 2.6 x", "missed")


def test_a_target_that_was_not_measured_is_neither_met_nor_missed() -> None:
    """A run of one scenario says nothing of the others."""
    found = list(verdicts([]))
    assert len(found) == len(TARGETS)
    assert {verdict.met for verdict in found} == {None}


def test_bodies_differ_in_their_values_alone() -> None:
    """Each has as many lines as the first, and the same names and labels."""
    made = bodies(3)
    assert len(set(made)) == 3
    assert {tuple(line.rpartition(b" ")[0] for line in body.splitlines() if line[:1] != b"#") for body in made} == {
        tuple(line.rpartition(b" ")[0] for line in BODY.splitlines() if line[:1] != b"#")
    }
    assert sum(line[:1] != b"#" for line in BODY.splitlines()) == 20


def test_each_benchmark_is_on_the_page_of_performance() -> None:
    """What BENCH takes is written down, and nothing else."""
    root = Path(__file__).parents[2]
    there = {path.stem.removeprefix("bench_") for path in root.glob("tests/benchmarks/bench_*.py")}
    page = (root / "docs/explanation/performance.md").read_text()
    section = page.partition("## Other benchmarks")[2].partition("\n## ")[0]
    named = [
        name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(named) == sorted(there)


def test_tables_are_put_between_the_marks_of_a_document(tmp_path: Path) -> None:
    """The prose around them stays; a file without marks is written anew."""
    document = tmp_path / "page.md"
    document.write_text(f"before\n{BEGIN}old\n{END}after\n")
    put_in_place(document, "| new |\n")
    assert document.read_text() == f"before\n{BEGIN}\n| new |\n{END}after\n"
    put_in_place(tmp_path / "other.md", "| new |\n")
    assert (tmp_path / "other.md").read_text() == "| new |\n"
