"""Do the units of examples/systemd say what a systemd takes, keep what they promise, and serve under one?"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.exposition import Exposition
from tests.harness import Gateway, Reply, Service, exchange, free_port, poll, require_program
from tests.machine import Machine
from tests.project.pages import ROOT

EXAMPLE = ROOT / "examples" / "systemd"
SERVICES = sorted(path.name for path in EXAMPLE.glob("*.service"))
INSTALLED = "/opt/pushgateway"
"""Where the units expect the gateway, as their README installs it."""


def units() -> dict[str, str]:
    """The example's units by name."""
    return {path.name: path.read_text() for path in EXAMPLE.glob("pushgateway*")}


@pytest.mark.parametrize("name", SERVICES)
def test_units_are_hardened(name: str) -> None:
    """The count of systemd itself of what a service could do is below 2.0 of 10, which it calls safe."""
    analyze = require_program("systemd-analyze")
    command = [analyze, "security", "--offline=yes", "--no-pager", str(EXAMPLE / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert exposure, done.stdout + done.stderr
    assert float(exposure[1]) < 2.0, done.stdout


def test_units_are_valid(tmp_path: Path) -> None:
    """systemd-analyze verify has nothing to say about the units, with the program where the test has it."""
    analyze = require_program("systemd-analyze")
    for name, text in units().items():
        program = str(Path(sys.executable).parent / "pushgateway")
        (tmp_path / name).write_text(text.replace(f"{INSTALLED}/bin/pushgateway", program))
    done = subprocess.run(
        [analyze, "verify", "--man=no", *map(str, tmp_path.iterdir())], capture_output=True, text=True, check=False
    )
    own = [line for line in done.stderr.splitlines() if "pushgateway" in line]
    assert (done.returncode, own) == (0, [])


class Activated(Gateway):
    """A gateway that systemd-socket-activate starts at the first connection, with two ports and a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("--storage.url=memory:")
        self.path = path
        self.second_port = free_port()

    def command(self) -> list[str]:
        """The command line that starts it."""
        activate = require_program("systemd-socket-activate")
        listen = [f"127.0.0.1:{self.port}", f"127.0.0.1:{self.second_port}", str(self.path)]
        gateway = [sys.executable, "-m", "pushgateway", "--web.systemd-socket", *self.flags]
        return [activate, *(f"--listen={address}" for address in listen), *gateway]


def over_unix_socket(path: Path, request: bytes) -> bytes:
    """Send a request to a UNIX socket; return the whole answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_every_socket_that_is_handed_over_serves(tmp_path: Path) -> None:
    """Two TCP sockets and a UNIX socket from systemd-socket-activate: a push to one is seen on each."""
    with Activated(tmp_path / "socket") as gateway:
        assert gateway.push("job/a", b"x 1\n").status == 200
        assert exchange(("127.0.0.1", gateway.second_port), SCRAPE).status == 200
        answer = over_unix_socket(gateway.path, SCRAPE)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b'x{instance="",job="a"} 1\n' in answer
        assert gateway.log().count(f"127.0.0.1:{gateway.port},127.0.0.1:{gateway.second_port},unix:{gateway.path}") == 1
        assert gateway.terminate() == 0
        assert gateway.path.exists(), "the socket is systemd's to remove"


class OnMachine(Service):
    """The gateway of the units, on a port of this machine."""

    name = "units"

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port


class Deployed:
    """The units on a machine of their own, started."""

    def __init__(self, machine: Machine, port: int) -> None:
        self.machine = machine
        self.gateway = OnMachine(port)

    def main_pid(self) -> int:
        """The arbiter, as seen from outside."""
        return min(self.machine.processes("pushgateway.service"))


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    """The units as they are, but for the port, and for the log, which goes to a file since nothing else runs there.

    A system call that is not allowed ends the gateway instead of failing, so that none goes unseen.
    """
    port = free_port()
    changes = {
        "pushgateway.socket.d/port.conf": "[Socket]\nListenStream=\n"
        f"ListenStream=127.0.0.1:{port}\nListenStream=/run/pushgateway.sock\n",
        **{
            f"{name}.d/machine.conf": "[Service]\nEnvironment=LD_LIBRARY_PATH=/mnt/base/lib\nSystemCallErrorNumber=\n"
            f"StandardOutput=append:/run/log/{name}\nStandardError=append:/run/log/{name}\n"
            for name in SERVICES
        },
    }
    with Machine(units() | changes, program=INSTALLED) as machine:
        machine.run("systemctl", "start", "pushgateway.socket")
        yield Deployed(machine, port)


def test_the_first_connection_starts_the_service(deployed: Deployed) -> None:
    """Before anything connects no gateway runs; the first push starts it, waits in the socket and is answered 200."""
    assert deployed.machine.show("pushgateway.service", "ActiveState") == "inactive"
    assert deployed.gateway.push("job/first", b"x 1\n").status == 200
    poll(
        lambda: deployed.machine.show("pushgateway.service", "ActiveState") == "active",
        seconds=20,
        what="the service to tell that it is ready",
    )
    assert "address=127.0.0.1" in deployed.machine.log()


def test_all_that_a_gateway_does_is_allowed(deployed: Deployed) -> None:
    """Under the unit's filter and protections: all kinds of requests, on TCP and UNIX sockets, and no call refused."""
    gateway = deployed.gateway
    body = b"".join(b'big{n="%d"} %d\n' % (number, number) for number in range(20_000))
    assert gateway.push("job/large", body).status == 200
    assert gateway.push("job/a", b"x 1\nx 2\n").status == 400
    assert gateway.delete("job/large").status == 202
    assert gateway.get("/metrics", {"Accept-Encoding": "gzip"}).header("Content-Encoding") == "gzip"
    for path in ("/", "/status", "/-/healthy", "/-/ready", "/api/v1/metrics", "/api/v1/status", "/static/style.css"):
        assert gateway.get(path).status == 200, path
    answer = over_unix_socket(deployed.machine.path("/run/pushgateway.sock"), SCRAPE)
    scrape = Exposition.parse(answer.partition(b"\r\n\r\n")[2])
    assert scrape.problems() == []
    assert scrape.value("process_start_time_seconds") > 1_700_000_000
    assert scrape.value("process_open_fds") > 10
    status = Path(f"/proc/{deployed.main_pid()}/status").read_text()
    assert "Seccomp:\t2\n" in status
    assert "CapBnd:\t0000000000000000\n" in status
    for sign_of_trouble in ("Traceback", "not permitted", "denied", "exited with", "was sent"):
        assert sign_of_trouble not in deployed.machine.log()


def test_what_it_keeps_is_private(deployed: Deployed) -> None:
    """The database is in the state directory, which only the service's own user can read; its counters are its own."""
    state = deployed.machine.path("/var/lib/private/pushgateway")
    owner = Path(f"/proc/{deployed.main_pid()}").stat().st_uid
    assert owner != 0
    assert (state.stat().st_uid, state.stat().st_mode & 0o777) == (owner, 0o700)
    assert (state / "pushgateway.db").stat().st_mode & 0o077 == 0
    counters = list(Path(f"/proc/{deployed.main_pid()}", "root", "dev", "shm").iterdir())
    assert [path.name[:16] for path in counters] == ["pushgateway-tmp-"]
    assert not Path("/dev/shm", counters[0].name).exists()


def test_a_restart_loses_no_connection(deployed: Deployed) -> None:
    """Pushes during a restart of the service wait in the socket: each is answered 200, none is refused."""
    replies: list[Reply | str] = []
    done = threading.Event()

    def push() -> None:
        number = 0
        while not done.is_set():
            number += 1
            try:
                replies.append(deployed.gateway.push("job/during", b"n %d\n" % number))
            except OSError as error:
                replies.append(repr(error))

    thread = threading.Thread(target=push)
    thread.start()
    before = deployed.main_pid()
    try:
        deployed.machine.run("systemctl", "restart", "pushgateway.service")
        after = len(replies)
        poll(lambda: len(replies) > after + 3, seconds=20, what="pushes after the restart")
    finally:
        done.set()
        thread.join()
    assert deployed.main_pid() != before
    assert {reply if isinstance(reply, str) else reply.status for reply in replies} == {200}
    assert deployed.gateway.scrape().value("n", job="during") == len(replies)


def test_a_killed_gateway_comes_back(deployed: Deployed) -> None:
    """When the arbiter is killed, systemd starts another on the same sockets, and what was answered 200 is there."""
    assert deployed.gateway.push("job/kept", b"y 7\n").status == 200
    before = deployed.main_pid()
    os.kill(before, signal.SIGKILL)
    poll(
        lambda: (
            deployed.machine.show("pushgateway.service", "NRestarts") == "1"
            and deployed.machine.show("pushgateway.service", "ActiveState") == "active"
        ),
        seconds=20,
        what="the restart",
    )
    assert deployed.gateway.scrape().value("y", job="kept") == 7
    assert deployed.main_pid() != before


def test_a_backup_is_made_by_its_timer(deployed: Deployed, tmp_path: Path) -> None:
    """The timer starts the service that copies the database while the gateway runs."""
    machine = deployed.machine
    assert deployed.gateway.push("job/saved", b"z 3\n").status == 200
    assert machine.show("pushgateway-backup.timer", "Unit") == "pushgateway-backup.service"
    machine.run("systemctl", "start", "pushgateway-backup.service")
    copy = machine.path("/var/lib/private/pushgateway-backup/pushgateway.db")
    (tmp_path / "restored.db").write_bytes(copy.read_bytes())
    with Gateway(f"--persistence.file={tmp_path}/restored.db") as restored:
        assert restored.scrape().value("z", job="saved") == 3


def test_a_stop_is_clean(deployed: Deployed) -> None:
    """Stopping the service is a success for systemd, leaves nothing behind, and the sockets start it again."""
    machine = deployed.machine
    machine.run("systemctl", "stop", "pushgateway.service")
    assert machine.show("pushgateway.service", "Result") == "success"
    assert machine.processes("pushgateway.service") == []
    assert deployed.gateway.get("/-/ready").status == 200
