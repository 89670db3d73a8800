"""Do the examples run as their READMEs say, against our gateway?"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.exposition import Exposition
from tests.harness import Gateway
from tests.project.pages import page, snippets

EXAMPLES = Path(__file__).parents[2] / "examples"

ORDERS = [
    {"id": 1, "currency": "EUR", "amount": "3.5", "created_at": 1_700_000_000},
    {"id": 2, "currency": "EUR", "amount": "6.5", "created_at": 1_700_000_060},
    {"id": 3, "currency": "USD", "amount": "much", "created_at": 1_700_000_030},
]


@pytest.fixture(autouse=True)
def _empty(gateway: Gateway) -> None:
    gateway.wipe()


@pytest.fixture
def source() -> Iterator[tuple[str, list[object]]]:
    """A shop that answers with the orders in a list."""
    orders: list[object] = []

    class Shop(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with the orders."""
            body = json.dumps(orders).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Shop) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/orders", orders
        server.shutdown()
        thread.join()


def environment(gateway: Gateway) -> dict[str, str]:
    """What a job gets: the gateway, and the programs of this checkout."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYMETRICS_")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**clean, "PYMETRICS_GATEWAY_URL": gateway.url, "PATH": path}


def run_etl(gateway: Gateway, source: str, directory: Path) -> tuple[int, Exposition]:
    """Run the ETL job; return its exit status and what the gateway has then."""
    command = [sys.executable, str(EXAMPLES / "nightly_etl/etl.py"), source, "orders.db"]
    done = subprocess.run(command, cwd=directory, env=environment(gateway), capture_output=True, text=True, check=False)
    return done.returncode, gateway.scrape()


def test_the_etl_job_tells_what_it_did(gateway: Gateway, source: tuple[str, list[object]], tmp_path: Path) -> None:
    """Stages, records, revenue, freshness and the request to the shop are there; one bad order fails nothing."""
    url, orders = source
    orders += ORDERS
    status, found = run_etl(gateway, url, tmp_path)
    assert status == 0
    assert found.value("batch_job_last_result", job="nightly-etl", result="success") == 1
    assert found.value("batch_job_records", outcome="written") == 2
    assert found.value("batch_job_records", outcome="failed") == 1
    assert found.value("batch_job_exceptions", error_type="ValueError") == 1
    assert found.value("etl_revenue_total", currency="EUR") == 10
    assert found.value("batch_job_last_record_processed_timestamp_seconds") == 1_700_000_060
    stages = {line.label_map["stage"] for line in found["batch_job_stage_duration_seconds"].lines}
    assert stages == {"", "extract", "transform", "load"}
    requests = found["http_client_request_duration_seconds"].lines
    assert {line.label_map["http_response_status_code"] for line in requests} == {"200"}


def test_the_etl_job_skips_and_fails(gateway: Gateway, source: tuple[str, list[object]], tmp_path: Path) -> None:
    """No orders are a skip with exit status 0, a shop that is gone is an error with exit status 1."""
    status, found = run_etl(gateway, source[0], tmp_path)
    assert (status, found.value("batch_job_last_result", result="skip")) == (0, 1)
    status, found = run_etl(gateway, "http://127.0.0.1:9/orders", tmp_path)
    assert (status, found.value("batch_job_last_result", result="error")) == (1, 1)
    assert found.value("batch_job_exceptions", error_type="ConnectionError") == 1


def test_the_tutorial_runs_as_it_stands(gateway: Gateway, tmp_path: Path) -> None:
    """Each step of the SDK's tutorial works, and the job tells what the page says that it tells."""
    blocks = snippets(page("docs/tutorial/instrument-a-batch-job.md"))
    (tmp_path / "billing.py").write_text(next(each.text for each in blocks if each.language == "python"))
    env = environment(gateway)
    del env["PYMETRICS_GATEWAY_URL"]
    printed = ""
    for block in blocks:
        if block.language == "sh" and not block.text.startswith("pip "):
            script = block.text.replace("http://127.0.0.1:9091", gateway.url)
            done = subprocess.run(
                ["bash", "-euc", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, block.text + done.stdout + done.stderr
            printed += done.stdout
    promised = next(each.text for each in blocks if not each.language)
    for line in promised.splitlines():
        if "duration" not in line:
            assert line in printed
    assert "exit status 1" in printed
    assert 'batch_job_last_result{instance="",job="billing",result="error"} 1' in printed


def cron_line(directory: Path, archive: Path) -> list[str]:
    """The command of the crontab, for another directory."""
    text = (EXAMPLES / "shell_cron/crontab").read_text()
    line = next(line for line in text.splitlines() if line.startswith("0 3 * * * "))
    command = line.removeprefix("0 3 * * * ")
    return shlex.split(command.replace("/srv/shop", str(directory)).replace("/var/backups/shop.tar.gz", str(archive)))


def test_the_backup_of_the_crontab(gateway: Gateway, tmp_path: Path) -> None:
    """The line of the crontab makes the archive, and its run and the archive's size are in one group."""
    source, archive = tmp_path / "shop", tmp_path / "shop.tar.gz"
    source.mkdir()
    (source / "data").write_text("x" * 1000)
    command = cron_line(source, archive)
    done = subprocess.run(
        command, cwd=EXAMPLES / "shell_cron", env=environment(gateway), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    key = {"job": "backup", "directory": str(source)}
    found = gateway.scrape()
    assert found.value("batch_job_last_result", **key, result="success") == 1
    assert found.value("backup_size_bytes", **key) == archive.stat().st_size
    assert found.value("batch_job_deadline_timestamp_seconds", **key) > 0


def test_a_backup_that_fails(gateway: Gateway, tmp_path: Path) -> None:
    """A directory that is not there is a failure with tar's status, told by tar."""
    command = cron_line(tmp_path / "none", tmp_path / "archive")
    done = subprocess.run(
        command, cwd=EXAMPLES / "shell_cron", env=environment(gateway), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "tar:" in done.stderr
    assert gateway.scrape().value("batch_job_last_result", result="failure") == 1
