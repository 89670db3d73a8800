"""Do the bugs of the original (section Q of the contract) stay out, one by one?

Each test is named after its item, sends the requests that break the original, and says how ours answers. After each,
another group can still be pushed to and the scrape is valid: no single request and no sequence breaks either.
`test_hostile_sequences` goes on from here with sequences at random.
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import text_format

from pushgateway.formats.protobuf_encode import encode_varint
from pushgateway.formats.protobuf_messages import family_class
from tests.harness import Gateway
from tests.rows import PROTOBUF, group_states, show

MetricFamilyMessage = family_class()

ITEMS = range(1, 16)
"""Q1 to Q15."""

HISTOGRAM = b'# TYPE h histogram\nh_bucket{le="1"} 1\nh_sum 1\nh_count 1\n'


@pytest.fixture
def clean(gateway: Gateway) -> Iterator[Gateway]:
    """The module's gateway, empty; afterwards its scrape is valid, and a push to any other group is answered 200."""
    gateway.wipe()
    yield gateway
    assert gateway.scrape().problems() == []
    assert gateway.push("job/canary", b"canary_alive 1\n").status == 200
    assert gateway.scrape().value("canary_alive", job="canary") == 1


def delimited(*messages: str) -> bytes:
    """A body of delimited protobuf, from messages in protobuf's text format."""
    encoded = [text_format.Parse(text, MetricFamilyMessage()).SerializeToString() for text in messages]
    return b"".join(encode_varint(len(message)) + message for message in encoded)


def push_protobuf(gateway: Gateway, path: str, *messages: str) -> int:
    """Push messages; return the status."""
    return gateway.push(path, delimited(*messages), headers={"Content-Type": PROTOBUF}).status


def states(gateway: Gateway) -> dict[str, str]:
    """The groups and whether their last push succeeded, as the exposition has them."""
    return group_states(gateway.scrape())


@pytest.mark.parametrize(
    "path",
    ["job/%FF", "job@base64/_w", "job/a/l/%FF", "job/a/l/%C3", "job/a/l@base64/_w", "job/%ED%A0%80", b"job/\xff"],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_q1_a_key_that_is_not_utf8(clean: Gateway, method: str, path: str | bytes) -> None:
    """Q1: such a key is refused before the store is touched, whatever the body and however often it comes."""
    target = b"/metrics/" + (path.encode() if isinstance(path, str) else path)
    for body in (b"x 1\n", b"x 1\nx 2\n", b""):
        assert clean.request(method, target, body).status == 400
    assert states(clean) == {}


@pytest.mark.parametrize("path", ["job/a/instance@base64/=", "job/a/instance/", "job/a/instance@base64/"])
def test_q2_a_twin_with_an_empty_instance(clean: Gateway, path: str) -> None:
    """Q2: an empty instance in the key is the group without one: no twin comes to be, and a delete removes it."""
    assert clean.push("job/a", b"x 1\n").status == 200
    assert clean.push(path, b"x 1 5\n").status == 400
    assert states(clean) == {'instance="",job="a"': "failed"}
    assert clean.push(path, b"x 2\n").status == 200
    assert show(clean.scrape()) == ['x{instance="",job="a"} 2']
    assert clean.delete(path).status == 202
    assert states(clean) == {}


def gauge_named(name: bytes) -> bytes:
    """A family of one gauge in delimited protobuf, written by hand: no library writes a name that is not UTF-8."""
    family = b"\x0a" + bytes([len(name)]) + name + b"\x18\x01\x22\x0b\x12\x09\x09" + bytes(8)
    return bytes([len(family)]) + family


@pytest.mark.parametrize("name", [b"", b"zz\n", b"bad.name", b"0", b"a\xff", b"a\0"])
def test_q3_a_family_name_that_no_text_can_hold(clean: Gateway, name: bytes) -> None:
    """Q3: an empty or impossible family name is refused; all other families are exposed as before."""
    headers = {"Content-Type": PROTOBUF}
    assert clean.push("job/b", gauge_named(b"good"), headers=headers).status == 200
    assert clean.push("job/a", gauge_named(name), headers=headers).status == 400
    assert show(clean.scrape()) == ['good{instance="",job="b"} 0']


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("job/a/le/5", HISTOGRAM),
        ("job/a/le@base64/NQ", HISTOGRAM),
        ("job/a/quantile/5", b'# TYPE s summary\ns{quantile="0.5"} 1\ns_sum 1\ns_count 1\n'),
    ],
)
def test_q4_the_label_of_a_bound_in_the_key(clean: Gateway, method: str, path: str, body: bytes) -> None:
    """Q4: a histogram in a group with a label le, or a summary with quantile, is refused; other types are welcome."""
    assert clean.push(path, body, method=method).status == 400
    assert clean.push(path, b"x 1\n", method=method).status == 200
    # The other order: the group has the label and data before the histogram comes.
    assert clean.push(path, body, method=method).status == 400
    assert [line.partition("{")[0] for line in show(clean.scrape())] == ["x"]


