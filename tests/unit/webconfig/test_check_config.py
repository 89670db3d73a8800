from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pushgateway import cli

HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("", "no TLS, no authentication, 0 headers, no rate limit"),
        (
            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
            f"basic_auth_users: {{a: {HASH}, b: {HASH}}}\nrate_limit: {{interval: 100ms, burst: 5}}\n"
            "http_server_config: {headers: {X-Frame-Options: deny}}\n",
            "TLS with NoClientCert, 2 users, 1 headers, 10 requests/s, 5 at once",
        ),
    ],
)
def test_good(tmp_path: Path, pems: Path, capsys: pytest.CaptureFixture[str], text: str, summary: str) -> None:
    """A file that can be used is summed up in one line on stdout."""
    for name in ("server.crt", "server.key"):
        shutil.copy(pems / name, tmp_path)
    file = tmp_path / "web.yml"
    file.write_text(text)
    assert cli.main(["check-config", str(file)]) == 0
    assert capsys.readouterr() == (f"{file}: OK: {summary}\n", "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tls_server_config: {cert_file: a, key_file: b}", "cert_file: cannot read"),
        ("rate_limit: 5", "rate_limit: a number where a mapping is expected"),
    ],
)
def test_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    """A file that cannot be used ends with exit code 1 and one line on stderr."""
    file = tmp_path / "web.yml"
    file.write_text(text)
    assert cli.main(["check-config", str(file)]) == 1
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.parametrize(
    "arguments", [["check-config"], ["check-config", "a", "b"], ["check-config", "--nothing", "a"]]
)
def test_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Without exactly one file the exit code is 2."""
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
