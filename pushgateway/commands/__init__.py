"""Which commands has the program beside serving?

Each module but the shared ones (flags, progress, verdict) is one command: it exposes `command`, and raises what
`cli.main` turns into one line and an exit code: click's usage errors and `ConfigError` for 2, any other error of ours
for 1. None imports the server, the web side or prometheus_client, which chooses its multiprocess mode when it is first
imported.
"""

from __future__ import annotations

from typing import Final

import click

from pushgateway.commands import backup, check_config, importing, migrate, restore

__all__ = ["COMMANDS"]

COMMANDS: Final[tuple[click.Command, ...]] = (
    backup.command,
    check_config.command,
    importing.command,
    migrate.command,
    restore.command,
)
"""In the order of their names, as --help lists them."""
