"""Does the comparison with the original still run from end to end? Its times are not judged here."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import bench_gateway
from tests.benchmarks.scenarios import APART, AT_EACH_SIZE
from tests.harness import poll, processes, require_program

ROOT = Path(__file__).parents[2]


def test_the_quick_form_measures_all_scenarios_and_judges_the_targets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every table has figures of both sides, and the targets are judged, printed and written with them."""
    for program in ("wrk", "prometheus-pushgateway"):
        require_program(program)
    markdown, figures = tmp_path / "tables.md", tmp_path / "figures.json"

    assert bench_gateway.main(["--quick", f"--markdown={markdown}", f"--json={figures}"]) == 0

    printed, written = capsys.readouterr().out, markdown.read_text()
    assert "pushes/s, 1 group stored: >= 1.3 x" in printed
    assert "| pushes/s, 1 group stored: >= 1.3 x |" in written
    found = json.loads(figures.read_text())["figures"]
    tables = {figure["table"] for figure in found}
    assert len(tables) == len(APART) + len(AT_EACH_SIZE)
    assert all(f"### {table}\n" in written for table in tables)
    compared = {figure["table"] for figure in found if figure["original"]}
    assert len(tables - compared) == 1, "only the overwrites are of ours alone"
    assert all(value > 0 for figure in found for value in figure["ours"] if "overhead" not in figure["quantity"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_bench_that_is_stopped_leaves_nothing_running(number: signal.Signals) -> None:
    """A signal in the middle of a scenario ends the bench and the gateway that it has started."""
    require_program("wrk")
    arguments = ["--alone", "--only", "overwrites", "--overwrites=1000000000"]
    with subprocess.Popen(
        # With SIGINT ignored, as a shell starts what is to run in the background.
        [
            "sh",
            "-c",
            "trap '' INT; exec \"$@\"",
            "sh",
            sys.executable,
            "-m",
            "tests.benchmarks.bench_gateway",
            *arguments,
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as bench:
        poll(lambda: any(len(list(processes(one))) > 1 for one in sessions_of(bench.pid)), seconds=60, what="a worker")
        (gateway,) = sessions_of(bench.pid)
        bench.send_signal(number)

        assert bench.wait(60) == 128 + number

    assert list(processes(gateway)) == []


def sessions_of(parent: int) -> list[int]:
    """Return the children of a process that lead sessions of their own."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                _, ppid, _, session, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(ppid) == parent and session == entry.name:
                found.append(int(entry.name))
    return found
