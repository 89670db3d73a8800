"""The web with the real store behind it: what one side writes, the other reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pushgateway.formats import ContentEncoding
from pushgateway.formats.compression import decompress
from pushgateway.model import Section
from pushgateway.storage import StatusBoard, Store, open_store, prepare_store, sqlite_sections
from pushgateway.telemetry import Telemetry
from pushgateway.web import sections
from pushgateway.web.sections import Packed
from tests.unit.web.fakes import Site


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Make applications over one SQLite database."""
    prepared = prepare_store(f"sqlite:{tmp_path}/gateway.db")
    stores: list[Store] = []

    def make(**settings: Any) -> Site:
        stores.append(open_store(prepared.url, board=StatusBoard(), own=Telemetry().names()))
        return Site(stores[-1], **settings)

    yield make
    for store in stores:
        store.close()
    prepared.cleanup()


@pytest.fixture
def stored(make_site: Callable[..., Site]) -> Site:
    """An application with default settings and the admin API over SQLite."""
    return make_site(enable_admin_api=True)


def pushed(site: Site) -> list[str]:
    """The exposed lines of what was pushed."""
    return [line for line in site.get("/metrics").text.splitlines() if "job=" in line and "push_" not in line]


def test_put_replaces_what_post_keeps(stored: Site) -> None:
    """POST replaces families by name, PUT the whole group, an empty PUT empties it, DELETE removes it."""
    stored.push("job/a", b"x 1\ny 2\n")
    stored.push("job/a", b"x 3\n")
    assert pushed(stored) == ['x{instance="",job="a"} 3', 'y{instance="",job="a"} 2']
    stored.push("job/a", b"z 1\n", method="PUT")
    assert pushed(stored) == ['z{instance="",job="a"} 1']
    stored.push("job/a", b"", method="PUT")
    assert pushed(stored) == []
    assert 'push_time_seconds{instance="",job="a"} 1.70000000025e+09\n' in stored.get("/metrics").text
    assert stored.request("DELETE", "/metrics/job/a").status_code == 202
    assert "push_time_seconds" not in stored.get("/metrics").text


@pytest.mark.parametrize(
    ("first", "target", "second", "words"),
    [
        (b"# TYPE x counter\nx 1\n", "job/b", b"# TYPE x gauge\nx 1\n", "is not a COUNTER"),
        (b"# TYPE h histogram\nh_count 1\n", "job/b", b"h_count 1\n", "collides with previously collected histogram"),
        (b'x{l="v"} 1\n', "job/a/l/v", b"x 1\n", "was collected before with the same name and label values"),
    ],
)
def test_what_contradicts_another_group_is_refused(
    stored: Site, first: bytes, target: str, second: bytes, words: str
) -> None:
    """A push that could not be scraped beside what is stored is 400, and only its failure time is stored."""
    stored.push("job/a", first)
    before = pushed(stored)
    reply = stored.push(target, second)
    assert reply.status_code == 400
    assert words in reply.text
    assert pushed(stored) == before
    assert "refused at the last push" in stored.get("/").text


def test_the_twin_of_a_group_is_that_group(stored: Site) -> None:
    """A group with an empty instance is the group without one (Q2), and no scrape ever has a series twice."""
    stored.push("job/a", b"x 1\n")
    assert stored.push("job/a/instance@base64/=", b"x 2\n").status_code == 200
    assert pushed(stored) == ['x{instance="",job="a"} 2']


@pytest.mark.parametrize(
    ("pushes", "lines", "left_out"),
    [
        ([("job/a", b"x 1\nx 2\n")], ['x{instance="",job="a"} 2'], 1),
        (
            [("job/a", b"# TYPE x counter\nx 1\n"), ("job/b", b"# TYPE x gauge\nx 2\n")],
            ['x{instance="",job="a"} 1'],
            1,
        ),
        ([("job/a", b"process_max_fds 1\n")], [], 1),
        ([("job/a", b'x{l="v"} 1\n'), ("job/a/l/v", b"x 2\n")], ['x{instance="",job="a",l="v"} 2'], 1),
    ],
)
def test_without_the_check_a_scrape_is_still_valid(
    make_site: Callable[..., Site], pushes: list[tuple[str, bytes]], lines: list[str], left_out: int
) -> None:
    """What contradicts is stored, the oldest type and the newest series are exposed, and the rest is counted."""
    site = make_site(disable_consistency_check=True)
    for target, body in pushes:
        site.now += 1
        assert site.push(target, body).status_code == 202
    assert pushed(site) == lines
    assert f"pushgateway_inconsistent_series {left_out}\n" in site.get("/metrics").text


def test_a_wipe_leaves_nothing(stored: Site) -> None:
    """After the 202 of a wipe no group is left."""
    for job in "abc":
        stored.push(f"job/{job}")
    assert stored.request("PUT", "/api/v1/admin/wipe").status_code == 202
    assert stored.get("/api/v1/metrics").json == {"status": "success", "data": []}


def test_what_was_pushed_survives_the_application(make_site: Callable[..., Site]) -> None:
    """Another application over the same database answers the same."""
    make_site().push("job/a", b"# HELP x An x.\n# TYPE x counter\nx 1\n")
    assert "# HELP x An x.\n# TYPE x counter\nx{" in make_site().get("/metrics").text


