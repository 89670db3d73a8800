from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from functools import partial

import cramjam
import pytest
from flask import Flask
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from werkzeug.test import EnvironBuilder

from pushgateway.formats import Exposition, ExpositionFormat, protobuf
from pushgateway.formats.compression import Piece
from pushgateway.formats.protobuf import encode_metrics
from pushgateway.model import (
    FamilyBlock,
    FamilyView,
    Form,
    Group,
    GroupingKey,
    Known,
    MetricFamily,
    MetricType,
    Sample,
    Section,
    Sections,
    Snapshot,
    Stamps,
)
from pushgateway.names import Escaping
from pushgateway.web import scrape as scrape_module
from pushgateway.web.exposition import Finished, finish
from pushgateway.web.kept import Kept
from pushgateway.web.sections import Packed, pack_section
from tests.unit.web.fakes import NOW, Site


def test_pushed_families_stand_under_their_headers_between_our_own(site: Site) -> None:
    """Families of several groups and our own come sorted by name, each under one header."""
    site.push("job/b", b"# TYPE x counter\n# HELP x An x.\nx 1\n")
    site.push("job/a", b"# TYPE x counter\n# HELP x An x.\nx 2\nq_total 3\n")
    text = site.get("/metrics").text
    assert '# HELP x An x.\n# TYPE x counter\nx{instance="",job="a"} 2\nx{instance="",job="b"} 1\n' in text
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert names == sorted(set(names))
    assert {"process_open_fds", "push_time_seconds", "pushgateway_build_info", "q_total", "x"} <= set(names)


def test_each_group_has_its_push_times(site: Site) -> None:
    """Both times of each group are gauges with the group's labels; what never happened is 0."""
    site.push("job/a")
    site.now += 1
    site.push("job/b/l/v", b"x 1\nx 1\n")
    text = site.get("/metrics").text
    assert (
        "# HELP push_failure_time_seconds Last Unix time when changing this group in the Pushgateway failed.\n"
        "# TYPE push_failure_time_seconds gauge\n"
        'push_failure_time_seconds{instance="",job="a"} 0\n'
        'push_failure_time_seconds{instance="",job="b",l="v"} 1.70000000125e+09\n'
        "# HELP push_time_seconds Last Unix time when changing this group in the Pushgateway succeeded.\n"
        "# TYPE push_time_seconds gauge\n"
        'push_time_seconds{instance="",job="a"} 1.70000000025e+09\n'
        'push_time_seconds{instance="",job="b",l="v"} 0\n'
    ) in text


def test_an_empty_gateway_exposes_only_its_own(site: Site) -> None:
    """Without groups there are no push times."""
    assert "push_time_seconds" not in site.get("/metrics").text


def test_a_pushed_family_of_our_own_stands_beside_ours(site: Site) -> None:
    """A pushed gauge named like one of ours is exposed beside it, under our HELP."""
    site.push("job/a", b"# HELP process_max_fds Mine.\n# TYPE process_max_fds gauge\nprocess_max_fds 5\n")
    text = site.get("/metrics").text
    assert text.count("# TYPE process_max_fds gauge\n") == 1
    assert "Mine." not in text
    assert 'process_max_fds{instance="",job="a"} 5\n' in text


def test_contested_families_are_resolved_and_counted(site: Site) -> None:
    """Of what contradicts, a valid part is exposed, and the number of series left out is told."""
    metrics = (Sample((("job", "a"),), 1.0), Sample((("job", "a"),), 2.0))
    body = encode_metrics(MetricFamily("x", MetricType.GAUGE, "", metrics))
    key = GroupingKey.of({"job": "a"}).key
    site.store.contested = [FamilyBlock("x", MetricType.GAUGE, "", body, key, NOW, NOW, suspect=True)]
    text = site.get("/metrics").text
    assert '# TYPE x gauge\nx{job="a"} 2\n' in text
    assert 'x{job="a"} 1' not in text
    assert "pushgateway_inconsistent_series 1\n" in text


def test_a_store_that_cannot_be_written_still_serves(site: Site) -> None:
    """Scrapes go on, and pushgateway_store_writable says 0."""
    assert "pushgateway_store_writable 1\n" in site.get("/metrics").text
    site.store.unwritable = "disk full"
    assert "pushgateway_store_writable 0\n" in site.get("/metrics").text


