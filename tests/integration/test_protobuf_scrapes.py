"""Is a scrape in protobuf, in each of its encodings, the one that the original answers with?"""

from __future__ import annotations

import re

import pytest

from pushgateway.formats import protobuf
from pushgateway.model import MetricFamily
from tests.harness import Gateway, Original, Reply, Service
from tests.rows import PROTOBUF, TIMES

BODIES = {
    "job/a": b'# HELP c Rows.\n# TYPE c counter\nc{a="b"} 3\nc 1e99\n# TYPE g gauge\ng -0.5\nplain NaN\n',
    "job/b/zone/eu%20west": b"# HELP c Rows.\n# TYPE c counter\nc 5\n"
    b'# TYPE s summary\ns{quantile="0.5"} 1\ns_sum 2\ns_count 3\n',
    "job@base64/w6k": b'# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 3\nh_sum 4\nh_count 3\n',
}


@pytest.fixture
def filled(gateway: Gateway, original: Original) -> tuple[Gateway, Original]:
    """Both gateways, which hold the same groups and nothing else."""
    for service in (gateway, original):
        service.wipe()
        for path, body in BODIES.items():
            assert service.push(path, body).status == 200
    return gateway, original


def scraped(service: Service, *, accept: str = PROTOBUF, escaping: str = "") -> Reply:
    reply = service.get("/metrics", {"Accept": accept})
    assert reply.status == 200, reply
    assert (reply.header("Content-Type") or "").startswith(accept)
    return reply


def pushed(body: bytes) -> dict[str, MetricFamily]:
    """Return what was pushed of a scrape, by name, metrics in one order, push times only as set or not."""
    found = {}
    for family in protobuf.parse(body):
        if re.match("go_|process_|pushgateway_", family.name):
            continue
        metrics = sorted(family.metrics, key=repr)
        if family.name in TIMES:
            metrics = [metric._replace(value=float(metric.value > 0)) for metric in metrics]  # type: ignore[union-attr]
        found[family.name] = MetricFamily(family.name, family.type, family.help, tuple(metrics))
    return found


def test_a_scrape_in_protobuf_has_what_the_originals_has(filled: tuple[Gateway, Original]) -> None:
    """Families, types, help, labels with the empty instance, and values are the same; families are sorted by name."""
    ours, theirs = (scraped(service).body for service in filled)
    assert list(map(repr, pushed(ours).values())) == list(map(repr, pushed(theirs).values()))
    assert len(pushed(ours)) == 7
    names = [family.name for family in protobuf.parse(ours)]
    assert names == sorted(names)


@pytest.mark.parametrize("encoding", ["text", "compact-text"])
def test_the_text_forms_tell_the_same(filled: tuple[Gateway, Original], encoding: str) -> None:
    """Whoever asks for protobuf's text format gets it, with all families; blanks differ, as between Go's releases."""
    texts = [
        scraped(service, accept=PROTOBUF.replace("delimited", encoding)).text.replace('"', "") for service in filled
    ]
    names = [set(re.findall(r"name: *(plain|[cghs]|push_\w+)\s", text)) for text in texts]
    assert names[0] == names[1] == {"c", "g", "h", "s", "plain", *TIMES}
    assert encoding == "text" or len(texts[0].splitlines()) == len(list(protobuf.parse(scraped(filled[0]).body)))


def test_protobuf_is_compressed_like_text(gateway: Gateway) -> None:
    """A scraper that asks for gzip gets protobuf with it."""
    reply = gateway.get("/metrics", {"Accept": PROTOBUF, "Accept-Encoding": "gzip"})
    assert (reply.header("Content-Encoding"), reply.body[:2]) == ("gzip", b"\x1f\x8b")
