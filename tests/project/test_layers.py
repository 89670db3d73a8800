"""Do the rules about who imports whom cover every module, and are imports inert?"""

from __future__ import annotations

import ast
import configparser
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import pushgateway
from tests.project.pages import ROOT

HOMES = {"flask-in-web": "web", "gunicorn-in-server": "server", "sql-in-storage": "storage"}
"""The one module of the gateway that each contract of the import linter leaves free."""

COMMANDS = ("backup", "check_config", "importing", "migrate", "restore")
LAZY = {
    "pushgateway/__main__.py": {"pushgateway.cli"},
    "pushgateway/cli.py": {"pushgateway.server"},
    "pushgateway/commands/__init__.py": {f"pushgateway.commands.{name}" for name in COMMANDS},
    "pushgateway/server/__init__.py": {"pushgateway.webconfig.Source"},
    "pushgateway/web/__init__.py": {"pushgateway.web.openapi"},
}
"""The imports of our own modules inside functions; each says in a comment why."""

SOURCES = sorted([*(ROOT / "pushgateway").rglob("*.py"), *(ROOT / "pymetrics_sdk").rglob("*.py")])


@pytest.fixture(scope="module")
def contracts() -> configparser.ConfigParser:
    """The settings of the import linter."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def own_modules() -> set[str]:
    """The modules directly below `pushgateway`."""
    return {module.name for module in pkgutil.iter_modules(pushgateway.__path__)}


def test_the_import_linter_finds_nothing() -> None:
    """`lint-imports` passes: layers, independence of the two packages, third parties in their places."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_has_a_layer(contracts: configparser.ConfigParser) -> None:
    """The layers are exhaustive: each module of the gateway has exactly one place, and no place is empty."""
    layers = contracts["importlinter:contract:gateway-layers"]
    named = [name.strip() for line in layers["layers"].split() for name in line.split("|") if name.strip()]

    assert layers.getboolean("exhaustive")
    assert sorted(named) == sorted(own_modules())


@pytest.mark.parametrize("contract", HOMES)
def test_each_third_party_has_one_home(contracts: configparser.ConfigParser, contract: str) -> None:
    """Flask is forbidden everywhere but in web, gunicorn everywhere but in server, SQL everywhere but in storage."""
    sources = set(contracts[f"importlinter:contract:{contract}"]["source_modules"].split()) - {"pymetrics_sdk"}

    assert sources == {f"pushgateway.{name}" for name in own_modules() - {HOMES[contract]}}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_own_modules_are_imported_at_the_top(path: Path) -> None:
    """A module's dependencies on our other modules stand at its top, but for those with a reason."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = [
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    modules = {
        f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        for node in inner
        for alias in node.names
    }
    own = {module for module in modules if module.startswith(("pushgateway", "pymetrics_sdk"))}

    assert own <= LAZY.get(str(path.relative_to(ROOT)), set())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_which_question_it_answers(path: Path) -> None:
    """The first line of a module's docstring asks a question; the two packages themselves state what they are."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))

    assert docstring, "no docstring"
    is_package_itself = path in {ROOT / "pushgateway" / "__init__.py", ROOT / "pymetrics_sdk" / "__init__.py"}
    assert is_package_itself or "?" in docstring.splitlines()[0]


def test_a_start_imports_nothing_that_few_gateways_need() -> None:
    """What serving imports leaves out commands, the web configuration, PostgreSQL, protobuf's classes and the pages."""
    code = "import sys; from pushgateway import cli, server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    rare = {
        *(f"pushgateway.commands.{name}" for name in COMMANDS),
        *(f"pushgateway.web.ui.{name}" for name in ("assets", "failures", "group", "groups", "overview", "status")),
        *("pushgateway.takeover", "pushgateway.web.openapi", "pushgateway.webconfig"),
        *(f"pushgateway.storage.{name}" for name in ("copies", "postgres", "restoration")),
        *("google.protobuf", "psycopg", "requests", "yaml"),
    }

    assert not rare & modules


def test_a_start_imports_what_each_worker_would_import_for_itself() -> None:
    """What uvicorn imports when it serves is there before the fork, so that workers share it and begin sooner."""
    code = "import sys; from pushgateway import server; print('uvicorn.lifespan.off' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "True\n"


def test_a_start_makes_hardly_any_dataclass() -> None:
    """The values of what serving imports are NamedTuples, whose classes are made in a fifth of the time."""
    code = """
import sys
from pushgateway import cli, server
found = {
    value
    for name, module in sys.modules.items() if name.startswith("pushgateway")
    for value in vars(module).values() if isinstance(value, type) and value.__module__ == name
}
print(*sorted(value.__name__ for value in found if hasattr(value, "__dataclass_fields__")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # The first would be false as a tuple of nothing, the second is found by its identity, the third changes.
    assert done.stdout.split() == ["Wipe", "_Known", "_Presence"]


def test_importing_the_sdk_is_cheap_and_inert() -> None:
    """Importing pymetrics_sdk loads neither Flask nor requests nor the gateway, and starts no thread."""
    code = "import sys, threading, pymetrics_sdk; print(*sys.modules, threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *modules, threads = done.stdout.split()

    assert not {"flask", "werkzeug", "requests", "urllib3", "pushgateway"} & set(modules)
    assert threads == "1"
