"""Every way in which a process can end: is it pushed, and is the exit status the one that it would have had anyway?

Long, since each test carries the program that it runs, and the ways to end are one table to be read in one place.
"""

from __future__ import annotations

import os
import shutil
import signal
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sdk.support import ScriptedGateway, black_hole, child, reply, run_child, stall

PUSH_DEADLINE_SECONDS = 5.0


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    with ScriptedGateway() as server:
        yield server


def script(body: str, *, instrumented: bool = True, prelude: str = "") -> str:
    """A program whose `main` is a job, or is not; everything else is the same."""
    head = """
        import asyncio, os, signal, sys, threading, time
        from pymetrics_sdk import Job, skip
        """
    lines = [
        textwrap.dedent(head),
        textwrap.dedent(prelude),
        "def plain(function): return function",
        "decorate = " + ("Job('exits')" if instrumented else "plain"),
        textwrap.dedent(body),
    ]
    return "\n".join(lines)


ENDS = {
    "return": ("main()", "success", 0),
    "sys.exit(0)": ("sys.exit(0)", "success", 0),
    "sys.exit(None)": ("sys.exit()", "success", 0),
    "sys.exit(3)": ("sys.exit(3)", "failure", 3),
    "sys.exit('text')": ("sys.exit('no input')", "failure", 1),
    "exception": ("raise ValueError('secret')", "error", 1),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", "cancellation", 130),
    "own SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", "cancellation", 143),
}


@pytest.mark.parametrize(("statement", "result", "code"), ENDS.values(), ids=ENDS)
def test_each_end_has_its_result_and_keeps_its_exit_status(
    gateway: ScriptedGateway, statement: str, result: str, code: int
) -> None:
    """However a job ends, its result and code are pushed, and its exit status is that of the uninstrumented program."""
    statement = "pass" if statement == "main()" else statement
    body = f"""
        @decorate
        def main():
            {statement}
        main()
        """
    plain, _, _ = run_child(script(body, instrumented=False))
    status, _, error = run_child(script(body), gateway=gateway.url)
    assert status == plain
    group = gateway.group("exits")
    assert group["batch_job_last_result", {"result": result}] == 1
    assert group.total("batch_job_last_result") == 1
    assert group["batch_job_last_exit_code"] == code
    assert ("secret" in error) == (statement.startswith("raise ValueError"))
    assert "secret" not in gateway.finals[0].body


def test_a_skip_is_a_success_that_did_nothing(gateway: ScriptedGateway) -> None:
    """skip() ends the run with its own result, sets last_success and leaves exit status 0."""
    body = """
        @decorate
        def main():
            rows = [] or skip("nothing to bill")
        print(main())
        """
    status, out, _ = run_child(script(body), gateway=gateway.url)
    assert (status, out.strip()) == (0, "None")
    group = gateway.group("exits")
    assert group["batch_job_last_result", {"result": "skip"}] == 1
    assert "batch_job_last_success_timestamp_seconds" in group
    assert "batch_job_last_failure_timestamp_seconds" not in group


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", ["sync", "asyncio", "context manager"])
def test_a_signal_from_outside_is_pushed_and_stays_honest(
    gateway: ScriptedGateway, signum: signal.Signals, kind: str
) -> None:
    """SIGTERM and SIGINT in any kind of job are pushed as cancellation, and the process still dies by that signal."""
    bodies = {
        "sync": """
            @decorate
            def main():
                print("ready")
                time.sleep(30)
            main()
            """,
        "asyncio": """
            @decorate
            async def main():
                print("ready")
                await asyncio.sleep(30)
            asyncio.run(main())
            """,
        "context manager": """
            async def main():
                async with Job("exits"):
                    print("ready")
                    await asyncio.sleep(30)
            asyncio.run(main())
            """,
    }
    with child(script(bodies[kind]), gateway=gateway.url) as process:
        process.wait_for("ready")
        process.send(signum)
        started = time.monotonic()
        status, _, _ = process.finish()
    assert status == -signum
    assert time.monotonic() - started < PUSH_DEADLINE_SECONDS + 1
    group = gateway.group("exits")
    assert group["batch_job_last_result", {"result": "cancellation"}] == 1
    assert group["batch_job_last_exit_code"] == 128 + signum
    assert len(gateway.finals) == 1


