"""How do workers that share a board, as those of one gateway do, get along with one database?

Workers are forked, since a board is memory that is inherited: use this in a process without threads.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

from pushgateway.errors import PushgatewayError
from pushgateway.model import Form
from pushgateway.storage import StatusBoard, Ticket, open_store
from tests.contract.values import family, key, push

__all__ = ["Worker", "Workers"]

_FORK = multiprocessing.get_context("fork")


class Worker:
    """A process with a store; each method tells it to do something and returns what came of it."""

    def __init__(self, path: Path, board: StatusBoard) -> None:
        self._pipe, theirs = _FORK.Pipe()
        self._process = _FORK.Process(target=_serve, args=(path, board, theirs), daemon=True)
        self._process.start()
        theirs.close()
        assert self._pipe.poll(30)
        self._pipe.recv()

    def put(self, *jobs: str, padding: int = 0) -> list[str]:
        """Push to each job; return the name and text of the error of each push, "" where it was stored."""
        return [self._ask("put", job, padding) for job in jobs]

    def jobs(self) -> str:
        """Return the sorted jobs, or the error."""
        return self._ask("jobs", "", 0)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()
        self._process.join(30)

    def close(self) -> None:
        """Let it close its store and end."""
        self._ask("close", "", 0)
        self._process.join(30)
        assert self._process.exitcode == 0

    def _ask(self, *question: object) -> str:
        self._pipe.send(question)
        assert self._pipe.poll(30)
        return str(self._pipe.recv())


class Workers:
    """The workers of one gateway.

    Args:
        path: The database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.board = StatusBoard()

    def start(self) -> Worker:
        """Start one more, with its store open."""
        return Worker(self._path, self.board)


def _serve(path: Path, board: StatusBoard, pipe: Connection) -> None:
    store = open_store(f"sqlite:{path}", board=board, own={})
    pipe.send("")
    what = ""
    while what != "close":
        what, job, padding = pipe.recv()
        answer = ""
        try:
            if what == "put":
                some = family(f"x_{job}", group=key(job), padding=padding, dense=True)
                store.apply(push(key(job), some), Ticket())
            elif what == "jobs":
                views = store.families(Form.TEXT).families
                answer = " ".join(view.name.removeprefix("x_") for view in views)
            else:
                store.close()
        except PushgatewayError as error:
            answer = f"{type(error).__name__}: {error}"
        pipe.send(answer)
