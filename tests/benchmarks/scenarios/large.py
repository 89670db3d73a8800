"""How long does one large push take, as text and as protobuf?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from functools import partial
from itertools import cycle

from pushgateway.formats import protobuf, text
from tests.benchmarks.figures import Column, Row, number
from tests.benchmarks.plan import Plan
from tests.benchmarks.sides import Sides, cpu_seconds, fetch
from tests.harness import Service

__all__ = ["SECONDS", "TITLE", "measure", "subject"]

TITLE = "Large pushes"
SECONDS = Column("overwriting, ms")
FIRST = Column("first push, ms")
CPU = Column("CPU a push, ms")
SIZE = Column("body, MB")
FORMS = {
    "text": "text/plain; version=0.0.4",
    "protobuf": "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
}
MOST_PUSHES = 10


def subject(form: str, samples: int) -> str:
    """Return what a row is called."""
    return f"{number(samples)} samples, {form}"


def measure(plan: Plan) -> Iterator[Row]:
    """Push bodies of each size in each form to gateways that hold nothing else, in turn."""
    with Sides(alone=plan.alone) as sides:
        for samples in plan.samples:
            texts = [lines(samples, seed) for seed in (1, 2)]
            for form, content_type in FORMS.items():
                bodies = texts if form == "text" else [protobuf.render(text.parse(body)) for body in texts]
                push = partial(one_group, bodies=bodies, content_type=content_type, seconds=plan.seconds)
                yield Row(TITLE, subject(form, samples), sides.in_turn(push, rounds=plan.rounds))


def lines(samples: int, seed: int) -> bytes:
    """Return ten families with four labels, some of them unique, about 100 bytes a sample."""
    template = 'batch_rows_total_{}{{stage="extract",table="orders_{}",region="eu-central-1",shard="{}"}} {}\n'
    made = [template.format(n // 100 % 10, n % 100, n // 1000, n * 7919 + seed) for n in range(samples)]
    # A family's lines together, as every client library writes them.
    return "".join(sorted(made, key=lambda line: line.partition("{")[0])).encode()


def one_group(service: Service, *, bodies: list[bytes], content_type: str, seconds: float) -> dict[Column, float]:
    """Push to a new group, then overwrite it with other values for some time."""
    path = "/metrics/job/large"

    def push(body: bytes) -> float:
        done = fetch(service, "PUT", path, body, headers={"Content-Type": content_type})
        assert done.status in (200, 202), done
        return done.seconds

    assert fetch(service, "DELETE", path).status == 202
    first = push(bodies[0])
    begun, cpu, times = time.monotonic(), cpu_seconds(service), list[float]()
    for body in cycle(reversed(bodies)):
        times.append(push(body))
        if len(times) >= MOST_PUSHES or time.monotonic() - begun > seconds:
            break
    return {
        SECONDS: 1e3 * statistics.median(times),
        CPU: 1e3 * (cpu_seconds(service) - cpu) / len(times),
        FIRST: 1e3 * first,
        SIZE: len(bodies[0]) / 1e6,
    }
