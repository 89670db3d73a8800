"""Which requests would somebody send who wants to break a gateway?

Hypothesis strategies. `pushes` has meaningful ones with one thing wrong in a small world, where groups, types and
series meet often; `mutations` has bytes: valid bodies and paths of the contract's tables, damaged, and noise.
"""

from __future__ import annotations

import base64
import gzip
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, TypeVar
from urllib.parse import quote

import cramjam
from google.protobuf import text_format
from hypothesis import strategies as st

from pushgateway.formats.protobuf_encode import encode_varint
from pushgateway.formats.protobuf_messages import family_class
from tests.rows import PROTOBUF

MetricFamilyMessage = family_class()

__all__ = ["OPENMETRICS", "Request", "mutations", "pushes"]

DATA: Final = Path(__file__).parent / "data"

OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

JSON: Final = "application/json"

ENCODINGS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "": bytes,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "snappy": lambda body: bytes(cramjam.snappy.compress(body)),
    "zstd": lambda body: bytes(cramjam.zstd.compress(body)),
    "deflate": bytes,
    "gzip, gzip": bytes,
    "identity": bytes,
}


@dataclass(frozen=True)
class Request:
    """One request, its target exactly as it is sent."""

    method: str
    target: bytes
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


JOBS: Final = ("a", "b")
"""The jobs of hostile groups; a canary has another."""

FAMILIES: Final = {
    "x": "untyped",
    "y": "counter",
    "h": "histogram",
    "h_count": "gauge",
    "s": "summary",
    "s_sum": "gauge",
}
"""Few, so that they meet, with the types that they mostly have; some collide through their suffixes."""

OWN: Final = (
    "labels",
    "last_push_successful",
    "push_time_seconds",
    "push_failure_time_seconds",
    "pushgateway_http_requests_total",
    "pushgateway_build_info",
    "pushgateway_http_push_duration_seconds",
    "pushgateway_http_push_size_bytes_bucket",
    "process_open_fds",
)
"""What is the gateway's own, in the exposition or in the API, or collides with it."""

KINDS: Final = ("counter", "gauge", "untyped", "histogram", "summary", "gauge_histogram")

KEY_LABELS: Final = ("l", "m", "instance", "le", "quantile", "job", "U__l", "U__a_2e_b", "U______n", "a.b", "a_b")
KEY_VALUES: Final = (b"1", b"", b"\xff", b"\xc3\xa9", b"a b", b"a\nb", b'"', b"\x00", b"/", b"..", b"\xed\xa0\x80")

ODD_LABELS: Final = ('l=""', 'le="1"', 'quantile="0.5"', 'instance=""', '__a="1"', '"a.b"="1"', '"a.b"="1",a_b="1"')

_Value = TypeVar("_Value")


def usually(rng: Random, usual: Sequence[_Value], odd: Sequence[_Value]) -> _Value:
    """One of the usual values, or one time in five an odd one."""
    return rng.choice(odd if rng.random() < 0.2 else usual)


def key_path(rng: Random) -> bytes:
    """The path of a group behind /metrics/: labels that are odd, empty, reserved or not UTF-8 among sound ones."""
    pairs = [("job", rng.choice(JOBS).encode())]
    if rng.random() < 0.2:
        pairs += [(rng.choice(KEY_LABELS), rng.choice(KEY_VALUES)) for _ in range(rng.randint(1, 2))]
    elif rng.random() < 0.5:
        pairs.append(("l", b"1"))
    return b"/".join(key_pair(rng, name, value) for name, value in pairs)


def key_pair(rng: Random, name: str, value: bytes) -> bytes:
    """A label of a key, plain or in base64."""
    if rng.random() < 0.5:
        return f"{name}@base64/{base64.urlsafe_b64encode(value).decode() or '='}".encode()
    return f"{name}/{quote(value, safe='')}".encode()


