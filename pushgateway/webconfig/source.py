"""Which web configuration holds now, and what if the file has become unusable?

A `Source` is made before the workers are forked, so that each begins with the last configuration that could be used.
The arbiter and each worker then look about once a second whether the file, or one that it names, is another one: by
time, size and inode, through symbolic links, as Kubernetes exchanges mounted secrets. What cannot be used changes
nothing but `problem`; nor does a file that has become empty, which it is while a shell's `>` writes it anew, or after
that on a full disk: it would let everybody in.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from pushgateway.errors import WebConfigError
from pushgateway.loglines import Log
from pushgateway.webconfig.contexts import make_context, read_pem
from pushgateway.webconfig.document import MOST_BYTES, read_document
from pushgateway.webconfig.parse import WebConfig, parse

__all__ = ["Loaded", "Security", "Source", "load"]

log = Log(__name__)

_WATCH_SECONDS: Final = 0.5
"""Looking costs some microseconds a file; the reference promises a second."""

_Stamp: TypeAlias = tuple[int, int, int, int, int] | None


@dataclass(frozen=True, slots=True)
class Security:
    """How a connection is secured.

    Attributes:
        context: The TLS context.
        allowed_sans: Names of which a client's certificate must have one; () for any.
    """

    context: ssl.SSLContext
    allowed_sans: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration with all that was read for it.

    Attributes:
        config: What the file says.
        security: How connections are secured; None for plain HTTP.
    """

    config: WebConfig
    security: Security | None


def load(path: str) -> Loaded:
    """Read a web configuration and the files that it names.

    Raises:
        WebConfigError: One of them cannot be read or used.
    """
    return _load(parse(_read(path), file=path))


def _load(config: WebConfig) -> Loaded:
    if config.tls is None:
        return Loaded(config, None)
    return Loaded(config, Security(make_context(config.tls, read=read_pem), config.tls.allowed_sans))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise WebConfigError(path, "", f"cannot be read: {error.strerror or error}") from None


class Source:
    """The last web configuration that could be used.

    Args:
        path: The file.

    Raises:
        WebConfigError: It cannot be used now, at the start.

    Attributes:
        current: The configuration that holds.
        problem: Why the files as they are now cannot be used; "" if they are.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._paths: tuple[str, ...] = ()
        self.problem = ""
        self.current = self._read_all(may_be_empty=True)

    def refresh(self) -> bool:
        """Read the files again if any of them is another one than before.

        Returns:
            Whether `current` or `problem` may have changed.
        """
        if self._stamps == _stamps((self._path, *self._paths)):
            return False
        try:
            loaded = self._read_all(may_be_empty=self.current.config == WebConfig())
        except WebConfigError as error:
            self.problem = str(error)
            return True
        if (loaded.security is None) == (self.current.security is None):
            self.current, self.problem = loaded, ""
        else:
            switched = "off" if loaded.security is None else "on"
            self.problem = f"{self._path}: tls_server_config: TLS cannot be switched {switched} without a restart"
        return True

    def watch(self) -> None:
        """Refresh in a thread of its own from now on: a file system that hangs must not hold the event loop."""
        threading.Thread(target=self._watch, name="web-config", daemon=True).start()

    def _watch(self) -> None:
        never = threading.Event()
        while not never.wait(_WATCH_SECONDS):
            try:
                self.refresh()
            except Exception:
                # Memory or descriptors that are short for a moment: the next look may succeed.
                log.exception("cannot look at the web configuration", file=self._path)

    def _read_all(self, *, may_be_empty: bool) -> Loaded:
        """Read everything; stamps are taken before, so that what changes meanwhile is read again."""
        self._stamps = _stamps((self._path, *self._paths))
        data = _read(self._path)
        if not may_be_empty and read_document(data, file=self._path).absent:
            raise WebConfigError(self._path, "", "has become empty, expected {} if nothing is to be configured")
        config = parse(data, file=self._path)
        if config.paths() != self._paths:
            self._paths = config.paths()
            self._stamps = self._stamps[:1] + _stamps(self._paths)
        return _load(config)


def _stamps(paths: Iterable[str]) -> tuple[_Stamp, ...]:
    return tuple(map(_stamp, paths))


def _stamp(path: str) -> _Stamp:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
