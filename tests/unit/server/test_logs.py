"""Can what a client sends forge log lines, keys or values?"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushgateway.loglines import Log
from pushgateway.server import logs

HEAD = ["ts", "level", "caller", "msg"]

TEXT = st.one_of(
    st.text(st.characters(codec=None), max_size=40),  # lone surrogates too
    st.sampled_from(
        [
            'x level=error msg="forged"',
            "a\nts=1 level=error msg=forged",
            "a\nb",
            "a\\nb",
            "\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029",
            '"\\" =',
            "\\",
            "{}",
            "\x1b[2K\u202egnp.exe",
            "\udcff\udc80",
            '","level":"error","x":"',
        ]
    ),
)


@contextmanager
def written(*, level: str = "info", log_format: str = "json") -> Iterator[list[str]]:
    """Collect the lines that go to standard error, as whoever splits at everything sees them."""
    root = logging.getLogger()
    before, stderr = (root.handlers, root.level), sys.stderr
    # As Python makes it: nothing that is written there can fail.
    raw = io.BytesIO()
    stream = sys.stderr = io.TextIOWrapper(raw, "utf-8", errors="backslashreplace", newline="", write_through=True)
    found: list[str] = []
    try:
        logs.configure(level=level, log_format=log_format)
        yield found
    finally:
        sys.stderr = stderr
        root.handlers, root.level = before
    text = raw.getvalue().decode()
    stream.close()
    assert text.endswith("\n")
    found += text.splitlines()


PAIR = re.compile(r'(?P<key>[^ =]+)=(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^ ="]*))(?: |$)')
ESCAPES = {'"': '"', "\\": "\\", "n": "\n"}


def logfmt(line: str) -> list[tuple[str, str]]:
    """Read a line as logfmt, all of it."""
    pairs, at = [], 0
    while at < len(line):
        found = PAIR.match(line, at)
        assert found, (line, at)
        quoted = found["quoted"]
        text = found["plain"] if quoted is None else re.sub(r'\\(["n\\])', lambda one: ESCAPES[one[1]], quoted)
        pairs.append((found["key"], text))
        at = found.end()
    return pairs


@settings(max_examples=150)
@given(event=TEXT, path=TEXT, reason=TEXT)
def test_nothing_forges_logfmt(event: str, path: str, reason: str) -> None:
    """Whatever stands in the values, logfmt has one line with our keys in our order, and printable text is whole."""
    with written(log_format="logfmt") as lines:
        Log("x").warning(event, path=path, reason=reason)
    (line,) = lines
    pairs = logfmt(line)
    assert [key for key, _ in pairs] == [*HEAD, "path", "reason"]
    assert dict(pairs)["level"] == "warn"
    for key, value in (("msg", event), ("path", path), ("reason", reason)):
        if value.replace("\n", "").isprintable():
            assert dict(pairs)[key] == value


@settings(max_examples=150)
@given(event=TEXT, path=TEXT, reason=TEXT)
def test_nothing_forges_json(event: str, path: str, reason: str) -> None:
    """Whatever stands in the values, JSON is one line, one object with our keys, and reads as what was meant."""
    with written() as lines:
        Log("x").warning(event, path=path, reason=reason)
    (line,) = lines
    told = json.loads(line, object_pairs_hook=list)
    assert [key for key, _ in told] == [*HEAD, "path", "reason"]
    assert dict(told)["level"] == "warn"
    assert (dict(told)["msg"], dict(told)["path"], dict(told)["reason"]) == (event, path, reason)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e]", line)


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_huge_values_are_cut(log_format: str) -> None:
    """A value of a megabyte does not make a line of a megabyte; the line says how long it was."""
    with written(log_format=log_format) as lines:
        Log("x").warning("request refused", path="/" + "a" * 10**6)
    (line,) = lines
    assert len(line) < 5_000
    assert "aaa... (1000001 characters)" in line


def test_a_huge_exception_keeps_its_end() -> None:
    """Of a traceback that is too long the end is kept, where the error stands."""
    with written() as lines:
        try:
            {}["x" * 100_000 + " the end"]
        except KeyError:
            Log("x").exception("unexpected error")
    (line,) = lines
    told = json.loads(line)
    assert len(told["exception"]) < 40_000
    assert told["exception"].endswith("the end'")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warn", "error"]),
        ("info", ["info", "warn", "error"]),
        ("warn", ["warn", "error"]),
        ("error", ["error"]),
    ],
)
def test_levels(level: str, shown: list[str]) -> None:
    """Lines of the level and above are written, under the original's names for levels."""
    with written(level=level) as lines:
        for name in ("debug", "info", "warning", "error"):
            getattr(Log("x"), name)("event")
    assert [json.loads(line)["level"] for line in lines] == shown
