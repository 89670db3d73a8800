"""How does an operator take over what a running Pushgateway holds?"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import click

from pushgateway.commands.flags import store_file, store_flags
from pushgateway.commands.progress import Progress
from pushgateway.commands.verdict import conclude, show_differences
from pushgateway.config import OPTIONS, Config, load
from pushgateway.errors import CommandError, ConfigError
from pushgateway.model import GroupingKey
from pushgateway.own_families import TYPES
from pushgateway.storage import Store, join_store
from pushgateway.takeover import HeldGroup, Outcome, Remote, Transfer, compare, merge, stored_groups
from pushgateway.values import duration_seconds, shown

__all__ = ["command"]

_URL_CHARACTERS: Final = re.compile("[!-~]+")
_UTF8_NAMES: Final = "push.enable-utf8-names"

_OPTIONS: Final = (
    click.Option(["--from", "from_"], required=True, metavar="URL", help="The old gateway, with its route prefix."),
    click.Option(["--basic-auth-user"], metavar="NAME", help="Its user for basic authentication."),
    click.Option(["--password-file"], type=click.Path(), help="A file with the password."),
    click.Option(["--ca-file"], type=click.Path(), help="Certificates to trust instead of the system's."),
    click.Option(["--timeout"], default="1m", metavar="DURATION", help="How long it may be silent. [default: 1m]"),
    click.Option(["--overwrite"], is_flag=True, help="Also replace groups that were pushed later to the store."),
    click.Option(["--dry-run"], is_flag=True, help="Only say what would be done."),
    click.Option([f"--{_UTF8_NAMES}", "utf8_names"], is_flag=True, help="Take UTF-8 names, as such a gateway does."),
    click.Option(["--compare-with"], metavar="URL", help="Compare with what this gateway answers, not with the store."),
)


def _import(**values: Any) -> None:
    source = _source(values)
    new = Remote(_url("--compare-with", values["compare_with"])) if values["compare_with"] else None
    path, config, dry_run = store_file(values, os.environ), _config(values), values["dry_run"]
    groups = _read(source)
    with contextlib.ExitStack() as at_exit:
        exists = os.path.exists(path)
        store = None
        if exists or not dry_run:
            store = at_exit.enter_context(
                join_store(f"sqlite:{path}", own=TYPES, limits=config.limits, prepare=not dry_run)
            )
        transfer = Transfer(
            None if dry_run else store,
            existing=[contents.group for contents in store.groups()] if store is not None else (),
            own=TYPES,
            limits=config.limits,
            overwrite=values["overwrite"],
            utf8_names=config.enable_utf8_names,
        )
        newer_here = _take(transfer, groups, dry_run=dry_run)
        differences = 0
        if store is not None and not dry_run:
            left_out = {*newer_here, *(key for key, _ in transfer.refused)}
            differences = _compare(source, new, store, left_out)
    conclude("import", "gateways", refused=len(transfer.refused), total=len(groups), differences=differences)


def _source(values: dict[str, Any]) -> Remote:
    """Return the old gateway.

    Raises:
        ConfigError: It cannot be told which, or how to speak to it.
    """
    user, file = values["basic_auth_user"], values["password_file"]
    if bool(user) != bool(file):
        raise ConfigError("--basic-auth-user", "expected together with --password-file")
    ca_file = values["ca_file"] or ""
    if ca_file and not os.access(ca_file, os.R_OK):
        raise ConfigError("--ca-file", f"{shown(ca_file)} cannot be read")
    timeout_seconds = float(duration_seconds(values["timeout"], "--timeout"))
    if not timeout_seconds:
        raise ConfigError("--timeout", "expected more than 0")
    return Remote(
        _url("--from", values["from_"]),
        user=user or "",
        password=_password(file) if file else "",
        ca_file=ca_file,
        timeout_seconds=timeout_seconds,
    )


def _url(setting: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host = None
    if (
        not host
        or not _URL_CHARACTERS.fullmatch(text)
        or parts.scheme not in {"http", "https"}
        or parts.query
        or parts.fragment
    ):
        raise ConfigError(setting, f"{shown(text)} is not a URL such as http://old:9091 or https://old/prefix")
    if parts.username is not None:
        raise ConfigError(
            setting, f"{shown(text)} holds credentials, which others can read there; expected --password-file"
        )
    return text.rstrip("/")


def _password(file: str) -> str:
    try:
        with open(file, encoding="utf-8") as lines:
            return lines.read().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--password-file", f"{shown(file)} cannot be read: {error}") from error


def _config(values: dict[str, Any]) -> Config:
    """Return what the gateway's environment says of limits, and of names if no flag does."""
    names = [option.env for option in OPTIONS if option.name.startswith("limit.") or option.name == _UTF8_NAMES]
    arguments = {_UTF8_NAMES: ["true"]} if values["utf8_names"] else {}
    return load(arguments, {name: os.environ[name] for name in names if name in os.environ})


def _read(gateway: Remote) -> list[HeldGroup]:
    listed = gateway.groups()
    try:
        scraped = gateway.scrape()
    except CommandError as error:
        click.echo(f"pushgateway: warning: {error}; taking the values from its list of groups", err=True)
        scraped = ()
    return merge(listed, scraped)


def _take(transfer: Transfer, groups: Sequence[HeldGroup], *, dry_run: bool) -> list[GroupingKey]:
    """Take groups over and say what came of them; return those that are newer in the store."""
    outcomes: Counter[Outcome] = Counter()
    newer_here = []
    with Progress("importing", "groups", stream=sys.stderr) as progress:
        for done, group in enumerate(groups, start=1):
            outcome = transfer.take(group)
            outcomes[outcome] += 1
            if outcome is Outcome.NEWER_HERE:
                newer_here.append(group.key)
            progress.show(done, len(groups))
    for key, reason in transfer.refused:
        click.echo(f"pushgateway: refused {key}: {reason}", err=True)
    counts = ", ".join(f"{outcomes[outcome]} {outcome.value}" for outcome in Outcome)
    click.echo(f"{'would import' if dry_run else 'groups'}: {counts}")
    return newer_here


def _compare(source: Remote, new: Remote | None, store: Store, left_out: Collection[GroupingKey]) -> int:
    """Compare what both hold now, say how they differ, and return in how many places."""
    old = _read(source)
    here = stored_groups(store.groups()) if new is None else _read(new)
    found = compare(old, here, left_out=left_out)
    show_differences(found.differences)
    count = len(found.differences)
    click.echo(f"compared: {found.groups} groups, {found.series} series, {count} differences")
    return count


command = click.Command(
    "import",
    callback=_import,
    params=[*_OPTIONS, *store_flags()],
    help="Take over the groups of a running Pushgateway, the original or this one, with their push times, and compare.",
    short_help="Take over the groups of a running Pushgateway.",
)
