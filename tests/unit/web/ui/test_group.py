"""Does the page of a group show all that matters of it, in bounds, and nothing but text of what was pushed?"""

from __future__ import annotations

import base64
import re
from urllib.parse import urljoin

import pytest

from pushgateway.formats import protobuf
from pushgateway.model import (
    Exemplar,
    GroupQuery,
    Histogram,
    MetricFamily,
    MetricType,
    NativeBuckets,
    NativeHistogram,
)
from tests.unit.web.fakes import NOW, Site
from tests.unit.web.ui.reading import Page

HISTOGRAM = b"""# HELP run_seconds How long.
# TYPE run_seconds histogram
run_seconds_bucket{step="load",le="0.1"} 10
run_seconds_bucket{step="load",le="0.5"} 30
run_seconds_bucket{step="load",le="+Inf"} 40
run_seconds_sum{step="load"} 20
run_seconds_count{step="load"} 40
"""

SUMMARY = b'# TYPE s summary\ns{quantile="0.5"} 3\ns{quantile="0.99"} 9\ns_sum 12\ns_count 4\n'


def encoded(value: str) -> str:
    """Write a label value as a path can carry it."""
    return base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")


def shown(site: Site, path: str) -> Page:
    """Read a page that is there."""
    reply = site.get(path)
    assert reply.status_code == 200
    return Page(reply.text)


def test_a_group_is_told_with_its_times(site: Site) -> None:
    """Its labels, job first, when it was pushed, and how many families and series it has."""
    site.push("job/backup/db/main/aaa/b", b'# TYPE x counter\n# HELP x An x.\nx{a="1"} 1\nx{a="2"} 2\n')
    site.now += 180
    page = shown(site, "/groups/job/backup/db/main/aaa/b")
    assert "Group job=backup aaa=b db=main Pushed 3 min ago 1 family 2 series" in page.words
    assert page.found("time", datetime="2023-11-14T22:13:20Z", title="2023-11-14 22:13:20 UTC")
    assert "x counter 2 series An x. a Value 1 1 2 2" in page.words
    assert "refused" not in page.words


def test_its_size_is_that_of_the_list(site: Site) -> None:
    """The same group has one size on all pages: what it takes in the store."""
    site.push("job/a", HISTOGRAM)
    [size] = [one["value"] for one in shown(site, "/groups/job/a").found("data") if one["title"].endswith(" bytes")]
    assert [one.bytes for one in site.store.find_groups(GroupQuery()).groups] == [int(size)]
    assert shown(site, "/groups").found("data", value=size, title=f"{size} bytes")
    assert shown(site, "/").found("data", value=size, title=f"{size} bytes")


def test_any_spelling_of_its_path_names_the_group(site: Site) -> None:
    """Order and base64 do not matter, as in a push."""
    site.push("job/etl/a/1/b/2", b"x 1\n")
    for path in ("job/etl/b/2/a/1", f"job@base64/{encoded('etl')}/a/1/b@base64/{encoded('2')}"):
        assert "Group job=etl a=1 b=2" in shown(site, f"/groups/{path}").words


def test_a_failed_push_is_told_with_its_reason(site: Site) -> None:
    """While it is the last one it is marked; after a success it is told as a past one."""
    site.push("job/a", b"x 1\nx 1\n")
    page = shown(site, "/groups/job/a")
    assert "Last push failed Never pushed Refused just now" in page.words
    assert "The last push was refused: collected metric" in page.words
    assert "This group has no families" in page.words
    site.now += 60
    site.push("job/a", b"x 1\n")
    page = shown(site, "/groups/job/a")
    assert "Last push failed" not in page.words
    assert "Pushed just now Last refused 1 min ago" in page.words


def test_a_group_that_was_not_pushed_for_long_is_marked(site: Site) -> None:
    """After 26 hours, as in the list, or after what `stale` says; what is no duration says nothing."""
    site.push("job/a", b"x 1\n")
    assert "Stale" not in shown(site, "/groups/job/a").words
    site.now += 2 * 3600
    assert "Stale Pushed 2 h ago" in shown(site, "/groups/job/a?stale=1h").words
    assert "Stale" not in shown(site, "/groups/job/a?stale=odd").words
    site.now += 2 * 86_400
    assert "Stale Pushed 2 d ago" in shown(site, "/groups/job/a").words


