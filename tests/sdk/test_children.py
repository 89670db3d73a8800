"""Forks and child processes: nobody pushes for a parent, nobody hangs, and every count comes home."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sdk.support import ScriptedGateway, child, run_child

HEAD = """
import concurrent.futures, multiprocessing, os, signal, sys, threading, time
from pymetrics_sdk import Counter, Gauge, Histogram, Job, current_run, measure
rows = Counter("rows_total", "Rows.", ["kind"])
sizes = Histogram("size_bytes", "Sizes.", buckets=(10, 100))
level = Gauge("level_ratio", "A level.")
@measure
def work(number):
    rows.labels("even" if number % 2 == 0 else "odd").inc()
    sizes.observe(number)
    level.set(number)
    current_run().record("processed")
    return number
"""


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    with ScriptedGateway() as server:
        yield server


def run(gateway: ScriptedGateway, body: str, **env: str) -> None:
    """Run a program that begins with HEAD and guards its main part, as spawn needs; it must end well and silently."""
    indented = body.replace("\n", "\n    ")
    source = f"{HEAD}\nif __name__ == '__main__':\n    {indented}\n"
    # From a file: a spawned child imports the main module again, which `-c` has none of.
    status, _, error = run_child(
        f"""
import pathlib, subprocess, sys, tempfile
with tempfile.TemporaryDirectory() as directory:
    path = pathlib.Path(directory, "program.py")
    path.write_text({source!r})
    sys.exit(subprocess.run([sys.executable, str(path)]).returncode)
""",
        gateway=gateway.url,
        # Python 3.12 warns of a fork while a push is under way.
        PYTHONWARNINGS="ignore::DeprecationWarning",
        **env,
    )
    assert (status, error) == (0, "")


def test_a_forked_child_never_pushes_for_its_parent(gateway: ScriptedGateway) -> None:
    """A child of os.fork that leaves the run's block, exits or dies by a signal pushes nothing."""
    run(
        gateway,
        """
with Job("parent"):
    rows.labels("mine").inc()
    for end in (lambda: None, lambda: sys.exit(3), lambda: os.kill(os.getpid(), signal.SIGTERM)):
        pid = os.fork()
        if pid == 0:
            rows.labels("child").inc()
            end()
            break
        os.waitpid(pid, 0)
if pid == 0:
    os._exit(0)
""",
    )
    assert len(gateway.finals) == 1
    group = gateway.group("parent")
    assert group["batch_job_last_result", {"result": "success"}] == 1
    assert group["rows_total", {"kind": "mine"}] == 1
    assert ("rows_total", {"kind": "child"}) not in group


def test_a_forked_child_dies_by_sigterm_as_without_a_run(gateway: ScriptedGateway) -> None:
    """The run's signal handlers are the parent's: a forked child has the previous ones."""
    run(
        gateway,
        """
with Job("parent"):
    pid = os.fork()
    if pid == 0:
        time.sleep(30)
    time.sleep(0.1)
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
""",
    )
    assert gateway.group("parent")["batch_job_last_result", {"result": "success"}] == 1


@pytest.mark.parametrize("holder", ["ours", "prometheus_client"])
def test_a_fork_while_a_thread_holds_a_metrics_lock_does_not_hang(gateway: ScriptedGateway, holder: str) -> None:
    """The child gets new locks, so that it can count although the thread that held the old one does not exist in it."""
    run(
        gateway,
        f"""
import prometheus_client
from pymetrics_sdk import cells
with Job("parent"):
    theirs = prometheus_client.Counter("theirs_total", "Theirs.", ["kind"], registry=current_run().registry)
    theirs.labels("a").inc()
    lock = cells._lock if {holder!r} == "ours" else theirs._lock
    held, release = threading.Event(), threading.Event()
    def hold():
        with lock:
            held.set()
            release.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        signal.alarm(5)
        rows.labels("child").inc()
        theirs.labels("a").inc()
        theirs.labels("b").inc()
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    release.set()
    thread.join()
    assert status == 0, status
""",
    )


POOLS = {
    "Pool, fork, terminated": "with multiprocessing.get_context('fork').Pool(2) as pool: pool.map(work, range(20))",
    "Pool, spawn, terminated": "with multiprocessing.get_context('spawn').Pool(2) as pool: pool.map(work, range(20))",
    "Pool, forkserver": "with multiprocessing.get_context('forkserver').Pool(2) as pool: pool.map(work, range(20))",
    "Pool, closed and joined": """pool = multiprocessing.get_context('fork').Pool(2)
        pool.map(work, range(20)); pool.close(); pool.join()""",
    "ProcessPoolExecutor": """with concurrent.futures.ProcessPoolExecutor(2) as pool:
            list(pool.map(work, range(20)))""",
    "Process, fork": """fork = multiprocessing.get_context('fork')
        children = [fork.Process(target=work, args=(number,)) for number in range(20)]
        [each.start() for each in children]; [each.join() for each in children]""",
}


