"""How does systemd, or whatever else has started the gateway, learn that it serves, lives and stops?

By datagrams to the socket that NOTIFY_SOCKET names (sd_notify(3)). Without that variable nothing is sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final, Self

__all__ = ["Supervisor"]

_WANTED: Final = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


class Supervisor:
    """Whoever waits for notices; most gateways have none.

    Args:
        address: Path of a datagram socket, or ``@`` and a name in the abstract namespace; the default is nobody.
        watched: Whether it wants to be told again and again that the gateway lives.
    """

    def __init__(self, address: str = "", *, watched: bool = False) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watched = watched
        self._is_ready = False

    @classmethod
    def from_environment(cls) -> Self:
        """Take what the environment says and clear it, so that neither gunicorn nor a worker speaks in our place."""
        address, pid, interval = (os.environ.pop(name, "") for name in _WANTED)
        return cls(address, watched=interval not in ("", "0") and pid in ("", str(os.getpid())))

    @property
    def waits(self) -> bool:
        """Whether somebody waits to hear that the gateway serves."""
        return bool(self._address) and not self._is_ready

    def ready(self) -> None:
        """Say that requests are answered; only the first call says it."""
        if self.waits:
            self._is_ready = True
            self._send("READY=1")

    def alive(self) -> None:
        """Say that the arbiter is at work, if somebody wants to know."""
        if self._watched:
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that a stop has begun."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        """Send a notice; one that cannot be delivered is lost, since serving matters more."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), self._address)
