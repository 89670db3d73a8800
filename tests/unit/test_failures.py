"""Does the list of failures keep what matters, whoever is killed while it is written?"""

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

from pushgateway.failures import CAPACITY, Failure, FailureRing
from tests.lines import logged

KEY = (("instance", "db1"), ("job", "backup"))


def failure(number: int = 0, **changes: Any) -> Failure:
    """Make a failure; its time is its number."""
    values: dict[str, Any] = {
        "at_seconds": float(number),
        "group": KEY,
        "path": "/metrics/job/backup/instance/db1",
        "method": "PUT",
        "source": "192.0.2.7",
        "status": 400,
        "kind": "parse",
        "reason": "text format parsing error in line 3: ...",
        "data": {"line": 3, "family": "x", "allowed": 0.5},
    }
    return Failure(**values | changes)


def test_newest_first() -> None:
    """Failures are listed as they were recorded, the newest first, as many as asked for."""
    ring = FailureRing()
    assert ring.recent() == []
    for number in range(5):
        ring.record(failure(number))
    assert ring.recent() == [failure(number) for number in (4, 3, 2, 1, 0)]
    assert ring.recent(2) == [failure(4), failure(3)]


def test_the_oldest_make_room() -> None:
    """There is room for so many; the next takes the place of the oldest."""
    ring = FailureRing()
    for number in range(CAPACITY + 10):
        ring.record(failure(number))
    assert [one.at_seconds for one in ring.recent()] == [float(n) for n in range(CAPACITY + 9, 9, -1)]


texts = st.text(st.characters(codec=None), max_size=6_000)
printable = st.text(st.characters(codec="utf-8"), max_size=60)


@settings(max_examples=100)
@given(
    group=st.none() | st.lists(st.tuples(printable, printable), max_size=4).map(tuple),
    path=printable,
    reason=printable,
    data=st.dictionaries(st.sampled_from(["family", "limit"]), printable),
)
def test_what_fits_is_whole(group: Any, path: str, reason: str, data: dict[str, str]) -> None:
    """Texts of usual length come back as they were."""
    ring = FailureRing()
    one = failure(group=group, path=path, reason=reason, data=data)
    ring.record(one)
    assert ring.recent() == [one]


@settings(max_examples=100)
@given(
    group=st.none() | st.lists(st.tuples(texts, texts), max_size=64).map(tuple),
    path=texts,
    method=texts,
    reason=texts,
    data=st.dictionaries(st.sampled_from(["family", "limit", "value", "header", "hint", "expected"]), texts),
)
def test_whatever_is_recorded_is_bounded(group: Any, path: str, method: str, reason: str, data: dict[str, str]) -> None:
    """A record of any size and any characters takes one slot, is UTF-8, and leaves its neighbours alone."""
    ring = FailureRing()
    ring.record(failure(1))
    ring.record(failure(2, group=group, path=path, method=method, reason=reason, data=data))
    ring.record(failure(3))
    newest, found, oldest = ring.recent()
    assert (newest, oldest) == (failure(3), failure(1))
    assert found.status == 400
    assert max(map(len, (found.path, found.method, found.reason))) <= 6 * 1024
    "".join((found.path, found.method, found.reason, *map(str, found.data.values()))).encode()


def test_longest_texts_are_cut_last() -> None:
    """What is too long for its slot keeps its beginning; many long labels leave the group out."""
    ring = FailureRing()
    ring.record(failure(reason="why " * 3_000))
    assert ring.recent()[0].reason == ("why " * 3_000)[:1021] + "..."
    ring.record(failure(group=tuple((f"label_{number}", "\x01" * 1_000) for number in range(64))))
    (found, _) = ring.recent()
    assert (found.group, found.data) == (None, {"line": 3, "allowed": 0.5})
    assert found.path == "/metrics/job/backup/instance/db1"


