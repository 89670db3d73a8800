"""A gateway with --web.config.file: what it asks for, how it speaks TLS, and what happens when its files change.

Long, since all of it shares one authority's certificates and a few gateways, which take a second each to start.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import bcrypt
import pytest

from tests.certificates import Authority
from tests.harness import Gateway, Reply, exchange, poll

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
OTHER = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()
USERS = f"basic_auth_users:\n  alice: {HASH}\n"
TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
RELOAD_SECONDS = 15.0
"""The gateway looks once a second; a machine shared by many runs may take its time."""

PATHS = [
    ("GET", "/"),
    ("GET", "/status"),
    ("GET", "/metrics"),
    ("GET", "/-/healthy"),
    ("GET", "/-/ready"),
    ("GET", "/static/nothing.css"),
    ("GET", "/api/v1/status"),
    ("GET", "/api/v1/metrics"),
    ("OPTIONS", "/api/v1/status"),
    ("PUT", "/api/v1/admin/wipe"),
    ("POST", "/-/quit"),
    ("POST", "/metrics/job/a"),
    ("PUT", "/metrics/job/a"),
    ("DELETE", "/metrics/job/a"),
    ("GET", "/nothing"),
    ("FOO", "/metrics"),
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority with a certificate for the server and some for clients."""
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.issue("server")
    made.issue("client", "DNS:batch.example,IP:2001:db8::1,URI:spiffe://x/y,email:a@b.example")
    made.issue("stranger", "DNS:other.example")
    return made


def copied(authority: Authority, directory: Path) -> Path:
    """Put everything that the authority has made into a directory."""
    for file in authority.directory.iterdir():
        shutil.copy(file, directory)
    return directory


@pytest.fixture
def home(tmp_path: Path, authority: Authority) -> Path:
    """A directory with everything that the authority has made."""
    return copied(authority, tmp_path)


def write(home: Path, text: str) -> str:
    """Replace the configuration; returns the flag for it."""
    (home / "part").write_text(text)
    return f"--web.config.file={(home / 'part').replace(home / 'web.yml')}"


def trusting(home: Path, client: str = "") -> ssl.SSLContext:
    """What a client needs."""
    context = ssl.create_default_context(cafile=str(home / "ca.crt"))
    if client:
        context.load_cert_chain(home / f"{client}.crt", home / f"{client}.key")
    return context


def anonymous(gateway: Gateway, method: str, path: str, headers: dict[str, str | bytes] | None = None) -> Reply:
    """A request without a password."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    message = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n"
    return exchange(gateway.address, message.encode(), method=method, tls=gateway.tls)


def everywhere(gateway: Gateway, path: str, wanted: Callable[[Reply], bool]) -> None:
    """Wait until forty answers in a row are as wanted: every worker is among those who give them."""
    poll(lambda: all(wanted(gateway.get(path)) for _ in range(40)), seconds=RELOAD_SECONDS, what=f"{path} as wanted")


# Authentication


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway for alice alone."""
    flag = write(tmp_path_factory.mktemp("closed"), USERS + "http_server_config: {headers: {X-Frame-Options: deny}}\n")
    with Gateway(flag, "--storage.url=memory:", "--web.enable-admin-api", user="alice:secret") as service:
        yield service


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_everything_wants_a_password(closed: Gateway, method: str, path: str) -> None:
    """Whatever the method and the path, without a password the answer is 401, as the original says it."""
    reply = anonymous(closed, method, path)
    assert (reply.status, reply.body) == (401, b"Unauthorized\n")
    assert reply.header("WWW-Authenticate") == "Basic"
    assert reply.header("X-Frame-Options") == "deny"
    assert reply.header("Content-Type") == "text/plain; charset=utf-8"


@pytest.mark.parametrize("user", ["alice:wrong", "alice:", "bob:secret", ":secret", "alice:secret "])
def test_wrong_password(closed: Gateway, user: str) -> None:
    """Neither a wrong password nor a wrong name comes in."""
    value = "Basic " + base64.b64encode(user.encode()).decode()
    assert anonymous(closed, "GET", "/metrics", {"Authorization": value}).status == 401


def test_right_password(closed: Gateway) -> None:
    """With the password everything works; what was pushed is scraped."""
    assert closed.push("job/a", b"x 1\n").status == 200
    assert closed.scrape().value("x", job="a", instance="") == 1
    assert closed.get("/-/healthy").body == b"OK"


def test_error_as_json(closed: Gateway) -> None:
    """Who asks for JSON gets the refusal as JSON."""
    reply = anonymous(closed, "GET", "/metrics", {"Accept": "application/json"})
    assert json.loads(reply.body) == {"status": "error", "errorType": "unauthorized", "error": "Unauthorized"}


