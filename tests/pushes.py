"""Which pushes, sound and odd, are worth sending to two gateways?

Hypothesis strategies over a small world: few jobs, labels and names, so that groups, types and series meet often.
Bodies are written as a client would, and then sometimes damaged by an edit or two.
"""

from __future__ import annotations

import base64
from urllib.parse import quote

from hypothesis import strategies as st

from tests.data.contract.differences import Step

__all__ = ["sequences"]

NAMES = ("x", "y", "h", "h_count", "h_bucket", "s", "s_sum", "s_bucket")
TYPES = ("", "counter", "gauge", "untyped", "histogram", "summary")
ODD_TYPES = ("Counter", "SUMMARY", "gauge_histogram", "gaugehistogram", "unknown", "counter ")
VALUES = (
    "1",
    "0",
    "-0",
    "+1",
    ".5",
    "5.",
    "1e3",
    "nan",
    "NaN",
    "+Inf",
    "-inf",
    "infinity",
    "1e-400",
    "1000000",
    "123456789",
)
ODD_VALUES = ("", "abc", "0x10", "1_000", "-nan", "1e400", "1 ", "1 5", "1 x", "1\r", "1 # {}", "١")
HELPS = ("one", "two  ", r"back\\slash", "é")
LABEL_VALUES = ("1", "2", "é", "a b", r"\\", r"\"", r"\n", "", "{}", ",")
LABELS = ("l", "m", "instance", "job", "le", "quantile", "n")
ODD_LABELS = (
    '__r="1"',
    '1a="1"',
    'a-b="1"',
    "a='1'",
    'l="1" m="2"',
    "",
    r'l="\t"',
    'l="1",l="1"',
    "l",
    'é="1"',
    '__name__="x"',
)
ODD_LINES = (
    "# EOF",
    "#",
    "# TYPE",
    "# TYPE x",
    "# HELP x",
    "# HELP x two  ",
    "# HELP h one\\n\\\\",
    "# TYPE x-y counter",
    "# TYPE x counter",
    "{} 1",
    '{"x"} 1',
    "x.y 1",
    "1x 1",
    "",
    "  ",
    "x",
    "# type x gauge",
    "#TYPE y gauge",
    '# HELP y \\"q\\"',
    "# TYPE h_sum gauge",
    "push_time_seconds 1",
    "push_failure_time_seconds 1",
)
ODD_PATHS = (
    "job/a/",
    "job/a/l",
    "job/a/l/1/",
    "job/a/l/",
    "job/a/l@base64/=",
    "job/a/__x/1",
    "job/a/1x/v",
    "job/a/l@base64/!!",
    "job@base64/=",
    "job/a/job/b",
    "job/a/l/1/l/2",
    "job/a/l/1%2F2",
    "job/a%2Fb",
    "job/%FF",
    "job/a/le/1",
    "job/a/quantile/1",
    "job/a/instance@base64/=",
    "job/a/l@base64/MQ=",
    "job@base64/YQ=/l@base64/MR",
    "job",
    "jobs/a",
    "job/a/@base64/MQ",
    "job/a/l/%2500",
)
EDITS = st.sampled_from((*"{}\",= \t\n#\\'+-.eE01xN_:\r", "é", "\x00", "# TYPE ", "_count", "_bucket"))


