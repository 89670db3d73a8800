from __future__ import annotations

from typing import Any

import pytest

from tests.harness import Service
from tests.rows import group_states, load

BODY = b"x 1\n"


def url_cases() -> list[Any]:
    rows = load("urls.toml")
    ours = [pytest.param(("gateway", "admin"), row, row.get("key"), id=row["id"]) for row in rows]
    theirs = [
        pytest.param(("original", "admin"), row, row.get("theirs", row.get("key")), id=f"{row['id']} (original)")
        for row in rows
        if "original" not in row
    ]
    return ours + theirs


@pytest.mark.parametrize(("service", "row", "key"), url_cases(), indirect=["service"])
def test_path(service: Service, row: dict[str, Any], key: str | None) -> None:
    """Section B: which group a path names, or why it names none; the same for PUT, POST and DELETE."""
    service.wipe()
    path = row["path"]
    for method in ("PUT", "POST"):
        pushed = service.push(path, BODY, method=method)
        if key is None:
            assert (pushed.status, row["error"] in pushed.text) == (row["status"], True), pushed.text
            assert group_states(service.scrape()) == {}
        else:
            assert (pushed.status, pushed.body) == (200, b""), pushed.text
            assert group_states(service.scrape()) == {key: "pushed"}
    deleted = service.delete(path)
    if key is None:
        assert (deleted.status, row["error"] in deleted.text) == (row["status"], True), deleted.text
        return
    assert (deleted.status, deleted.body) == (202, b"")
    # A push that comes after the deletion is applied after it, in the original too, where deletions are asynchronous.
    service.push("job/other", BODY)
    assert group_states(service.scrape()) == {'instance="",job="other"': "pushed"}


@pytest.mark.parametrize(
    "service", [("gateway", "admin"), ("original", "admin")], indirect=True, ids=["ours", "original"]
)
def test_orders_of_labels_are_one_group(service: Service) -> None:
    """Section B10: paths that differ in the order of their labels, or in their encoding, name one group."""
    service.wipe()
    for path in ("job/a/b/1/c/2", "job/a/c/2/b/1", "job@base64/YQ/c@base64/Mg/b/1"):
        assert service.push(path, BODY).status == 200
    assert group_states(service.scrape()) == {'b="1",c="2",instance="",job="a"': "pushed"}


@pytest.mark.parametrize("service", [("gateway", "admin")], indirect=True)
def test_empty_labels_are_one_group(service: Service) -> None:
    """First table: keys that differ by empty labels only are one group, so a POST to either merges into it."""
    service.wipe()
    for number, path in enumerate(("job/a", "job/a/z/", "job/a/z@base64/=", "job/a/instance/", "job/a/y@base64/=/z/")):
        assert service.push(path, b"x%d 1\n" % number).status == 200
    scrape = service.scrape()
    assert group_states(scrape) == {'instance="",job="a"': "pushed"}
    assert [name for name in scrape.families if name.startswith("x")] == ["x0", "x1", "x2", "x3", "x4"]
    assert scrape.problems() == []
