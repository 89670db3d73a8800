"""Real forked processes: the choice between one process and many is made when prometheus_client is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PRELUDE = """
import os, signal, sys
from pushgateway.telemetry import Telemetry

telemetry = Telemetry()

def count(times):
    for _ in range(times):
        telemetry.count_request(handler="push", method="PUT", code=200)
        telemetry.observe_push(method="PUT", size_bytes=300, duration_seconds=0.003)

def worker(times):
    # Counts, says so, and waits to be killed.
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        count(times)
        os.write(writer, b"1")
        signal.pause()
    os.read(reader, 1)
    os.close(reader), os.close(writer)
    return pid

def kill(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)

def counts():
    found = {one.name: one.metrics for one in telemetry.families()}
    return found["pushgateway_http_requests_total"][0].value, found["pushgateway_http_push_size_bytes"][0].count

def values():
    # Only where nobody is counting: a push being counted may be in the sum and not yet in a bucket.
    requests, count = counts()
    found = {one.name: one.metrics for one in telemetry.families()}
    for (metric,) in (found["pushgateway_http_push_size_bytes"], found["pushgateway_http_push_duration_seconds"]):
        assert metric.count == count == metric.buckets[-1][1]
    (sizes,) = found["pushgateway_http_push_size_bytes"]
    assert sizes.sum == 300.0 * count and dict(sizes.buckets)[256] == 0 and dict(sizes.buckets)[1024] == count, sizes
    return requests, count

def files():
    return sorted(os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
"""


def run(code: str, directory: Path) -> str:
    """Run a gateway's processes without the gateway; return what they print."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + code],
        env={"PROMETHEUS_MULTIPROC_DIR": str(directory), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_any_process_sees_what_all_workers_have_counted(tmp_path: Path) -> None:
    """Counts of several workers are summed, whichever process is asked."""
    code = """
workers = [worker(3), worker(4)]
print(*values(), flush=True)
if os.fork() == 0:
    print(*values())
    sys.exit()
os.wait()
for pid in workers:
    kill(pid)
"""
    assert run(code, tmp_path).splitlines() == ["7.0 7", "7.0 7"]


def test_a_killed_worker_takes_nothing_with_it_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """After many workers have been killed, folded and replaced, all counts are there, in as many files as after one."""
    code = """
for _ in range(5):
    pid = worker(10)
    kill(pid)
    before = values()
    telemetry.fold_dead_worker(pid)
    assert values() == before
    assert not [name for name in files() if str(pid) in name], files()
print(*values(), *files())
"""
    assert run(code, tmp_path).split() == ["50.0", "50", "counter_dead.db", "histogram_dead.db"]


def test_a_worker_that_counted_nothing_is_folded_too(tmp_path: Path) -> None:
    """Folding a worker without files, or one whose file it had no time to fill, changes nothing."""
    code = """
kill(worker(1))
os.rename(*[os.path.join(os.environ["PROMETHEUS_MULTIPROC_DIR"], name) for name in (files()[0], "counter_1.db")])
open(os.path.join(os.environ["PROMETHEUS_MULTIPROC_DIR"], "counter_2.db"), "w").close()
before = values()
telemetry.fold_dead_worker(3)
telemetry.fold_dead_worker(2)
telemetry.fold_dead_worker(1)
assert values() == before
print(*before)
"""
    assert run(code, tmp_path).split() == ["1.0", "1"]


def test_no_scrape_sees_a_counter_fall_while_workers_die(tmp_path: Path) -> None:
    """Two workers scrape while others are killed and folded: no value is less than the one before."""
    code = """
count(1)
scrapers = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        seen, scrapes, stop = (0, 0), 0, []
        signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
        while not stop:
            now = counts()
            if now[0] < seen[0] or now[1] < seen[1]:
                sys.exit("fell from %s to %s" % (seen, now))
            seen, scrapes = now, scrapes + 1
        sys.exit(0 if scrapes > 10 else "too few scrapes")
    scrapers.append(pid)
for _ in range(40):
    pid = worker(5)
    kill(pid)
    telemetry.fold_dead_worker(pid)
for pid in scrapers:
    os.kill(pid, signal.SIGTERM)
assert [os.waitpid(pid, 0)[1] for pid in scrapers] == [0, 0]
print(*values())
"""
    assert run(code, tmp_path).split() == ["201.0", "201"]


def test_files_that_grow_are_reserved(tmp_path: Path) -> None:
    """More series than a new file holds are all counted and folded, in files of which the disk has every byte."""
    code = """
pid = os.fork()
if pid == 0:
    for code in range(1500):
        telemetry.count_request(handler="push", method="PUT", code=code)
    count(1)
    path = os.path.join(os.environ["PROMETHEUS_MULTIPROC_DIR"], "counter_%d.db" % os.getpid())
    status = os.stat(path)
    assert status.st_size > 65536 and status.st_blocks * 512 >= status.st_size, status
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
telemetry.fold_dead_worker(pid)
found = {one.name: one.metrics for one in telemetry.families()}["pushgateway_http_requests_total"]
print(len(found), sum(sample.value for sample in found), *files())
"""
    assert run(code, tmp_path).split() == ["1500", "1501.0", "counter_dead.db", "histogram_dead.db"]


def test_workers_that_could_not_be_folded_are_folded_later(tmp_path: Path) -> None:
    """A fold without room hides nothing, says so, and is made up for with the next one."""
    code = """
import logging, resource
logging.basicConfig(stream=sys.stdout, format="%(message)s %(data)s")
first, second = worker(3), worker(4)
kill(first)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
telemetry.fold_dead_worker(first)
assert len([name for name in files() if str(first) in name]) == len(files()) / 2, files()
print(*values())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
kill(second)
telemetry.fold_dead_worker(second)
print(*values(), *files())
"""
    warning, before, after = run(code, tmp_path).splitlines()
    assert "cannot fold" in warning
    assert "File too large" in warning
    assert (before, after) == ("7.0 7", "7.0 7 counter_dead.db histogram_dead.db")
