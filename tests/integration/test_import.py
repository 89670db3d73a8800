"""Is a running gateway taken over whole: the original's groups, in the store and before the eyes of its successor?"""

from __future__ import annotations

import gzip
import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from tests.harness import Gateway, Original, Service, free_port, require_program
from tests.integration.test_backup import run

EVERY_KIND = """\
# HELP c A counter, with \\\\ and \\n in its help.
# TYPE c counter
c{path="/a b",text="\\"\\n\\\\"} 1e21
c{path="é",instance="own"} 12345678.9
# TYPE g gauge
g -Inf
g{n="1"} NaN
g{n="2"} -0
g{n="3"} 5e-324
# HELP s A summary.
# TYPE s summary
s{quantile="0.5"} NaN
s{quantile="0.99"} 3
s_sum 0.1
s_count 18446744073709551615
# TYPE h histogram
h_bucket{l="1",le="10"} 2
h_bucket{l="1",le="2.5"} 1
h_sum{l="1"} -3
h_count{l="1"} 4
h_bucket{l="2",le="+Inf"} 7
u 0.1
""".encode()


def fill(original: Service) -> None:
    """Push groups of every kind, and let some pushes be refused."""
    for path, body in (
        ("job/every/instance/kind", EVERY_KIND),
        ("job/plain", b"x 1\n"),
        ("job@base64/YS9i/path@base64/L3Zhci90bXA=/l/%C3%A9", b"x 2\n"),
        ("job/empty", b""),
        ("job/label/z@base64/=", b'x{y=""} 3\n'),
        ("job/keys", b"labels 1\nlast_push_successful 2\n"),
        ("job/half", b"old 1\n"),
    ):
        assert original.push(path, body).status == 200
    assert original.push("job/half", b"new 2\n").status == 200
    assert original.push("job/half", b"new 3 123\n").status == 400
    assert original.push("job/never", b"x 1 123\n").status == 400


GROUPS = 8
SERIES = 17


@pytest.fixture(scope="module")
def original() -> Iterator[Original]:
    """The original with groups of every kind; tests leave it as it is."""
    with Original() as original:
        fill(original)
        yield original


