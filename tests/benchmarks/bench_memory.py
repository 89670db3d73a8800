"""How much memory does the whole gateway take while it handles the worst that its limits let through?

Run ``make bench BENCH=memory``, with ARGS='FLAG ...' for other settings of the gateway. Each kind of body is as
large as the limits allow and is pushed over several connections at once, to groups of its own; meanwhile the
proportional set size (PSS: shared pages counted once) of all processes of the gateway is sampled. For every kind the
gateway is a fresh one, and its store is empty at the beginning.
"""

from __future__ import annotations

import gzip
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from pushgateway.cli import command
from pushgateway.config import Config
from pushgateway.errors import LimitError
from pushgateway.formats import ContentEncoding, compression, text
from pushgateway.limits import MIB, Limits
from tests.benchmarks.ending import stoppable
from tests.harness import Gateway
from tests.memory import Watch, pss_bytes

CONNECTIONS = 4
SETTINGS = ("--storage.url=sqlite:x.db", "--limit.request-seconds=600")

Body = tuple[str, bytes, dict[str, str]]
"""What is appended to the path of the group, the body and its headers."""


def fill(line: Callable[[int], str], size: int, lines: int) -> bytes:
    """Put lines together until there are `size` bytes or so many lines."""
    made: list[str] = []
    room = size
    for number in range(lines):
        text = line(number)
        room -= len(text)
        if room < 0:
            break
        made.append(text)
    return "".join(made).encode()


def compressed(body: bytes) -> Body:
    """Send a body gzipped, as far as that gets it through the limit of bodies as sent."""
    return "", gzip.compress(body, 1), {"Content-Encoding": "gzip"}


