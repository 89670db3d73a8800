from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from pushgateway.errors import WebConfigError
from pushgateway.webconfig import Loaded, Source, load

HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"


@pytest.fixture
def home(tmp_path: Path, pems: Path) -> Path:
    """A directory of its own with the PEM files in it."""
    for file in pems.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path


def write(home: Path, text: str) -> str:
    """Replace the file by another one, as careful programs do."""
    part = home / "web.yml.part"
    part.write_text(text)
    return str(part.replace(home / "web.yml"))


def read(home: Path, text: str) -> Loaded:
    return load(write(home, text))


def indented(path: Path) -> str:
    return path.read_text().replace("\n", "\n    ")


def greet(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Shake hands in memory; returns the client's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    there = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (here, there):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return here


def trusting(home: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(home / "ca.crt"))


def secured(loaded: Loaded) -> ssl.SSLContext:
    assert loaded.security is not None
    return loaded.security.context


def test_files(home: Path) -> None:
    """Certificate and key come from files beside the configuration; TLS 1.3 is spoken, and HTTP/1.1 alone offered."""
    client = trusting(home)
    client.set_alpn_protocols(["h2", "http/1.1"])
    side = greet(secured(read(home, TLS)), client)
    assert side.version() == "TLSv1.3"
    assert side.selected_alpn_protocol() == "http/1.1"


def test_inline(home: Path) -> None:
    """Certificate, key and authority may stand in the configuration itself."""
    text = (
        f"tls_server_config:\n  cert: |\n    {indented(home / 'server.crt')}\n"
        f"  key: |\n    {indented(home / 'server.key')}\n"
        f"  client_auth_type: RequireAndVerifyClientCert\n  client_ca: |\n    {indented(home / 'ca.crt')}\n"
    )
    context = secured(read(home, text))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


def test_versions_and_suites(home: Path) -> None:
    """Of TLS 1.2 only the suites that are listed are offered."""
    only = "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n"
    context = secured(read(home, TLS + only + "  curve_preferences: [CurveP384]\n"))
    side = greet(context, trusting(home))
    cipher = side.cipher()
    assert cipher is not None
    assert (side.version(), cipher[0]) == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")
    client = trusting(home)
    client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    with pytest.raises(ssl.SSLError):
        greet(context, client)


def test_old_versions(home: Path) -> None:
    """With min_version TLS10, a client that speaks nothing newer than TLS 1.0 can connect."""
    client = trusting(home)
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        greet(secured(read(home, TLS)), client)
    assert greet(secured(read(home, TLS + "  min_version: TLS10\n")), client).version() == "TLSv1"


@pytest.mark.parametrize(("word", "preferred"), [("true", True), ("false", False)])
def test_order_of_suites(home: Path, word: str, preferred: bool) -> None:
    """Whose order counts is the operator's choice."""
    context = secured(read(home, f"{TLS}  prefer_server_cipher_suites: {word}\n"))
    assert bool(context.options & ssl.OP_CIPHER_SERVER_PREFERENCE) is preferred


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TLS.replace("server.crt", "nothing.crt"), ["cert_file: cannot read", "nothing.crt: No such file"]),
        (TLS.replace("server.key", "."), ["key_file: cannot read", "directory"]),
        (TLS.replace("server.crt", "server.key"), ["cert_file: expected PEM with a certificate"]),
        (TLS.replace("server.key", "server.crt"), ["key_file: expected PEM with a private key"]),
        (TLS.replace("server.key", "other.key"), ["key_file: certificate and private key", "key values mismatch"]),
        (TLS.replace("server.key", "locked.key"), ["key_file: the private key is encrypted"]),
        (TLS.replace("server.crt", "garbled.crt"), ["certificate and private key cannot be used together"]),
        (TLS.replace("server.crt", "large.crt"), ["cert_file", "large.crt has more than 1048576 bytes"]),
        (
            TLS + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: server.key\n",
            ["client_ca_file: expected PEM with certificates"],
        ),
        (
            TLS + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca: ''\n  client_ca_file: empty.crt\n",
            ["client_ca_file: expected PEM with certificates"],
        ),
        (
            TLS + "  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA, TLS_RSA_WITH_AES_128_CBC_SHA]\n",
            ["cipher_suites: this machine's OpenSSL does not have RC4-SHA"],
        ),
        (TLS + "  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n", ["OpenSSL does not have RC4-SHA"]),
    ],
)
def test_what_the_files_hold(home: Path, text: str, words: list[str]) -> None:
    """What a file lacks is told with the key that names it, and the start never asks for a passphrase."""
    locked = ("ec", "-in", home / "server.key", "-aes128", "-passout", "pass:x", "-out", home / "locked.key")
    subprocess.run(["openssl", *locked], check=True, capture_output=True)
    garbled = (home / "server.crt").read_text().splitlines()
    (home / "garbled.crt").write_text("\n".join([garbled[0], "AAAA", garbled[-1], ""]))
    (home / "large.crt").write_bytes(b"x" * ((1 << 20) + 1))
    (home / "empty.crt").write_text("")
    with pytest.raises(WebConfigError) as caught:
        read(home, text)
    message = str(caught.value)
    assert message.startswith(f"{home}/web.yml, line ")
    assert "\n" not in message
    for part in words:
        assert part in message


