"""Does promtool, with Prometheus' own parser and linter, find anything wrong with our exposition?"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.harness import Gateway, require_program

PARSE_ERROR = 1
"""promtool's exit code for a text that it cannot read; 3 is for lint, which is the job's own affair."""

HISTOGRAM = b'# TYPE h histogram\nh_bucket{le="0.5"} 1\nh_bucket{le="+Inf"} 2\nh_sum 3\nh_count 2\n'

CORPUS: dict[str, list[tuple[str, bytes]]] = {
    "nothing pushed": [],
    "an empty push": [("job/a", b"")],
    "one untyped sample": [("job/a", b"x 1\n")],
    "every simple type": [
        ("job/a", b"# TYPE c_total counter\nc_total 1\n# TYPE g gauge\ng -1\n# TYPE u untyped\nu NaN\n"),
    ],
    "a histogram": [("job/a", HISTOGRAM)],
    "a histogram without +Inf": [("job/a", HISTOGRAM.replace(b'h_bucket{le="+Inf"} 2\n', b""))],
    "a histogram of which only the sum came": [("job/a", b"# TYPE h histogram\nh_sum 3\n")],
    "histograms with labels": [
        (
            "job/a",
            b'# TYPE h histogram\nh_bucket{p="x",le="1"} 1\nh_count{p="x"} 1\nh_bucket{p="y",le="1"} 2\n',
        ),
    ],
    "a float histogram": [("job/a", b'# TYPE h histogram\nh_bucket{le="1"} 0.5\nh_count 1.5\n')],
    "a summary": [("job/a", b'# TYPE s summary\ns{quantile="0.5"} NaN\ns{quantile="0.9"} 2\ns_sum 3\ns_count 2\n')],
    "a summary without quantiles": [("job/a", b"# TYPE s summary\ns_sum 3\ns_count 2\n")],
    "escapes in labels": [("job/a", rb'x{q="\"",b="\\",n="\n",t="a	b"} 1' + b"\n")],
    "escapes in HELP": [("job/a", b'# HELP x back\\\\slash and\\nline, \xc3\xa4 # and "quotes"\nx 1\n')],
    "escapes in the key": [("job/a%20%22b%22%0A%5C/shard@base64/YS9i", b"x 1\n")],
    "unicode": [("job/%E6%97%A5%E6%9C%AC", 'x{l="日本 \U0001f600"} 1\n'.encode())],
    "strange numbers": [("job/a", b'x{v="0"} -0\nx{v="1"} 1e308\nx{v="2"} 5e-324\nx{v="3"} +Inf\n')],
    "colons and underscores": [("job/a", b":a:b 1\n_x 2\n__y 3\n")],
    "interleaved families": [("job/a", b'x{a="1"} 1\ny 1\nx{a="2"} 2\n')],
    "groups of many shapes": [
        ("job/a", b"x 1\n"),
        ("job/a/instance/i", b"x 2\n"),
        ("job/a/shard/1", b"x 3\n"),
        ("job/b/shard/1/zone/eu", b'x{job="c",more="yes"} 4\n'),
    ],
    "types that meet": [
        ("job/a", b"# TYPE x counter\nx 1\n"),
        ("job/b", b"# TYPE x gauge\nx 1\n"),
        ("job/c", HISTOGRAM),
        ("job/d", b"h_count 1\n"),
    ],
    "help that differs": [("job/a", b"# HELP x One.\nx 1\n"), ("job/b", b"# HELP x Two.\nx 1\n"), ("job/c", b"x 1\n")],
    "refused and replaced": [
        ("job/a", b"x 1\n"),
        ("job/a", b"x 1 5\n"),
        ("job/new", b"x 1 5\n"),
        ("job/a", b"y{} 2\n"),
    ],
    "keys that could break a scrape": [
        ("job/a", b"x 1\n"),
        ("job/%FF", b"x 1\n"),
        ("job/a/instance@base64/=", b"x 1\n"),
        ("job/a/le/5", HISTOGRAM),
        ("job/a/quantile/5", b"# TYPE s summary\ns_sum 1\n"),
    ],
    "names of our own": [
        ("job/a", b"push_time_seconds 1\n# TYPE push_failure_time_seconds counter\npush_failure_time_seconds 2\n"),
        ("job/b", b"# TYPE pushgateway_http_requests_total gauge\npushgateway_http_requests_total 1\n"),
    ],
}


def promtool(exposition: bytes) -> subprocess.CompletedProcess[str]:
    """Run `promtool check metrics` on a scrape."""
    done = subprocess.run(
        [require_program("promtool"), "check", "metrics"], input=exposition, capture_output=True, check=False
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(params=["checked", "unchecked"], scope="module")
def either(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """A gateway that checks pushes for consistency, and one that stores what conflicts."""
    flags = ["--push.disable-consistency-check"] if request.param == "unchecked" else []
    with Gateway("--storage.url=memory:", "--web.enable-admin-api", *flags) as service:
        yield service


@pytest.mark.parametrize("pushes", CORPUS.values(), ids=CORPUS.keys())
def test_every_scrape_can_be_parsed(either: Gateway, pushes: list[tuple[str, bytes]]) -> None:
    """Whatever was pushed, taken or refused, Prometheus' parser reads the scrape and no series is there twice."""
    either.wipe()
    for path, body in pushes:
        either.push(path, body)

    reply = either.get("/metrics")

    assert reply.status == 200
    done = promtool(reply.body)
    assert done.returncode != PARSE_ERROR, f"{done.stderr}\n{reply.text}"
    assert not either.scrape().problems()


def test_our_own_families_are_without_lint(gateway: Gateway) -> None:
    """Names, types and HELP texts of what the gateway itself exposes are as Prometheus' linter wants them."""
    gateway.wipe()
    gateway.push("job/a", b"")
    gateway.push("job/b", b"x oops\n")
    gateway.delete("job/b")
    gateway.get("/api/v1/status")

    done = promtool(gateway.get("/metrics").body)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
