"""How does an operator get a copy of the store while the gateway runs?"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from pushgateway.commands.flags import store_file, store_flags
from pushgateway.commands.progress import Progress
from pushgateway.storage.copies import copy_store

__all__ = ["command"]


def _backup(file: str, *, force: bool, **values: Any) -> None:
    path = store_file(values, os.environ)
    with Progress("copying", "MiB", stream=sys.stderr, lines=False) as progress:
        contents = copy_store(
            path, file, force=force, progress=lambda done, total: progress.show(done >> 20, total >> 20)
        )
    click.echo(f"{file} holds {contents}")


command = click.Command(
    "backup",
    callback=_backup,
    params=[
        click.Argument(["file"], type=click.Path()),
        click.Option(["--force"], is_flag=True, help="Replace FILE if it exists."),
        *store_flags(),
    ],
    help="Copy the store to FILE, also while a gateway uses it, and check the copy.",
    short_help="Copy the store to a file while the gateway runs.",
)
