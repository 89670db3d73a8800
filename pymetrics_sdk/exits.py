"""How did a run end, and what happens to the signal that ended it?

The signal handler only records the signal and raises in the main thread: the stack unwinds as for any exception, no
lock of a metric stays held, the run's end pushes. When the last run of the main thread is over, the runs of other
threads are pushed as cancelled and the signal is delivered again with its default action, so that the parent process
sees what it would have seen without the SDK. A stack that unwinds slowly gets the time of a push, and no more.
"""

from __future__ import annotations

import _thread
import contextlib
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType
from typing import Any, NoReturn, Protocol

from pymetrics_sdk import cells
from pymetrics_sdk.errors import Skip

__all__ = ["Exit", "Result", "Runs", "SignalExit", "SignalWatch", "classify", "watch"]

UNWIND_SECONDS = 0.5
"""How long a stack may take to unwind before its runs are pushed for it: with the push's own deadline and slack, the
process ends within that deadline and a second."""
POLL_SECONDS = 0.05


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


class Runs(Protocol):
    """The runs of this process, as the end of the process needs them."""

    def patience_seconds(self) -> float:
        """Return the longest push deadline of an open run."""

    def end_all(self, signum: int) -> None:
        """End every open run as cancelled and push it, all at once."""

    def clean_up(self) -> None:
        """Do what atexit does not get to do, since a signal's default action skips it."""


def _nothing() -> None:
    """Stand for whoever holds signals without a push that a second one could end."""


