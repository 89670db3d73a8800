"""Do the SDK's reference pages name everything that there is, and do the how-to's tests run?"""

from __future__ import annotations

import configparser
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pymetrics_sdk
from pymetrics_sdk.cli import build_parser
from pymetrics_sdk.environment import VARIABLES
from pymetrics_sdk.report import JOB_FAMILIES, PREFIX
from tests.project.pages import page, snippets

REFERENCE = "docs/reference"


def test_every_family_of_a_job_is_documented_with_its_help() -> None:
    """The table of metric names is that of report.py."""
    text = page(f"{REFERENCE}/metric-names.md")
    rows = dict(re.findall(rf"^\| `{PREFIX}(\w+)` \| [^|]* \| ([^|]*) \|", text, re.MULTILINE))
    assert rows == dict(JOB_FAMILIES)


def test_every_variable_is_documented() -> None:
    """The table of variables is that of environment.py."""
    text = page(f"{REFERENCE}/environment.md")
    rows = re.findall(r"^\| `(PYMETRICS_\w+)` \| ([^|]*) \| ([^|]*) \|", text, re.MULTILINE)
    assert rows == [(each.name, each.default, each.help) for each in VARIABLES]


def test_every_option_of_the_command_is_documented() -> None:
    """Each option of each command is in the page, and the page has no other."""
    parser = build_parser()
    (commands,) = (action.choices for action in parser._actions if action.dest == "command")
    options = {
        option
        for each in commands.values()
        for action in each._actions
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    }
    text = page(f"{REFERENCE}/cli.md")
    assert set(re.findall(r"^\| `(--[a-z-]+)", text, re.MULTILINE)) == options
    for name in commands:
        assert f"## `pymetrics {name} " in text


def test_every_public_name_and_every_argument_of_job_is_documented() -> None:
    """The page of the SDK names all of __all__, and each argument of Job in its table."""
    text = page(f"{REFERENCE}/sdk.md")
    assert [name for name in pymetrics_sdk.__all__ if name != "__version__" and f"`{name}" not in text] == []
    arguments = set(inspect.signature(pymetrics_sdk.Job).parameters)
    table = text.partition("| argument |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == arguments


def test_every_library_that_the_sdk_needs_is_declared() -> None:
    """What is imported directly has a minimum of its own: urllib3's read1 came with 2.2, whatever requests asks for."""
    root = Path(pymetrics_sdk.__file__).parent
    imported = {
        name
        for path in root.glob("*.py")
        if path.name != "pytest_plugin.py"
        for name in re.findall(r"^(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
    }
    wanted = imported - sys.stdlib_module_names - {"__future__", "pymetrics_sdk"}
    config = configparser.ConfigParser()
    config.read(root.parent / "setup.cfg")
    declared = dict(line.split(">=") for line in config["options"]["install_requires"].split())
    assert wanted <= {name.replace("-", "_") for name in declared}
    assert tuple(map(int, declared["urllib3"].split("."))) >= (2, 2)


def test_the_tests_of_the_how_to_pass(tmp_path: Path) -> None:
    """The Python snippets of test-your-metrics.md are a test file that passes, the last one a script."""
    *tests, script = [
        each.text for each in snippets(page("docs/how-to/test-your-metrics.md")) if each.language == "python"
    ]
    (tmp_path / "test_page.py").write_text("\n".join(tests))
    for command in (["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py"], ["-c", script]):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["sdk"])
def test_the_snippets_of_the_reference_run(name: str) -> None:
    """Each Python snippet of the page runs as it stands."""
    for snippet in snippets(page(f"{REFERENCE}/{name}.md")):
        if snippet.language == "python":
            done = subprocess.run([sys.executable, "-c", snippet.text], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), snippet.text
