"""Is one group found in a list of any length, however the list is cut into pieces?"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymetrics_sdk.errors import TransportError
from pymetrics_sdk.grouping import GroupingKey
from pymetrics_sdk.groups import MAX_LIST_BYTES, GroupSearch, find_group
from pymetrics_sdk.transport import Deadline, Response

LABELS = {"job": 'nä"]}ht', "shard": "3"}


def listing(*groups: dict[str, Any]) -> bytes:
    """What a gateway answers; like the original, with keys sorted, so that families may come before the labels."""
    return json.dumps({"status": "success", "data": groups}, ensure_ascii=False).encode()


GROUPS = (
    {"a": {"metrics": [{"value": "]}"}]}, "labels": {"job": LABELS["job"]}},
    {"batch_job_deadline_timestamp_seconds": {}, "labels": LABELS, "z": {}},
    {"labels": {"job": "other"}},
)


@given(sizes=st.lists(st.integers(1, 40), min_size=1), wanted=st.sampled_from(GROUPS))
def test_a_group_is_found_however_the_answer_is_cut(sizes: list[int], wanted: dict[str, Any]) -> None:
    """Pieces end in the middle of characters, strings and groups."""
    search = GroupSearch(wanted["labels"])
    rest, count = listing(*GROUPS), 0
    while rest:
        size = sizes[count % len(sizes)]
        more = search.take(rest[:size])
        rest, count = rest[size:], count + 1
        if not more:
            break
    search.end()
    assert search.found == wanted


def test_reading_ends_at_the_group_and_at_the_lists_end() -> None:
    """No byte more is wanted once the answer is known."""
    search = GroupSearch(LABELS)
    assert not search.take(listing(*GROUPS)[:-30])
    assert search.complete
    absent = GroupSearch({"job": "absent"})
    assert not absent.take(listing(*GROUPS))
    assert (absent.complete, absent.found) == (True, None)


@pytest.mark.parametrize("body", [b"<html>" * 100, b'{"status":"error","error":"x"}' * 10, b"[" * 300])
def test_what_is_no_list_of_groups_is_not_read_on(body: bytes) -> None:
    """A proxy's page, an error: nothing is known and nothing more is read."""
    search = GroupSearch(LABELS)
    assert not search.take(body)
    assert not search.complete


def test_the_limit_of_what_is_read() -> None:
    """A list beyond the limit is given up, and memory holds no more than one group of it."""
    search = GroupSearch(LABELS)
    piece = b"," + json.dumps({"labels": {"job": "x" * 60_000}}).encode()
    more = search.take(b'{"status":"success","data":[' + piece[1:])
    count = 1
    while more:
        more = search.take(piece)
        count += 1
    assert count * len(piece) >= MAX_LIST_BYTES
    assert not search.complete
    assert len(search._text) < 4 * len(piece)


class Client:
    """Gives one answer in pieces."""

    def __init__(self, body: bytes, *, status: int = 200) -> None:
        self.body, self.status = body, status

    def get(self, path: str, *, take: Any, **_: object) -> Response:
        """Give it."""
        if not self.status:
            raise TransportError("refused")
        for start in range(0, len(self.body), 1000):
            if not take(self.body[start : start + 1000]):
                break
        return Response(self.status)


@pytest.mark.parametrize(
    ("client", "families"),
    [
        (Client(listing(*GROUPS)), {"labels", "batch_job_deadline_timestamp_seconds", "z"}),
        (Client(listing()), set()),
        (Client(listing({"labels": {"job": "other"}, "a": {}})), set()),
        (Client(b'{"status":"success","data":null}'), set()),
        (Client(listing({"labels": {"job": "other"}})[:-2]), None),
        (Client(b"", status=404), None),
        (Client(b"", status=0), None),
    ],
    ids=["there", "no groups", "another", "null", "broken off", "404", "unreachable"],
)
def test_a_group_is_known_or_not(client: Any, families: set[str] | None) -> None:
    """Only a list read to the group, or to its end, says what the group has."""
    key = GroupingKey.of(LABELS["job"], {"shard": "3"})
    found = find_group(client, key, deadline=Deadline(1.0))
    assert (None if found is None else set(found)) == families
