"""Which compressor should answer a scrape that asks for gzip, and which one that asks for zstd?

Run ``python -m tests.benchmarks.bench_compression [--quick]``. zlib-ng is no dependency of the project: install it by
hand to have it measured. Printed is processor time, the best of several runs.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import random
import zlib
from collections.abc import Callable
from types import ModuleType

import cramjam
from backports import zstd

from pushgateway.formats import text
from pushgateway.model import MetricFamily, MetricType, Sample
from tests.benchmarks.bench_text import seconds

Compressor = Callable[[bytes], object]


def exposition(samples: int) -> bytes:
    """Make a scrape as a gateway has them: 20 families over many groups, values with many digits."""
    dice = random.Random(1)
    families = []
    for number in range(20):
        metrics = tuple(
            Sample((("instance", ""), ("job", f"nightly_backup_{group}"), ("volume", "daily")), dice.random() * 10**6)
            for group in range(samples // 20)
        )
        families.append(MetricFamily(f"backup_{number}_bytes", MetricType.GAUGE, "What was read.", metrics))
    return text.render(families)


def zlib_like(module: ModuleType, level: int) -> Compressor:
    """Return a compressor of a module with zlib's interface, in gzip format."""

    def compress(data: bytes) -> bytes:
        stream = module.compressobj(level, module.DEFLATED, 31)
        return bytes(stream.compress(data) + stream.flush())

    return compress


def compressors() -> dict[str, Compressor]:
    """Return everything that can be measured here, the reference first."""
    found: dict[str, Compressor] = {f"gzip zlib {level}": zlib_like(zlib, level) for level in (6, 1)}
    for name, module, levels in (("isal", "isal.isal_zlib", (0, 1, 2, 3)), ("zlib-ng", "zlib_ng.zlib_ng", (1, 2, 6))):
        try:
            imported = importlib.import_module(module)
        except ImportError:
            print(f"{name} is not installed: left out")
            continue
        found |= {f"gzip {name} {level}": zlib_like(imported, level) for level in levels}
    for name, codec, levels in (("gzip", cramjam.gzip, (1, 2, 6)), ("zstd", cramjam.zstd, (1, 3))):
        found |= {f"{name} cramjam {level}": functools.partial(codec.compress, level=level) for level in levels}
    found |= {f"zstd zstd {level}": functools.partial(zstd.compress, level=level) for level in (-1, 1, 3)}
    return found


def main() -> None:
    """Print a table a size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small expositions, fewer runs")
    quick = parser.parse_args().quick
    candidates = compressors()
    for samples in (2_000,) if quick else (20_000, 200_000):
        data = exposition(samples)
        print(f"\n{samples} samples, {len(data):,} bytes")
        print(f"{'compressor':18} {'ms':>9} {'bytes':>12} {'size':>7} {'faster than zlib 6':>20}")
        reference = 0.0
        for name, compress in candidates.items():
            taken = seconds(lambda: compress(data), repeat=2 if quick else 3)  # noqa: B023  called at once
            reference = reference or taken
            size = len(bytes(compress(data)))  # type: ignore[arg-type]
            print(f"{name:18} {taken * 1e3:9.1f} {size:12,} {size / len(data):7.1%} {reference / taken:20.1f}")


if __name__ == "__main__":
    main()