def test_a_store_that_cannot_be_read_is_503(site: Site) -> None:
    """A scrape that would be incomplete is refused with the reason, never answered 200 or 500."""
    site.store.read_error = "database disk image is malformed"
    reply = site.get("/metrics")
    assert reply.status_code == 503
    assert "database disk image is malformed" in reply.text
    assert "Retry-After" in reply.headers


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("", None), ("identity", None), ("*", None), ("gzip", "gzip"), ("zstd, gzip;q=0.5", "zstd"), ("br", None)],
)
def test_scrapes_are_compressed_when_asked_for(site: Site, accepted: str, encoding: str | None) -> None:
    """The scraper gets the encoding that it prefers, with the length of what is sent."""
    site.push("job/a")
    reply = site.get("/metrics", headers={"Accept-Encoding": accepted} if accepted else None)
    assert reply.headers.get("Content-Encoding") == encoding
    assert reply.headers["Content-Length"] == str(len(reply.data))
    decoders = {"gzip": gzip.decompress, "zstd": lambda data: bytes(cramjam.zstd.decompress(data)), None: bytes}
    assert b'x{instance="",job="a"} 1\n' in decoders[encoding](reply.data)


def test_content_type_names_version_and_escaping(site: Site) -> None:
    """The exposition is text 0.0.4, with the escaping that the scraper asks for."""
    media = "text/plain; version=0.0.4; charset=utf-8; escaping="
    assert site.get("/metrics").headers["Content-Type"] == media + "underscores"
    accept = "text/plain;version=0.0.4;escaping=allow-utf-8;q=0.5"
    assert site.get("/metrics", headers={"Accept": accept}).headers["Content-Type"] == media + "allow-utf-8"


OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0, text/plain; q=0.5"}


def test_openmetrics_is_exposed_where_it_is_enabled(site: Site) -> None:
    """Who asks for OpenMetrics gets it with the setting, and text without."""
    assert "openmetrics" not in site.get("/metrics", headers=OPENMETRICS).headers["Content-Type"]
    enabled = Site(enable_openmetrics=True)
    enabled.push("job/a", b"# HELP x An x.\n# TYPE x counter\nx 1\n")
    enabled.push("job/b", b"# TYPE x counter\nx 2\n")
    reply = enabled.get("/metrics", headers=OPENMETRICS)
    assert reply.headers["Content-Type"] == (
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
    )
    counter = '# TYPE x counter\n# HELP x An x.\nx_total{instance="",job="a"} 1.0\nx_total{instance="",job="b"} 2.0\n'
    assert counter in reply.text
    assert "# TYPE pushgateway_http_requests counter\n" in reply.text
    assert '\npush_time_seconds{instance="",job="b"} 1.70000000025e+09\n' in reply.text
    assert reply.text.endswith("\n# EOF\n")
    list(text_string_to_metric_families(reply.text))


@pytest.mark.parametrize(
    ("name", "kind", "unit", "exposed"),
    [
        ("took_seconds", MetricType.GAUGE, "seconds", "seconds"),
        ("took_seconds_total", MetricType.COUNTER, "seconds", "seconds"),
        ("took_seconds_total", MetricType.GAUGE, "seconds", ""),
        ("took_total", MetricType.COUNTER, "total", ""),
        ("took", MetricType.GAUGE, "seconds", ""),
        ("seconds", MetricType.GAUGE, "seconds", ""),
    ],
)
def test_a_unit_that_the_name_does_not_say_is_not_exposed(
    site: Site, name: str, kind: MetricType, unit: str, exposed: str
) -> None:
    """Prometheus drops a whole scrape in protobuf for a unit that is no suffix of its family's name."""
    media = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
    body = protobuf.render([MetricFamily(name, kind, "", (Sample((), 1.0),), unit)])
    assert site.push("job/a", body, headers={"Content-Type": media}).status_code == 200
    families = protobuf.parse(site.get("/metrics", headers={"Accept": media}).data)
    assert [family.unit for family in families if family.name == name] == [exposed]


def test_contested_families_are_exposed_in_openmetrics_too() -> None:
    """What was resolved is rendered with the rest."""
    site = Site(enable_openmetrics=True)
    body = encode_metrics(MetricFamily("x", MetricType.GAUGE, "", (Sample((("job", "a"),), 1.0),)))
    key = GroupingKey.of({"job": "a"}).key
    site.store.contested = [FamilyBlock("x", MetricType.GAUGE, "", body, key, NOW, NOW, suspect=True)]
    assert '# TYPE x gauge\nx{job="a"} 1.0\n' in site.get("/metrics", headers=OPENMETRICS).text


