"""Is everything that --push.enable-utf8-names lets in exposed to every scraper, and nothing twice?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pushgateway.formats import protobuf, text
from pushgateway.grouping import format_path
from pushgateway.model import GroupingKey, MetricFamily, MetricType
from pushgateway.names import Escaping
from pushgateway.storage import StatusBoard, Store, open_store, prepare_store
from pushgateway.telemetry import Telemetry
from tests.exposition import Exposition
from tests.unit import rules_strategies as values
from tests.unit.name_strategies import label_names, near_names, odd_names
from tests.unit.web.fakes import Site

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


class Stored(Site):
    """An application over a database of its own, with UTF-8 names."""

    def scrape(self, escaping: Escaping, *, format: str = "text/plain;version=0.0.4") -> bytes:
        """Return what a scraper gets that asks for a scheme."""
        reply = self.get("/metrics", headers={"Accept": f"{format};escaping={escaping.value}"})
        assert reply.status_code == 200
        assert reply.headers["Content-Type"].endswith(f"; escaping={escaping.value}")
        return reply.data

    def lines(self, escaping: Escaping) -> list[str]:
        """Return the lines of what was pushed."""
        return [line for line in self.scrape(escaping).decode().splitlines() if 'job="' in line and "push_" not in line]


@pytest.fixture(scope="module")
def make_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stored]]:
    """Make applications over one SQLite database, wiped with each."""
    prepared = prepare_store(f"sqlite:{tmp_path_factory.mktemp('utf8') / 'gateway.db'}")
    store: Store = open_store(prepared.url, board=StatusBoard(), own=Telemetry().names())

    def make(**settings: Any) -> Stored:
        site = Stored(store, enable_admin_api=True, **{"enable_utf8_names": True, **settings})
        site.request("PUT", "/api/v1/admin/wipe")
        return site

    yield make
    store.close()
    prepared.cleanup()


@pytest.fixture
def site(make_site: Callable[..., Stored]) -> Stored:
    """An application with UTF-8 names and nothing stored."""
    return make_site()


@pytest.mark.parametrize(
    ("escaping", "line"),
    [
        (Escaping.ALLOW_UTF_8, '{"my.metric",instance="",job="a","l.x"="v","shard.no"="1"} 1'),
        (Escaping.UNDERSCORES, 'my_metric{instance="",job="a",l_x="v",shard_no="1"} 1'),
        (Escaping.DOTS, 'my_dot_metric{instance="",job="a",l_dot_x="v",shard_dot_no="1"} 1'),
        (Escaping.VALUES, 'U__my_2e_metric{U__l_2e_x="v",U__shard_2e_no="1",instance="",job="a"} 1'),
    ],
)
def test_each_scheme_writes_names_its_way(site: Stored, escaping: Escaping, line: str) -> None:
    """Names of families, labels and groups are written as the scraper asks for, and legacy ones are left alone."""
    body = b'# HELP "my.metric" Mine.\n# TYPE "my.metric" counter\n{"my.metric","l.x"="v"} 1\n'
    assert site.push("job/a/U__shard_2e_no/1", body).status_code == 200
    assert site.push("job/b", b"x 2\n").status_code == 200
    assert site.lines(escaping) == [line, 'x{instance="",job="b"} 2']
    name = line.removeprefix("{").partition("," if line.startswith("{") else "{")[0]
    assert f"# HELP {name} Mine.\n# TYPE {name} counter\n" in site.scrape(escaping).decode()


def test_a_scraper_that_names_no_scheme_gets_underscores(site: Stored) -> None:
    """Prometheus 2, curl and all others get names that they can read."""
    site.push("job/a", b'{"my.metric"} 1\n')
    assert 'my_metric{instance="",job="a"} 1\n' in site.get("/metrics").text


def test_push_times_have_the_labels_of_their_group(site: Stored) -> None:
    """The times of a group are exposed under its labels, quoted or escaped, in text and in protobuf."""
    site.push("job/a/U__l_2e_x/v", b"")
    site.push("job/b/U__l_2e_x/v", b"x 1 5\n")
    site.push("job/c", b"")
    assert '\npush_time_seconds{instance="",job="a","l.x"="v"} 1.70' in site.scrape(Escaping.ALLOW_UTF_8).decode()
    for escaping, name in ((Escaping.UNDERSCORES, "l_x"), (Escaping.VALUES, "U__l_2e_x")):
        exposition = Exposition.parse(site.scrape(escaping))
        assert [line.label_map.get(name) for line in exposition["push_time_seconds"].lines] == ["v", "v", None]
        failed = protobuf.parse(site.scrape(escaping, format=PROTOBUF))
        (family,) = (one for one in failed if one.name == "push_failure_time_seconds")
        assert sorted(dict(metric.labels).get(name, "") for metric in family.metrics) == ["", "v", "v"]


def test_groups_whose_labels_come_out_the_same_stay_apart(site: Stored) -> None:
    """Two groups that differ in the names of their labels alone are two series in every scheme."""
    for path in ("job/a/l_x/1", "job/a/l.x/1", "job/a/l-x/1"):
        assert site.push(path, b"x 1\n").status_code == 200
    exposition = Exposition.parse(site.scrape(Escaping.UNDERSCORES))
    assert exposition.problems() == []
    for name in ("x", "push_time_seconds"):
        assert {frozenset(line.label_map) - {"instance", "job"} for line in exposition[name].lines} == {
            frozenset({"l_x"}),
            frozenset({"U__l_2e_x"}),
            frozenset({"U__l_2d_x"}),
        }


def test_families_that_come_out_the_same_stay_apart(site: Stored) -> None:
    """Of names that collide the legacy one stays, and the others are written by value (Q15)."""
    site.push("job/a", b'{"a.b"} 1\na_b 2\n# TYPE "h.x" histogram\n{"h.x_count"} 1\nh_x_count 3\n')
    site.push("job/b", b'{"process.max.fds"} 4\n{"push.time.seconds"} 5\n')
    exposition = Exposition.parse(site.scrape(Escaping.UNDERSCORES))
    assert exposition.problems() == []
    assert exposition.value("a_b", job="a") == 2
    assert exposition.value("U__a_2e_b", job="a") == 1
    assert exposition["U__h_2e_x"].type == "histogram"
    assert exposition.value("U__process_2e_max_2e_fds", job="b") == 4
    assert exposition.value("U__push_2e_time_2e_seconds", job="b") == 5


def test_a_family_of_legacy_and_other_labels_is_one_family(site: Stored) -> None:
    """What some groups push with legacy labels and others with others stands under one header, newest HELP first."""
    site.push("job/a", b"# HELP x Old.\nx 1\n")
    site.now += 1
    site.push("job/b", b'# HELP x New.\nx{"l.x"="v"} 2\n')
    text = site.scrape(Escaping.UNDERSCORES).decode()
    assert '# HELP x New.\n# TYPE x untyped\nx{instance="",job="a"} 1\nx{instance="",job="b",l_x="v"} 2\n' in text
    site.push("job/b", b"x 3\n")
    assert site.lines(Escaping.UNDERSCORES) == ['x{instance="",job="a"} 1', 'x{instance="",job="b"} 3']


def test_the_api_and_the_page_show_names_as_they_were_pushed(site: Stored) -> None:
    """Only scrapes escape."""
    site.push("job/a/U__l_2e_x/v", b'{"<my.metric>","m.x"="w"} 1\n')
    (group,) = site.get("/api/v1/metrics").json["data"]
    assert group["labels"] == {"job": "a", "l.x": "v"}
    (metric,) = group["<my.metric>"]["metrics"]
    assert metric == {"labels": {"instance": "", "job": "a", "l.x": "v", "m.x": "w"}, "value": "1"}
    page = site.get("/groups/job/a/U__l_2e_x/v").text
    assert "&lt;my.metric&gt;" in page
    assert "l.x" in page


def test_what_was_pushed_is_escaped_after_the_flag_is_gone(make_site: Callable[..., Stored]) -> None:
    """Without the flag nothing new comes in, and what is stored is exposed as before."""
    site = make_site()
    site.push("job/a/U__l_2e_x/v", b'{"my.metric"} 1\n')
    plain = Stored(site.app.extensions["pushgateway"].store)
    assert plain.push("job/b", b'{"my.metric"} 1\n').status_code == 400
    assert plain.lines(Escaping.UNDERSCORES) == ['my_metric{instance="",job="a",l_x="v"} 1']
    assert plain.lines(Escaping.ALLOW_UTF_8) == ['{"my.metric",instance="",job="a","l.x"="v"} 1']


@pytest.mark.parametrize("utf8", [True, False])
@pytest.mark.parametrize(
    "path", ["job/a/U______name/v", "job/a/%FF/v", "job/%FF", "job/a/U__%FF_2e_/v", "job/a/U__a_0_/v"]
)
def test_a_key_that_could_not_be_scraped_is_refused(make_site: Callable[..., Stored], path: str, *, utf8: bool) -> None:
    """Reserved names, NUL and what is not UTF-8 make no group (Q1), with the flag or without, where U__ is literal."""
    site = make_site(enable_utf8_names=utf8)
    literal = not utf8 and "%" not in path
    for method in ("PUT", "POST", "DELETE"):
        status = site.request(method, f"/metrics/{path}", b"x 1 5\n").status_code
        assert status == (202 if literal and method == "DELETE" else 400)
    assert site.get("/api/v1/metrics").json["data"] == []


@pytest.mark.parametrize(
    ("name", "label"),
    [("a\0b", "l"), ("", "l"), ("x", "a\0b"), ("x", ""), ("x", "__name__"), ("x", "__l.x")],
)
@pytest.mark.parametrize("checked", [True, False])
def test_protobuf_with_improper_names_is_refused(
    make_site: Callable[..., Stored], name: str, label: str, *, checked: bool
) -> None:
    """No format and no setting lets in a name that could not be scraped; the answer says what was expected."""
    site = make_site(disable_consistency_check=not checked)
    body = protobuf.render([values.family(name, MetricType.GAUGE, ((label, "v"),))])
    reply = site.push("job/a", body, headers={"Content-Type": PROTOBUF})
    assert reply.status_code == 400
    assert "UTF-8 of at least one character and without NUL" in reply.text
    assert site.lines(Escaping.UNDERSCORES) == []


def test_without_the_flag_protobuf_names_are_legacy(make_site: Callable[..., Stored]) -> None:
    """Protobuf can say any name, so the rules look at each; the answer names the flag."""
    site = make_site(enable_utf8_names=False)
    for name, label in (("a.b", "l"), ("x", "l.x"), ("x", "a:b")):
        body = protobuf.render([values.family(name, MetricType.GAUGE, ((label, "v"),))])
        reply = site.push("job/a", body, headers={"Content-Type": PROTOBUF})
        assert reply.status_code == 400
        assert "--push.enable-utf8-names would allow it" in reply.text


@pytest.mark.parametrize(
    "name",
    ["a\nb", 'a"b', "a\\b", "a b", "\t\r", "\x7f\x01", "\u202eabc", "😱", "é" * 500, "x" * 1000 + ".", "{}", "#", "=,"],
)
def test_odd_names_are_exposed_to_everybody(site: Stored, name: str) -> None:
    """Control characters, line ends, quotes and what is long or far away come out whole, in each scheme."""
    key = GroupingKey.of({"job": "a", name: "1"})
    body = text.render([values.family(name, MetricType.GAUGE, ((name + ".", "2"),))])
    assert site.push(format_path(key, utf8_names=True), body).status_code == 200
    for escaping in Escaping:
        exposition = Exposition.parse(site.scrape(escaping), quoted_names=escaping is Escaping.ALLOW_UTF_8)
        assert exposition.problems() == []
        (line,) = [line for line in exposition.lines(job="a") if not line.name.startswith("push_")]
        assert sorted(line.label_map.values()) == ["", "1", "2", "a"]
        if escaping is Escaping.ALLOW_UTF_8:
            assert (line.name, line.label_map[name]) == (name, "1")


names = near_names | odd_names
labels = st.dictionaries(
    (near_names | label_names).filter(lambda name: not name.startswith("__")), st.sampled_from("12"), max_size=2
)
families = st.builds(
    lambda name, type, series: values.family(name, type, *[tuple(sorted(one.items())) for one in series]),
    names,
    st.sampled_from([MetricType.GAUGE, MetricType.HISTOGRAM, MetricType.SUMMARY]),
    st.lists(labels, min_size=1, max_size=2),
)
pushes = st.lists(st.tuples(labels, st.lists(families, min_size=1, max_size=3)), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pushes, st.booleans())
def test_whatever_is_stored_every_scheme_exposes_all_of_it(
    make_site: Callable[..., Stored], pushes: list[tuple[dict[str, str], list[MetricFamily]]], checked: bool
) -> None:
    """Each scheme's exposition is valid in text and protobuf, has as many series as are stored, and stays the same."""
    site = make_site(disable_consistency_check=not checked)
    for key, pushed in pushes:
        path = format_path(GroupingKey.of({**key, "job": "j"}), utf8_names=True)
        site.push(path, protobuf.render(pushed), headers={"Content-Type": PROTOBUF})
    as_stored = Exposition.parse(site.scrape(Escaping.ALLOW_UTF_8), quoted_names=True)
    assert as_stored.problems() == []
    for escaping in (Escaping.UNDERSCORES, Escaping.DOTS, Escaping.VALUES):
        body = site.scrape(escaping)
        exposition = Exposition.parse(body)
        assert exposition.problems() == []
        assert len(exposition.lines(job="j")) == len(as_stored.lines(job="j"))
        assert [_pushed(body), _pushed(site.scrape(escaping))] == [_pushed(body)] * 2
        by_protobuf = text.render(protobuf.parse(site.scrape(escaping, format=PROTOBUF)))
        assert sorted(_pushed(by_protobuf)) == sorted(_pushed(body))


