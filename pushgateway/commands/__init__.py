"""Which commands has the program beside serving?

Each module but the shared ones (flags, progress, verdict) is one command: it exposes `command`, and raises what
`cli.main` turns into one line and an exit code: click's usage errors and `ConfigError` for 2, any other error of ours
for 1. None imports the server, the web side or prometheus_client, which chooses its multiprocess mode when it is first
imported.
"""

from __future__ import annotations

import click

__all__ = ["find_commands"]


def find_commands() -> tuple[click.Command, ...]:
    """Return all commands in the order of their names, as --help lists them."""
    # Not at the top: what only they need takes 30 of 370 ms of the start of a gateway.
    from pushgateway.commands import backup, check_config, importing, migrate, restore  # noqa: PLC0415

    return (backup.command, check_config.command, importing.command, migrate.command, restore.command)