def test_scrapes_are_not_counted(site: Site) -> None:
    """As in the original, scrapes do not count as requests."""
    site.get("/metrics")
    assert site.counted() == {}


def test_promtool_has_nothing_to_say_of_our_own_families(site: Site) -> None:
    """Our own families, all of them, pass promtool's lint: help, base units, _total."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (apt-get install prometheus)")
    site.push("job/a", b"")
    site.request("DELETE", "/metrics/job/a")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=site.get("/metrics").data, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.fixture
def counted(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[Form]:
    """The forms in which the store of the site, which tells its versions, has been read."""
    site.store.versioned = True
    reads: list[Form] = []
    families = site.store.families

    def count(form: Form, *, legacy_only: bool = False) -> Snapshot:
        reads.append(form)
        return families(form, legacy_only=legacy_only)

    monkeypatch.setattr(site.store, "families", count)
    return reads


def without_own(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith(("process_", "pushgateway_"))]


@pytest.mark.parametrize("accepted", ["identity", "gzip", "zstd"])
def test_a_scrape_that_finds_nothing_changed_reads_nothing(site: Site, counted: list[Form], accepted: str) -> None:
    """The store is read once for all scrapes of one version, and again after a push, a refusal, a deletion, a wipe."""
    headers = {"Accept-Encoding": accepted}

    def scrape() -> list[str]:
        data = site.get("/metrics", headers=headers).data
        decoders = {
            "gzip": gzip.decompress,
            "zstd": lambda data: bytes(cramjam.zstd.decompress(data)),
            "identity": bytes,
        }
        return without_own(decoders[accepted](data).decode())

    for reads, change in enumerate(
        [
            lambda: site.push("job/a"),
            lambda: site.push("job/b", b"process_max_fds 5\n"),
            lambda: site.push("job/a", b"x 1\nx 1\n"),
            lambda: site.request("DELETE", "/metrics/job/a"),
            lambda: site.request("PUT", "/api/v1/admin/wipe"),
        ]
    ):
        site.now += 1
        change()
        first, again = scrape(), scrape()
        assert first == again == without_own(site.get("/metrics").text)
        assert len(counted) == (reads + 1 if accepted != "zstd" else 2 * reads + 2)


def test_own_families_are_of_the_moment(site: Site, counted: list[Form]) -> None:
    """What is kept holds nothing of the gateway's own families, nor of what was pushed under their names."""
    site.push("job/a", b"# TYPE pushgateway_http_requests_total counter\npushgateway_http_requests_total 7\n")
    before = site.get("/metrics").text
    site.get("/-/healthy")
    after = site.get("/metrics").text
    assert len(counted) == 1
    assert before != after
    for text in (before, after):
        assert text.count("# TYPE pushgateway_http_requests_total counter\n") == 1
        assert 'pushgateway_http_requests_total{instance="",job="a"} 7\n' in text
    assert 'handler="healthy"' not in before
    assert 'handler="healthy"' in after


def test_each_format_is_kept_for_itself(site: Site, counted: list[Form]) -> None:
    """Who asks for protobuf, or for names as they are, never gets what was kept for another."""
    site.push("job/a")
    accepts = [
        "text/plain",
        "text/plain;escaping=allow-utf-8",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    ]
    first = [site.get("/metrics", headers={"Accept": accept}) for accept in accepts]
    again = [site.get("/metrics", headers={"Accept": accept}) for accept in accepts]
    assert counted == [Form.TEXT, Form.TEXT, Form.METRICS]
    assert [reply.content_type for reply in first] == [reply.content_type for reply in again]
    assert len({reply.headers["ETag"] for reply in first}) == 3


def test_who_has_the_state_already_is_told_so(site: Site, counted: list[Form]) -> None:
    """The weak ETag stays until something is stored; with it in If-None-Match the answer is 304 and no body."""
    site.push("job/a")
    tag = site.get("/metrics").headers["ETag"]
    assert tag.startswith('W/"')
    assert site.get("/metrics").headers["ETag"] == tag
    reply = site.get("/metrics", headers={"If-None-Match": f'"other", {tag}'})
    assert (reply.status_code, reply.data, reply.headers["ETag"]) == (304, b"", tag)
    assert "Content-Type" not in reply.headers
    site.push("job/a", b"x 2\n")
    reply = site.get("/metrics", headers={"If-None-Match": tag})
    assert reply.status_code == 200
    assert reply.headers["ETag"] != tag


