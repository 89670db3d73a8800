"""What do the rules cost a push?

Run ``python -m tests.benchmarks.bench_rules [--quick]``. Printed are microseconds a sample in a large push, and a whole
push of 20 samples in 20 families, which is what most jobs send. The best of several runs counts: the machine is shared.
"""

from __future__ import annotations

import argparse
import timeit
from collections.abc import Callable

from pushgateway import grouping, rules
from pushgateway.model import FamilyBlock, GroupingKey, MetricFamily, MetricType, Push, Sample, StoredFamily

KEY = GroupingKey.of({"job": "nightly_backup", "instance": "host-1.example.org:9100"})
OWN = {f"own_{number}": MetricType.GAUGE for number in range(20)}
PATH = b"job/nightly_backup/instance/host-1.example.org:9100"


def make_families(families: int, samples: int) -> tuple[MetricFamily, ...]:
    """Make parsed counters with three labels of their own."""
    return tuple(
        MetricFamily(
            f"backup_files_{number}_total",
            MetricType.COUNTER,
            "Files.",
            tuple(
                Sample((("code", str(at % 5)), ("path", f"/srv/{at}"), ("volume", "daily")), float(at))
                for at in range(samples)
            ),
        )
        for number in range(families)
    )


def make_push(families: tuple[MetricFamily, ...]) -> Push:
    """Make a push ready, as far as rules look at it."""
    stored = []
    for family in rules.label(families, KEY):
        series = rules.identities(family)
        stored.append(
            StoredFamily(family.name, family.type, "", b"", b"", series, rules.hashes(series), samples=len(series))
        )
    return Push(KEY, tuple(stored), replace=True, received_at_seconds=0.0, series=b"")


def steps(families: tuple[MetricFamily, ...]) -> dict[str, Callable[[], object]]:
    """Return what is measured, each step with its inputs made beforehand."""
    labelled = rules.label(families, KEY)
    identities = [rules.identities(family) for family in labelled]
    push = make_push(families)
    block = FamilyBlock("", MetricType.COUNTER, "", b"", KEY.key, 1.0, 1.0, suspect=True)
    contested = [rules.Contested(block._replace(name=family.name), family.metrics) for family in labelled]
    return {
        "label": lambda: rules.label(families, KEY),
        "validate": lambda: rules.validate(families, KEY),
        "identities": lambda: [rules.identities(family) for family in labelled],
        "check, identities given": lambda: rules.check(labelled, OWN, identities=identities),
        "check": lambda: rules.check(labelled, OWN),
        "hashes": lambda: [rules.hashes(series) for series in identities],
        "project, inside the own shape": lambda: rules.project(push, ("job",)),
        "project, label absent": lambda: rules.project(push, ("job", "zone")),
        "project, 5 groups": lambda: rules.project(push, ("code", "job")),
        "project, a group a sample": lambda: rules.project(push, ("job", "path")),
        "resolve": lambda: rules.resolve(contested, OWN),
    }


def best_seconds(step: Callable[[], object], *, number: int, repeat: int) -> float:
    """Return the time of one call in the fastest of the runs."""
    return min(timeit.repeat(step, number=number, repeat=repeat)) / number


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what the rules cost a push.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples, a third of the runs")
    quick = parser.parse_args().quick
    samples, repeat = (1_000, 3) if quick else (10_000, 9)
    large, small = steps(make_families(1, samples)), steps(make_families(20, 1))
    print(f"{'us':32} {'a sample of ' + str(samples):>20} {'a push of 20 x 1':>20}")
    for name, step in large.items():
        each = best_seconds(step, number=1, repeat=repeat) / samples
        push = best_seconds(small[name], number=200, repeat=repeat)
        print(f"{name:32} {each * 1e6:20.3f} {push * 1e6:20.1f}")
    for name, call in {
        "grouping.parse": lambda: grouping.parse(PATH),
        "grouping.format_path": lambda: grouping.format_path(KEY),
    }.items():
        print(f"{name:32} {'':20} {best_seconds(call, number=2_000, repeat=repeat) * 1e6:20.1f}")


if __name__ == "__main__":
    main()
