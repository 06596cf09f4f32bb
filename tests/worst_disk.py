"""A disk at its worst, under the journal in this process: what was not synced is gone at a power cut, calls fail.

A file that failed to be written or synced is never made durable again, whatever a later sync says: that is what kernels
do, which mark its pages clean. A name is durable once its folder was synced.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = ["WorstDisk"]


@dataclass(slots=True)
class WorstDisk:
    """Stands in for the calls of `os` that write, between `install` and `remove`."""

    folder: Path
    plan: dict[str, list[int]] = field(default_factory=dict)
    """Errors to come by call: pwrite, fdatasync, fsync, open (of new files); 0 is none."""
    _real: dict[str, Any] = field(default_factory=dict)
    _content: dict[int, bytes] = field(default_factory=dict)
    _names: dict[Path, dict[str, int]] = field(default_factory=dict)
    _failed: set[int] = field(default_factory=set)

    def install(self) -> None:
        """Take the place of the real calls."""
        for name in ("pwrite", "fdatasync", "fsync", "open"):
            self._real[name] = getattr(os, name)
            setattr(os, name, getattr(self, f"_{name}"))

    def remove(self) -> None:
        """Put the real calls back."""
        for name, real in self._real.items():
            setattr(os, name, real)

    def power_cut(self, *, written_back: bool, removals: bool) -> None:
        """Leave the folder as a power cut might, once every file of it is closed.

        `written_back`: the kernel had written all contents of what has a durable name; `removals`: names that were
        removed are gone although their folder was not synced.
        """
        files = {folder: dict(names) for folder, names in self._names.items()}
        now = {path.stat().st_ino: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        there = {folder: {item.name for item in folder.iterdir()} if folder.is_dir() else set() for folder in files}
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        kept = self._content
        self._content, self._names, self._failed = {}, {}, set()
        for folder, names in files.items():
            folder.mkdir(parents=True, exist_ok=True)
            self._names[folder] = {}
            for name, inode in names.items():
                if removals and name not in there[folder]:
                    continue
                content = now.get(inode, kept.get(inode, b"")) if written_back else kept.get(inode, b"")
                path = folder / name
                path.write_bytes(content)
                self._names[folder][name] = path.stat().st_ino
                self._content[path.stat().st_ino] = content

    def _planned(self, call: str) -> int:
        errors = self.plan.get(call)
        return errors.pop(0) if errors else 0

    def _pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        error = self._planned("pwrite")
        if error:
            self._real["pwrite"](descriptor, data[: len(data) // 2], offset)
            if error != errno.ENOSPC:
                self._failed.add(os.fstat(descriptor).st_ino)
            raise OSError(error, "planted")
        return int(self._real["pwrite"](descriptor, data, offset))

    def _open(self, path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        error = self._planned("open") if flags & os.O_CREAT and flags & os.O_EXCL else 0
        if error:
            raise OSError(error, "planted")
        descriptor = int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
        if flags & os.O_EXCL:  # the number may be that of a file that is gone
            inode = os.fstat(descriptor).st_ino
            self._failed.discard(inode)
            self._content.pop(inode, None)
        return descriptor

    def _fdatasync(self, descriptor: int) -> None:
        self._sync("fdatasync", descriptor)

    def _fsync(self, descriptor: int) -> None:
        self._sync("fsync", descriptor)

    def _sync(self, call: str, descriptor: int) -> None:
        found = os.fstat(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        error = self._planned(call)
        if error:
            self._failed.add(found.st_ino)
            raise OSError(error, "planted")
        if stat.S_ISDIR(found.st_mode):
            self._names[path] = {item.name: item.stat().st_ino for item in path.iterdir() if item.is_file()}
        elif found.st_ino not in self._failed:
            self._content[found.st_ino] = path.read_bytes()
