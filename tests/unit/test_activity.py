"""Does the board tell what was pushed in the last hour, whatever processes and clocks do?"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushgateway.activity import MINUTES, RANKED, ActivityBoard, Pusher
from pushgateway.model import GroupingKey, MetricType, StoredFamily
from tests.lines import logged

NOW = 1_700_000_000.0


def family(samples: int = 1) -> StoredFamily:
    """Make a family of so many samples."""
    return StoredFamily("x", MetricType.UNTYPED, "", b"", b"", (), b"", samples)


def push(board: ActivityBoard, job: str = "a", **changes: Any) -> None:
    """Note a push of a job."""
    values: dict[str, Any] = {"at_seconds": NOW, "duration_seconds": 0.5, "body_bytes": 10, "families": [family()]}
    board.note_push(GroupingKey.of({"job": job}), **values | changes)


def counts(board: ActivityBoard, now_seconds: float = NOW) -> dict[int, tuple[int, int]]:
    """Return the minutes that are not 0, by how many minutes ago they were."""
    minutes = board.recent(now_seconds).minutes
    last = minutes[-1].at_seconds
    return {
        round((last - one.at_seconds) / 60): (one.pushes, one.refusals) for one in minutes if one.pushes or one.refusals
    }


def jobs(pushers: tuple[Pusher, ...]) -> list[str]:
    """Return the jobs of a ranking."""
    return [dict(one.group)["job"] for one in pushers]


def test_an_hour_of_nothing() -> None:
    """Before the first push there are 60 minutes of zeros, which end with the current one."""
    activity = ActivityBoard().recent(NOW)
    assert [one.at_seconds for one in activity.minutes] == [NOW - NOW % 60 - 60 * ago for ago in range(59, -1, -1)]
    assert {(one.pushes, one.refusals) for one in activity.minutes} == {(0, 0)}
    assert (activity.slowest, activity.largest) == ((), ())


def test_counts_go_by_the_minute() -> None:
    """Pushes and refusals count in their minute, minutes without any are 0, and an hour later all are gone."""
    board = ActivityBoard()
    for at in (NOW - 120, NOW - 120, NOW):
        push(board, at_seconds=at)
    board.note_refusal(NOW - 120)
    board.note_refusal(NOW - 60 * 30)
    assert counts(board) == {0: (1, 0), 2: (2, 1), 30: (0, 1)}
    assert counts(board, NOW + 60 * 58) == {58: (1, 0)}
    assert counts(board, NOW + 60 * 60) == {}


@settings(max_examples=50)
@given(steps=st.lists(st.sampled_from([0, 1, 61, -61, 600, -600, 3_840, -3_840, 86_400, -86_400]), max_size=30))
def test_clock_jumps(steps: list[int]) -> None:
    """Whatever the clock does, each of the last minutes holds what was counted while the clock showed it last."""
    board, now = ActivityBoard(), NOW
    counted: dict[int, dict[int, int]] = {}
    for step in steps:
        now += step
        minute = int(now // 60)
        push(board, at_seconds=now)
        place = counted.setdefault(minute % 64, {})
        counted[minute % 64] = {minute: place.get(minute, 0) + 1}
    last = int(now // 60)
    expected = {last - minute: (count, 0) for place in counted.values() for minute, count in place.items()}
    assert counts(board, now) == {ago: count for ago, count in expected.items() if 0 <= ago < MINUTES}


@pytest.mark.parametrize("at_seconds", [-1e9, 0.0, 4e9, 1e15])
def test_clocks_that_are_far_off(at_seconds: float) -> None:
    """A clock that shows another century disturbs nothing: what comes when it is right again is counted."""
    board = ActivityBoard()
    push(board, at_seconds=at_seconds)
    board.recent(at_seconds)
    push(board)
    assert counts(board) == {0: (1, 0)}


def test_the_slowest_and_the_largest_are_ranked() -> None:
    """A group is ranked once, with its slowest or largest push, and ten are."""
    board = ActivityBoard()
    for number in range(30):
        push(board, f"j{number}", duration_seconds=number / 10, body_bytes=1_000 - number, families=[family(number)])
    push(board, "j20", duration_seconds=9.5, body_bytes=1, families=[family(3), family(4)], at_seconds=NOW + 1)
    push(board, "j20", duration_seconds=0.1, body_bytes=990)
    activity = board.recent(NOW)
    assert jobs(activity.slowest) == ["j20", *(f"j{number}" for number in (29, 28, 27, 26, 25, 24, 23, 22, 21))]
    assert jobs(activity.largest) == [f"j{number}" for number in range(9)] + ["j9"]
    assert activity.slowest[0] == Pusher((("job", "j20"),), False, NOW + 1, 9.5, 1, 7)
    assert len(activity.slowest) == RANKED


def test_rankings_are_of_the_last_hour() -> None:
    """A push leaves the rankings after an hour; its group's next one of that hour stands for it then."""
    board = ActivityBoard()
    push(board, "old", duration_seconds=9.0)
    push(board, "both", duration_seconds=8.0)
    push(board, "both", duration_seconds=1.0, at_seconds=NOW + 60 * 30)
    for minute in (0, 45, 59):
        activity = board.recent(NOW + 60 * minute)
        assert [one.duration_seconds for one in activity.slowest] == [9.0, 8.0]
    activity = board.recent(NOW + 60 * 60)
    assert [(dict(one.group)["job"], one.duration_seconds) for one in activity.slowest] == [("both", 1.0)]
    assert board.recent(NOW + 60 * 90).slowest == ()


