"""How are pushes sent as fast as they are answered, and what does wrk say about the answers?"""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from itertools import product

from tests.benchmarks.sides import bodies, cpu_seconds
from tests.harness import Service, require_program

__all__ = ["LOADS", "Load", "Outcome", "put_under_load"]

TIMEOUT_SECONDS = 120
FEWEST = 5
"""With fewer answers than these a load lasts longer, up to a minute: they would say nothing."""

SCRIPT = """
local bodies = {%(bodies)s}
%(header)s
math.randomseed(%(seed)d)
request = function()
    local path = "/metrics/job/bench/instance/host-" .. math.random(0, %(groups)d - 1)
    return wrk.format("%(method)s", path, nil, bodies[math.random(#bodies)])
end
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '\\nRESULT {"requests": %%d, "microseconds": %%d, "p50": %%d, "p99": %%d, "p999": %%d, "errors": %%d}\\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """How pushes arrive.

    Attributes:
        method: PUT or POST.
        connections: How many clients push at once, each as soon as its last push was answered.
        keep_alive: Over the same connections all the time, instead of a new one for each push, as real jobs do.
    """

    method: str
    connections: int
    keep_alive: bool

    @property
    def name(self) -> str:
        """The name on the command line and in tables: put-4-close."""
        return f"{self.method.lower()}-{self.connections}-{'keep' if self.keep_alive else 'close'}"


LOADS = {
    load.name: load
    for load in (Load(method, n, keep) for n, keep, method in product((4, 64), (False, True), ("PUT", "POST")))
}
"""All of them by name."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What wrk measured.

    Attributes:
        requests: Answered pushes; if there were none in a minute, that is what the percentiles say.
        pushes_per_second: The same a second.
        p50_seconds: Half of them were answered within this time.
        p99_seconds: 99 of 100 were; the slowest of all where there were fewer than 100.
        p999_seconds: 999 of 1 000 were.
        cpu_seconds: What one push cost all processes of the gateway; unlike the others hardly disturbed by neighbours.
    """

    requests: int
    pushes_per_second: float
    p50_seconds: float
    p99_seconds: float
    p999_seconds: float
    cpu_seconds: float


def put_under_load(service: Service, load: Load, *, groups: int, seconds: float) -> Outcome:
    """Let wrk push for some time, to random groups of those that are stored, values changing with each push.

    Args:
        service: Which gateway.
        load: How pushes arrive.
        groups: How many groups are stored.
        seconds: How long, at least one; three times as long if too few pushes were answered to say anything.

    Raises:
        AssertionError: If a push was not answered, or not with success.
    """
    script = SCRIPT % {
        "bodies": ",".join(f"[==[{body.decode()}]==]" for body in bodies(16)),
        "header": "" if load.keep_alive else 'wrk.headers["Connection"] = "close"',
        "method": load.method,
        "groups": groups,
        "seed": groups,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = [require_program("wrk"), "--threads=1", f"--connections={load.connections}"]
        command += [f"--timeout={TIMEOUT_SECONDS}s", "--script", file.name, service.url]
        for duration in (seconds, 3 * seconds, 60):
            cpu = cpu_seconds(service)
            run = [*command, f"--duration={max(1, round(duration))}s"]
            done = subprocess.run(run, capture_output=True, text=True, check=True)
            cpu = cpu_seconds(service) - cpu
            result = json.loads(done.stdout.rpartition("RESULT ")[2])
            if result["requests"] >= FEWEST:
                break
    assert not result["errors"], done.stdout
    if not result["requests"]:
        # All that is known is that an answer takes longer than this.
        waited = result["microseconds"] / 1e6
        return Outcome(0, 0.0, waited, waited, waited, cpu)
    return Outcome(
        result["requests"],
        result["requests"] / (result["microseconds"] / 1e6),
        result["p50"] / 1e6,
        result["p99"] / 1e6,
        result["p999"] / 1e6,
        cpu / result["requests"],
    )
