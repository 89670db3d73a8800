"""How does a test run a real PostgreSQL, a standby of it, one on a small disk, and a pgbouncer before it?

    with Postgres(synchronous_standby_names="*") as server, Standby(server) as standby:
        url = server.create_database()
        server.stop(signal.SIGKILL)
        standby.promote()

The programs are Debian's: those that `make programs` has unpacked into .venv/postgres, or the machine's own. As root,
under which PostgreSQL refuses to run, they run as the user nobody. Each server has a directory of its own under /tmp, a
free loopback port and a session of its own; it is stopped by its own pid.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg
import pytest

from tests.harness import free_port

__all__ = ["PgBouncer", "Postgres", "SmallDiskPostgres", "Standby"]

REPOSITORY: Final = Path(__file__).parents[1]
PRIVATE: Final = REPOSITORY / ".venv" / "postgres"
NOBODY: Final = 65534
START_SECONDS: Final = 30.0

_numbers = itertools.count()


def find_program(pattern: str) -> tuple[str, Mapping[str, str]]:
    """Return a program of PostgreSQL, given as a pattern below the root directory, and the environment that it needs.

    Skips the test where there is none, but fails it where CI=true: CI installs all.
    """
    for root in (PRIVATE, Path("/")):
        for path in sorted(root.glob(pattern), reverse=True):
            libraries = ":".join(str(found) for found in root.glob("usr/lib/*-linux-gnu*")) if root == PRIVATE else ""
            return str(path), {"LD_LIBRARY_PATH": libraries} if libraries else {}
    message = f"no {pattern} (make programs, or apt-get install postgresql-15 pgbouncer)"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def unprivileged() -> list[str]:
    """Return what to put before a command so that root runs it as nobody, who may still read a checkout of root's."""
    if os.geteuid() != 0:
        return []
    rights = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *rights]


def _parents() -> dict[int, int]:
    """Return the parent of every process, zombies left out."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # proc(5): the name may hold blanks and parentheses; after its last ")" come state and parent.
                state, parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
                if state not in "ZX":
                    parents[int(entry.name)] = int(parent)
    return parents


class _Program:
    """A program that listens on `port`, with its files in `directory`; a context manager."""

    name = "program"

    def __init__(self) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir="/tmp"))
        if os.geteuid() == 0:
            os.chown(self.directory, NOBODY, NOBODY)
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        """What starts it, and the environment that it needs."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """The URL of its database `postgres`, without a password."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The URL of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def log(self) -> str:
        """What it has written, over all of its starts."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"the end of the log of {self.name}:\n{self.log()[-3000:]}")
        self._clean()

    def _clean(self) -> None:
        if self._process is not None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        """Start it, and return when it answers."""
        command, env = self.command()
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} does not start; its log:\n{self.log()[-3000:]}") from None
                time.sleep(0.05)
            else:
                return

    def stop(self, number: int = signal.SIGINT) -> None:
        """Send it a signal (SIGINT: fast, SIGQUIT: immediate, of PostgreSQL), and wait until nothing of it is left."""
        assert self._process is not None
        mine = set(self.processes())
        self._process.send_signal(number)
        if number != signal.SIGKILL:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(START_SECONDS)
        while left := mine & set(_parents()):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.poll()
            time.sleep(0.01)
        self._process.wait()
        self._process = None

    def processes(self) -> list[int]:
        """The pids of its first process and of that one's children, each of which is in a session of its own."""
        return [self.pid, *(pid for pid, parent in _parents().items() if parent == self.pid)]

    @property
    def pid(self) -> int:
        """Its first process."""
        assert self._process is not None
        return self._process.pid