def test_the_tag_is_of_the_contents(site: Site, counted: list[Form]) -> None:
    """Workers and replicas give equal contents equal tags, each encoding its own; a state that returns has its tag."""
    site.push("job/a")
    tag = site.get("/metrics").headers["ETag"]
    site.push("job/a", b"x 2\n")
    site.push("job/a")
    assert site.get("/metrics").headers["ETag"] == tag
    assert site.get("/metrics", headers={"Accept-Encoding": "gzip"}).headers["ETag"] != tag


PROTO = "io.prometheus.client.MetricFamily"
SCRAPES: list[tuple[dict[str, str], int]] = [
    ({}, 200),
    ({"HTTP_ACCEPT_ENCODING": "gzip", "HTTP_ACCEPT": "text/plain"}, 200),
    ({"HTTP_ACCEPT_ENCODING": "zstd"}, 200),
    ({"HTTP_ACCEPT": f"application/vnd.google.protobuf;encoding=compact-text;proto={PROTO}"}, 200),
    ({"HTTP_ACCEPT": "application/openmetrics-text", "HTTP_ACCEPT_ENCODING": "gzip"}, 200),
    ({"HTTP_IF_NONE_MATCH": '"other", W/"TAG"'}, 304),
    ({"HTTP_IF_NONE_MATCH": 'W/"TAG"', "HTTP_ACCEPT_ENCODING": "gzip"}, 200),
    ({"HTTP_IF_NONE_MATCH": "*"}, 304),
    ({"HTTP_IF_NONE_MATCH": "TAG"}, 304),
    ({"HTTP_CONTENT_ENCODING": "gzip"}, 400),
    ({"REQUEST_METHOD": "HEAD"}, 200),
    ({"REQUEST_METHOD": "PUT"}, 405),
    ({"PATH_INFO": "/x/metrics"}, 404),
]


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize(("environ", "status"), SCRAPES)
def test_a_scrape_is_answered_as_by_the_framework(environ: dict[str, str], status: int, *, readable: bool) -> None:
    """Without the framework's dispatch a scrape gets the same status, headers and body, errors among them."""
    site = Site(enable_openmetrics=True, telemetry_path="/m")
    site.store.versioned = True
    site.push("job/a", b"# HELP x An x.\nx 1\n")
    tag = site.get("/m").headers["ETag"].removeprefix('W/"').removesuffix('"')
    site.store.read_error = "" if readable else "gone"

    def answer(app: Callable[..., Iterable[bytes]]) -> tuple[str, list[tuple[str, str]], list[str]]:
        """Ask, and return what is not of the moment."""
        whole = EnvironBuilder("/m").get_environ()
        whole.update({name: value.replace("TAG", tag) for name, value in environ.items()})
        started: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(app(whole, lambda status, headers: started.append((status, headers))))
        ((line, headers),) = started
        decode = {"gzip": gzip.decompress, "zstd": lambda data: bytes(cramjam.zstd.decompress(data))}
        encoding = dict(headers).get("Content-Encoding")
        assert not body or int(dict(headers)["Content-Length"]) == len(body)
        own = re.compile('(# (TYPE|HELP) |name: ")?process_')
        lines = (decode[encoding](body) if encoding else body).decode().splitlines()
        same = [(name, value) for name, value in headers if name != "Content-Length"]
        return line, same, [each for each in lines if not own.match(each)]

    expected = answer(partial(Flask.wsgi_app, site.app))
    before = site.counted()
    assert answer(site.app) == expected
    assert site.counted() == before
    assert int(expected[0][:3]) == (status if readable or status >= 400 else 503)


def test_a_store_that_cannot_tell_its_version_is_read_each_time(site: Site, counted: list[Form]) -> None:
    """Without a version nothing is kept."""
    site.store.versioned = False
    site.push("job/a")
    site.get("/metrics")
    site.get("/metrics")
    assert len(counted) == 2


