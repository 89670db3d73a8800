"""`pymetrics run -- CMD` and its siblings, as programs: is the wrapped command what it was, and what is pushed?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pymetrics_sdk import command
from pymetrics_sdk.environment import FOREIGN_VARIABLES
from tests.sdk.support import ScriptedGateway, reply


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    with ScriptedGateway() as server:
        yield server


def start(gateway: ScriptedGateway | None, *arguments: str, **env: str) -> subprocess.Popen[str]:
    """Start ``python -m pymetrics_sdk``."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYMETRICS_") and name not in FOREIGN_VARIABLES
    }
    return subprocess.Popen(
        [sys.executable, "-m", "pymetrics_sdk", *arguments],
        env={**clean, "PYMETRICS_GATEWAY_URL": gateway.url if gateway else "", **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pymetrics(gateway: ScriptedGateway | None, *arguments: str, stdin: str = "", **env: str) -> tuple[int, str, str]:
    """Run it to its end; return exit status, output and standard error."""
    with start(gateway, *arguments, **env) as process:
        out, error = process.communicate(stdin, timeout=30)
    return process.returncode, out, error


ENDS = {
    "success": ("true", 0, "success", ""),
    "failure": ("exit 3", 3, "failure", ""),
    "SIGTERM by somebody": ("kill -TERM $$", 143, "cancellation", ""),
    "SIGKILL by somebody": ("kill -KILL $$", 137, "cancellation", ""),
    "crash": ("kill -SEGV $$", 139, "error", "SIGSEGV"),
}


@pytest.mark.parametrize(("command", "code", "result", "error_type"), ENDS.values(), ids=ENDS)
def test_the_exit_status_is_passed_on(
    gateway: ScriptedGateway, command: str, code: int, result: str, error_type: str
) -> None:
    """The command's exit status, or 128+N after signal N, is that of pymetrics run, and is pushed with its meaning."""
    status, _, _ = pymetrics(gateway, "run", "--job", "wrapped", "--", "sh", "-c", command)
    assert status == code
    group = gateway.group("wrapped")
    assert group["batch_job_last_exit_code"] == code
    assert group["batch_job_last_result", {"result": result}] == 1
    assert group["batch_job_exceptions", {"error_type": error_type}] == (1 if error_type else 0)


def test_input_and_output_are_the_commands_own(gateway: ScriptedGateway) -> None:
    """Standard input reaches the command, output and standard error come from it and from nobody else."""
    answer = pymetrics(gateway, "run", "--job", "cat", "--", "sh", "-c", "cat; echo oops >&2", stdin="one\ntwo\n")
    assert answer == (0, "one\ntwo\n", "oops\n")


@pytest.mark.parametrize(("command", "code"), [("/no/such/program", 127), ("/etc/passwd", 126), ("/etc", 126)])
def test_a_command_that_cannot_be_run(gateway: ScriptedGateway, command: str, code: int) -> None:
    """127 says that there is no such command, 126 that it cannot be executed; both are failures of the job."""
    status, out, error = pymetrics(gateway, "run", "--job", "wrapped", "--", command)
    assert (status, out) == (code, "")
    assert command in error
    assert gateway.group("wrapped")["batch_job_last_result", {"result": "failure"}] == 1


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["run", "--job", "x"], ["run", "--bogus", "--", "true"], ["run", "--schedule", "no", "--", "true"]],
)
def test_wrong_usage_of_run_is_125(arguments: list[str]) -> None:
    """A usage error has a status of its own, so that it is not taken for the command's; the command is not run."""
    status, out, error = pymetrics(None, *arguments)
    assert (status, out) == (125, "")
    assert error


