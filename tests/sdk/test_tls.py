"""TLS to the gateway: authorities, client certificates, and a deadline that holds inside it too."""

from __future__ import annotations

import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.harness import require_program
from tests.sdk.support import run_child

pytestmark = pytest.mark.alone

JOB = "from pymetrics_sdk import Job\nwith Job('secure', timeout='{timeout}'): pass\nprint('done')"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ca.pem, server.pem and client.pem, keys included."""
    directory = tmp_path_factory.mktemp("tls")
    openssl = require_program("openssl")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=directory, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")
    run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test CA", *usage)
    for name in ("server", "client"):
        run("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (directory / "ext").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
        run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", f"{name}.crt", "-days", "2", "-extfile", "ext")  # fmt: skip
        text = (directory / f"{name}.crt").read_text() + (directory / f"{name}.key").read_text()
        (directory / f"{name}.pem").write_text(text)
    return directory


class Recorder(BaseHTTPRequestHandler):
    """Answers 200, or drips its answer when the server says so."""

    def do_POST(self) -> None:
        """Take a push."""
        self.rfile.read(int(self.headers["Content-Length"]))
        if not self.server.drips:
            self.server.pushes.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        for byte in b"HTTP/1.1 200 OK\r\n" * 10:
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return
            time.sleep(0.2)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class SecureServer(HTTPServer):
    """An HTTPS server that wants a client certificate if told so."""

    drips = False

    def __init__(self, certificates: Path, *, client_certificate: bool) -> None:
        super().__init__(("127.0.0.1", 0), Recorder)
        self.pushes: list[str] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem")
        if client_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(certificates / "ca.pem")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A refused handshake is what some tests want."""


@pytest.fixture
def server(certificates: Path, request: pytest.FixtureRequest) -> Iterator[SecureServer]:
    """A server; parametrise indirectly with True for client certificates."""
    with SecureServer(certificates, client_certificate=getattr(request, "param", False)) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield httpd
        httpd.shutdown()
        thread.join()


def run(server: SecureServer, *, timeout: str = "5s", **env: str) -> tuple[int, str, str]:
    """Run the job."""
    return run_child(JOB.format(timeout=timeout), gateway=server.url, **env)


def test_an_authority_of_our_own_is_trusted(server: SecureServer, certificates: Path) -> None:
    """PYMETRICS_CA_FILE makes a private authority good."""
    assert run(server, PYMETRICS_CA_FILE=str(certificates / "ca.pem")) == (0, "done\n", "")
    assert server.pushes


def test_an_unknown_authority_is_refused_with_a_reason(server: SecureServer) -> None:
    """Without it nothing is sent, and the reason says what is wrong with the certificate."""
    status, out, error = run(server, timeout="1s")
    assert (status, out) == (0, "done\n")
    assert "certificate verify failed" in error
    assert server.pushes == []


@pytest.mark.parametrize("server", [True], indirect=True)
def test_a_client_certificate_is_shown(server: SecureServer, certificates: Path) -> None:
    """PYMETRICS_CERT_FILE, with the key in it or in PYMETRICS_KEY_FILE, is mutual TLS."""
    authority = str(certificates / "ca.pem")
    both = {"PYMETRICS_CA_FILE": authority, "PYMETRICS_CERT_FILE": str(certificates / "client.pem")}
    assert run(server, **both) == (0, "done\n", "")
    apart = {
        "PYMETRICS_CERT_FILE": str(certificates / "client.crt"),
        "PYMETRICS_KEY_FILE": str(certificates / "client.key"),
    }
    assert run(server, PYMETRICS_CA_FILE=authority, **apart) == (0, "done\n", "")
    assert len(server.pushes) >= 2
    status, _, error = run(server, timeout="1s", PYMETRICS_CA_FILE=authority)
    assert status == 0
    assert "final push" in error


def test_a_certificate_file_that_is_missing_is_a_reason(server: SecureServer) -> None:
    """A path that leads nowhere names its variable and does not touch the job."""
    status, out, error = run(server, PYMETRICS_CA_FILE="/no/such/file")
    assert (status, out) == (0, "done\n")
    assert "PYMETRICS_CA_FILE" in error


def test_the_deadline_holds_inside_tls(server: SecureServer, certificates: Path) -> None:
    """A gateway that drips behind TLS holds a job up no longer than one that drips in the open."""
    server.drips = True
    started = time.monotonic()
    status, out, error = run(server, timeout="1s", PYMETRICS_CA_FILE=str(certificates / "ca.pem"))
    assert (status, out) == (0, "done\n")
    assert "deadline" in error
    assert time.monotonic() - started < 1 + 1 + 1
