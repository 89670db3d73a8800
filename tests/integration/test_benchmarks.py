"""Does the comparison with the original still run from end to end? Its times are not judged here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks import bench_gateway
from tests.benchmarks.scenarios import APART, AT_EACH_SIZE
from tests.harness import require_program


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
