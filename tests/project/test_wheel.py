"""Does the wheel work where nothing else is installed, first without and then with the extra?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from pushgateway import __version__
from tests.harness import Gateway
from tests.project.pages import ROOT, tracked_files

PINS = ROOT / "tests" / "constraints.txt"


def run(*command: str | Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a program away from the checkout, so that only what is installed can be imported."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, timeout=300, check=False)


def fetch(*command: str | Path, directory: Path) -> None:
    """Run a program that needs the package index; without a network skip, but fail where CI=true."""
    done = run(*command, directory=directory)
    if done.returncode and os.environ.get("CI") != "true" and "NewConnectionError" in done.stdout + done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr


class Installation:
    """A virtual environment of its own with the wheel in it."""

    def __init__(self, wheel: Path, directory: Path) -> None:
        self._wheel = wheel
        self._directory = directory
        self.programs = directory / "venv" / "bin"
        venv.create(directory / "venv", with_pip=True)

    def install(self, extra: str = "") -> None:
        """Install the wheel, pinned as make does."""
        requirement = f"{self._wheel}{extra}"
        pip = [self.programs / "python", "-m", "pip", "install", "--quiet", "--constraint", PINS]
        fetch(*pip, requirement, directory=self._directory)

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs."""
        return run(self.programs / program, *arguments, directory=self._directory)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run a line of Python."""
        return self.run("python", "-c", code)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of what git tracks and nothing else."""
    source = tmp_path_factory.mktemp("source")
    for path in tracked_files():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    fetch(sys.executable, "-m", "build", "--wheel", "--outdir", source / "dist", source, directory=source)
    [built] = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel without extras."""
    installation = Installation(wheel, tmp_path_factory.mktemp("bare"))
    installation.install()
    return installation


@pytest.fixture(scope="module")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel with the extra `gateway`."""
    installation = Installation(wheel, tmp_path_factory.mktemp("full"))
    installation.install("[gateway]")
    return installation


def test_the_wheel_has_everything_and_nothing_else(wheel: Path) -> None:
    """The wheel holds both packages with their types, templates and assets, the licence, and no tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {
        str(path.relative_to(ROOT))
        for path in tracked_files()
        if path.relative_to(ROOT).parts[0] in ("pushgateway", "pymetrics_sdk")
    }
    info = f"pymetrics_pushgateway-{__version__}.dist-info"

    assert {name for name in names if not name.startswith(info)} == sources
    assert {"pushgateway/py.typed", "pymetrics_sdk/py.typed"} <= names
    assert f"{info}/licenses/LICENSE" in names


def test_a_base_install_has_the_sdk(bare: Installation) -> None:
    """Without extras the SDK can be imported, and from there."""
    done = bare.python("import pymetrics_sdk; print(pymetrics_sdk.__file__)")

    assert done.stdout.startswith(str(bare.programs.parent)), done.stderr


@pytest.mark.parametrize("module", ["flask", "werkzeug", "gunicorn", "uvicorn", "click", "google.protobuf"])
def test_a_base_install_has_nothing_of_the_service(bare: Installation, module: str) -> None:
    """Who instruments jobs gets no web framework."""
    done = bare.python(f"import {module}")

    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("--version",), ("--web.listen-address=127.0.0.1:0",)])
def test_without_the_extra_the_command_says_what_to_install(bare: Installation, arguments: tuple[str, ...]) -> None:
    """`pushgateway` without its extra is one line that says what to install, and exit code 1."""
    done = bare.run("pushgateway", *arguments)

    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "pip install 'pymetrics-pushgateway[gateway]'" in done.stderr


def test_with_the_extra_the_command_tells_its_version(full: Installation) -> None:
    """`pushgateway --version` prints to standard output and exits 0."""
    done = full.run("pushgateway", "--version")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"pushgateway, version {__version__} ")


def test_with_the_extra_the_gateway_serves(full: Installation) -> None:
    """The installed command starts, takes a push, is scraped, shows its page with its assets, and stops with 0."""

    class Installed(Gateway):
        def command(self) -> list[str]:
            return [str(full.programs / "pushgateway"), f"--web.listen-address=127.0.0.1:{self.port}", *self.flags]

    with Installed() as gateway:
        assert gateway.push("job/installed", b"x 1\n").status == 200
        assert gateway.scrape().value("x", job="installed") == 1
        assert gateway.get("/").status == 200
        for asset in (path for path in tracked_files() if path.parent == ROOT / "pushgateway" / "web" / "static"):
            assert gateway.get(f"/static/{asset.name}").status == 200
        assert gateway.terminate() == 0
        assert gateway.directory.joinpath("pushgateway.db").exists()
