"""Does any sequence of pushes break a scrape, or another group's push?

After each request of a random sequence the exposition is well formed, Prometheus would drop none of it, and a group
that nobody attacks is pushed to and read back. At its end the API and the page answer, and other parsers read the same.
"""

from __future__ import annotations

import io
import itertools
import subprocess
from collections.abc import Iterator
from typing import ClassVar

import pytest
from google.protobuf.proto import parse_length_prefixed
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pushgateway.formats.protobuf_messages import family_class
from tests.harness import Gateway, require_program
from tests.hostile import OPENMETRICS, Request, pushes
from tests.rows import PROTOBUF

MetricFamilyMessage = family_class()

SETTINGS = settings(
    max_examples=25,
    stateful_step_count=15,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)
"""Derandomised, as in test_differential."""

PROMTOOL_PARSE_ERROR = 1


class Attack(RuleBasedStateMachine):
    """A gateway under attack, empty at the beginning of each sequence."""

    gateway: ClassVar[Gateway]
    numbers: ClassVar = itertools.count()
    answered: ClassVar[set[int]] = set()

    @initialize()
    def empty(self) -> None:
        """Forget what the sequence before has left."""
        self.gateway.wipe()

    @rule(request=pushes())
    def attack(self, request: Request) -> None:
        """Send a hostile request: taken or refused, but never an error of the gateway's."""
        reply = self.gateway.request(request.method, request.target, request.body, request.headers)
        assert reply.status < 500, (request, reply)
        self.answered.add(reply.status)

    @invariant()
    def others_are_served(self) -> None:
        """A push to the canary's group is answered 200, and what it said is in a valid exposition."""
        number = next(self.numbers)
        reply = self.gateway.push("job/canary/l/v", b"# TYPE canary_alive gauge\ncanary_alive %d\n" % number)
        assert reply.status == 200, reply.text
        scrape = self.gateway.scrape()
        assert scrape.problems(twin_buckets=True) == []
        assert scrape.value("canary_alive", job="canary") == number

    def teardown(self) -> None:
        """Let the parsers of others read what the sequence has left: in text, protobuf and OpenMetrics."""
        for path in ("/api/v1/metrics", "/", "/groups", "/failures", "/status"):
            assert self.gateway.get(path).status == 200
        families = list(read_delimited(self.gateway.get("/metrics", {"Accept": PROTOBUF}).body))
        assert len({family.name for family in families}) == len(families)
        for escaping in ("underscores", "allow-utf-8"):
            openmetrics = self.gateway.get("/metrics", {"Accept": f"{OPENMETRICS};escaping={escaping}"})
            assert openmetrics.header("Content-Type") == f"{OPENMETRICS}; escaping={escaping}"
            list(text_string_to_metric_families(openmetrics.text))
        text = self.gateway.get("/metrics").body
        done = subprocess.run(
            [require_program("promtool"), "check", "metrics"], input=text, capture_output=True, check=False
        )
        assert done.returncode != PROMTOOL_PARSE_ERROR, (done.stderr, text)


def read_delimited(body: bytes) -> Iterator[MetricFamilyMessage]:
    """Read the families of a scrape in protobuf; DecodeError if it cannot be read to its end."""
    stream = io.BytesIO(body)
    while (family := parse_length_prefixed(MetricFamilyMessage, stream)) is not None:
        yield family


@pytest.fixture(params=["", "--push.enable-utf8-names"], ids=["legacy names", "UTF-8 names"])
def attacked(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """A gateway that takes UTF-8 names, and one that does not."""
    flags = ["--storage.url=memory:", "--web.enable-admin-api", "--web.enable-openmetrics"]
    with Gateway(*flags, *filter(None, [request.param])) as gateway:
        yield gateway


def test_no_sequence_of_requests_breaks_a_scrape_or_another_group(attacked: Gateway) -> None:
    """Whatever was pushed, replaced, refused and deleted before: the scrape is valid and the canary lives."""
    Attack.gateway = attacked
    Attack.answered.clear()
    run_state_machine_as_test(Attack, settings=SETTINGS)
    assert Attack.answered >= {200, 202, 400}, "the attack must reach both what is taken and what is refused"
