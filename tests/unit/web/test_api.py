from __future__ import annotations

import pytest

from pushgateway import __version__
from pushgateway.model import Wipe
from tests.unit.web.fakes import NOW, Site


def test_status_tells_build_flags_and_start() -> None:
    """/api/v1/status has the original's shape."""
    site = Site(flags={"web.listen-address": ":9091", "log.level": "info"})
    reply = site.get("/api/v1/status")
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json is not None
    data = reply.json["data"]
    assert reply.json["status"] == "success"
    assert sorted(data["build_information"]) == [
        "branch",
        "buildDate",
        "buildUser",
        "goVersion",
        "revision",
        "version",
    ]
    assert data["build_information"]["version"] == __version__
    assert data["flags"] == {"web.listen-address": ":9091", "log.level": "info"}
    assert "T" in data["start_time"]


def test_metrics_tells_groups_with_their_families(site: Site) -> None:
    """/api/v1/metrics lists each group with its labels, whether its last push succeeded, and its families."""
    site.push("job/a/l/v", b"# TYPE x counter\nx 1e6\n")
    site.now += 1
    site.push("job/a/l/v", b"x 1\nx 1\n")
    reply = site.get("/api/v1/metrics")
    assert reply.json is not None
    (group,) = reply.json["data"]
    assert group["labels"] == {"job": "a", "l": "v"}
    assert group["last_push_successful"] is False
    assert group["x"]["type"] == "COUNTER"
    assert group["x"]["metrics"] == [{"labels": {"instance": "", "job": "a", "l": "v"}, "value": "1e+06"}]


def test_an_unreadable_store_is_503_for_any_origin_to_see(site: Site) -> None:
    """A page of another origin can read the reason too, which takes the CORS headers on the error."""
    site.store.read_error = "gone"
    reply = site.get("/api/v1/metrics")
    assert reply.status_code == 503
    assert "gone" in reply.text
    assert reply.headers["Access-Control-Allow-Origin"] == "*"


def test_wipe_removes_everything(site: Site) -> None:
    """A wipe is one change, answered 202 with nothing."""
    site.push("job/a")
    reply = site.request("PUT", "/api/v1/admin/wipe")
    assert (reply.status_code, reply.data) == (202, b"")
    assert isinstance(site.store.changes[-1][0], Wipe)
    assert site.get("/api/v1/metrics").json == {"status": "success", "data": []}


def test_a_wipe_that_is_not_enabled_does_nothing() -> None:
    """Without its flag there is nothing at the path of the wipe."""
    site = Site()
    assert site.request("PUT", "/api/v1/admin/wipe").status_code == 404
    assert site.store.changes == []


def test_the_api_is_counted(site: Site) -> None:
    """Each part of the API counts under the original's name for it."""
    site.get("/api/v1/status")
    site.request("HEAD", "/api/v1/metrics")
    site.request("OPTIONS", "/api/v1/anything/at/all")
    site.request("PUT", "/api/v1/admin/wipe")
    site.get("/api/v1/nothing")
    assert site.counted() == {
        ("api/v1/status", "get", "200"): 1,
        ("api/v1/metrics", "head", "200"): 1,
        ("api/v1/options", "options", "200"): 1,
        ("wipe", "put", "202"): 1,
    }


def test_groups_tells_which_are_stored(site: Site) -> None:
    """/api/v1/groups lists groups without what they hold, with times in both forms, and counts those that match."""
    assert site.get("/api/v1/groups").json == {
        "status": "success",
        "data": {"groups": [], "matching": 0, "next_cursor": "", "previous_cursor": ""},
    }
    site.push("job/a/instance/<b>", b"x 1\ny 2\n")
    site.push("job/c", b"x 1\nx 2\n")
    reply = site.get("/api/v1/groups?sort=name")
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert b"<b>" not in reply.data
    assert reply.json is not None
    first, second = reply.json["data"]["groups"]
    assert first.pop("bytes") > 0
    assert first == {
        "labels": {"instance": "<b>", "job": "a"},
        "last_push_successful": True,
        "push_time": "2023-11-14T22:13:20.25Z",
        "push_time_seconds": 1_700_000_000.25,
        "push_failure_time": None,
        "push_failure_time_seconds": 0.0,
        "failure_reason": "",
        "families": 2,
        "series": 2,
    }
    assert "collected before with the same name and label values" in second.pop("failure_reason")
    assert second == {
        "labels": {"job": "c"},
        "last_push_successful": False,
        "push_time": None,
        "push_time_seconds": 0.0,
        "push_failure_time": "2023-11-14T22:13:20.25Z",
        "push_failure_time_seconds": 1_700_000_000.25,
        "families": 0,
        "series": 0,
        "bytes": 0,
    }


