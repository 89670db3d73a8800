"""Which keys may a web configuration have, and what do they mean?

Pure: it is handed the text, reads no file, and says of each value what is wrong with it. What the original accepts and
Python's ssl cannot do is refused, with the key's name: to leave it out in silence would be to serve less safely than
the operator believes.
"""

from __future__ import annotations

import enum
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pushgateway.errors import ConfigError
from pushgateway.values import duration_seconds, shown
from pushgateway.webconfig.ciphers import OPENSSL_NAMES, TLS13_SUITES
from pushgateway.webconfig.document import Section, Value, read_document

__all__ = ["ClientAuth", "Pem", "RateLimit", "Tls", "WebConfig", "parse"]

_TLS_KEYS: Final = (
    "cert",
    "cert_file",
    "key",
    "key_file",
    "client_ca",
    "client_ca_file",
    "client_auth_type",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "curve_preferences",
    "prefer_server_cipher_suites",
)
_VERSIONS: Final = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_CURVES: Final = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
"""Go's names to OpenSSL's."""

_HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""The headers that may be set, each with its values; () for any."""

_BCRYPT: Final = re.compile(r"\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")


class ClientAuth(enum.Enum):
    """What is asked of a client's certificate."""

    NONE = "NoClientCert"
    IF_GIVEN = "VerifyClientCertIfGiven"
    REQUIRED = "RequireAndVerifyClientCert"


_UNAVAILABLE_AUTH: Final = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
"""Python's ssl verifies every certificate that it asks for."""


@dataclass(frozen=True, slots=True)
class Pem:
    """Certificates or a key: a file, or what stands in the configuration itself.

    Attributes:
        value: The key's address, for messages.
        path: The file, absolute; "" if it is inline.
        inline: The PEM text; "" if it is a file.
    """

    value: Value = field(repr=False)
    path: str
    inline: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tls:
    """How connections are secured.

    Attributes:
        certificate: The server's certificate and its chain.
        key: The server's private key.
        client_ca: Who may issue clients' certificates; None for whoever the machine trusts.
        client_auth: What is asked of clients.
        allowed_sans: Names of which a client's certificate must have one; () for any.
        minimum: The oldest version of TLS.
        maximum: The newest one.
        ciphers: OpenSSL's names of the suites up to TLS 1.2; () for the usual ones.
        curve: OpenSSL's name of the only curve for key exchange; "" for the usual ones.
        prefer_own_order: Whether our order of suites counts, or the client's.
        cipher_value: The address of the suites, for messages.
    """

    certificate: Pem
    key: Pem
    client_ca: Pem | None
    client_auth: ClientAuth
    allowed_sans: tuple[str, ...]
    minimum: ssl.TLSVersion
    maximum: ssl.TLSVersion
    ciphers: tuple[str, ...]
    curve: str
    prefer_own_order: bool
    cipher_value: Value = field(repr=False)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many requests are answered.

    Attributes:
        interval_seconds: A request more is allowed each time that this passes; above 0.
        burst: How many may come at once; at least 1.
    """

    interval_seconds: float
    burst: int


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What the file says.

    Attributes:
        tls: How connections are secured; None for plain HTTP.
        users: bcrypt hashes by user name, both in bytes; empty for no authentication.
        headers: Names and values of headers that every answer gets.
        rate_limit: How many requests are answered; None for all.
        wants_http2: Whether HTTP/2 is asked for in so many words.
    """

    tls: Tls | None = None
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    headers: tuple[tuple[str, str], ...] = ()
    rate_limit: RateLimit | None = None
    wants_http2: bool = False

    def paths(self) -> tuple[str, ...]:
        """Return the files that are to be read beside the configuration itself."""
        if self.tls is None:
            return ()
        return tuple(pem.path for pem in (self.tls.certificate, self.tls.key, self.tls.client_ca) if pem and pem.path)


def parse(data: bytes, *, file: str) -> WebConfig:
    """Read a web configuration.

    Args:
        data: The file's content; empty is valid.
        file: Its path: for messages, and for relative paths in it, which are from its directory.

    Raises:
        WebConfigError: It is not YAML, has a key that is unknown or given twice, or a value that cannot be used.
    """
    top = read_document(data, file=file).section(
        ("tls_server_config", "http_server_config", "rate_limit", "basic_auth_users")
    )
    http = top["http_server_config"].section(("http2", "headers"))
    return WebConfig(
        tls=_tls(top["tls_server_config"], directory=os.path.dirname(os.path.abspath(file))),
        users=_users(top["basic_auth_users"]),
        headers=_headers(http["headers"]),
        rate_limit=_rate_limit(top["rate_limit"]),
        wants_http2=http["http2"].flag(default=False),
    )


