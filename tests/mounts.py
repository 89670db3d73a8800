"""How does a test give a gateway a file system of its own, that is small, or becomes read-only?

    with Mounted(directory, "mount -t tmpfs -o size=9m tmpfs") as gateway:
        gateway.fill()

It is mounted in a namespace of the gateway's, so that nothing else sees it, and that it goes with the gateway.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.harness import Gateway, require_program

__all__ = ["Mounted", "make_disk", "require_mounts", "tmpfs"]

ROOT_OF_NAMESPACE: Final = ("unshare", "--user", "--map-root-user", "--mount")
ROOT: Final = ("unshare", "--mount")
"""What is on a block device is mounted by root only."""

KEPT_BLOCKS: Final = "-m0"
"""No block is kept for root, as which tests may run."""


def tmpfs(size: str) -> str:
    """Return the command that mounts a file system in memory; size as mount takes it."""
    return f"mount -t tmpfs -o size={size} tmpfs"


def require_mounts(mount: str = tmpfs("64k"), *, root: bool = False) -> None:
    """Skip where a file system cannot be mounted; root can, so with CI=true root fails.

    Args:
        mount: The command, without the directory.
        root: Whether it takes root itself.
    """
    command = [*(ROOT if root else ROOT_OF_NAMESPACE), *mount.split(), "/mnt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False) if shutil.which("unshare") else None
    if done is not None and done.returncode == 0:
        return
    reason = f"cannot mount a file system: {done.stderr.strip() if done else 'no unshare'}"
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(reason)
    pytest.skip(reason)


def make_disk(image: Path, *, size_bytes: int) -> str:
    """Make an ext4 disk in a file, and return the command that mounts it; skip where that cannot be."""
    require_program("mke2fs")
    with image.open("wb") as file:
        file.truncate(size_bytes)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", KEPT_BLOCKS, image], check=True)
    mount = f"mount -o loop,errors=remount-ro {image}"
    require_mounts(mount, root=True)
    return mount


class Mounted(Gateway):
    """A gateway that sees a file system of its own in some directory.

    Args:
        place: The directory.
        mount: The command that mounts, without the directory.
        flags: Command line flags.
        root: Whether it takes root itself to mount.
        env: Environment variables.
    """

    def __init__(
        self, place: str | Path, mount: str, *flags: str, root: bool = False, env: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(*flags, env=env)
        self.place, self._mount, self._root = str(place), mount, root

    def command(self) -> list[str]:
        """The command line that mounts, and becomes the gateway."""
        namespace = ROOT if self._root else ROOT_OF_NAMESPACE
        return [*namespace, "sh", "-c", f'{self._mount} {self.place} && exec "$@"', "sh", *super().command()]

    def path(self, name: str = "") -> Path:
        """A file there, as seen from outside while the gateway runs."""
        return Path(f"/proc/{self.pid}/root{self.place}/{name}")

    @property
    def filling(self) -> Path:
        """The file that takes all the room."""
        return self.path("filling")

    def fill(self) -> None:
        """Leave no byte free."""
        with self.filling.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def remount(self, options: str) -> None:
        """Mount it again with other options."""
        command = ["nsenter", f"--target={self.pid}", "--mount", "mount", "-o", f"remount,{options}", self.place]
        subprocess.run(command, check=True, timeout=60)