def test_rankings_after_the_clock_was_set_back() -> None:
    """A clock that goes back and forth loses nobody who was ranked while it showed that time before."""
    board = ActivityBoard()
    push(board, "a", duration_seconds=1.0)
    push(board, "b", duration_seconds=2.0, at_seconds=NOW - 60 * 20)
    push(board, "c", duration_seconds=3.0)
    assert jobs(board.recent(NOW).slowest) == ["c", "b", "a"]


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=400)


@settings(max_examples=100)
@given(labels=st.dictionaries(texts, texts, max_size=20), job=texts)
def test_keys_of_any_length(labels: dict[str, str], job: str) -> None:
    """A key that fits is whole; of another one some labels stay, `job` among them, cut where they are long."""
    key = GroupingKey.of({**labels, "job": job})
    board = ActivityBoard()
    push(board, "before")
    values: dict[str, Any] = {"at_seconds": NOW, "duration_seconds": 9.0, "body_bytes": 1}
    board.note_push(key, families=[], **values)
    push(board, "after")
    slowest = board.recent(NOW).slowest
    assert sorted(jobs(slowest[1:])) == ["after", "before"]
    found = slowest[0]
    assert found.cut == (len(key.key.encode()) > 450 and found.group != key.labels)
    if not found.cut:
        assert found.group == key.labels
    assert dict(found.group)["job"] in {job, job[:21] + "..."}
    whole = [(name, value) for name, value in found.group if not name.endswith("...") and not value.endswith("...")]
    assert set(whole) <= set(key.labels)


def test_cut_keys_stay_apart() -> None:
    """Two groups of which the same is left are two groups."""
    board = ActivityBoard()
    for end in "xy":
        key = GroupingKey.of({"job": "a" * 1_000 + end})
        board.note_push(key, at_seconds=NOW, duration_seconds=1.0, body_bytes=1, families=[])
    assert [(dict(one.group)["job"], one.cut) for one in board.recent(NOW).slowest] == [("a" * 21 + "...", True)] * 2


def test_an_entry_that_was_never_finished() -> None:
    """An entry whose writer died in the middle is left out."""
    board = ActivityBoard()
    push(board, "half", duration_seconds=2.0)
    push(board, "whole")
    at = board._memory.find(b'[["job","half"]]')
    board._memory[at] = ord("?")
    assert jobs(board.recent(NOW).slowest) == ["whole"]


def test_noting_never_raises() -> None:
    """What cannot be noted is a line in the log; the client gets its answer all the same."""
    board = ActivityBoard()
    with logged() as lines:
        push(board, at_seconds=float("nan"))
        board.note_refusal(float("inf"))
    assert [line["event"] for line in lines] == ["activity not recorded"] * 2
    push(board)
    assert counts(board) == {0: (1, 0)}


def test_its_descriptor_is_closed_with_it() -> None:
    """A board that nobody uses any more leaves no open file."""
    board = ActivityBoard()
    push(board)
    taken = board._fd
    os.fstat(taken)
    del board
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(taken)


def test_threads_lose_nothing() -> None:
    """Threads of one process that push at once are all counted and ranked."""
    board = ActivityBoard()

    def work(first: int) -> None:
        for number in range(1_000):
            push(board, f"j{first}-{number}", body_bytes=number * 4 + first)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts(board) == {0: (4_000, 0)}
    assert [one.body_bytes for one in board.recent(NOW).largest] == list(range(3_999, 3_989, -1))


# In processes of their own: this one may have threads, beside which nobody should fork.
FORKED = """
import os, signal, time
from pushgateway.activity import ActivityBoard
from pushgateway.model import GroupingKey

NOW = 1_700_000_000.0
board = ActivityBoard()

def push(job, seconds=1.0):
    key = GroupingKey.of({"job": job})
    board.note_push(key, at_seconds=NOW, duration_seconds=seconds, body_bytes=1, families=[])

def pushed():
    return sum(minute.pushes for minute in board.recent(NOW).minutes)
"""

MANY_PROCESSES = """
children = []
for number in range(4):
    child = os.fork()
    if not child:
        for turn in range(500):
            push(f"j{turn}", number + turn / 1000)
        os._exit(0)
    children.append(child)
assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
assert pushed() == 2_000
slowest = board.recent(NOW).slowest
assert [(one.group[0][1], one.duration_seconds) for one in slowest[:2]] == [("j499", 3.499), ("j498", 3.498)], slowest
"""

KILLED = """
done = 0
for attempt in range(20):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        while True:
            push(f"j{attempt}", 1 + attempt)
            os.write(writing, b".")
    os.close(writing)
    done += len(os.read(reading, 1))
    time.sleep(0.002 * (attempt % 5))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while noted := len(os.read(reading, 1 << 16)):
        done += noted
    os.close(reading)
    assert done <= pushed() <= done + attempt + 1, (done, pushed())
ends = [one.group[0][1] for one in board.recent(NOW).slowest]
assert ends == [f"j{attempt}" for attempt in range(19, 9, -1)], ends
assert board._words[10_496:].tolist() == [0] * len(board._words[10_496:])
"""


@pytest.mark.parametrize("script", [MANY_PROCESSES, KILLED], ids=["many", "killed"])
def test_processes(script: str) -> None:
    """Processes share the board; a killed one takes nothing with it, and the next goes on in its place."""
    subprocess.run([sys.executable, "-c", FORKED + script], check=True, timeout=60)


def test_more_processes_than_stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that finds no stripe free counts nothing, and says nothing."""
    board = ActivityBoard()
    monkeypatch.setattr("pushgateway.activity._STRIPES", 0)
    push(board)
    board.note_refusal(NOW)
    monkeypatch.undo()
    assert counts(board) == {}
