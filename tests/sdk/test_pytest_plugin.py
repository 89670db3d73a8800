"""What does the plugin offer to somebody else's tests, and does it keep out of the way of all others?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

JOBS = """
import pytest
from pymetrics_sdk import Job

def billing(gateway=""):
    with Job("nightly-billing", gateway=gateway, timeout="300ms") as run:
        run.record("read", 3)
"""


def run_pytest(directory: Path, tests: str, *options: str) -> tuple[int, str]:
    """Run a file of tests in a pytest of its own."""
    (directory / "test_it.py").write_text(JOBS + tests)
    (directory / "pytest.ini").write_text("[pytest]\n" + "\n".join(options))
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(directory)],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.returncode, found.stdout + found.stderr


def test_the_fixture_is_a_gateway_in_memory(tmp_path: Path) -> None:
    """A test asks for `pymetrics` and sees what the job pushed; nothing of one test is left in the next."""
    status, out = run_pytest(
        tmp_path,
        """
def test_billing(pymetrics):
    billing()
    group = pymetrics.group(job="nightly-billing")
    assert group["batch_job_last_result", {"result": "success"}] == 1
    assert group["batch_job_records", {"outcome": "read"}] == 3

def test_next(pymetrics):
    assert pymetrics.groups == []
    with pytest.raises(KeyError, match="no group at all"):
        pymetrics.group(job="nightly-billing")
""",
    )
    assert status == 0, out


def test_a_push_elsewhere_fails_the_test_that_uses_the_fixture(tmp_path: Path) -> None:
    """A job whose code names another gateway would push in production: the test says so, and nothing is sent."""
    status, out = run_pytest(tmp_path, "def test_billing(pymetrics):\n    billing('http://127.0.0.1:9')\n")
    assert status == 1
    assert "pushed to http://127.0.0.1:9 and not to the gateway of the test" in out


@pytest.mark.parametrize("strict", [True, False])
def test_other_tests_fail_only_in_strict_mode(tmp_path: Path, strict: bool) -> None:
    """With pymetrics_strict every test fails that pushes to a real gateway; without it nothing happens."""
    tests = "def test_other():\n    billing('http://127.0.0.1:9')\n"
    status, out = run_pytest(tmp_path, tests, *(["pymetrics_strict = true"] if strict else []))
    assert status == int(strict), out


def test_the_plugin_imports_nothing_heavy(tmp_path: Path) -> None:
    """A session that never asks for it pays no import of requests, Flask or asyncio; there is no autouse fixture."""
    status, out = run_pytest(
        tmp_path,
        """
def test_nothing(request):
    import subprocess, sys
    code = "import pymetrics_sdk.pytest_plugin, sys; print({'requests', 'flask', 'asyncio'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\\n"
    assert "pymetrics" not in request.fixturenames
""",
    )
    assert status == 0, out


def test_testing_needs_no_pytest() -> None:
    """pymetrics_sdk.testing works with unittest or a plain script."""
    code = """
import sys
sys.modules["pytest"] = None
from pymetrics_sdk import Job
from pymetrics_sdk.testing import in_memory_gateway
with in_memory_gateway() as gateway:
    with Job("x"):
        pass
print(gateway.group(job="x")["batch_job_running"])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout == "0.0\n", found.stderr
