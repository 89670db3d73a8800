"""Does curl, the client of shell scripts, work as the tutorial and the original's README promise?"""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from tests.harness import Gateway, require_program

SIZE = b"# HELP backup_bytes Size of the last backup.\n# TYPE backup_bytes gauge\nbackup_bytes 1.5e9\n"
WRITE_OUT = "|%{http_code} %{num_redirects} %{num_connects}"


@pytest.fixture(autouse=True)
def _empty(gateway: Gateway) -> None:
    gateway.wipe()


def curl(*arguments: str, stdin: bytes = b"") -> tuple[str, int, int]:
    """Run curl; return the body that it printed, the status, and how many connections the last transfer opened.

    A redirect fails the test: curl repeats a redirected POST as GET, and the push is lost.
    """
    done = subprocess.run(
        [require_program("curl"), "--silent", "--show-error", "--max-time", "30", "--write-out", WRITE_OUT, *arguments],
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    body, _, figures = done.stdout.decode().rpartition("|")
    code, redirects, connections = map(int, figures.split())
    assert redirects == 0
    return body, code, connections


def test_a_push_from_a_pipe_is_exposed(gateway: Gateway) -> None:
    """`echo ... | curl --data-binary @-` pushes, although curl calls the body a form."""
    assert curl("--data-binary", "@-", f"{gateway.url}/metrics/job/backup", stdin=b"x 1\n")[:2] == ("", 200)

    assert gateway.scrape().value("x", job="backup", instance="") == 1


def test_a_compressed_scrape(gateway: Gateway) -> None:
    """`curl --compressed` reads gzip to its end, of which it takes one member alone."""
    lines = "".join(f'x{{n="{number}"}} {number}\n' for number in range(20_000))
    curl("--data-binary", "@-", f"{gateway.url}/metrics/job/backup", stdin=lines.encode())
    for _ in range(3):  # read, and kept
        body, status, _ = curl("--compressed", "--header", "Accept-Encoding: gzip", f"{gateway.url}/metrics")
        assert (status, body.count("\nx{")) == (200, 20_000)


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_file_is_pushed_by_either_method(gateway: Gateway, tmp_path: Path, method: str) -> None:
    """A file goes in by PUT and by POST, with its HELP and TYPE."""
    file = tmp_path / "metrics.prom"
    file.write_bytes(SIZE)

    answer = curl("--request", method, "--data-binary", f"@{file}", f"{gateway.url}/metrics/job/backup/instance/db1")

    assert answer[:2] == ("", 200)
    family = gateway.scrape().families["backup_bytes"]
    assert (family.type, family.help) == ("gauge", "Size of the last backup.")
    assert family.one(job="backup", instance="db1").value == "1.5e+09"


def test_an_upload_is_a_put(gateway: Gateway, tmp_path: Path) -> None:
    """`curl --upload-file` replaces the group."""
    file = tmp_path / "metrics.prom"
    file.write_bytes(SIZE)
    curl("--data-binary", "@-", f"{gateway.url}/metrics/job/backup", stdin=b"old 1\n")

    assert curl("--upload-file", str(file), f"{gateway.url}/metrics/job/backup")[:2] == ("", 200)

    scrape = gateway.scrape()
    assert scrape.has("backup_bytes")
    assert not scrape.has("old")


def test_a_delete_removes_the_group_before_it_is_answered(gateway: Gateway) -> None:
    """`curl -X DELETE` is answered 202, and the next scrape does not have the group."""
    url = f"{gateway.url}/metrics/job/backup"
    curl("--data-binary", "@-", url, stdin=SIZE)

    assert curl("--request", "DELETE", url)[:2] == ("", 202)

    assert not gateway.scrape().has("backup_bytes")


@pytest.mark.parametrize("spelling", ["gzip", "GZIP"])
def test_a_compressed_file_is_read(gateway: Gateway, spelling: str) -> None:
    """`gzip | curl -H 'Content-Encoding: gzip'` pushes what was compressed."""
    url = f"{gateway.url}/metrics/job/backup"

    answer = curl("-H", f"Content-Encoding: {spelling}", "--data-binary", "@-", url, stdin=gzip.compress(SIZE))

    assert answer[:2] == ("", 200)
    assert gateway.scrape().has("backup_bytes")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-H", "Transfer-Encoding: chunked"), id="chunked"),
        pytest.param(("-H", "Expect: 100-continue"), id="expect-100"),
        pytest.param(("--http1.0",), id="http-1.0"),
        pytest.param(("-H", "Content-Type:"), id="no-content-type"),
        pytest.param(("-H", "Content-Type: application/json"), id="wrong-content-type"),
    ],
)
def test_however_curl_sends_the_body_it_is_read(gateway: Gateway, options: tuple[str, ...]) -> None:
    """Chunks, a wait for 100 Continue, HTTP/1.0 and any Content-Type change nothing."""
    answer = curl(*options, "--data-binary", "@-", f"{gateway.url}/metrics/job/backup", stdin=SIZE)

    assert answer[:2] == ("", 200)
    assert gateway.scrape().has("backup_bytes")


