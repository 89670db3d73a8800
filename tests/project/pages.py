"""What do the project's pages say: their text, tables, snippets and links?"""

from __future__ import annotations

import functools
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Snippet", "page", "pages", "rows", "section", "snippets", "tracked_files"]

ROOT = Path(__file__).parents[2]

FENCE_RE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A fenced block: its language ("" if none is named) and its text."""

    language: str
    text: str


@functools.cache
def tracked_files() -> tuple[Path, ...]:
    """Every file that git tracks and that is there."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = (ROOT / name for name in done.stdout.decode().split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def pages() -> tuple[Path, ...]:
    """Every Markdown page of the project."""
    return tuple(path for path in tracked_files() if path.suffix == ".md")


def page(name: str) -> str:
    """The text of a page, named from the top of the checkout; the test fails if it does not exist yet."""
    path = ROOT / name
    assert path.is_file(), f"{name} is missing"
    return path.read_text(encoding="utf-8")


def snippets(text: str) -> list[Snippet]:
    """The fenced blocks of a page, in order."""
    return [Snippet(language, body) for language, body in FENCE_RE.findall(text)]


def rows(text: str) -> list[list[str]]:
    r"""The cells of every table row of a page, headers and separators among them; `\|` is a bar inside a cell."""
    lines = (line.strip() for line in text.splitlines())
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines if line.startswith("|")
    ]


def section(text: str, heading: str) -> str:
    """The text under the first heading that contains a word, up to the next heading of its level or above."""
    match = re.search(
        rf"^(#+) [^\n]*{re.escape(heading)}[^\n]*\n(.*?)(?=^#{{1,2}} |\Z)", text, re.DOTALL | re.MULTILINE
    )
    assert match, f"there is no heading with {heading!r}"
    return match[2]
