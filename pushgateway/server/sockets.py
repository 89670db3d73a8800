"""On which sockets does the gateway listen?

They are bound before anything else happens, so that a taken port is one line and exit code 1, and no store is touched.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Sequence
from typing import Final

from pushgateway.config import split_address
from pushgateway.errors import StartError

__all__ = ["listen", "systemd_sockets", "url_of"]

BACKLOG: Final = 2048
"""Connections that the kernel keeps until a worker accepts them; net.core.somaxconn may lower it."""

_NO_IPV6: Final = {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EADDRNOTAVAIL}

_FIRST_SYSTEMD_FD: Final = 3
"""sd_listen_fds(3)."""


def listen(addresses: Iterable[str]) -> list[socket.socket]:
    """Bind and listen.

    Args:
        addresses: HOST:PORT each. An empty host is every address, over IPv6 and IPv4 at once, or IPv4 alone where there
            is no IPv6. A name stands for all of its addresses. Port 0 picks a free one.

    Returns:
        One or more sockets an address, in order.

    Raises:
        StartError: An address is taken, not this machine's, or does not resolve.
    """
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            try:
                sockets += _listen(*split_address(address))
            except OSError as error:  # socket.gaierror among them
                raise StartError(f"cannot listen on {address}: {error.strerror or error}") from error
    except StartError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listen(host: str, port: int) -> list[socket.socket]:
    if not host:
        return [_wildcard(port)]
    found = dict.fromkeys(
        (family, sockaddr)
        for family, _, _, _, sockaddr in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    )
    sockets: list[socket.socket] = []
    refused: OSError | None = None
    for family, sockaddr in sorted(found, key=lambda item: item[0] is socket.AF_INET6):
        # All addresses of a name get the port that the first was given.
        target = (sockaddr[0], sockets[0].getsockname()[1] if sockets else port, *sockaddr[2:])
        try:
            sockets.append(_bound(family, target))
        except OSError as error:
            # In containers, localhost often resolves to ::1 where nothing has that address.
            if error.errno not in _NO_IPV6 or len(found) == 1:
                for sock in sockets:
                    sock.close()
                raise
            refused = error
    if not sockets and refused is not None:
        raise refused
    return sockets


def _wildcard(port: int) -> socket.socket:
    try:
        return _bound(socket.AF_INET6, ("::", port, 0, 0))
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
    return _bound(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104 - an empty host asks for it


def _bound(family: int, sockaddr: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Both protocols on the wildcard; elsewhere an IPv6 address takes IPv6 alone whatever this says.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(sockaddr[0] != "::"))
        sock.bind(sockaddr)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def systemd_sockets() -> list[socket.socket]:
    """Take the sockets that systemd hands over, and clear them from the environment (sd_listen_fds(3)).

    Raises:
        StartError: There are none for this process.
    """
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit() or count == "0":
        raise StartError("--web.systemd-socket: systemd has handed over no socket, expected a .socket unit")
    try:
        return [socket.socket(fileno=_FIRST_SYSTEMD_FD + number) for number in range(int(count))]
    except OSError as error:
        raise StartError(f"--web.systemd-socket: what systemd has handed over is not a socket: {error}") from error


def url_of(sock: socket.socket) -> str:
    """Say where a socket listens, as in ``127.0.0.1:9091``, ``[::]:9091`` or ``unix:/run/x``."""
    name: Sequence[object] | str | bytes = sock.getsockname()
    if isinstance(name, (str, bytes)):
        return f"unix:{os.fsdecode(name)}"
    return f"[{name[0]}]:{name[1]}" if sock.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"