def test_q5_a_pushed_failure_time_of_another_type(clean: Gateway) -> None:
    """Q5: push_failure_time_seconds in a body is ignored, at first and later pushes; no other group's push suffers."""
    body = b"# TYPE push_failure_time_seconds counter\npush_failure_time_seconds 5\n"
    for _ in range(3):
        assert clean.push("job/a", body).status == 200
    assert clean.push("job/new", b"x 1\n").status == 200
    assert states(clean) == {'instance="",job="a"': "pushed", 'instance="",job="new"': "pushed"}
    assert clean.scrape()["push_failure_time_seconds"].type == "gauge"


@pytest.mark.parametrize("name", ["push_failure_time_seconds", "push_time_seconds"])
def test_q5_a_pushed_time_without_metrics(clean: Gateway, name: str) -> None:
    """Q5: such a family without metrics, which protobuf can say, breaks neither the API nor the page."""
    for _ in range(2):
        assert push_protobuf(clean, "job/a", f'name: "{name}" type: COUNTER') == 200
    groups = json.loads(clean.get("/api/v1/metrics").body)["data"]
    assert [group["labels"] for group in groups] == [{"job": "a"}]
    page = clean.get("/status")
    assert (page.status, "template" in page.text.lower()) == (200, False)


def test_q6_families_named_like_keys_of_the_api(clean: Gateway) -> None:
    """Q6: families named labels and last_push_successful do not replace these keys of a group."""
    assert clean.push("job/a", b"labels 1\nlast_push_successful 2\n").status == 200
    [group] = json.loads(clean.get("/api/v1/metrics").body)["data"]
    assert (group["labels"], group["last_push_successful"]) == ({"job": "a"}, True)


def test_q6_a_gauge_histogram_in_the_api(clean: Gateway) -> None:
    """Q6: a gauge histogram shows its buckets and count, not a value of 0."""
    message = (
        'name: "g" type: GAUGE_HISTOGRAM metric { histogram { sample_count: 3 sample_sum: 4.5 '
        "bucket { cumulative_count: 2 upper_bound: 1 } } }"
    )
    assert push_protobuf(clean, "job/a", message) == 200
    [group] = json.loads(clean.get("/api/v1/metrics").body)["data"]
    [metric] = group["g"]["metrics"]
    assert (metric["count"], metric["sum"], metric["buckets"]["1"]) == ("3", "4.5", "2")
    assert "value" not in metric


@pytest.mark.parametrize("body", [b'x{a=""} 1\nx 2\n', b'x 1\nx{a="",b=""} 2\n', b'x{instance=""} 1\nx 2\n'])
def test_q7_series_that_differ_by_an_empty_label(clean: Gateway, body: bytes) -> None:
    """Q7: to Prometheus they are one series, so that a body with both is refused."""
    assert clean.push("job/a", body).status == 400


def test_q7_groups_that_differ_by_an_empty_label(clean: Gateway) -> None:
    """Q7: a key's empty label is the same as none: both pushes go to one group, in any order."""
    for path in ("job/a", "job/a/z/", "job/a/z@base64/=", "job/a"):
        assert clean.push(path, b"x 1\n").status == 200
    assert show(clean.scrape()) == ['x{instance="",job="a"} 1']
    assert states(clean) == {'instance="",job="a"': "pushed"}


def test_q8_groups_of_refused_pushes(clean: Gateway) -> None:
    """Q8: a refused push leaves one group, whatever is refused there afterwards, which a delete removes for good."""
    for _ in range(3):
        assert clean.push("job/ghost", b"x 1\nx 2\n").status == 400
    assert states(clean) == {'instance="",job="ghost"': "refused"}
    assert clean.delete("job/ghost").status == 202
    assert states(clean) == {}


def test_q8_keys_with_separators_in_them(clean: Gateway) -> None:
    """Q8: keys made of separators and quotes are all different groups."""
    separators = ["%00", "%C3%BF", ",", "%22", "%5B", "%3D", "%C2%A0", "%7F"]
    pairs = [(f"v{one}l", f"{two}w") for one, two in itertools.product(separators, repeat=2)]
    for number, (first, second) in enumerate(pairs):
        assert clean.push(f"job/a/k/{first}/m/{second}", b"x %d\n" % number).status == 200
    assert sorted(float(line.value) for line in clean.scrape()["x"].lines) == list(range(len(pairs)))