def _pushed(exposition: bytes) -> list[str]:
    return [line for line in exposition.decode().splitlines() if 'job="j"' in line]


def test_names_are_shown_in_logs_and_answers_on_one_line(site: Stored) -> None:
    """A refusal names the family, however odd its name, without a line of its own making."""
    reply = site.push("job/a", b'{"a\\nb"} 1 5\n')
    assert reply.status_code == 400
    assert reply.text.count("\n") == 1
    assert '"a\\nb"' in reply.text
    errors = json.loads(site.push("job/a", b'{"a\\nb"} 1 5\n', headers={"Accept": "application/json"}).data)
    assert "\\n" in errors["error"]


def test_openmetrics_carries_utf8_names_in_and_out(make_site: Callable[..., Stored]) -> None:
    """Quoted names are taken from OpenMetrics, and exposed in it in quotes or escaped, _total in its place."""
    site = make_site(enable_openmetrics=True)
    body = b'# TYPE "my.rows" counter\n{"my.rows_total","l.x"="v"} 1\n# EOF\n'
    assert site.push("job/a", body, headers={"Content-Type": "application/openmetrics-text"}).status_code == 200
    quoted = site.scrape(Escaping.ALLOW_UTF_8, format="application/openmetrics-text")
    assert b'# TYPE "my.rows" counter\n{"my.rows_total",instance="",job="a","l.x"="v"} 1.0\n' in quoted
    escaped = site.scrape(Escaping.UNDERSCORES, format="application/openmetrics-text")
    assert b'# TYPE my_rows counter\nmy_rows_total{instance="",job="a",l_x="v"} 1.0\n' in escaped
