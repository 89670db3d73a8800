"""How did a run end, and what happens to the signal that ended it?

The signal handler only records the signal and raises in the main thread: the stack unwinds as for any exception, no
lock of a metric stays held, the run's end pushes. When the last run of the main thread is over, the signal is delivered
again with its default action, so that the parent process sees what it would have seen without the SDK.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType
from typing import Any, NoReturn

from pymetrics_sdk import cells
from pymetrics_sdk.errors import Skip

__all__ = ["Exit", "Result", "SignalExit", "SignalWatch", "classify", "watch"]


class Result(StrEnum):
    """The six ways in which a run can end."""

    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLATION = "cancellation"
    SKIP = "skip"

    @property
    def is_good(self) -> bool:
        """Whether the run did what its schedule asks for."""
        return self in {Result.SUCCESS, Result.SKIP}


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended.

    Args:
        result: One of the six.
        code: The exit status that the process would have if it ended now.
        error_type: Class of the exception that ended it; "" if none did.
    """

    result: Result
    code: int = 0
    error_type: str = ""


class SignalExit(SystemExit):
    """Raised in the main thread when a signal arrives whose default action would end the process.

    A SystemExit, since an event loop passes that on, where it would keep another BaseException in the task that it hit.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


def classify(
    error: BaseException | None, *, signum: int | None = None, fatal: int | None = None, late: bool = False
) -> Exit:
    """Say how a run ended.

    Args:
        error: What left the run's block; None if it returned.
        signum: The signal that arrived during the run; None without one.
        fatal: The signal, if its default action ends the process; None otherwise.
        late: Whether the run took longer than its max_runtime.
    """
    ended = _classify(error, signum, fatal=fatal)
    if late and ended.result not in {Result.ERROR, Result.FAILURE}:
        return Exit(Result.TIMEOUT, ended.code, ended.error_type)
    return ended


def _classify(error: BaseException | None, signum: int | None, *, fatal: int | None) -> Exit:
    if isinstance(error, SignalExit):
        return Exit(Result.CANCELLATION, 128 + error.signum)
    if fatal is not None:
        return Exit(Result.CANCELLATION, 128 + fatal)
    if error is None or isinstance(error, GeneratorExit):
        return Exit(Result.SUCCESS)
    if isinstance(error, Skip):
        return Exit(Result.SKIP)
    if isinstance(error, KeyboardInterrupt):
        return Exit(Result.CANCELLATION, 128 + signal.SIGINT)
    if is_cancelled(error):
        return Exit(Result.CANCELLATION, 128 + signum if signum else 1)
    if isinstance(error, SystemExit):
        code = exit_code(error)
        if signum is not None:
            return Exit(Result.CANCELLATION, code)
        return Exit(Result.SUCCESS) if code == 0 else Exit(Result.FAILURE, code)
    return Exit(Result.ERROR, 1, type(error).__name__)


def is_cancelled(error: BaseException | None) -> bool:
    """Whether `error` is asyncio's CancelledError; where asyncio was never imported, nothing can be."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


def exit_code(error: SystemExit) -> int:
    """Return the exit status that the interpreter makes of a SystemExit."""
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


class SignalWatch:
    """Watches SIGTERM and SIGINT while the main thread is inside a run.

    A signal that was ignored stays ignored. A handler of the job's own stays in charge: it is called at once, and what
    it does (set a flag, raise, exit) happens as it would without the SDK. A signal whose default action ends the
    process is raised in the main thread.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.received: int | None = None
        self.fatal: int | None = None
        self._depth = 0
        self._holding = 0
        self._previous: dict[int, Any] = {}
        self._held: list[int] = []
        self._on_second: list[Callable[[], None]] = []

    def enter(self) -> bool:
        """Begin to watch; False outside the main thread, where Python sets no handlers."""
        if threading.current_thread() is not threading.main_thread():
            return False
        if self._depth == 0:
            for signum in self.SIGNALS:
                # KeyboardInterrupt unwinds the stack without our help, and asyncio.run looks for just that handler.
                if signal.getsignal(signum) is not signal.default_int_handler:
                    self._install(signum)
        self._depth += 1
        return True

    def _install(self, signum: int) -> None:
        previous = signal.getsignal(signum)
        if previous is not signal.SIG_IGN and previous is not None and previous != self._handle:
            self._previous[signum] = previous
            try:
                signal.signal(signum, self._handle)
            except ValueError:
                del self._previous[signum]  # a subinterpreter, as in mod_wsgi: it has no signals

    def hold(self, on_second: Callable[[], None]) -> None:
        """Let signals wait from now on: the final push is under way.

        Args:
            on_second: Called from the handler when a further signal arrives: whoever sends two is out of patience.
        """
        self._holding += 1
        self._on_second.append(on_second)
        self._install(signal.SIGINT)

    def leave(self) -> None:
        """End watching; the last to leave delivers what arrived.

        Raises:
            KeyboardInterrupt: SIGINT arrived while it was held.
        """
        self._holding -= 1
        self._on_second.pop()
        self._depth -= 1
        if self._depth == 0:
            self._restore()
            self._deliver()

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        previous = self._previous.get(signum, signal.SIG_DFL)
        again = self.received is not None
        self.received = signum
        if previous is signal.SIG_DFL:
            self.fatal = signum
        if self._holding:
            self._held.append(signum)
            if again:
                for action in self._on_second:
                    action()
        elif previous is signal.SIG_DFL:
            raise SignalExit(signum)
        else:
            previous(signum, frame)

    def _restore(self) -> None:
        for signum, previous in self._previous.items():
            if signal.getsignal(signum) == self._handle:
                signal.signal(signum, previous)

    def _deliver(self) -> None:
        held, previous, fatal = self._held, self._previous, self.fatal
        self.received, self._held, self._previous, self.fatal = None, [], {}, None
        if fatal is not None:
            die(fatal)
        for signum in dict.fromkeys(held):
            handler = previous[signum]
            handler(signum, None)

    def forget(self) -> None:
        """Put the previous handlers back: a forked child is not the process whose runs are watched."""
        self._restore()
        on_second: list[Callable[[], None]] = []
        self._depth, self._holding, self._previous, self._on_second = 0, 0, {}, on_second
        self.received, self._held, self.fatal = None, [], None


def die(signum: int) -> NoReturn:
    """End this process by a signal's default action; as PID 1, for which the kernel ignores it, by exit status."""
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
    os._exit(128 + signum)


watch = SignalWatch()
"""The process's one watch."""

cells.forked.append(watch.forget)
