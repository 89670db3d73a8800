"""How does the gateway start, serve and stop?

In this order: the web configuration is read, sockets are bound (what cannot be used ends the start before anything is
touched), the store is created, checked or migrated and closed again, workers are forked, each opens the store and
serves. The modules: `sockets` binds, `logs` writes log lines, `protocol` limits connections, `tls` secures them,
`worker` runs a worker, `arbiter` keeps workers running, `supervisor` tells systemd about it.
"""

from __future__ import annotations

import functools
import os
import signal
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pushgateway import __version__
from pushgateway.activity import ActivityBoard
from pushgateway.bridge import Bridge
from pushgateway.config import Config, Limits
from pushgateway.errors import StartError
from pushgateway.failures import FailureRing
from pushgateway.guard import Guard, Throttle
from pushgateway.loglines import Log
from pushgateway.memory import OneProcess, map_large_blocks, share_with_forks
from pushgateway.server import logs
from pushgateway.server.arbiter import Application, Arbiter
from pushgateway.server.sockets import listen, systemd_sockets, url_of
from pushgateway.server.supervisor import Supervisor
from pushgateway.storage import PreparedStore, is_shared, open_store, prepare_store
from pushgateway.storage.base import Store
from pushgateway.storage.status import StatusBoard
from pushgateway.telemetry import Telemetry
from pushgateway.values import redact
from pushgateway.web import create_app

if TYPE_CHECKING:
    # Not at run time: it brings yaml, and most gateways have no such file.
    from pushgateway.webconfig import Source

__all__ = ["run"]

log = Log(__name__)


def run(config: Config) -> int:
    """Run the gateway in this process and its workers until it is stopped.

    Args:
        config: The settings.

    Returns:
        0 when it was stopped by a signal or /-/quit, 1 when it could not start.

    Raises:
        ConfigError: The storage URL cannot be used.
    """
    logs.configure(level=config.log_level, log_format=config.log_format)
    try:
        return _start(config)
    except StartError as error:
        log.error(str(error))  # noqa: TRY400 - one line that says what; a traceback would say where in our code
        return 1
    except SystemExit as end:
        return 1 if end.code else 0


def _start(config: Config) -> int:
    web_config = _web_config(config.web_config_file) if config.web_config_file else None
    sockets = systemd_sockets() if config.systemd_socket else listen(config.listen_addresses)
    prepared = prepare_store(config.storage_url, password_file=config.storage_password_file)
    try:
        return _serve(config, sockets, prepared, web_config)
    finally:
        prepared.cleanup()


def _web_config(file: str) -> Source:
    # Not at the top: yaml and what reads it would take 20 of 370 ms of every start.
    from pushgateway.webconfig import Source  # noqa: PLC0415

    return Source(file)


def _serve(config: Config, sockets: Sequence[socket.socket], prepared: PreparedStore, web_config: Source | None) -> int:
    """Serve until stopped; ends in SystemExit, whose code is 0 or one of gunicorn's."""
    telemetry = Telemetry(replica=_replica(config))
    services = _Services(
        config,
        config.limits,
        prepared.url,
        telemetry,
        StatusBoard(),
        FailureRing(),
        ActivityBoard(),
        OneProcess(),
        os.getpid(),
        web_config,
        None if web_config is None else Throttle(time.monotonic),
    )
    addresses = [url_of(sock) for sock in sockets]
    application = Application(
        services,
        sockets,
        workers=config.workers,
        worker_died=telemetry.fold_dead_worker,
        tick=functools.partial(_look, web_config),
    )
    arbiter = Arbiter(application, supervisor=Supervisor.from_environment())
    arbiter.systemd = config.systemd_socket
    if config.persistence_interval_given:
        log.warning("--persistence.interval has no effect: every answered push is durable")
    tls = "enabled" if web_config is not None and web_config.current.security is not None else "disabled"
    if prepared.problem:
        log.error("the store cannot be reached, and will be tried again", err=prepared.problem)
    log.info("listening", version=__version__, address=",".join(addresses), storage=redact(prepared.url), tls=tls)
    if web_config is not None and web_config.current.config.wants_http2:
        log.info("http2 is not offered: clients use HTTP/1.1", file=config.web_config_file)
    map_large_blocks()
    share_with_forks()
    arbiter.run()
    return 0


def _look(web_config: Source | None) -> None:
    """Keep the arbiter's web configuration up to date, with which workers begin, and log what becomes of it.

    Each worker looks for itself; one process that says so is enough.
    """
    before = "" if web_config is None else web_config.problem
    if web_config is None or not web_config.refresh():
        return
    if not web_config.problem:
        log.info("web configuration loaded")
    elif web_config.problem != before:
        log.error("web configuration cannot be used, the last good one stays", err=web_config.problem)


def _replica(config: Config) -> str:
    """Return what tells this gateway apart from others that use its database; "" if there can be no others."""
    return config.replica or (socket.gethostname() if is_shared(config.storage_url) else "")


class _Services(NamedTuple):
    """What each worker opens and makes after the fork."""

    config: Config
    limits: Limits
    storage_url: str
    telemetry: Telemetry
    board: StatusBoard
    failures: FailureRing
    activity: ActivityBoard
    giants: OneProcess
    arbiter_pid: int
    web_config: Source | None
    throttle: Throttle | None

    def open(self) -> tuple[Bridge, Store]:
        store = open_store(
            self.storage_url,
            board=self.board,
            own=self.telemetry.names(),
            limits=self.limits,
            password_file=self.config.storage_password_file,
        )
        app = create_app(
            store=store,
            telemetry=self.telemetry,
            config=self.config,
            clock=time.time,
            quit_gateway=self._quit,
            failures=self.failures,
            activity=self.activity,
            web_config_problem=lambda: self.web_config.problem if self.web_config else "",
        )
        bridge = Bridge(
            app,
            limits=self.limits,
            threads=self.config.threads,
            inline_store=store.inline,
            route_prefix=self.config.route_prefix,
            giants=self.giants,
            report=app.report_outside,
            guard=self._guard(),
            flush=store.flush if store.inline else None,
            external_url=self.config.external_url,
        )
        return bridge, store

    def _guard(self) -> Guard | None:
        if self.web_config is None or self.throttle is None:
            return None
        self.web_config.watch()
        return Guard(self.web_config, self.throttle)

    def _quit(self) -> None:
        os.kill(self.arbiter_pid, signal.SIGTERM)
