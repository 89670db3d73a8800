"""What does a log take with it?"""

from __future__ import annotations

import logging

import pytest

from pushgateway.loglines import Log
from tests.lines import logged


def test_an_event_keeps_what_belongs_to_it() -> None:
    """Events are written as they are, percent signs too, and what belongs to them stays apart."""
    with logged() as lines:
        Log("x").warning("100 % full", directory="/srv/%s")
    assert lines == [{"event": "100 % full", "log_level": "warning", "directory": "/srv/%s"}]


def test_the_caller_is_who_has_called(caplog: pytest.LogCaptureFixture) -> None:
    """A line names the file of whoever says something, whichever verb it takes."""
    log = Log("x")
    with caplog.at_level(logging.DEBUG):
        log.debug("a")
        log.log(logging.INFO, "b")
        log.exception("c")
    assert {record.filename for record in caplog.records} == {"test_loglines.py"}
    assert {record.funcName for record in caplog.records} == {"test_the_caller_is_who_has_called"}


def test_what_nobody_wants_is_not_written(caplog: pytest.LogCaptureFixture) -> None:
    """Below the level nothing is written, and whoever asks is told so."""
    with caplog.at_level(logging.WARNING):
        Log("x").info("a")
        assert not Log("x").wants(logging.INFO)
        assert Log("x").wants(logging.WARNING)
    assert caplog.records == []
