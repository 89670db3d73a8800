from __future__ import annotations

import ssl
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.errors import WebConfigError
from pushgateway.webconfig import ClientAuth, RateLimit, WebConfig, parse
from pushgateway.webconfig.ciphers import OPENSSL_NAMES, TLS13_SUITES

HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
PAIR = "cert_file: c.pem, key_file: /keys/k.pem"
CASES: list[dict[str, Any]] = tomllib.loads((Path(__file__).parents[2] / "data/web_config.toml").read_text())["refused"]


def read(text: str) -> WebConfig:
    return parse(text.replace("HASH", HASH).replace("PAIR", PAIR).encode(), file="/etc/gateway/web.yml")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"])
def test_refused(case: dict[str, Any]) -> None:
    """What cannot be used is refused in one line that names the file, the key and what was expected, and no secret."""
    with pytest.raises(WebConfigError) as caught:
        read(case["text"])
    message = str(caught.value)
    assert message.startswith("/etc/gateway/web.yml")
    assert "\n" not in message
    assert "geheim" not in message
    assert HASH not in message
    for words in case["words"]:
        assert words in message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "---\n",
        "{}",
        "tls_server_config:\nhttp_server_config:\nrate_limit:\nbasic_auth_users:\n",
        "tls_server_config: {}\nhttp_server_config: {headers: {}}\nrate_limit: {}\nbasic_auth_users: {}\n",
        "tls_server_config: {cert_file: '', min_version: TLS13, client_auth_type: }",
        "rate_limit: {interval: 0, burst: 0}",
        "http_server_config: {http2: false}",
        "\ufeff{}",
    ],
)
def test_nothing(text: str) -> None:
    """An empty file, empty sections and values that say no mean neither TLS nor anything else."""
    assert read(text) == WebConfig()


def test_everything() -> None:
    """Each key arrives where it belongs; relative paths are from the directory of the file."""
    config = read(
        f"""
        tls_server_config:
          cert_file: certificates/c.pem
          key: inline
          client_ca_file: /ca.pem
          client_auth_type: RequireAndVerifyClientCert
          client_allowed_sans: [a.example, 10.0.0.1, 7]
          min_version: TLS11
          max_version: TLS12
          cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305]
          curve_preferences: [CurveP384]
          prefer_server_cipher_suites: false
        http_server_config:
          http2: true
          headers: {{X-XSS-Protection: 0, X-Frame-Options: sameorigin}}
        basic_auth_users:
          007: {HASH}
          "jürgen ": {HASH}
        rate_limit: {{interval: 250ms, burst: 20}}
        """
    )
    tls = config.tls
    assert tls is not None
    assert tls.certificate.path == "/etc/gateway/certificates/c.pem"
    assert (tls.key.path, tls.key.inline) == ("", "inline")
    assert tls.client_ca is not None
    assert tls.client_ca.path == "/ca.pem"
    assert tls.client_auth is ClientAuth.REQUIRED
    assert tls.allowed_sans == ("a.example", "10.0.0.1", "7")
    assert (tls.minimum, tls.maximum) == (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2)
    assert tls.ciphers == ("ECDHE-RSA-AES256-SHA", "ECDHE-RSA-CHACHA20-POLY1305")
    assert tls.curve == "secp384r1"
    assert not tls.prefer_own_order
    assert config.wants_http2
    assert config.headers == (("X-XSS-Protection", "0"), ("X-Frame-Options", "sameorigin"))
    assert config.users == {b"007": HASH.encode(), "jürgen ".encode(): HASH.encode()}
    assert config.rate_limit == RateLimit(0.25, 20)
    assert config.paths() == ("/etc/gateway/certificates/c.pem", "/ca.pem")


def test_usual_tls() -> None:
    """Without more than certificate and key: TLS 1.2 and 1.3, no client certificates, suites as OpenSSL has them."""
    tls = read("tls_server_config: {PAIR}").tls
    assert tls is not None
    assert (tls.minimum, tls.maximum) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    assert (tls.client_auth, tls.client_ca, tls.allowed_sans) == (ClientAuth.NONE, None, ())
    assert (tls.ciphers, tls.curve, tls.prefer_own_order) == ((), "", True)


def test_shown_without_secrets() -> None:
    """What a configuration looks like in a traceback holds neither keys nor hashes."""
    text = repr(read("tls_server_config: {cert: c, key: geheim}\nbasic_auth_users: {a: HASH}\n"))
    assert "geheim" not in text
    assert HASH not in text


def test_too_large() -> None:
    """A file of more than a mebibyte is refused before it is parsed."""
    with pytest.raises(WebConfigError, match="expected at most 1048576 bytes"):
        parse(b"#" * (1 << 20) + b"#", file="w")


def test_not_utf8() -> None:
    """Bytes that are not UTF-8 are refused with their place."""
    with pytest.raises(WebConfigError, match="w: not UTF-8 at byte 2"):
        parse(b"# \xff", file="w")


def test_deep() -> None:
    """Nesting without end is refused, not followed."""
    with pytest.raises(WebConfigError, match="nested too deeply"):
        parse(b"[" * 5_000, file="w")


@pytest.mark.parametrize("name", sorted(OPENSSL_NAMES))
def test_suites_are_spelt_as_openssl_knows_them(name: str) -> None:
    """OpenSSL knows each suite by the name that the table gives, but for weak ones that a build may lack."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.set_ciphers(f"{OPENSSL_NAMES[name]}:@SECLEVEL=0")
    except ssl.SSLError:
        assert "RC4" in name or "3DES" in name  # weak ciphers are an option of OpenSSL's build
        return
    assert OPENSSL_NAMES[name] in {cipher["name"] for cipher in context.get_ciphers()}
    assert name not in TLS13_SUITES


KEYS = st.sampled_from(
    [
        "tls_server_config",
        "http_server_config",
        "basic_auth_users",
        "rate_limit",
        "cert_file",
        "key",
        "headers",
        "interval",
        "burst",
        "min_version",
        "cipher_suites",
        "x",
    ]
)
SCALARS = st.sampled_from(
    ["", "1", "true", "1s", "TLS12", HASH, "'", "[", "*a", "&a", "!!python/object:os.system x", "é"]
)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.dictionaries(KEYS, inner, max_size=3) | st.lists(inner, max_size=2), max_leaves=8
)


def flow(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return str(value)


@given(st.text() | DOCUMENTS.map(flow))
def test_any_text(text: str) -> None:
    """Whatever a file holds is a configuration or a WebConfigError in one line."""
    message = ""
    try:
        parse(text.encode("utf-8", "surrogatepass"), file="w")
    except WebConfigError as error:
        message = str(error)
    assert "\n" not in message
