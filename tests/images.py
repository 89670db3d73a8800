r"""How does a test build and run a container image on a machine without a container engine?

    image = build(Path("examples/docker/Dockerfile"), directory=tmp_path)
    with Container(image) as container:
        container.push("job/a", b"x 1\n")

Each instruction of the Dockerfile is carried out in namespaces on a directory that stands for the image. The base image
is this machine: its /usr, read-only, with the Python that runs the tests at /usr/local, where python:slim has its own.
So the Dockerfile is tested, and neither an engine nor the base image. An instruction not known here is an error.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shlex
import shutil
import signal
import string
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import pip
import pytest
from dockerfile_parse import DockerfileParser

from tests.harness import Reply, Service, poll, require_program
from tests.project.pages import ROOT, tracked_files

__all__ = ["Container", "Image", "build"]

SYSTEM: Final = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")

ETC: Final = ("passwd", "group", "hosts", "resolv.conf", "nsswitch.conf", "pip.conf", "ssl", "ca-certificates")

PYTHON_SLIM_ENV: Final = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

HERE: Final = {
    # The base image finds libpython through its ld.so.cache.
    "LD_LIBRARY_PATH": "/usr/local/lib",
    "HOME": "/builder",
    # How this machine reaches a package index; --build-arg and secrets where there is an engine.
    **{name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.lower().endswith("_proxy")},
    "PIP_CACHE_DIR": "/builder/.cache/pip",
    "PIP_FIND_LINKS": "",
}

ENTER: Final = r"""
set -eu
root=$1 python=$2 cache=$3 volume=$4; shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
for name in usr bin sbin lib lib32 lib64 libx32; do
    if [ -d "$root/$name" ] && [ ! -L "$root/$name" ]; then
        mount --bind "/$name" "$root/$name"
        mount -o remount,bind,ro "$root/$name"
    fi
done
[ "$python" = /usr ] || mount --bind "$python" "$root/usr/local"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
[ -z "$cache" ] || mount --bind "$cache" "$root/builder/.cache/pip"
if [ -n "$volume" ]; then
    mount -o remount,bind,ro "$root"
    mount --bind "$volume" "$root/data"
    mount -t tmpfs -o size=64m,mode=1777 shm "$root/dev/shm"
