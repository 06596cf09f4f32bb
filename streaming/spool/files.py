"""The journal's file operations: lock, id, cursor, and files whose directory entry is on disk before they are used."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from wellos.errors import ConfigurationError, FatalError, Problem
from wellos.spool_format import CURSOR_SLOT, encode_cursor, read_cursor, read_spool_id

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Cursor", "create", "link_aside", "lock", "make_spool_id", "set_aside", "sync_folder", "write_at"]


def sync_folder(folder: Path) -> None:
    """Put the folder's entries on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(folder: Path) -> int:
    """Take the folder for this process; ConfigurationError names the process that has it."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.pread(descriptor, 20, 0).decode().strip() or "unknown"
        os.close(descriptor)
        remedy = "Stop that process, or set WELLOS_DATA_DIR to another folder"
        message = f"the spool {folder} is in use by the process with pid {pid}"
        raise ConfigurationError([Problem(message, remedy, field="WELLOS_DATA_DIR")]) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def make_spool_id(folder: Path) -> UUID:
    """Return the spool's id, made at the first start."""
    spool_id = read_spool_id(folder)
    if spool_id is None:
        spool_id = uuid4()
        draft = folder / "id.new"
        draft.unlink(missing_ok=True)
        os.close(create(draft, f"{spool_id}\n".encode()))
        draft.rename(folder / "id")
        sync_folder(folder)
    return spool_id


def create(path: Path, content: bytes) -> int:
    """Make a new file with this content, on disk with its directory entry; a half-made one is removed again."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_at(descriptor, content, 0)
        os.fsync(descriptor)
        sync_folder(path.parent)
    except OSError:
        os.close(descriptor)
        with contextlib.suppress(OSError):  # the first error is the one to report
            path.unlink()
        raise
    return descriptor


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset`, however many calls it takes."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def link_aside(path: Path) -> bool:
    """Give a segment that holds damage a second name in `aside/`, so that the evidence stays; False if it cannot be."""
    folder = path.parent / "aside"
    try:
        folder.mkdir(exist_ok=True)
        (folder / path.name).hardlink_to(path)
        sync_folder(folder)
    except FileExistsError:
        return True
    except OSError:  # no space for a directory, or no hard links here: it is moved when it is stored
        return False
    return True


def set_aside(path: Path) -> None:
    """Move a segment that held damage into `aside/`."""
    folder = path.parent / "aside"
    folder.mkdir(exist_ok=True)
    path.rename(folder / path.name)


class Cursor:
    """The last stored sequence, written in place in one of two slots so that one is always whole."""

    def __init__(self, folder: Path) -> None:
        """Open the file, allocating both slots when it is new."""
        self._generation, self.seq = read_cursor(folder)
        self.lost = self._generation == 0
        """It never was written, or cannot be read any more."""
        path = folder / "cursor"
        if not path.exists() or path.stat().st_size < 2 * CURSOR_SLOT:
            path.unlink(missing_ok=True)
            os.close(create(path, bytes(2 * CURSOR_SLOT)))
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._synced = -1

    def write(self, seq: int) -> None:
        """Note that everything up to `seq` is stored; the ledger makes a replay harmless, so this is not synced."""
        self._generation, self.seq = self._generation + 1, seq
        slot = self._generation % 2 * CURSOR_SLOT
        os.pwrite(self._descriptor, encode_cursor(self._generation, seq), slot)

    def sync(self) -> None:
        """Put the cursor on disk: before a segment is removed. FatalError: it cannot be."""
        generation = self._generation
        if self._synced == generation:
            return
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise FatalError(f"the spool's cursor cannot be put on disk: {error}") from error
        self._synced = generation

    def close(self) -> None:
        """Put the cursor on disk and close it."""
        self.sync()
        os.close(self._descriptor)
