"""Real gateways, the original and ours: does what a job pushes arrive, stay clean, and survive the next run?"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.harness import Gateway, Original, Service, require_program
from tests.sdk.support import run_child

FULL_JOB = """
    import sys
    from pymetrics_sdk import *
    rows = Counter("billing_rows_total", "Rows.", ["currency"], max_series=2)
    sizes = Histogram("billing_size_bytes", "Sizes.")
    level = Gauge("billing_level_ratio", "Level.")
    @measure(slo=SLO(success=99.9, latency=("250ms", 99)))
    def work(number):
        if number == 3:
            raise ValueError("bad")
        rows.labels(str(number)).inc()
        sizes.observe(number)
    @Job("nightly billing/EU", schedule="0 3 * * *", tz="Europe/Berlin", grace="30m", max_runtime="2h", heartbeat="1s",
         version="1.0", labels={"shard": "a/b", "empty": ""})
    def main():
        run = current_run()
        with run.stage("load"):
            for number in run.track(range(6)):
                try:
                    work(number)
                except ValueError as error:
                    run.record("failed", error=error)
        run.watermark(1_700_000_000)
        level.set(0.5)
        with track_http("GET", "https://api.example.com/x") as call:
            call.status = 200
        if "fail" in sys.argv or FAIL:
            raise RuntimeError("as asked")
    main()
    """


@pytest.fixture(scope="module", params=["original", "ours"])
def gateway(request: pytest.FixtureRequest) -> Iterator[Service]:
    with Original() if request.param == "original" else Gateway("--storage.url=memory:") as service:
        yield service


def run_job(gateway: Service, *, fail: bool = False) -> tuple[int, str]:
    """Run the job; return its exit status and what it says beside the overflow that it provokes."""
    status, _, error = run_child(f"FAIL = {fail}\nif True:\n{FULL_JOB}", gateway=gateway.url)
    return status, "".join(line for line in error.splitlines() if "billing_rows_total has 2 series" not in line)


def test_everything_that_a_job_can_push_is_taken(gateway: Service) -> None:
    """A job with all kinds of metrics, and a key that needs base64, is taken as it is and can be scraped."""
    assert run_job(gateway) == (0, "")
    page = gateway.scrape()
    key = {"job": "nightly billing/EU", "shard": "a/b"}
    assert page["batch_job_last_result"].one(**key, result="success").value == "1"
    assert page["batch_job_records"].one(**key, outcome="processed").value == "5"
    assert page["batch_job_exceptions"].one(**key, error_type="ValueError").value == "1"
    assert page["billing_rows_total"].one(**key, currency="__overflow__").value == "3"
    assert page["function_calls_total"].one(**key, result="error", error_type="ValueError").value == "1"
    assert page["push_failure_time_seconds"].one(**key).value == "0"
    assert page.problems() == []


def test_promtool_finds_nothing_to_criticise(gateway: Service) -> None:
    """`promtool check metrics` has no complaint about any family of the SDK."""
    assert run_job(gateway) == (0, "")
    lines = gateway.get("/metrics").text.splitlines(keepends=True)
    # The gateway's own families are not the SDK's to answer for.
    ours = "".join(line for line in lines if not line.split("{")[0].split(" ")[-1].startswith(("go_", "process_")))
    checked = subprocess.run(
        [require_program("promtool"), "check", "metrics"], input=ours, capture_output=True, text=True, check=False
    )
    complaints = [line for line in (checked.stderr + checked.stdout).splitlines() if not line.startswith("push")]
    assert complaints == []


def test_a_failing_run_keeps_the_last_success_and_the_deadline(gateway: Service) -> None:
    """POST does not erase what the failing run does not send: last success, deadline and success times of stages."""
    assert run_job(gateway)[0] == 0
    before = gateway.scrape()
    assert run_job(gateway, fail=True)[0] == 1
    after = gateway.scrape()
    key = {"job": "nightly billing/EU", "shard": "a/b"}
    for name in (
        "last_success_timestamp_seconds",
        "deadline_timestamp_seconds",
        "stage_last_success_timestamp_seconds",
    ):
        family = f"batch_job_{name}"
        assert after[family].one(**key).value == before[family].one(**key).value
    assert after["batch_job_last_result"].one(**key, result="error").value == "1"
    assert after["batch_job_last_result"].one(**key, result="success").value == "0"
    assert after["batch_job_exceptions"].one(**key, error_type="RuntimeError").value == "1"
    assert run_job(gateway)[0] == 0
    assert "RuntimeError" not in gateway.get("/metrics").text


def test_a_start_sets_a_deadline_only_where_there_is_none(gateway: Service) -> None:
    """The first start makes the alert possible that covers a job which never succeeds; later starts leave it alone."""
    script = """
        import time
        from pymetrics_sdk import Job
        with Job("first", schedule="0 3 * * *", tz="UTC", grace="{grace}"):
            time.sleep(1)
            raise SystemExit(3)
        """
    values = []
    for grace in ("1h", "2h"):
        assert run_child(script.format(grace=grace), gateway=gateway.url)[0] == 3
        page = gateway.scrape()
        assert page["batch_job_grace_seconds"].one(job="first").value == ("3600" if grace == "1h" else "7200")
        values.append(page["batch_job_deadline_timestamp_seconds"].one(job="first").value)
    assert values[0] == values[1]
    assert float(values[0]) > time.time()


def test_a_refusal_is_on_standard_error_of_a_script_that_configured_no_logging(gateway: Service) -> None:
    """A metric that conflicts with another group's is refused, and an unconfigured script shows the reason."""
    assert gateway.push("job/other", b"# TYPE clash counter\nclash 1\n").status == 200
    script = """
        from pymetrics_sdk import Gauge, Job
        clash = Gauge("clash", "Clash.")
        with Job("mine"):
            clash.set(1)
        """
    status, _, error = run_child(script, gateway=gateway.url)
    assert status == 0
    assert "the gateway answered 400" in error
    assert "clash" in error
    gateway.delete("job/other")


def test_the_doctor_finds_the_gateway_well(gateway: Service) -> None:
    """The doctor pushes, shows the gateway's version and leaves nothing behind."""
    command = [sys.executable, "-m", "pymetrics_sdk", "doctor", "--gateway", gateway.url]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
    assert "gateway version" in found.stdout
    time.sleep(0.1)  # the original deletes after its 202
    assert "pymetrics_doctor" not in gateway.get("/metrics").text
