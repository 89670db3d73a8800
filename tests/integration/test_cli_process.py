"""The command line as a process: what goes to which stream, and with which exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = ([sys.executable, "-m", "pushgateway"], [str(Path(sys.executable).parent / "pushgateway")])


def run(*arguments: str, program: list[str] = PROGRAMS[0], **env: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PUSHGATEWAY_")}
    return subprocess.run(
        [*program, *arguments], capture_output=True, text=True, check=False, timeout=60, env=inherited | env
    )


@pytest.mark.parametrize("program", PROGRAMS, ids=["module", "script"])
def test_version(program: list[str]) -> None:
    """--version goes to stdout and exits 0, whichever way the program is started."""
    done = run("--version", program=program)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("pushgateway, version ")


def test_help() -> None:
    """--help goes to stdout and exits 0."""
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--web.listen-address HOST:PORT" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (["--no-such-flag"], {}, ["--no-such-flag"]),
        (["--web.listen-address=9091"], {}, ["--web.listen-address", "'9091'"]),
        ([], {"PUSHGATEWAY_WEB_WORKERS": "many"}, ["PUSHGATEWAY_WEB_WORKERS", "'many'"]),
        (["--storage.url=mysql://me:secret@h/db"], {}, ["--storage.url", "'mysql://me:***@h/db'"]),
        (["--web.route-prefix=/\udcff"], {}, ["--web.route-prefix", "UTF-8"]),
        (["--persistence.interval=" + "9" * 100 + "h"], {}, ["--persistence.interval", "too long"]),
        (["--persistence.file=a", "--storage.url=memory:"], {}, ["--persistence.file", "--storage.url"]),
    ],
)
def test_usage_errors(arguments: list[str], env: dict[str, str], words: list[str]) -> None:
    """What cannot be used is one line on stderr and exit code 2."""
    done = run(*arguments, **env)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert [word for word in words if word not in done.stderr] == []


def test_nothing_is_imported_for_help() -> None:
    """Neither Flask nor gunicorn is loaded to show the help or refuse a flag."""
    code = "import sys; from pushgateway import cli; cli.main(['--help']); sys.exit('flask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
