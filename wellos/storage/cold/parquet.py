"""The cold store in Parquet files: `tenant=SLUG/day=YYYY-MM-DD/part-0.parquet`, each replaced whole by a rename."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from wellos.readings import empty
from wellos.storage.cold import (
    Checksum,
    ColdError,
    ColdRead,
    ColdRetryError,
    Copy,
    DamagedCopyError,
    Inventory,
    StoreName,
)
from wellos.storage.cold.checksum import checksum
from wellos.storage.cold.parquet_file import reading_file, write_file
from wellos.storage.cold.parquet_marker import Marker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from wellos.readings import Readings
    from wellos.storage.cold.parquet_file import DayFile

__all__ = ["ParquetStore"]

_FILE = "part-0.parquet"
_DRAFT = ".new"
_SLUG = re.compile(r"[a-z][a-z0-9_]{0,30}")
_QUARANTINE = "quarantine"


class ParquetStore:
    """A cold store in a folder. Readers see a day's old file or its new one, never a part; so they do after a crash."""

    name: StoreName = "parquet"

    def __init__(self, folder: Path, marker: Marker | None = None) -> None:
        self._folder = folder
        self._marker = marker or Marker(folder, None)

    def ready(self, *, writing: bool) -> None:
        """Look for the folder's marker; see `ColdStore.ready`. ConfigurationError when it may not be written."""
        if writing:
            self._marker.check_writable()
        else:
            self._marker.check()

    def write(self, tenant: str, day: date, pieces: Iterable[Readings], key: str) -> Copy:
        """Replace the tenant's day; see `ColdStore.write`. ColdRetryError when another process is at it."""
        path = self._path(tenant, day)
        self._marker.claim()
        with _speaking(path), self._alone(path.parent):
            for left in path.parent.glob(f"*{_DRAFT}"):
                left.unlink()  # of a writer that was killed: we have the folder alone
            draft = path.with_name(f"{_FILE}.{secrets.token_hex(4)}{_DRAFT}")
            try:
                rows = write_file(draft, pieces, {**_about(tenant, day), "key": key})
                with draft.open("rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                    size = os.fstat(file.fileno()).st_size
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
            for folder in (path.parent, path.parent.parent, self._folder):
                _sync_folder(folder)
        self._marker.check()  # the disk may have gone meanwhile, and the file be where it was mounted
        return Copy(str(path.relative_to(self._folder)), rows, size, sha256)

    def checksum(self, tenant: str, day: date) -> Checksum:
        """Read the file from beginning to end, and add up what it holds."""
        with self._reading(tenant, day) as file:
            return sum((checksum(piece) for piece in file.pieces(prove=True)), Checksum())

    def read(self, tenant: str, tag_ids: Sequence[int], since_us: int, until_us: int, days: Sequence[date]) -> ColdRead:
        """Read the row groups in which the tags and times can be; see `ColdStore.read`."""
        tags = np.unique(np.asarray(tag_ids, np.int64))
        found: list[Readings] = []
        scanned = 0
        for day in sorted(set(days)):
            with self._reading(tenant, day) as file:
                parts, size = file.find(tags, since_us, until_us)
            found += parts
            scanned += size
        readings = np.concatenate([empty(), *found])
        # Days come one after the other: a stable sort by tag leaves each tag's times in order.
        return ColdRead(readings[np.argsort(readings["tag_id"], kind="stable")], scanned)

    def read_day(self, tenant: str, day: date) -> Iterator[Readings]:
        """Yield a day in pieces of one row group; see `ColdStore.read_day`."""
        with self._reading(tenant, day) as file:
            yield from file.pieces()

    def quarantine(self, tenant: str, day: date) -> str | None:
        """Move a day's file to `quarantine/`; return its path below the store's folder."""
        path = self._path(tenant, day)
        aside = self._folder / _QUARANTINE / f"{tenant}-{day}-{secrets.token_hex(4)}.parquet"
        self._marker.check()
        with _speaking(path):
            aside.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.rename(aside)
            except FileNotFoundError:
                return None
            for folder in (aside.parent, self._folder, path.parent):
                _sync_folder(folder)
        return str(aside.relative_to(self._folder))

    def inventory(self, tenant: str) -> Sequence[Inventory]:
        """Return rows and bytes of each file of a tenant's, by day."""
        held = []
        self._marker.check()
        for path in sorted(self._tenant(tenant).glob(f"day=*/{_FILE}")):
            day = date.fromisoformat(path.parent.name.removeprefix("day="))
            with self._reading(tenant, day) as file:
                held.append(Inventory(tenant, day, file.rows, path.stat().st_size))
        return held

    def close(self) -> None:
        """Nothing is kept open."""

    @contextmanager
    def _reading(self, tenant: str, day: date) -> Iterator[DayFile]:
        path = self._path(tenant, day)
        self._marker.check()
        try:
            with reading_file(path, _about(tenant, day)) as file:
                yield file
        except DamagedCopyError:
            self._marker.check()  # a disk that went meanwhile is no damage
            raise

    def _tenant(self, tenant: str) -> Path:
        # A slug is a folder's name here: nothing that could lead elsewhere gets as far as the disk.
        if not _SLUG.fullmatch(tenant):
            raise ColdError(f"{tenant!r} is no tenant's slug: small letters, digits and _, 31 at most, a letter first")
        return self._folder / f"tenant={tenant}"

    def _path(self, tenant: str, day: date) -> Path:
        return self._tenant(tenant) / f"day={day.isoformat()}" / _FILE

    @contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ColdRetryError(f"{folder} is being written by another process. Try again later") from None
            yield
        finally:
            os.close(descriptor)


def _about(tenant: str, day: date) -> dict[str, str]:
    return {"tenant": tenant, "day": day.isoformat()}


def _sync_folder(folder: Path) -> None:
    """See to it that a power cut leaves the new name, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _speaking(path: Path) -> Iterator[None]:
    """Say of an error of the disk which file it was, and what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ColdRetryError(f"{path}: {reason}. Make room; the old copy, if any, is as it was") from error
        raise ColdError(f"{path}: {reason}. See to the folder's disk and rights; the old copy is as it was") from error
