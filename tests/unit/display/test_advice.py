from __future__ import annotations

import re
from pathlib import Path

import pytest

from pushgateway.display.advice import advice

PUSHGATEWAY = Path(__file__).parents[3] / "pushgateway"


@pytest.mark.parametrize(
    ("kind", "reason", "words"),
    [
        ("grouping_key", 'odd number of components in label string "/l"', "LABEL@base64/VALUE"),
        ("grouping_key", "job name is required", "/metrics/job/NAME"),
        ("grouping_key", 'improper label name "1x"', "letters, digits and underscores"),
        ("parse", "text format parsing error in line 1: unexpected end of input stream", "line feed"),
        ("parse", r'text format parsing error in line 1: expected float as value, got "1\r"', "line feeds alone"),
        ("parse", 'text format parsing error in line 1: expected float as value, got "1.5GB"', "without a unit"),
        ("parse", "gzip: invalid header", "Content-Encoding"),
        ("inconsistent", 'pushed metrics must not have timestamps, as "x" has', "Leave the timestamps out"),
        ("inconsistent", "x was collected before with the same name and label values", "grouping key"),
        ("inconsistent", "gathered metric family process_open_fds has type UNTYPED but should", "gateway's own"),
        ("inconsistent", 'collected metric "x" is not a GAUGE: it was pushed as COUNTER', "one name space"),
        ("inconsistent", 'metric named "h_count" collides with previously collected histogram', "NAME_count"),
        ("inconsistent", 'collected metric "x" has a label with an invalid name: __a', "two underscores"),
        ("inconsistent", "an invalid native histogram", "Mend what the reason names"),
        ("unsupported_media", "", "Content-Type"),
        ("store_unwritable", "disk full", "without a restart"),
        ("internal", "", "traceback"),
        ("something new", "", "Mend what the reason names"),
    ],
)
def test_each_refusal_comes_with_what_mends_it(kind: str, reason: str, words: str) -> None:
    """The kind of an error, and what its reason says, lead to words that tell what to do."""
    assert words in advice(kind, reason=reason).text


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("series", "Delete groups"),
        ("body-bytes", "Push less at a time"),
        ("value-bytes", "Shorten it"),
        ("request-seconds", "network"),
        ("connections", "try again"),
        ("a-new-one", "raise the limit"),
    ],
)
def test_each_limit_comes_with_what_mends_it(limit: str, words: str) -> None:
    """What to do about a limit depends on which it is."""
    assert words in advice("limit", limit=limit).text


def test_every_kind_of_error_and_every_limit_has_a_row() -> None:
    """No error that the gateway knows is left with the words for one that it does not know."""
    answers = (PUSHGATEWAY / "web/responses.py").read_text()
    kinds = set(re.findall(r'_Kind\(\d+, "(\w+)"', answers)) | set(re.findall(r'_error\(\d+, "(\w+)"', answers))
    unknown, any_limit = advice("?"), advice("limit", limit="?")
    assert {kind for kind in kinds if advice(kind) == unknown} == {"request"}
    sources = "".join(path.read_text() for path in PUSHGATEWAY.rglob("*.py"))
    limits = set(re.findall(r'LimitError\("([a-z-]+)"', sources)) | {"groups", "families", "series"}
    assert {limit for limit in limits if advice("limit", limit=limit) == any_limit} <= {"header-bytes", "headers"}
