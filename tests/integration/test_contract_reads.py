from __future__ import annotations

import gzip
import json
import re
import time
from datetime import datetime
from typing import Any

import cramjam
import pytest

from tests.harness import Service
from tests.rows import load

BOTH = pytest.mark.parametrize(
    "service", [("gateway", "admin"), ("original", "admin")], indirect=True, ids=["ours", "original"]
)
OURS = pytest.mark.parametrize("service", [("gateway", "admin")], indirect=True, ids=["ours"])
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")


def read_cases(file: str) -> list[Any]:
    return [
        pytest.param((kind, "admin"), row, id=row["id"] + ("" if kind == "gateway" else " (original)"))
        for kind in ("gateway", "original")
        for row in load(file)
        if kind == "gateway" or "original" not in row
    ]


@pytest.mark.parametrize(("service", "row"), read_cases("negotiation.toml"), indirect=["service"])
def test_negotiation(service: Service, row: dict[str, str]) -> None:
    """Section E: which format and encoding a scraper gets for the headers that it sends."""
    service.wipe()
    service.push("job/a", b'x{l="v"} 1\n' * 1)
    names = {"accept": "Accept", "accept_encoding": "Accept-Encoding"}
    reply = service.get("/metrics", {names[key]: row[key] for key in names if key in row})
    assert reply.status == 200
    encoding = reply.header("Content-Encoding") or ""
    assert encoding == row.get("encoding", "")
    decoders = {"": bytes, "gzip": gzip.decompress, "zstd": lambda body: bytes(cramjam.zstd.decompress(body))}
    assert b'\nx{instance="",job="a",l="v"} 1\n' in decoders[encoding](reply.body)
    if service.name == "pushgateway":
        escaping = row.get("escaping", "underscores")
        assert reply.header("Content-Type") == f"text/plain; version=0.0.4; charset=utf-8; escaping={escaping}"
    else:
        assert reply.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(("service", "row"), read_cases("api.toml"), indirect=["service"])
def test_api_family(service: Service, row: dict[str, str]) -> None:
    """Section G: how /api/v1/metrics shows a pushed family."""
    service.wipe()
    assert service.push("job/a/l/v", row["body"].encode()).status == 200
    (group,) = api_groups(service)
    shown = group[row.get("key") or row["family"]]
    if "family" in row:
        assert RFC3339.fullmatch(shown.pop("time_stamp"))
    assert shown == json.loads(row["expect"])


def api_groups(service: Service) -> list[dict[str, Any]]:
    reply = service.get("/api/v1/metrics")
    answer = json.loads(reply.body)
    assert (reply.status, answer["status"]) == (200, "success")
    return sorted(answer["data"], key=lambda group: sorted(group["labels"].items()))


@BOTH
def test_api_without_groups(service: Service) -> None:
    """Section G: without groups /api/v1/metrics has an empty list."""
    service.wipe()
    assert json.loads(service.get("/api/v1/metrics").body) == {"status": "success", "data": []}


@BOTH
def test_api_group(service: Service) -> None:
    """Section G: a group is an object of its key's labels, the success of its last push, and its families."""
    service.wipe()
    service.push("job/b/l/v", b'x{m="1"} 1\n')
    service.push("job/a", b"x 1\nx 2\n")
    refused, pushed = api_groups(service)
    assert refused["labels"] == {"job": "a"}
    assert refused["last_push_successful"] is False
    assert refused.keys() == {"labels", "last_push_successful", "push_time_seconds", "push_failure_time_seconds"}
    assert pushed["labels"] == {"job": "b", "l": "v"}
    assert pushed["last_push_successful"] is True
    assert pushed.keys() == {"labels", "last_push_successful", "push_time_seconds", "push_failure_time_seconds", "x"}
    own = pushed["push_time_seconds"]
    assert own["type"] == "GAUGE"
    assert own["help"] == "Last Unix time when changing this group in the Pushgateway succeeded."
    (metric,) = own["metrics"]
    assert metric["labels"] == {"instance": "", "job": "b", "l": "v"}
    assert float(metric["value"]) == pytest.approx(datetime.fromisoformat(pushed["x"]["time_stamp"]).timestamp(), abs=1)
    assert pushed["push_failure_time_seconds"]["metrics"][0]["value"] == "0"


@BOTH
def test_api_key_order_and_escapes(service: Service) -> None:
    """Section G: keys are sorted, and what HTML would read is written as escapes."""
    service.wipe()
    service.push("job/a/z/1/b/2", "zz{l=\"<a href='&'>\u2028\"} 1\n# HELP aa <&>\naa 1\n".encode())
    text = service.get("/api/v1/metrics").text
    assert r"\u003ca href='\u0026'\u003e\u2028" in text
    assert r"\u003c\u0026\u003e" in text
    for name in ("aa", "zz"):
        assert text.count(f'"{name}":') == 1
    orders: list[list[str]] = []
    json.loads(text, object_pairs_hook=lambda pairs: orders.append([name for name, _ in pairs]) or dict(pairs))
    group = next(names for names in orders if "last_push_successful" in names)
    assert group == sorted(group)
    assert ["b", "instance", "job", "z"] in orders


