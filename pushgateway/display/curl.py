"""With which commands does a shell read, push and delete one group?"""

from __future__ import annotations

import shlex
from typing import NamedTuple

__all__ = ["Command", "group_commands"]


class Command(NamedTuple):
    """What it does, in a few words, and what to paste into a shell."""

    title: str
    text: str


def group_commands(base: str, path: str, *, user: str = "") -> tuple[Command, ...]:
    """Return the commands for a group.

    Args:
        base: The URL of the gateway with its prefix, without a slash at its end.
        path: The group's path, as `grouping.readable_path` writes it: it needs no escapes anywhere.
        user: The name with which to log in, of which curl asks the password; "" for none.
    """
    curl = "curl" + (f" --user {shlex.quote(user)}" if user else "")
    read = shlex.quote(f"{base}/api/v1/groups/{path}")
    push = shlex.quote(f"{base}/metrics/{path}")
    return (
        Command("Read all of it", f"{curl} {read}"),
        Command(
            "Push a family, keep the others",
            f"{curl} --data-binary @- {push} <<'EOF'\n# TYPE example_value gauge\nexample_value 42\nEOF",
        ),
        Command("Replace the whole group", f"{curl} --request PUT --data-binary @metrics.txt {push}"),
        Command("Delete it", f"{curl} --request DELETE {push}"),
    )
