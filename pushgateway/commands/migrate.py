"""How does an operator move what one store holds into another, as when one machine has become too few?"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Final

import click

from pushgateway.commands.progress import Progress
from pushgateway.commands.verdict import conclude, show_differences
from pushgateway.errors import ConfigError
from pushgateway.limits import Limits
from pushgateway.own_families import TYPES
from pushgateway.storage import Store, is_shared, join_store, parse_url
from pushgateway.takeover import Migration, Outcome, StoreComparison, compare_stores
from pushgateway.values import redact

__all__ = ["command"]

_LIMITS: Final = Limits(groups=0, families=0, series=0)
"""What the old store holds was let in once."""

_OPTIONS: Final = (
    click.Option(
        ["--from", "from_"], required=True, metavar="URL", help="The old store: sqlite:FILE, postgresql://..."
    ),
    click.Option(["--to"], required=True, metavar="URL", help="The new one, in the same form."),
    click.Option(["--password-file"], metavar="FILE", help="A file with the password of the PostgreSQL server."),
)


def _migrate(*, from_: str, to: str, password_file: str | None) -> None:
    _check("--from", from_)
    _check("--to", to)
    if _place(from_) == _place(to):
        raise ConfigError("--to", "is the same store as --from")
    if password_file and is_shared(from_) and is_shared(to):
        raise ConfigError("--password-file", "cannot be told for which of two servers, expected PGPASSFILE")
    with _joined("--from", from_, password_file) as old, _joined("--to", to, password_file) as new:
        refused, total = _take(old, new)
        compared = compare_stores(old, new)
    _report(compared)
    conclude("migrate", "stores", refused=refused, total=total, differences=len(compared.found.differences))


def _check(flag: str, url: str) -> None:
    """Refuse what is no store.

    Raises:
        ConfigError: It is none, or one that goes with its gateway.
    """
    with _named(flag):
        if not parse_url(url) and not is_shared(url):
            raise ConfigError(flag, f"{redact(url)} is no store that a command can use")


def _place(url: str) -> str:
    path = parse_url(url)
    return os.path.realpath(path) if path else url


@contextlib.contextmanager
def _named(flag: str) -> Iterator[None]:
    """Name the settings of a gateway in errors as this command spells them."""
    names = {"--storage.url": flag, "--storage.password-file": "--password-file"}
    try:
        yield
    except ConfigError as error:
        raise ConfigError(names.get(error.setting, error.setting), error.problem) from error


@contextlib.contextmanager
def _joined(flag: str, url: str, password_file: str | None) -> Iterator[Store]:
    """Open a store; the old one has to exist."""
    file = (password_file or "") if is_shared(url) else ""
    prepare = flag == "--to"
    with (
        _named(flag),
        join_store(url, own=TYPES, limits=_LIMITS, prepare=prepare, password_file=file) as store,
    ):
        yield store


def _take(old: Store, new: Store) -> tuple[int, int]:
    """Bring all groups over and say what came of them; return how many were refused, of how many."""
    groups = old.groups()
    outcomes: Counter[Outcome] = Counter()
    migration = Migration(groups, new, own=TYPES)
    with Progress("migrating", "groups", stream=sys.stderr) as progress:
        for done, outcome in enumerate(migration.run(), start=1):
            outcomes[outcome] += 1
            progress.show(done, len(groups))
    for key, reason in migration.refused:
        click.echo(f"pushgateway: refused {key}: {reason}", err=True)
    click.echo(f"groups: {', '.join(f'{outcomes[outcome]} {outcome.value}' for outcome in Outcome)}")
    return len(migration.refused), len(groups)


def _report(compared: StoreComparison) -> None:
    found = compared.found
    show_differences(found.differences)
    count = len(found.differences)
    newer = f", {compared.newer} groups that are newer there left out" if compared.newer else ""
    click.echo(
        f"compared: {found.groups} groups, {found.series} series, {compared.lines} lines of scrapes{newer}, "
        f"{count} differences"
    )


command = click.Command(
    "migrate",
    callback=_migrate,
    params=[*_OPTIONS],
    help="Move the groups of a store into another, as from a file into PostgreSQL, whole, and compare. "
    "The old store stays as it is.",
    short_help="Move the groups of a store into another.",
)
