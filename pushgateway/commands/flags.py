"""How does a setting of the table become a flag, and where do a command's flags say that the store is?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import click

from pushgateway.config import OPTIONS, Kind, Option, load
from pushgateway.errors import ConfigError
from pushgateway.storage import parse_url
from pushgateway.values import redact

__all__ = ["given", "setting_flag", "store_file", "store_flags"]

_STORE: Final = tuple(option for option in OPTIONS if option.name in {"storage.url", "persistence.file"})


def setting_flag(option: Option) -> click.Option:
    """Make the flag of a setting; `given` reads its value."""
    if option.kind is Kind.FLAG:
        return _Switch([f"{option.flag}/--no-{option.name}", _parameter(option)], default=None, help=_help(option))
    # Repeated flags are config's to judge: click itself would take the last one in silence.
    return click.Option(
        [option.flag, _parameter(option)], multiple=True, type=str, metavar=option.metavar, help=_help(option)
    )


def given(values: Mapping[str, Any], options: Iterable[Option] = OPTIONS) -> dict[str, tuple[str, ...]]:
    """Return what the command line gives, in the form that `config.load` takes.

    Args:
        values: What click hands to a callback.
        options: Those that the command has.
    """
    return {option.name: found for option in options if (found := _texts(values[_parameter(option)]))}


def store_flags() -> list[click.Option]:
    """Make the flags that say where the store is, the same as the gateway's own; `store_file` reads them."""
    return [setting_flag(option) for option in _STORE]


def store_file(values: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Return the file of the store that flags and environment name, as the gateway would find it.

    Args:
        values: What click hands to the callback of a command with `store_flags`.
        environ: The environment, of which only the variables of these flags are read.

    Raises:
        ConfigError: It cannot be told, or the store is one that only its gateway can reach.
    """
    variables = {option.env: environ[option.env] for option in _STORE if option.env in environ}
    url = load(given(values, _STORE), variables).storage_url
    path = parse_url(url)
    if not path:
        raise ConfigError("--storage.url", f"{redact(url)} is no store that a command can use, expected sqlite:FILE")
    return path


class _Switch(click.Option):
    """A flag with a --no- form, in the help of --[no-]name."""

    def get_help_record(self, _ctx: click.Context) -> tuple[str, str]:
        return f"--[no-]{self.opts[0].removeprefix('--')}", self.help or ""


def _texts(value: bool | tuple[str, ...] | None) -> tuple[str, ...]:
    if isinstance(value, bool):
        return ("true" if value else "false",)
    return value or ()


def _parameter(option: Option) -> str:
    return re.sub(r"[.-]", "_", option.name)


def _help(option: Option) -> str:
    parts = [option.help]
    if option.choices:
        parts.append(f"One of: {', '.join(option.choices)}.")
    default = f"default: {option.default}" if option.default and option.kind is not Kind.FLAG else ""
    if terms := "; ".join(filter(None, (option.unit, default))):
        parts.append(f"[{terms}]")
    return " ".join(parts)
