"""How does a row of the contract become a test of a running gateway, ours and the original?

The tables under tests/data/contract/ hold one row a promise of the contract. A row sends one or several requests and
says what must be answered and what must be exposed afterwards. Every row runs against our gateway, and against the Go
Pushgateway too (version 1.5.1, the one that Debian packages), so that nobody can misread the contract unnoticed; but
for rows with ``original = "why not"``.

A row's keys::

    id        one sentence: the promise
    original  why the row is not run against the original: what differs there
    flags     the flag set of FLAG_SETS that it runs with; "admin" by default
    steps     requests in order, each {put|post|delete|wipe = path, body, latin1, headers, status, error, line}
    body      short for one POST to job/a (also latin1, headers, status, error, line); `lines` are then without the
              labels job and instance
    protobuf  instead of body: messages in protobuf's text format, sent as delimited protobuf; `hex`: its bytes
    refused   short for: the push is refused by the consistency check, and the group has only a failure time
    lines     all exposed sample lines with a job label, in order, but for the two push times
    groups    labels of push_time_seconds -> "pushed" | "refused" (never pushed) | "failed" (pushed, and refused once)
    types     family -> exposed type
    helps     family -> exposed help, "" for none
    quoted    as `lines`, for a scraper that asks for escaping=allow-utf-8

What a table's `defaults` say holds for each row that does not say it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from pushgateway.formats.protobuf_encode import encode_varint
from pushgateway.formats.protobuf_messages import family_class
from tests.exposition import LABEL_NAME, Exposition, Line
from tests.exposition import NAME as METRIC_NAME
from tests.harness import Reply, Service, poll

MetricFamilyMessage = family_class()

__all__ = ["DATA", "FLAG_SETS", "PROTOBUF", "Row", "cases", "check_row", "load", "show"]

DATA = Path(__file__).parent / "data" / "contract"
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
TIMES = ("push_time_seconds", "push_failure_time_seconds")

FLAG_SETS: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "admin": ("--web.enable-admin-api",),
    "prefix": ("--web.route-prefix=pfx/", "--web.telemetry-path=/tele", "--web.enable-admin-api"),
    "external": ("--web.external-url=http://example.org/ext/",),
    "lenient": ("--push.lenient-line-endings", "--web.enable-admin-api"),
    "unchecked": ("--push.disable-consistency-check", "--web.enable-admin-api"),
    "utf8": ("--push.enable-utf8-names", "--web.enable-admin-api"),
}
PREFIXES = {"prefix": "/pfx", "external": "/ext"}


@dataclass(frozen=True, slots=True)
class Step:
    """One request and what it must be answered with."""

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str]
    status: int
    error: tuple[str, ...]
    line: int | None


@dataclass(frozen=True, slots=True)
class Row:
    """A promise of the contract, as the table says it."""

    id: str
    flags: str
    original: str
    steps: tuple[Step, ...]
    lines: tuple[str, ...] | None
    groups: Mapping[str, str] | None
    types: Mapping[str, str] = field(default_factory=dict)
    helps: Mapping[str, str] = field(default_factory=dict)
    quoted: tuple[str, ...] | None = None
    strip: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict)


def load(file: str) -> list[dict[str, Any]]:
    """Read the rows of a table."""
    table = tomllib.loads((DATA / file).read_text())
    return [table.get("defaults", {}) | row for row in table["row"]]


def read_row(raw: dict[str, Any]) -> Row:
    """Normalise a row of requests."""
    shorthand = "steps" not in raw
    steps = tuple(read_step(step) for step in ([raw | {"post": "job/a"}] if shorthand else raw["steps"]))
    lines, groups = raw.get("lines"), raw.get("groups")
    if shorthand:
        accepted = steps[0].status < 400
        lines = lines if accepted else []
        state = "pushed" if accepted else "refused"
        groups = {'instance="",job="a"': state} if accepted or raw.get("refused") else {}
    return Row(
        raw["id"],
        raw.get("flags", "admin"),
        raw.get("original", ""),
        steps,
        None if lines is None else tuple(lines),
        groups,
        raw.get("types", {}),
        raw.get("helps", {}),
        tuple(raw["quoted"]) if "quoted" in raw else None,
        shorthand,
    )


def read_step(raw: Mapping[str, Any]) -> Step:
    """Normalise one request."""
    method = next(verb for verb in ("put", "post", "delete", "wipe") if verb in raw)
    error = raw.get("error", ())
    return Step(
        method.upper(),
        raw[method],
        _body(raw),
        ({"Content-Type": PROTOBUF} if {"protobuf", "hex"} & raw.keys() else {}) | raw.get("headers", {}),
        raw.get("status", 202 if method in ("delete", "wipe") else 200),
        (error,) if isinstance(error, str) else tuple(error),
        raw.get("line"),
    )


def _body(raw: Mapping[str, Any]) -> bytes:
    if "protobuf" in raw:
        messages = [text_format.Parse(text, MetricFamilyMessage()).SerializeToString() for text in raw["protobuf"]]
        return b"".join(encode_varint(len(message)) + message for message in messages)
    if "hex" in raw:
        return bytes.fromhex(raw["hex"])
    return raw["latin1"].encode("latin-1") if "latin1" in raw else raw.get("body", "").encode()


def cases(file: str) -> list[Any]:
    """Return the parameters (service, row) of a table.

    Each row is for ours with each kind of store, and for the original where it is the same.
    """
    rows = [read_row(raw) for raw in load(file)]
    sentences = [row.id for row in rows]
    assert len(set(sentences)) == len(sentences), f"{file}: an id twice: {sorted(sentences)}"
    ours = [pytest.param(("gateway", row.flags), row, id=row.id) for row in rows]
    shared = [pytest.param(("postgres", row.flags), row, id=f"{row.id} (postgres)") for row in rows]
    theirs = [pytest.param(("original", row.flags), row, id=f"{row.id} (original)") for row in rows if not row.original]
    return ours + shared + theirs


def check_row(service: Service, row: Row) -> None:
    """Send a row's requests to an empty gateway, and compare every answer and the scrape after them."""
    service.wipe()
    for step in row.steps:
        target = (
            f"{service.prefix}/api/v1/admin/wipe" if step.method == "WIPE" else f"{service.prefix}/metrics/{step.path}"
        )
        reply = service.request(step.method if step.method != "WIPE" else "PUT", target, step.body, step.headers)
        check_answer(step, reply)
    if service.name == "prometheus-pushgateway" and any(step.status == 202 for step in row.steps):
        # The original answers 202 before it has stored or deleted anything.
        poll(lambda: differences(service.scrape(), row) == [], seconds=5, what=f"{row.id}: {row.lines} {row.groups}")
    assert differences(service.scrape(), row) == []
    if row.quoted is not None:
        accept = {"Accept": "text/plain;version=0.0.4;escaping=allow-utf-8"}
        assert show(service.scrape(accept, quoted_names=True), strip=row.strip) == list(row.quoted)


