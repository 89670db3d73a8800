"""Is progress a line that changes on a terminal, and a line every 10 % elsewhere?"""

from __future__ import annotations

import io

from pushgateway.commands.progress import Progress


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Return that it is."""
        return True


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


def test_a_line_every_tenth() -> None:
    """Without a terminal there is a line whenever another 10 % is done, however uneven the steps."""
    stream = io.StringIO()
    with Progress("importing", "groups", stream=stream) as progress:
        for done in (0, 1, 9, 10, 11, 35, 99, 100):
            progress.show(done, 100)
    assert stream.getvalue().splitlines() == [
        f"pushgateway: importing: {done} of 100 groups" for done in (10, 35, 99, 100)
    ]


def test_nothing_to_do() -> None:
    """Where there is nothing to do there is nothing to say."""
    stream = io.StringIO()
    with Progress("importing", "groups", stream=stream) as progress:
        progress.show(0, 0)
    assert stream.getvalue() == ""


def test_silent_without_a_terminal() -> None:
    """A command may want its progress on a terminal only."""
    stream = io.StringIO()
    with Progress("copying", "MiB", stream=stream, lines=False) as progress:
        progress.show(5, 10)
    assert stream.getvalue() == ""


def test_a_line_that_changes() -> None:
    """On a terminal one line changes, at most ten times a second, and is gone at the end."""
    stream, clock = Terminal(), Clock()
    with Progress("copying", "MiB", stream=stream, lines=False, clock=clock) as progress:
        progress.show(1, 4)
        clock.seconds = 0.05
        progress.show(2, 4)
        clock.seconds = 0.11
        progress.show(3, 4)
    clear = "\r\x1b[K"
    assert stream.getvalue() == (
        f"{clear}pushgateway: copying: 1 of 4 MiB{clear}pushgateway: copying: 3 of 4 MiB{clear}"
    )
