"""What is wrong with a page for those who do not see it as its author did: a screen reader, another browser?"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Final

from playwright.sync_api import Page

from tests.harness import require_program

__all__ = ["Validator", "judge_access"]

_SERIOUS: Final = ("serious", "critical")

_RULES: Final = Path(__file__).parent / "node" / "htmlvalidate.json"


def judge_access(page: Page, axe: Path) -> list[str]:
    """Return what axe-core finds serious or critical in a page as it is now, a line a fault; [] if nothing.

    Args:
        page: The page.
        axe: axe-core's file.
    """
    # Not by a script element: the policy forbids it, as it should.
    page.evaluate(axe.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{fault['id']} ({fault['impact']}): {fault['help']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for fault in found["violations"]
        if fault["impact"] in _SERIOUS
        for node in fault["nodes"]
    ]


class Validator:
    """Collects answers of the gateway and has html-validate judge them all at once, since it takes a second to start.

    It knows which element may stand in which, with which attributes and values, as the HTML standard says it, beside
    rules for screen readers. It needs no network, and no Java as the W3C's own validator does.

    Args:
        packages: The directory of npm packages that html-validate is in.
        directory: An empty one, where the pages are put down.
    """

    def __init__(self, packages: Path, directory: Path) -> None:
        self._packages = packages
        self._directory = directory
        self._names: list[str] = []

    def add(self, name: str, html: str) -> None:
        """Take in a page under a name that a reader finds it by."""
        file = f"{len(self._names):02}-{''.join(one if one.isalnum() else '_' for one in name)}.html"
        (self._directory / file).write_text(html, encoding="utf-8")
        self._names.append(name)

    def faults(self) -> list[str]:
        """Return what is wrong in any of the pages, a line a fault."""
        command = [
            require_program("node"),
            str(self._packages / "html-validate" / "bin" / "html-validate.mjs"),
            f"--config={_RULES}",
            "--formatter=json",
            *sorted(path.name for path in self._directory.iterdir()),
        ]
        done = subprocess.run(command, cwd=self._directory, capture_output=True, text=True, timeout=120, check=False)
        # 1 says that there are faults.
        assert done.returncode in (0, 1), done.stderr
        return [
            f"{Path(page['filePath']).name}:{fault['line']}:{fault['column']}: {fault['ruleId']}: {fault['message']}"
            for page in json.loads(done.stdout)
            for fault in page["messages"]
        ]
