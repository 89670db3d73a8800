"""Does the reference hold every setting, metric, error and endpoint that the code has?"""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from pushgateway import errors
from pushgateway.commands import find_commands
from pushgateway.config import OPTIONS, Config, Limits, Option
from pushgateway.grouping import parse
from pushgateway.telemetry import Telemetry
from pushgateway.web import create_app, diagnosis, responses
from tests.project.pages import ROOT, page, pages, rows, section

NOT_ANSWERED = {
    "CommandError",
    "ConfigError",
    "LockedError",
    "LongWorkError",
    "UnflushedError",
    "OvertakenError",
    "PushgatewayError",
    "StartError",
    "WebConfigError",
    "WouldBlockError",
}
"""Errors that no HTTP client can see: four end the program, three are messages to the bridge, one is met
by an import alone, one is only the root."""

OWN_TIMES = ("push_time_seconds", "push_failure_time_seconds")


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_each_setting_is_in_the_reference(option: Option) -> None:
    """Each option has a row with its flag, its variable and its default."""
    found = [row for row in rows(page("docs/reference/settings.md")) if f"`{option.flag}`" in row[0]]

    assert len(found) == 1, f"{len(found)} rows for {option.flag}"
    row = " | ".join(found[0])
    assert f"`{option.env}`" in row
    assert f"`{option.default}`" in row or not option.default


def test_the_reference_names_no_setting_that_does_not_exist() -> None:
    """Each flag and each PUSHGATEWAY_ variable of the page is one of ours."""
    text = page("docs/reference/settings.md")
    flags = {option.flag for option in OPTIONS} | {f"--no-{option.name}" for option in OPTIONS}
    flags |= {"--help", "--help-long", "--help-man", "--version"}

    assert set(re.findall(r"`(--[a-z0-9.-]+)", text)) <= flags
    assert set(re.findall(r"`(PUSHGATEWAY_[A-Z0-9_]+)`", text)) <= {option.env for option in OPTIONS} | {
        "PUSHGATEWAY_PORT"
    }


@pytest.mark.parametrize("field", Limits._fields)
def test_each_limit_is_in_the_reference(field: str) -> None:
    """Each limit that an error can name has a row, so that whoever meets it finds out what it is."""
    name = field.replace("_", "-")
    spelt = f"`--limit.{name}`" if f"limit.{name}" in {option.name for option in OPTIONS} else f"`{name}`"

    assert any(spelt in row[0] for row in rows(page("docs/reference/settings.md"))), f"no row for {name}"


def own_families() -> list[str]:
    """The names of everything that the gateway itself exposes."""
    return sorted([*Telemetry().names(), *OWN_TIMES])


@pytest.mark.parametrize("name", own_families())
def test_each_own_metric_is_in_the_reference(name: str) -> None:
    """Each family of the gateway's own has a row with its name and its type."""
    types = {name: kind.value for name, kind in Telemetry().names().items()} | dict.fromkeys(OWN_TIMES, "gauge")
    found = [row for row in rows(page("docs/reference/metrics.md")) if re.match(rf"`{name}[`{{]", row[0])]

    assert len(found) == 1, f"{len(found)} rows for {name}"
    assert types[name] in " | ".join(found[0][1:])


def test_the_reference_names_no_metric_that_does_not_exist() -> None:
    """Each row whose first cell looks like one of our families is one."""
    named = {
        match[1]
        for row in rows(page("docs/reference/metrics.md"))
        if (match := re.match(r"`((?:pushgateway|process|push)_[a-z_]+)", row[0]))
    }

    assert named == set(own_families())


