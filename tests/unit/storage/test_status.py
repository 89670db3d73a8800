"""Do all processes read what one of them noted?"""

from __future__ import annotations

import subprocess
import sys
import threading

from pushgateway.storage import StatusBoard

# In a process of its own: this one may have threads, beside which nobody should fork.
FORK = """
import os
from pushgateway.storage import StatusBoard

board = StatusBoard()
board.note("from the parent")
child = os.fork()
if not child:
    inherited = board.reason() == "from the parent"
    board.note("from the child")
    os._exit(0 if inherited else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert board.reason() == "from the child"
"""


def test_notes_replace_each_other() -> None:
    """The board starts empty, and holds the last note."""
    board = StatusBoard()
    assert board.reason() == ""
    for reason in ("the disk is full", "réparé", "", "again"):
        board.note(reason)
        assert board.reason() == reason


def test_long_notes_are_cut() -> None:
    """A note longer than the board is cut between characters."""
    board = StatusBoard()
    board.note("é" * 5_000)
    assert set(board.reason()) == {"é"}
    assert len(board.reason()) == (4096 - 6) // 2
    board.note("short")
    assert board.reason() == "short"


def test_inherited_over_a_fork() -> None:
    """Parent and child read what the other noted."""
    subprocess.run([sys.executable, "-c", FORK], check=True)


def test_half_a_note_is_never_read() -> None:
    """A reader beside a writer sees one whole note or another."""
    board = StatusBoard()
    notes = ["a" * 4_000, "b" * 3_000, ""]
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for note in notes:
                board.note(note)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert {board.reason() for _ in range(2_000)} <= set(notes)
    finally:
        stop.set()
        writer.join()


def test_a_note_that_was_never_finished() -> None:
    """A note whose writer died in the middle reads as a failure, and the next one mends it."""
    board = StatusBoard()
    board.note("the disk is full")
    board._reason._memory[8:10] = b"??"
    assert "last write failed" in board.reason()
    board.note("")
    assert board.reason() == ""


def test_files_in_use() -> None:
    """The identities of the files in use are kept beside the note, as large as the system makes them."""
    board = StatusBoard()
    assert board.files() == ()
    files = ((2**64 - 1, 1), (66, 2**63), (0, 3))
    board.note_files(files)
    board.note("the disk is full")
    assert (board.files(), board.reason()) == (files, "the disk is full")
    board.note_files(())
    assert board.files() == ()
