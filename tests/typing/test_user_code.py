"""Does user code keep its types under mypy --strict?"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

USER_CODE = Path(__file__).with_name("user_code.py")


def test_decorated_functions_keep_their_signatures() -> None:
    """Mypy --strict finds no mistake in user code but those that are marked, and reveals the types that are noted."""
    command = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", "--config-file=", str(USER_CODE)]
    found = subprocess.run(command, cwd=USER_CODE.parents[2], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    revealed = {int(line): text for line, text in re.findall(r':(\d+): note: Revealed type is "(.*)"', found.stdout)}
    expected = {
        number: line.partition("#")[2].strip()
        for number, line in enumerate(USER_CODE.read_text().splitlines(), 1)
        if "reveal_type(" in line and "``" not in line
    }
    assert {line: _plain(text) for line, text in revealed.items()} == {
        line: _plain(text) for line, text in expected.items()
    }


def _plain(text: str) -> str:
    """Take out what differs between mypy's versions: builtins and the module of the user code."""
    return re.sub(r"builtins\.|(tests\.typing\.)?user_code\.|\?|typing\.|collections\.abc\.", "", text)