def text_family(rng: Random) -> list[str]:
    """The lines of one family in text format."""
    name = usually(rng, list(FAMILIES), OWN)
    kind = usually(rng, [FAMILIES.get(name, "gauge")], KINDS)
    label = usually(rng, ("", 'l="1"'), ODD_LABELS)
    value = usually(rng, ("1", "2", "NaN", "+Inf"), ("-1", "1 5", "1e308"))
    lines = [f"# HELP {name} {rng.choice(('one', 'two'))}"] if rng.random() < 0.5 else []
    lines.append(f"# TYPE {name} {kind}")
    rest = [f"{name}_sum{{{label}}} 1", f"{name}_count{{{label}}} 2"]
    if kind in ("histogram", "gauge_histogram"):
        bound = ",".join(filter(None, (label, f'le="{rng.choice(("1", "1.0", "+Inf"))}"')))
        return [*lines, f"{name}_bucket{{{bound}}} {value}", *rest]
    if kind == "summary":
        bound = ",".join(filter(None, (label, 'quantile="0.5"')))
        return [*lines, f"{name}{{{bound}}} {value}", *rest]
    if rng.random() < 0.1:
        # With UTF-8 names two families, which under escaping must not become one.
        return [*lines, f'{{"{name}.b"}} {value}', f"{name}_b 2"]
    return [*lines, f"{name}{{{label}}} {value}"]


def protobuf_family(rng: Random) -> bytes:
    """A family in protobuf: names that text cannot hold, no metrics, values of another type, native histograms."""
    name = usually(rng, list(FAMILIES), (*OWN, "", "zz\n", "x.b", "x_b", "é"))
    kind = usually(rng, [FAMILIES.get(name, "gauge")], KINDS)
    message = MetricFamilyMessage(name=name, type=kind.upper())
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        metric = message.metric.add()
        if rng.random() < 0.5:
            metric.label.add(name=usually(rng, ["l"], ("le", "a.b", "", "job")), value=usually(rng, ["1"], [""]))
        kept = usually(rng, [kind.removeprefix("gauge_")], ("counter", "gauge", "summary", "native", "nothing"))
        if kept in ("counter", "gauge", "untyped"):
            getattr(metric, kept).value = rng.choice((1.0, float("nan"), -1.0))
        elif kept == "summary":
            metric.summary.sample_count = 1
        elif kept == "histogram":
            metric.histogram.sample_count = 2
            metric.histogram.bucket.add(upper_bound=rng.choice((1.0, float("inf"))), cumulative_count=1)
        elif kept == "native":
            metric.histogram.schema = rng.choice((3, 100, -4))
            metric.histogram.sample_count = rng.choice((0, 3))
            metric.histogram.positive_span.add(offset=rng.randint(-2, 2), length=2)
            metric.histogram.positive_delta.extend(rng.randint(-1, 2) for _ in range(rng.randint(0, 3)))
    encoded = message.SerializeToString()
    return encode_varint(len(encoded)) + encoded


def pushed(rng: Random) -> Request:
    """A push or a delete, with one or several things wrong, or none."""
    kind = rng.choice((None, None, PROTOBUF, OPENMETRICS))
    if kind == PROTOBUF:
        body = b"".join(protobuf_family(rng) for _ in range(rng.randint(0, 2)))
    else:
        lines = [line for _ in range(rng.randint(0, 2)) for line in text_family(rng)]
        body = "".join(f"{line}\n" for line in [*lines, *(["# EOF"] if kind else [])]).encode()
    encoding = rng.choice(("", "", "", "gzip", "snappy", "zstd"))
    headers = {"Content-Type": kind, "Content-Encoding": encoding or None}
    return Request(
        rng.choice(("POST", "POST", "PUT", "PUT", "DELETE")),
        b"/metrics/" + key_path(rng),
        ENCODINGS[encoding](body),
        {name: value for name, value in headers.items() if value},
    )


def pushes() -> st.SearchStrategy[Request]:
    """Meaningful requests with things wrong.

    Each is made from one number: drawn choice by choice they took 20 ms each, and many were alike.
    """
    return st.randoms(use_true_random=True).map(pushed)


def tables(*names: str) -> list[dict[str, object]]:
    """The rows of some tables of bodies and of the contract."""
    return [row for name in names for rows in tomllib.loads((DATA / name).read_text()).values() for row in rows]


def text_seeds() -> list[bytes]:
    """Bodies in text format."""
    files = ("text/accepted.toml", "contract/bodies.toml", "utf8/bodies.toml")
    bodies = [row["body"] for row in tables(*files) if "body" in row]
    return [str(body).encode() for body in (*bodies, '# TYPE "a.b" gauge\n{"a.b","c.d"="é"} 1\n')]


