"""How much of a request is spent in Flask and the web package?

    python -m tests.benchmarks.bench_web

WSGI calls without sockets, with a store that does nothing: what is left is Flask, the web package, and the pure steps
of a push, which are timed apart.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

from pushgateway import grouping, rules
from pushgateway.config import Config
from pushgateway.formats import protobuf, text
from pushgateway.model import Change, FamilyView, Form, Group, GroupContents, MetricType, Snapshot
from pushgateway.storage.base import Ticket
from pushgateway.telemetry import Telemetry
from pushgateway.web import create_app

ROUNDS = 7
CALLS = 1000
PATH = "/metrics/job/bench/instance/one"

BODIES = {
    samples: b"".join(b'metric_%d{a="b",number="%d"} %d.5\n' % (n % 5, n, n) for n in range(samples))
    for samples in (1, 20)
}


class NoStore:
    """A store that takes everything and has `snapshot`."""

    inline = True
    snapshot = Snapshot((), (), ())

    def apply(self, change: Change, ticket: Ticket | None) -> None:
        """Do nothing."""

    def families(self, form: Form, *, legacy_only: bool = False) -> Snapshot:
        """Return the snapshot."""
        return self.snapshot

    def sections(self, known: object, take: object) -> None:
        """Have none."""

    def version(self) -> None:
        """Tell nothing."""

    def groups(self) -> tuple[GroupContents, ...]:
        """Return nothing."""
        return ()

    def ping(self) -> None:
        """Do nothing."""

    def unwritable_reason(self) -> str:
        """Say that all is well."""
        return ""

    def close(self) -> None:
        """Do nothing."""


def environ(method: str, path: str, body: bytes = b"") -> dict[str, Any]:
    """Make an environ as the bridge does."""
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "RAW_URI": path,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "9091",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:9091",
        "HTTP_USER_AGENT": "bench",
        "HTTP_ACCEPT": "*/*",
        "CONTENT_TYPE": "text/plain; version=0.0.4",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "pushgateway.ticket": None,
        "pushgateway.scratch": {},
    }


def microseconds(call: Callable[[], object], calls: int = CALLS) -> float:
    """Return the least, over rounds, of the mean time of a call: the machine is shared."""
    means = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(calls):
            call()
        means.append((time.perf_counter() - started) / calls * 1e6)
    return min(means)


def snapshot(groups: int, *, samples: int) -> Snapshot:
    """Make a snapshot of groups with `samples` samples each, in five families."""
    lines = [b'metric_%d{job="%d"} 1.5\n' % (n % 5, group) for group in range(groups) for n in range(samples)]
    return Snapshot(
        [FamilyView(f"metric_{n}", MetricType.UNTYPED, "", lines[n::5]) for n in range(5 if groups else 0)],
        [
            Group(f'[["job","{group}"]]', b'{instance="",job="%d"}' % group, 1e9 + group, 0.0, "")
            for group in range(groups)
        ],
        (),
    )


def steps(body: bytes, own: Any) -> None:
    """Do what a push does beside Flask and the web package."""
    key = grouping.parse(b"job/bench/instance/one")
    families = text.parse(body)
    rules.validate(families, key)
    labelled = rules.label(families, key)
    identities = [rules.identities(family) for family in labelled]
    rules.check(labelled, own, identities=identities)
    for family, one in zip(labelled, identities, strict=True):
        text.render_metrics(family)
        protobuf.encode_metrics(family)
        rules.hashes(one)
    text.render_labels(rules.group_labels(key))


def main() -> None:
    """Measure and print."""
    store, telemetry = NoStore(), Telemetry()
    app = create_app(store=store, telemetry=telemetry, config=Config(), clock=time.time, quit_gateway=lambda: None)
    statuses = set()

    def answer(request: dict[str, Any]) -> None:
        chunks = app(request, lambda status, headers: statuses.add(status))
        b"".join(chunks)
        getattr(chunks, "close", bool)()

    print(f"{'':24}{'whole':>10}{'steps':>10}{'web':>10}   us")
    for samples, body in BODIES.items():
        whole = microseconds(lambda body=body: answer(environ("PUT", PATH, body)))
        pure = microseconds(lambda body=body: steps(body, telemetry.names()))
        made = microseconds(lambda body=body: environ("PUT", PATH, body))
        print(f"{f'push, {samples} samples':24}{whole - made:10.1f}{pure:10.1f}{whole - made - pure:10.1f}")
    for name, method, path in (("delete", "DELETE", PATH), ("health", "GET", "/-/healthy")):
        took = microseconds(lambda method=method, path=path: answer(environ(method, path)))
        print(f"{name:24}{took:10.1f}")
    for groups in (0, 1000):
        store.snapshot = snapshot(groups, samples=20)
        took = microseconds(lambda: answer(environ("GET", "/metrics")), 20)
        print(f"{f'scrape, {groups} groups':24}{took:10.1f}")
    print(sorted(statuses))


if __name__ == "__main__":
    main()