@pytest.mark.parametrize("arguments", [["push"], ["delete", "--job", "x"], ["doctor"], ["bogus"], []])
def test_wrong_usage_of_the_others_is_2(arguments: list[str]) -> None:
    """Without a gateway, a job or a known command there is nothing to do."""
    assert pymetrics(None, *arguments)[0] == 2


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_command(gateway: ScriptedGateway, signum: signal.Signals) -> None:
    """A signal to pymetrics run is the command's, whose answer decides."""
    name = signum.name.removeprefix("SIG")
    script = f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    with start(gateway, "run", "--job", "wrapped", "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signum)
        out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (9, f"got {name}\n")
    result = "failure" if signum is signal.SIGUSR1 else "cancellation"
    assert gateway.group("wrapped")["batch_job_last_result", {"result": result}] == 1


def test_a_sigterm_that_kills_the_command_is_143(gateway: ScriptedGateway) -> None:
    """A command without a handler dies by the signal; the wrapper pushes and exits with 143."""
    with start(gateway, "run", "--job", "wrapped", "--", "sh", "-c", "echo ready; exec sleep 30") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 143
    assert gateway.group("wrapped")["batch_job_last_result", {"result": "cancellation"}] == 1


def test_a_signal_that_interrupts_no_system_call_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that comes just before the wait for the command, and so does not interrupt it, reaches the command."""
    relay = command.Relay()
    waits = threading.Event()
    select = command.select.select

    def wait(*arguments: Any) -> Any:
        waits.set()
        return select(*arguments)

    def signal_another_thread() -> None:
        waits.wait(20)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    monkeypatch.setattr(command, "POLL_SECONDS", 20.0)
    monkeypatch.setattr(command.select, "select", wait)
    with relay.installed(), subprocess.Popen(["sleep", "10"]) as child:
        thread = threading.Thread(target=signal_another_thread)
        thread.start()
        relay.started(child.pid)
        status, _ = relay.wait(child.pid)
        child.returncode = os.waitstatus_to_exitcode(status)
        thread.join()
    assert child.returncode == -signal.SIGTERM
    assert relay.signalled


def test_kill_after_ends_a_command_that_takes_too_long(gateway: ScriptedGateway) -> None:
    """--kill-after sends SIGTERM; the run is a timeout and the status says by which signal it ended."""
    started = time.monotonic()
    status, _, _ = pymetrics(gateway, "run", "--job", "wrapped", "--kill-after", "300ms", "--", "sleep", "30")
    assert status == 143
    assert time.monotonic() - started < 10
    assert gateway.group("wrapped")["batch_job_last_result", {"result": "timeout"}] == 1


def test_max_runtime_only_reports(gateway: ScriptedGateway) -> None:
    """A command that takes longer than --max-runtime is left alone and counted as a timeout."""
    status, _, _ = pymetrics(gateway, "run", "--job", "wrapped", "--max-runtime", "50ms", "--", "sleep", "0.2")
    assert status == 0
    group = gateway.group("wrapped")
    assert group["batch_job_last_result", {"result": "timeout"}] == 1
    assert "batch_job_last_failure_timestamp_seconds" in group


def test_resources_are_the_childs(gateway: ScriptedGateway) -> None:
    """Processor time and memory of the command itself are pushed as the children's."""
    code = "x = bytearray(60_000_000)\nfor _ in range(3_000_000): pass"
    assert pymetrics(gateway, "run", "--job", "wrapped", "--", sys.executable, "-c", code)[0] == 0
    group = gateway.group("wrapped")
    assert group["batch_job_children_cpu_seconds", {"mode": "user"}] > 0.01
    assert group["batch_job_children_max_resident_memory_bytes"] > 60_000_000


def test_every_documented_flag_of_run_is_taken(gateway: ScriptedGateway) -> None:
    """All options of run at once, each of which can be seen in what is pushed."""
    arguments = (
        "--gateway", gateway.url, "--job", "all-flags", "--label", "shard=3", "--label", "region=eu",
        "--timeout", "4s", "--schedule", "0 3 * * *", "--tz", "Europe/Berlin", "--grace", "1h",
        "--max-runtime", "2h", "--heartbeat", "30s", "--kill-after", "1h", "--app-version", "1.2.3",
    )  # fmt: skip
    status, out, error = pymetrics(None, "run", *arguments, "--", "echo", "--job", "mine")
    assert (status, out, error) == (0, "--job mine\n", "")
    group = gateway.group("all-flags", shard="3", region="eu")
    assert group["batch_job_grace_seconds"] == 3600
    assert group["batch_job_max_runtime_seconds"] == 7200
    assert group["batch_job_heartbeat_interval_seconds"] == 30
    assert group["batch_job_deadline_timestamp_seconds"] == group["batch_job_next_run_timestamp_seconds"] + 10_800
    assert group.total("batch_job_info", {"version": "1.2.3"}) == 1
    assert pymetrics(gateway, "run", "--job", "often", "--every", "15m", "--", "true")[0] == 0
    assert "batch_job_next_run_timestamp_seconds" in gateway.group("often")


def test_the_job_is_named_after_the_command(gateway: ScriptedGateway) -> None:
    """Without any other name the job has that of the program."""
    assert pymetrics(gateway, "run", "--", "/bin/true")[0] == 0
    assert gateway.group("true")["batch_job_last_result", {"result": "success"}] == 1


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9"])
def test_a_push_that_fails_changes_nothing(url: str) -> None:
    """Without a gateway, or with one that is down, the command's status and output are its own."""
    status, out, error = pymetrics(
        None, "run", "--job", "x", "--timeout", "1s", "--", "sh", "-c", "echo hi; exit 4", PYMETRICS_GATEWAY_URL=url
    )
    assert (status, out) == (4, "hi\n")
    assert ("Connection refused" in error) == bool(url)


def test_push_takes_metrics_from_standard_input_and_files(gateway: ScriptedGateway, tmp_path: Path) -> None:
    """`echo 'rows 42' | pymetrics push` is a POST, a missing last line feed is added, --replace is a PUT."""
    assert pymetrics(gateway, "push", "--job", "etl", "--label", "shard=3", stdin="rows 42") == (0, "", "")
    file = tmp_path / "metrics.prom"
    file.write_text("cells 7\n")
    assert pymetrics(gateway, "push", "--job", "etl", "--label", "shard=3", str(file))[0] == 0
    group = gateway.group("etl", shard="3")
    assert (group["rows"], group["cells"]) == (42, 7)
    assert pymetrics(gateway, "push", "--replace", "--job", "etl", "--label", "shard=3", str(file))[0] == 0
    assert "rows" not in gateway.group("etl", shard="3")
    assert [each.method for each in gateway.received] == ["POST", "POST", "PUT"]


def test_push_says_why_it_was_refused() -> None:
    """A refusal is exit status 1 with the gateway's reason on standard error."""
    with ScriptedGateway(otherwise=reply(400, "line 1: expected float")) as gateway:
        status, out, error = pymetrics(gateway, "push", "--job", "etl", stdin="rows\n")
    assert (status, out) == (1, "")
    assert "line 1: expected float" in error
    assert (
        pymetrics(None, "push", "--job", "x", "--gateway", "http://127.0.0.1:9", "--timeout", "200ms", stdin="a 1")[0]
        == 1
    )


def test_push_of_a_missing_file_is_wrong_usage(gateway: ScriptedGateway) -> None:
    """A file that cannot be read is named."""
    status, _, error = pymetrics(gateway, "push", "--job", "etl", "/no/such/file")
    assert status == 2
    assert "/no/such/file" in error


def test_delete_removes_the_group(gateway: ScriptedGateway) -> None:
    """DELETE goes to the same group as a push with the same options."""
    pymetrics(gateway, "push", "--job", "a b", "--label", "path=/x", stdin="rows 1\n")
    assert pymetrics(gateway, "delete", "--job", "a b", "--label", "path=/x") == (0, "", "")
    with pytest.raises(KeyError):
        gateway.group("a b", path="/x")
    assert gateway.received[-1].path == "/metrics/job@base64/YSBi/path@base64/L3g"


def test_doctor_goes_the_way_of_a_push(gateway: ScriptedGateway) -> None:
    """The doctor resolves, connects, pushes to a group of its own and deletes it; no secret is shown."""
    status, out, error = pymetrics(gateway, "doctor", PYMETRICS_USERNAME="ops", PYMETRICS_PASSWORD="hunter2")
    assert (status, error) == (0, "")
    for word in ("gateway", "basic auth as ops", "resolve", "connect", "status", "push      200", "delete    200"):
        assert word in out
    assert "hunter2" not in out
    assert [each.method for each in gateway.received] == ["GET", "POST", "DELETE"]


def test_doctor_names_the_step_that_fails() -> None:
    """Each step that fails ends the examination with exit status 1 and the reason."""
    assert "connect   FAILED" in pymetrics(None, "doctor", "--gateway", "http://127.0.0.1:9")[1]
    assert "resolve   FAILED" in pymetrics(None, "doctor", "--gateway", "http://no-such-host.invalid")[1]
    with ScriptedGateway(otherwise=reply(401, "Unauthorized")) as gateway:
        status, out, _ = pymetrics(gateway, "doctor")
    assert status == 1
    assert "push      FAILED after 1 attempts: the gateway answered 401: Unauthorized" in out


def test_an_oom_kill_is_seen_as_such(gateway: ScriptedGateway, tmp_path: Path) -> None:
    """A command that the kernel kills at its memory limit is an error of the class OOMKilled, with exit status 137."""
    controller = Path("/sys/fs/cgroup/memory")
    group = controller / f"pymetrics-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(80 * 1024 * 1024))
    except OSError:
        pytest.skip("needs root and a writable cgroup v1 memory controller")
    try:
        enter = f'echo $$ > {group}/cgroup.procs; exec "$@"'
        hog = f"{sys.executable} -c 'x = bytearray(300_000_000)'"
        run = f"{sys.executable} -m pymetrics_sdk run --job hog -- {hog}"
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PYMETRICS_") and name not in FOREIGN_VARIABLES
        }
        status = subprocess.run(
            ["sh", "-c", enter, "sh", "sh", "-c", run], env={**clean, "PYMETRICS_GATEWAY_URL": gateway.url}, check=False
        ).returncode
    finally:
        group.rmdir()
    assert status == 137
    pushed = gateway.group("hog")
    assert pushed["batch_job_last_result", {"result": "error"}] == 1
    assert pushed["batch_job_exceptions", {"error_type": "OOMKilled"}] == 1
    assert pushed["batch_job_cgroup_oom_kills"] >= 1