@pytest.mark.parametrize(
    ("query", "jobs", "matching"),
    [
        ("", ["c", "b", "a"], 3),
        ("?q=&sort=&state=&stale=&limit=&cursor=&other=1", ["c", "b", "a"], 3),
        ("?q=job=b", ["b"], 1),
        ("?q=job!%3Db+A", ["a"], 1),
        ("?sort=name", ["a", "b", "c"], 3),
        ("?sort=name&limit=1", ["a"], 3),
        ("?state=failed", [], 0),
        ("?state=stale&stale=1m30s", ["a"], 1),
        ("?state=stale&stale=0", ["b", "a"], 2),
        ("?state=stale", [], 0),
    ],
)
def test_groups_that_are_asked_for(query: str, jobs: list[str], matching: int) -> None:
    """Parameters say which groups, in which order and how many; one that is empty has its default."""
    site = Site()
    for age, job in ((100.0, "a"), (10.0, "b"), (0.0, "c")):
        site.now = NOW - age
        site.push(f"job/{job}", b"x 1\n")
    site.now = NOW
    reply = site.get(f"/api/v1/groups{query}")
    assert reply.json is not None
    assert [one["labels"]["job"] for one in reply.json["data"]["groups"]] == jobs
    assert reply.json["data"]["matching"] == matching


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("q=job=%22x", "the search cannot be read at character 5: the quote is not closed"),
        ("sort=best", "sort 'best' is none of pushed, failed, size, name"),
        ("state=fine", "state 'fine' is none of failed, stale"),
        ("stale=1x", "stale: '1x' is not a duration such as 30s, 5m or 1h30m"),
        ("limit=0", "limit '0' is not a whole number from 1 to 1000"),
        ("limit=1001", "limit '1001' is not a whole number from 1 to 1000"),
        ("limit=1e3", "limit '1e3' is not a whole number from 1 to 1000"),
        ("cursor=x", "the cursor is none of ours"),
    ],
)
def test_groups_that_cannot_be_asked_for(site: Site, query: str, message: str) -> None:
    """What cannot be read is 400, and says which parameter, and of a search where."""
    reply = site.get(f"/api/v1/groups?{query}")
    assert (reply.status_code, reply.get_data(as_text=True).strip()) == (400, message)


def test_failures_tells_what_was_refused(site: Site) -> None:
    """/api/v1/failures lists refused pushes, newest first, with all that is known and in both forms of time."""
    assert site.get("/api/v1/failures").json == {"status": "success", "data": []}
    site.push("job/a/instance/b", b"x 1\ny\n", environ={"REMOTE_ADDR": "192.0.2.7"})
    site.push("job/a/l")
    reply = site.get("/api/v1/failures")
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert reply.json is not None
    newest, oldest = reply.json["data"]
    assert (newest["group"], newest["errorType"]) == (None, "grouping_key")
    assert oldest.pop("reason").startswith("text format parsing error in line 2: ")
    assert oldest == {
        "time": "2023-11-14T22:13:20.25Z",
        "time_seconds": 1_700_000_000.25,
        "group": {"instance": "b", "job": "a"},
        "path": "/metrics/job/a/instance/b",
        "method": "POST",
        "source": "192.0.2.7",
        "status": 400,
        "errorType": "parse",
        "line": 2,
        "family": "y",
    }


