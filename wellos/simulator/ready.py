"""The simulator's ready file: where its servers listen and what it is doing, for the process that started it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from wellos.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ReadyFile"]


class ReadyFile:
    """A JSON object, replaced whole at every change; without a path, nothing is written.

    `state` is `serving` (a live field), `playing` or `finished` (a replay); `opcua`, `modbus` and `mqtt` are addresses
    without passwords; `counts` says what was served so far, `history` how far the backfill is.
    """

    def __init__(self, path: Path | None) -> None:
        """Nothing is written before the first `update`: the file's appearance says that all servers answer."""
        self._path = path
        self.content: dict[str, Any] = {"pid": os.getpid()}

    def update(self, **fields: Any) -> None:  # noqa: ANN401 - JSON
        """Change fields and write the file."""
        self.content |= fields
        if self._path is not None:
            replace_file(self._path, json.dumps(self.content, indent=1) + "\n")
