"""When does run.track draw a bar?"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

TQDM = """
import sys
def tqdm(records, total=None):
    sys.stderr.write(f"BAR of {total}")
    yield from records
"""


@pytest.mark.parametrize(
    ("terminal", "installed", "progress", "drawn"),
    [
        (True, True, None, True),
        (False, True, None, False),
        (True, False, None, False),
        (True, True, False, False),
        (False, True, True, True),
    ],
)
def test_a_bar_needs_a_terminal_and_tqdm(
    tmp_path: Path,
    terminal: bool,
    installed: bool,
    progress: bool | None,
    drawn: bool,
) -> None:
    """A bar on a terminal where tqdm is installed, none in a log file, and `progress` decides otherwise."""
    hide = "" if installed else "import sys; sys.modules['tqdm'] = None\n"
    if installed:
        (tmp_path / "tqdm.py").write_text(TQDM)
    code = f"{hide}from pymetrics_sdk import Job\nwith Job('x') as run: list(run.track(range(3), progress={progress}))"
    master, slave = pty.openpty()
    try:
        found = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(tmp_path), "PYMETRICS_DISABLED": "1"},
            stderr=slave if terminal else subprocess.PIPE,
            check=True,
        )
        os.write(slave, b"$")
        shown = os.read(master, 4096) if terminal else found.stderr
    finally:
        os.close(master)
        os.close(slave)
    assert (b"BAR of 3" in shown) == drawn