@pytest.mark.parametrize("statement", POOLS.values(), ids=POOLS)
def test_the_counts_of_child_processes_come_home(gateway: ScriptedGateway, statement: str) -> None:
    """Counters, histograms, measured calls and records of children are in the parent's push, each exactly once."""
    run(
        gateway,
        f"""
    with Job("parent"):
        work(100)
        {statement}
""".strip(),
    )
    group = gateway.group("parent")
    assert group["rows_total", {"kind": "even"}] == 11
    assert group["rows_total", {"kind": "odd"}] == 10
    assert group["size_bytes_count"] == 21
    assert group["size_bytes_sum"] == 290
    assert group.total("function_calls_total", {"function": "work", "result": "ok"}) == 21
    assert group["level_ratio"] == 100
    assert group["batch_job_records", {"outcome": "processed"}] == 21


def test_a_killed_child_loses_only_its_own_last_moments(gateway: ScriptedGateway) -> None:
    """What a child had counted when SIGKILL took it is there."""
    run(
        gateway,
        """
def victim():
    for number in range(10):
        work(number)
    os.kill(os.getpid(), signal.SIGKILL)
with Job("parent"):
    process = multiprocessing.get_context("fork").Process(target=victim)
    process.start()
    process.join()
""",
    )
    assert gateway.group("parent").total("rows_total") == 10


def test_grandchildren_count_too(gateway: ScriptedGateway) -> None:
    """A child's own children mirror into the child's directory, which the parent follows."""
    run(
        gateway,
        """
def middle():
    process = multiprocessing.get_context("fork").Process(target=work, args=(1,))
    process.start()
    process.join()
    work(2)
with Job("parent"):
    process = multiprocessing.get_context("fork").Process(target=middle)
    process.start()
    process.join()
""",
    )
    assert gateway.group("parent").total("rows_total") == 2


def test_many_series_of_a_child_outgrow_its_first_file(gateway: ScriptedGateway) -> None:
    """A child's file grows with its series."""
    run(
        gateway,
        """
many = Counter("many_total", "Many.", ["number"], max_series=3000)
def count():
    for number in range(2000):
        many.labels(str(number) * 5).inc()
with Job("parent"):
    process = multiprocessing.get_context("fork").Process(target=count)
    process.start()
    process.join()
""",
    )
    assert gateway.group("parent").total("many_total") == 2000


def test_a_thread_pool_counts_for_the_only_run(gateway: ScriptedGateway) -> None:
    """A thread of a ThreadPoolExecutor has no context of its own; with one run open it is clear which one is meant."""
    run(
        gateway,
        """
with Job("parent"):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(20)))
""",
    )
    group = gateway.group("parent")
    assert group.total("rows_total") == 20
    assert group["batch_job_records", {"outcome": "processed"}] == 20


@pytest.mark.parametrize("disabled", ["0", "1"])
def test_nothing_is_left_in_the_temporary_directory(gateway: ScriptedGateway, tmp_path: Path, disabled: str) -> None:
    """The files of children are gone when the parent has ended, also where nothing is pushed."""
    body = """
with Job("parent"):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(work, range(20))
"""
    run(gateway, body, TMPDIR=str(tmp_path), PYMETRICS_DISABLED=disabled)
    assert list(tmp_path.glob("pymetrics-*/*")) == []


def test_a_job_inside_a_child_pushes_for_itself(gateway: ScriptedGateway) -> None:
    """A child process may be a job of its own, with its own group."""
    run(
        gateway,
        """
def inner():
    with Job("child"):
        work(1)
with Job("parent"):
    process = multiprocessing.get_context("fork").Process(target=inner)
    process.start()
    process.join()
""",
    )
    assert gateway.group("child")["batch_job_last_result", {"result": "success"}] == 1
    assert gateway.group("parent")["batch_job_last_result", {"result": "success"}] == 1


def test_a_child_can_import_what_the_pusher_was_importing(gateway: ScriptedGateway) -> None:
    """A fork waits for an import in the pusher's thread: without that the child would see half of requests."""
    run(
        gateway,
        """
for delay in (0, 0.01, 0.02, 0.05, 0.1):
    pid = os.fork()
    if pid == 0:
        with Job("parent"):
            time.sleep(delay)
            child = os.fork()
            if child == 0:
                import requests
                requests.Session().mount("x://", requests.adapters.HTTPAdapter())
                os._exit(0)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    assert os.waitpid(pid, 0)[1] == 0, delay
""",
    )