def test_refusals_are_counted(closed: Gateway) -> None:
    """A refusal counts for the handler that it would have been for."""
    before = closed.scrape().value("pushgateway_http_requests_total", code="401", handler="ready", method="get")
    anonymous(closed, "GET", "/-/ready")
    after = closed.scrape().value("pushgateway_http_requests_total", code="401", handler="ready", method="get")
    assert after == before + 1


@pytest.mark.parametrize("framing", ["Content-Length: 16000000", "Transfer-Encoding: chunked"])
def test_large_body_without_a_password(closed: Gateway, framing: str) -> None:
    """A client that sends its whole body before it reads gets its 401, and nothing of the body is kept."""
    piece = b"#" * 1_000_000 if "Length" in framing else b"f4240\r\n" + b"#" * 1_000_000 + b"\r\n"
    with socket.create_connection(closed.address, timeout=20) as connection:
        connection.sendall(f"POST /metrics/job/a HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())
        sent = 0
        while sent < 15:
            try:
                connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
            sent += 1
        received = connection.recv(65536)
    assert received.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in received


def test_no_invitation_to_send(closed: Gateway) -> None:
    """With Expect: 100-continue the body is never sent: the 401 comes first."""
    with socket.create_connection(closed.address, timeout=20) as connection:
        connection.sendall(
            b"POST /metrics/job/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
        )
        received = connection.recv(65536)
    assert received.startswith(b"HTTP/1.1 401 ")


def test_secrets_stay_secret(closed: Gateway) -> None:
    """The status tells the path of the file; neither it nor the log tells what is in the file."""
    flags = json.loads(closed.get("/api/v1/status").body)["data"]["flags"]
    assert flags["web.config.file"].endswith("/web.yml")
    for text in (json.dumps(flags), closed.log()):
        assert HASH not in text
        assert "secret" not in text.replace("web.yml", "")


def test_slow_passwords_hold_nobody(tmp_path: Path) -> None:
    """Pushes and scrapes of who is known are answered while 20 wrong passwords wait that take a second each."""
    slow = bcrypt.hashpw(b"slow", bcrypt.gensalt(4)).decode().replace("$04$", "$14$")
    flag = write(tmp_path, f"{USERS}  slow: {slow}\n")
    with Gateway(flag, "--storage.url=memory:", "--web.workers=1", user="alice:secret") as gateway:
        waiting = []
        for number in range(20):
            value = base64.b64encode(f"slow:{number}".encode()).decode()
            connection = socket.create_connection(gateway.address, timeout=20)
            connection.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {value}\r\n\r\n".encode())
            waiting.append(connection)
        for _ in range(20):
            assert gateway.push("job/a", b"x 1\n").status == 200
        assert gateway.get("/metrics").status == 200
        waiting[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting[-1].recv(1)
        for connection in waiting:
            connection.close()
        gateway.kill()  # a graceful stop would answer them all


# Headers and rate


def test_headers_on_every_answer(tmp_path: Path) -> None:
    """Configured headers are on what the application, the bridge and the protocol answer, and win over our own."""
    policy = "default-src 'self'"
    text = f'http_server_config: {{headers: {{Content-Security-Policy: "{policy}", X-XSS-Protection: 0}}}}\n'
    with Gateway(write(tmp_path, text), "--storage.url=memory:", "--web.workers=1") as gateway:
        for request in (b"GET /status HTTP/1.1", b"GET /nothing HTTP/1.1", b"nonsense", b"GET / HTTP/2.0"):
            reply = exchange(gateway.address, request + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert reply.header("Content-Security-Policy") == policy, request
            assert reply.header("X-XSS-Protection") == "0"
        assert gateway.get("/static/style.css").header("X-Content-Type-Options") == "nosniff"


def test_one_rate_for_all_workers(tmp_path: Path) -> None:
    """The workers share one bucket: of many requests at once the burst is answered, and 429 says when to come again."""
    with Gateway(
        write(tmp_path, "rate_limit: {interval: 1h, burst: 30}\n"), "--storage.url=memory:", "--web.workers=3"
    ) as gateway:
        replies = [gateway.get("/-/healthy") for _ in range(60)]
        refused = [reply for reply in replies if reply.status == 429]
        # The harness has asked at least once whether it is ready.
        assert 30 < len(refused) <= 60
        assert {reply.body for reply in refused} == {b"Too Many Requests\n"}
        assert {reply.header("Retry-After") for reply in refused} == {"1"}
        write(tmp_path, "{}\n")
        everywhere(gateway, "/-/healthy", lambda reply: reply.status == 200)
        counted = gateway.scrape().value("pushgateway_http_requests_total", code="429", handler="healthy", method="get")
        assert counted >= len(refused)


# TLS


def start(home: Path) -> Gateway:
    """Make a gateway with TLS, three workers and short limits."""
    return Gateway(
        write(home, TLS),
        "--storage.url=memory:",
        "--web.workers=3",
        "--limit.header-seconds=2s",
        "--log.level=debug",
        tls=trusting(home),
    )


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Gateway]:
    """A gateway whose files stay as they are."""
    with start(copied(authority, tmp_path_factory.mktemp("secure"))) as service:
        yield service


@pytest.fixture
def changing(home: Path) -> Iterator[Gateway]:
    """A gateway whose files the test changes, in `home`."""
    with start(home) as service:
        yield service


def shown(gateway: Gateway) -> bytes:
    """The certificate that a new connection is shown."""
    assert gateway.tls is not None
    with (
        socket.create_connection(gateway.address, timeout=20) as connection,
        gateway.tls.wrap_socket(connection, server_hostname="127.0.0.1") as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def test_new_certificate_in_every_worker(changing: Gateway, home: Path, authority: Authority) -> None:
    """Certificate and key that are replaced are shown on new connections of every worker, without a restart."""
    before = shown(changing)
    workers = changing.all_workers(3)
    authority.issue("renewed")
    for suffix in ("crt", "key"):
        shutil.copy(authority.directory / f"renewed.{suffix}", home / "part")
        (home / "part").replace(home / f"server.{suffix}")
    renewed = ssl.PEM_cert_to_DER_cert((home / "server.crt").read_text())
    assert renewed != before
    poll(
        lambda: all(shown(changing) == renewed for _ in range(40)),
        seconds=RELOAD_SECONDS,
        what="every worker to show the new certificate",
    )
    assert changing.workers() == workers


def test_broken_later(changing: Gateway, home: Path) -> None:
    """A file that is broken later changes nothing; log and health say so, until it is mended, also in new workers."""
    write(home, TLS + USERS + "nonsense: 1\n")
    everywhere(changing, "/-/healthy", lambda reply: b"unknown key 'nonsense'" in reply.body and reply.status == 200)
    assert b"unknown key 'nonsense'" in changing.get("/-/ready").body
    assert changing.get("/metrics").status == 200
    poll(lambda: "level=error" in changing.log(), seconds=RELOAD_SECONDS, what="the line in the log")
    errors = re.findall(r"level=error.*", changing.log())
    assert len(errors) == 1, errors
    assert "line 6: unknown key 'nonsense'" in errors[0]
    write(home, USERS)
    everywhere(changing, "/-/healthy", lambda reply: b"TLS cannot be switched off without a restart" in reply.body)
    write(home, TLS + USERS)
    changing.user = "alice:secret"
    everywhere(changing, "/-/healthy", lambda reply: reply.body == b"OK")
    assert anonymous(changing, "GET", "/-/healthy").status == 401
    poll(lambda: "web configuration loaded" in changing.log(), seconds=RELOAD_SECONDS, what="the line in the log")


def test_new_workers_begin_with_the_last_good_one(changing: Gateway, home: Path) -> None:
    """A worker that begins while the file is broken has what the others have, and not what the gateway began with."""
    write(home, TLS + USERS)
    changing.user = "alice:secret"
    everywhere(changing, "/-/healthy", lambda reply: reply.status == 200)
    poll(lambda: anonymous(changing, "GET", "/").status == 401, seconds=RELOAD_SECONDS, what="users")
    poll(lambda: "web configuration loaded" in changing.log(), seconds=RELOAD_SECONDS, what="the arbiter to know")
    write(home, "broken")
    everywhere(changing, "/-/healthy", lambda reply: b"cannot be used" in reply.body)
    before = set(changing.all_workers(3))
    for pid in before:
        subprocess.run(["kill", "-9", str(pid)], check=True)
    poll(lambda: len(set(changing.workers()) - before) == 3, seconds=30, what="new workers")
    changing.wait_ready()
    assert all(anonymous(changing, "GET", "/").status == 401 for _ in range(20))
    assert b"cannot be used" in changing.get("/-/healthy").body


def test_plain_http(secure: Gateway) -> None:
    """http:// to a TLS port is answered as Go's server answers it, whatever the method."""
    for method in (b"GET", b"POST", b"DELETE", b"PUT"):
        with socket.create_connection(secure.address, timeout=20) as connection:
            connection.sendall(method + b" /metrics/job/a HTTP/1.1\r\nHost: x\r\n\r\n")
            received = connection.makefile("rb").read()
        assert received.startswith(b"HTTP/1.0 400 Bad Request\r\n")
        assert received.endswith(b"Client sent an HTTP request to an HTTPS server.\n")


def test_stalled_handshakes(secure: Gateway) -> None:
    """200 handshakes that never finish hold nobody, are closed when their time is over, and leave no traceback."""
    opened = []
    for number in range(200):
        connection = socket.create_connection(secure.address, timeout=20)
        connection.sendall((b"", b"\x16", b"\x16\x03\x01\x02\x00\x01")[number % 3])
        opened.append(connection)
    for number in range(20):
        assert secure.push(f"job/quick/instance/{number}", b"quick 1\n").status == 200
    assert secure.get("/metrics").status == 200
    for connection in opened:
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1000) == b""
        connection.close()
    assert "Traceback" not in secure.log()


def test_noise_instead_of_a_handshake(secure: Gateway) -> None:
    """What is no handshake is closed, and leaves a line at level debug without a traceback."""
    for sent in (b"\0" * 100, b"\x16\x03\x01\x00\x05hello", b"SSH-2.0-x\r\n"):
        with socket.create_connection(secure.address, timeout=20) as connection:
            connection.sendall(sent)
            connection.makefile("rb").read()
    with (
        pytest.raises(ssl.SSLError),
        socket.create_connection(secure.address, timeout=20) as connection,
    ):
        ssl.create_default_context().wrap_socket(connection, server_hostname="127.0.0.1")
    poll(lambda: secure.log().count("TLS handshake failed") >= 4, seconds=10, what="four lines")
    lines = [line for line in secure.log().splitlines() if "TLS handshake failed" in line]
    assert all("level=debug" in line for line in lines)
    assert "Traceback" not in secure.log()


def test_large_answers_and_bodies(secure: Gateway) -> None:
    """Megabytes come through in both directions, on one connection after the other."""
    lines = b"".join(b'wide{n="%d",l="%s"} 1\n' % (number, b"v" * 400) for number in range(20_000))
    assert secure.push("job/wide", lines).status == 200
    reply = secure.get("/metrics")
    assert reply.body.count(b"\nwide{") == 20_000
    assert len(reply.body) > 8_000_000


def test_client_that_does_not_read(secure: Gateway) -> None:
    """A client that does not read a large answer holds nobody, and gets all of it when it reads at last."""
    assert secure.tls is not None
    lines = b"".join(b'wide{n="%d",l="%s"} 1\n' % (number, b"v" * 400) for number in range(20_000))
    assert secure.push("job/wide", lines).status == 200
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(20)
        plain.connect(secure.address)
        with secure.tls.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert connection.recv(1) == b"H"
            for number in range(10):
                assert secure.push(f"job/quick/instance/{number}", b"quick 1\n").status == 200
            received = connection.makefile("rb").read()
    assert received.count(b"\nwide{") == 20_000


def test_refused_while_sending(secure: Gateway) -> None:
    """A client that is refused while it sends gets its answer over TLS too, and not a reset."""
    assert secure.tls is not None
    with (
        socket.create_connection(secure.address, timeout=20) as plain,
        secure.tls.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(b"POST /metrics/job/a HTTP/1.1\r\nHost: x\r\nContent-Length: 90000000\r\n\r\n")
        for _ in range(20):
            connection.sendall(b"#" * 1_000_000)
        received = connection.recv(65536)
    assert received.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("way", ["TLS", "TCP"])
def test_half_closed(secure: Gateway, way: str) -> None:
    """Requests in a row are all answered, also to a client that has said farewell, in TLS or in TCP, after the last."""
    assert secure.tls is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = secure.tls.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    received = b""
    with socket.create_connection(secure.address, timeout=20) as connection:

        def until_done(step: Callable[[], object]) -> None:
            done = False
            while not done:
                with contextlib.suppress(ssl.SSLWantReadError):
                    step()
                    done = True
                connection.sendall(outgoing.read())
                if not done:
                    incoming.write(connection.recv(65536))

        until_done(tls.do_handshake)
        tls.write(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
        if way == "TLS":
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.unwrap()
        connection.sendall(outgoing.read())
        if way == "TCP":
            connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while piece := tls.read():
                received += piece
    assert received.count(b"HTTP/1.1 200 OK") == 5


def test_graceful_stop(changing: Gateway) -> None:
    """A stop does not wait for handshakes and idle connections."""
    idle = [socket.create_connection(changing.address, timeout=20) for _ in range(5)]
    assert changing.terminate() == 0
    for connection in idle:
        connection.close()


# Client certificates and versions


@pytest.mark.parametrize(
    ("more", "client", "status"),
    [
        ("client_auth_type: RequireAndVerifyClientCert", "client", 200),
        ("client_auth_type: RequireAndVerifyClientCert", "", 0),
        ("client_auth_type: RequireAndVerifyClientCert", "foreign", 0),
        ("client_auth_type: VerifyClientCertIfGiven", "", 200),
        ("client_auth_type: VerifyClientCertIfGiven", "client", 200),
        ("client_auth_type: VerifyClientCertIfGiven", "foreign", 0),
    ],
)
def test_client_certificates(clients: Clients, more: str, client: str, status: int) -> None:
    """A client is let in with a certificate of the right authority, or without one where none is required."""
    assert clients.ask(more, client) == status


@pytest.mark.parametrize(("client", "status"), [("client", 200), ("stranger", 0)])
def test_allowed_names(clients: Clients, client: str, status: int) -> None:
    """Of the names of a certificate one must be allowed, whatever the authority says."""
    names = "[x.example, '2001:db8::1']"
    assert (
        clients.ask(f"client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: {names}", client) == status
    )


@pytest.mark.parametrize(
    ("more", "version", "spoken"),
    [
        ("min_version: TLS13", ssl.TLSVersion.TLSv1_2, False),
        ("min_version: TLS13", ssl.TLSVersion.TLSv1_3, True),
        ("max_version: TLS12", ssl.TLSVersion.TLSv1_3, False),
        ("max_version: TLS12", ssl.TLSVersion.TLSv1_2, True),
        ("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]", ssl.TLSVersion.TLSv1_2, True),
        ("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]", ssl.TLSVersion.TLSv1_2, False),
    ],
)
def test_versions(clients: Clients, more: str, version: ssl.TLSVersion, spoken: bool) -> None:
    """Versions and suites outside of what is configured are not spoken."""
    assert clients.ask(more, "", version=version) == (200 if spoken else 0)


class Clients:
    """Asks one gateway, whose configuration it replaces, with all kinds of clients."""

    def __init__(self, gateway: Gateway, home: Path) -> None:
        self._gateway = gateway
        self._home = home
        self._number = 0
        self._more = ""

    def ask(self, more: str, client: str, *, version: ssl.TLSVersion | None = None) -> int:
        """Configure it, and return the status of a request; 0 if the connection was refused."""
        if more != self._more:
            self._configure(more)
        context = trusting(self._home, client)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        message = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        with contextlib.suppress(OSError, http.client.HTTPException):
            return exchange(self._gateway.address, message, tls=context).status
        return 0

    def _configure(self, more: str) -> None:
        self._more = more
        self._number += 1
        authority = "" if "client_auth" not in more else "  client_ca_file: ca.crt\n"
        marker = f"http_server_config: {{headers: {{Strict-Transport-Security: max-age={self._number}}}}}\n"
        write(self._home, f"{TLS}{authority}  {more}\n{marker}")
        poll(lambda: f"max-age={self._number}" in self._marker(), seconds=RELOAD_SECONDS, what="the configuration")

    def _marker(self) -> str:
        # One worker, so that what this connection sees the next one sees.
        message = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        reply = exchange(self._gateway.address, message, tls=trusting(self._home, "client"))
        return reply.header("Strict-Transport-Security") or ""


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Clients]:
    """One gateway for all questions."""
    home = copied(authority, tmp_path_factory.mktemp("clients"))
    Authority(home, "foreign")
    with Gateway(write(home, TLS), "--storage.url=memory:", "--web.workers=1", tls=trusting(home)) as gateway:
        yield Clients(gateway, home)


# Starts that fail


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "web.yml: cannot be read: No such file or directory"),
        (TLS.replace("server.key", "ca.key"), "key_file: certificate and private key cannot be used together"),
        ("basic_auth_users: {alice: secret}", "basic_auth_users.alice: not a bcrypt hash"),
    ],
)
def test_start_fails(home: Path, text: str | None, words: str) -> None:
    """A file that cannot be used ends the start with exit code 1 and one line, before anything is stored."""
    if text is not None:
        write(home, text)
    arguments = ("--web.config.file=web.yml", "--web.listen-address=127.0.0.1:0")
    command = [sys.executable, "-m", "pushgateway", *arguments]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr
    assert not (home / "pushgateway.db").exists()