def test_activity_tells_of_the_last_hour(site: Site) -> None:
    """/api/v1/activity counts pushes and refusals by the minute, and ranks groups by their slowest and largest push."""
    site.push("job/a/instance/b", b"x 1\ny 1\n")
    site.push("job/large", b"x 1\n" + b"#" * 100 + b"\n")
    site.push("job/a", b"x\n")
    site.now += 60
    site.push("job/large", b"x 1\n", method="PUT")
    site.request("DELETE", "/metrics/job/large")
    site.request("DELETE", "/metrics/job/a/l")
    site.get("/nothing")
    reply = site.get("/api/v1/activity")
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert reply.json is not None
    data = reply.json["data"]
    assert data["minutes"][:58] == [
        {"time_seconds": 1_699_996_500 + 60 * number, "pushes": 0, "refusals": 0} for number in range(58)
    ]
    assert data["minutes"][58:] == [
        {"time_seconds": 1_699_999_980, "pushes": 2, "refusals": 1},
        {"time_seconds": 1_700_000_040, "pushes": 1, "refusals": 1},
    ]
    largest, other = data["largest"]
    assert largest.pop("duration_seconds") >= 0
    assert largest == {
        "time": "2023-11-14T22:13:20.25Z",
        "time_seconds": 1_700_000_000.25,
        "group": {"job": "large"},
        "group_is_cut": False,
        "body_bytes": 105,
        "samples": 1,
    }
    assert (other["group"], other["body_bytes"], other["samples"]) == ({"instance": "b", "job": "a"}, 8, 2)
    assert {one["group"]["job"] for one in data["slowest"]} == {"a", "large"}


def test_failures_are_as_many_as_asked_for(site: Site) -> None:
    """`limit` says how many failures are listed, the newest ones; without it 100."""
    for number in range(120):
        site.push(f"job/{number}", b"x\n")
    for query, many in (("", 100), ("?limit=3", 3), ("?limit=0512", 120)):
        reply = site.get(f"/api/v1/failures{query}")
        assert reply.json is not None
        jobs = [one["group"]["job"] for one in reply.json["data"]]
        assert jobs == [str(number) for number in range(119, 119 - many, -1)]


@pytest.mark.parametrize("limit", ["", "0", "513", "-1", "1.5", "abc", "1" * 5000, "00009999", "%D9%A3", "%FF"])
def test_a_limit_that_is_none(site: Site, limit: str) -> None:
    """Any other limit is 400, and the answer says what was expected."""
    reply = site.get(f"/api/v1/failures?limit={limit}")
    assert reply.status_code == 400
    assert reply.text.endswith(" is not a whole number from 1 to 512\n")
    assert len(reply.text) < 300
    assert reply.headers["Access-Control-Allow-Origin"] == "*"


def test_a_group_is_told_as_a_scrape_tells_it(site: Site) -> None:
    """Text 0.0.4 with its families and push times, named as in a push; never taken for anything but text."""
    site.push(
        "job/a/l/1", b'# TYPE x counter\n# HELP x An x.\nx 1\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_count 3\n'
    )
    site.push("job/b", b"y 1\n")
    reply = site.get("/api/v1/groups/job@base64/YQ/l/1")
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    scraped = [line for line in site.get("/metrics").text.splitlines() if 'job="a"' in line]
    assert [line for line in reply.text.splitlines() if not line.startswith("#")] == scraped
    assert "# HELP x An x.\n# TYPE x counter\n" in reply.text
    assert site.counted()["api/v1/group", "get", "200"] == 1


def test_a_group_is_told_as_json_if_asked(site: Site) -> None:
    """It is the object that the list of all groups has."""
    site.push("job/a", b"x 1\n")
    site.push("job/b", b"x 1\n")
    reply = site.get("/api/v1/groups/job/b", headers={"Accept": "application/json"})
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json is not None
    every = site.get("/api/v1/metrics").json
    assert every is not None
    assert reply.json == {"status": "success", "data": every["data"][1]}


def test_a_group_that_is_not_there_is_404(site: Site) -> None:
    """A path that names no group is 400, one that is not stored 404."""
    assert site.get("/api/v1/groups/job/a").status_code == 404
    reply = site.get("/api/v1/groups/job/a/odd")
    assert (reply.status_code, "odd number of components" in reply.text) == (400, True)
    assert site.request("DELETE", "/api/v1/groups/job/a").status_code == 405