def test_a_large_file_arrives_whole(gateway: Gateway, tmp_path: Path) -> None:
    """A body of some megabytes, for which curl waits for 100 Continue by itself, loses no line."""
    file = tmp_path / "metrics.prom"
    lines = 60_000
    file.write_text("".join(f'rows_done{{table="table_{n:08d}"}} {n}\n' for n in range(lines)))
    assert file.stat().st_size > 2**21

    assert curl("--data-binary", f"@{file}", f"{gateway.url}/metrics/job/backup")[:2] == ("", 200)

    assert len(gateway.scrape().families["rows_done"].lines) == lines


def test_a_refused_push_says_why_on_the_terminal(gateway: Gateway) -> None:
    """The text of a 400 is what someone at a terminal needs: the line, the reason, and an end of line."""
    body, code, _ = curl("--data-binary", "@-", f"{gateway.url}/metrics/job/backup", stdin=b"x 1\ny oops\n")

    assert code == 400
    assert body.startswith("text format parsing error in line 2: ")
    assert body.endswith("\n")


def test_one_connection_serves_many_pushes(gateway: Gateway) -> None:
    """A second push of the same curl reuses the first's connection."""
    url = f"{gateway.url}/metrics/job/backup"

    body, code, connections = curl("--data-binary", "x 1\n", url, "--next", "--silent", "-w", WRITE_OUT, "-d", "", url)

    assert body == "|200 0 1"
    assert (code, connections) == (200, 0)


@pytest.mark.parametrize(("options", "encodings"), [((), {None}), (("--compressed",), {"gzip", "zstd"})])
def test_a_scrape_is_compressed_only_for_those_who_ask(
    gateway: Gateway, tmp_path: Path, options: tuple[str, ...], encodings: set[str | None]
) -> None:
    """A plain curl gets plain text; `curl --compressed` the same text in whatever both can do."""
    curl("--data-binary", "@-", f"{gateway.url}/metrics/job/backup", stdin=SIZE)
    headers = tmp_path / "headers"
    body = tmp_path / "body"

    curl(*options, "--dump-header", str(headers), "--output", str(body), f"{gateway.url}/metrics")

    fields = dict(line.lower().split(": ", 1) for line in headers.read_text().splitlines() if ": " in line)
    assert fields.get("content-encoding") in encodings
    assert b"\nbackup_bytes{" in body.read_bytes()


def test_a_head_request_is_answered(gateway: Gateway) -> None:
    """`curl --head`, a common probe, is answered wherever GET is."""
    body, code, _ = curl("--head", f"{gateway.url}/-/healthy")

    assert code == 200
    assert "HTTP/1.1 200" in body
