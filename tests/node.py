"""How do tests get the npm packages that they use?"""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from tests.harness import require_program

__all__ = ["install_packages"]


def install_packages(directory: Path) -> Path:
    """Install what the lock file of a directory names, anew only after that file has changed; return node_modules.

    Without a network the test is skipped, but fails where CI=true.
    """
    npm = require_program("npm")
    lock, installed = directory / "package-lock.json", directory / "node_modules" / ".package-lock.json"
    with lock.open() as locked:
        # Other processes of the same run want the same packages.
        fcntl.flock(locked, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            command = [npm, "ci", "--ignore-scripts"]
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
            if done.returncode and os.environ.get("CI") != "true":
                pytest.skip(f"npm ci failed: {done.stderr[-500:]}")
            assert done.returncode == 0, done.stderr
    return directory / "node_modules"
