"""Which names may users import, and does each module say so?"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import pymetrics_sdk
from tests.project.pages import ROOT

SDK_NAMES = (
    "SLO",
    "ConfigError",
    "Counter",
    "Gauge",
    "Histogram",
    "Job",
    "PushError",
    "PymetricsError",
    "Run",
    "Skip",
    "WSGIMiddleware",
    "__version__",
    "current_run",
    "instrument",
    "measure",
    "skip",
    "track_http",
    "uninstrument",
)
"""What `from pymetrics_sdk import *` gives. Adding a name is a promise to keep it, removing one a major version."""

MODULES = sorted(path for package in ("pushgateway", "pymetrics_sdk") for path in (ROOT / package).rglob("*.py"))


def declared(path: Path) -> list[str] | None:
    """The names in a module's `__all__`, None if it has none."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["__all__"]:
            return [str(name) for name in ast.literal_eval(node.value)]
    return None


def test_the_names_of_the_sdk_are_pinned() -> None:
    """The SDK exports exactly these names."""
    assert tuple(pymetrics_sdk.__all__) == SDK_NAMES


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_module_lists_its_public_names(path: Path) -> None:
    """`__all__` is there where a module defines something public, and every name in it exists (ruff sorts it)."""
    names = declared(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defines = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    if names is None:
        assert not [node.name for node in defines if not node.name.startswith("_")]
        return

    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    assert [name for name in names if not hasattr(module, name)] == []