def differences(exposition: Exposition, row: Row) -> list[tuple[object, object]]:
    """Return (what is exposed, what a row says of it) where they differ."""
    pairs: list[tuple[object, object]] = [
        ({name: exposition[name].type for name in row.types if exposition.has(name)}, row.types),
        ({name: exposition[name].help or "" for name in row.helps if exposition.has(name)}, row.helps),
    ]
    if row.lines is not None:
        pairs.append((show(exposition, strip=row.strip), list(row.lines)))
    if row.groups is not None:
        pairs.append((group_states(exposition), row.groups))
    return [pair for pair in pairs if pair[0] != pair[1]]


def check_answer(step: Step, reply: Reply) -> None:
    """Compare one answer with what a step says of it."""
    assert reply.status == step.status, f"{step}: {reply.status} {reply.text}"
    if step.status < 400:
        assert reply.body == b"", reply
        return
    assert reply.header("Content-Type") == "text/plain; charset=utf-8"
    assert reply.text.endswith("\n")
    for fragment in step.error:
        assert fragment in reply.text, f"{fragment!r} is not in {reply.text!r}"
    if step.line is not None:
        assert f"text format parsing error in line {step.line}: " in reply.text


def show(exposition: Exposition, *, strip: bool = False) -> list[str]:
    """Write the pushed sample lines as the table does; with `strip`, without the labels job and instance."""
    pushed = [line for line in exposition.lines() if "job" in line.label_map and line.name not in TIMES]
    return [write_line(line, {"job", "instance"} if strip else set()) for line in pushed]


def write_line(line: Line, hidden: set[str]) -> str:
    """Write a line in exposition format but for some labels."""
    labels = [write_label(*pair) for pair in line.labels if pair[0] not in hidden]
    if not re.fullmatch(METRIC_NAME, line.name):
        return f"{{{','.join([quote(line.name), *labels])}}} {line.value}"
    return f"{line.name}{{{','.join(labels)}}} {line.value}" if labels else f"{line.name} {line.value}"


def write_label(name: str, value: str) -> str:
    """Write a label in exposition format."""
    return f"{name if re.fullmatch(LABEL_NAME, name) else quote(name)}={quote(value)}"


def quote(text: str) -> str:
    """Write a value, or a name that needs it, in quotes."""
    return '"' + re.sub(r'([\\"])', r"\\\1", text).replace("\n", r"\n") + '"'


def group_states(exposition: Exposition) -> dict[str, str]:
    """Say of each group how its pushes went."""
    if not exposition.has("push_time_seconds"):
        return {}
    pushed, failed = ({line.labels: float(line.value) for line in exposition[name].lines} for name in TIMES)
    assert pushed.keys() == failed.keys()
    states = {(True, False): "pushed", (True, True): "failed", (False, True): "refused"}
    return {
        ",".join(write_label(*pair) for pair in labels): states[pushed[labels] > 0, failed[labels] > 0]
        for labels in pushed
    }