def test_what_is_stale_goes_with_the_reader(site: Site) -> None:
    """From the lists to the group, in the group, and back, where it was chosen and means anything."""
    site.push("job/a", b"".join(b"x%d 1\n" % number for number in range(60)))
    assert "./groups/job/a?stale=1h" in shown(site, "/groups?stale=1h").links
    assert "./groups/job/a?stale=1h" in shown(site, "/?stale=1h").links
    page = shown(site, "/groups/job/a?stale=1h&find=x")
    assert {"../../groups?stale=1h", "?stale=1h", "?find=x&page=2&stale=1h"} <= set(page.links)
    assert page.found("input", name="stale", value="1h")
    assert not any("stale" in link for link in shown(site, "/groups/job/a?stale=odd&find=x").links)


def test_single_values_share_a_table_and_read_easily(site: Site) -> None:
    """A value is short, with its unit, and exact on hover; a time is a date."""
    site.push("job/a", f"size_bytes 3400000000\nlast_timestamp_seconds {NOW - 7200}\nratio 0.5\nn 1234567\n".encode())
    page = shown(site, "/groups/job/a")
    assert "Families with one value" in [given.get("aria-label") for given in page.found("div")]
    assert "size_bytes untyped 3.4 GB" in page.words
    assert page.found("data", value="3400000000", title="3400000000")
    assert "last_timestamp_seconds untyped 2023-11-14 20:13:20 UTC (2 h ago)" in page.words
    assert "ratio untyped 50 %" in page.words
    assert "n untyped 1.23 M" in page.words


@pytest.mark.parametrize(
    ("value", "text"), [("NaN", "NaN"), ("+Inf", "+Inf"), ("-Inf", "-Inf"), ("1e+300", "1e300"), ("-5", "-5")]
)
def test_a_time_that_is_none_is_a_number(site: Site, value: str, text: str) -> None:
    """What a job pushes as a time may be anything: it is shown as it is, once, and the page stays whole."""
    site.push("job/a", f"last_timestamp_seconds {value}\nbatch_job_last_start_timestamp_seconds {value}\n".encode())
    page = shown(site, "/groups/job/a")
    assert f"last_timestamp_seconds untyped {text} " in page.words
    assert "ago)" not in page.words


def test_a_histogram_is_drawn_with_its_own_counts(site: Site) -> None:
    """Each bucket has a bar, its observations and their share; beside them count, mean and estimated quantiles."""
    site.push("job/a", HISTOGRAM)
    page = shown(site, "/groups/job/a")
    assert "step=load count 40 mean 500 ms p50 300 ms p90 500 ms p95 500 ms p99 500 ms" in page.words
    assert "≤ 100 ms 10 25 % 100 ms – 500 ms 20 50 % > 500 ms 10 25 %" in page.words
    assert [one["width"] for one in page.found("rect", **{"class": "fill"}) if one.get("height") == "8"] == [
        "50.0",
        "100.0",
        "50.0",
    ]


def test_a_summary_is_a_table(site: Site) -> None:
    """Its quantiles are columns, with count, mean and sum."""
    site.push("job/a", SUMMARY)
    words = shown(site, "/groups/job/a").words
    assert "Quantile p50 Quantile p99 Count Mean Sum 3 9 4 3 12" in words


def test_a_batch_job_has_its_card(site: Site) -> None:
    """The families of the SDK become a card, and stand behind the job's own."""
    site.push(
        "job/etl",
        f"""# TYPE batch_job_running gauge
batch_job_running 0
batch_job_last_start_timestamp_seconds {NOW - 120}
batch_job_last_duration_seconds 61.5
batch_job_last_exit_code 0
batch_job_last_result{{result="success"}} 1
batch_job_last_result{{result="error"}} 0
batch_job_next_run_timestamp_seconds {NOW + 3600}
batch_job_deadline_timestamp_seconds {NOW - 60}
batch_job_progress_ratio 0.5
batch_job_expected_records 10
batch_job_records{{outcome="read"}} 5
rows 3
""".encode(),
    )
    page = shown(site, "/groups/job/etl")
    assert "Succeeded Overdue 50 % of 10 records Last start 2 min ago Duration 1 min 2 s Exit code 0" in page.words
    assert "Next run in 1 h Success due 1 min ago Records read 5" in page.words
    site.now += 4000
    assert "Run was due 6 min ago" in shown(site, "/groups/job/etl").words
    assert page.words.index("rows untyped 3") < page.words.index("families of the job, of which the card is made")


