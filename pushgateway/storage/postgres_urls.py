"""Which PostgreSQL does a storage URL name, and how is it spoken to?

libpq reads the URL (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING): several hosts, TLS
parameters, PGPASSFILE and the other variables work as they do for psql. Neither the URL nor what libpq says of it is
ever shown without `values.redact`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pushgateway.errors import ConfigError
from pushgateway.storage.postgres_connections import CONNECT_SECONDS, Link
from pushgateway.values import shown

__all__ = ["connector"]

_SETTING: Final = "--storage.url"
_PASSWORD_SETTING: Final = "--storage.password-file"  # noqa: S105 - a flag

_DEFAULTS: Final = {
    "connect_timeout": str(CONNECT_SECONDS),
    "application_name": "pushgateway",
    # What was sent and is not acknowledged for so long (milliseconds) is lost with its connection.
    "tcp_user_timeout": "5000",
    # A host that is gone while it owes an answer is noticed after as long, not after two hours.
    "keepalives_idle": "3",
    "keepalives_interval": "1",
    "keepalives_count": "3",
}
_WRITABLE: Final = {"target_session_attrs": "read-write"}
"""For several hosts: the one that takes writes."""


def connector(url: str, password_file: str) -> Callable[[], Link]:
    """Return what connects.

    Args:
        url: ``postgresql://...`` or ``postgres://...``.
        password_file: Holds the password, read anew for each connection; "" if there is none.

    Raises:
        ConfigError: libpq cannot read the URL, or would take a part of its password for a host or port, or there are
            two passwords.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # The error quotes the URL, and where it stumbles perhaps a part of the password.
        raise ConfigError(_SETTING, f"{shown(url)} is not a URL that libpq can read") from None
    if not _names_servers(given):
        # Else what is a part of the password to its owner would be told as a host that cannot be found.
        raise ConfigError(_SETTING, f"{shown(url)} has no such host or port; a password's @ is %40, its / is %2F")
    if password_file and given.get("password"):
        raise ConfigError(_PASSWORD_SETTING, "cannot be used together with a password in --storage.url")
    several = _WRITABLE if "," in f"{given.get('host', '')}{given.get('hostaddr', '')}" else {}
    settings = {**_DEFAULTS, **several, **given}

    def connect() -> Link:
        return Link.made_of(make_conninfo("", **settings, **_password(password_file)))

    return connect


def _names_servers(given: Mapping[str, Any]) -> bool:
    """Return whether hosts and ports are what they may be: a host begins with an @ only as an abstract socket."""
    hosts, ports = (str(given.get(name) or "").split(",") for name in ("host", "port"))
    return not any("@" in host[1:] for host in hosts) and all(not port or port.isdecimal() for port in ports)


def _password(file: str) -> dict[str, str]:
    """Read a password; the line end behind it, which editors leave, is none of it.

    Raises:
        psycopg.OperationalError: That is not possible: for a connection it means the same as a refused password.
    """
    if not file:
        return {}
    try:
        with open(file, encoding="utf-8") as text:
            return {"password": text.read().rstrip("\r\n")}
    except (OSError, ValueError) as error:
        raise psycopg.OperationalError(f"{file} cannot be read: {error}") from error
