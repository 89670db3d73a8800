from __future__ import annotations

import signal
import struct
from types import SimpleNamespace
from typing import Any

import gunicorn
import pytest
import uvicorn
from gunicorn.arbiter import Arbiter as GunicornArbiter
from gunicorn.workers.base import Worker as GunicornWorker
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server as UvicornServer

from pushgateway.server.arbiter import Application, Arbiter
from pushgateway.server.worker import STOP_SIGNALS
from tests.lines import logged


@pytest.mark.parametrize("error", [BlockingIOError(11, "try again"), MemoryError(), OSError(12, "no memory")])
def test_a_worker_that_cannot_be_forked(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the machine has no room for another process, the arbiter goes on, and stop signals still reach it."""

    def spawn(_: Any) -> int:
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= STOP_SIGNALS
        raise error

    monkeypatch.setattr(GunicornArbiter, "spawn_worker", spawn)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with logged() as lines:
        assert Arbiter.__new__(Arbiter).spawn_worker() == 0
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert [line["event"] for line in lines] == ["cannot start a worker, trying again"]


@pytest.mark.parametrize("error", [OSError("gone"), struct.error("torn"), ValueError("torn"), KeyError("torn")])
def test_what_a_dead_worker_leaves_never_ends_the_arbiter(error: Exception) -> None:
    """Whatever goes wrong with the files of a dead worker is logged with its traceback, and that is all."""

    def worker_died(_: int) -> None:
        raise error

    services: Any = None
    application = Application(services, [], workers=1, worker_died=worker_died)
    with logged() as lines:
        application.cfg.child_exit(None, SimpleNamespace(pid=7))
    assert [(line["pid"], line["log_level"]) for line in lines] == [(7, "error")]


def test_serving_is_noted() -> None:
    """The first worker that begins to serve is noted, for good."""
    services: Any = None
    application = Application(services, [], workers=1, worker_died=lambda _: None)
    assert not application.has_served
    application.cfg.post_worker_init(None)
    assert application.has_served


def test_what_is_due_comes_before_new_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before workers are started what is due is done, so that they begin with it; a failure of it ends nobody."""
    done: list[str] = []
    monkeypatch.setattr(GunicornArbiter, "manage_workers", lambda _: done.append("workers"))
    services: Any = None
    arbiter = Arbiter.__new__(Arbiter)
    arbiter.app = Application(
        services, [], workers=1, worker_died=lambda _: None, tick=lambda: done.append("tick") or 1 // 0
    )
    with logged() as lines:
        arbiter.manage_workers()
    assert done == ["tick", "workers"]
    assert [line["event"] for line in lines] == ["cannot do what is due"]


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (
            GunicornArbiter,
            "APP_LOAD_ERROR WORKER_BOOT_ERROR handle_int handle_quit handle_term handle_usr2 manage_workers run "
            "spawn_worker stop wait_for_signals",
        ),
        (GunicornWorker, "SIGNALS init_process init_signals load_wsgi notify run"),
        (UvicornServer, "capture_signals handle_exit on_tick serve shutdown"),
        (
            HttpToolsProtocol,
            "connection_lost connection_made data_received eof_received on_body on_header on_headers_complete "
            "on_message_begin on_message_complete on_response_complete shutdown _unset_keepalive_if_required",
        ),
        (RequestResponseCycle, "receive run_asgi send"),
    ],
)
def test_what_is_built_upon_is_there(owner: type, names: str) -> None:
    """The methods of gunicorn and uvicorn that ours override or call exist in the versions installed."""
    missing = [name for name in names.split() if not hasattr(owner, name)]
    assert missing == [], f"gunicorn {gunicorn.__version__}, uvicorn {uvicorn.__version__}"