def test_q9_the_help_text_that_wins(clean: Gateway) -> None:
    """Q9: of two help texts the newer push's wins, at each scrape the same, whichever group it came to."""
    for first, second in (("a", "b"), ("b", "a"), ("a", "b")):
        assert clean.push(f"job/{first}", b"# HELP x older\nx 1\n").status == 200
        assert clean.push(f"job/{second}", b"# HELP x newer\nx 1\n").status == 200
        assert {clean.scrape()["x"].help for _ in range(10)} == {"newer"}


def test_q9_the_help_text_of_an_own_metric() -> None:
    """Q9: a pushed help text never replaces the gateway's, nor is it refused, whether the metric had series or not."""
    body = b"".join(
        b"# HELP %b pushed\n# TYPE %b %b\n%b 1\n" % (name, name, kind, name)
        for name, kind in ((b"pushgateway_http_requests_total", b"counter"), (b"process_open_fds", b"gauge"))
    )
    with Gateway("--storage.url=memory:") as gateway:
        for _ in range(2):
            assert gateway.push("job/a", body).status == 200
            scrape = gateway.scrape()
            assert scrape.problems() == []
            for name in ("pushgateway_http_requests_total", "process_open_fds"):
                assert scrape[name].help != "pushed"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "target",
    [
        "//metrics/job/a",
        "/metrics//job/a",
        "/metrics/job//a",
        "/metrics/./job/a",
        "/metrics/x/../job/a",
        "/metrics/job/a/l//m/v",
        "/metrics/job/a/",
        "/metrics/job/",
        "/metrics/job",
        "/Metrics/Job/a",
        "/METRICS/job/a",
        "/metrics/",
        "/metrics/job/a/..",
    ],
)
def test_q10_unclean_paths(clean: Gateway, method: str, target: str) -> None:
    """Q10: no push is redirected, which would make clients lose its body: it is taken or refused as it stands."""
    reply = clean.request(method, target, b"x 1\n")
    assert reply.status in (200, 202, 400, 404, 405)
    assert reply.header("Location") is None


@pytest.fixture
def own() -> Iterator[Gateway]:
    """A gateway for one test, whose store may be damaged."""
    with Gateway() as gateway:
        yield gateway


def test_q11_a_kill_loses_no_answered_push(own: Gateway) -> None:
    """Q11: what was answered 200 is there after kill -9; a damaged file ends the next start and stays as it is."""
    for number in range(20):
        assert own.push(f"job/{number}", b"x %d\n" % number).status == 200
    own.kill()
    own.start()
    assert sorted(float(line.value) for line in own.scrape()["x"].lines) == list(range(20))
    assert own.terminate() == 0
    damaged = b"not a database at all" * 500
    path = own.directory / "pushgateway.db"
    path.write_bytes(damaged)
    own.start(wait=False)
    assert own.wait() == 1
    assert path.read_bytes() == damaged


def test_q11_a_store_that_fails_is_told(own: Gateway) -> None:
    """Q11: when nothing can be stored, pushes are 503 with the reason, and health and the exposition say so."""
    for path in own.directory.glob("pushgateway.db*"):
        path.unlink()
    assert own.push("job/a", b"x 1\n").status == 503
    assert "deleted" in own.get("/-/healthy").text
    assert own.scrape().value("pushgateway_store_writable") == 0


@pytest.mark.parametrize("path", ["/debug/pprof/", "/debug/pprof/cmdline", "/static/", "/static/../"])
def test_q12_what_is_nobodys_business(clean: Gateway, path: str) -> None:
    """Q12: there is no profiler that tells the command line, and no directory is listed."""
    assert clean.get(path).status == 404


def test_q12_a_bomb(clean: Gateway) -> None:
    """Q12: a body that inflates beyond all measure is refused by its limit, and costs no memory to speak of."""
    clean.push("job/warm", b"x 1\n")
    before = resident_bytes(clean)
    bomb = gzip.compress(bytes(160 << 20), 6)
    assert clean.push("job/a", bomb, headers={"Content-Encoding": "gzip"}).status in (400, 413)
    assert resident_bytes(clean) < before + (160 << 20)


def resident_bytes(gateway: Gateway) -> float:
    """What its processes have in memory."""
    return gateway.scrape().value("process_resident_memory_bytes")