@BOTH
def test_api_status(service: Service) -> None:
    """Section G: /api/v1/status tells the build, every flag as a string, and the start."""
    answer = json.loads(service.get("/api/v1/status").body)
    assert answer["status"] == "success"
    data = answer["data"]
    assert data.keys() - {"extensions"} == {"build_information", "flags", "start_time"}
    assert data["build_information"].keys() == {
        "branch", "buildDate", "buildUser", "goVersion", "revision", "version"
    }  # fmt: skip
    assert RFC3339.fullmatch(data["start_time"])
    expected = {
        "web.systemd-socket": "false",
        "web.listen-address": f"127.0.0.1:{service.port}",
        "web.config.file": "",
        "web.telemetry-path": "/metrics",
        "web.external-url": "",
        "web.route-prefix": "",
        "web.enable-lifecycle": "false",
        "web.enable-admin-api": "true",
        "persistence.file": "",
        "persistence.interval": "5m0s",
        "push.disable-consistency-check": "false",
        "log.level": "info",
        "log.format": "logfmt",
    }
    flags = data["flags"]
    if service.name == "prometheus-pushgateway":
        flags["web.listen-address"] = flags["web.listen-address"].strip("[]")
        flags["web.route-prefix"] = flags["web.route-prefix"].removeprefix("/")
    assert flags.items() >= expected.items()
    assert not {"help", "version"} & flags.keys()


@BOTH
def test_push_time_is_the_time_of_receipt(service: Service) -> None:
    """Section D: push_time_seconds is when the push came, push_failure_time_seconds 0 until one is refused."""
    service.wipe()
    before = time.time()
    service.push("job/a", b"x 1\n")
    scrape = service.scrape()
    assert before <= scrape.value("push_time_seconds", job="a") <= time.time()
    assert scrape.value("push_failure_time_seconds", job="a") == 0
    between = time.time()
    service.push("job/a", b"x 1\nx 2\n")
    failed = service.scrape()
    assert between <= failed.value("push_failure_time_seconds", job="a") <= time.time()
    assert failed.value("push_time_seconds", job="a") == scrape.value("push_time_seconds", job="a")


@BOTH
def test_each_push_renews_the_push_time(service: Service) -> None:
    """Section D: an empty POST, an empty PUT and a body all renew push_time_seconds."""
    service.wipe()
    times = []
    for method, body in (("PUT", b"x 1\n"), ("POST", b""), ("PUT", b""), ("POST", b"x 2\n")):
        service.push("job/a", body, method=method)
        times.append(service.scrape().value("push_time_seconds", job="a"))
    assert times == sorted(set(times))


@BOTH
def test_reads_after_a_push_see_it(service: Service) -> None:
    """Section D: whoever reads after a push was answered 200 sees it, on whichever worker either lands."""
    service.wipe()
    for number in range(50):
        assert service.push("job/a", b"x %d\n" % number, method="PUT").status == 200
        assert service.scrape().value("x", job="a") == number


@OURS
def test_deletes_are_done_when_answered(service: Service) -> None:
    """First table: a DELETE and a wipe are applied when the 202 is sent."""
    service.wipe()
    for number in range(20):
        service.push("job/a", b"x 1\n")
        if number % 2:
            assert service.delete("job/a").status == 202
        else:
            assert service.request("PUT", "/api/v1/admin/wipe").status == 202
        assert not service.scrape().has("x")


@OURS
def test_exposition_of_many_groups_is_in_key_order(service: Service) -> None:
    """First table: a family's groups come in the order of their keys as JSON, with section E's order inside each."""
    service.wipe()
    for path in ("job/b", "job/a/l/2", "job/a/l/10", "job/a", "job/B"):
        service.push(path, b'x{m="2"} 1\nx{m="1"} 1\nx 1\n')
    lines = [line.label_map for line in service.scrape()["x"].lines]
    groups = [(line["job"], line.get("l")) for line in lines]
    assert groups == [("B", None)] * 3 + [("a", "10")] * 3 + [("a", "2")] * 3 + [("a", None)] * 3 + [("b", None)] * 3
    assert [line.get("m") for line in lines] == [None, "1", "2"] * 5


@OURS
def test_help_of_an_own_metric_stays(service: Service) -> None:
    """First table: an own metric keeps its help whatever is pushed, even if the pushed help is newer."""
    before = service.scrape()["pushgateway_http_requests_total"].help
    body = b"# HELP pushgateway_http_requests_total mine\n# TYPE pushgateway_http_requests_total counter\n"
    assert service.push("job/a", body + b"pushgateway_http_requests_total 1\n").status == 200
    family = service.scrape()["pushgateway_http_requests_total"]
    assert family.help == before
    assert len([line for line in family.lines if line.label_map.get("job") == "a"]) == 1
    service.delete("job/a")


