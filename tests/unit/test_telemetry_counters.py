"""Files as prometheus_client writes them, against its own reader."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from pushgateway.model import MetricFamily
from pushgateway.own_families import DURATION, OWN, REFUSALS, REQUESTS, SIZE
from pushgateway.telemetry import families
from pushgateway.telemetry.counters import MappedCounters

Entry = tuple[str, float]
"""A key and its value."""

WORDS = st.sampled_from(["200", "push", "a", "ü", 'quo"te', "x" * 5000])


def key(metric: str, sample: str, names: Sequence[str], values: Sequence[str]) -> str:
    help_text = OWN[sample if sample in OWN else metric].help
    return mmap_key(metric, sample, list(names), list(values), help_text)


@st.composite
def counters(draw: st.DrawFn) -> list[Entry]:
    name, labels = draw(st.sampled_from([(REQUESTS, ("code", "handler", "method")), (REFUSALS, ("limit",))]))
    values = draw(st.lists(st.tuples(*[WORDS] * len(labels)), max_size=4, unique=True))
    return [(key(name.removesuffix("_total"), name, labels, one), draw(st.integers(0, 1 << 40))) for one in values]


@st.composite
def histograms(draw: st.DrawFn) -> list[Entry]:
    name = draw(st.sampled_from([SIZE, DURATION]))
    entries: list[Entry] = []
    for method in draw(st.lists(WORDS, max_size=3, unique=True)):
        entries.append((key(name, f"{name}_sum", ["method"], [method]), draw(st.floats(0, 1e9))))
        for bound in [*draw(st.lists(st.sampled_from(["0.005", "0.5", "256.0", "1e+06"]), unique=True)), "+Inf"]:
            bucket = key(name, f"{name}_bucket", ["method", "le"], [method, bound])
            entries.append((bucket, draw(st.integers(0, 1 << 40))))
    return entries


def write(directory: Path, kind: str, number: int, entries: Sequence[Entry]) -> None:
    file = MmapedDict(str(directory / f"{kind}_{number}.db"))  # type: ignore[no-untyped-call]
    for name, value in dict(entries).items():
        file.write_value(name, value, 0.0)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]


def as_the_client_reads(directory: Path) -> dict[str, MetricFamily]:
    files = sorted(map(str, directory.glob("*.db")))
    found = (
        families.counter(metric) if metric.type == "counter" else families.histogram(metric)
        for metric in MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
    )
    return {family.name: family for family in found if family.metrics}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(counters(), histograms(), histograms()), max_size=3))
def test_files_are_read_as_prometheus_client_reads_them(processes: list[tuple[list[Entry], ...]]) -> None:
    """The sums over the files of several processes are those of prometheus_client's own collector."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for number, (counted, *observed) in enumerate(processes):
            write(directory, "counter", number, counted)
            write(directory, "histogram", number, [entry for entries in observed for entry in entries])
        found = {family.name: family for family in MappedCounters(directory).collect()}
        assert found == as_the_client_reads(directory)


def test_what_was_counted_since_the_last_time_is_read(tmp_path: Path) -> None:
    """A change of a single value shows, and so do series and processes that were not there."""
    collector = MappedCounters(tmp_path)
    one, other = (key("pushgateway_limit_refusals", REFUSALS, ["limit"], [limit]) for limit in ("series", "groups"))
    for number, entries in [(1, [(one, 1)]), (1, [(one, 2)]), (1, [(one, 2), (other, 1)]), (2, [(one, 5)])]:
        write(tmp_path, "counter", number, entries)
        found = {family.name: family for family in collector.collect()}
        assert found == as_the_client_reads(tmp_path)
        assert {family.name: family for family in collector.collect()} == found


@pytest.mark.parametrize("data", [b"\x20\0\0\0\0\0\0\0\xff\0\0\0", b"\x10\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0"])
def test_a_damaged_file_is_no_endless_one(tmp_path: Path, data: bytes) -> None:
    """Lengths that lead out of the file, or backwards, are an error."""
    (tmp_path / "counter_1.db").write_bytes(data)
    with pytest.raises(ValueError, match="longer than the file"):
        MappedCounters(tmp_path).collect()
