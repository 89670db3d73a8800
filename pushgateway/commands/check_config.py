"""How does an operator find out whether a web configuration can be used, before a gateway is told to?"""

from __future__ import annotations

import click

from pushgateway.webconfig import WebConfig, load

__all__ = ["command"]


def _check(file: str) -> None:
    click.echo(f"{file}: OK: {_summary(load(file).config)}")


def _summary(config: WebConfig) -> str:
    """Say in a line what a configuration turns on; no name and no secret."""
    tls, limit = config.tls, config.rate_limit
    parts = [
        "no TLS" if tls is None else f"TLS with {tls.client_auth.value}",
        f"{len(config.users)} users" if config.users else "no authentication",
        f"{len(config.headers)} headers",
        "no rate limit" if limit is None else f"{1 / limit.interval_seconds:g} requests/s, {limit.burst} at once",
    ]
    return ", ".join(parts)


command = click.Command(
    "check-config",
    callback=_check,
    params=[click.Argument(["file"], type=click.Path())],
    help="Check a FILE for --web.config.file, and the files that it names, as the gateway would at its start.",
    short_help="Check a web configuration.",
)