def ordinary(limits: Limits) -> Body:
    """100 000 samples of 10 MB, as a job would push them: ten families, four labels, some of them unique."""
    template = (
        'batch_rows_processed_total_{}{{stage="extract",table="orders_{}",region="eu-central-1",shard="{}"}} {}\n'
    )
    body = fill(lambda n: template.format(n % 10, n // 10 % 100, n // 1000, n * 7919), 1 << 40, 100_000)
    return "", body, {}


def short_labels(limits: Limits) -> Body:
    """As many samples as are allowed, with one label each."""
    return "", fill(lambda n: f'x{{a="{n}"}} 1\n', limits.body_bytes, limits.samples_per_push), {}


def no_labels(limits: Limits) -> Body:
    """As many families as are allowed."""
    return "", fill(lambda n: f"f{n} 1\n", limits.body_bytes, limits.samples_per_push), {}


def helps(limits: Limits) -> Body:
    """Families with a long HELP each."""
    return compressed(
        fill(lambda n: f"# HELP f{n} {'h' * 400}\nf{n} 1\n", limits.decoded_bytes, limits.samples_per_push)
    )


def deep_labels(limits: Limits) -> Body:
    """As many labels as are allowed in each sample, all of them short."""
    names = [f"l{number}" for number in range(limits.labels_per_series - 1)]
    tail = ",".join(f'{name}="v"' for name in names)
    return compressed(fill(lambda n: f'x{{a="{n}",{tail}}} 1\n', limits.decoded_bytes, limits.samples_per_push))


def deep_unique_labels(limits: Limits) -> Body:
    """The same with values that differ, so that each is a string of its own."""
    names = [f"l{number}" for number in range(limits.labels_per_series)]

    def line(n: int) -> str:
        return "x{" + ",".join(f'{name}="{n:x}"' for name in names) + "} 1\n"

    return compressed(fill(line, limits.decoded_bytes, limits.samples_per_push))


def long_values(limits: Limits) -> Body:
    """Label values of the largest size."""
    value = "v" * (limits.value_bytes - 10)
    return compressed(fill(lambda n: f'x{{a="{value}{n}"}} 1\n', limits.decoded_bytes, limits.samples_per_push))


def wide_values(limits: Limits) -> Body:
    """Label values that Python keeps at four bytes a character."""
    value = "v" * 1000 + "\U0001f600"
    return compressed(fill(lambda n: f'x{{a="{value}{n}"}} 1\n', limits.decoded_bytes // 2, limits.samples_per_push))


def escapes(limits: Limits) -> Body:
    """Label values that are all escapes, which go the careful way."""
    value = "\\\\\\n" * 2000
    return compressed(fill(lambda n: f'x{{a="{value}{n}"}} 1\n', limits.decoded_bytes, limits.samples_per_push))


def silence(limits: Limits) -> Body:
    """Nothing but blank lines."""
    return compressed(b"\n" * limits.decoded_bytes)


def comments(limits: Limits) -> Body:
    """Nothing but one comment."""
    return compressed(b"#" + b"x" * (limits.decoded_bytes - 2) + b"\n")


def long_key(limits: Limits) -> Body:
    """A grouping key that every line gets, so long that the lines come to as much as is allowed."""
    value = "k" * 5000
    lines = limits.rendered_bytes // (len(value) + 100)
    return f"/k/{value}", fill(lambda n: f"x{n} 1\n", limits.body_bytes, min(lines, limits.samples_per_push)), {}


def histograms(limits: Limits) -> Body:
    """Classic histograms of eight buckets each."""

    def line(n: int) -> str:
        series, bucket = divmod(n, 8)
        return f'h_bucket{{a="{series}",le="{bucket}"}} 1\n'

    body = b"# TYPE h histogram\n" + fill(line, limits.body_bytes - 100, limits.samples_per_push)
    return "", body, {}


def members(limits: Limits) -> Body:
    """As many empty gzip members as fit."""
    member = gzip.compress(b"")
    return "", member * (limits.body_bytes // len(member)), {"Content-Encoding": "gzip"}


def bomb(limits: Limits) -> Body:
    """Ten times as much as may be decompressed."""
    return compressed(b"\n" * (10 * limits.decoded_bytes))


KINDS = (
    ordinary,
    short_labels,
    no_labels,
    helps,
    deep_labels,
    deep_unique_labels,
    long_values,
    wide_values,
    escapes,
    silence,
    comments,
    long_key,
    histograms,
    members,
    bomb,
)


def largest(kind: Callable[[Limits], Body], limits: Limits) -> Body:
    """Make a body of one kind, of the size of the limits, or in steps less until it is taken."""
    for share in range(100, 0, -4):
        less = {
            field: getattr(limits, field) * share // 100
            for field in ("body_bytes", "decoded_bytes", "samples_per_push", "rendered_bytes")
        }
        made = kind(limits._replace(**less))
        try:
            # Not gzip.decompress, which copies the rest of a body behind each of its members.
            encoding: ContentEncoding = "gzip" if made[2] else "identity"
            data = compression.decompress(made[1], encoding, limit_bytes=limits.decoded_bytes)
            text.parse(data, limits=limits)
        except LimitError as error:
            if error.limit != "prepared-bytes":
                return made
        else:
            return made
    raise AssertionError(f"no size of {kind.__name__} is taken")


def measure(flags: list[str], kind: Callable[[Limits], Body], limits: Limits) -> str:
    """Push bodies of one kind at once; return a row of the table."""
    suffix, body, headers = largest(kind, limits)
    with (
        Gateway(*SETTINGS, *flags) as gateway,
        ThreadPoolExecutor(CONNECTIONS) as clients,
    ):
        time.sleep(1)  # The first worker serves before the others have begun.
        idle = pss_bytes(gateway.pid)

        def send(number: int) -> int:
            target = f"/metrics/job/j{number}{suffix}"
            return gateway.request("PUT", target, body, headers, timeout_seconds=300).status

        begun = time.monotonic()
        with Watch(gateway.pid) as watch:
            statuses = Counter(clients.map(send, range(CONNECTIONS)))
        seconds = time.monotonic() - begun
        time.sleep(1)
        after = pss_bytes(gateway.pid)
        with Watch(gateway.pid) as scraped:
            gateway.request("GET", "/metrics", timeout_seconds=300)
        answers = " ".join(f"{count}x{status}" for status, count in sorted(statuses.items()))
        return (
            f"{kind.__name__:20} {len(body) / 1e6:8.1f} {idle / MIB:6.0f} {watch.peak_bytes / MIB:6.0f} "
            f"{after / MIB:6.0f} {scraped.peak_bytes / MIB:7.0f} {seconds:7.1f}  {answers}"
        )


def limits_of(flags: list[str]) -> Limits:
    """Read the gateway's flags as it does itself."""
    seen: list[Config] = []

    def keep(config: Config) -> int:
        seen.append(config)
        return 0

    command(keep).main(flags, standalone_mode=False)
    return seen[0].limits


def main() -> None:
    """Measure every kind, or those that are named, and print a table in MiB."""
    flags = [argument for argument in sys.argv[1:] if argument.startswith("--")]
    names = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    limits = limits_of(flags)
    kinds: Mapping[str, Callable[[Limits], Body]] = {kind.__name__: kind for kind in KINDS}
    print(f"{CONNECTIONS} connections; PSS of all processes in MiB; a scrape of what was stored at the end")
    print(f"{'body':20} {'sent MB':>8} {'idle':>6} {'peak':>6} {'after':>6} {'scrape':>7} {'seconds':>7}  answers")
    for name in names or kinds:
        print(measure(flags, kinds[name], limits), flush=True)


if __name__ == "__main__":
    with stoppable():
        main()