def test_the_commands_lead_to_the_gateway_as_it_is_reached(site: Site) -> None:
    """By the host that the browser asked, or the external URL, without any password in it; the user is named."""
    path = f"job/etl/dir@base64/{encoded('/srv/a b')}"
    login = base64.b64encode(b"ann o'neil:secret").decode()
    outside = Site(external_url="https://gw.example/push", route_prefix="/push")
    careless = Site(external_url="https://ann:secret@gw.example:8443/push/", route_prefix="/push")
    for one, prefix, base in (
        (site, "", "http://localhost"),
        (Site(route_prefix="/pfx"), "/pfx", "http://localhost/pfx"),
        (outside, "/push", "https://gw.example/push"),
        (careless, "/push", "https://gw.example:8443/push"),
    ):
        one.request("POST", f"{prefix}/metrics/{path}", b"x 1\n")
        reply = one.get(f"{prefix}/groups/{path}", headers={"Authorization": f"Basic {login}"})
        page = Page(reply.text)
        curl = "curl --user 'ann o'\"'\"'neil'"
        assert f"{curl} {base}/api/v1/groups/{path}" in page.words
        assert f"{curl} --request DELETE {base}/metrics/{path}" in page.words
        assert "secret" not in reply.text


def test_deletion_is_a_form_that_leads_to_a_confirmation(site: Site) -> None:
    """It names the group by its key, in ASCII, and works without a script."""
    site.push("job/a/b/c", b"x 1\n")
    page = shown(site, "/groups/job/a/b/c")
    (form,) = page.found("form", method="post")
    assert urljoin("http://host/groups/job/a/b/c", form["action"]) == "http://host/groups/delete"
    assert page.found("input", type="hidden", name="group", value='[["b","c"],["job","a"]]')


def test_links_hold_at_any_depth_and_behind_a_prefix() -> None:
    """Every link of the page leads to something below the prefix, however deep the group's path is."""
    site = Site(route_prefix="/pre/fix")
    path = "/pre/fix/groups/job/a/b/c/d/e"
    body = b"".join(b'x{n="%d"} 1\n' % number for number in range(30))
    site.request("POST", "/pre/fix/metrics/job/a/b/c/d/e", body)
    links = [link for link in shown(site, path).links if not link.startswith("#")]
    assert len(links) > 10
    for link in links:
        target = urljoin(f"http://host/proxy{path}", link).removeprefix("http://host/proxy")
        assert target.startswith("/pre/fix/")
        assert target.endswith("/groups/delete") or site.get(target).status_code == 200


def test_a_group_that_is_not_there_is_a_page(site: Site) -> None:
    """It answers 404 in the look of the others, names the labels, and says how to push them."""
    reply = site.get(f"/groups/job/nope/x@base64/{encoded('<i>')}")
    page = Page(reply.text)
    assert (reply.status_code, reply.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "There is no such group job=nope x=<i>" in page.words
    assert "curl --data-binary @- http://localhost/metrics/job/nope/x@base64/" in page.words
    assert page.found("nav")


@pytest.mark.parametrize("path", ["job/a/b", "job@base64/!!", "job/a/__x/y", "job/a/l/%ff"])
def test_a_path_that_is_no_group_is_a_page(site: Site, path: str) -> None:
    """It answers 400 with the reason, whatever is in the path."""
    reply = site.get(f"/groups/{path}")
    assert reply.status_code == 400
    assert "That is no group" in Page(reply.text).words


def test_groups_of_utf8_names_are_found() -> None:
    """By the path that escapes their names; also when such names are not allowed any more."""
    site = Site(enable_utf8_names=True)
    site.push("job/a/U__host_2e_name/b", b"x 1\n")
    page = shown(site, "/groups/job/a/U__host_2e_name/b")
    assert "Group job=a host.name=b" in page.words
    assert "http://localhost/metrics/job/a/U__host_2e_name/b" in page.words
    later = Site(store=site.store)
    assert "Group job=a host.name=b" in shown(later, "/groups/job/a/U__host_2e_name/b").words
    assert later.get("/groups/job/a/U__host_2e_name/c").status_code == 404


HOSTILE = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "quotes": "\"'><svg onload=alert(1)> & &amp; &#60;",
    "jinja": "{{ 7 * 7 }}{% raw %}",
    "long": "<b>" + "x" * 10_000,
    "arabic": "\u202egnp.exe \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u2067",
    "controls": "a\x01b\x1b[31mc\x7f\x85d\re\u2028f\ufeff",
    "emoji": "👩\u200d👩\u200d👧 🇩🇪",
    "lines": "one\ntwo\t<i>",
}


