"""How does an operator put a copy in the store's place, or learn whether it could be?"""

from __future__ import annotations

import os
import time
from typing import Any

import click

from pushgateway.commands.flags import store_file, store_flags
from pushgateway.storage.copies import check_copy
from pushgateway.storage.restoration import restore_store

__all__ = ["command"]


def _restore(file: str, *, check: bool, force: bool, **values: Any) -> None:
    if check:
        found = check_copy(file)
        click.echo(f"{file} is in order and holds {found}, schema version {found.version}")
        return
    path = store_file(values, os.environ)
    restored = restore_store(file, path, force=force, at_seconds=time.time())
    click.echo(f"{path} holds {restored.contents}")
    if restored.kept:
        click.echo(f"what it held before is in {restored.kept}")


command = click.Command(
    "restore",
    callback=_restore,
    params=[
        click.Argument(["file"], type=click.Path()),
        click.Option(["--check"], is_flag=True, help="Only check FILE; nothing is changed."),
        click.Option(["--force"], is_flag=True, help="Replace a store that holds groups; it is kept beside."),
        *store_flags(),
    ],
    help="Put FILE, made by backup, in the place of the store. The gateway has to be stopped.",
    short_help="Put such a file in the place of the store.",
)
