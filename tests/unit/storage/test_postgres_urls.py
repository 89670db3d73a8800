"""What is made of the URL of a database server, and is its password safe?"""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pushgateway.config import load
from pushgateway.errors import ConfigError, StartError
from pushgateway.storage import is_shared, parse_url, prepare_store
from pushgateway.storage.postgres_connections import Link
from pushgateway.storage.postgres_urls import connector

SECRET = "geheim/42"
SPELT = "geheim%2F42"


def connection_settings(monkeypatch: pytest.MonkeyPatch, url: str, password_file: str = "") -> dict[str, Any]:
    """Return what libpq is told for a URL."""
    told: list[str] = []
    monkeypatch.setattr(Link, "made_of", told.append)
    connector(url, password_file)()
    return dict(conninfo_to_dict(told[0]))


def test_urls_of_servers_name_no_file() -> None:
    """Both schemes that libpq knows are understood, and name no file."""
    for url in ("postgresql://host/db", "postgres://host/db"):
        assert is_shared(url)
        assert parse_url(url) == ""
    assert not is_shared("sqlite:postgresql://host/db")


def test_libpq_reads_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts, ports, TLS parameters and escapes mean what they mean to libpq; what is given wins over the defaults."""
    found = connection_settings(
        monkeypatch, f"postgresql://me:{SPELT}@a:1,b:2/db?sslmode=verify-full&sslrootcert=%2Fca.pem&connect_timeout=7"
    )
    assert {name: found[name] for name in ("host", "port", "user", "password", "dbname", "sslmode", "sslrootcert")} == {
        "host": "a,b",
        "port": "1,2",
        "user": "me",
        "password": SECRET,
        "dbname": "db",
        "sslmode": "verify-full",
        "sslrootcert": "/ca.pem",
    }
    assert found["connect_timeout"] == "7"


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host has 2 s to answer; of several the one that takes writes is looked for; nothing needs `options`."""
    one = connection_settings(monkeypatch, "postgresql://a/db")
    assert one["connect_timeout"] == "2"
    assert "target_session_attrs" not in one
    assert "options" not in one
    several = connection_settings(monkeypatch, "postgresql://a,b/db")
    assert several["target_session_attrs"] == "read-write"
    either = connection_settings(monkeypatch, "postgresql://a,b/db?target_session_attrs=any")
    assert either["target_session_attrs"] == "any"


def test_the_password_file_is_read_for_each_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A password that was changed holds for the next connection; the line end behind it is none of it."""
    file = tmp_path / "password"
    told: list[str] = []
    monkeypatch.setattr(Link, "made_of", told.append)
    connect = connector("postgresql://me@a/db", str(file))
    for password in ("first one", " second'\\"):
        file.write_text(password + "\n")
        connect()
    assert [conninfo_to_dict(one)["password"] for one in told] == ["first one", " second'\\"]


def test_a_password_file_that_cannot_be_read(tmp_path: Path) -> None:
    """It is named, and means the same as a connection that is refused."""
    with pytest.raises(psycopg.OperationalError, match="missing cannot be read"):
        connector("postgresql://me@a/db", str(tmp_path / "missing"))()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SPELT}@a/db?no_such_parameter=1",
        f"postgresql://me:{SECRET}%zz@a/db",
        f"postgresql://a/db?sslpassword={SPELT}&port",
        f"postgresql://me:{SPELT}@[::1/db",
    ],
)
def test_bad_urls_are_told_without_their_password(url: str) -> None:
    """What libpq cannot read is refused with the setting's name, and without the password."""
    with pytest.raises(ConfigError, match=r"--storage\.url: .*libpq") as raised:
        prepare_store(url)
    assert "geheim" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:ge@heim@a/db",
        "postgresql://me:ge/heim@a/db",
        "postgresql://me@provider:geheim@a:5432/db",
    ],
)
def test_a_password_is_not_taken_for_a_host(url: str) -> None:
    """A URL of whose careless password libpq would make a host, a port or a database is refused without it."""
    with pytest.raises(ConfigError, match=r"--storage\.url: .*%40") as raised:
        prepare_store(url)
    assert "heim" not in str(raised.value)


def test_hosts_and_ports_that_libpq_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """No port, several of them, addresses, sockets in a directory and abstract ones are fine."""
    for host in ("a", "a,b:2", "[::1]:1,b", "%2Frun%2Fpostgresql", "%40abstract", ""):
        assert connection_settings(monkeypatch, f"postgresql://{host}/db")["dbname"] == "db"


def test_two_passwords(tmp_path: Path) -> None:
    """A password in the URL and one in a file contradict each other."""
    with pytest.raises(ConfigError, match="together") as raised:
        prepare_store(f"postgresql://me:{SPELT}@a/db", password_file=str(tmp_path))
    assert "geheim" not in str(raised.value)


def test_the_status_shows_no_password() -> None:
    """The flags that /api/v1/status and the status page show have the URL without it."""
    config = load({"storage.url": [f"postgresql://me:{SPELT}@a,b/db?sslpassword=geheim"]}, {})
    assert config.flags["storage.url"] == "postgresql://me:***@a,b/db?sslpassword=***"
    config = load({"storage.url": ["postgresql://me@provider:geheim@a/db?sslmode=require&scram_client_key=geheim"]}, {})
    assert config.flags["storage.url"] == "postgresql://me@provider:***@a/db?sslmode=require&scram_client_key=***"


def test_without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the start fails, and says what to install."""
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == "psycopg":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for name in [name for name in sys.modules if name.startswith("pushgateway.storage.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(StartError, match=r"pip install 'pymetrics-pushgateway\[gateway,postgres\]'"):
        prepare_store("postgresql://a/db")
