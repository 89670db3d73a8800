"""How does a command say what it has found different, and when has it failed for that?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from pushgateway.errors import CommandError

__all__ = ["conclude", "show_differences"]

_SHOWN_DIFFERENCES: Final = 20


def show_differences(differences: Sequence[str]) -> None:
    """Print the first 20 differences on standard error, a sentence each, and how many more there are."""
    for difference in differences[:_SHOWN_DIFFERENCES]:
        click.echo(f"pushgateway: differs: {difference}", err=True)
    if (more := len(differences) - _SHOWN_DIFFERENCES) > 0:
        click.echo(f"pushgateway: differs: and {more} more", err=True)


def conclude(verb: str, sides: str, *, refused: int, total: int, differences: int) -> None:
    """Do nothing if all was taken and is the same.

    Args:
        verb: What the command does, as in ``import``; regular.
        sides: What it has compared, as in ``gateways``.
        refused: How many groups could not be taken.
        total: Of how many.
        differences: In how many places the sides differ.

    Raises:
        CommandError: A group was refused, or the sides differ.
    """
    problems = []
    if refused:
        problems.append(f"{refused} of {total} groups could not be {verb.removesuffix('e')}ed")
    if differences:
        problems.append(f"the two {sides} differ in {differences} places; {verb} again if pushes came meanwhile")
    if problems:
        raise CommandError("; ".join(problems))