def openmetrics_seeds() -> list[bytes]:
    """Bodies in OpenMetrics."""
    bodies = [row["body"] for row in tables("openmetrics/accepted.toml")]
    return [str(body).encode() for body in (*bodies, '# TYPE "a.b" gauge\n{"a.b","c.d"="é"} 1\n# EOF\n')]


def protobuf_seeds() -> list[bytes]:
    """Bodies in delimited protobuf."""
    found = []
    for row in tables("contract/protobuf.toml"):
        texts = row.get("protobuf", [])
        assert isinstance(texts, list)
        encoded = [text_format.Parse(text, MetricFamilyMessage()).SerializeToString() for text in texts]
        found.append(b"".join(encode_varint(len(one)) + one for one in encoded))
    return found


TEXTS: Final = text_seeds()
SEEDS: Final[Sequence[tuple[str | None, Sequence[bytes]]]] = (
    (None, TEXTS),
    ("text/plain; version=0.0.4", TEXTS),
    *[(OPENMETRICS, openmetrics_seeds())] * 2,
    *[(PROTOBUF, protobuf_seeds())] * 2,
)
"""Each as often as it is to be drawn."""

PATHS: Final = sorted(
    {str(row["path"]).encode() for row in tables("contract/urls.toml") if "path" in row}
    | {f"job/a/{quote(str(row['written']))}/v".encode() for row in tables("utf8/unescaping.toml")}
)

TOKENS: Final = (
    *(b"\x00", b"\xff", b"\x80", b"\n", b"\r\n", b'"', b"\\", b"{", b"}", b"#", b" ", b"=", b","),
    *(b"# TYPE x ", b"# HELP x ", b"# EOF\n", b"_bucket", b"_total", b'le="', b"1e400", b"NaN", b"-0", b"9" * 400),
    *(b"\xff\xff\xff\xff\x7f", b"\xff" * 9 + b"\x01", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xff\x06\x00\x00sNaPpY"),
    *("\u2028".encode(), b"\xed\xa0\x80", b"U__", b"@base64", b"%00", b"%FF", b"/", b"//", b"..", b"x" * 5000),
)


def damaged(rng: Random, seeds: Sequence[bytes]) -> bytes:
    """A seed after a few edits: bytes replaced, put in, cut out or doubled, or a part of another seed."""
    data = rng.choice(seeds)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        start = rng.randint(0, len(data))
        end = min(len(data), start + rng.choice((0, 1, 1, 2, 8, 1000)))
        other = rng.choice(seeds)
        piece = rng.choice((rng.choice(TOKENS), rng.randbytes(rng.randint(0, 3)), b"", data[start:end] * 2, other))
        data = data[:start] + piece + data[end:]
    return data


def mutated(rng: Random) -> Request:
    """A request whose body, path or encoding is damaged, in any format, which may not be what it says."""
    kind, seeds = rng.choice(SEEDS)
    body = damaged(rng, seeds)
    if rng.random() < 0.1:
        body, kind = rng.randbytes(rng.randint(0, 300)), rng.choice((None, PROTOBUF, OPENMETRICS, ";=\"'\\"))
    encoding = rng.choice(("", "", "", "gzip", "snappy", "zstd", rng.choice(list(ENCODINGS))))
    body = ENCODINGS[encoding](body)
    if encoding and rng.random() < 0.3:
        body = damaged(rng, [body])
    path = b"job/a" if rng.random() < 0.6 else damaged(rng, PATHS)
    # What would end the request line early makes another request, and another test.
    target = b"/metrics/" + path.translate(None, b" \r\n\t\x0b\x0c")
    headers = {"Content-Type": kind, "Content-Encoding": encoding or None, "Accept": rng.choice((None, None, JSON))}
    method = rng.choice(("POST", "PUT", "POST", "PUT", "POST", "PUT", "DELETE"))
    return Request(method, target, body, {name: value for name, value in headers.items() if value})


def mutations() -> st.SearchStrategy[Request]:
    """Damaged requests, each made from one number too."""
    return st.randoms(use_true_random=True).map(mutated)
