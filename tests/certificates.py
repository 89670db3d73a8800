"""Where do tests get certificates from?

An `Authority` makes them with openssl, in a directory that the test gives: elliptic curves, since making a key takes
milliseconds then.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.harness import require_program

__all__ = ["Authority"]

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """An authority that signs certificates.

    Args:
        directory: Where everything is put: ``NAME.crt``, ``NAME.key`` and ``ca.crt`` of the authority.
        name: What the authority is called, and its files.
    """

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.directory = directory
        self.name = name
        self._openssl = require_program("openssl")
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")
        files = ("-keyout", f"{name}.key", "-out", f"{name}.crt")
        self._run("req", "-x509", *_KEY, *files, "-days", "2", "-subj", f"/CN={name}", *usage)

    @property
    def certificate(self) -> Path:
        """The authority's own certificate."""
        return self.directory / f"{self.name}.crt"

    def issue(self, name: str, sans: str = "IP:127.0.0.1,DNS:localhost") -> Path:
        """Make a certificate and its key.

        Args:
            name: The subject, and the name of the files.
            sans: Alternative names as openssl writes them.

        Returns:
            The certificate; the key is beside it, as ``NAME.key``.
        """
        self._run("req", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (self.directory / f"{name}.ext").write_text(f"subjectAltName={sans}\nauthorityKeyIdentifier=keyid\n")
        authority = ("-CA", f"{self.name}.crt", "-CAkey", f"{self.name}.key", "-CAcreateserial")
        request = ("-in", f"{name}.csr", "-out", f"{name}.crt", "-days", "2", "-extfile", f"{name}.ext")
        self._run("x509", "-req", *request, *authority)
        return self.directory / f"{name}.crt"

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._openssl, *arguments], cwd=self.directory, check=True, capture_output=True)