class SignalWatch:
    """Watches SIGTERM and SIGINT while the main thread is inside a run.

    A signal that was ignored stays ignored. A handler of the job's own stays in charge: it is called at once, and what
    it does (set a flag, raise, exit) happens as it would without the SDK. A signal whose default action ends the
    process is raised in the main thread. Should the stack take longer than `UNWIND_SECONDS` to unwind (a
    ThreadPoolExecutor waits for its threads, an outer run does not know of the signal yet), a thread made for it pushes
    every open run as cancelled; the process ends when it has unwound, and in any case when the push deadline, counted
    from the signal, is over.

    Python sets handlers only in the main thread. So a process whose runs are all in other threads dies by a signal as
    it would without the SDK, unpushed, unless the main thread is in a run too; and while the main thread is inside a
    call into C that never returns to the interpreter, no handler runs. Nor does one run, until a blocking call is over,
    for a signal that arrives in the instant between the interpreter's last look for signals and that call.

    Args:
        unwind_seconds: How long the main thread has before its runs are pushed from another thread.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, *, unwind_seconds: float = UNWIND_SECONDS) -> None:
        self.received: int | None = None
        self.fatal: int | None = None
        self.runs: Runs | None = None
        self._unwind_seconds = unwind_seconds
        self._depth = 0
        self._previous: dict[int, Any] = {}
        self._held: list[int] = []
        self._holders: list[Callable[[], None]] = []
        self._hurried = False
        self._borrowed = False

    def enter(self) -> bool:
        """Begin to watch, and hold what arrives until `release`; False outside the main thread."""
        if not _in_main_thread():
            return False
        self._holders.append(_nothing)
        for signum in self.SIGNALS:
            # KeyboardInterrupt unwinds the stack without our help, and asyncio.run looks for just that handler.
            if self._depth == 0 and signal.getsignal(signum) is not signal.default_int_handler:
                self._install(signum)
        self._depth += 1
        return True

    def release(self) -> None:
        """Let signals act again after `enter`; what waited acts now.

        Raises:
            SignalExit: A signal arrived whose default action ends the process.
            BaseException: What the handler of another signal raises.
        """
        self._holders.remove(_nothing)
        self._act_on_held()

    def hold(self, on_second: Callable[[], None]) -> bool:
        """Let signals wait from now on: the final push is under way. False outside the main thread.

        Args:
            on_second: Called from the handler when a further signal arrives: whoever sends two is out of patience.
        """
        if not _in_main_thread():
            return False
        self._holders.append(on_second)
        if signal.SIGINT not in self._previous:
            self._install(signal.SIGINT)
            self._borrowed = signal.SIGINT in self._previous
        return True

    def leave(self, on_second: Callable[[], None] | None) -> None:
        """End watching; what arrived acts, in an outer run too: it must not wait for that run's own end.

        Outside the main thread, as when a generator that began there is closed elsewhere, the handlers stay until the
        main thread next enters or leaves a run, or gets a signal.

        Args:
            on_second: What `hold` was given; None if it held nothing.

        Raises:
            SignalExit: A signal arrived whose default action ends the process, and another run is still open.
            KeyboardInterrupt: SIGINT arrived while it was held.
        """
        try:
            # First: what arrives between a handler's end and its replacement would be lost.
            if self._depth == 1 and _in_main_thread():
                self._restore()
        finally:
            self._depth -= 1
            if on_second in self._holders:
                self._holders.remove(on_second)
        if _in_main_thread():
            self._act_on_held()

    def end(self) -> None:
        """End the process by the signal that it got, if it got one: called at exit."""
        if self.fatal is not None:
            self._end_process(self.fatal)

    def _install(self, signum: int) -> None:
        previous = signal.getsignal(signum)
        if previous is not signal.SIG_IGN and previous is not None and previous != self._handle:
            self._previous[signum] = previous
            try:
                signal.signal(signum, self._handle)
            except ValueError:
                del self._previous[signum]  # a subinterpreter, as in mod_wsgi: it has no signals

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        previous = self._previous.get(signum, signal.SIG_DFL)
        again = self.received is not None
        self.received = signum
        if previous is signal.SIG_DFL:
            self._note_fatal(signum)
        if self._holders:
            self._held.append(signum)
            if again:
                self._hurried = True
                for action in self._holders:
                    action()
        elif previous is signal.SIG_DFL:
            raise SignalExit(signum)
        else:
            previous(signum, frame)

    def _note_fatal(self, signum: int) -> None:
        if self.fatal is None:
            self.fatal = signum
            # Not threading.Thread: its start takes locks that the interrupted code may hold.
            with contextlib.suppress(RuntimeError):
                _thread.start_new_thread(self._guard, (signum,))

    def _guard(self, signum: int) -> None:
        """End the process in time, should the main thread not."""
        noted_at = time.monotonic()
        try:
            time.sleep(self._unwind_seconds)
            if self.runs is not None:
                ends_at = noted_at + self.runs.patience_seconds()
                self.runs.end_all(signum)
                while time.monotonic() < ends_at and not self._hurried:
                    time.sleep(POLL_SECONDS)
        finally:
            self._die(signum)

    def _restore(self) -> None:
        for signum, previous in self._previous.items():
            if signal.getsignal(signum) == self._handle:
                signal.signal(signum, previous)

    def _act_on_held(self) -> None:
        if self._holders:
            return
        held, self._held = self._held, []
        handlers = [(signum, self._previous.get(signum, signal.SIG_DFL)) for signum in dict.fromkeys(held)]
        if self._depth == 0:
            self.end()
            self.received, self._previous = None, {}
        elif self._borrowed:
            # At once, not with the outermost run: asyncio.run gives Ctrl-C back only if it finds its own handler.
            previous = self._previous.pop(signal.SIGINT)
            if signal.getsignal(signal.SIGINT) == self._handle:
                signal.signal(signal.SIGINT, previous)
        self._borrowed = False
        for signum, handler in handlers:
            if handler is signal.SIG_DFL:
                raise SignalExit(signum)
            handler(signum, None)

    def _end_process(self, signum: int) -> NoReturn:
        if self.runs is not None:
            self.runs.end_all(signum)
        self._die(signum)

    def _die(self, signum: int) -> NoReturn:
        try:
            if self.runs is not None:
                self.runs.clean_up()
        finally:
            die(signum)

    def forget(self) -> None:
        """Put the previous handlers back: a forked child is not the process whose runs are watched."""
        if _in_main_thread():
            self._restore()
        holders: list[Callable[[], None]] = []
        self._depth, self._previous, self._holders, self._hurried = 0, {}, holders, False
        self.received, self._held, self.fatal, self._borrowed = None, [], None, False


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def die(signum: int) -> NoReturn:
    """End this process by a signal's default action; as PID 1, for which the kernel ignores it, by exit status."""
    try:
        _set_default_action(signum)
        os.kill(os.getpid(), signum)
    finally:
        os._exit(128 + signum)


def _set_default_action(signum: int) -> None:
    if _in_main_thread():
        signal.signal(signum, signal.SIG_DFL)
    else:
        # What signal.signal calls once it has made sure that it is in the main thread, whose help cannot be had here.
        ctypes: Any = importlib.import_module("ctypes")
        set_handler = ctypes.pythonapi.PyOS_setsig
        set_handler.argtypes, set_handler.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        set_handler(signum, None)


watch = SignalWatch()
"""The process's one watch."""

cells.forked.append(watch.forget)
