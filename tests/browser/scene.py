"""What does a gateway hold that has run for a while: which jobs pushed, when, and what went wrong?

    with ScenicGateway() as gateway:
        fill(gateway)

Its clock is set by `at`, so that an hour passes in a moment and pictures show the same times each time.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

from tests.harness import Gateway

__all__ = ["GROUP", "NOW_SECONDS", "PAGES", "ScenicGateway", "fill"]

NOW_SECONDS: Final = 1_790_000_580.0
"""2026-09-21 14:23:00 UTC."""

GROUP: Final = "/groups/job/nightly-etl/instance/warehouse-1/env/prod"
"""The page of the group that has the most to show."""

PAGES: Final = ("/", "/groups", GROUP, "/failures", "/status")
"""Every kind of page, in a state in which it has much to show."""

_MINUTE: Final = 60.0
_HOUR: Final = 3600.0
_DAY: Final = 86_400.0

_SERVE: Final = """
import os, sys, time
os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.getcwd()
real = time.time
begun, shift = real(), sys.argv.pop(1)

def shown():
    with open(shift) as file:
        return float(file.read()) + real() - os.stat(shift).st_mtime

time.time = shown
from pushgateway.__main__ import main
sys.argv[0] = "pushgateway"
sys.exit(main())
"""


class ScenicGateway(Gateway):
    """A gateway that believes the time that it is told; it starts three days before `NOW_SECONDS`."""

    def __init__(self, *flags: str) -> None:
        super().__init__("--web.enable-admin-api", *flags)
        self._clock = self.directory / "clock"
        self.at(-3 * _DAY)

    def at(self, seconds: float) -> None:
        """Let it be `NOW_SECONDS` and these seconds more; the clock goes on from there."""
        made = self.directory / "clock.new"
        made.write_text(str(NOW_SECONDS + seconds))
        made.rename(self._clock)

    def command(self) -> list[str]:
        """The command line that starts it."""
        address = f"--web.listen-address=127.0.0.1:{self.port}"
        return [sys.executable, "-c", _SERVE, str(self._clock), address, *self.flags]


def fill(gateway: ScenicGateway) -> None:
    """Let the jobs of three days push, those of the last hour minute by minute; then it is `NOW_SECONDS`."""
    earlier = [one for one in _runs() if one.at < -_HOUR]
    for one in sorted(earlier, key=lambda run: run.at):
        gateway.at(one.at)
        _push(gateway, one)
    numbers = random.Random(7)
    later = [one for one in _runs() if one.at >= -_HOUR]
    for minute in range(-59, 1):
        gateway.at(minute * _MINUTE - 20)
        for one in later:
            if minute * _MINUTE <= one.at < (minute + 1) * _MINUTE:
                _push(gateway, one)
        for _ in range(2 + numbers.randrange(4) + (9 if minute % 15 == 0 else 0)):
            shard = 1 + numbers.randrange(2)
            rows = numbers.randrange(1_000, 90_000)
            _push(gateway, _Run(f"job/image-resize/instance/worker-{shard}/env/prod", 0, _resized(rows)))
        if minute in (-44, -43, -17):
            gateway.push("job/price-import/env/prod", b"price_rows_total 12,400\n", method="PUT")
    gateway.push("job/report-mailer/env/prod/tenant/acme", b"# TYPE mails_sent gauge\nmails_sent 12 1790000000\n")
    gateway.at(0)


class _Run(NamedTuple):
    """What a run of a job has pushed, and when."""

    group: str
    at: float
    body: str


def _push(gateway: ScenicGateway, run: _Run) -> None:
    reply = gateway.push(run.group, run.body.encode(), method="PUT")
    assert reply.status == 200, reply.text


def _runs() -> Iterator[_Run]:
    for number in (1, 2, 3):
        at = -11.4 * _HOUR - number * 7 * _MINUTE
        body = _gauge("backup_size_bytes", "Size of the last dump.", 1.31e11 + number * 4.7e9)
        body += _gauge("backup_last_success_timestamp_seconds", "When it ended.", NOW_SECONDS + at)
        yield _Run(f"job/backup/instance/db{number}.example.com/env/prod", at, body)
    yield _Run("job/backup/instance/db1.example.com/env/dev", -2.7 * _DAY, _gauge("backup_size_bytes", "Size.", 8.1e8))
    yield _Run("job/certificate-check/env/prod", -5 * _HOUR, _gauge("certificate_days_left", "Until expiry.", 41))
    yield _Run("job/price-import/env/prod", -3.2 * _HOUR, _gauge("price_rows_total", "Rows read.", 12_388))
    yield _Run("job/report-mailer/env/prod/tenant/acme", -8.6 * _HOUR, _gauge("mails_sent", "Mails of the run.", 1_204))
    yield _Run("job/report-mailer/env/prod/tenant/globex", -8.5 * _HOUR, _gauge("mails_sent", "Mails of the run.", 318))
    yield _Run("job/nightly-etl/instance/warehouse-1/env/prod", -9 * _MINUTE, _etl(-9 * _MINUTE))
    yield _Run("job/nightly-etl/instance/warehouse-1/env/dev", -1.1 * _DAY, _etl(-1.1 * _DAY))
    yield _Run("job/search-index/env/prod", -2 * _MINUTE, _running(-26 * _MINUTE))
    yield _Run("job/billing-export/env/prod/tenant/acme", -1 * _MINUTE, _gauge("exported_rows", "Rows.", 52_118))
    yield _Run("job/billing-export/env/prod/tenant/globex", -4 * _MINUTE, _gauge("exported_rows", "Rows.", 8_402))
    yield _Run("job/cache-warmup/env/prod/region/eu-west", -6 * _MINUTE, _gauge("warmed_keys", "Keys.", 2.4e6))
    yield _Run("job/cache-warmup/env/prod/region/us-east", -7 * _MINUTE, _gauge("warmed_keys", "Keys.", 3.1e6))
    yield _Run("job/cleanup/instance/node-7/env/prod", -32 * _MINUTE, _gauge("deleted_files", "Files.", 40_961))
    yield _Run("job/invoice-run/env/prod", -51 * _MINUTE, _failed(-51 * _MINUTE))


def _family(name: str, kind: str, help: str, *lines: str) -> str:
    return f"# HELP {name} {help}\n# TYPE {name} {kind}\n" + "".join(f"{name}{line}\n" for line in lines)


def _gauge(name: str, help: str, value: float, labels: str = "") -> str:
    return _family(name, "gauge", help, f"{labels} {value:.17g}")


def _resized(images: int) -> str:
    return _gauge("resized_images", "Images of the last batch.", images) + _gauge(
        "resize_duration_seconds", "Time of the last batch.", images / 900
    )


def _job(at: float, result: str, duration_seconds: float, **more: float) -> str:
    ended = NOW_SECONDS + at
    results = ("success", "failure", "error", "timeout", "cancellation", "skip")
    good = result == "success"
    values = {
        "batch_job_last_start_timestamp_seconds": ended - duration_seconds,
        "batch_job_last_completion_timestamp_seconds": ended,
        f"batch_job_last_{'success' if good else 'failure'}_timestamp_seconds": ended,
        "batch_job_last_duration_seconds": duration_seconds,
        "batch_job_last_exit_code": 0 if good else 1,
        "batch_job_running": 0,
        **more,
    }
    text = "".join(_gauge(name, "", value) for name, value in values.items())
    return text + _family(
        "batch_job_last_result", "gauge", "", *(f'{{result="{one}"}} {int(one == result)}' for one in results)
    )


def _etl(at: float) -> str:
    due = NOW_SECONDS + at + _DAY
    records = (("read", 4_812_077), ("written", 4_811_990), ("skipped", 87), ("failed", 0))
    stages = (("extract", 412.7), ("transform", 655.2), ("load", 288.4), ("", 3.1))
    bounds = ((0.1, 122), (0.25, 918), (0.5, 3_120), (1, 4_455), (2.5, 4_760), (5, 4_809), ("+Inf", 4_812))
    return (
        _job(
            at,
            "success",
            1_359.4,
            batch_job_next_run_timestamp_seconds=due - 1_360,
            batch_job_deadline_timestamp_seconds=due + 1_800,
            batch_job_max_resident_memory_bytes=1.94e9,
        )
        + _family("batch_job_records", "gauge", "", *(f'{{outcome="{name}"}} {count}' for name, count in records))
        + _family("batch_job_stage_duration_seconds", "gauge", "", *(f'{{stage="{name}"}} {t}' for name, t in stages))
        + _family("batch_job_cpu_seconds", "gauge", "", '{mode="user"} 1104.2', '{mode="system"} 61.8')
        + _family("batch_job_info", "gauge", "", '{version="2.14.1",commit="9f3ce01",python="3.12.4"} 1')
        + _family(
            "etl_rows_total", "counter", "Rows written, by table.", '{table="orders"} 3218402', '{table="users"} 94127'
        )
        + _family(
            "etl_batch_duration_seconds",
            "histogram",
            "Time of one batch of 1000 rows.",
            *(f'_bucket{{le="{bound}"}} {count}' for bound, count in bounds),
            "_sum 2231.4",
            "_count 4812",
        )
        + _family(
            "etl_source_lag_seconds",
            "summary",
            "How old rows were when they were read.",
            *(f'{{quantile="{share}"}} {lag}' for share, lag in ((0.5, 31.2), (0.9, 88.7), (0.99, 240.5))),
            "_sum 166302.5",
            "_count 4812",
        )
    )


def _running(started: float) -> str:
    values = {
        "batch_job_last_start_timestamp_seconds": NOW_SECONDS + started,
        "batch_job_last_success_timestamp_seconds": NOW_SECONDS + started - _DAY,
        "batch_job_last_heartbeat_timestamp_seconds": NOW_SECONDS - 20,
        "batch_job_heartbeat_interval_seconds": 60,
        "batch_job_running": 1,
        "batch_job_expected_records": 2_400_000,
        "batch_job_progress_ratio": 0.64,
        "batch_job_max_runtime_seconds": 3_600,
    }
    return "".join(_gauge(name, "", value) for name, value in values.items()) + _family(
        "batch_job_records", "gauge", "", '{outcome="processed"} 1536000', '{outcome="failed"} 12'
    )


def _failed(at: float) -> str:
    return _job(at, "error", 48.2, batch_job_next_run_timestamp_seconds=NOW_SECONDS + at + _HOUR) + _family(
        "batch_job_exceptions", "gauge", "", '{error_type=""} 0', '{error_type="ConnectionError"} 3'
    )