def test_no_file(tmp_path: Path) -> None:
    """A configuration that is not there is told with its path."""
    with pytest.raises(WebConfigError, match=r"/nothing\.yml: cannot be read: No such file"):
        load(f"{tmp_path}/nothing.yml")


def test_refresh_reads_only_what_has_changed(home: Path) -> None:
    """As long as no file is another one, nothing is read."""
    source = Source(write(home, TLS))
    before = source.current
    assert not source.refresh()
    assert source.current is before


@pytest.mark.parametrize("name", ["web.yml", "server.crt", "server.key"])
def test_refresh_looks_at_every_file(home: Path, name: str) -> None:
    """Each file that is named is watched, not only the configuration itself."""
    source = Source(write(home, TLS))
    before = source.current
    shutil.copy(home / name, home / "copy")
    (home / "copy").replace(home / name)
    assert source.refresh()
    assert source.current is not before
    assert not source.refresh()


def test_refresh_through_links(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A mounted Secret changes by one link to a directory: `..data` is moved to point to another one."""
    mount = tmp_path_factory.mktemp("mount")
    for number, user in enumerate(("old", "new")):
        (mount / f"..{number}").mkdir()
        (mount / f"..{number}" / "web.yml").write_text(f"basic_auth_users: {{{user}: {HASH}}}\n")
    (mount / "..data").symlink_to("..0")
    (mount / "web.yml").symlink_to("..data/web.yml")
    source = Source(str(mount / "web.yml"))
    assert list(source.current.config.users) == [b"old"]
    (mount / "..tmp").symlink_to("..1")
    (mount / "..tmp").replace(mount / "..data")
    assert source.refresh()
    assert list(source.current.config.users) == [b"new"]


def test_broken_and_mended(home: Path) -> None:
    """What cannot be used leaves the last good configuration, says why, and is forgotten when it is mended."""
    source = Source(write(home, TLS))
    before = source.current
    write(home, "nonsense")
    assert source.refresh()
    assert source.current is before
    assert "web.yml, line 1: a text where a mapping is expected" in source.problem
    assert not source.refresh()
    write(home, TLS.replace(" server.", " missing."))
    assert source.refresh()
    assert "missing.crt" in source.problem
    shutil.copy(home / "server.crt", home / "missing.crt")
    assert source.refresh()
    assert "missing.key" in source.problem
    shutil.copy(home / "server.key", home / "missing.key")
    assert source.refresh()
    assert source.problem == ""
    assert source.current is not before


def test_gone(home: Path) -> None:
    """A file that is removed is a file that cannot be used."""
    source = Source(write(home, TLS))
    os.unlink(home / "web.yml")
    assert source.refresh()
    assert "cannot be read" in source.problem


@pytest.mark.parametrize("text", ["", "\n", "# written next\n", "---\n"])
def test_emptied(home: Path, text: str) -> None:
    """A file that has become empty, as while a shell writes it anew, lets nobody in; one that says `{}` does."""
    source = Source(write(home, f"basic_auth_users: {{a: {HASH}}}\n"))
    write(home, text)
    assert source.refresh()
    assert list(source.current.config.users) == [b"a"]
    assert "web.yml: has become empty, expected {}" in source.problem
    write(home, "{}")
    assert source.refresh()
    assert (source.problem, source.current.config.users) == ("", {})
    write(home, text)
    assert source.refresh()
    assert source.problem == ""


@pytest.mark.parametrize(("first", "then", "word"), [(TLS, "", "off"), ("", TLS, "on")])
def test_tls_is_not_switched(home: Path, first: str, then: str, word: str) -> None:
    """TLS on or off is decided at the start; a file that changes its mind is told like one that cannot be used."""
    source = Source(write(home, first))
    before = source.current
    write(home, f"{then}basic_auth_users: {{a: {HASH}}}\n")
    assert source.refresh()
    assert source.current is before
    assert f"TLS cannot be switched {word} without a restart" in source.problem
