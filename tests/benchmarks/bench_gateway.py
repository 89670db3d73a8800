"""How many pushes a second does the gateway take, how long does a scrape last, and how does the original compare?

    make bench            all figures, about six minutes
    make bench ARGS=--quick   up to 1 000 groups and shorter, about a minute

Both gateways run at once on this machine and are measured in turns, by wrk over four connections, with pushes of 20
samples that overwrite groups that are stored already. Ours runs as it does by default: two workers, SQLite, each push
flushed to disk before it is answered; the original keeps its groups in memory. wrk needs its share of the cores, too.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.harness import Gateway, Original, Service, processes, require_program

CONNECTIONS = 4

BODY = b"""# HELP backup_duration_seconds How long the backup took.
# TYPE backup_duration_seconds gauge
backup_duration_seconds 1834.2
# HELP backup_size_bytes How large it is.
# TYPE backup_size_bytes gauge
backup_size_bytes 1.5e9
# TYPE backup_last_success_timestamp_seconds gauge
backup_last_success_timestamp_seconds 1.7e9
# TYPE backup_exit_code gauge
backup_exit_code 0
# HELP backup_rows_total Rows read from each table.
# TYPE backup_rows_total counter
backup_rows_total{table="users"} 18342
backup_rows_total{table="orders"} 918342
backup_rows_total{table="payments"} 817263
backup_rows_total{table="products"} 4711
backup_rows_total{table="sessions"} 0
backup_rows_total{table="audit"} 98127361
# HELP backup_request_duration_seconds How long requests to the object store took.
# TYPE backup_request_duration_seconds histogram
backup_request_duration_seconds_bucket{le="0.01"} 3
backup_request_duration_seconds_bucket{le="0.05"} 34
backup_request_duration_seconds_bucket{le="0.1"} 201
backup_request_duration_seconds_bucket{le="0.5"} 334
backup_request_duration_seconds_bucket{le="1"} 340
backup_request_duration_seconds_bucket{le="5"} 341
backup_request_duration_seconds_bucket{le="10"} 341
backup_request_duration_seconds_bucket{le="+Inf"} 341
backup_request_duration_seconds_sum 61.23
backup_request_duration_seconds_count 341
"""
"""20 samples in six families, as a job of some size pushes them."""

SCRIPT = """
wrk.method = "POST"
wrk.body = [==[%(body)s]==]
%(header)s
math.randomseed(%(seed)d)
request = function()
    return wrk.format(nil, "/metrics/job/bench/instance/host-" .. math.random(0, %(groups)d - 1))
