"""How are the workers started, watched, replaced and stopped?

gunicorn's arbiter does it. What differs: SIGINT and SIGQUIT stop as gracefully as SIGTERM, workers leave through
os._exit, and signals that would replace the running program are refused.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter as GunicornArbiter

from pushgateway.server.logs import ServerLogger
from pushgateway.server.sockets import BACKLOG
from pushgateway.server.worker import STOP_SIGNALS, Services, Worker

__all__ = ["Application", "Arbiter"]

log = structlog.get_logger(__name__)

GRACE_SECONDS: Final = 30
"""How long a graceful stop may take before what is left is killed."""

_SILENCE_SECONDS: Final = 30
"""How long a worker's loop may be stuck before it is killed and replaced; nothing should hold it for one second."""


class Application(BaseApplication):
    """gunicorn's application: its settings, and what workers need.

    Args:
        services: What workers open.
        sockets: Listening sockets; they belong to gunicorn from now on.
        workers: How many workers.
        worker_died: Called in the arbiter with the pid of each worker that has ended.
    """

    def __init__(
        self,
        services: Services,
        sockets: Sequence[socket.socket],
        *,
        workers: int,
        worker_died: Callable[[int], None],
    ) -> None:
        self.services = services
        self._binds = [f"fd://{sock.detach()}" for sock in sockets]
        self._workers = workers
        self._worker_died = worker_died
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's settings; none of them is the operator's to change."""
        settings: dict[str, Any] = {
            "bind": self._binds,
            "backlog": BACKLOG,
            "workers": self._workers,
            "worker_class": Worker,
            "worker_tmp_dir": _memory_directory(),
            "timeout": _SILENCE_SECONDS,
            "graceful_timeout": GRACE_SECONDS,
            "logger_class": ServerLogger,
            "control_socket_disable": True,
            "child_exit": self._child_exit,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def _child_exit(self, _: GunicornArbiter, worker: Worker) -> None:
        try:
            self._worker_died(int(worker.pid))
        except OSError:
            # An exception would end the arbiter.
            log.exception("cannot fold the counters of a dead worker", pid=worker.pid)


def _memory_directory() -> str | None:
    """Where workers keep their heartbeat: a full or slow disk must not pass for a dead worker."""
    directory = Path("/dev/shm")  # noqa: S108 - gunicorn makes an unnamed file there
    return str(directory) if os.access(directory, os.W_OK) else None


class Arbiter(GunicornArbiter):
    """gunicorn's arbiter with our signals and our way of leaving."""

    def handle_int(self) -> None:
        """Stop gracefully."""
        self.handle_term()

    def handle_quit(self) -> None:
        """Stop gracefully."""
        self.handle_term()

    def handle_usr2(self) -> None:
        """Refuse what gunicorn would do: a second gateway on the same sockets, started with our command line."""
        log.warning("SIGUSR2 is not supported")

    def spawn_worker(self) -> int:
        """Fork a worker; returns its pid, in the arbiter only.

        A signal that arrives in the child before its handlers are set would be lost with the arbiter's queue, and the
        stop would last for the whole grace time. So they are blocked until the worker is ready for them.
        """
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            pid: int = super().spawn_worker()
        except SystemExit as end:
            # Only the child gets here. The arbiter's clean-up is not for it, nor are threads waited for.
            sys.stderr.flush()
            os._exit(end.code if isinstance(end.code, int) else 1)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return pid
