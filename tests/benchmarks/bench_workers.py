"""Which asynchronous worker under gunicorn takes most pushes: ours around uvicorn's server, or gunicorn's own?

Run ``python -m tests.benchmarks.bench_workers [--quick]``. The same bridge, application and store run behind both, with
two workers, under wrk on the same machine, in turns: 20-sample pushes to 1 000 groups that are stored already, over a
connection each and over kept-alive ones; then the same with an application that only reads the body, which leaves the
worker's own share. Beside the rate stands the CPU time that the gateway used for one push, which other load on the
machine changes least. gunicorn's own worker parses with gunicorn_h1c if that is installed, else in
Python; the output says which. What decides is written down in docs/explanation/architecture.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pushgateway.bridge import Bridge
from pushgateway.config import Config, Limits
from pushgateway.server import logs
from pushgateway.server.arbiter import Application, Arbiter
from pushgateway.server.sockets import listen
from pushgateway.storage import Store, open_store, prepare_store
from pushgateway.storage.status import StatusBoard
from pushgateway.telemetry import Telemetry
from pushgateway.web import create_app
from tests.benchmarks.ending import stoppable
from tests.benchmarks.machine import facts
from tests.benchmarks.sides import fill
from tests.benchmarks.wrk import Load, put_under_load
from tests.harness import Gateway

GROUPS = 1000
WORKERS = ("uvicorn", "asgi")


@dataclass
class Services:
    """What a worker opens, as in pushgateway.server."""

    url: str
    telemetry: Telemetry
    bare: bool
    limits: Limits = field(default_factory=Limits)
    board: StatusBoard = field(default_factory=StatusBoard)
    web_config: None = None

    def open(self) -> tuple[Bridge, Store]:
        """Open the store and make everything that stands on it."""
        store = open_store(self.url, board=self.board, own=self.telemetry.names())
        app = create_app(
            store=store, telemetry=self.telemetry, config=Config(), clock=time.time, quit_gateway=lambda: None
        )
        return Bridge(only_read if self.bare else app, limits=self.limits, threads=4, inline_store=store.inline), store


def only_read(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer 200 to everything."""
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "0")])
    return []


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
    bare = False

    def command(self) -> list[str]:
        """The command line that starts it."""
        bare = ["--bare"] if self.bare else []
        serve = [f"--serve={self.worker}", f"--port={self.port}", *bare]
        return [sys.executable, "-m", "tests.benchmarks.bench_workers", *serve]


def serve(worker: str, port: int, *, bare: bool) -> None:
    """Run a gateway in the chosen worker until it is stopped."""
    with tempfile.TemporaryDirectory() as directory:
        logs.configure(level="warn", log_format="logfmt")
        sockets = listen([f"127.0.0.1:{port}"])
        services = Services(prepare_store(f"sqlite:{directory}/bench.db").url, Telemetry(), bare)
        made = AsgiApplication if worker == "asgi" else Application
        Arbiter(made(services, sockets, workers=2, worker_died=lambda _: None)).run()


def measure(candidate: Candidate, seconds: float, *, keep_alive: bool) -> str:
    """Put one gateway under load, and say how it did."""
    outcome = put_under_load(candidate, Load("POST", 4, keep_alive), groups=GROUPS, seconds=seconds)
    p99, cpu = outcome.p99_seconds * 1e3, outcome.cpu_seconds * 1e3
    return f"{outcome.pushes_per_second:.0f}, p99 {p99:.1f} ms, CPU {cpu:.2f} ms"


def compare(*, bare: bool, seconds: float, rounds: int) -> None:
    """Measure both workers in turns, and print a line for each."""
    candidates = [Candidate(env={"PYTHONPATH": os.pathsep.join(sys.path)}) for _ in WORKERS]
    for candidate, worker in zip(candidates, WORKERS, strict=True):
        candidate.worker, candidate.bare = worker, bare
    with candidates[0], candidates[1]:
        for candidate in candidates:
            fill(candidate, range(GROUPS))
        what = "only read" if bare else "pushes/s"
        print(f"{what:<10}{'a connection each':>36}{'keep-alive':>36}", flush=True)
        for _ in range(rounds):
            for candidate in candidates:
                cells = [measure(candidate, seconds, keep_alive=keep_alive) for keep_alive in (False, True)]
                print(f"{candidate.worker:<10}" + "".join(f"{cell:>36}" for cell in cells), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench_workers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of 2 s a measurement instead of three of 5 s")
    parser.add_argument("--serve", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve, options.port, bare=options.bare)
        return 0
    seconds, rounds = (2.0, 1) if options.quick else (5.0, 3)
    parser_name = "gunicorn_h1c" if importlib.util.find_spec("gunicorn_h1c") else "Python"
    print(*facts(alone=True), f"gunicorn's asgi worker parses with {parser_name}", sep="\n", flush=True)
    for bare in (False, True):
        compare(bare=bare, seconds=seconds, rounds=rounds)
    return 0


if __name__ == "__main__":
    with stoppable():
        sys.exit(main())