@pytest.mark.parametrize("name", errors.__all__)
def test_each_error_stands_in_the_tree(name: str) -> None:
    """The tree that errors.py draws in its docstring has every error, below its parent."""
    tree = (errors.__doc__ or "").splitlines()
    [line] = [line for line in tree if re.search(rf"(\+-- |^ *){name}\b", line)]
    parent = getattr(errors, name).__bases__[0].__name__
    if name == "PushgatewayError":
        return
    column = line.index("+--")
    above = [other for other in tree[: tree.index(line)] if other.strip() and other.find("+--") < column]

    assert re.search(rf"\b{parent}\b", above[-1])


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - NOT_ANSWERED))
def test_each_error_has_its_answer_in_the_reference(name: str) -> None:
    """Each error that a client can meet has a status of its own choosing, and the page lists status and errorType."""
    kind = responses._TABLE[getattr(errors, name)]
    text = page("docs/reference/http-api.md")

    assert any(row[0].strip("`") == str(kind.status) for row in rows(text)), f"no row for status {kind.status}"
    assert f"`{kind.word}`" in text, f"errorType {kind.word} is not explained"


@pytest.mark.parametrize("command", find_commands(), ids=lambda command: command.name)
def test_each_command_is_in_the_reference(command: click.Command) -> None:
    """Each subcommand has a section with a row for each of its options, and names none that it does not have."""
    text = section(page("docs/reference/commands.md"), f"pushgateway {command.name}")
    flags = {flag for option in command.params if isinstance(option, click.Option) for flag in option.opts}
    store = {"--storage.url", "--persistence.file"}
    documented = {flag for row in rows(text) for flag in re.findall(r"`(--[a-z0-9.-]+)", row[0])}

    assert documented == flags - store
    assert store & flags == store & set(re.findall(r"--[a-z.-]+", text))


@pytest.mark.parametrize("kind", diagnosis._EVENTS)
def test_each_line_about_a_push_is_in_the_reference(kind: str) -> None:
    """The page on behavior lists what the log says of each kind of refusal."""
    table = section(page("docs/reference/behavior.md"), "Logs")

    assert f"`{diagnosis._EVENTS[kind].text.format('push')}`" in table


def test_each_exit_code_is_in_the_reference() -> None:
    """The page on behavior says what 0, 1 and 2 mean."""
    table = rows(section(page("docs/reference/behavior.md"), "exit codes"))

    assert {"0", "1", "2"} <= {row[0].strip("`") for row in table}


class Nothing:
    """A store that no request reaches: the routes are only listed."""


def endpoints() -> list[tuple[str, str]]:
    """Every method and path that the application has a view for, HEAD and automatic OPTIONS left out."""
    app = create_app(
        store=Nothing(),  # type: ignore[arg-type]
        telemetry=Telemetry(),
        config=Config(),
        clock=lambda: 0.0,
        quit_gateway=lambda: None,
    )
    return sorted(
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        # GET /-/quit is there only to be answered 405 in the original's words.
        if (method, rule.rule) != ("GET", "/-/quit")
    )


@pytest.mark.parametrize(("method", "path"), endpoints())
def test_each_endpoint_is_in_the_reference(method: str, path: str) -> None:
    """Each method and path has a row in the first table of the page."""
    fixed = path.removesuffix("<path:rest>").replace("job@base64/", "job/")
    methods = [
        method
        for row in rows(page("docs/reference/http-api.md"))
        if len(row) >= 3
        for documented in re.findall(r"`(/[^`]*)`", row[1])
        if documented == fixed or (path != fixed and documented.startswith(fixed))
        for method in re.split(r",\s*", row[0])
    ]

    assert method in methods, f"{method} {path} has no row"


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_flags_that_a_page_mentions_exist(path: Path) -> None:
    """A flag of the gateway that any page mentions is one of ours."""
    known = {option.flag for option in OPTIONS} | {f"--no-{option.name}" for option in OPTIONS}
    mentioned = re.findall(
        r"--(?:no-)?(?:web|push|storage|persistence|log|limit)\.[a-z0-9-]+(?:\.[a-z0-9-]+)*", path.read_text()
    )

    assert set(mentioned) <= known


def test_the_paths_of_the_reference_name_groups() -> None:
    """The examples of group paths on the page parse."""
    examples = re.findall(r"`/metrics/(job[/@][A-Za-z0-9_@=/%-]+)`", page("docs/reference/http-api.md"))

    assert examples
    for example in examples:
        assert parse(example.encode()).job