def take_over(service: Service, directory: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Import what a gateway holds into the store of a directory."""
    return run("import", "--from", service.url, *flags, directory=directory)


def exposed(service: Service) -> tuple[object, object]:
    """Return what a gateway exposes of what was pushed to it: lines with the non-empty labels, HELP and types."""
    families = service.scrape().families.values()
    lines = {(line.identity, line.value) for family in families for line in family.lines if line.label_map.get("job")}
    kinds = {(family.name, family.type, family.help) for family in families if "job" in family.lines[0].label_map}
    return lines, kinds


def test_a_whole_gateway(original: Original, tmp_path: Path) -> None:
    """Groups of every kind arrive in a new store, times included; both gateways then expose the same, line by line."""
    done = take_over(original, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"groups: {GROUPS} imported, 0 unchanged, 0 newer here, 0 refused",
        f"compared: {GROUPS} groups, {SERIES} series, 0 differences",
    ]
    assert done.stderr.splitlines()[-1] == f"pushgateway: importing: {GROUPS} of {GROUPS} groups"
    with Gateway(directory=tmp_path) as ours:
        assert exposed(ours) == exposed(original)


def test_into_a_running_gateway(original: Original) -> None:
    """A running gateway shows the groups at once, and what it answers compares equal; repeating changes nothing."""
    with Gateway() as ours:
        assert ours.push("job/mine", b"mine 1\n").status == 200
        done = take_over(original, ours.directory, "--compare-with", ours.url)
        assert (done.returncode, done.stdout.splitlines()[1]) == (
            0,
            f"compared: {GROUPS} groups, {SERIES} series, 0 differences",
        ), done.stderr
        scrape = ours.scrape()
        assert scrape.value("x", job="plain") == 1
        assert scrape.value("push_time_seconds", job="plain") == original.scrape().value(
            "push_time_seconds", job="plain"
        )
        assert scrape.value("mine", job="mine") == 1
        before = ours.get("/api/v1/metrics").body
        again = take_over(original, ours.directory, "--overwrite")
        assert again.stdout.startswith(f"groups: 0 imported, {GROUPS} unchanged, 0 newer here, 0 refused\n")
        assert ours.get("/api/v1/metrics").body == before


def test_what_cannot_be_taken(original: Original) -> None:
    """Groups that are newer here stay, those that conflict are said, the rest is imported, and the exit code is 1."""
    with Gateway() as ours:
        assert ours.push("job/plain", b"x 99\n").status == 200
        assert ours.push("job/other", b"# TYPE c gauge\nc 1\n").status == 200
        dry = take_over(original, ours.directory, "--dry-run")
        assert (dry.returncode, dry.stdout) == (0, "would import: 7 imported, 0 unchanged, 1 newer here, 0 refused\n")
        assert ours.scrape().value("x", job="plain") == 99
        assert len(ours.scrape()["push_time_seconds"].lines) == 2
        done = take_over(original, ours.directory)
        assert done.returncode == 1
        assert done.stdout.startswith("groups: 6 imported, 0 unchanged, 1 newer here, 1 refused\n")
        [refused] = [line for line in done.stderr.splitlines() if line.startswith("pushgateway: refused ")]
        assert '{instance="kind",job="every"}' in refused
        assert done.stderr.splitlines()[-1] == "pushgateway: error: 1 of 8 groups could not be imported"
        assert ours.scrape().value("x", job="plain") == 99
        assert not [line for line in ours.scrape()["push_time_seconds"].lines if line.label_map["job"] == "every"]
        assert take_over(original, ours.directory, "--overwrite").returncode == 1
        assert ours.scrape().value("x", job="plain") == 1


def test_one_of_ours(tmp_path: Path) -> None:
    """Another gateway of this program can be taken over too, route prefix and telemetry path included."""
    with Gateway("--web.route-prefix=/old", "--web.telemetry-path=/tele", prefix="/old", telemetry_path="/tele") as old:
        assert old.push("job/every", EVERY_KIND).status == 200
        assert old.push("job/keys", b"labels 1\n").status == 200
        done = take_over(old, tmp_path)
        assert (done.returncode, done.stdout.splitlines()[0]) == (
            0,
            "groups: 2 imported, 0 unchanged, 0 newer here, 0 refused",
        ), done.stderr


def test_names_of_any_characters(tmp_path: Path) -> None:
    """Groups with UTF-8 names are taken over where such names are allowed, and refused with a hint elsewhere."""
    with Gateway("--push.enable-utf8-names") as old:
        assert old.push("job/a/U__l_2e_x/1", b'# TYPE "my.metric" counter\n{"my.metric","m.x"="2"} 3\n').status == 200
        refused = take_over(old, tmp_path)
        assert refused.returncode == 1
        assert "--push.enable-utf8-names" in refused.stderr
        done = take_over(old, tmp_path, "--push.enable-utf8-names")
        assert (done.returncode, done.stdout.splitlines()) == (
            0,
            ["groups: 1 imported, 0 unchanged, 0 newer here, 0 refused", "compared: 1 groups, 1 series, 0 differences"],
        ), done.stderr
    with Gateway(directory=tmp_path) as ours:
        assert ours.scrape().value("my_metric", job="a", l_x="1", m_x="2") == 3


def test_a_gateway_that_exposes_nothing(tmp_path: Path) -> None:
    """Groups of an original whose scrapes fail are taken from its list; what was not UTF-8 is refused."""
    with Original() as broken:
        assert broken.push("job/good", EVERY_KIND).status == 200
        assert broken.push("job/%FF", b"x 1\n").status == 400
        assert broken.get("/metrics").status == 500
        done = take_over(broken, tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "groups: 1 imported, 0 unchanged, 0 newer here, 1 refused",
        "compared: 1 groups, 10 series, 0 differences",
    ]
    assert "answered 500" in done.stderr
    assert "not UTF-8" in done.stderr


def test_a_thousand_groups(tmp_path: Path) -> None:
    """Progress is ten lines, however many groups there are."""
    groups = [
        {"labels": {"job": "j", "n": str(number)}, **family("push_time_seconds", number), **family("x", number)}
        for number in range(1, 1001)
    ]
    with answering({"/api/v1/metrics": json.dumps({"status": "success", "data": groups}).encode()}) as url:
        done = run("import", "--from", url, directory=tmp_path)
    assert done.returncode == 0, done.stderr
    progress = [line for line in done.stderr.splitlines() if line.startswith("pushgateway: importing: ")]
    assert progress == [f"pushgateway: importing: {100 * tenth} of 1000 groups" for tenth in range(1, 11)]
    assert "compared: 1000 groups, 1000 series, 0 differences" in done.stdout


def family(name: str, number: int) -> dict[str, object]:
    """Write a gauge as the original lists it."""
    labels = {"instance": "", "job": "j", "n": str(number)}
    metrics = [{"labels": labels, "value": str(number)}]
    return {
        name: {"time_stamp": f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z", "type": "GAUGE", "metrics": metrics}
    }


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers paths with prepared bytes, 404 to all others."""

    answers: ClassVar[dict[str, bytes]] = {}
    password: ClassVar[str] = ""

    def do_GET(self) -> None:
        """Answer; cut the body short if it is to be."""
        body = self.answers.get(self.path)
        if self.password and self.headers.get("Authorization") != self.password:
            self.send_error(401)
        elif body is None:
            self.send_error(404, "nothing here")
        elif body.startswith(b"-> "):
            self.send_response(302)
            self.send_header("Location", body[3:].decode())
            self.end_headers()
        else:
            self.send_response(200)
            zipped = "gzip" in self.headers["Accept-Encoding"] and not body.startswith(b"cut")
            if zipped:
                body = gzip.compress(body)
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body) + (0 if zipped else 10)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def answering(answers: dict[str, bytes], *, password: str = "", certificate: Path | None = None) -> Iterator[str]:
    """Run a web server that is no gateway, and lend its URL."""
    handler = type("Prepared", (Handler,), {"answers": answers, "password": password})
    with http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({}, ["answered 404", "nothing here", "route prefix"]),
        ({"/api/v1/metrics": b"<html>"}, ["not a Pushgateway's", "JSON"]),
        ({"/api/v1/metrics": b'{"status":"success","data":[{"lab'}, ["not a Pushgateway's", "not whole JSON"]),
        (
            {
                "/api/v1/metrics": b'{"status":"success","data":[{"labels":{"metrics":[]},'
                b'"push_time_seconds":{"metrics":[]}}]}'
            },
            ["not a list of groups"],
        ),
        ({"/api/v1/metrics": b"-> http://[old/"}, ["cannot be read"]),
        ({"/api/v1/metrics": b"cut short"}, ["cannot be read", "ended after 9 bytes"]),
    ],
)
def test_what_is_no_gateway(tmp_path: Path, answers: dict[str, bytes], words: list[str]) -> None:
    """A server that answers something else is refused in one line, and no store is made."""
    with answering(answers) as url:
        done = run("import", "--from", url, directory=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert [word for word in words if word not in done.stderr] == []
    assert list(tmp_path.iterdir()) == []


def test_a_gateway_that_cannot_be_reached(tmp_path: Path) -> None:
    """A closed port, and a server that never answers, are refused in one line."""
    done = run("import", "--from", f"http://127.0.0.1:{free_port()}", directory=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Connection refused" in done.stderr
    done = run("import", "--from", "http://old..example", directory=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "http://old..example/api/v1/metrics cannot be read" in done.stderr
    with http.server.HTTPServer(("127.0.0.1", free_port()), Handler) as silent:
        url = f"http://127.0.0.1:{silent.server_port}"
        done = run("import", "--from", url, "--timeout=200ms", directory=tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        f"pushgateway: error: {url}/api/v1/metrics cannot be read: timed out\n",
    )


def test_credentials(tmp_path: Path) -> None:
    """User and password go to the old gateway, but not to where it redirects, and into no message."""
    (tmp_path / "password").write_text("sésame\n")
    flags = ("--basic-auth-user=me", f"--password-file={tmp_path / 'password'}")
    empty = {"/api/v1/metrics": b'{"status":"success","data":[]}', "/metrics": b""}
    basic = "Basic bWU6c8Opc2FtZQ=="
    with answering(empty, password=basic) as url:
        assert run("import", "--from", url, *flags, directory=tmp_path).returncode == 0
        done = run("import", "--from", url, directory=tmp_path)
        assert "answered 401" in done.stderr
        assert "--password-file" in done.stderr
        with answering({"/api/v1/metrics": f"-> {url}/api/v1/metrics".encode()}, password=basic) as elsewhere:
            done = run("import", "--from", elsewhere, *flags, directory=tmp_path)
    assert "answered 401" in done.stderr
    assert "same" not in done.stderr.replace("the same", "")


def test_tls(tmp_path: Path) -> None:
    """The old gateway's certificate has to be signed by those of the file that is given, or by the system's."""
    name = tmp_path / "server.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=old"
    command = [require_program("openssl"), *options.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", name, "-out", f"{name}.crt"], check=True, capture_output=True)
    authority = tmp_path / "server.pem.crt"
    name.write_bytes(name.read_bytes() + authority.read_bytes())
    with answering({"/api/v1/metrics": b'{"status":"success","data":[]}'}, certificate=name) as url:
        assert run("import", "--from", url, f"--ca-file={authority}", directory=tmp_path).returncode == 0
        done = run("import", "--from", url, directory=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "certificate verify failed" in done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["--from"]),
        (["--from=old:9091"], ["--from", "http://old:9091"]),
        (["--from=http://me:secret@old:9091"], ["--from", "***", "--password-file"]),
        (["--from=http://old", "--basic-auth-user=me"], ["--password-file"]),
        (["--from=http://old", "--basic-auth-user=me", "--password-file=none"], ["--password-file", "No such file"]),
        (["--from=http://old/é"], ["--from", "http://old:9091"]),
        (["--from=http://old/a b"], ["--from", "http://old:9091"]),
        (["--from=http://old", "--timeout=0"], ["--timeout", "more than 0"]),
        (["--from=https://old", "--ca-file=none"], ["--ca-file", "'none' cannot be read"]),
        (["--from=http://old", "--compare-with=new"], ["--compare-with"]),
        (["--from=http://old", "--timeout=soon"], ["--timeout"]),
        (["--from=http://old", "--storage.url=memory:"], ["--storage.url"]),
    ],
)
def test_wrong_usage(tmp_path: Path, flags: list[str], words: list[str]) -> None:
    """What cannot be used is one line without a secret, and exit code 2."""
    done = run("import", *flags, directory=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert [word for word in words if word not in done.stderr] == []
    assert "secret" not in done.stderr