STEPS: dict[str, Callable[[Site], object]] = {
    "push": lambda site: site.push("job/a", b"x %d\n" % site.now),
    "replace": lambda site: site.push("job/a", b"y %d\n" % site.now, method="PUT"),
    "push of our own": lambda site: site.push("job/a/l/v", b"process_max_fds %d\n" % site.now),
    "push the same": lambda site: site.push("job/b", b"# HELP x Mine.\nx 1\n"),
    "empty push": lambda site: site.push("job/b", b""),
    "refused push": lambda site: site.push("job/b", b"# TYPE x counter\nx 1\n"),
    "contradictory push": lambda site: site.push("job/c", b"x 1\nx 1\n"),
    "malformed push": lambda site: site.push("job/c", b"x\n"),
    "delete": lambda site: site.request("DELETE", "/metrics/job/a"),
    "wipe": lambda site: site.request("PUT", "/api/v1/admin/wipe"),
    "nothing": lambda site: None,
}
ACCEPTS = (
    "text/plain",
    "text/plain;escaping=allow-utf-8",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=compact-text",
    "application/openmetrics-text",
)


@pytest.fixture
def small_sections(make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Site]:
    """Make applications whose store has two to four groups in a section, and which compress the smallest pieces."""
    monkeypatch.setattr(sqlite_sections, "_GROUPS_IN_SECTION", 2)
    monkeypatch.setattr(sections, "_LEAST_PIECE_BYTES", 40)
    return make_site


ENCODINGS: list[ContentEncoding] = ["identity", "gzip", "zstd"]


def stored_part(site: Site, accept: str, encoding: ContentEncoding = "identity") -> list[str]:
    """What a scrape shows, as people read it, but for the gateway's own families."""
    response = site.get("/metrics", headers={"Accept": accept, "Accept-Encoding": encoding})
    text = decompress(response.data, encoding, limit_bytes=1 << 20).decode()
    own = re.compile(r"(# \w+ |name: \")?(process|pushgateway)_")
    return [line for line in text.splitlines() if not own.match(line) or "job" in line]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.booleans(), st.sampled_from(ENCODINGS)), max_size=8),
    text_bytes=st.sampled_from([0, 600, 1500, 3000, 1 << 20]),
)
def test_no_scrape_is_stale(
    small_sections: Callable[..., Site], history: list[tuple[str, bool, ContentEncoding]], text_bytes: int
) -> None:
    """Whatever two workers do, each of them shows at once, in every format, what one that keeps nothing would show."""
    workers = [small_sections(enable_admin_api=True, enable_openmetrics=True) for _ in range(2)]
    workers[1].app.services.kept.most_text_bytes = text_bytes
    STEPS["wipe"](workers[0])
    for at, (step, second, encoding) in enumerate(history):
        workers[second].now = 1_700_000_000 + at // 2
        STEPS[step](workers[second])
        fresh = small_sections(enable_openmetrics=True)
        for accept in ACCEPTS:
            expected = stored_part(fresh, accept)
            assert [stored_part(worker, accept, encoding) for worker in workers] == [expected, expected]
        tags = {site.get("/metrics").headers["ETag"] for site in (*workers, fresh)}
        assert len(tags) == 1


@pytest.mark.parametrize("accept", ACCEPTS)
def test_a_family_without_metrics_is_not_shown(stored: Site, accept: str) -> None:
    """Protobuf can say that there is a family of which there is nothing; no format has a line of it, nor later."""
    media = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
    named = b"\x0a\x01x\x18\x01"  # name x, type gauge
    assert stored.push("job/a", b"%c%b" % (len(named), named), headers={"Content-Type": media}).status_code == 200
    for _ in range(2):
        assert not [line for line in stored_part(stored, accept) if re.search(r'\bx$|\bx\b.*gauge|name: "x"', line)]
        stored.push("job/b", b"y 1\n")
    stored.push("job/a", b"# TYPE x gauge\nx 1\n")
    assert [line for line in stored_part(stored, accept) if re.search(r'TYPE x gauge|name: "x"', line)]


def test_scrapers_with_other_encodings_share_what_is_read(
    small_sections: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has changed is read once, whoever scrapes next in whichever encoding, and what has not is not read again."""
    site = small_sections()
    read: list[int] = []
    pack = sections.pack_section

    def packed(section: Section, *rest: Any, **options: Any) -> Packed:
        read.append(len(section.groups))
        return pack(section, *rest, **options)

    monkeypatch.setattr(sections, "pack_section", packed)
    for job in "abcdef":
        site.push(f"job/{job}")
    stored_part(site, ACCEPTS[0], "zstd")
    assert sum(read) == 6
    for encoding in ENCODINGS * 2:
        stored_part(site, ACCEPTS[0], encoding)
    assert sum(read) == 6
    for first in ENCODINGS:
        read.clear()
        site.push("job/c", b"x %d\n" % site.now)
        site.now += 1
        for encoding in (first, *ENCODINGS):
            stored_part(site, ACCEPTS[0], encoding)
        assert len(read) == 1