fi
exec chroot "$root" "$@"
"""

LOOPBACK_UP: Final = """
import fcntl, os, socket, struct, sys
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH22x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
os.execvp(sys.argv[1], sys.argv[1:])
"""


@dataclass
class Image:
    """What the instructions of a stage have made."""

    root: Path
    env: dict[str, str] = field(default_factory=lambda: dict(PYTHON_SLIM_ENV))
    workdir: str = "/"
    user: str = "0:0"
    volumes: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)
    stop_signal: str = "SIGTERM"
    entrypoint: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)

    def command(self, *program: str) -> list[str]:
        """The command line of a program in it, to be run in a chroot."""
        uid, gid = self.user.split(":")
        env = [f"{name}={value}" for name, value in (HERE | self.env).items()]
        privileges = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        if uid != "0":
            privileges += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        change = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", self.workdir]
        return ["env", "-i", *env, *privileges, *change, *program]


def require_namespaces() -> None:
    """Skip where namespaces cannot be made, as nobody but root can make these; fail with CI=true if root cannot."""
    require_program("unshare")
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--net", "true"], capture_output=True, check=False)
    if os.geteuid() or done.returncode:
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(done.stderr.decode())
        pytest.skip("only root can stand in for a container engine")


class Build:
    """A build in progress.

    Args:
        dockerfile: Its path; the ignore file stands beside it.
        directory: Where its stages come to be.
    """

    def __init__(self, dockerfile: Path, directory: Path) -> None:
        self._directory = directory
        self._context = directory / "context"
        self._stages: dict[str, Image] = {}
        self.image: Image | None = None
        self._fill_context(Path(f"{dockerfile}.dockerignore").read_text().split("\n"))
        parser = DockerfileParser(path=str(dockerfile.parent), cache_content=True)
        for instruction in parser.structure:
            carry_out: Callable[[str], None] = getattr(self, f"_{instruction['instruction'].lower()}")
            carry_out(instruction["value"])

    def _fill_context(self, ignored: list[str]) -> None:
        rules = [line for line in ignored if line and not line.startswith("#")]
        assert rules[0] == "*", "the ignore file must name what is wanted, not what is not"
        wanted = [ROOT / rule[1:] for rule in rules if rule.startswith("!")]
        for path in tracked_files():
            if any(path.is_relative_to(one) for one in wanted):
                copy = self._context / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)

    @property
    def _current(self) -> Image:
        assert self.image is not None, "the first instruction is FROM"
        return self.image

    def _comment(self, _: str) -> None:
        """Pass over a comment."""

    def _from(self, value: str) -> None:
        base, *name = value.split(" AS ")
        assert base.startswith("python:"), f"this machine cannot stand in for {base}"
        assert base.endswith("-slim"), f"this machine cannot stand in for {base}"
        stage = name[0] if name else str(len(self._stages))
        root = self._directory / f"stage-{stage}"
        for below in ("etc", "proc", "dev", "tmp", "builder/.cache/pip"):
            (root / below).mkdir(parents=True)
        for below in SYSTEM:
            if Path("/", below).is_symlink():
                (root / below).symlink_to(os.readlink(f"/{below}"))
            elif Path("/", below).is_dir():
                (root / below).mkdir()
        for below in ETC:
            if (source := Path("/etc", below)).exists():
                subprocess.run(["cp", "-rL", str(source), str(root / "etc")], check=True)
        # The base image has pip; this machine's Python may have it in virtual environments only.
        packages = sysconfig.get_path("purelib", vars={"base": "builder/.local"})
        shutil.copytree(Path(pip.__file__).parent, root / packages / "pip")
        self.image = self._stages[stage] = Image(root)

    def _workdir(self, value: str) -> None:
        self._current.workdir = value
        self._inside(value).mkdir(parents=True, exist_ok=True)

    def _inside(self, path: str) -> Path:
        return self._current.root / os.path.join(self._current.workdir, path).lstrip("/")

    def _copy(self, value: str) -> None:
        *sources, target = value.split()
        top = self._context
        if sources[0].startswith("--from="):
            top = self._stages[sources.pop(0).removeprefix("--from=")].root
        for source in sources:
            origin, goal = top / source.lstrip("/"), self._inside(target)
            if origin.is_dir():
                shutil.copytree(origin, goal, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy(origin, goal / origin.name if target.endswith("/") else goal)

    def _run(self, value: str) -> None:
        command = enter(self._current, volume="", program=["sh", "-c", value])
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode and os.environ.get("CI") != "true" and "NewConnectionError" in done.stdout + done.stderr:
            pytest.skip("the package index cannot be reached")
        assert done.returncode == 0, f"RUN {value}\n{done.stdout}{done.stderr}"

    def _env(self, value: str) -> None:
        for pair in shlex.split(value):
            name, _, text = pair.partition("=")
            self._current.env[name] = string.Template(text).safe_substitute(self._current.env)

    def _user(self, value: str) -> None:
        self._current.user = value

    def _volume(self, value: str) -> None:
        self._current.volumes += json.loads(value)

    def _expose(self, value: str) -> None:
        self._current.ports.append(value)

    def _stopsignal(self, value: str) -> None:
        self._current.stop_signal = value

    def _healthcheck(self, value: str) -> None:
        self._current.healthcheck = json.loads(value.partition("CMD ")[2])

    def _entrypoint(self, value: str) -> None:
        self._current.entrypoint = json.loads(value)


def build(dockerfile: Path, *, directory: Path) -> Image:
    """Carry out a Dockerfile; AssertionError with the output of a step that fails.

    Args:
        dockerfile: Its path; its context is the checkout, as far as git tracks it and the ignore file lets it.
        directory: An empty one, where stages come to be.
    """
    require_namespaces()
    image = Build(dockerfile, directory).image
    assert image is not None
    return image


def enter(image: Image, *, volume: str, program: list[str], network: bool = True) -> list[str]:
    """The command line that runs a program in an image; with a volume at /data everything else is read-only."""
    cache = os.environ.get("PIP_CACHE_DIR", "")
    arguments = [str(image.root), sys.base_prefix, cache if not volume and os.path.isdir(cache) else "", volume]
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net", "--ipc"])]
    loopback = [] if network else [sys.executable, "-c", LOOPBACK_UP]
    return [*namespaces, *loopback, "sh", "-c", ENTER, "sh", *arguments, *image.command(*program)]


class Container(Service):
    """A container of an image: its own network, read-only but for its volume and /dev/shm, no privileges.

    Args:
        image: What `build` has made.
        arguments: Behind the entry point.
    """

    name = "container"

    def __init__(self, image: Image, *arguments: str) -> None:
        super().__init__()
        self.image = image
        self.arguments = arguments
        [port] = image.ports
        self.port = int(port)
        # An engine gives a new volume the owner and mode of what the image has there.
        made = image.root / "data"
        os.chown(self.directory, made.stat().st_uid, made.stat().st_gid)
        self.directory.chmod(made.stat().st_mode)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A signal would only reach unshare, which does not pass it on.
        if self._process is not None:
            self.kill()
        super().__exit__(kind, error, trace)

    def command(self) -> list[str]:
        """The command line that starts it."""
        program = [*self.image.entrypoint, *self.arguments]
        return enter(self.image, volume=str(self.directory), program=program, network=False)

    @property
    def init(self) -> int:
        """Its process 1, as seen from outside, once it is in its own network."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        poll(children.read_text, seconds=10, what="the container's first process")
        return int(children.read_text())

    def request(
        self,
        method: str,
        target: str | bytes,
        body: bytes | None = None,
        headers: Mapping[str, str | bytes] | None = None,
        *,
        timeout_seconds: float = 20.0,
    ) -> Reply:
        """Send a request from inside its network."""
        with network_of(self.init):
            return super().request(method, target, body, headers, timeout_seconds=timeout_seconds)

    def healthy(self) -> bool:
        """Run the health check of the image in the container, as an engine does."""
        inside = self.image.command(*self.image.healthcheck)
        enter_it = ["nsenter", f"--target={self.init}", "--all", f"--root=/proc/{self.init}/root"]
        return subprocess.run([*enter_it, *inside], capture_output=True, timeout=60, check=False).returncode == 0

    def stop(self) -> int:
        """Stop it as an engine does, with the image's signal to its process 1; returns the exit code."""
        os.kill(self.init, signal.Signals[self.image.stop_signal])
        return self.wait()


@contextlib.contextmanager
def network_of(pid: int) -> Iterator[None]:
    """Be in the network namespace of a process; sockets that are made meanwhile stay there."""
    libc: Any = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as own, open(f"/proc/{pid}/ns/net") as other:
        assert libc.setns(other.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(own.fileno(), 0) == 0
