"""Are the calls of the requests library measured as they happen, over real connections?"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from pymetrics_sdk import Job, instrument, uninstrument
from pymetrics_sdk.testing import Group, InMemoryGateway, in_memory_gateway
from tests.sdk.support import ScriptedGateway, run_child, stall

COUNT = "http_client_request_duration_seconds_count"
SUM = "http_client_request_duration_seconds_sum"
ACTIVE = "http_client_active_requests"


class Handler(BaseHTTPRequestHandler):
    """Redirects, streams, fails."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer by path."""
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/final")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/slow":
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            for _ in range(4):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.1)
        else:
            status = int(self.path.rpartition("/")[2]) if self.path.startswith("/status/") else 200
            self.send_response(status)
            self.send_header("Content-Length", "0" if status == 204 else "2")
            self.end_headers()
            if status != 204 and self.command == "GET":
                self.wfile.write(b"ok")

    do_HEAD = do_GET  # noqa: N815 -- http.server's name

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


@pytest.fixture
def gateway() -> Iterator[InMemoryGateway]:
    """A gateway in memory, with requests instrumented."""
    with in_memory_gateway() as memory:
        assert instrument("requests") == ("requests",)
        yield memory
        uninstrument()


def group(gateway: InMemoryGateway) -> Group:
    """What the job pushed."""
    return gateway.group(job="caller")


def test_a_redirect_counts_once_a_hop(server: str, gateway: InMemoryGateway) -> None:
    """One redirect followed is two requests: not one, and not three."""
    with Job("caller"):
        assert requests.get(f"{server}/redirect", timeout=5).text == "ok"
    assert group(gateway).total(COUNT) == 2
    assert group(gateway).total(COUNT, {"http_response_status_code": "302"}) == 1
    assert group(gateway).total(COUNT, {"http_response_status_code": "200", "http_request_method": "GET"}) == 1
    assert group(gateway).total(ACTIVE) == 0


def test_a_body_is_timed_to_its_end(server: str, gateway: InMemoryGateway) -> None:
    """The time of a streamed answer is that of its body, whether requests or the caller reads it."""
    with Job("caller"):
        assert requests.get(f"{server}/slow", timeout=5).content == b"xxxx"
        with requests.get(f"{server}/slow", timeout=5, stream=True) as response:
            assert group_active(gateway) == 1
            assert b"".join(response.iter_content(1)) == b"xxxx"
    assert group(gateway).total(COUNT) == 2
    assert group(gateway).total(SUM) > 2 * 0.3
    assert group(gateway).total(ACTIVE) == 0


def group_active(gateway: InMemoryGateway) -> float:
    """Requests under way in the current run."""
    from pymetrics_sdk import current_run  # noqa: PLC0415 -- beside its one use

    families = {metric.name: metric for metric in current_run().registry.collect()}
    return sum(sample.value for sample in families[ACTIVE].samples)


def test_answers_that_nobody_reads_end_all_the_same(server: str, gateway: InMemoryGateway) -> None:
    """Closed, thrown away, without a body: no request stays active."""
    with Job("caller"):
        requests.get(f"{server}/slow", timeout=5, stream=True).close()
        requests.get(f"{server}/status/204", timeout=5)
        requests.head(f"{server}/final", timeout=5)
        with warnings.catch_warnings(), requests.Session() as session:
            warnings.simplefilter("ignore", ResourceWarning)
            session.get(f"{server}/slow", timeout=5, stream=True)
    assert group(gateway).total(COUNT) == 4
    assert group(gateway).total(ACTIVE) == 0


@pytest.mark.parametrize(("path", "error_type"), [("/status/404", "404"), ("/status/503", "503")])
def test_refusals_are_errors_of_the_client(server: str, gateway: InMemoryGateway, path: str, error_type: str) -> None:
    """A status of 400 or more is the error_type."""
    with Job("caller"):
        assert not requests.get(server + path, timeout=5).ok
    assert group(gateway).total(COUNT, {"error_type": error_type, "http_response_status_code": error_type}) == 1


def test_connections_that_fail_are_errors_by_class(gateway: InMemoryGateway) -> None:
    """Without an answer the exception's class is the error_type, and the exception is requests' own."""
    with Job("caller"), pytest.raises(requests.ConnectionError):
        requests.get("http://127.0.0.1:9/", timeout=5)
    assert group(gateway).total(COUNT, {"error_type": "ConnectionError", "server_port": "9"}) == 1


def test_paths_and_queries_are_no_labels(server: str, gateway: InMemoryGateway) -> None:
    """Twenty paths of one server are one series."""
    with Job("caller"), requests.Session() as session:
        for number in range(20):
            session.get(f"{server}/final/{number}?token=hunter2", timeout=5)
    assert group(gateway).total(COUNT) == 20
    assert len({sample.labels["http_response_status_code"] for sample in
                group(gateway).families["http_client_request_duration_seconds"].samples}) == 1  # fmt: skip
    assert "hunter2" not in gateway.pushes[-1].body


def test_instrumenting_twice_counts_once_and_is_undone(server: str, gateway: InMemoryGateway) -> None:
    """instrument() and uninstrument() may be called any number of times."""
    original = requests.adapters.HTTPAdapter.send
    instrument()
    instrument("requests")
    assert requests.adapters.HTTPAdapter.send is original
    with Job("caller"):
        requests.get(f"{server}/final", timeout=5)
        uninstrument()
        uninstrument("requests")
        requests.get(f"{server}/final", timeout=5)
    assert group(gateway).total(COUNT) == 1
    assert not hasattr(requests.adapters.HTTPAdapter.send, "_pymetrics_original")


def test_the_sdks_own_pushes_are_not_measured() -> None:
    """Pushing over HTTP with requests instrumented leaves no trace of the gateway in the job's metrics."""
    script = """
        from pymetrics_sdk import Job, instrument
        instrument("requests")
        with Job("caller") as run:
            import time; time.sleep(0.5)
        with Job("caller"):
            pass
        """
    with ScriptedGateway() as server:
        assert run_child(script, gateway=server.url) == (0, "", "")
        assert len(server.finals) == 2
        assert not any("http_client" in each.body for each in server.received)


def test_no_warning_is_left_behind() -> None:
    """Under -X dev and -W error, which turn an unclosed socket into noise, a job is as quiet as ever."""
    script = """
        import subprocess, sys
        code = "from pymetrics_sdk import Job\\nwith Job('quiet', timeout='1s'): pass"
        done = subprocess.run([sys.executable, "-X", "dev", "-W", "error", "-c", code], capture_output=True, text=True)
        print(done.returncode, done.stderr)
        """
    with ScriptedGateway() as server:
        assert run_child(script, gateway=server.url) == (0, "0 \n", "")
    with ScriptedGateway(otherwise=stall) as server:
        _, out, _ = run_child(script, gateway=server.url)
        assert len(out.strip().splitlines()) == 1
        assert "before the push deadline" in out
