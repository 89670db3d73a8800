"""Whatever the gateway does, the job's result is its own, and it ends within the push deadline plus a second."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from tests.sdk.support import Behaviour, ScriptedGateway, black_hole, drip, reply, reset, run_child, stall

pytestmark = pytest.mark.alone

DEADLINE_SECONDS = 1.0

JOB = """
    import sys
    from pymetrics_sdk import Job
    @Job("steadfast", timeout="{timeout}", on_push_error={policy!r})
    def main():
        {statement}
        return 41
    print(main() + 1)
    """


def run(
    gateway: str, *, statement: str = "pass", policy: str = "log", timeout: str = "1s", **env: str
) -> tuple[int, str, str, float]:
    """Run the job and return exit status, output, standard error and seconds."""
    started = time.monotonic()
    script = JOB.format(statement=statement, policy=policy, timeout=timeout)
    status, out, error = run_child(script, gateway=gateway, **env)
    return status, out.strip(), error, time.monotonic() - started


FAILURES: dict[str, tuple[Behaviour, str]] = {
    "drips": (drip, "no answer before the push deadline"),
    "stalls": (stall, "no answer before the push deadline"),
    "resets": (reset, "attempts"),
    "301": (reply(301, location="http://user:secret@elsewhere/"), "redirects to http://elsewhere/"),
    "302": (reply(302, location="http://elsewhere/"), "redirects to http://elsewhere/"),
    "307": (reply(307, location="http://elsewhere/"), "redirects to http://elsewhere/"),
    "400": (reply(400, "text format parsing error in line 7"), "text format parsing error in line 7"),
    "401": (reply(401, "Unauthorized"), "401: Unauthorized"),
    "413": (reply(413, "limit body-bytes exceeded"), "limit body-bytes exceeded"),
    "429 for an hour": (reply(429, "slow down", retry_after="3600"), "429: slow down"),
    "500": (reply(500, "boom"), "500: boom"),
}


@pytest.mark.parametrize(("behaviour", "reason"), FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("scope", ["only the end", "always"])
def test_no_failure_of_a_push_is_the_jobs(behaviour: Behaviour, reason: str, scope: str) -> None:
    """The job returns what it returns, ends in time, and standard error says why the push failed, without secrets."""
    script, otherwise = ([behaviour] * 50, reply(200)) if scope == "only the end" else ([], behaviour)
    with ScriptedGateway(script, otherwise) as gateway:
        status, out, error, seconds = run(gateway.url)
    assert (status, out) == (0, "42")
    assert reason in error
    assert "secret" not in error
    assert seconds < DEADLINE_SECONDS + 1 + 1  # one more for the interpreter's own start


@pytest.mark.parametrize("statement", ["raise ValueError('mine')", "sys.exit(3)"])
def test_a_failing_job_keeps_its_own_failure(statement: str) -> None:
    """With the gateway gone, even in strict mode, an exception or exit status of the job is not replaced."""
    plain = run("", statement=statement, PYMETRICS_DISABLED="1")[0]
    status, _, error, _ = run("http://127.0.0.1:9", statement=statement, policy="raise")
    assert status == plain
    assert "PushError" not in error


def test_a_gateway_that_is_down_costs_no_more_than_the_deadline() -> None:
    """A refused connection is retried with backoff until the deadline, then logged with the reason."""
    status, out, error, seconds = run("http://127.0.0.1:9")
    assert (status, out) == (0, "42")
    assert "Connection refused" in error
    assert seconds < DEADLINE_SECONDS + 2


def test_a_black_hole_costs_no_more_than_the_deadline() -> None:
    """A gateway whose packets vanish holds the job up for the deadline and not longer."""
    with black_hole() as url:
        status, out, error, seconds = run(url)
    assert (status, out) == (0, "42")
    assert "push deadline" in error or "timed out" in error
    assert seconds < DEADLINE_SECONDS + 2


def test_a_name_that_does_not_resolve_is_a_reason() -> None:
    """A wrong host name is said in so many words."""
    status, out, error, _ = run("http://no-such-host.invalid:9091")
    assert (status, out) == (0, "42")
    assert "cannot resolve no-such-host.invalid" in error


def test_a_resolver_that_hangs_is_given_up() -> None:
    """Nothing can interrupt a name resolution, so the job leaves the thread that waits for it behind."""
    statement = "import socket, time; socket.getaddrinfo = lambda *_: time.sleep(30)"
    status, out, error, seconds = run("http://gateway.example:9091", statement=statement)
    assert (status, out) == (0, "42")
    assert "did not answer before the push deadline" in error
    assert seconds < DEADLINE_SECONDS + 2


def test_the_body_of_a_good_answer_is_not_waited_for() -> None:
    """Once the gateway has taken the push, an answer's body that never ends costs the job nothing."""

    def taken(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        stop.wait(20.0)

    with ScriptedGateway([taken]) as gateway:
        status, _, error, seconds = run(gateway.url, timeout="15s")
        assert (status, error, len(gateway.finals)) == (0, "", 1)
    assert seconds < 10


def test_the_first_deadline_is_set_beside_any_number_of_groups() -> None:
    """A list of groups of several megabytes is read to its end to learn that the job has no deadline yet."""
    groups = ",".join('{"labels":{"job":"%s"}}' % (f"{number:04}" * 16_000) for number in range(100))
    listing = reply(200, f'{{"status":"success","data":[{groups}]}}')
    script = """
        import time
        from pymetrics_sdk import Job
        with Job('new', schedule='0 3 * * *', timeout='5s'):
            time.sleep(2)
    """
    with ScriptedGateway([], listing) as gateway:
        assert run_child(script, gateway=gateway.url)[::2] == (0, "")
        starts = [each for each in gateway.received if each.method == "POST" and not each.is_final]
    assert "batch_job_deadline_timestamp_seconds" in starts[0].body


def test_503_then_200_is_a_success() -> None:
    """A gateway that restarts takes the second attempt, and the body is the same."""
    with ScriptedGateway([reply(503, "starting"), reply(503, retry_after="0"), reply(200)]) as gateway:
        status, _, error, _ = run(gateway.url, timeout="5s")
        assert (status, error) == (0, "")
        assert len(gateway.finals) == 3
        assert len({each.body for each in gateway.finals}) == 1


def test_retry_after_is_obeyed_within_the_deadline() -> None:
    """A short Retry-After is waited for."""
    with ScriptedGateway([reply(429, retry_after="1"), reply(200)]) as gateway:
        status, _, error, seconds = run(gateway.url, timeout="5s")
        assert (status, error, len(gateway.finals)) == (0, "", 2)
    assert seconds > 1.0


def test_400_is_sent_again_plain_and_then_no_more() -> None:
    """A gateway that cannot read gzip gets the body once more as it is, then once without the job's own metrics."""
    with ScriptedGateway([reply(400, "bad")] * 5) as gateway:
        run(gateway.url)
        encodings = [each.headers.get("content-encoding") for each in gateway.finals]
    assert encodings == ["gzip", None, None]


def test_strict_mode_raises_after_a_successful_run() -> None:
    """on_push_error="raise", or PYMETRICS_STRICT=1, turns a failed push of a good run into PushError."""
    status, _, error, _ = run("http://127.0.0.1:9", policy="raise")
    assert status == 1
    assert "PushError" in error
    status, _, error = run_child(
        "from pymetrics_sdk import Job\nwith Job('x', timeout='300ms'): pass",
        gateway="http://127.0.0.1:9",
        PYMETRICS_STRICT="1",
    )
    assert status == 1
    assert "PushError" in error


def test_a_slow_start_push_cannot_land_after_the_end() -> None:
    """The final push closes a start push that hangs, and is the last thing that the gateway hears."""
    with ScriptedGateway([reply(200)], stall) as gateway:
        status, _, error, seconds = run(gateway.url, statement="__import__('time').sleep(0.5)")
        time.sleep(0.2)
        assert (status, error) == (0, "")
        assert [each.is_final for each in gateway.received] == [False, True]
        assert gateway.received[0].headers["x-pymetrics-sequence"] == "1"
        assert gateway.received[1].headers["x-pymetrics-sequence"] == "2"
    assert seconds < DEADLINE_SECONDS + 2


def test_credentials_in_the_url_become_basic_auth_and_are_not_logged() -> None:
    """user:password@ goes into the Authorization header, and no message shows it."""
    with ScriptedGateway([reply(200)]) as gateway:
        run(gateway.url.replace("//", "//user:s%40cret@"))
        assert gateway.finals[0].headers["authorization"] == "Basic dXNlcjpzQGNyZXQ="
    _, _, error, _ = run("http://user:s%40cret@127.0.0.1:9")
    assert "user" not in error
    assert "cret" not in error


@pytest.mark.parametrize("token", ["", "abc"])
def test_netrc_never_replaces_what_was_configured(tmp_path: Path, token: str) -> None:
    """The library requests would send the password of ~/.netrc in place of a token, or where there should be none."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login netrc password netrc\n")
    with ScriptedGateway([reply(200)]) as gateway:
        run(gateway.url, HOME=str(tmp_path), PYMETRICS_TOKEN=token)
        assert gateway.finals[0].headers.get("authorization") == (f"Bearer {token}" if token else None)


def test_a_token_file_is_read_at_every_push(tmp_path: Path) -> None:
    """A rotated token takes effect without a restart; a missing file is a reason and no traceback."""
    file = tmp_path / "token"
    file.write_text("first\n")
    with ScriptedGateway([reply(200)]) as gateway:
        run(gateway.url, PYMETRICS_TOKEN_FILE=str(file))
        assert gateway.finals[0].headers["authorization"] == "Bearer first"
    status, _, error, _ = run("http://127.0.0.1:9", PYMETRICS_TOKEN_FILE=str(tmp_path / "none"))
    assert status == 0
    assert "token file cannot be read" in error


@pytest.mark.parametrize("content", ["hunter2\nsecond", "hunter2 x", "hunter2\u00e4", "hunter2\x00"])
def test_a_token_that_is_none_is_refused_once_and_never_shown(tmp_path: Path, content: str) -> None:
    """What cannot stand in a header is said to be no token, without its text, and is not tried again and again."""
    file = tmp_path / "token"
    file.write_text(content)
    with ScriptedGateway([reply(200)]) as gateway:
        status, out, error, _ = run(gateway.url, PYMETRICS_TOKEN_FILE=str(file))
        assert gateway.received == []
    assert (status, out) == (0, "42")
    assert "PYMETRICS_TOKEN_FILE: is no token" in error
    assert "after 1 attempts" in error
    assert "hunter2" not in error


@pytest.mark.parametrize("proxy", ["http://user:hunter2@:x", "http://user:hunter2@[", "http://user:hunter2@"])
def test_a_proxys_password_is_never_shown(proxy: str) -> None:
    """The libraries below quote a proxy URL that cannot be used, password and all; here only the error is named."""
    status, out, error, _ = run("http://127.0.0.1:9", HTTP_PROXY=proxy, NO_PROXY="", no_proxy="")
    assert (status, out) == (0, "42")
    assert "the final push" in error
    assert "hunter2" not in error


def test_a_dead_proxy_fails_the_push_and_nothing_else() -> None:
    """HTTP_PROXY is obeyed, as every client does, so a proxy that is gone is a failed push."""
    with ScriptedGateway([reply(200)]) as gateway:
        status, out, error, seconds = run(gateway.url, HTTP_PROXY="http://127.0.0.1:9", NO_PROXY="", no_proxy="")
        assert gateway.received == []
    assert (status, out) == (0, "42")
    assert "Connection refused" in error
    assert seconds < DEADLINE_SECONDS + 2


def test_no_proxy_is_obeyed() -> None:
    """A gateway that NO_PROXY names is reached directly."""
    with ScriptedGateway([reply(200)]) as gateway:
        _, _, error, _ = run(gateway.url, HTTP_PROXY="http://127.0.0.1:9", NO_PROXY="127.0.0.1")
        assert (len(gateway.finals), error) == (1, "")


def test_without_a_gateway_nothing_happens() -> None:
    """No gateway configured: no thread, no log line, the same result."""
    assert run("", statement="import threading; assert threading.active_count() == 1")[:3] == (0, "42", "")


def test_a_gateway_url_that_is_none_is_one_warning() -> None:
    """A variable that cannot be used is named, its value is not shown, and the job runs."""
    status, out, error, _ = run("http://user:hunter2@:port")
    assert (status, out) == (0, "42")
    assert "PYMETRICS_GATEWAY_URL" in error
    assert "hunter2" not in error
