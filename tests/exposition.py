"""Is this text a valid exposition in text format 0.0.4, and what does it say?

Written for tests, independent of the gateway's own parser, after the format's specification
(https://prometheus.io/docs/instrumenting/exposition_formats/), and stricter than any scraper: `Exposition.parse` takes
only well-formed text, `Exposition.problems` lists what Prometheus would drop or promtool refuse. Names in quotes, which
old scrapers do not know, are taken only where they are expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Self

__all__ = ["Exposition", "Family", "Line"]

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL_NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"
QUOTED = r'"(?:[^"\\\n]|\\[\\"n])*"'
LABEL = rf"(?:{LABEL_NAME}|{QUOTED})={QUOTED}"
COMMENT_RE = re.compile(rf"# (HELP|TYPE) ({NAME}|{QUOTED}) (.*)")
SAMPLE_RE = re.compile(
    rf"(?:(?P<name>{NAME})(?:\{{(?P<labels>{LABEL}(?:,{LABEL})*)\}})?"
    rf"|\{{(?P<quoted>{QUOTED})(?P<more>(?:,{LABEL})*)\}}) (?P<value>\S+)"
)
LABEL_RE = re.compile(rf"({LABEL_NAME}|{QUOTED})=({QUOTED})")
VALUE_RE = re.compile(r"[+-]Inf|NaN|-?[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]{2,})?")
ESCAPE_RE = re.compile(r'\\([\\"n])')
TYPES = frozenset({"counter", "gauge", "summary", "histogram", "untyped"})
PARTS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}


class Line(NamedTuple):
    """One sample line: its own name, its labels in the order of the text, its value as written."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: str

    @property
    def label_map(self) -> dict[str, str]:
        """The labels as a dict."""
        return dict(self.labels)

    @property
    def identity(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What Prometheus takes for the series: the name and the non-empty labels."""
        return self.name, tuple(sorted((name, value) for name, value in self.labels if value))


@dataclass
class Family:
    """A family as exposed; `help` is None without a HELP line."""

    name: str
    type: str
    help: str | None
    lines: list[Line] = field(default_factory=list)

    def one(self, **labels: str) -> Line:
        """Return the only line that has all of these labels."""
        found = [line for line in self.lines if labels.items() <= line.label_map.items()]
        assert len(found) == 1, f"{len(found)} lines of {self.name} with {labels}: {found}"
        return found[0]


@dataclass
class Exposition:
    """All families, in the order of the text."""

    text: str
    families: dict[str, Family]

    def __getitem__(self, name: str) -> Family:
        return self.families[name]

    def has(self, name: str) -> bool:
        """Whether a family is there."""
        return name in self.families

    def lines(self, **labels: str) -> list[Line]:
        """All sample lines, of all families, that have all of these labels."""
        return [line for line in self._all() if labels.items() <= line.label_map.items()]

    def value(self, name: str, **labels: str) -> float:
        """The value of the only line of a family that has all of these labels."""
        return float(self[name].one(**labels).value)

    def _all(self) -> Iterator[Line]:
        for family in self.families.values():
            yield from family.lines

    @classmethod
    def parse(cls, body: bytes, *, quoted_names: bool = False) -> Self:
        """Parse strictly; AssertionError names the line that is not what our renderer or the original's would write.

        Args:
            body: The exposition.
            quoted_names: Whether names may be in quotes, as for a scraper that asks for escaping=allow-utf-8; only
                those that have to be.
        """
        text = body.decode()
        assert not text or text.endswith("\n"), "the last line has no LF"
        families: dict[str, Family] = {}
        help_text: tuple[str, str] | None = None
        current: Family | None = None
        for number, line in enumerate(text.split("\n")[:-1], 1):
            where = f"line {number}: {line!r}"
            if comment := COMMENT_RE.fullmatch(line):
                kind, name, rest = comment.groups()
                name = read_name(name, NAME, where, quoted_names=quoted_names)
                assert name not in families, f"{where}: a second block of family {name}"
                if kind == "HELP":
                    assert help_text is None, f"{where}: HELP without its TYPE before"
                    help_text = (name, rest)
                    continue
                assert rest in TYPES, f"{where}: unknown type"
                assert help_text is None or help_text[0] == name, f"{where}: HELP was for {help_text}"
                current = families[name] = Family(name, rest, help_text[1] if help_text else None)
                help_text = None
                continue
            assert current is not None, f"{where}: a sample before any TYPE line"
            assert help_text is None, f"{where}: a HELP line without TYPE"
            current.lines.append(read_sample(line, current, where, quoted_names=quoted_names))
        assert help_text is None, "the text ends with a HELP line"
        return cls(text, families)

    def problems(self, *, twin_buckets: bool = False) -> list[str]:
        """Say what Prometheus would drop: duplicate series, a name that two families claim, families without samples.

        Args:
            twin_buckets: Do not complain of two buckets or quantiles of one metric with the same bound, which the
                contract accepts in a push (section C1).
        """
        found = []
        owners: dict[str, str] = {}
        seen: set[object] = set()
        for family in self.families.values():
            if not family.lines:
                found.append(f"{family.name} has no samples")
            for suffix in ("", *PARTS.get(family.type, ())):
                name = family.name + suffix
                if owners.setdefault(name, family.name) != family.name:
                    found.append(f"{name} belongs to both {owners[name]} and {family.name} ({family.type})")
            for line in family.lines:
                exempt = twin_buckets and ("le" in line.label_map or "quantile" in line.label_map)
                if line.identity in seen and not exempt:
                    found.append(f"twice: {line}")
                seen.add(line.identity)
        return found


def read_name(written: str, grammar: str, where: str, *, quoted_names: bool) -> str:
    """Read a name that may be in quotes, if it must be."""
    if not written.startswith('"'):
        return written
    name = unescape(written[1:-1])
    assert quoted_names, f"{where}: {written} is in quotes"
    assert name, f"{where}: an empty name"
    assert not re.fullmatch(grammar, name), f"{where}: {written} is in quotes without need"
    return name


def read_sample(line: str, family: Family, where: str, *, quoted_names: bool) -> Line:
    """Read one sample line of a family."""
    match = SAMPLE_RE.fullmatch(line)
    assert match, f"{where}: not a sample line"
    name = read_name(match["name"] or match["quoted"], NAME, where, quoted_names=quoted_names)
    value = match["value"]
    assert VALUE_RE.fullmatch(value), f"{where}: {value!r} is not a canonical number"
    pairs = tuple(
        (read_name(label[1], LABEL_NAME, where, quoted_names=quoted_names), unescape(label[2][1:-1]))
        for label in LABEL_RE.finditer(match["labels"] or match["more"] or "")
    )
    names = [label for label, _ in pairs]
    assert len(set(names)) == len(names), f"{where}: a label twice"
    assert not any(label.startswith("__") for label in names), f"{where}: a reserved label name"
    allowed = [family.name + suffix for suffix in PARTS.get(family.type, ("",))]
    assert name in allowed, f"{where}: does not belong to {family.name}, a {family.type}"
    if family.type in PARTS:
        bound = {"_bucket": "le", "": "quantile"}.get(name.removeprefix(family.name))
        assert bound is None or (names and names[-1] == bound), f"{where}: {bound} must be the last label"
    return Line(name, pairs, value)


def unescape(text: str) -> str:
    r"""Undo the escapes of label values: \\, \" and \n."""
    return ESCAPE_RE.sub(lambda match: {"n": "\n"}.get(match[1], match[1]), text)
