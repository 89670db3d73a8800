"""How does any command become a job: `pymetrics run -- CMD`?

The command keeps standard input, output and error, its working directory and its environment; it gets the signals that
this process gets; its exit status is passed on. What this adds is a run around it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from pymetrics_sdk.exits import Exit, Result
from pymetrics_sdk.lifecycle import Life
from pymetrics_sdk.resources import Usage, read_cgroup, read_usage
from pymetrics_sdk.spec import JobSpec

__all__ = ["run_command"]

NOT_EXECUTABLE = 126
NOT_FOUND = 127
KILL_AFTER_TERM_SECONDS = 10.0
"""Between the SIGTERM and the SIGKILL of --kill-after: time for a clean-up."""

POLL_SECONDS = 1.0
"""How late the end is seen where a parent passed on a mask that blocks SIGCHLD; elsewhere it is seen at once."""

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# Signals by which somebody ends a program; every other one is a program's own end: SIGSEGV, SIGABRT, SIGPIPE, ...
_CANCELLING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL})


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Args:
        code: Its exit status; 128+N after signal N.
        signum: The signal that ended it; 0 if none did.
        usage: What it and the children that it waited for used.
        oom_kills: Processes of the control group that were killed for want of memory meanwhile.
        signalled: Whether this process got a signal that ends programs, and passed it on.
        killed_late: Whether --kill-after ended it.
    """

    code: int
    signum: int = 0
    usage: Usage | None = None
    oom_kills: float = 0.0
    signalled: bool = False
    killed_late: bool = False


def run_command(spec: JobSpec, command: Sequence[str], *, kill_after_seconds: float | None = None) -> int:
    """Run a command as one run of a job.

    Args:
        spec: The job.
        command: Program and arguments; looked up in PATH, no shell.
        kill_after_seconds: When to send it SIGTERM, and 10 seconds later SIGKILL; None for never.

    Returns:
        The command's exit status, 128+N if signal N ended it, 127 if there is no such program, 126 if it cannot be run.
        A push that fails changes nothing about it.
    """
    life = Life(spec, watch_signals=False, script=command[0])
    life.begin(activate=False)
    oom_kills_before = read_cgroup().oom_kills or 0.0
    relay = Relay()
    with relay.installed():
        ended = _supervise(command, relay, kill_after_seconds)
        oom_kills = (read_cgroup().oom_kills or 0.0) - oom_kills_before
        ended = Ended(ended.code, ended.signum, ended.usage, oom_kills, ended.signalled, ended.killed_late)
        if ended.usage is not None:
            life.usage = (read_usage(children=False), ended.usage)
        verdict = judge(ended, late=life.is_late())
        if verdict.error_type:
            life.run.count_error(verdict.error_type)
        life.complete(life.begin_end(None, ended=verdict))
    return ended.code


def judge(ended: Ended, *, late: bool) -> Exit:
    """Say what a command's end means for its job.

    Args:
        ended: The end.
        late: Whether it took longer than max_runtime.
    """
    if ended.killed_late:
        return Exit(Result.TIMEOUT, ended.code)
    if ended.oom_kills > 0 and ended.code == 128 + signal.SIGKILL:
        # Also where a shell passes on the status of the process that the kernel took.
        return Exit(Result.ERROR, ended.code, "OOMKilled")
    if ended.signum and ended.signum not in _CANCELLING:
        return Exit(Result.ERROR, ended.code, signal.Signals(ended.signum).name)
    if late and (ended.code == 0 or ended.signum or ended.signalled):
        return Exit(Result.TIMEOUT, ended.code)
    if ended.signum or (ended.signalled and ended.code):
        return Exit(Result.CANCELLATION, ended.code)
    return Exit(Result.SUCCESS if ended.code == 0 else Result.FAILURE, ended.code)