def _tls(value: Value, *, directory: str) -> Tls | None:
    section = value.section(_TLS_KEYS)
    auth = _client_auth(section["client_auth_type"])
    certificate = _pem(section, "cert", directory=directory)
    key = _pem(section, "key", directory=directory)
    client_ca = _pem(section, "client_ca", directory=directory)
    sans = tuple(item.spelt() for item in section["client_allowed_sans"].items())
    minimum, maximum = _versions(section)
    ciphers = tuple(_cipher(item) for item in section["cipher_suites"].items())
    curve = _curve(section["curve_preferences"])
    prefer_own_order = section["prefer_server_cipher_suites"].flag(default=True)
    if not (certificate or key or client_ca or section["client_auth_type"].text() or sans):
        return None
    if certificate is None or key is None:
        name = "cert" if certificate is None else "key"
        raise value.error(f"TLS needs {name} or {name}_file")
    if client_ca is not None and auth is ClientAuth.NONE:
        raise client_ca.value.error("needs client_auth_type RequireAndVerifyClientCert or VerifyClientCertIfGiven")
    if sans and auth is not ClientAuth.REQUIRED:
        raise section["client_allowed_sans"].error("needs client_auth_type RequireAndVerifyClientCert")
    return Tls(
        certificate=certificate,
        key=key,
        client_ca=client_ca,
        client_auth=auth,
        allowed_sans=sans,
        minimum=minimum,
        maximum=maximum,
        ciphers=ciphers,
        curve=curve,
        prefer_own_order=prefer_own_order,
        cipher_value=section["cipher_suites"],
    )


def _pem(section: Section, name: str, *, directory: str) -> Pem | None:
    inline, path = section[name].text(), section[f"{name}_file"].text()
    if inline and path:
        raise section[name].error(f"given together with {name}_file, expected one of them")
    if inline:
        return Pem(section[name], "", inline)
    if not path:
        return None
    if "\n" in path or "-----" in path or "\0" in path:
        raise section[f"{name}_file"].error(f"expected the path of a file; PEM text belongs to {name}")
    return Pem(section[f"{name}_file"], os.path.join(directory, path), "")


def _client_auth(value: Value) -> ClientAuth:
    word = value.text() or ClientAuth.NONE.value
    if word in _UNAVAILABLE_AUTH:
        raise value.error(f"{word} is not supported: certificates cannot be asked for without verifying them; {_AUTHS}")
    try:
        return ClientAuth(word)
    except ValueError:
        raise value.error(f"{shown(word)} is not supported, {_AUTHS}") from None


_AUTHS: Final = f"expected {', '.join(auth.value for auth in ClientAuth)}"


def _versions(section: Section) -> tuple[ssl.TLSVersion, ssl.TLSVersion]:
    found = []
    for name, default in (("min_version", "TLS12"), ("max_version", "TLS13")):
        word = section[name].text() or default
        if word not in _VERSIONS:
            raise section[name].error(f"{shown(word)} is not a version of TLS, expected {', '.join(_VERSIONS)}")
        found.append(_VERSIONS[word])
    if found[0] > found[1]:
        raise section["min_version"].error("newer than max_version")
    return found[0], found[1]


def _cipher(value: Value) -> str:
    name = value.text()
    if name in TLS13_SUITES:
        raise value.error(f"{name} is of TLS 1.3, whose suites cannot be chosen; expected suites of TLS 1.2 or older")
    if name not in OPENSSL_NAMES:
        raise value.error(f"{shown(name)} is not a cipher suite, expected one such as {next(iter(OPENSSL_NAMES))}")
    return OPENSSL_NAMES[name]


def _curve(value: Value) -> str:
    names = [item.text() for item in value.items()]
    for name, item in zip(names, value.items(), strict=True):
        if name not in _CURVES:
            raise item.error(f"{shown(name)} is not a curve, expected one of {', '.join(_CURVES)}")
    if len(names) > 1:
        raise value.error("a list of several curves is not supported, expected one of them, or none for the usual ones")
    return _CURVES[names[0]] if names else ""


def _users(value: Value) -> Mapping[bytes, bytes]:
    users = {}
    for name, item in value.section():
        if ":" in name:
            raise item.error("a user name with a colon can never be sent, expected one without")
        text = item.spelt()
        if not _BCRYPT.fullmatch(text):
            raise item.error("not a bcrypt hash, expected one that begins with $2a$, $2b$ or $2y$ (60 characters)")
        users[name.encode()] = text.encode()
    return MappingProxyType(users)


def _headers(value: Value) -> tuple[tuple[str, str], ...]:
    headers = []
    for name, item in value.section(tuple(_HEADERS)):
        text = item.spelt()
        if _HEADERS[name] and text not in _HEADERS[name]:
            raise item.error(f"{shown(text)} is not supported, expected {' or '.join(_HEADERS[name])}")
        if not re.fullmatch(r"[ -~]*", text):
            raise item.error("expected printable ASCII on one line")
        headers.append((name, text))
    return tuple(headers)


def _rate_limit(value: Value) -> RateLimit | None:
    section = value.section(("interval", "burst"))
    interval, burst = section["interval"], section["burst"].whole(default=0)
    try:
        seconds = float(duration_seconds(interval.spelt(default="0"), interval.key))
    except ConfigError as error:
        raise interval.error(error.problem) from None
    if seconds == 0:
        return None
    if burst < 1:
        raise section["burst"].error("expected at least 1: with less no request would ever be answered")
    return RateLimit(seconds, burst)
