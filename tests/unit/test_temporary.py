from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pushgateway import temporary
from pushgateway.errors import StartError
from pushgateway.temporary import make_directory


def make(*parents: Path, room_bytes: int = 0) -> temporary.TemporaryDirectory:
    return make_directory([str(parent) for parent in parents], room_bytes=room_bytes, purpose="a test")


def killed(parent: Path) -> Path:
    """The directory of a process that made one and was killed."""
    code = (
        "import os, signal, sys; from pushgateway.temporary import make_directory;"
        "print(make_directory(sys.argv[1:], room_bytes=0, purpose='a test').path, flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(parent)], capture_output=True, text=True, check=False)
    return Path(done.stdout.strip())


def test_a_directory_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    """It is private, in the first place that will do, and removed at the end."""
    with make(tmp_path / "missing", tmp_path) as directory:
        path = Path(directory.path)
        assert path.parent == tmp_path
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "counter_1.db").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_gateway_has_left_is_removed(tmp_path: Path) -> None:
    """The next gateway removes it, wherever it makes its own directory."""
    left = killed(tmp_path)
    (left / "counter_1.db").write_bytes(b"x")
    other = tmp_path / "other"
    other.mkdir()
    with make(other, tmp_path):
        assert not left.exists()


def test_the_directory_of_a_living_gateway_is_left_alone(tmp_path: Path) -> None:
    """Several gateways have their directories side by side."""
    with make(tmp_path) as first, make(tmp_path) as second:
        assert Path(first.path).exists()
        assert Path(second.path).exists()


def test_a_directory_lives_as_long_as_a_child_of_its_gateway(tmp_path: Path) -> None:
    """Workers whose arbiter was killed keep their directory until they have ended."""
    code = (
        "import os, signal, sys; from pushgateway.temporary import make_directory;"
        "path = make_directory(sys.argv[1:], room_bytes=0, purpose='a test').path;"
        "os.fork() and os.kill(os.getpid(), signal.SIGKILL);"
        "print(path, flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        left = Path(parent.stdout.readline().strip())
        parent.wait()
        make(tmp_path).remove()
        assert left.exists()
        assert parent.stdin is not None
        parent.stdin.close()
        assert parent.stdout.read() == ""  # the child has ended
    make(tmp_path).remove()
    assert not left.exists()


def test_other_directories_are_left_alone(tmp_path: Path) -> None:
    """A directory of a similar name, a link, and one that is just being made are not ours to remove."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "gateway.lock").touch()
    parent = tmp_path / "parent"
    parent.mkdir()
    (parent / "pushgateway-tmp-made").mkdir()
    (parent / "pushgateway-data").mkdir()
    (parent / "pushgateway-data" / "gateway.lock").touch()
    (parent / "pushgateway-tmp-file").touch()
    (parent / "pushgateway-tmp-link").symlink_to(elsewhere)
    before = sorted(path for path in tmp_path.rglob("*"))
    make(parent).remove()
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_a_directory_needs_room(tmp_path: Path) -> None:
    """Without room anywhere the error names each place and what is wrong with it."""
    with pytest.raises(StartError) as caught:
        make(tmp_path, tmp_path / "missing", room_bytes=1 << 60)
    message = str(caught.value)
    assert "\n" not in message
    assert "a test" in message
    assert f"{tmp_path} has less than" in message
    assert f"{tmp_path / 'missing'}: No such file" in message


def test_without_any_place_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no temporary directory is writable there is none, and TMPDIR is named."""

    def nowhere() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert temporary.disk_directories() == []
    with pytest.raises(StartError, match="TMPDIR"):
        make()
