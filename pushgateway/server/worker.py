"""What does a worker process do between its fork and its end?

It opens the store, makes the application and the bridge, runs uvicorn's server on the sockets that it has inherited,
and closes the store when every request is answered. It ends with its arbiter, also when that is killed.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import resource
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final, Protocol

import uvicorn.lifespan.off  # noqa: F401 - else uvicorn imports it in each worker, where nobody shares it
import uvloop
from gunicorn.workers.base import Worker as GunicornWorker
from uvicorn import Config as UvicornConfig
from uvicorn import Server as UvicornServer

from pushgateway.bridge import Bridge
from pushgateway.config import Limits
from pushgateway.loglines import Log
from pushgateway.server.protocol import Connection, Connections
from pushgateway.server.sockets import BACKLOG
from pushgateway.server.tls import SecureConnection
from pushgateway.storage.base import Store

if TYPE_CHECKING:
    # Not at run time: it brings yaml, and most gateways have no such file.
    from pushgateway.webconfig import Security, Source

__all__ = ["STOP_SIGNALS", "Services", "Worker"]

log = Log(__name__)

STOP_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
"""Each of them stops gracefully; the arbiter blocks them around the fork, so that none is lost in a new worker."""

_DRAIN_SECONDS: Final = 25
"""For requests in progress at a graceful stop; the rest of gunicorn's 30 s is for closing the store."""

_CLOSE_SECONDS: Final = 3.0
"""For closing the store, which waits for a write in progress, and for one that waits for another program's lock."""

_ORPHAN_SECONDS: Final = 0.3
"""For requests in progress when the arbiter has been killed; the port is to be free within a second."""

_ORPHAN_LIMIT_SECONDS: Final = 0.8
"""After that an orphan is ended whatever it does."""

_SPARE_FILES: Final = 64
"""File descriptors that connections leave to the database, logs and pipes."""

_COLLECTOR_THRESHOLDS: Final = (50_000, 20, 100)
"""See `_calm_collector`. Cycles are rare here: what requests leave behind goes with its last reference."""

_CHECK_TICKS: Final = 10
"""uvicorn ticks every 0.1 s."""


class Services(Protocol):
    """What the arbiter's application makes for a worker, in the worker."""

    @property
    def limits(self) -> Limits:
        """What connections and requests may use."""

    @property
    def web_config(self) -> Source | None:
        """The web configuration; None without one."""

    def open(self) -> tuple[Bridge, Store]:
        """Open the store and make everything that stands on it."""


class Worker(GunicornWorker):
    """gunicorn's worker around uvicorn's server.

    Not a subclass of uvicorn-worker's: little of it would be left, and that little depends on its release.
    """

    def init_signals(self) -> None:
        """Reset what the arbiter had set, and let through what came since the fork."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        # The arbiter's other signals do not concern a worker, but reach it when a terminal or a supervisor sends them
        # to the whole process group.
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def load_wsgi(self) -> None:
        """Open the store; gunicorn calls this once, before the worker serves."""
        services: Services = self.app.services  # type: ignore[attr-defined] # ours, which the stubs do not know
        limits = services.limits
        self._bridge, self._store = services.open()
        self._config = UvicornConfig(
            self._bridge,
            loop="uvloop",
            http=_protocol(self._bridge, limits, services.web_config),  # type: ignore[arg-type] # called like a class
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=limits.idle_seconds,  # type: ignore[arg-type] # goes to call_later as it is
            timeout_graceful_shutdown=_DRAIN_SECONDS,
            timeout_notify=int(self.timeout),
            callback_notify=self._notify,
        )

    def run(self) -> None:
        """Serve until told to stop, then close the store."""
        _calm_collector()
        _end_with(self.ppid)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_Server(self._config, arbiter_pid=self.ppid).serve(sockets=self.sockets))
        self._bridge.close()
        # In a thread: a program that holds the writers' lock must not keep the worker from ending.
        closing = threading.Thread(target=self._store.close, name="close", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)

    async def _notify(self) -> None:
        self.notify()


def _protocol(bridge: Bridge, limits: Limits, web_config: Source | None) -> Callable[..., asyncio.Protocol]:
    """Return what makes the protocol of a connection, with TLS if there is any."""
    neighbours = Connections(most=_affordable(limits.connections), most_unread_bytes=limits.unread_bytes)
    plain = functools.partial(
        Connection, limits=limits, neighbours=neighbours, report=bridge.report, dress=bridge.dress
    )
    if web_config is None or web_config.current.security is None:
        return plain

    def current() -> Security:
        security = web_config.current.security
        if security is None:
            raise AssertionError("a source that begins with TLS keeps it")
        return security

    return functools.partial(
        SecureConnection, make=plain, current=current, limits=limits, neighbours=neighbours, report=bridge.report
    )


class _Server(UvicornServer):
    """uvicorn's server, which also looks at its connections' deadlines and at its parent.

    Args:
        config: uvicorn's configuration.
        arbiter_pid: The parent without which it ends.
    """

    def __init__(self, config: UvicornConfig, *, arbiter_pid: int) -> None:
        super().__init__(config)
        self._arbiter_pid = arbiter_pid

    async def on_tick(self, counter: int) -> bool:
        """Do what is due; returns whether to stop."""
        if os.getppid() != self._arbiter_pid:
            log.error("the arbiter has gone, ending")
            self.config.timeout_graceful_shutdown = _ORPHAN_SECONDS  # type: ignore[assignment] # goes to wait_for
            # Should anything block: SIGALRM's default action ends the process.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, _ORPHAN_LIMIT_SECONDS)
            return True
        if counter % _CHECK_TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, (Connection, SecureConnection)):
                    connection.check(now)
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals; uvicorn would raise them again at the end, and so end before the store is closed."""
        for number in STOP_SIGNALS:
            signal.signal(number, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop gracefully; a second SIGQUIT, which the arbiter sends when it is told twice, stops waiting."""
        if self.should_exit and sig == signal.SIGQUIT:
            self.force_exit = True
        self.should_exit = True


def _end_with(arbiter_pid: int) -> None:
    """End this process soon after its parent, also if the event loop is stuck and never looks.

    Not PR_SET_PDEATHSIG: it would either kill what the loop is given 0.3 s to finish, or wait for the loop as well.
    """
    try:
        arbiter = os.pidfd_open(arbiter_pid)
    except OSError:
        return  # it has gone already, which the loop sees, or the kernel is older than 5.3, and there is no such net

    def watch() -> None:
        select.select([arbiter], [], [])
        time.sleep(_ORPHAN_LIMIT_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="orphan", daemon=True).start()


def _calm_collector() -> None:
    """Keep the cycle collector from walking what lives for ever, and from running at every 700th object.

    Python's own settings take more than half of a large parse: 100 000 samples took 0.71 to 1.5 s with them and 0.23 to
    0.72 s with these (best of 5, one process each, on a shared machine). Freezing alone brings about a third of that.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTOR_THRESHOLDS)


def _affordable(connections: int) -> int:
    """Raise the limit of open files as far as it goes, and return how many connections fit in."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - _SPARE_FILES))
