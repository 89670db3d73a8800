"""Are README, CHANGELOG and docs true: do their snippets run and their links lead somewhere?"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from pushgateway import __version__
from pushgateway.config import OPTIONS
from tests.harness import Gateway, require_program
from tests.project.pages import ROOT, page, pages, rows, snippets, tracked_files

DEFAULT_ADDRESS = "127.0.0.1:9091"

QUADRANTS = {
    "tutorial": ("first-push",),
    "how-to": (
        "back-up-and-restore",
        "find-out-why-a-push-was-refused",
        "migrate-from-the-go-pushgateway",
        "secure-the-gateway",
        "use-utf8-names",
    ),
    "reference": ("http-api", "settings", "commands", "metrics", "storage", "behavior", "web-config"),
    "explanation": ("architecture", "durability"),
}

LINK_RE = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def prose(text: str) -> str:
    """A page without its fenced blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    """A stranger reads the README to its end: it has under 120 lines."""
    assert len(page("README.md").splitlines()) < 120


@pytest.mark.parametrize(("kind", "names"), QUADRANTS.items())
def test_each_kind_of_page_has_its_pages(kind: str, names: tuple[str, ...]) -> None:
    """Tutorial, how-to, reference and explanation have at least the pages that were promised."""
    for name in names:
        assert page(f"docs/{kind}/{name}.md").startswith("# ")


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    """Each relative link of a page names a file of the checkout and, with a fragment, a heading in it."""
    text = path.read_text(encoding="utf-8")
    broken = []
    for target in LINK_RE.findall(prose(text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = unquote(target).partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (fragment and fragment not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    assert not broken


def test_the_pictures_of_the_readme_are_those_that_are_kept() -> None:
    """Each picture that the README shows, in light and dark, is kept in docs/images, and no other."""
    shown = set(re.findall(r'src(?:set)?="docs/images/([^"]+)"', page("README.md")))

    assert shown == {path.name for path in (ROOT / "docs" / "images").iterdir()}
    assert {name.replace("-light", "-dark") for name in shown} <= shown


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_of_pages_exist(path: Path) -> None:
    """Each `make x` that a page mentions is a target of the Makefile."""
    targets = set(" ".join(re.findall(r"^([a-z][a-z ]*):", page("Makefile"), re.MULTILINE)).split())
    text = path.read_text(encoding="utf-8")

    assert set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)) <= targets


class Shell:
    """Runs the shell snippets of a page in order, in one directory, against one gateway.

    What sets a machine up is not run but looked at: `make` in the test of its targets, `pip` and `pushgateway` here.
    """

    def __init__(self, gateway: Gateway, directory: Path) -> None:
        self._address = f"127.0.0.1:{gateway.port}"
        self._directory = directory
        tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._env = {"PATH": tools, "HOME": str(directory), "LANG": "C.UTF-8"}

    def run(self, text: str) -> str:
        """Run a snippet, or check what it sets up; return what it printed."""
        first = text.lstrip().split()[0]
        if first == "make":
            return ""
        if first == "pip":
            return self._check_setup(text)
        script = text.replace(DEFAULT_ADDRESS, self._address)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self._directory,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _check_setup(self, text: str) -> str:
        extras = page("setup.cfg")
        for extra in re.findall(r"pymetrics-pushgateway\[(\w+)\]", text):
            assert re.search(rf"^{extra} =$", extras, re.MULTILINE), f"no extra {extra}"
        flags = set(re.findall(r"(--[a-z0-9.-]+)", text))
        assert flags <= {option.flag for option in OPTIONS}
        return ""


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial/first-push.md"])
def test_the_snippets_of_a_page_run(name: str, tmp_path: Path) -> None:
    """Every shell snippet of a page, run in order against a fresh gateway, succeeds; a Python one is billing.py."""
    require_program("curl")
    text = page(name)
    blocks = snippets(text)
    for python in (block for block in blocks if block.language == "python"):
        (tmp_path / "billing.py").write_text(python.text)
    with Gateway() as gateway:
        shell = Shell(gateway, tmp_path)
        printed = [shell.run(block.text) for block in blocks if block.language == "sh"]

        assert printed
        assert any("push_time_seconds" in one for one in printed), "no snippet shows what was pushed"


REFUSED = "docs/how-to/find-out-why-a-push-was-refused.md"


def test_refusals_are_found_as_the_page_says(tmp_path: Path) -> None:
    """Each way of the page to a reason finds it: the answer, as text and as JSON, and the list, for one group too."""
    require_program("curl")
    with Gateway() as gateway:
        shell = Shell(gateway, tmp_path)
        blocks = [block for block in snippets(page(REFUSED)) if block.language == "sh"]
        text, as_json, listed, of_group = (shell.run(block.text) for block in blocks)

        reason = 'text format parsing error in line 1: expected float as value, got "1.5GB"'
        assert reason in text
        assert text.endswith("\n400\n")
        assert json.loads(as_json)["errorType"] == "parse"
        assert len(json.loads(listed)["data"]) == 2
        assert of_group.count(reason) == 2
        assert 'msg="failed to parse text" method=POST group="{job=\\"backup\\"}"' in gateway.log()


COMMON = {
    "unexpected end of input stream": ("job/c", b"x 1"),
    'expected float as value, got "1\\r"': ("job/c", b"x 1\r\n"),
    "odd number of components in label string": ("job/a/b%2Fc/d", b""),
    "pushed metrics must not have timestamps": ("job/a", b"x 1 123\n"),
    "was collected before with the same name and label values": ("job/a/l/v", b"z 1\n"),
    "expected one type in all groups": ("job/b", b"# TYPE x gauge\nx 1\n"),
    "Method Not Allowed": ("", b"x 1\n"),
}


def test_common_reasons_are_worded_as_the_page_says() -> None:
    """Each common reason of the page is what the gateway answers to a push of that kind."""
    reasons = [match[1] for row in rows(page(REFUSED)) if (match := re.fullmatch(r"`([^`]+)`", row[0]))]
    assert reasons == list(COMMON)
    with Gateway("--storage.url=memory:") as gateway:
        assert gateway.push("job/a", b'x 1\nz{l="v"} 1\n').status == 200
        for reason, (path, body) in COMMON.items():
            reply = gateway.request("POST", f"/metrics/{path}".rstrip("/"), body)
            assert reply.status >= 400
            assert reason in reply.text


def test_the_readme_pushes_what_it_says() -> None:
    """The README has the two commands, a push with curl and a scrape config with honor_labels."""
    text = page("README.md")

    assert re.search(r"^make run\b", text, re.MULTILINE)
    assert re.search(r"^make test\b", text, re.MULTILINE)
    assert re.search(r"curl --data-binary @- http://127\.0\.0\.1:9091/metrics/job/", text)
    assert "honor_labels: true" in text


def test_the_changelog_keeps_its_form() -> None:
    """CHANGELOG.md is in the form of Keep a Changelog 1.1, and knows this version or has unreleased changes."""
    text = page("CHANGELOG.md")
    releases = re.findall(r"^## (.*)$", text, re.MULTILINE)
    kinds = re.findall(r"^### (.*)$", text, re.MULTILINE)

    assert text.startswith("# Changelog\n")
    assert "keepachangelog.com" in text
    assert releases[0] == "[Unreleased]"
    for release in releases[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", release)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert f"[{__version__}]" in text or re.search(r"## \[Unreleased\]\n+### \w+\n+- ", text)


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        (
            "a path of the machine that it was written on",
            re.escape(f"{ROOT.parent}/") + "|" + re.escape(f"{Path.home()}/"),
        ),
        ("a home directory", r"/(?:home|Users)/[a-z]+/"),
        ("a host of a package registry", r"(?:pypi|pythonhosted|npmjs|debian)\.(?:org|com)/"),
    ],
)
def test_no_file_depends_on_one_machine(what: str, pattern: str) -> None:
    """No tracked file holds a path of one machine or the address of a package registry."""
    expression = re.compile(pattern)
    found = []
    for path in tracked_files():
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [
            f"{path.relative_to(ROOT)}: {match[0]}" for match in expression.finditer(text) if path != Path(__file__)
        ]
    assert not found, what