def _line(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n")
    quoted = escaped.replace('"', '\\"')
    return f'# HELP {name} {escaped}\n# TYPE {name} gauge\n{name}{{m="{quoted}"}} 1\n{name}{{m="other"}} 2\n'


@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_that_was_pushed_becomes_anything_but_text(site: Site, kind: str) -> None:
    """No element, attribute or control of label values and HELP texts is there; each keeps its direction to itself."""
    value = HOSTILE[kind]
    plain_path = "job/plain/l/harmless"
    path = f"job/plain/l@base64/{encoded(value)}"
    assert site.push(path, _line("x", value).encode()).status_code == 200
    assert site.push(plain_path, _line("x", "harmless").encode()).status_code == 200
    reply, plain = site.get(f"/groups/{path}"), site.get(f"/groups/{plain_path}")
    assert (reply.status_code, len(reply.text) < 150_000) == (200, True)
    page, model = Page(reply.text), Page(plain.text)
    # A cut text has one element more, which says so.
    elements = [
        name for name, given in zip(page.elements, page.attributes, strict=True) if given.get("class") != "more"
    ]
    assert elements == model.elements
    names = {name for given in page.attributes for name in given}
    assert not {name for name in names if name == "style" or name.startswith("on")}
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]", reply.text)
    assert "49" not in Page(reply.text).text or kind != "jinja"
    if kind not in {"long", "controls", "arabic", "lines"}:
        assert page.text.count(value) >= 3
        shown_in = re.findall(r"<bdi>([^<]*)</bdi>", reply.text)
        assert len(shown_in) >= 3


def test_a_reason_is_text_too(site: Site) -> None:
    """The reason of a refused push quotes what was pushed."""
    site.push("job/a", b'x{l="<script>"} 1\nx{l="<script>"} 1\n')
    page = shown(site, "/groups/job/a")
    assert page.elements.count("script") == len([one for one in page.found("script") if one.get("src")])
    assert "<script>" in page.text


def test_a_group_of_many_families_comes_in_pages(site: Site) -> None:
    """Fifty a page; they can be searched by name and help, and each has a page of its own."""
    site.push("job/a", b"".join(b"# HELP x%03d Number %d.\nx%03d 1\n" % (n, n, n) for n in range(120)))
    first, last = shown(site, "/groups/job/a"), shown(site, "/groups/job/a?page=3")
    assert ("x049" in first.text, "x050" in first.text, "Page 1 of 3" in first.words) == (True, False, True)
    assert ("x099" in last.text, "x119" in last.text) == (False, True)
    assert shown(site, "/groups/job/a?page=99").text == last.text
    for odd in ("0", "-1", "x", ""):
        assert shown(site, f"/groups/job/a?page={odd}").text == first.text
    found = shown(site, "/groups/job/a?find=NUMBER+11")
    assert "11 families of 120 with NUMBER 11 in name or help" in found.words
    assert "Nothing was found" in shown(site, "/groups/job/a?find=nothing").words
    assert "x042" in shown(site, "/groups/job/a?family=x042").text
    assert "There is no family <b> in this group" in shown(site, "/groups/job/a?family=<b>").words


