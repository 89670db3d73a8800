"""Who pushes while the job works, and in what order?

At most one thread a run. It has one request in flight, keeps only the newest of the pushes that wait, and takes the
final push last: whatever is in flight then is brought to an end first, so that a slow start push cannot land after it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from pymetrics_sdk.errors import PymetricsError
from pymetrics_sdk.push import Client, Outcome
from pymetrics_sdk.telemetry import count_internal_error
from pymetrics_sdk.transport import Deadline

__all__ = ["Finish", "Pusher"]

logger = logging.getLogger("pymetrics_sdk")

START_DEADLINE_SECONDS = 2.0
"""For start pushes and heartbeats; they run beside the job, so this costs it nothing."""
IN_FLIGHT_GRACE_SECONDS = 0.5
"""What a push in flight may still take when the final one waits: a healthy gateway answers in milliseconds."""
MAX_WAIT_SECONDS = 86400.0
"""The longest wait for a heartbeat; a lock takes at most 292 years, and raises beyond."""
SLACK_SECONDS = 0.25
"""What the job waits beyond the deadline, so that an outcome which the pusher just reached is not missed."""

Task = Callable[[Client, Deadline], Outcome | None]
"""Collects and pushes, in the pusher's thread; None if there was nothing to push."""


class Finish:
    """A final push under way.

    Args:
        deadline: Its total deadline.
        cut: Ends the push that is still in flight before this one; called once its time is up.
    """

    def __init__(self, deadline: Deadline, cut: Callable[[], None]) -> None:
        self.deadline = deadline
        self._cut = cut
        self._cuts_at = time.monotonic() + IN_FLIGHT_GRACE_SECONDS
        self._gives_up_at = time.monotonic() + deadline.remaining() + SLACK_SECONDS
        self._done = threading.Event()
        self._cut_yet = False
        self._outcome = Outcome(ok=False, reason="the gateway did not answer before the push deadline")

    def set(self, outcome: Outcome) -> None:
        """Note how the push ended."""
        self._outcome = outcome
        self._done.set()

    def is_over(self) -> bool:
        """Whether there is nothing more to wait for."""
        now = time.monotonic()
        if now >= self._cuts_at and not self._cut_yet:
            self._cut_yet = True
            self._cut()
        return self._done.is_set() or self.deadline.cancelled or now >= self._gives_up_at

    def wait(self) -> Outcome:
        """Wait until the push is over, at most until its deadline, and return how it ended."""
        # In slices: a signal handler may cancel the deadline, and must not touch the event that we wait for here.
        while not self.is_over():
            self._done.wait(0.1)
        self.deadline.cancel()
        return self._outcome


class Pusher:
    """Pushes for one run, in a thread that lives only while there is something to push.

    Between pushes a job without heartbeats is as single-threaded as it was without us: Python 3.12 warns of every fork
    of a process that has more than one thread.

    Args:
        client: Used by one thread at a time.
        heartbeat: What to push at every heartbeat; None for no heartbeats.
        heartbeat_seconds: Seconds between heartbeats.
    """

    def __init__(
        self, client: Client, *, heartbeat: Task | None = None, heartbeat_seconds: float | None = None
    ) -> None:
        self._client = client
        self._heartbeat = heartbeat if heartbeat_seconds else None
        self._heartbeat_seconds = heartbeat_seconds
        self._wake = threading.Condition()
        self._waiting: Task | None = None
        self._final: tuple[Task, Finish] | None = None
        self._in_flight: Deadline | None = None
        self._working = False

    def send_soon(self, task: Task) -> None:
        """Push beside the job; replaces a push that still waits. Dropped where no thread can be started."""
        with self._wake:
            self._waiting = task
        self._ensure_thread()

    def finish(self, task: Task, deadline: Deadline) -> Finish:
        """Begin the final push; nothing is pushed after it."""
        with self._wake:
            earlier = self._in_flight
            finish = Finish(deadline, lambda: self._cut(earlier))
            self._waiting = None
            self._final = (task, finish)
        if earlier is not None:
            earlier.shorten(IN_FLIGHT_GRACE_SECONDS)
        if not self._ensure_thread():
            # At the interpreter's exit from Python 3.12 on, or out of threads: here and now, within the deadline.
            self._work()
        return finish

    def _ensure_thread(self) -> bool:
        """Wake the thread, or start one; False where none can be started."""
        with self._wake:
            self._wake.notify()
            if self._working:
                return True
            self._working = True
        try:
            threading.Thread(target=self._work, name="pymetrics-pusher", daemon=True).start()
        except RuntimeError:
            with self._wake:
                self._working = False
            return False
        return True

    def _cut(self, earlier: Deadline | None) -> None:
        # Only while it is in flight: its sockets may since have been taken over by the final push.
        with self._wake:
            if earlier is not None and self._in_flight is earlier:
                earlier.cancel()

    def _work(self) -> None:
        try:
            final = self._push_beside()
        except Exception:
            # Whatever it was, the final push is still to come: from this thread, or from one that it starts.
            count_internal_error("pushing beside the run")
            with self._wake:
                self._heartbeat = None
                final = self._final
                self._working = final is not None
        if final is not None:
            final[1].set(self._run(final[0], final[1].deadline) or Outcome(ok=True))
            self._client.close()

    def _push_beside(self) -> tuple[Task, Finish] | None:
        """Push what waits, and heartbeats; return the final push once it is due, None if there is nothing to do."""
        while True:
            with self._wake:
                if self._final is None and self._waiting is None:
                    if self._heartbeat is None:
                        self._working = False
                        return None
                    self._wake.wait(min(self._heartbeat_seconds or MAX_WAIT_SECONDS, MAX_WAIT_SECONDS))
                if self._final is not None:
                    self._in_flight = self._final[1].deadline
                    return self._final
                task = self._waiting or self._heartbeat
                self._waiting = None
                self._in_flight = deadline = Deadline(START_DEADLINE_SECONDS)
            if task is not None:
                self._run_beside(task, deadline)
            with self._wake:
                self._in_flight = None

    def _run_beside(self, task: Task, deadline: Deadline) -> None:
        outcome = self._run(task, deadline)
        if outcome is None or outcome.ok:
            return
        # A refusal will meet the final push too, so say it at once; a network that is down may be up by then.
        level = logging.WARNING if outcome.status else logging.DEBUG
        logger.log(level, "push beside the run failed: %s", outcome.reason)

    def _run(self, task: Task, deadline: Deadline) -> Outcome | None:
        try:
            return task(self._client, deadline)
        except PymetricsError as error:
            return Outcome(ok=False, reason=str(error))
        except Exception as error:
            count_internal_error("pushing")
            return Outcome(ok=False, reason=f"internal error: {type(error).__name__}")