COUNTED = [
    ("PUT", "/metrics/job/a", "push", "200"),
    ("POST", "/metrics/job/a", "push", "200"),
    ("POST", "/metrics/job/a/l", "push", "400"),
    ("DELETE", "/metrics/job/a", "delete", "202"),
    ("DELETE", "/metrics/job/a/l", "delete", "400"),
    ("GET", "/-/healthy", "healthy", "200"),
    ("GET", "/-/ready", "ready", "200"),
    ("GET", "/api/v1/status", "api/v1/status", "200"),
    ("GET", "/api/v1/metrics", "api/v1/metrics", "200"),
    ("OPTIONS", "/api/v1/x", "api/v1/options", "200"),
    ("PUT", "/api/v1/admin/wipe", "wipe", "202"),
]

NOT_COUNTED = [
    ("GET", "/metrics", 200),
    ("GET", "/nothing", 404),
    ("POST", "/metrics", 405),
    ("GET", "/metrics/job/a", 405),
    ("PUT", "/-/quit", 403),
    ("OPTIONS", "/metrics", 200),
]


def requests_total(service: Service) -> dict[tuple[str, str, str], float]:
    scrape = service.scrape()
    family = scrape.families.get("pushgateway_http_requests_total")
    lines = [] if family is None else [line for line in family.lines if "job" not in line.label_map]
    return {tuple(line.label_map[name] for name in ("handler", "method", "code")): float(line.value) for line in lines}


@BOTH
@pytest.mark.parametrize(("method", "target", "handler", "code"), COUNTED, ids=lambda value: value)
def test_counted_request(service: Service, method: str, target: str, handler: str, code: str) -> None:
    """Section I: pushgateway_http_requests_total counts this request under its handler, method and code alone."""
    before = requests_total(service)
    assert service.request(method, target, b"" if method in ("PUT", "POST") else None).status == int(code)
    after = requests_total(service)
    changed = {series: after[series] - before.get(series, 0) for series in after if after[series] != before.get(series)}
    assert changed == {(handler, method.lower(), code): 1}


@OURS
@pytest.mark.parametrize("target", ["/", "/status"])
def test_counted_page(service: Service, target: str) -> None:
    """Section I: so it does the status page, for which Debian's build of the original reads a file of /usr/share."""
    test_counted_request(service, "GET", target, "status", "200")


@BOTH
@pytest.mark.parametrize(("method", "target", "status"), NOT_COUNTED)
def test_request_that_is_not_counted(service: Service, method: str, target: str, status: int) -> None:
    """Section I: scrapes, quit, and what no handler takes are not counted."""
    before = requests_total(service)
    assert service.request(method, target, b"" if method in ("PUT", "POST") else None).status == status
    assert requests_total(service) == before


@BOTH
def test_pushes_are_measured(service: Service) -> None:
    """Section I: size and duration of pushes are counted by method, refused ones included."""
    service.wipe()
    service.push("job/a", b"")
    names = [f"pushgateway_http_push_{name}" for name in ("size_bytes", "duration_seconds")]

    def counts() -> list[float]:
        scrape = service.scrape()
        lines = [line for name in names for line in scrape[name].lines if line.label_map.get("method") == "post"]
        return [float(line.value) for line in lines if line.name.endswith("_count")]

    before = counts()
    service.push("job/a", b"x 1\n" * 1000)
    service.push("job/a", b"x\n")
    service.push("job/a/l", b"")
    assert counts() == [value + 3 for value in before]


@BOTH
def test_pushed_bytes_are_summed(service: Service) -> None:
    """Section I: the size of a push is that of its request, headers included, compressed as it came."""

    def total() -> float:
        lines = service.scrape()["pushgateway_http_push_size_bytes"].lines
        return sum(float(line.value) for line in lines if line.name.endswith("_sum"))

    service.push("job/a", b"")
    before = total()
    body = gzip.compress(b"# " + b"a" * 100_000 + b"\n")
    service.push("job/a", body, headers={"Content-Encoding": "gzip"})
    assert len(body) < total() - before < len(body) + 500


@BOTH
def test_build_info(service: Service) -> None:
    """Section I: pushgateway_build_info is a gauge of value 1 whose labels describe the build."""
    family = service.scrape()["pushgateway_build_info"]
    (line,) = family.lines
    assert (family.type, line.value) == ("gauge", "1")
    assert line.label_map.keys() - {"tags"} == {"branch", "goarch", "goos", "goversion", "revision", "version"}


@OURS
def test_own_metrics_are_few(service: Service) -> None:
    """First table: the gateway exposes pushgateway_* and process_* of its own, and nothing else."""
    service.wipe()
    assert {name.split("_")[0] for name in service.scrape().families} == {"pushgateway", "process"}
