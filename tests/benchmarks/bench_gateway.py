"""How does the gateway compare with the original: pushes, scrapes, memory, starts, and what the SDK costs?

Both run on this machine and are measured in turn, several rounds each; printed are the medians as `ours / original`,
and in parentheses how many times better ours is. Ours runs as it comes: two workers, SQLite, each push flushed to disk
before it is answered. The original keeps its groups in memory. Both check consistency.

  make bench                          up to 10 000 groups, about 30 minutes
  make bench ARGS=--full              up to 100 000 groups and a million overwrites, about 80 minutes
  make bench ARGS=--quick             1 and 1 000 groups, one round, about a minute
  make bench ARGS="--full --markdown=docs/explanation/performance.md"    and put the tables there

One scenario for 10 s, and ours alone:

  make bench ARGS="--only pushes --groups 1000 --loads put-4-close --seconds 10 --rounds 1 --alone"
  make bench ARGS="--only scrapes --groups 10000 --seconds 10 --rounds 1 --alone"
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.ending import stoppable
from tests.benchmarks.figures import Row, Table, line, records
from tests.benchmarks.machine import facts
from tests.benchmarks.plan import Plan
from tests.benchmarks.scenarios import APART, AT_EACH_SIZE
from tests.benchmarks.sides import Sides
from tests.benchmarks.targets import Verdict, verdicts
from tests.benchmarks.wrk import LOADS

BEGIN, END = "<!-- make bench writes from here -->\n", "<!-- to here -->\n"
QUICK_LOADS = ("put-4-close", "post-64-keep")
LEVELS = (1, 100, 1000, 10_000, 100_000)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    description, _, _ = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=description,
        epilog=(__doc__ or "").removeprefix(description),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="about a minute: to see that all of it works")
    size.add_argument("--full", action="store_true", help="with 100 000 groups and a million overwrites")
    names = [*AT_EACH_SIZE, *APART]
    parser.add_argument("--only", nargs="+", choices=names, help=" ".join(names), metavar="SCENARIO")
    parser.add_argument("--groups", type=int, nargs="+", help="numbers of groups stored", metavar="N")
    parser.add_argument("--loads", nargs="+", choices=list(LOADS), help=" ".join(LOADS), metavar="LOAD")
    parser.add_argument("--samples", type=int, nargs="+", help="sizes of the bodies of large pushes", metavar="N")
    parser.add_argument("--overwrites", type=int, help="how many pushes overwrite what is stored", metavar="N")
    parser.add_argument("--seconds", type=float, help="how long each load lasts (3)", metavar="S")
    parser.add_argument("--rounds", type=int, help="how often both are measured in turn (3)", metavar="N")
    parser.add_argument("--alone", action="store_true", help="leave the original out")
    parser.add_argument("--markdown", type=Path, help="write the tables there, or between its marks", metavar="FILE")
    parser.add_argument("--json", type=Path, help="write each round's figures to this file", metavar="FILE")
    return parser.parse_args(arguments)


def plan_of(options: argparse.Namespace) -> Plan:
    """Fill in what the command line leaves open."""
    quick: bool = options.quick
    return Plan(
        seconds=options.seconds or (1.0 if quick else 3.0),
        rounds=options.rounds or (1 if quick else 3),
        loads=tuple(options.loads or (QUICK_LOADS if quick else LOADS)),
        samples=tuple(options.samples or ((1000, 10_000) if quick else (1000, 10_000, 100_000))),
        overwrites=options.overwrites or (2_000 if quick else 1_000_000 if options.full else 100_000),
        alone=options.alone,
        quick=quick,
    )


def levels_of(options: argparse.Namespace) -> list[int]:
    """Return the numbers of groups stored, ascending."""
    if options.groups:
        return sorted(options.groups)
    return list((1, 1000) if options.quick else LEVELS if options.full else LEVELS[:4])


def run(plan: Plan, levels: Sequence[int], scenarios: Sequence[str]) -> Iterator[Row]:
    """Measure everything that was asked for, and yield each row when it is known."""
    at_each_size = [name for name in AT_EACH_SIZE if name in scenarios]
    if at_each_size:
        with Sides(alone=plan.alone) as sides:
            for groups in levels:
                sides.fill(groups)
                for name in at_each_size:
                    yield from AT_EACH_SIZE[name](plan, sides)
    for name in APART:
        if name in scenarios:
            yield from APART[name](plan)


def shown(rows: Iterator[Row]) -> Iterator[Row]:
    """Print rows as they come, each table below its title and the time so far."""
    begun, title = time.monotonic(), ""
    for row in rows:
        if row.table != title:
            title = row.table
            print(f"\n{title} (after {time.monotonic() - begun:.0f} s)", flush=True)
        print(line(row), flush=True)
        yield row
    print(f"\nall after {time.monotonic() - begun:.0f} s", flush=True)


def judged(found: Sequence[Verdict]) -> Iterator[str]:
    """Yield the lines of a Markdown table of targets."""
    yield "| target | measured | |"
    yield "|---|---|---|"
    for verdict in found:
        yield "| " + " | ".join(verdict.cells()) + " |"


def document(conditions: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the part of docs/explanation/performance.md that is measured."""
    yield from (f"- {fact}" for fact in conditions)
    yield ""
    yield from judged(list(verdicts(rows)))
    yield ""
    for table in Table.group(rows):
        yield from table.markdown()


def put_in_place(path: Path, tables: str) -> None:
    """Write the tables between the marks of a document that has them, else as the whole file."""
    old = path.read_text() if path.exists() else ""
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    path.write_text(f"{before}{begin}\n{tables}{end}{after}" if begin and end else tables)


def report(options: argparse.Namespace, conditions: Sequence[str], rows: Sequence[Row]) -> None:
    """Print what was reached, and write the files that were asked for."""
    measured = [verdict for verdict in verdicts(rows) if verdict.met is not None]
    if measured:
        print("", *judged(measured), sep="\n")
    if options.markdown:
        put_in_place(options.markdown, "".join(f"{text}\n" for text in document(conditions, rows)))
    if options.json:
        options.json.write_text(json.dumps({"conditions": conditions, "figures": records(rows)}, indent=1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    options = parse(arguments)
    plan, levels = plan_of(options), levels_of(options)
    conditions = [*facts(alone=plan.alone), f"each load lasts {plan.seconds:g} s; medians of {plan.rounds} rounds"]
    print(*conditions, sep="\n", flush=True)
    rows: list[Row] = []
    try:
        for row in shown(run(plan, levels, options.only or [*AT_EACH_SIZE, *APART])):
            rows.append(row)
    finally:
        # What fails after an hour has measured something until then.
        report(options, conditions, rows)
    return 0


if __name__ == "__main__":
    with stoppable():
        sys.exit(main())
