from __future__ import annotations

import contextlib
import gzip
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from pushgateway.errors import RequestError
from pushgateway.formats import protobuf, text
from tests.data.contract.differences import DIFFERENCES, MALFORMED, Outcome, Step
from tests.exposition import Exposition
from tests.harness import Gateway, Original, Service
from tests.pushes import sequences
from tests.rows import PROTOBUF, TIMES

BOUNDED = settings(
    max_examples=250,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)
"""Derandomised, so that a failure in a test run is one of the change under test; the soak is for finding new ones."""

SOAK = settings(BOUNDED, max_examples=10_000, derandomize=False, print_blob=True)


class Pair:
    """Both gateways, fed the same requests; it counts which differences were seen."""

    def __init__(self, ours: Service, theirs: Service) -> None:
        self.ours = ours
        self.theirs = theirs
        self.steps = 0
        self.seen: Counter[str] = Counter()

    def wipe(self) -> None:
        """Empty both, so that the next step finds the same state in both."""
        for service in (self.ours, self.theirs):
            service.wipe()

    def compare(self, sequence: list[Step]) -> None:
        """Send a sequence to both, and fail at the first outcome that differs for no listed reason."""
        self.wipe()
        history: list[Step] = []
        for step in sequence:
            self.steps += 1
            ours, theirs = (outcome(service, step) for service in (self.ours, self.theirs))
            if agree(ours, theirs):
                history.append(step)
                continue
            reasons = [rule.reason for rule in DIFFERENCES if rule.explains(step, tuple(history), ours, theirs)]
            assert reasons, f"{step} after {history}:\n  ours   {ours}\n  theirs {theirs}\n  {contrast(ours, theirs)}"
            self.seen[reasons[0]] += 1
            # From here on the two hold different states.
            self.wipe()
            history = []

    def figure(self) -> str:
        """Say what was compared."""
        counts = "".join(f"\n  {count:5} {reason}" for reason, count in self.seen.most_common())
        return f"differential: {self.steps} steps compared, {self.seen.total()} differences on purpose:{counts}"


def agree(ours: Outcome, theirs: Outcome) -> bool:
    """Whether two outcomes are the same to a client and to a scraper."""
    return (ours.status, ours.error_line, ours.scrape_status, ours.lines, ours.types, ours.helps) == (
        theirs.status,
        theirs.error_line,
        theirs.scrape_status,
        theirs.lines,
        theirs.types,
        theirs.helps,
    )


def contrast(ours: Outcome, theirs: Outcome) -> str:
    """Show the lines that only one of them exposes."""
    only_ours, only_theirs = set(ours.lines) - set(theirs.lines), set(theirs.lines) - set(ours.lines)
    return f"only ours: {sorted(only_ours)}\n  only theirs: {sorted(only_theirs)}"


def outcome(service: Service, step: Step) -> Outcome:
    """Send a step and scrape."""
    if step.method == "DELETE":
        reply = service.delete(step.path)
        # The original deletes later, but before any push that comes later.
        if service.name == "prometheus-pushgateway":
            service.push("job/fence", b"", method="PUT")
    else:
        body, headers = wire(step)
        reply = service.push(step.path, body, method=step.method, headers=headers)
    scrape = service.get("/metrics")
    if scrape.status != 200:
        return Outcome(reply.status, reply.text, scrape.status)
    ours = service.name == "pushgateway"
    try:
        exposition = Exposition.parse(scrape.body)
    except AssertionError:
        if ours:
            raise
        return Outcome(reply.status, reply.text, MALFORMED)
    if ours:
        assert exposition.problems(twin_buckets=True) == []
    pushed = [line for line in exposition.lines() if "job" in line.label_map and line.label_map["job"] != "fence"]
    names = {line.name for line in pushed}
    families = [family for family in exposition.families.values() if names & {line.name for line in family.lines}]
    return Outcome(
        reply.status,
        reply.body.decode(errors="replace"),
        scrape.status,
        tuple(sorted((name, labels, reduced(name, value)) for name, labels, value in pushed)),
        tuple((family.name, family.type) for family in families),
        tuple((family.name, family.help or "") for family in families),
    )


def wire(step: Step) -> tuple[bytes, dict[str, str]]:
    """Return the body of a step as it is sent, and its headers."""
    body, headers = step.body, {}
    if step.protobuf:
        with contextlib.suppress(RequestError):
            body, headers = protobuf.render(text.parse(body)), {"Content-Type": PROTOBUF}
    if step.gzip:
        body, headers = gzip.compress(body), headers | {"Content-Encoding": "gzip"}
    return body, headers


def reduced(name: str, value: str) -> str:
    """A value as it can be compared: of the push times only whether they are set."""
    return value if name not in TIMES else "0" if value == "0" else "set"


@pytest.fixture
def pair(gateway: Gateway, original: Original) -> Pair:
    """Both gateways."""
    return Pair(gateway, original)


def test_sequences_of_pushes_agree(pair: Pair, record_property: Callable[[str, object], None]) -> None:
    """Any sequence of pushes and deletes is answered and exposed by both alike, but for the differences listed."""
    BOUNDED(given(sequences())(pair.compare))()
    record_property("figure", pair.figure())


@pytest.mark.soak
def test_many_sequences_of_pushes_agree(pair: Pair, record_property: Callable[[str, object], None]) -> None:
    """The same, for many more sequences that differ in each run."""
    SOAK(given(sequences())(pair.compare))()
    record_property("figure", pair.figure())
