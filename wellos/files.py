"""Files replaced whole: a reader, after a crash or a power cut too, sees the old text or the new; and our folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wellos.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["make_folder", "replace_file"]


def make_folder(path: Path) -> None:
    """Make the data folder; ConfigurationError names the setting when that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"cannot be made: {error.strerror}"
        remedy = "Name a folder that this account may write."
        raise ConfigurationError([Problem(reason, remedy, field="WELLOS_DATA_DIR", value=str(path))]) from None


def replace_file(path: Path, text: str | Iterable[str]) -> None:
    """Write a file readable by its owner alone, from one text or from its parts, which need not fit memory together.

    After an OSError, a full disk say, the old one is there.
    """
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines([text] if isinstance(text, str) else text)
        file.flush()
        # Without it a power cut may keep the new name and lose the text.
        os.fsync(descriptor)
    draft.replace(path)