def test_a_record_that_was_never_finished() -> None:
    """A record whose writer died in the middle is left out, and the next ones are not affected."""
    ring = FailureRing()
    for number in range(3):
        ring.record(failure(number))
    at = ring._memory.find(b"[1.0")
    ring._memory[at + 40 : at + 44] = b"????"
    ring.record(failure(3))
    assert [one.at_seconds for one in ring.recent()] == [3.0, 2.0, 0.0]


def test_a_number_that_was_never_put_back() -> None:
    """A writer that died before it wrote makes the ring shorter by one; its slot's old record ages like any other."""
    ring = FailureRing()
    for number in range(CAPACITY):
        ring.record(failure(number))
    os.read(ring._take, 8)
    assert [one.at_seconds for one in ring.recent()] == [float(n) for n in range(CAPACITY - 1, -1, -1)]
    for number in range(CAPACITY, 3 * CAPACITY):
        ring.record(failure(number))
    assert [one.at_seconds for one in ring.recent()] == [float(n) for n in range(3 * CAPACITY - 1, 2 * CAPACITY, -1)]


def test_when_no_number_is_left() -> None:
    """When every slot is being written, what comes then is not recorded, and nobody waits."""
    ring = FailureRing()
    ring.record(failure(1))
    while True:
        try:
            os.read(ring._take, 8)
        except BlockingIOError:
            break
    with logged() as lines:
        ring.record(failure(2))
    assert ([one.at_seconds for one in ring.recent()], lines) == ([1.0], [])


def test_its_descriptors_are_closed_with_it() -> None:
    """A ring that nobody uses any more leaves no open file."""
    ring = FailureRing()
    taken = ring._take
    os.fstat(taken)
    del ring
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(taken)


def test_recording_never_raises() -> None:
    """What cannot be recorded is a line in the log; the client gets its answer all the same."""
    ring = FailureRing()
    with logged() as lines:
        ring.record(failure(data={"seen": object()}))
    assert [line["event"] for line in lines] == ["failure not recorded"]
    assert ring.recent() == []


def test_threads_lose_nothing() -> None:
    """Threads of one process that record at once get a slot each."""
    ring = FailureRing()

    def record(first: int) -> None:
        for number in range(first, first + 100):
            ring.record(failure(number))

    threads = [threading.Thread(target=record, args=(first,)) for first in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.at_seconds for one in ring.recent()) == [float(number) for number in range(400)]


# In processes of their own: this one may have threads, beside which nobody should fork.
FORKED = """
import os, signal, time
from pushgateway.failures import Failure, FailureRing

ring = FailureRing()

def record(seconds):
    ring.record(Failure(seconds, None, "/metrics/job/a", "PUT", "", 400, "parse", "no", {}))
"""

TWO_PROCESSES = """
children = []
for first in (0, 200):
    child = os.fork()
    if not child:
        for number in range(first, first + 200):
            record(float(number))
        os._exit(0)
    children.append(child)
assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
found = [one.at_seconds for one in ring.recent()]
for first in (0, 200):
    own = [at for at in found if first <= at < first + 200]
    assert own == [float(number) for number in range(first + 199, first - 1, -1)]
"""

KILLED_WHILE_RECORDING = """
for attempt in range(20):
    child = os.fork()
    if not child:
        while True:
            record(1.0)
    time.sleep(0.002 * (attempt % 5))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    record(2.0)
    assert ring.recent(1)[0].at_seconds == 2.0
    assert {one.reason for one in ring.recent()} == {"no"}
assert len(ring.recent()) > 512 - 20 - 2
"""


@pytest.mark.parametrize("script", [TWO_PROCESSES, KILLED_WHILE_RECORDING], ids=["two", "killed"])
def test_processes(script: str) -> None:
    """Processes share the list and lose nothing; one that is killed at any point keeps no other from recording."""
    subprocess.run([sys.executable, "-c", FORKED + script], check=True, timeout=60)