@st.composite
def paths(draw: st.DrawFn) -> str:
    """A group's path: a job and up to two labels, plain or encoded."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(ODD_PATHS) | odd_paths())
    labels = draw(
        st.lists(st.tuples(st.sampled_from(("l", "m", "instance")), st.sampled_from(("1", "2", "é/ "))), max_size=2)
    )
    job = ("job", draw(st.sampled_from("ab")))
    return "/".join(draw(encoded(name, value)) for name, value in (job, *labels))


def odd_paths() -> st.SearchStrategy[str]:
    """Paths of any few segments. None has an encoded job, since a bad one hangs the original for ever (Q14)."""
    segment = st.text("al1_@=-~+.:", max_size=4) | st.binary(max_size=3).map(quote)
    suffixed = st.tuples(segment, st.sampled_from(("", "", "@base64"))).map("".join)
    return st.lists(suffixed, max_size=5).map(lambda segments: "/".join(("job", *segments)))


@st.composite
def encoded(draw: st.DrawFn, name: str, value: str) -> str:
    """One pair of a path; values that hold a slash must be encoded."""
    if "/" not in value and draw(st.booleans()):
        return f"{name}/{quote(value)}"
    text = base64.urlsafe_b64encode(value.encode()).decode()
    return f"{name}@base64/{text.rstrip('=') if draw(st.booleans()) else text}"


@st.composite
def label_parts(draw: st.DrawFn, *, bound: str = "") -> str:
    """A label part in braces, or nothing."""
    names = draw(st.lists(st.sampled_from(LABELS), max_size=2, unique=True))
    pairs = [f'{name}="{draw(st.sampled_from(LABEL_VALUES))}"' for name in names if name != bound]
    if bound:
        pairs.append(f'{bound}="{draw(st.sampled_from(("1", "1.0", "+Inf", ".5", "0.9", "inf", "2e3")))}"')
    if draw(st.integers(0, 19)) == 0:
        pairs.append(draw(st.sampled_from(ODD_LABELS)))
    return "{" + draw(st.sampled_from((",", " , "))).join(pairs) + "}" if pairs or draw(st.booleans()) else ""


@st.composite
def values(draw: st.DrawFn) -> str:
    """A value, rarely one that cannot be read."""
    if draw(st.integers(0, 39)) == 0:
        return draw(st.sampled_from(ODD_VALUES))
    return draw(st.sampled_from(VALUES) | st.integers(-(10**7), 10**7).map(str) | st.floats(allow_nan=False).map(repr))


@st.composite
def families(draw: st.DrawFn) -> list[str]:
    """The lines of one family, its TYPE and HELP lines among them, mostly in front."""
    name = draw(st.sampled_from(NAMES))
    kind = draw(st.sampled_from(ODD_TYPES if draw(st.integers(0, 39)) == 0 else TYPES))
    if name in ("h", "s") and draw(st.booleans()):
        kind = {"h": "histogram", "s": "summary"}[name]
    lines = [f"# TYPE {name} {kind}"] if kind else []
    if draw(st.integers(0, 3)) == 0:
        lines.append(f"# HELP {name} {draw(st.sampled_from(HELPS))}")
    if kind in ("histogram", "summary"):
        return lines + draw(parts(name, kind))
    samples = draw(
        st.lists(st.tuples(label_parts(), values()), min_size=draw(st.sampled_from((0, 1, 1, 1))), max_size=3)
    )
    return lines + [f"{name}{labels} {value}" for labels, value in samples]


@st.composite
def parts(draw: st.DrawFn, name: str, kind: str) -> list[str]:
    """Some lines of a histogram or summary, in any order."""
    bound, stem = ("le", f"{name}_bucket") if kind == "histogram" else ("quantile", name)
    lines = []
    counts = st.integers(0, 10).map(str) if draw(st.integers(0, 9)) else values()
    shared = draw(label_parts())
    for part in draw(st.lists(st.sampled_from(("bound", "bound", "_sum", "_count", "")), min_size=1, max_size=5)):
        if part == "bound":
            lines.append(f"{stem}{draw(label_parts(bound=bound))} {draw(counts if kind == 'histogram' else values())}")
        else:
            lines.append(f"{name}{part}{shared} {draw(counts if part == '_count' else values())}")
    return lines


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A body of a few families, sometimes interleaved, edited, or without its last LF."""
    lines = [
        line
        for family in draw(st.lists(families(), min_size=draw(st.sampled_from((0, 1, 1, 1))), max_size=3))
        for line in family
    ]
    if draw(st.integers(0, 4)) == 0:
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(ODD_LINES)))
    if draw(st.integers(0, 9)) == 0:
        lines = draw(st.permutations(lines))
    text = "".join(f"{line}\n" for line in lines)
    for _ in range(draw(st.sampled_from((0, 0, 0, 0, 0, 1, 2)))):
        start = draw(st.integers(0, len(text)))
        text = text[:start] + draw(EDITS | st.just("")) + text[start + draw(st.integers(0, 2)) :]
    return text.encode()


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """One request."""
    method = draw(st.sampled_from(("PUT", "PUT", "POST", "POST", "POST", "DELETE")))
    if method == "DELETE":
        return Step(method, draw(paths()))
    return Step(
        method, draw(paths()), draw(bodies()), gzip=draw(st.integers(0, 4)) == 0, protobuf=draw(st.integers(0, 4)) == 0
    )


def sequences() -> st.SearchStrategy[list[Step]]:
    """Up to ten requests, in order."""
    return st.lists(steps(), min_size=1, max_size=10)