end
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format('\\nRESULT {"requests": %%d, "microseconds": %%d, "p50": %%d, "p99": %%d, "errors": %%d}\\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk measured.

    Attributes:
        pushes_per_second: Answered pushes.
        p50_seconds: Half of them were answered within this time.
        p99_seconds: 99 of 100 were; the slowest of all where there were fewer than 100.
        cpu_seconds: What one push cost all processes of the gateway; unlike the others hardly disturbed by neighbours.
    """

    pushes_per_second: float
    p50_seconds: float
    p99_seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One gateway with one number of groups stored; times in seconds, sizes in bytes."""

    one_each: Load
    keep_alive: Load
    scrape_seconds: float
    scrape_gzip_seconds: float
    scrape_bytes: int
    memory_bytes: int


class PersistentOriginal(Original):
    """The original with its persistence file, so that it can be filled unchecked and restarted checked."""

    checked = True

    def command(self) -> list[str]:
        """The command line that starts it."""
        unchecked = [] if self.checked else ["--push.disable-consistency-check"]
        # A long interval, so that it does not write its file while it is measured.
        files = ["--persistence.file=pushgateway.gob", "--persistence.interval=24h"]
        return [
            require_program("prometheus-pushgateway"),
            f"--web.listen-address=127.0.0.1:{self.port}",
            *files,
            *unchecked,
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench_gateway", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="up to 1 000 groups, 2 s a measurement")
    parser.add_argument("--groups", type=int, nargs="+", help="numbers of groups stored, ascending")
    parser.add_argument("--seconds", type=float, help="how long each load lasts (10)")
    parser.add_argument("--ours-only", action="store_true", help="leave the original out")
    options = parser.parse_args(arguments)
    levels = options.groups or ([1, 100, 1000] if options.quick else [1, 100, 1000, 10_000])
    seconds = options.seconds or (2.0 if options.quick else 10.0)
    print(*conditions(seconds), sep="\n", flush=True)
    results: dict[int, tuple[Figures, Figures | None]] = {}
    with Gateway() as ours, PersistentOriginal() as original:
        filled = 0
        for groups in levels:
            fill(ours, range(filled, groups))
            figures = measure(ours, groups, seconds)
            if options.ours_only:
                results[groups] = (figures, None)
            else:
                fill_original(original, range(filled, groups))
                results[groups] = (figures, measure(original, groups, seconds))
            filled = groups
            print(*table(groups, *results[groups]), sep="\n", flush=True)
    return 0


def conditions(seconds: float) -> Iterator[str]:
    """Say what was measured on what."""
    load = os.getloadavg()[0]
    filesystem = subprocess.run(
        ["stat", "--file-system", "--format=%T", tempfile.gettempdir()], capture_output=True, text=True, check=False
    ).stdout.strip()
    yield f"pushes of 20 samples, {len(BODY)} bytes; {CONNECTIONS} connections; {seconds:g} s each"
    yield f"ours: 2 workers, SQLite on {filesystem}, each push flushed; the original: in memory"
    yield f"{os.cpu_count()} cores, load {load:.1f} at the start, Python {platform.python_version()}"


def fill(service: Service, numbers: range) -> None:
    """Push to groups that are not there yet, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    for number in numbers:
        connection.request("PUT", f"/metrics/job/bench/instance/host-{number}", BODY)
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (200, 202), answer.status
    connection.close()


def fill_original(original: PersistentOriginal, numbers: range) -> None:
    """Fill the original without its check, which costs as much as all that is stored, and restart it with the check."""
    original.terminate()
    original.checked = False
    original.start()
    fill(original, numbers)
    original.terminate()
    original.checked = True
    original.start()


def measure(service: Service, groups: int, seconds: float) -> Figures:
    """Put one gateway under load with so many groups stored, then scrape it."""
    one_each = put_under_load(service, groups, seconds, keep_alive=False)
    keep_alive = put_under_load(service, groups, seconds, keep_alive=True)
    plain, size = scrape(service, "identity")
    compressed, _ = scrape(service, "gzip")
    return Figures(one_each, keep_alive, plain, compressed, size, memory_bytes(service))


def put_under_load(service: Service, groups: int, seconds: float, *, keep_alive: bool) -> Load:
    """Let wrk push for some time, to random groups of those that are stored.

    Args:
        service: Which gateway.
        groups: How many groups are stored.
        seconds: How long; three times as long if too few pushes were answered to say anything.
        keep_alive: Over the same connections all the time, instead of a new one for each push, as real jobs do.
    """
    header = "" if keep_alive else 'wrk.headers["Connection"] = "close"'
    script = SCRIPT % {"body": BODY.decode(), "header": header, "groups": groups, "seed": groups}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = [require_program("wrk"), "--threads=1", f"--connections={CONNECTIONS}", "--timeout=60s"]
        for duration in (seconds, 3 * seconds, 60):
            run = [*command, f"--duration={max(1, round(duration))}s", "--script", file.name, service.url]
            cpu = cpu_seconds(service)
            done = subprocess.run(run, capture_output=True, text=True, check=True)
            cpu = cpu_seconds(service) - cpu
            result = json.loads(done.stdout.rpartition("RESULT ")[2])
            if result["requests"] >= 5:
                break
    assert not result["errors"], done.stdout
    rate = result["requests"] / (result["microseconds"] / 1e6)
    return Load(rate, result["p50"] / 1e6, result["p99"] / 1e6, cpu / result["requests"])


def scrape(service: Service, encoding: str) -> tuple[float, int]:
    """Return the median time of a scrape in seconds, from connecting to the last byte, and its size uncompressed."""
    times = []
    deadline = time.monotonic() + 3
    while len(times) < 3 or (time.monotonic() < deadline and len(times) < 50):
        begun = time.perf_counter()
        reply = service.get("/metrics", {"Accept-Encoding": encoding})
        times.append(time.perf_counter() - begun)
        assert reply.status == 200
    body = gzip.decompress(reply.body) if encoding == "gzip" else reply.body
    return statistics.median(times), len(body)


def cpu_seconds(service: Service) -> float:
    """Return the CPU time, user and system, that all living processes of a gateway have used."""
    ticks = 0
    for pid in processes(service.pid):
        # proc(5): utime and stime are the fields 14 and 15; the second field is the name in parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_bytes(service: Service) -> int:
    """Return the proportional set size of all processes of a gateway: shared pages count once."""
    total = 0
    for pid in processes(service.pid):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def table(groups: int, ours: Figures, original: Figures | None) -> Iterator[str]:
    """Lay the figures of one number of groups out; ratios above 1 are in our favour."""
    yield ""
    yield f"{groups:,} groups stored ({ours.scrape_bytes / 1e6:.3g} MB)".replace(",", " ")
    yield f"  {'':<34}{'ours':>12}{'original':>12}{'ratio':>9}"
    rows: list[tuple[str, Callable[[Figures], float], float, bool]] = [
        ("pushes/s, a connection each", lambda f: f.one_each.pushes_per_second, 1, True),
        ("  median [ms]", lambda f: f.one_each.p50_seconds, 1e3, False),
        ("  99th percentile [ms]", lambda f: f.one_each.p99_seconds, 1e3, False),
        ("  CPU a push [ms]", lambda f: f.one_each.cpu_seconds, 1e3, False),
        ("pushes/s, keep-alive", lambda f: f.keep_alive.pushes_per_second, 1, True),
        ("  median [ms]", lambda f: f.keep_alive.p50_seconds, 1e3, False),
        ("  99th percentile [ms]", lambda f: f.keep_alive.p99_seconds, 1e3, False),
        ("  CPU a push [ms]", lambda f: f.keep_alive.cpu_seconds, 1e3, False),
        ("scrape, plain [ms]", lambda f: f.scrape_seconds, 1e3, False),
        ("scrape, gzip [ms]", lambda f: f.scrape_gzip_seconds, 1e3, False),
        ("memory, PSS [MB]", lambda f: f.memory_bytes, 1e-6, False),
    ]
    for name, figure, scale, more_is_better in rows:
        mine = figure(ours)
        line = f"  {name:<34}{mine * scale:>12.4g}"
        if original is not None:
            theirs = figure(original)
            ratio = mine / theirs if more_is_better else theirs / mine
            line += f"{theirs * scale:>12.4g}{ratio:>8.3g}x"
        yield line


if __name__ == "__main__":
    sys.exit(main())
