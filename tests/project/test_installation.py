"""Does a fresh clone get what the tests passed with, now and years from now, and does it run all of them?"""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project.pages import ROOT

DISTRIBUTION = "pymetrics-pushgateway"
NODES = sorted(path.parent for path in (ROOT / "tests").glob("*/node/package.json"))


def pins() -> dict[str, str]:
    """The pinned version of each package."""
    lines = (ROOT / "tests" / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def closure(extras: set[str]) -> set[str]:
    """The names of every installed package that the project needs with some extras, directly or not."""
    found: set[str] = set()
    waiting = [(DISTRIBUTION, extras)]
    while waiting:
        name, wanted = waiting.pop()
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            marker = requirement.marker
            applies = marker is None or any(marker.evaluate({"extra": extra}) for extra in (*wanted, ""))
            needed = canonicalize_name(requirement.name)
            if applies and needed not in found:
                found.add(needed)
                waiting.append((needed, requirement.extras))
    return found


@pytest.mark.parametrize("name", sorted(closure({"gateway", "dev"})))
def test_each_package_is_pinned_and_installed_as_pinned(name: str) -> None:
    """Each package, direct or not, has a pin in tests/constraints.txt, and that version is what is tested."""
    assert pins().get(name) == metadata.version(name)


def test_every_pin_is_exact() -> None:
    """tests/constraints.txt holds nothing but comments and exact versions."""
    lines = (ROOT / "tests" / "constraints.txt").read_text().splitlines()

    assert [line for line in lines if not re.fullmatch(r"#.*|[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line)] == []


@pytest.mark.parametrize("node", NODES, ids=lambda path: path.parent.name)
def test_the_node_packages_are_locked_without_a_registry(node: Path) -> None:
    """Each npm package has a version and a checksum in the lock file, and no address of where it came from."""
    lock = json.loads((node / "package-lock.json").read_text())
    packages = [package for path, package in lock["packages"].items() if path]

    assert packages
    assert all({"version", "integrity"} <= package.keys() and "resolved" not in package for package in packages)
    assert "omit-lockfile-registry-resolved=true" in (node / ".npmrc").read_text()


def test_every_directory_of_tests_is_a_suite() -> None:
    """`make test` runs each directory that holds tests: none is forgotten; those of types go with the type checker."""
    makefile = (ROOT / "Makefile").read_text()
    suites = set(re.findall(r"^SUITES := (.*)$", makefile, re.MULTILINE)[0].split())
    directories = {path.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("test_*.py")}

    assert directories - {"typing"} <= suites
    assert "tests/typing" in makefile


def test_continuous_integration_runs_what_everyone_runs() -> None:
    """.ci/run sets CI=true, so that a missing program fails its tests, and runs `make test`, nothing else."""
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]

    assert commands == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "export CI=true", "exec make test"]