def test_sigterm_to_the_parent_of_a_pool_is_pushed(gateway: ScriptedGateway, tmp_path: Path) -> None:
    """A pool inside a job does not keep SIGTERM from being pushed and from ending the process."""
    script = f"""{HEAD}
def slow(number):
    work(number)
    time.sleep(30)
with Job("parent"):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        result = pool.map_async(slow, range(2))
        time.sleep(0.5)
        print("ready")
        result.get()
"""
    with child(script, gateway=gateway.url, TMPDIR=str(tmp_path)) as process:
        process.wait_for("ready")
        process.send(signal.SIGTERM)
        assert process.finish()[0] == -signal.SIGTERM
    assert list(tmp_path.glob("pymetrics-*/*")) == []
    group = gateway.group("parent")
    assert group["batch_job_last_result", {"result": "cancellation"}] == 1
    assert group.total("rows_total") == 2


FULL_DISK = """
many = Counter("many_total", "Many.", ["number"], max_series=3000)
def count():
    for number in range(2000):
        many.labels(str(number) * 5).inc()
if __name__ == "__main__":
    with Job("parent"):
        children = [multiprocessing.get_context("fork").Process(target=count) for _ in range(3)]
        [each.start() for each in children]
        [each.join() for each in children]
        assert [each.exitcode for each in children] == [0, 0, 0], children
"""


def test_a_full_disk_does_not_harm_a_child(gateway: ScriptedGateway, tmp_path: Path) -> None:
    """Where its file cannot grow, a child counts on, says once what is lost, and nothing reaches the job's code."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    status, _, error = run_child(HEAD + limit + FULL_DISK, gateway=gateway.url, TMPDIR=str(tmp_path))
    assert status == 0, error
    assert error.count("is lost") == 3
    assert gateway.group("parent").total("many_total") > 0


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="a small file system needs root")
def test_a_full_file_system_does_not_kill_a_child(gateway: ScriptedGateway, tmp_path: Path) -> None:
    """Room is reserved before it is written to: a hole that cannot be filled would end the child with SIGBUS."""
    mount = f'mount -t tmpfs -o size=256k none {tmp_path} && exec "$@"'
    prefix = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    with child(HEAD + FULL_DISK, gateway=gateway.url, prefix=prefix, TMPDIR=str(tmp_path)) as process:
        status, _, error = process.finish()
    assert status == 0, error
    assert error.count("is lost") >= 2


def test_what_spawned_children_count_is_in_one_run_only(gateway: ScriptedGateway) -> None:
    """A run pushes what its spawned children counted, also in a pool that outlives it, and the next run does not."""
    run(
        gateway,
        """
with multiprocessing.get_context("spawn").Pool(1) as pool:
    for name, amount in (("first", 3), ("second", 4), ("third", 0)):
        with Job(name):
            pool.map(work, range(amount))
""",
    )
    for name, amount in (("first", 3), ("second", 4), ("third", 0)):
        group = gateway.group(name)
        assert group["batch_job_records", {"outcome": "processed"}] == amount
        assert group.total("rows_total") == amount


def test_the_files_of_children_that_are_gone_are_added_up(gateway: ScriptedGateway, tmp_path: Path) -> None:
    """However many children there were, only the files of living ones are kept, and no count is lost or doubled."""
    run(
        gateway,
        """
import pathlib, tempfile
from pymetrics_sdk import children
fork = multiprocessing.get_context("fork")
def files():
    return len(list(pathlib.Path(tempfile.gettempdir()).glob("pymetrics-*/*/*")))
def batch():
    processes = [fork.Process(target=work, args=(number,)) for number in range(5)]
    [each.start() for each in processes]
    [each.join() for each in processes]
with Job("parent"):
    for _ in range(3):
        batch()
        assert files() == 5
        children.entries()
        assert files() == 0
    batch()
assert not children._folded
""",
        TMPDIR=str(tmp_path),
    )
    group = gateway.group("parent")
    assert group.total("rows_total") == 20
    assert group["batch_job_records", {"outcome": "processed"}] == 20


def test_heartbeats_carry_records_and_run_no_collector(gateway: ScriptedGateway) -> None:
    """A heartbeat has the run's records and exceptions, children's too; a collector runs for the final push only."""
    run(
        gateway,
        """
from prometheus_client.core import GaugeMetricFamily
class Slow:
    def collect(self):
        calls.append(1)
        return [GaugeMetricFamily("slow", "Slow.", value=1)]
    def describe(self):
        return []
calls = []
with Job("parent", heartbeat="100ms"):
    current_run().registry.register(Slow())
    current_run().record("read")
    process = multiprocessing.get_context("fork").Process(target=work, args=(1,))
    process.start()
    process.join()
    time.sleep(0.4)
assert calls == [1], calls
""",
    )
    beats = [each.body for each in gateway.received if not each.is_final and "last_heartbeat" in each.body]
    assert any('batch_job_records{outcome="read"} 1.0' in each for each in beats)
    assert any('batch_job_records{outcome="processed"} 1.0' in each for each in beats)
    assert not any("slow" in each or "rows" in each for each in beats)
    assert gateway.group("parent")["slow"] == 1
