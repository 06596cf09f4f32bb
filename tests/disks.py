"""Disks of a test's own: a file system in a file, to fill up or cut the power of, and calls that fail on a real one."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["cut_power", "disk", "mounted", "strace"]


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    """Mount an image until the block ends."""
    folder.mkdir(exist_ok=True)
    try:
        _run("mount", "-o", "loop", image, folder)
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", b"") or str(error)
        pytest.skip(f"this machine mounts no file system in a file: {told!r}")
    try:
        yield folder
    finally:
        _run("umount", "--lazy", folder)


@contextmanager
def disk(image: Path, folder: Path, megabytes: int) -> Iterator[Path]:
    """Make an ext4 file system of that size in `image` and mount it until the block ends."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("there is no mkfs.ext4 here")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    _run("mkfs.ext4", "-q", "-F", "-m", "0", image)
    with mounted(image, folder) as found:
        yield found


def cut_power(image: Path, copy: Path) -> None:
    """Copy what is on the disk, and nothing that only the kernel's memory has; the writers must stand still.

    The kernel may write on meanwhile: a copy counts when the next one is the same.
    """
    before = image.read_bytes()
    while (now := image.read_bytes()) != before:
        before = now
    copy.write_bytes(before)


def strace(*arguments: str) -> Sequence[str]:
    """Return the command that runs another under strace with these arguments, all its threads; skips without it."""
    if shutil.which("strace") is None:
        pytest.skip("there is no strace here")
    command = ["strace", "-f", "-qq", *arguments]
    if subprocess.run(
        [*command, "-e", "trace=none", "-o", "/dev/null", "true"], capture_output=True, check=False
    ).returncode:
        pytest.skip("strace may not trace here")
    return command
