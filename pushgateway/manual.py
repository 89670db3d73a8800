"""What does the manual page of the program say?

What --help says, in the language of man(7), as the original's --help-man prints it; `pushgateway --help-man | man -l -`
shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import click

from pushgateway import __version__

__all__ = ["manual_page"]


def manual_page(context: click.Context) -> str:
    """Write the manual page of a group of commands.

    Args:
        context: The group's own, whose flags, commands and texts the page tells.

    Returns:
        Lines for man(7), without a line end behind the last.
    """
    group = context.command
    assert isinstance(group, click.Group)  # noqa: S101 - the program is one
    program = group.name or context.info_name or ""
    flags = [record for param in group.get_params(context) if (record := param.get_help_record(context))]
    commands = [
        (name, command.get_short_help_str(limit=200))
        for name in group.list_commands(context)
        if (command := group.get_command(context, name))
    ]
    bold = f"\\fB{_text(program)}\\fR"
    lines = [
        f'.TH "{program.upper()}" "1" "" "{program} {__version__}" ""',
        *_section("NAME", f"{_text(program)} \\- {_text(group.help or '')}"),
        *_section("SYNOPSIS", f"{bold} [\\fIFLAG\\fR]...", ".br", f"{bold} \\fICOMMAND\\fR [\\fIARG\\fR]..."),
        *_section("DESCRIPTION", _text(group.help or ""), ".PP", _text(group.epilog or "")),
        *_section("OPTIONS", *_entries(flags)),
        *_section("COMMANDS", *_entries(commands)),
        *_section("EXIT STATUS", *_entries(_EXITS)),
    ]
    return "\n".join(lines)


_EXITS = (
    ("0", "Stopped as asked, or the command has done its work."),
    ("1", "The start or the command has failed."),
    ("2", "A flag, a variable or a value that cannot be used."),
)


def _section(title: str, *lines: str) -> list[str]:
    return [f'.SH "{title}"', *lines]


def _entries(records: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, help_ in records:
        yield from (".TP", f"\\fB{_text(term)}\\fR", _text(help_))


def _text(text: str) -> str:
    """Escape what roff would take for its own: backslashes, hyphens, and dots and quotes that begin a line."""
    escaped = re.sub(r"\s+", " ", text).strip().replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