def test_q12_slow_clients(clean: Gateway) -> None:
    """Q12: two hundred clients that have sent half a request, in headers or body, keep nobody from being served."""
    halves = (b"POST /metrics/job/a HT", b"POST /metrics/job/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx ")
    slow = []
    try:
        for number in range(200):
            connection = socket.create_connection(clean.address, timeout=20)
            connection.sendall(halves[number % 2])
            slow.append(connection)
        assert clean.push("job/b", b"x 1\n").status == 200
        assert clean.scrape().value("x", job="b") == 1
    finally:
        for connection in slow:
            connection.close()


def test_q13_what_the_documents_promise(clean: Gateway) -> None:
    """Q13: a trailing slash is an empty value; pushed push times are ignored; no promhttp metrics are promised."""
    assert clean.push("job/a/l/", b"push_time_seconds 5\nx 1\n").status == 200
    scrape = clean.scrape()
    assert show(scrape) == ['x{instance="",job="a"} 1']
    assert scrape.value("push_time_seconds", job="a") > 1_000_000_000
    assert not any(name.startswith("promhttp") for name in scrape.families)
    documents = (Path(__file__).parents[2] / "docs").rglob("*.md")
    assert [path.name for path in documents if "promhttp_metric_handler" in path.read_text()] == []


@pytest.mark.parametrize(
    "path", ["job@base64/!!", "job@base64/=", "job@base64/_w", "job@base64/YQ/l", "job@base64/YQ/l@base64/!!"]
)
def test_q14_pushes_after_a_bad_encoded_job(clean: Gateway, path: str) -> None:
    """Q14: a refused encoded key holds nothing: later pushes to encoded keys are answered, in every worker."""
    for _ in range(8):
        assert clean.push(path, b"x 1\n").status == 400
        assert clean.push("job@base64/YQ", b"x 1\n").status == 200
        assert clean.delete(path).status == 400


def test_q15_the_start_time_on_the_page(clean: Gateway) -> None:
    """Q15: the start time on the page is a time and nothing else."""
    page = clean.get("/status").text
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", page)
    assert "m=+" not in page


@pytest.mark.parametrize("escaping", ["underscores", "dots", "values", "allow-utf-8"])
def test_q15_names_under_escaping(clean: Gateway, escaping: str) -> None:
    """Q15: under each escaping scheme a scrape has each family once, under its own name."""
    assert clean.push("job/a", b"a_b 1\na__b 2\nU__a 3\na:b 4\n").status == 200
    scrape = clean.scrape({"Accept": f"text/plain;version=1.0.0;escaping={escaping}"})
    assert scrape.problems() == []
    assert len([name for name in scrape.families if scrape[name].type == "untyped"]) == 4


@pytest.fixture(scope="module")
def utf8() -> Iterator[Gateway]:
    """A gateway that takes names of any characters."""
    with Gateway("--storage.url=memory:", "--push.enable-utf8-names") as service:
        yield service


@pytest.mark.parametrize("name", ["U______name", "U______name__", "U___5f__5f_x", "U______", "__x.y", "U__", "U__a_0_"])
def test_q1_a_name_that_is_reserved_when_it_is_unescaped(utf8: Gateway, name: str) -> None:
    """Q1: what no scrape may have is refused before anything is stored, also where it is escaped in the path."""
    for method in ("PUT", "POST", "DELETE"):
        assert utf8.push(f"job/reserved/{name}/v", b"x 1 5\n", method=method).status == 400
    assert "reserved" not in utf8.scrape().text


@pytest.mark.parametrize("escaping", ["underscores", "dots", "values"])
def test_q15_names_that_come_out_the_same(utf8: Gateway, escaping: str) -> None:
    """Q15: of names that a scheme makes the same each is exposed, once, and so is each series and each push time."""
    body = b'{"a.b"} 1\n{"a-b"} 2\na_b 3\nU__a_2e_b 4\na_dot_b 5\nx{"l.x"="1",l_x="1",l_dot_x="1"} 6\n'
    for path in ("job/a/m.x/1", "job/a/m_x/1", "job/a/m_dot_x/1", "job/a/U__m_2e_x/1"):
        assert utf8.push(path, body).status == 200
    scrape = utf8.scrape({"Accept": f"text/plain;version=0.0.4;escaping={escaping}"})
    assert scrape.problems() == []
    values = [line.value for line in scrape.lines(job="a") if not line.name.startswith("push_")]
    assert sorted(values) == sorted("123456" * 3)
    assert len(scrape["push_time_seconds"].lines) == 3


def test_every_item_has_its_test() -> None:
    """Each item of section Q has at least one test here that bears its number."""
    names = [name for name in vars(sys.modules[__name__]) if name.startswith("test_q")]
    assert {int(name.removeprefix("test_q").partition("_")[0]) for name in names} == set(ITEMS)