def test_what_is_too_large_is_not_kept(finished: Finished) -> None:
    """Beyond the room nothing is kept; what is kept makes room for what comes, the oldest first."""
    kept = Kept(most_bytes=finished.held_bytes * 2)
    asked = [finished._replace(asked=finished.asked._replace(escaping=one)) for one in Escaping]
    for one in asked[:3]:
        kept.keep(one, "gzip", 1)
    assert [kept.find(one.asked, "gzip", 1) for one in asked[:3]] == [None, asked[1], asked[2]]
    kept.keep(finished._replace(held_bytes=finished.held_bytes * 3), "zstd", 1)
    assert kept.find(finished.asked, "zstd", 1) is None
    kept.keep(finished, "zstd", 2)
    assert kept.find(asked[1].asked, "gzip", 1) is None
    assert kept.find(finished.asked, "zstd", 2) is finished


@pytest.mark.parametrize(("count", "trims"), [(15, 0), (16, 1)])
def test_memory_is_given_back_after_many_sections(
    site: Site, monkeypatch: pytest.MonkeyPatch, count: int, trims: int
) -> None:
    """A scrape that has read much returns what that replaces to the system; one of little, or of nothing, does not."""
    site.store.versioned = True
    trimmed: list[None] = []
    monkeypatch.setattr(scrape_module, "trim_heap", lambda: trimmed.append(None))

    def read(known: object, take: Callable[[Section], Packed]) -> Sections[Packed]:
        empty = Section("", (0, 0), Stamps.of({}), [], [], {})
        return Sections([], [take(empty) for _ in range(count)], [])

    monkeypatch.setattr(site.store, "sections", read)
    for _ in range(2):
        assert site.get("/metrics").status_code == 200
    assert len(trimmed) == trims


@pytest.mark.parametrize(("plain_bytes", "held_bytes", "kept"), [(250, 1000, 1), (251, 251, 0), (0, 1001, 0)])
def test_sections_that_are_too_large_are_not_kept(plain_bytes: int, held_bytes: int, kept: int) -> None:
    """Neither compressed nor not do sections take more than there is room for."""
    room = Kept(most_bytes=1000)
    room.keep_sections([Packed("", (1, 1), {}, plain_bytes, held_bytes)])
    assert len(room.sections) == kept


def test_frames_are_kept_in_what_sections_leave() -> None:
    """As many as there is room for beside the sections, which come first."""
    frame = Piece(b"", 1, 0)
    sections = [
        Packed(name, (1, 1), {}, 0, 300, frames={"x": frame}, frames_bytes=size)
        for name, size in (("", 60), ("a", 50), ("b", 40))
    ]
    room = Kept(most_bytes=1000)
    room.keep_sections(sections)
    assert room.sections == [sections[0], sections[1].without_frames(), sections[2]]


def test_what_sections_hold_counts_once(finished: Finished) -> None:
    """An exposition takes no room for the pieces that the sections hold, which it is put together of."""
    pieces = [piece for run in finished.runs.values() for piece in run.pieces]
    kept = Kept(most_bytes=finished.held_bytes)
    other = finished._replace(asked=finished.asked._replace(escaping=Escaping.DOTS))
    kept.keep(finished, "gzip", 1)
    kept.keep(other, "gzip", 1)
    assert kept.find(finished.asked, "gzip", 1) is None
    kept.keep_sections([Packed("", (1, 1), dict(zip("abc", pieces, strict=False)), 0, 0)])
    kept.keep(finished, "gzip", 1)
    assert [kept.find(one.asked, "gzip", 1) for one in (finished, other)] == [finished, other]


def test_sections_tell_what_they_take() -> None:
    """Large pieces count as they are compressed, small ones as they are."""
    groups = [Group('[["job","a"]]', b'{instance="",job="a"}', 1.0, 0.0, "", legacy=True)]
    bodies = {"x": [(0, b'x{instance="",job="a"} 1\n' * 1000)], "y": [(0, b"y 1\n")]}
    section = Section("", (1, 1), Stamps.of({groups[0].key: 7}), groups, [0], bodies)
    packed = pack_section(section)
    assert (packed.text_bytes, packed.known()) == (0, Known("", (1, 1), section.stamps))
    sizes = [len(one if isinstance(one, bytes) else one.data) for one in packed.pieces.values()]
    assert sum(sizes) < packed.held_bytes < sum(sizes) + 1000


@pytest.fixture
def finished() -> Finished:
    """What a small store comes to."""
    view = FamilyView("x", MetricType.GAUGE, "", [b"x 1\n"])
    return finish(Exposition(ExpositionFormat.TEXT, Escaping.UNDERSCORES), Snapshot([view], [], []), packing="gzip")
