from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from pushgateway.memory import LargeTurns, OneProcess, give_memory_back, map_large_blocks, share_with_forks, trim_heap


def test_one_process_at_a_time() -> None:
    """What one process holds, a child of it has to wait for, and gets when that process lets go or is killed."""
    held = OneProcess()
    ready, told = os.pipe()
    first = os.fork()
    if first == 0:
        with held:
            os.write(told, b"1")
            signal.pause()
    assert os.read(ready, 1) == b"1"
    second = os.fork()
    if second == 0:
        with held:
            os.write(told, b"2")
        os._exit(0)
    os.set_blocking(ready, False)
    try:
        assert os.read(ready, 1) == b""
    except BlockingIOError:
        os.set_blocking(ready, True)
    os.kill(first, signal.SIGKILL)
    assert os.read(ready, 1) == b"2"
    assert os.waitpid(first, 0)[1] == signal.SIGKILL
    assert os.waitpid(second, 0)[1] == 0
    with held:
        pass


def test_what_there_is_before_a_fork_is_left_alone_by_the_collector() -> None:
    """The collector does not look at it any more, and so no page of it is copied for that."""
    try:
        share_with_forks()
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()


def test_large_blocks_go_back_when_they_are_freed() -> None:
    """Blocks of 20 MB do not stay, however many were there before."""
    program = f"""
from pathlib import Path
from {map_large_blocks.__module__} import {map_large_blocks.__name__}

def resident_pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

{map_large_blocks.__name__}()
before = resident_pages()
for size in (20_000_000, 10_000_000, 20_000_000):
    block, other = bytes(range(250)) * (size // 250), b"x" * 1_000_000
    del block
print(resident_pages() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 4096 < 5_000_000


def test_memory_is_given_back() -> None:
    """It can be done at any time, and again."""
    give_memory_back()
    give_memory_back()
    trim_heap()


def test_large_turns_are_taken_one_after_the_other() -> None:
    """What is small is made at once by all; after something large has been made, one waits for the other."""
    turns = LargeTurns(large_bytes=100)
    together = threading.Barrier(2, timeout=10)
    inside: list[int] = []
    most: list[int] = []

    def make(wait: bool) -> None:
        with turns.turn():
            inside.append(1)
            if wait:
                together.wait()
            most.append(len(inside))
            inside.pop()

    with ThreadPoolExecutor(2) as threads:
        turns.made(100)
        list(threads.map(make, (True, True)))
        assert max(most) == 2
        most.clear()
        turns.made(101)
        list(threads.map(make, [False] * 50))
        assert max(most) == 1
