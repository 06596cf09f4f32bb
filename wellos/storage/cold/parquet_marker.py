"""The marker file in the archive's folder: without it, or with another's, it is not what the receipts speak of.

A folder on a disk that is not mounted looks like an archive that lost everything. So whoever archives first leaves an
id in the database and then in the folder, and every use compares the two.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from wellos.errors import ConfigurationError, Problem
from wellos.storage.cold import ColdError, ColdRetryError, NotTheArchiveError

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.storage.cold.register import Register

__all__ = ["MARKER", "Marker"]

MARKER = "wellos-archive-id"
_MOST = 100
"""Characters read of a marker; an id has 36."""


class Marker:
    """The id of a folder, compared with the database's. Without a register, as by hand, every folder is right."""

    def __init__(self, folder: Path, register: Register | None, setting: str = "WELLOS_COLD_DIR") -> None:
        self.folder, self._register, self._setting = folder, register, setting

    def check(self) -> None:
        """Raise NotTheArchiveError unless this is the archive, or nothing was ever archived. Changes nothing."""
        if self._register is None:
            return
        found, known = self._found(), self._register.id()
        if found is None and self._register.tenants():
            found, known = self._found(), self._register.id()  # another process may have begun just now
            if found is None:
                raise self._missing(known)
        if found is not None and found != known:
            raise self._strange(found, known)

    def check_writable(self) -> None:
        """`check`, and raise ConfigurationError when this account may not write the folder, or make it."""
        self.check()
        folder = self.folder
        while not os.path.lexists(folder) and folder != folder.parent:
            folder = folder.parent
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            remedy = "Name a folder that this account may write."
            raise ConfigurationError(
                [
                    Problem(
                        "the archive's folder may not be written", remedy, field=self._setting, value=str(self.folder)
                    )
                ]
            )

    def claim(self) -> None:
        """Before writing: `check`, and the first time of all make the folder and its marker."""
        if self._register is None:
            return
        self.check()
        if self._found() is None:
            self._make(self._register.claim())

    def _found(self) -> str | None:
        path = self.folder / MARKER
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                return file.read(_MOST).strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise ColdError(f"{path}: {error.strerror}. Let this account read it") from None
        except OSError as error:
            raise ColdRetryError(f"{path}: {error.strerror}. See to the disk, and try again") from error

    def _make(self, identity: str) -> None:
        path = self.folder / MARKER
        draft = path.with_name(f"{MARKER}.{secrets.token_hex(4)}.new")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with draft.open("w", encoding="utf-8") as file:
                    file.write(f"{identity}\n")
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            reason = (
                f"{path}: {error.strerror}. See to the folder's disk and rights, or name another in {self._setting}"
            )
            raise ColdError(reason) from error

    def _missing(self, known: str | None) -> NotTheArchiveError:
        lost = f" If only {MARKER} was lost, write {known} into it." if known else ""
        return NotTheArchiveError(
            f"{self.folder} is not the archive: {MARKER} is not there, and the database has receipts. "
            f"Mount the archive's disk, or name the right folder in WELLOS_COLD_DIR.{lost} Nothing was changed"
        )

    def _strange(self, found: str, known: str | None) -> NotTheArchiveError:
        ours, mend = (f"the database's is {known}", f"write {known} into") if known else ("this one has none", "remove")
        return NotTheArchiveError(
            f"{self.folder} is the archive of another database: {MARKER} says {found!r}, {ours}. Name this platform's "
            f"folder in WELLOS_COLD_DIR; should this be it all the same, {mend} {MARKER}. Nothing was changed"
        )
