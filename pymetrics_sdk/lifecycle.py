"""What happens when a run begins and when it ends?

Everything here may fail without the job noticing: whatever is wrong with the gateway, the settings or the SDK itself is
logged and counted. The exceptions that do leave are the job's own, and PushError where the job asked for it.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import Token
from threading import RLock

from prometheus_client.core import Metric

from pymetrics_sdk import cells, children, exposition, resources, telemetry
from pymetrics_sdk.cells import Scope
from pymetrics_sdk.environment import Identity, Settings
from pymetrics_sdk.exits import Exit, Result, classify, watch
from pymetrics_sdk.grouping import GroupingKey
from pymetrics_sdk.groups import find_group
from pymetrics_sdk.push import Client, Outcome
from pymetrics_sdk.pusher import Finish, Pusher
from pymetrics_sdk.report import PREFIX, Facts, counted_families, final_families, heartbeat_families, start_families
from pymetrics_sdk.run import EXCEPTIONS, RECORDS, Run
from pymetrics_sdk.spec import JobSpec
from pymetrics_sdk.target import Target, resolve
from pymetrics_sdk.transport import Deadline
from pymetrics_sdk.version import __version__

__all__ = ["Life", "complete_async", "newest_life"]

logger = logging.getLogger("pymetrics_sdk")

POLL_SECONDS = 0.01
"""How often a coroutine looks whether its final push is over."""


class Life:
    """A run's life: beginning, heartbeats, end, and the pushes of each.

    Args:
        spec: What the job promises.
        environ: Default: the process's environment, read now.
        clock: Unix time in seconds.
        timer: Seconds on a clock that nobody sets.
        watch_signals: Whether to install signal handlers, where that is possible.
        script: The program that gives a nameless job its name. Default: this one.
    """

    def __init__(
        self,
        spec: JobSpec,
        *,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
        watch_signals: bool = True,
        script: str | None = None,
    ) -> None:
        run_id = os.urandom(16).hex()
        self.spec = spec
        self.scope = Scope(run_id)
        self.run = Run(self.scope, run_id=run_id, clock=clock, timer=timer)
        self.scope.owner = self.run
        self.target = _resolve(spec, now=clock(), environ=environ, script=script)
        self.usage: tuple[resources.Usage, resources.Usage] | None = None
        self._clock = clock
        self._timer = timer
        self._watch_signals = watch_signals
        self._watching = False
        self._holder: Callable[[], None] | None = None
        self._ending = RLock()
        self._finish: Finish | None = None
        self._reported = False
        self._slot: float | None = None
        self._unclaimed: children.Totals = {}
        self._owner_pid = os.getpid()
        self._pusher: Pusher | None = None
        self._sequence = 0
        self._ended: Exit | None = None
        self._token: Token[Scope | None] | None = None

    def begin(self, *, activate: bool = True) -> Run:
        """Start the run, push its start in the background and return it.

        Args:
            activate: Whether to make it the current run of this context.
        """
        self._started_at = self._clock()
        self._started = self._timer()
        # First, and signals wait until the run can be ended: one that came between would leave it open.
        self._watching = self._watch_signals and watch.enter()
        cells.open_scope(self.scope)
        _open_runs.lives[self.scope] = self
        _register_atexit()
        if activate:
            self._token = cells.current.set(self.scope)
        try:
            self._slot = self.spec.schedule.slot_of(self._started_at) if self.spec.schedule else None
            self._unclaimed = children.unclaimed()
            self._usage = resources.read_usage(children=False)
            self._children_usage = resources.read_usage(children=True)
            self._open_pusher()
        except Exception:
            telemetry.count_internal_error("starting a run")
        if self._watching:
            try:
                watch.release()
            except BaseException as error:
                self.complete(self.begin_end(error))
                raise
        return self.run

    def begin_end(self, error: BaseException | None, *, ended: Exit | None = None) -> Finish | None:
        """Note how the run ended and begin the final push; None if there is nothing to wait for.

        May be called again, from another thread too: the first call decides, the others get the same push.

        Args:
            error: What left the run's block.
            ended: How it ended, where the caller knows better.
        """
        if os.getpid() != self._owner_pid:
            return None
        deadline = Deadline(self.timeout_seconds)
        if self._watching and self._holder is None and watch.hold(deadline.cancel):
            self._holder = deadline.cancel
        with self._ending:
            if self._ended is None:
                try:
                    self._finish = self._end(error, ended, deadline)
                except Exception:
                    telemetry.count_internal_error("ending a run")
            return self._finish

    def _end(self, error: BaseException | None, ended: Exit | None, deadline: Deadline) -> Finish | None:
        self._ended = ended or self._classify(error)
        if error is not None:
            self.run.count_exception(error)
        pusher = self._pusher
        if pusher is None:
            return None
        facts = self._facts(self._ended)
        return pusher.finish(lambda client, limit: self._push_final(client, limit, facts), deadline)

    def complete(self, finish: Finish | None) -> None:
        """Wait for the final push and let go of everything.

        Raises:
            PushError: The push failed, the run did not, and the job asked to be told.
            SignalExit: A signal arrived during the push that has to end an outer run too.
            KeyboardInterrupt: It arrived during the push.
        """
        try:
            outcome = finish.wait() if finish is not None else None
        finally:
            self._let_go()
        try:
            if outcome is not None and not outcome.ok:
                self._report_failure(outcome)
        finally:
            if self._watching and os.getpid() == self._owner_pid:
                self._watching = False
                watch.leave(self._holder)

    def log_failure(self, outcome: Outcome) -> None:
        """Say once that the final push failed, if it did."""
        if not outcome.ok and not self._reported:
            self._reported = True
            logger.warning(
                "the final push of %s failed after %d attempts: %s", self.target.key, outcome.attempts, outcome.reason
            )

    @property
    def timeout_seconds(self) -> float:
        """The total deadline of the final push."""
        return self.target.settings.timeout_seconds

    @property
    def ended(self) -> Exit | None:
        """How the run ended; None while it runs."""
        return self._ended

    def _let_go(self) -> None:
        cells.close_scope(self.scope)
        _open_runs.lives.pop(self.scope, None)
        children.forget(self.run.run_id)
        if self._token is not None:
            token, self._token = self._token, None
            try:
                cells.current.reset(token)
            except ValueError:
                # Ended in another context than it began in, as a generator that the garbage collector closes.
                cells.current.set(None)

    def _report_failure(self, outcome: Outcome) -> None:
        self.log_failure(outcome)
        policy = self.spec.on_push_error or ("raise" if self.target.settings.strict else "log")
        if policy == "raise" and self._ended is not None and self._ended.result.is_good:
            outcome.check()

    def is_late(self) -> bool:
        """Whether the run has taken longer than its max_runtime."""
        limit = self.spec.max_runtime_seconds
        return limit is not None and self._timer() - self._started > limit

    def _classify(self, error: BaseException | None) -> Exit:
        received, fatal = (watch.received, watch.fatal) if self._watching else (None, None)
        return classify(error, signum=received, fatal=fatal, late=self.is_late())

    def _open_pusher(self) -> None:
        for problem in self.target.settings.problems:
            logger.warning("ignored: %s", problem)
        if self.target.settings.disabled or not self.target.settings.gateway_url:
            logger.debug(
                "%s: nothing is pushed: %s",
                self.target.key,
                "disabled" if self.target.settings.disabled else "no gateway",
            )
            return
        telemetry.announce()
        client = Client(self.target.settings, on_attempt=telemetry.count_attempt)
        self._pusher = Pusher(client, heartbeat=self._push_heartbeat, heartbeat_seconds=self.spec.heartbeat_seconds)
        facts = self._facts(None)
        self._pusher.send_soon(lambda client, deadline: self._push_start(client, deadline, facts))

    def _push_start(self, client: Client, deadline: Deadline, facts: Facts) -> Outcome:
        # Without a schedule there is no deadline to look for, and the list may be long.
        known = find_group(client, self.target.key, deadline=deadline) if self.spec.schedule is not None else None
        return self._push(client, deadline, start_families(facts, known=known))

    def _push_heartbeat(self, client: Client, deadline: Deadline) -> Outcome:
        # The run's records and exceptions only: no collector of the job's runs for a push that leaves it out.
        mine = self._children_share(children.unclaimed())
        own = exposition.merge(
            *(self.scope.family(each).collect() for each in (RECORDS, EXCEPTIONS)),
            (each for each in self._of_children(mine) if each.name.startswith(PREFIX)),
            add_all=True,
        )
        return self._push(client, deadline, [*heartbeat_families(self._facts(None)), *own])

    def _of_children(self, share: children.Totals) -> list[Metric]:
        return [*children.families(self.run.run_id), *children.metrics_of(share)]

    def _children_share(self, unclaimed: children.Totals) -> children.Totals:
        """Return what spawned children counted since this run began, if no other run could claim it."""
        is_only = cells.open_scopes() == (self.scope,)
        return children.since(unclaimed, self._unclaimed) if is_only else {}

    def _push_final(self, client: Client, deadline: Deadline, facts: Facts) -> Outcome:
        ended = facts.exit or Exit(Result.SUCCESS)
        own, collected = final_families(facts, ended), self._collected()
        # Should the gateway refuse something that the job measures, it still learns how the run ended.
        fallback = exposition.render([*own, *counted_families(collected)])
        return self._push(client, deadline, [*own, *collected], fallback=fallback)

    def _push(self, client: Client, deadline: Deadline, families: list[Metric], *, fallback: bytes = b"") -> Outcome:
        self._sequence += 1
        headers = {
            "X-Pymetrics-Run-Id": self.run.run_id,
            "X-Pymetrics-Sequence": str(self._sequence),
            "X-Pymetrics-Run-Start": repr(self._started_at),
        }
        body = exposition.render(families)
        return client.push(self.target.key, body, deadline=deadline, headers=headers, fallback=fallback)

    def _collected(self) -> list[Metric]:
        """Return the numbers of the run, of the process, and of child processes."""

        def on_error() -> None:
            telemetry.count_internal_error("collecting metrics")

        unclaimed = children.unclaimed()
        mine = self._children_share(unclaimed)
        children.claim(mine)
        own = exposition.merge(
            exposition.collect(self.scope.registry, on_error=on_error), self._of_children(mine), add_all=True
        )
        # Records and exceptions are a run's; those that belong to none of several open ones are nobody's.
        others = children.metrics_of(children.since(unclaimed, mine))
        process = exposition.merge(
            exposition.collect(cells.process_scope.registry, on_error=on_error),
            (each for each in others if not each.name.startswith(PREFIX)),
            add_all=True,
        )
        return exposition.merge(own, process, telemetry.overflow_family(self.scope, cells.process_scope))

    def _facts(self, ended: Exit | None) -> Facts:
        own, kids = self.usage or (
            resources.read_usage(children=False).since(self._usage),
            resources.read_usage(children=True).since(self._children_usage),
        )
        return Facts(
            spec=self.spec,
            identity=self.target.identity,
            run_id=self.run.run_id,
            sdk_version=__version__,
            started_at=self._started_at,
            now=self._clock(),
            elapsed_seconds=self._timer() - self._started,
            slot=self._slot,
            exit=ended,
            expected=self.run.expected,
            seen=self.run.seen,
            watermark=self.run.newest,
            stages=dict(self.run.stages),
            stage_ends=dict(self.run.stage_ends),
            usage=own,
            children=kids,
            cgroup=resources.read_cgroup(),
        )


def _resolve(spec: JobSpec, *, now: float, environ: Mapping[str, str] | None, script: str | None) -> Target:
    try:
        return resolve(spec, now=now, environ=environ, script=script)
    except Exception:
        telemetry.count_internal_error("reading the environment")
        name = spec.name or "unknown"
        return Target(Settings(disabled=True), Identity(name), GroupingKey(name))


async def complete_async(life: Life, error: BaseException | None) -> None:
    """End a run without holding up the event loop, which may serve other tasks.

    Raises:
        PushError: As `Life.complete`.
    """
    finish = life.begin_end(error)
    # Not imported: it costs as much as the rest of the SDK, and where a coroutine runs it has been imported already.
    asyncio = sys.modules.get("asyncio")
    try:
        while finish is not None and asyncio is not None and not finish.is_over():
            await asyncio.sleep(POLL_SECONDS)
    finally:
        # Cancelled while waiting, or done: what remains of the deadline is waited for here.
        life.complete(finish)


class _OpenRuns:
    """The runs that have begun and not ended, and their end when the process is to end."""

    def __init__(self) -> None:
        self.lives: dict[Scope, Life] = {}

    def patience_seconds(self) -> float:
        """Return the longest push deadline of an open run."""
        return max((life.timeout_seconds for life in list(self.lives.values())), default=0.0)

    def end_all(self, signum: int) -> None:
        """End every open run as cancelled; all pushes are under way at once, so that this takes one deadline."""
        ended = Exit(Result.CANCELLATION, 128 + signum)
        ending = [(life, life.begin_end(None, ended=ended)) for life in list(self.lives.values())]
        for life, finish in ending:
            if finish is not None:
                life.log_failure(finish.wait())

    def clean_up(self) -> None:
        """Delete what child processes left."""
        children.remove()


_open_runs = _OpenRuns()
_atexit_registered: list[bool] = []
watch.runs = _open_runs


def _register_atexit() -> None:
    if not _atexit_registered:
        _atexit_registered.append(True)
        atexit.register(_end_open_runs)


def _end_open_runs() -> None:
    """End what the program left open: a run in a daemon thread, a generator that nobody finished."""
    error = getattr(sys, "last_value", None)
    for life in list(_open_runs.lives.values()):
        cancelled = Exit(Result.CANCELLATION, 0 if watch.fatal is None else 128 + watch.fatal)
        life.complete(life.begin_end(error, ended=None if isinstance(error, Exception) else cancelled))
    watch.end()


def newest_life(spec: JobSpec) -> Life | None:
    """Return the open run of a job that began last."""
    return next((life for life in reversed(_open_runs.lives.values()) if life.spec is spec), None)


cells.forked.append(_open_runs.lives.clear)
