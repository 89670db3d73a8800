"""How are the workers started, watched, replaced and stopped?

gunicorn's arbiter does it. What differs: SIGINT and SIGQUIT stop as gracefully as SIGTERM, workers leave through
os._exit, signals that would replace the running program are refused, a worker that cannot be forked or cannot begin
is tried again while others serve, and a supervisor is told of readiness when a worker serves, not before.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter as GunicornArbiter

from pushgateway.loglines import Log
from pushgateway.server.logs import ServerLogger
from pushgateway.server.sockets import BACKLOG
from pushgateway.server.supervisor import Supervisor
from pushgateway.server.worker import STOP_SIGNALS, Services, Worker

__all__ = ["Application", "Arbiter"]

log = Log(__name__)

GRACE_SECONDS: Final = 30
"""How long a graceful stop may take before what is left is killed."""

_SILENCE_SECONDS: Final = 30
"""How long a worker's loop may be stuck before it is killed and replaced; nothing should hold it for one second."""

_BEGINNING_SECONDS: Final = 0.02
"""How often the arbiter looks whether a worker serves, as long as a supervisor waits for that."""

_RETRY_SECONDS: Final = 1.0
"""How long a worker that could not begin waits before it ends, and so before the next attempt."""


class Application(BaseApplication):
    """gunicorn's application: its settings, and what workers need.

    Args:
        services: What workers open.
        sockets: Listening sockets; they belong to gunicorn from now on.
        workers: How many workers.
        worker_died: Called in the arbiter with the pid of each worker that has ended.
        tick: Called in the arbiter about once a second, and before workers are forked.
    """

    def __init__(
        self,
        services: Services,
        sockets: Sequence[socket.socket],
        *,
        workers: int,
        worker_died: Callable[[int], None],
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self.services = services
        self._binds = [f"fd://{sock.detach()}" for sock in sockets]
        self._workers = workers
        self._worker_died = worker_died
        self._tick = tick
        self._has_served = mmap.mmap(-1, 1)
        super().__init__()

    @property
    def has_served(self) -> bool:
        """Whether any worker has ever begun to serve; all processes see the same."""
        return self._has_served[0] == 1

    def note_serving(self) -> None:
        """Note, in a worker, that it begins to serve."""
        self._has_served[0] = 1

    def tick(self) -> None:
        """Do what is due in the arbiter."""
        try:
            self._tick()
        except Exception:
            # An exception would end the arbiter.
            log.exception("cannot do what is due")

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
            "post_worker_init": lambda _: self.note_serving(),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def _child_exit(self, _: GunicornArbiter, worker: Worker) -> None:
        try:
            self._worker_died(int(worker.pid))
        except Exception:
            # Whatever a dying worker has left in its files: an exception would end the arbiter.
            log.exception("cannot fold the counters of a dead worker", pid=worker.pid)


def _memory_directory() -> str | None:
    """Where workers keep their heartbeat: a full or slow disk must not pass for a dead worker."""
    directory = Path("/dev/shm")  # noqa: S108 - gunicorn makes an unnamed file there
    return str(directory) if os.access(directory, os.W_OK) else None


class Arbiter(GunicornArbiter):
    """gunicorn's arbiter with our signals and our way of leaving.

    Args:
        app: What it runs.
        supervisor: Who is told when the gateway serves, lives and stops.
    """

    app: Application

    def __init__(self, app: Application, *, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        super().__init__(app)

    def wait_for_signals(self, timeout: float | None = 1.0) -> list[int]:
        """Wait for signals, after telling the supervisor what it waits for.

        Args:
            timeout: For how many seconds at most.
        """
        self._supervisor.alive()
        if self._supervisor.waits:
            if self.app.has_served:
                self._supervisor.ready()
            else:
                timeout = _BEGINNING_SECONDS
        return list(super().wait_for_signals(timeout))

    def stop(self, graceful: bool = True) -> None:
        """Stop the workers.

        Args:
            graceful: Whether requests in progress are answered.
        """
        self._supervisor.stopping()
        super().stop(graceful)

    def handle_int(self) -> None:
        """Stop gracefully."""
        self.handle_term()

    def handle_quit(self) -> None:
        """Stop gracefully."""
        self.handle_term()

    def handle_usr2(self) -> None:
        """Refuse what gunicorn would do: a second gateway on the same sockets, started with our command line."""
        log.warning("SIGUSR2 is not supported")

    def manage_workers(self) -> None:
        """Do what is due, then start and stop workers as needed; gunicorn calls this about once a second."""
        self.app.tick()
        super().manage_workers()

    def spawn_worker(self) -> int:
        """Fork a worker; returns its pid, in the arbiter only, or 0 if there is no room for another process.

        A signal that arrives in the child before its handlers are set would be lost with the arbiter's queue, and the
        stop would last for the whole grace time. So they are blocked until the worker is ready for them.
        """
        arbiter_pid = os.getpid()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            return int(super().spawn_worker())
        except SystemExit as end:
            # Only the child gets here. The arbiter's clean-up is not for it, nor are threads waited for.
            self._leave(end.code if isinstance(end.code, int) else 1)
        except (OSError, MemoryError) as error:
            if os.getpid() != arbiter_pid:
                self._leave(1)
            # The arbiter's loop comes here again in a second.
            log.error("cannot start a worker, trying again", err=str(error))  # noqa: TRY400 - err says it all
            return 0
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _leave(self, code: int) -> NoReturn:
        """End a worker.

        gunicorn stops everything when a worker could not begin: right for the first ones, which show that nothing
        works, and wrong for a replacement, which may lack nothing but memory or threads for a moment.
        """
        if code in (self.WORKER_BOOT_ERROR, self.APP_LOAD_ERROR) and self.app.has_served:
            code = 1
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            for number in STOP_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            time.sleep(_RETRY_SECONDS)
        sys.stderr.flush()
        os._exit(code)
