from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.harness import Gateway, Service
from tests.rows import group_states, show

UNCHECKED = pytest.mark.parametrize("service", [("gateway", "unchecked")], indirect=True, ids=["unchecked"])
OURS = pytest.mark.parametrize("service", [("gateway", "admin")], indirect=True, ids=["ours"])


@pytest.fixture
def own_gateway(record_property: Callable[[str, object], None]) -> Iterator[Gateway]:
    """A gateway for one test, whose store may be damaged."""
    record_property("contract_row", "gateway")
    with Gateway() as service:
        yield service


@OURS
def test_recent_failures_are_listed_with_their_reasons(service: Service) -> None:
    """First table: the page of failures tells of a refused push which group it was for and why."""
    service.wipe()
    service.push("job/troubled", b"some_metric 1\nsome_metric 2\n")
    page = service.get("/failures").text
    assert "troubled" in page
    assert "was collected before with the same name and label values" in page


@OURS
def test_page_of_groups_lists_groups(service: Service) -> None:
    """Section A: a page lists the groups, and what they hold cannot become markup."""
    service.wipe()
    service.push("job/<b>bold/l/v", b"# HELP x <u>help\nx 1\n")
    page = service.get("/groups").text
    assert "&lt;b&gt;bold" in page
    assert "<u>" not in page
    assert "<b>" not in page


@UNCHECKED
def test_left_out_series_are_counted(service: Service) -> None:
    """First table: unchecked, pushgateway_inconsistent_series says how many series the exposition leaves out."""
    service.wipe()
    assert service.scrape().value("pushgateway_inconsistent_series") == 0
    service.push("job/a/l/v", b"x 1\ny 1\n")
    service.push("job/a", b'x{l="v"} 2\nx{l="w"} 3\n')
    service.push("job/b", b'# TYPE y counter\ny{m="1"} 1\ny{m="2"} 2\n')
    scrape = service.scrape()
    assert scrape.problems() == []
    # The older twin of x, and both series of the younger type of y.
    assert scrape.value("pushgateway_inconsistent_series") == 3
    service.delete("job/b")
    service.delete("job/a")
    scrape = service.scrape()
    assert scrape.value("pushgateway_inconsistent_series") == 0
    assert show(scrape) == ['x{instance="",job="a",l="v"} 1', 'y{instance="",job="a",l="v"} 1']


@UNCHECKED
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"x 1 123\n", id="timestamp"),
        pytest.param(b'x{__a="b"} 1\n', id="reserved label"),
        pytest.param(b"x 1\nx 2\n", id="series twice in the push"),
        pytest.param(b"process_open_fds 1\n", id="own metric of another type"),
    ],
)
def test_unchecked_pushes_never_break_a_scrape(service: Service, body: bytes) -> None:
    """First table: what no exposition can hold is refused unchecked too, or left out; scrapes stay valid."""
    service.wipe()
    service.push("job/b", b"good 1\n")
    assert service.push("job/a", body).status in (202, 400)
    scrape = service.scrape()
    assert scrape.problems() == []
    assert 'good{instance="",job="b"} 1' in show(scrape)


@UNCHECKED
def test_unchecked_timestamps_set_the_failure_time(service: Service) -> None:
    """Section F1: a timestamp is refused even unchecked, and the group gets its failure time."""
    service.wipe()
    assert service.push("job/a", b"x 1 123\n").status in (202, 400)
    assert group_states(service.scrape()) == {'instance="",job="a"': "refused"}


@OURS
def test_shapes_of_a_job_are_limited(service: Service) -> None:
    """First table: a job's 65th set of label names is refused with the limit's name, until another is deleted."""
    service.wipe()
    for number in range(63):
        assert service.push(f"job/a/l{number}/v", b"").status == 200
    assert service.push("job/a", b"").status == 200
    refused = service.push("job/a/one/too/many/x", b"")
    assert (refused.status, "limit shapes-per-job exceeded" in refused.text) == (400, True)
    assert service.push("job/b/one/too/many/x", b"").status == 200
    service.delete("job/a/l7/v")
    assert service.push("job/a/one/too/many/x", b"").status == 200


def test_pushes_to_a_store_that_cannot_be_written_are_answered_503(own_gateway: Gateway) -> None:
    """First table: without its database pushes get 503 and the reason; scrapes go on, health is green and says so."""
    own_gateway.push("job/a", b"x 1\n")
    assert own_gateway.scrape().value("pushgateway_store_writable") == 1
    for path in own_gateway.directory.glob("pushgateway.db*"):
        path.unlink()
    refused = own_gateway.push("job/a", b"x 2\n")
    assert (refused.status, "deleted" in refused.text) == (503, True)
    assert refused.header("Retry-After") is not None
    for path in ("/-/healthy", "/-/ready"):
        health = own_gateway.get(path)
        assert (health.status, "deleted" in health.text) == (200, True)
    scrape = own_gateway.scrape()
    assert scrape.value("pushgateway_store_writable") == 0
    assert scrape.value("x", job="a") == 1


def test_push_time_survives_a_restart(own_gateway: Gateway) -> None:
    """Section H: labels, help, types and times are there after a restart, as they were."""
    own_gateway.push("job/a/l/v", b'# HELP x help \\\\ text\n# TYPE x counter\nx{m="\\n"} 1\n')
    own_gateway.push("job/b", b"x 1\nx 2\n")
    names = ("x", "push_time_seconds", "push_failure_time_seconds")
    before = [own_gateway.scrape()[name] for name in names]
    own_gateway.restart()
    assert [own_gateway.scrape()[name] for name in names] == before


def test_persistence_file_and_interval_are_accepted(record_property: Callable[[str, object], None]) -> None:
    """First table: --persistence.file names the database; --persistence.interval is taken and warned of once."""
    record_property("contract_row", "gateway")
    with Gateway("--persistence.file=own.db", "--persistence.interval=1h30m") as gateway:
        gateway.push("job/a", b"x 1\n")
        assert (gateway.directory / "own.db").exists()
        assert gateway.log().count("persistence.interval") == 1
        flags = json.loads(gateway.get("/api/v1/status").body)["data"]["flags"]
        assert (flags["persistence.file"], flags["persistence.interval"]) == ("own.db", "1h30m0s")
        gateway.restart()
        assert gateway.scrape().value("x", job="a") == 1


def test_a_foreign_file_is_refused_at_start(record_property: Callable[[str, object], None]) -> None:
    """First table: a persistence file of the original ends the start with exit code 1, and stays as it was."""
    record_property("contract_row", "gateway")
    gateway = Gateway("--persistence.file=gob")
    path = gateway.directory / "gob"
    foreign = b"\x0e\xff\x81\x04\x01\x02\xff\x82\x00\x01\x0c\x01\xff\x80\x00\x00" * 64
    path.write_bytes(foreign)
    gateway.start(wait=False)
    assert gateway.wait() == 1
    assert path.read_bytes() == foreign
    assert "gob" in gateway.log()
    assert [entry.name for entry in gateway.directory.iterdir()] == ["gob"]
