"""What should a store keep as the canonical form of a family: protobuf beside text, or text and what it cannot say?

Run ``python -m tests.benchmarks.bench_canonical [--quick]``.

(a) serialised protobuf metrics beside finished text: a push encodes both, a reader of values (JSON API, status page,
    OpenMetrics, protobuf scrapes) decodes protobuf, and a protobuf scrape concatenates.
(b) text and an extra for what text cannot say: a push encodes text only, every reader of values parses text, and a
    protobuf scrape parses text and encodes it.

Printed is processor time, the best of several runs. The fields of (b)'s extra are left out: they would only add to it.
"""

from __future__ import annotations

import argparse

from pushgateway.formats import protobuf, text
from pushgateway.model import MetricFamily
from tests.benchmarks.bench_text import counters, gauges, histograms, samples_in, seconds


def compare(name: str, body: bytes, *, repeat: int) -> None:
    """Print what a push and what reads cost in both designs."""
    families = text.parse(body)
    texts = [(family, text.render_metrics(family)) for family in families]
    messages = [(family, protobuf.encode_metrics(family)) for family in families]
    sizes = [sum(len(block) for _, block in blocks) for blocks in (texts, messages)]

    def read_text() -> list[tuple[MetricFamily, ...]]:
        return [text.parse(text.render_header(family.name, family.type, "") + block) for family, block in texts]

    parse = seconds(lambda: text.parse(body), repeat=repeat)
    render = seconds(lambda: [text.render_metrics(family) for family in families], repeat=repeat)
    encode = seconds(lambda: [protobuf.encode_metrics(family) for family in families], repeat=repeat)
    decode = seconds(lambda: [protobuf.decode_metrics(family.type, block) for family, block in messages], repeat=repeat)
    reread = seconds(read_text, repeat=repeat)
    join = seconds(lambda: b"".join(block for _, block in messages), repeat=repeat)
    samples = samples_in(body)
    print(f"\n{name}: {samples} samples; bytes a sample: (a) {sum(sizes) / samples:.0f}, (b) {sizes[0] / samples:.0f}")
    rows = {
        "push: parse, render, encode": (parse + render + encode, parse + render),
        "read of values": (decode, reread),
        "protobuf scrape": (join, reread + encode),
    }
    for row, (a, b) in rows.items():
        print(
            f"  {row:28} (a) {a * 1e6:11,.1f} us {a / samples * 1e6:7.2f}/sample"
            f"   (b) {b * 1e6:11,.1f} us {b / samples * 1e6:7.2f}/sample   b/a {b / a:8.2f}"
        )


def main() -> None:
    """Print a comparison for each kind of body."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small bodies, fewer runs")
    quick = parser.parse_args().quick
    repeat = 2 if quick else 5
    large = 2_000 if quick else 20_000
    compare("20 counters in 1 family", counters(20), repeat=repeat)
    compare("20 gauges in 20 families", gauges(20), repeat=repeat)
    compare("many counters in 1 family", counters(large), repeat=repeat)
    compare("histograms", histograms(large // 10), repeat=repeat)


if __name__ == "__main__":
    main()