def test_a_family_of_many_series_comes_in_pages(site: Site) -> None:
    """Ten on the page of the group, a hundred on its own; it says how many there are."""
    site.push("job/a", b"".join(b'x{n="%04d"} %d\n' % (number, number) for number in range(1234)))
    page = shown(site, "/groups/job/a")
    assert "1 224 more series: show all 1234" in page.words
    own = shown(site, "/groups/job/a?family=x&page=13")
    assert "1234 untyped" not in own.words
    assert ("1233" in own.text, "0199" in own.text, "Page 13 of 13" in own.words) == (True, False, True)


@pytest.mark.parametrize(
    "body",
    [
        b"".join(b"x%05d 1\n" % number for number in range(6000)),
        b"".join(b'x{n="%d"} 1\n' % number for number in range(10_000)),
        b"".join(b'x%d{l="%b"} 1\n' % (number, b"<" * 20_000) for number in range(200)),
        b"# TYPE h histogram\n" + b"".join(b'h_bucket{le="%d"} %d\n' % (n, n) for n in range(10_000)),
        b"".join(
            b'x{n="%d",%b} 1\n' % (n, b",".join(b'l%d="%b"' % (i, b"<" * 200) for i in range(60))) for n in range(9)
        ),
    ],
    ids=["6000 families", "10 000 series", "long values", "10 000 buckets", "many labels"],
)
def test_the_page_of_any_group_is_bounded(site: Site, body: bytes) -> None:
    """Whatever was pushed, no page of it is larger than half a megabyte."""
    assert site.push("job/a", body).status_code == 200
    for query in ("", "?page=2", "?family=x", "?family=h", "?find=x"):
        reply = site.get(f"/groups/job/a{query}")
        assert (reply.status_code, len(reply.data) < 500_000) == (200, True)


def test_the_beginning_of_the_exposition_is_on_the_page(site: Site) -> None:
    """As text to copy, with a link to all of it."""
    site.push("job/a", b"".join(b"x%05d 1\n" % number for number in range(6000)))
    page = shown(site, "/groups/job/a")
    assert 'x00000{instance="",job="a"} 1' in page.text
    assert any(link.endswith("api/v1/groups/job/a") for link in page.links)


def test_an_unreadable_store_is_503(site: Site) -> None:
    """The page says why there is nothing to show."""
    site.store.read_error = "gone"
    assert site.get("/groups/job/a").status_code == 503


def test_pages_of_groups_are_counted(site: Site) -> None:
    """By one name, whatever the group."""
    site.push("job/a", b"x 1\n")
    site.get("/groups/job/a")
    site.get("/groups/job/b")
    assert {one: n for one, n in site.counted().items() if one[0] == "group"} == {
        ("group", "get", "200"): 1,
        ("group", "get", "404"): 1,
    }


def test_native_histograms_exemplars_and_times_are_shown(site: Site) -> None:
    """What only protobuf and OpenMetrics can say is on the page, too."""
    side = NativeBuckets(((0, 2),), (2, 0))
    native = NativeHistogram(
        0, 0.001, 0, positive=side, exemplars=(Exemplar((("trace_id", "<t>"),), 1.5, int((NOW - 3600) * 1e9)),)
    )
    metrics = (Histogram((), (), 6.0, 4, native=native),)
    body = protobuf.render([MetricFamily("run_seconds", MetricType.HISTOGRAM, "How long.", metrics)])
    protobuf_type = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
    assert site.push("job/native", body, headers={"Content-Type": protobuf_type}).status_code == 200
    words = shown(site, "/groups/job/native").words
    assert "count 4 mean 1.5 s p50 1 s" in words
    assert "500 ms – 1 s 2 50 % 1 s – 2 s 2 50 %" in words
    assert "exemplar 1.5 s trace_id=<t> 1 h ago" in words
    body = b'# TYPE n_bytes counter\n# UNIT n_bytes bytes\nn_bytes_total 5e9 # {trace_id="t"} 1.0 1.7e9\n'
    body += b"n_bytes_created 1.6e9\n# EOF\n"
    assert site.push("job/open", body, headers={"Content-Type": "application/openmetrics-text"}).status_code == 200
    words = shown(site, "/groups/job/open").words
    assert "n_bytes_total counter bytes 5 GB counting since 2020-09-13 12:26:40 UTC exemplar 1 B trace_id=t" in words