class Relay:
    """Passes signals on to the command; those that arrive before it has started wait for it.

    A signal that arrives in the instant before a system call blocks is handled when that call is over, which for a wait
    would be the command's end. So while the command runs every signal also writes a byte to a pipe, and `wait` blocks
    in nothing but reading it (the self-pipe trick; `signal.set_wakeup_fd`).
    """

    def __init__(self) -> None:
        self.pid: int | None = None
        self.signalled = False
        self.killed_late = False
        self._wakeups = -1
        self._early: list[int] = []
        self._previous: dict[int, Any] = {}

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handle signals inside the block as this class does, and as before after it."""
        signum: int
        # A parent that ignores SIGCHLD passes that on, and the kernel then throws exit statuses away. Never put back:
        # nothing of ours starts afterwards.
        signal.signal(signal.SIGCHLD, _wake_up)
        for signum in _FORWARDED:
            # What is ignored stays ignored, here and in the command: that is how nohup works.
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._previous[signum] = signal.signal(signum, self.forward)
        self._previous[signal.SIGALRM] = signal.signal(signal.SIGALRM, self.kill)
        self._wakeups, wakeup = os.pipe()
        os.set_blocking(self._wakeups, False)
        os.set_blocking(wakeup, False)
        # A full pipe wakes as well as one with a byte.
        previous_wakeup = signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.set_wakeup_fd(previous_wakeup)
            os.close(wakeup)
            os.close(self._wakeups)
            for signum, previous in self._previous.items():
                signal.signal(signum, previous)

    def wait(self, pid: int) -> tuple[int, resource.struct_rusage]:
        """Wait for the command's end; return its wait status and what it used.

        wait4 and not Popen.wait: only it tells what this one command used.
        """
        while True:
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                return status, usage
            select.select([self._wakeups], [], [], POLL_SECONDS)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wakeups, 4096)

    def started(self, pid: int) -> None:
        """Pass on what came before the command had a process id."""
        self.pid = pid
        for signum in self._early:
            self._send(signum)

    def kill_in(self, seconds: float) -> None:
        """End the command after some seconds."""
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def over(self) -> None:
        """The command is gone; its process id may belong to another one any time."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.pid = None

    def forward(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal by passing it on."""
        self.signalled = self.signalled or signum in _CANCELLING
        if signum in {signal.SIGINT, signal.SIGQUIT} and _from_terminal():
            return  # the terminal sent it to the command too
        if self.pid is None:
            self._early.append(signum)
        else:
            self._send(signum)

    def kill(self, signum: int, frame: FrameType | None) -> None:
        """Handle the alarm of --kill-after."""
        if self.pid is not None:
            self._send(signal.SIGKILL if self.killed_late else signal.SIGTERM)
            self.killed_late = True
            signal.setitimer(signal.ITIMER_REAL, KILL_AFTER_TERM_SECONDS)

    def _send(self, signum: int) -> None:
        # The command may have taken another user's rights, or be gone: an error here would end this process in its
        # place, and with it the command's exit status would be lost.
        if self.pid is not None:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signum)


def _wake_up(signum: int, frame: FrameType | None) -> None:
    """Handle SIGCHLD: a signal that is handled at all ends the wait."""


def _from_terminal() -> bool:
    """Whether this process is in the foreground of its terminal, whose keys signal the whole group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _supervise(command: Sequence[str], relay: Relay, kill_after_seconds: float | None) -> Ended:
    try:
        # Descriptors stay open: what the caller opened is for the command.
        process = subprocess.Popen(command, close_fds=False)  # noqa: S603 -- running what the user names is its purpose
    except OSError as error:
        code = NOT_FOUND if isinstance(error, FileNotFoundError | NotADirectoryError) else NOT_EXECUTABLE
        print(f"pymetrics run: {command[0]}: {error.strerror}", file=sys.stderr)
        return Ended(code)
    relay.started(process.pid)
    if kill_after_seconds is not None:
        relay.kill_in(kill_after_seconds)
    status, usage = relay.wait(process.pid)
    relay.over()
    process.returncode = os.waitstatus_to_exitcode(status)
    signum = -process.returncode if process.returncode < 0 else 0
    code = 128 + signum if signum else process.returncode
    return Ended(code, signum, Usage.of(usage), signalled=relay.signalled, killed_late=relay.killed_late)