def test_finally_blocks_run_on_sigterm(gateway: ScriptedGateway) -> None:
    """A signal unwinds the stack, so that a job can clean up."""
    body = """
        @decorate
        def main():
            try:
                print("ready")
                time.sleep(30)
            finally:
                print("cleaned", flush=True)
        main()
        """
    with child(script(body), gateway=gateway.url) as process:
        process.wait_for("ready")
        process.send(signal.SIGTERM)
        status, out, _ = process.finish()
    assert (status, out.strip()) == (-signal.SIGTERM, "cleaned")


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="a PID namespace needs root")
def test_pid_1_ends_with_128_plus_n(gateway: ScriptedGateway) -> None:
    """As PID 1, for which the kernel ignores a default action, the job pushes and exits with 143."""
    body = """
        @decorate
        def main():
            assert os.getpid() == 1
            print("ready")
            os.kill(1, signal.SIGTERM)
            time.sleep(30)
        main()
        """
    with child(script(body), gateway=gateway.url, prefix=["unshare", "--pid", "--fork"]) as process:
        process.wait_for("ready")
        status, _, error = process.finish()
    assert status == 143, error
    assert gateway.group("exits")["batch_job_last_result", {"result": "cancellation"}] == 1


@pytest.mark.parametrize("metric", ["Counter", "prometheus_client.Counter"])
def test_a_signal_while_a_metrics_lock_is_held_does_not_deadlock(gateway: ScriptedGateway, metric: str) -> None:
    """The interrupted code may hold a metric's lock: it lets go while the stack unwinds, then the pusher collects."""
    body = f"""
        import prometheus_client
        from pymetrics_sdk import Counter, cells, current_run
        @decorate
        def main():
            if {metric!r} == "Counter":
                lock = cells._lock
                Counter("held_total", "Held.").inc()
            else:
                held = prometheus_client.Counter("held_total", "Held.", registry=current_run().registry)
                held.inc()
                lock = held._value._lock
            with lock:
                print("ready")
                time.sleep(30)
        main()
        """
    with child(script(body), gateway=gateway.url) as process:
        process.wait_for("ready")
        process.send(signal.SIGTERM)
        status, _, _ = process.finish()
    assert status == -signal.SIGTERM
    assert gateway.group("exits")["held_total"] == 1


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_final_push_lets_it_finish(signum: int, gateway: ScriptedGateway) -> None:
    """A signal that comes while the final push is under way is delivered after it; the result stays what it was."""

    def slow(connection: object, stop: object) -> None:
        process.send(signum)
        stop.wait(0.5)
        reply(200)(connection, stop)

    slow.__qualname__ = "reply.slow"
    gateway._pending.append(slow)
    body = """
        @decorate
        def main():
            return 1
        main()
        time.sleep(30)
        """
    with child(script(body), gateway=gateway.url) as process:
        status, _, _ = process.finish()
    assert status == -signum
    assert gateway.group("exits")["batch_job_last_result", {"result": "success"}] == 1


