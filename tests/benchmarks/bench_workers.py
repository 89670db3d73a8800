"""Which asynchronous worker under gunicorn takes most pushes: ours around uvicorn's server, or gunicorn's own?

Run ``python -m tests.benchmarks.bench_workers [--quick]``. The same bridge, application and store run behind both, with
two workers, under wrk on the same machine, in turns: 20-sample pushes to 1 000 groups that are stored already, over a
connection each and over kept-alive ones. gunicorn's own worker parses with gunicorn_h1c if that is installed, else in
Python; the output says which. What decides is written down in docs/explanation/architecture.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from pushgateway.bridge import Bridge
from pushgateway.config import Config, Limits
from pushgateway.server import logs
from pushgateway.server.arbiter import Application, Arbiter
from pushgateway.server.sockets import listen
from pushgateway.storage import Store, open_store, prepare_store
from pushgateway.storage.status import StatusBoard
from pushgateway.telemetry import Telemetry
from pushgateway.web import create_app
from tests.benchmarks.bench_gateway import conditions, fill, put_under_load
from tests.harness import Gateway

GROUPS = 1000
WORKERS = ("uvicorn", "asgi")


@dataclass
class Services:
    """What a worker opens, as in pushgateway.server."""

    url: str
    telemetry: Telemetry
    limits: Limits = field(default_factory=Limits)
    board: StatusBoard = field(default_factory=StatusBoard)

    def open(self) -> tuple[Bridge, Store]:
        """Open the store and make everything that stands on it."""
        store = open_store(self.url, board=self.board, own=self.telemetry.names())
        app = create_app(
            store=store, telemetry=self.telemetry, config=Config(), clock=time.time, quit_gateway=lambda: None
        )
        return Bridge(app, limits=self.limits, threads=4, inline_store=store.inline), store


class AsgiApplication(Application):
    """Our application in gunicorn's own asynchronous worker."""

    def load_config(self) -> None:
        """Change the worker and nothing else."""
        super().load_config()
        for name, value in {"worker_class": "asgi", "asgi_lifespan": "off", "asgi_loop": "uvloop"}.items():
            self.cfg.set(name, value)

    def load(self) -> Bridge:
        """Make the application; called in the worker."""
        return self.services.open()[0]


class Candidate(Gateway):
    """A gateway in one of the workers."""

    worker = ""

    def command(self) -> list[str]:
        """The command line that starts it."""
        return [sys.executable, "-m", "tests.benchmarks.bench_workers", f"--serve={self.worker}", f"--port={self.port}"]


def serve(worker: str, port: int) -> None:
    """Run a gateway in the chosen worker until it is stopped."""
    with tempfile.TemporaryDirectory() as directory:
        logs.configure(level="warn", log_format="logfmt")
        sockets = listen([f"127.0.0.1:{port}"])
        services = Services(prepare_store(f"sqlite:{directory}/bench.db").url, Telemetry())
        made = AsgiApplication if worker == "asgi" else Application
        Arbiter(made(services, sockets, workers=2, worker_died=lambda _: None)).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench_workers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of 2 s a measurement instead of three of 5 s")
    parser.add_argument("--serve", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve, options.port)
        return 0
    seconds, rounds = (2.0, 1) if options.quick else (5.0, 3)
    parser_name = "gunicorn_h1c" if importlib.util.find_spec("gunicorn_h1c") else "Python"
    print(*conditions(seconds), f"gunicorn's asgi worker parses with {parser_name}", sep="\n", flush=True)
    candidates = [Candidate(env={"PYTHONPATH": os.pathsep.join(sys.path)}) for _ in WORKERS]
    for candidate, worker in zip(candidates, WORKERS, strict=True):
        candidate.worker = worker
    with candidates[0], candidates[1]:
        for candidate in candidates:
            fill(candidate, range(GROUPS))
        print(f"{'pushes/s (99th percentile)':<30}{'a connection each':>26}{'keep-alive':>26}")
        for _ in range(rounds):
            for candidate in candidates:
                loads = [put_under_load(candidate, GROUPS, seconds, keep_alive=keep) for keep in (False, True)]
                cells = (f"{load.pushes_per_second:.0f} ({load.p99_seconds * 1e3:.1f} ms)" for load in loads)
                print(f"{candidate.worker:<30}" + "".join(f"{cell:>26}" for cell in cells), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