def test_a_kill_after_that_no_timer_takes_is_wrong_usage(tmp_path: Path) -> None:
    """It is refused before the command starts, so that no command is left behind without its supervisor."""
    mark = tmp_path / "started"
    status, _, error = pymetrics(None, "run", "--kill-after", "1e300", "--", "touch", str(mark))
    assert status == 125
    assert "--kill-after" in error
    assert not mark.exists()


def test_open_descriptors_are_the_commands_too() -> None:
    """What the caller opened for the command, as a shell does with 3<file, reaches it."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as answers:
        try:
            write = f"import os; os.write({write_end}, b'inherited')"
            program = [sys.executable, "-m", "pymetrics_sdk", "run", "--", sys.executable, "-c", write]
            done = subprocess.run(
                program, pass_fds=(write_end,), env={**os.environ, "PYMETRICS_GATEWAY_URL": ""}, timeout=30, check=False
            )
        finally:
            os.close(write_end)
        assert (done.returncode, answers.read()) == (0, "inherited")


def test_the_exit_status_survives_a_parent_that_ignores_its_children(gateway: ScriptedGateway) -> None:
    """Under a parent that ignores SIGCHLD the kernel would throw the command's exit status away."""
    prefix = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
    )
    arguments = [sys.executable, "-m", "pymetrics_sdk", "run", "--job", "ignored", "--", "sh", "-c", "exit 3"]
    done = subprocess.run(
        [sys.executable, "-c", prefix, *arguments],
        env={**os.environ, "PYMETRICS_GATEWAY_URL": gateway.url},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert gateway.group("ignored")["batch_job_last_exit_code"] == 3


@pytest.mark.parametrize("error", [PermissionError, ProcessLookupError])
def test_a_signal_that_cannot_be_passed_on_is_no_error(monkeypatch: pytest.MonkeyPatch, error: type[OSError]) -> None:
    """A command that has another user's rights, or is gone, must not cost this process its own end."""

    def refuse(pid: int, signum: int) -> None:
        raise error

    monkeypatch.setattr(command.os, "kill", refuse)
    relay = command.Relay()
    relay.forward(signal.SIGUSR1, None)
    relay.started(12345)
    relay.forward(signal.SIGTERM, None)
    relay.kill(signal.SIGALRM, None)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert relay.signalled
