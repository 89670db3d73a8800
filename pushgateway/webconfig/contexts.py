"""How does a TLS configuration become a context of Python's ssl?

Everything is read into memory first and handed to OpenSSL from there, whether it came from a file or from the
configuration itself: certificate and key are those that were looked at, and no key is ever written to a disk.
"""

from __future__ import annotations

import os
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pushgateway.webconfig.ciphers import WITHOUT_LIST
from pushgateway.webconfig.document import MOST_BYTES
from pushgateway.webconfig.parse import ClientAuth, Pem, Tls

__all__ = ["make_context", "read_pem"]

_VERIFY_MODES: Final = {
    ClientAuth.NONE: ssl.CERT_NONE,
    ClientAuth.IF_GIVEN: ssl.CERT_OPTIONAL,
    ClientAuth.REQUIRED: ssl.CERT_REQUIRED,
}

_PROTOCOLS: Final = ("http/1.1",)


def make_context(tls: Tls, *, read: Callable[[Pem], bytes]) -> ssl.SSLContext:
    """Make a server's context.

    Args:
        tls: What it should do.
        read: Returns the content of a file, or what is inline; raises WebConfigError.

    Raises:
        WebConfigError: A file cannot be read or does not hold what it should, key and certificate do not belong
            together, or OpenSSL cannot do what is asked.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with warnings.catch_warnings():
        # TLS 1.0 and 1.1 are deprecated, and the operator's choice.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = tls.minimum, tls.maximum
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not tls.prefer_own_order:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(list(_PROTOCOLS))
    _set_ciphers(context, tls)
    if tls.curve:
        context.set_ecdh_curve(tls.curve)
    _load_certificate(context, tls, read)
    _verify_clients(context, tls, read)
    return context


def _set_ciphers(context: ssl.SSLContext, tls: Tls) -> None:
    old = tls.minimum < ssl.TLSVersion.TLSv1_2
    if not tls.ciphers and not old:
        return
    names = tls.ciphers or WITHOUT_LIST
    # Level 1 and above refuse the SHA-1 that TLS 1.0 and 1.1 sign with.
    level = ["@SECLEVEL=0"] if old else []
    missing = list(names)
    try:
        context.set_ciphers(":".join([*names, *level]))
        available = {cipher["name"] for cipher in context.get_ciphers()}
        missing = [name for name in names if name not in available]
    except ssl.SSLError:
        pass  # none of them is there
    if missing:
        raise tls.cipher_value.error(f"this machine's OpenSSL does not have {', '.join(missing)}")


def _load_certificate(context: ssl.SSLContext, tls: Tls, read: Callable[[Pem], bytes]) -> None:
    certificate, key = read(tls.certificate), read(tls.key)
    for pem, data, label in ((tls.certificate, certificate, b"CERTIFICATE"), (tls.key, key, b"PRIVATE KEY")):
        if label + b"-----" not in data:
            raise pem.value.error(f"expected PEM with a {label.decode().lower()}, found none")
    try:
        with _in_memory(certificate) as certificate_path, _in_memory(key) as key_path:
            context.load_cert_chain(certificate_path, key_path, password=_refuse_password)
    except _EncryptedKeyError:
        raise tls.key.value.error("the private key is encrypted, expected one without a passphrase") from None
    except ssl.SSLError as error:
        # OpenSSL does not say which of the two it could not use, but for a mismatch.
        raise tls.key.value.error(
            f"certificate and private key cannot be used together: {_reason(error)}; expected a certificate in "
            f"{tls.certificate.value.key} and its own private key"
        ) from None


def _verify_clients(context: ssl.SSLContext, tls: Tls, read: Callable[[Pem], bytes]) -> None:
    context.verify_mode = _VERIFY_MODES[tls.client_auth]
    # As in Go: whoever is listed is trusted, also an authority that another one has signed.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if tls.client_ca is not None:
        try:
            context.load_verify_locations(cadata=read(tls.client_ca).decode("ascii", "replace"))
        except (ssl.SSLError, ValueError) as error:
            reason = _reason(error) if isinstance(error, ssl.SSLError) else "no certificate found"
            raise tls.client_ca.value.error(f"expected PEM with certificates: {reason}") from None
    elif tls.client_auth is not ClientAuth.NONE:
        context.set_default_verify_paths()


class _EncryptedKeyError(Exception):
    pass


def _refuse_password() -> str:
    # Without this, OpenSSL would ask on the terminal, and wait.
    raise _EncryptedKeyError


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "not understood").replace("_", " ").lower()


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """Lend data as a file that has no name and is on no disk."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def read_pem(pem: Pem) -> bytes:
    """Return what stands in a PEM file, or inline.

    Raises:
        WebConfigError: The file cannot be read, or is larger than a web configuration may be.
    """
    if not pem.path:
        return pem.inline.encode()
    try:
        with open(pem.path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise pem.value.error(f"cannot read {pem.path}: {error.strerror or error}") from None
    if len(data) > MOST_BYTES:
        raise pem.value.error(f"{pem.path} has more than {MOST_BYTES} bytes, expected PEM")
    return data