def test_a_second_signal_ends_a_push_that_hangs(gateway: ScriptedGateway) -> None:
    """Whoever sends a second signal does not wait for the deadline."""
    gateway._pending.append(stall)
    body = """
        @decorate
        def main():
            print("ready")
            time.sleep(30)
        main()
        """
    with child(script(body), gateway=gateway.url, PYMETRICS_TIMEOUT="30s") as process:
        process.wait_for("ready")
        process.send(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while not gateway.finals and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send(signal.SIGTERM)
        started = time.monotonic()
        status, _, _ = process.finish()
    assert status == -signal.SIGTERM
    assert time.monotonic() - started < 5


HANDLERS = {
    "exits": ("def handler(*_): sys.exit(7)", 7, "cancellation"),
    "sets a flag": ("def handler(*_): stop.set()", 0, "success"),
    "raises": ("def handler(*_): raise RuntimeError('stop')", 1, "error"),
}


@pytest.mark.parametrize(("handler", "code", "result"), HANDLERS.values(), ids=HANDLERS)
def test_the_jobs_own_handler_stays_in_charge(gateway: ScriptedGateway, handler: str, code: int, result: str) -> None:
    """A handler that the job had installed is called, and what it does has the effect that it has without the SDK."""
    prelude = f"""
        stop = threading.Event()
        {handler}
        signal.signal(signal.SIGTERM, handler)
        """
    body = """
        @decorate
        def main():
            print("ready")
            for _ in range(1500):
                time.sleep(0.02)
                if stop.is_set(): return
        main()
        assert signal.getsignal(signal.SIGTERM) is handler
        """
    statuses = []
    for instrumented in (False, True):
        source = script(body, instrumented=instrumented, prelude=prelude)
        with child(source, gateway=gateway.url if instrumented else "") as process:
            process.wait_for("ready")
            process.send(signal.SIGTERM)
            statuses.append(process.finish()[0])
    assert statuses == [code, code]
    assert gateway.group("exits")["batch_job_last_result", {"result": result}] == 1


def test_an_ignored_signal_stays_ignored(gateway: ScriptedGateway) -> None:
    """Under nohup or in the background of a shell, where SIGINT is ignored, a run ignores it too."""
    body = """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        @decorate
        def main():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
        main()
        """
    assert run_child(script(body), gateway=gateway.url)[0] == 0
    assert gateway.group("exits")["batch_job_last_result", {"result": "success"}] == 1


def test_handlers_are_put_back(gateway: ScriptedGateway) -> None:
    """After the last run the process has the handlers that it had before."""
    body = """
        @decorate
        def main():
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        main()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        """
    status, _, error = run_child(script(body), gateway=gateway.url)
    assert status == 0, error


def test_ctrl_c_reaches_asyncio_as_it_would_without_a_run(gateway: ScriptedGateway) -> None:
    """Around asyncio.run, a run leaves SIGINT to it: the main task is cancelled and can clean up."""
    body = """
        async def work():
            try:
                print("ready")
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                print("cancelled")
                raise
        @decorate
        def main():
            asyncio.run(work())
        main()
        """
    ends = []
    for instrumented in (False, True):
        with child(script(body, instrumented=instrumented), gateway=gateway.url) as process:
            process.wait_for("ready")
            process.send(signal.SIGINT)
            ends.append(process.finish()[:2])
    assert ends == [(-signal.SIGINT, "cancelled\n")] * 2
    assert gateway.group("exits")["batch_job_last_result", {"result": "cancellation"}] == 1


def test_two_jobs_in_one_loop_both_push_on_sigterm(gateway: ScriptedGateway) -> None:
    """The process dies only after the last of its runs has pushed."""
    body = """
        async def one(name):
            async with Job(name):
                await asyncio.sleep(30)
        async def main():
            tasks = asyncio.gather(one("first"), one("second"))
            await asyncio.sleep(0.1)
            print("ready")
            await tasks
        asyncio.run(main())
        """
    with child(script(body), gateway=gateway.url) as process:
        process.wait_for("ready")
        process.send(signal.SIGTERM)
        status, _, _ = process.finish()
    assert status == -signal.SIGTERM
    for name in ("first", "second"):
        assert gateway.group(name)["batch_job_last_result", {"result": "cancellation"}] == 1


def test_a_run_left_open_is_pushed_at_exit(gateway: ScriptedGateway) -> None:
    """A generator that nobody finishes, or a run in a daemon thread, is pushed when the interpreter ends."""
    body = """
        def work():
            with Job("daemon"):
                time.sleep(30)
        threading.Thread(target=work, daemon=True).start()
        Job("open").__enter__()
        time.sleep(0.2)
        """
    status, _, error = run_child(script(body), gateway=gateway.url)
    assert status == 0, error
    for name in ("daemon", "open"):
        assert gateway.group(name)["batch_job_last_result", {"result": "cancellation"}] == 1


def test_a_killed_job_shows_that_it_was_running(gateway: ScriptedGateway) -> None:
    """Nobody can push after SIGKILL; start push and heartbeats say that a run began and when it was last seen."""
    body = """
        @Job("killed", heartbeat="100ms")
        def main():
            time.sleep(30)
        main()
        """
    with child(script(body), gateway=gateway.url) as process:
        deadline = time.monotonic() + 10
        while not any("last_heartbeat" in each.body for each in gateway.received) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send(signal.SIGKILL)
        assert process.finish()[0] == -signal.SIGKILL
    group = gateway.group("killed")
    assert group["batch_job_running"] == 1
    assert "batch_job_last_heartbeat_timestamp_seconds" in group
    assert "batch_job_last_result" not in " ".join(group.families)


INSIDE_ANOTHER = {
    "nested": """
        with Job("outer"):
            with Job("inner", gateway=hole, timeout="1s"):
                threading.Timer(0.3, print, ["ready"]).start()
            time.sleep(30)
        """,
    "asyncio": """
        async def inner():
            async with Job("inner", gateway=hole, timeout="1s"):
                threading.Timer(0.3, print, ["ready"]).start()
        async def outer():
            async with Job("outer"):
                await asyncio.sleep(30)
        async def main():
            await asyncio.gather(inner(), outer())
        asyncio.run(main())
        """,
}


@pytest.mark.parametrize("body", INSIDE_ANOTHER.values(), ids=INSIDE_ANOTHER)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_an_inner_runs_push_ends_the_outer_run_too(
    gateway: ScriptedGateway, body: str, signum: signal.Signals
) -> None:
    """A signal that an inner run's final push holds acts when that push is over, not when the outer run is."""
    with (
        black_hole() as hole,
        child(script(body, prelude=f"hole = {hole!r}"), gateway=gateway.url, PYMETRICS_TIMEOUT="1s") as process,
    ):
        process.wait_for("ready")
        process.send(signum)
        status, _, error = process.finish(seconds=5.0)
    assert status == -signum, error
    assert gateway.group("outer")["batch_job_last_result", {"result": "cancellation"}] == 1


def test_a_stack_that_unwinds_slowly_does_not_keep_the_process(gateway: ScriptedGateway) -> None:
    """A thread pool waits for its threads while the stack unwinds: the run is pushed and the process dies in time."""
    body = """
        from concurrent.futures import ThreadPoolExecutor
        @decorate
        def main():
            with ThreadPoolExecutor(2) as pool:
                pool.submit(print, "ready")
                list(pool.map(time.sleep, [30, 30]))
        main()
        """
    with child(script(body), gateway=gateway.url, PYMETRICS_TIMEOUT="1s") as process:
        process.wait_for("ready")
        process.send(signal.SIGTERM)
        status, _, error = process.finish(seconds=5.0)
    assert status == -signal.SIGTERM, error
    assert len(gateway.finals) == 1
    assert gateway.group("exits")["batch_job_last_result", {"result": "cancellation"}] == 1
    assert gateway.group("exits")["batch_job_last_exit_code"] == 128 + signal.SIGTERM


def test_a_job_that_swallows_its_exit_dies_in_time(gateway: ScriptedGateway) -> None:
    """Code that catches SystemExit and goes on would have died by the signal: it does here, once the push is over."""
    body = """
        @decorate
        def main():
            while True:
                try:
                    print("ready")
                    time.sleep(30)
                except SystemExit:
                    pass
        main()
        """
    with child(script(body), gateway=gateway.url, PYMETRICS_TIMEOUT="1s") as process:
        process.wait_for("ready")
        process.send(signal.SIGTERM)
        assert process.finish(seconds=5.0)[0] == -signal.SIGTERM
    assert gateway.group("exits")["batch_job_last_result", {"result": "cancellation"}] == 1


def test_a_finally_block_may_take_as_long_as_a_push(gateway: ScriptedGateway) -> None:
    """Cleaning up is not cut short by the push that was made meanwhile, as long as it ends within the deadline."""
    body = """
        @decorate
        def main():
            try:
                print("ready")
                time.sleep(30)
            finally:
                time.sleep(1.0)
                print("cleaned", flush=True)
        main()
        """
    with child(script(body), gateway=gateway.url) as process:
        process.wait_for("ready")
        process.send(signal.SIGTERM)
        assert process.finish()[:2] == (-signal.SIGTERM, "cleaned\n")
    assert len(gateway.finals) == 1


def test_runs_of_other_threads_are_pushed_before_the_process_dies(gateway: ScriptedGateway) -> None:
    """When a signal ends the main thread's run, the runs of its other threads are pushed as cancelled too."""
    body = """
        def work():
            with Job("thread"):
                time.sleep(30)
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.2)
        with Job("main"):
            print("ready")
            time.sleep(30)
        """
    with child(script(body), gateway=gateway.url) as process:
        process.wait_for("ready")
        process.send(signal.SIGTERM)
        assert process.finish()[0] == -signal.SIGTERM
    for name in ("main", "thread"):
        group = gateway.group(name)
        assert group["batch_job_last_result", {"result": "cancellation"}] == 1
        assert group["batch_job_last_exit_code"] == 128 + signal.SIGTERM


def test_a_generator_that_ends_in_another_thread_harms_nobody(gateway: ScriptedGateway) -> None:
    """Python sets handlers in the main thread only: ours stay until that thread's next run, and act as if gone."""
    body = """
        @decorate
        def rows():
            yield 1
            yield 2
        each = rows()
        next(each)
        failures = []
        def drain():
            try:
                assert list(each) == [2]
            except BaseException as error:
                failures.append(error)
        thread = threading.Thread(target=drain)
        thread.start()
        thread.join()
        assert not failures, failures
        with Job("next"):
            pass
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        each = rows()
        next(each)
        thread = threading.Thread(target=lambda: list(each))
        thread.start()
        thread.join()
        print("ready")
        time.sleep(30)
        """
    with child(script(body), gateway=gateway.url) as process:
        process.wait_for("ready")
        process.send(signal.SIGTERM)
        status, _, error = process.finish(seconds=5.0)
    assert status == -signal.SIGTERM, error
    assert gateway.group("exits")["batch_job_last_result", {"result": "success"}] == 1
    assert len(gateway.finals) == 3


def test_a_signal_while_handlers_are_put_back_is_not_lost(gateway: ScriptedGateway) -> None:
    """While the last run lets go, a signal still waits, and then ends the process by its default action."""
    body = """
        from pymetrics_sdk import exits
        restore = exits.watch._restore
        def slow():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            restore()
        exits.watch._restore = slow
        @decorate
        def main():
            return 1
        try:
            main()
        except BaseException as error:
            print("raised", type(error))
        """
    status, out, _ = run_child(script(body), gateway=gateway.url)
    assert (status, out) == (-signal.SIGTERM, "")


def test_a_signal_while_a_run_begins_ends_it(gateway: ScriptedGateway) -> None:
    """A signal that comes while a run begins waits until the run can be ended, and ends it."""
    body = """
        from pymetrics_sdk import lifecycle
        begin = lifecycle.Life._open_pusher
        def interrupted(life):
            os.kill(os.getpid(), signal.SIGTERM)
            begin(life)
        lifecycle.Life._open_pusher = interrupted
        @decorate
        def main():
            print("never")
        main()
        """
    status, out, _ = run_child(script(body), gateway=gateway.url)
    assert (status, out) == (-signal.SIGTERM, "")
    assert gateway.group("exits")["batch_job_last_result", {"result": "cancellation"}] == 1


def test_a_run_left_open_has_the_exit_code_of_the_signal(gateway: ScriptedGateway) -> None:
    """A generator that nobody finishes is pushed with 128+N when a signal ends its process."""
    body = """
        @decorate
        def rows():
            yield 1
        each = rows()
        next(each)
        print("ready")
        time.sleep(30)
        """
    with child(script(body), gateway=gateway.url) as process:
        process.wait_for("ready")
        process.send(signal.SIGTERM)
        status, _, _ = process.finish()
    assert status == -signal.SIGTERM
    group = gateway.group("exits")
    assert group["batch_job_last_result", {"result": "cancellation"}] == 1
    assert group["batch_job_last_exit_code"] == 128 + signal.SIGTERM


def test_a_handler_of_the_jobs_own_is_called_after_an_inner_runs_push(gateway: ScriptedGateway) -> None:
    """What an inner run's final push held reaches the job's own handler while the outer run still works."""

    def slow(connection: object, stop: object) -> None:
        process.send(signal.SIGTERM)
        stop.wait(0.3)
        reply(200)(connection, stop)

    slow.__qualname__ = "reply.slow"
    gateway._pending.append(slow)
    body = """
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        with Job("outer"):
            with Job("inner"):
                pass
            assert stop.is_set()
        """
    with child(script(body), gateway=gateway.url) as process:
        status, _, error = process.finish()
    assert status == 0, error
    assert gateway.group("outer")["batch_job_last_result", {"result": "success"}] == 1


def test_ctrl_c_is_lent_for_the_length_of_a_push(gateway: ScriptedGateway) -> None:
    """After an inner run's push SIGINT is its own handler's again, also where asyncio had set one meanwhile."""
    body = """
        async def inner():
            async with Job("inner"):
                pass
        with Job("outer"):
            asyncio.run(inner())
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            with Job("inner"):
                pass
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        """
    status, _, error = run_child(script(body), gateway=gateway.url)
    assert status == 0, error


def test_a_process_that_is_ended_in_time_leaves_no_files(gateway: ScriptedGateway, tmp_path: Path) -> None:
    """The counts of child processes are pushed and their files deleted, also when another thread ends the process."""
    body = """
        import multiprocessing
        from pymetrics_sdk import Counter
        rows = Counter("rows_total", "Rows.")
        with Job("exits"):
            process = multiprocessing.get_context("fork").Process(target=rows.inc)
            process.start()
            process.join()
            try:
                print("ready")
                time.sleep(30)
            finally:
                time.sleep(30)
        """
    with child(script(body), gateway=gateway.url, TMPDIR=str(tmp_path), PYMETRICS_TIMEOUT="1s") as process:
        process.wait_for("ready")
        process.send(signal.SIGTERM)
        status, _, error = process.finish(seconds=5.0)
    assert status == -signal.SIGTERM, error
    assert gateway.group("exits")["rows_total"] == 1
    assert list(tmp_path.glob("pymetrics-*/*")) == []