class Postgres(_Program):
    """A PostgreSQL server on an empty cluster, whose superuser postgres needs no password.

    Args:
        settings: Settings of postgresql.conf, beside those that make it fast: nothing is flushed to disk.
    """

    name = "postgres"

    def __init__(self, **settings: str) -> None:
        self._program, self._env = find_program("usr/lib/postgresql/*/bin/postgres")
        super().__init__()
        self.settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "64MB",
            "max_connections": "100",
            "log_line_prefix": "%m [%p] %d ",
            "jit": "off",
            **settings,
        }
        self._make_cluster()

    @property
    def data(self) -> Path:
        """The cluster's directory."""
        return self.directory / "data"

    def _make_cluster(self) -> None:
        initdb = [f"{Path(self._program).parent}/initdb", "--pgdata", str(self.data), "--username=postgres"]
        # In the locale C names sort by bytes anyway; in another one the store has to see to that.
        subprocess.run(
            [*unprivileged(), *initdb, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"],
            cwd=self.directory,
            env={**os.environ, **self._env},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        with (self.data / "pg_hba.conf").open("r+") as file:
            trusting = file.read()
            file.seek(0)
            file.write("host all keeper 127.0.0.1/32 scram-sha-256\n" + trusting)

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        """What starts it."""
        settings = [f"--{name}={value}" for name, value in self.settings.items()]
        return [*unprivileged(), self._program, "-D", str(self.data), *settings], self._env

    def create_database(self) -> str:
        """Make one more database and return its URL."""
        name = f"test_{next(_numbers)}"
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload] # no literal
        return self.url_of(name)


class Standby(Postgres):
    """A hot standby of a server that runs, made from a copy of it; with its settings, but that it waits for nobody.

    Args:
        primary: The server.
    """

    name = "standby"

    def __init__(self, primary: Postgres) -> None:
        self._primary = primary
        inherited = {name: value for name, value in primary.settings.items() if name != "synchronous_standby_names"}
        del inherited["port"]
        super().__init__(**inherited)

    def _make_cluster(self) -> None:
        copy = [f"{Path(self._program).parent}/pg_basebackup", "--pgdata", str(self.data), "--no-sync"]
        source = f"host=127.0.0.1 port={self._primary.port} user=postgres"
        subprocess.run(
            [*unprivileged(), *copy, "--checkpoint=fast", "--write-recovery-conf", "--dbname", source],
            cwd=self.directory,
            env={**os.environ, **self._env},
            check=True,
        )

    def promote(self) -> None:
        """Make it a server of its own, and return when it takes writes."""
        with psycopg.connect(self.url, autocommit=True) as db:
            assert db.execute("SELECT pg_promote()").fetchone() == (True,)


_SMALL_DISK: Final = 'mount -t tmpfs -o mode=1777,size="$1" tmpfs "$2" && shift 2 && exec "$@"'
_INIT_AND_RUN: Final = '"$1" "$2" "$3" "$4" "$5" "$6" "$7" >/dev/null && shift 7 && exec "$@"'


class SmallDiskPostgres(Postgres):
    """A server whose cluster lies on a small disk of its own, but for the log of its transactions.

    That one is elsewhere, since a server that cannot write it ends itself, which is another failure. The disk is
    mounted in a namespace of the server's, so that nothing stays mounted; so it can be started only once.

    Args:
        size: Of the disk, as in mount -o size=.
    """

    name = "smalldisk"

    def __init__(self, size: str) -> None:
        self._size = size
        super().__init__(autovacuum="off")
        mount = [*self._namespace(), "mount", "-t", "tmpfs", "tmpfs", str(self.directory / "disk")]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            self._clean()
            why = "a disk that is full takes the right to mount a small one, as root or in a user namespace"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)

    @staticmethod
    def _namespace() -> list[str]:
        return ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--mount"]

    def _make_cluster(self) -> None:
        (self.directory / "disk").mkdir()

    @property
    def disk(self) -> Path:
        """The small disk, as it is seen from outside while the server runs."""
        return Path(f"/proc/{self.pid}/root{self.directory}/disk")

    @property
    def data(self) -> Path:
        """The cluster's directory."""
        return self.directory / "disk" / "data"

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        """What starts it, in a namespace: root's own, or that of a root who then becomes somebody else again."""
        _, env = super().command()
        settings = [f"--{name}={value}" for name, value in self.settings.items()]
        run = [self._program, "-D", str(self.data), *settings]
        options = ["--auth=trust", "--no-sync", "--encoding=UTF8", "--username=postgres"]
        options += [f"--pgdata={self.data}", f"--waldir={self.directory}/wal"]
        cluster = ["sh", "-c", _INIT_AND_RUN, "sh", f"{Path(self._program).parent}/initdb", *options, *run]
        inner = unprivileged() or ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
        mount = ["sh", "-c", _SMALL_DISK, "sh", self._size, f"{self.directory}/disk"]
        return [*self._namespace(), *mount, *inner, *cluster], env


class PgBouncer(_Program):
    """A pgbouncer in transaction mode before a server, with fewer connections to it than it takes itself.

    Args:
        server: The server; its databases are reached by their names.
        connections: How many connections to a database there are.
    """

    name = "pgbouncer"

    def __init__(self, server: Postgres, *, connections: int = 5) -> None:
        self._program, self._env = find_program("usr/sbin/pgbouncer")
        super().__init__()
        (self.directory / "users").write_text('"postgres" ""\n')
        (self.directory / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"pool_mode = transaction\ndefault_pool_size = {connections}\nmax_client_conn = 200\n"
            f"auth_type = trust\nauth_file = {self.directory}/users\n"
        )

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        """What starts it."""
        return [*unprivileged(), self._program, f"{self.directory}/pgbouncer.ini"], self._env
