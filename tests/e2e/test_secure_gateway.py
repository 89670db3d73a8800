"""Does docs/how-to/secure-the-gateway.md work as it stands: openssl, bcrypt, curl, prometheus_client, Prometheus?"""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import push_to_gateway, tls_auth_handler

from tests.certificates import Authority
from tests.harness import Gateway, require_program
from tests.project.pages import page, snippets
from tests.prometheus import Prometheus, series

PAGE = "docs/how-to/secure-the-gateway.md"
ADDRESS = "127.0.0.1:9091"


def blocks(language: str) -> list[str]:
    """The page's snippets of a language, in order."""
    return [snippet.text for snippet in snippets(page(PAGE)) if snippet.language == language]


def shell(text: str, directory: Path) -> str:
    """Run a snippet; returns what it printed."""
    for program in ("openssl", "curl"):
        require_program(program)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's commands have made certificates, a hash and web.yml, and have checked that."""
    directory = tmp_path_factory.mktemp("home")
    certificate, password, write, *_ = blocks("sh")
    printed = shell(certificate + password + write, directory)
    assert printed == "web.yml: OK: TLS with NoClientCert, 1 users, 0 headers, no rate limit\n"
    return directory


@pytest.fixture(scope="module")
def secure(home: Path) -> Iterator[Gateway]:
    """The gateway, started as the page says."""
    start = blocks("sh")[3].split()
    assert start[0] == "pushgateway"
    tls = ssl.create_default_context(cafile=str(home / "ca.crt"))
    with Gateway(*start[1:], directory=home, tls=tls, user="prometheus:my-secret") as service:
        yield service


def test_curl(secure: Gateway, home: Path) -> None:
    """The page's curl commands answer and push."""
    printed = shell(blocks("sh")[4].replace(ADDRESS, f"127.0.0.1:{secure.port}"), home)
    assert printed == "OK"
    assert secure.scrape().value("backup_size_bytes", job="backup") == 1.5e9


def test_curl_without_a_password_or_trust(secure: Gateway, home: Path) -> None:
    """Without the password curl is told 401, without the authority it says that it does not trust the gateway."""
    url = f"{secure.url}/metrics"
    printed = shell(f"curl -s -o /dev/null -w '%{{http_code}}' --cacert ca.crt {url}", home)
    assert printed == "401"
    curl = require_program("curl")
    done = subprocess.run([curl, "-s", url], capture_output=True, timeout=60, check=False)
    assert done.returncode == 60  # curl(1): the peer's certificate cannot be authenticated


def test_prometheus_client(secure: Gateway, home: Path) -> None:
    """The page's Python job pushes with prometheus_client's handler of basic authentication."""
    environment = os.environ | {"SSL_CERT_FILE": "ca.crt", "GATEWAY": secure.url}
    command = [sys.executable, "-c", blocks("python")[0]]
    subprocess.run(command, cwd=home, env=environment, timeout=60, check=True)
    assert secure.scrape().value("backup_files", job="files") == 17


def test_prometheus(secure: Gateway, home: Path) -> None:
    """A real Prometheus with the page's settings finds the gateway up and has what was pushed."""
    (home / "gateway-password").write_text("my-secret")
    [scrape] = [block for block in blocks("yaml") if "scrape_configs" in block]
    settings = re.search(r"^    scheme:.*?(?=^    static_configs)", scrape, re.DOTALL | re.MULTILINE)
    assert settings
    assert secure.push("job/scraped", b"scraped 5\n").status == 200
    with Prometheus(secure, settings=settings[0].replace("/etc/prometheus", str(home))) as server:
        server.eventually("up", series(1, name="up", job="pushgateway", instance=f"127.0.0.1:{secure.port}"))
        server.eventually("scraped", series(5, name="scraped", job="scraped"))


def test_client_certificates(tmp_path: Path) -> None:
    """With the settings for client certificates, curl and prometheus_client come in with one, and not with another."""
    authority = Authority(tmp_path)
    authority.issue("server")
    authority.issue("batch", "DNS:batch.example.org")
    authority.issue("other", "DNS:other.example.org")
    (tmp_path / "web.yml").write_text(next(block for block in blocks("yaml") if "client_auth_type" in block))
    tls = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    tls.load_cert_chain(tmp_path / "batch.crt", tmp_path / "batch.key")
    with Gateway("--web.config.file=web.yml", directory=tmp_path, tls=tls) as gateway:
        registry = CollectorRegistry()
        Gauge("tasks", "Tasks.", registry=registry).set(3)
        push_to_gateway(gateway.url, job="batch", registry=registry, handler=_with(tmp_path, "batch"))
        assert gateway.scrape().value("tasks", job="batch") == 3
        with pytest.raises(OSError):  # noqa: PT011 - a reset, or the end, in TLS or below
            push_to_gateway(gateway.url, job="other", registry=registry, handler=_with(tmp_path, "other"))
        files = "--cacert ca.crt --cert batch.crt --key batch.key"
        assert shell(f"curl -s {files} {gateway.url}/-/healthy", tmp_path) == "OK"


def _with(directory: Path, name: str) -> Callable[..., Callable[[], None]]:
    """A handler that shows a certificate."""

    def handler(url: str, method: str, timeout: float | None, headers: Any, data: bytes) -> Callable[[], None]:
        certificate, key, authority = (str(directory / file) for file in (f"{name}.crt", f"{name}.key", "ca.crt"))
        return tls_auth_handler(url, method, timeout, headers, data, certificate, key, authority)

    return handler
