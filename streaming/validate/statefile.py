"""Keeps the state of the checks in the data folder, so that a restart neither forgets nor repeats.

| file | content |
|---|---|
| `validator-N.npz` | the whole state at some moment, a NumPy archive; replaced whole, about once a minute |
| `validator-N-G.jsonl` | what was said of episodes since state G was taken, a line each, before the spool has it |

N is the number of the process in the folder. A state names its generation G: with it are read the lines of G and later.
So after kill -9 at most a minute of statistics is missing, and no episode: one that is open stays open, under the same
start. The lines are written, not synced: a power cut may lose the last ones, and then an episode that was opened in
that minute is never ended. A file that cannot be read is set aside, and the checks start afresh.
"""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import structlog

from streaming.delivery import Episode
from streaming.validate.validator import State

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from streaming.validate.validator import Validator

__all__ = ["StateFile"]

_SCHEMA = 1
_UNREADABLE = (BadZipFile, zlib.error, ValueError, LookupError, TypeError, EOFError, OSError)

log = structlog.get_logger(__name__)


class StateFile:
    """The files of one process. `note` and `turn` belong to the thread that checks, `write` to any."""

    def __init__(self, folder: Path, number: int = 0) -> None:
        """Read nothing yet."""
        self._folder, self._name = folder, f"validator-{number}"
        self._path = folder / f"{self._name}.npz"
        self._generation = 0
        self._told = False

    def load(self, validator: Validator) -> None:
        """Give a validator without tags what was kept; nothing, when nothing was."""
        state, said, generation = State({}, {}), self._said(), 0
        try:
            state, generation = self._read()
        except FileNotFoundError:
            pass
        except _UNREADABLE as error:
            self._set_aside(error)
        later = [item for number, items in sorted(said.items()) if number >= generation for item in items]
        try:
            validator.restore(state, later)
        except _UNREADABLE as error:
            self._set_aside(error)
            validator.restore(State({}, {}), later)
        self._generation = max([generation, *said])
        self.turn()

    def note(self, said: Iterable[tuple[int, Episode]]) -> None:
        """Write down what is being said of (connection, episode)s."""
        lines = [json.dumps([connection_id, asdict(episode)], separators=(",", ":")) for connection_id, episode in said]
        if not lines:
            return
        try:
            with self._lines_of(self._generation).open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))
        except OSError as error:
            self._tell(error)

    def turn(self) -> int:
        """Begin the lines of the next generation; return its number, for the state that is taken at this moment."""
        self._generation += 1
        return self._generation

    def write(self, state: State, generation: int) -> None:
        """Replace the state; a full disk leaves the old one, with all lines since."""
        draft = self._path.with_suffix(".new")
        content = np.frombuffer(json.dumps(state.connections).encode(), np.uint8)
        try:
            with draft.open("wb") as file:
                np.savez(file, schema=_SCHEMA, generation=generation, connections=content, **state.arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
            for number in self._generations():
                if number < generation:
                    self._lines_of(number).unlink(missing_ok=True)
        except OSError as error:
            self._tell(error)
            return
        self._told = False

    def _read(self) -> tuple[State, int]:
        with self._path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if int(arrays.pop("schema")) != _SCHEMA:
            raise ValueError("it was written by another version")
        generation = int(arrays.pop("generation"))
        return State(arrays, json.loads(arrays.pop("connections").tobytes())), generation

    def _said(self) -> dict[int, list[tuple[int, Episode]]]:
        said: dict[int, list[tuple[int, Episode]]] = {}
        for number in self._generations():
            items = said.setdefault(number, [])
            try:
                for line in self._lines_of(number).read_text(encoding="utf-8").splitlines():
                    connection_id, episode = json.loads(line)
                    items.append((int(connection_id), Episode(**episode)))
            except (OSError, ValueError, TypeError) as error:
                # The last line of a process that was killed may be cut.
                log.info("a line about episodes could not be read", file=self._lines_of(number).name, reason=str(error))
        return said

    def _generations(self) -> list[int]:
        names = (path.stem.removeprefix(f"{self._name}-") for path in self._folder.glob(f"{self._name}-*.jsonl"))
        return sorted(int(name) for name in names if name.isdigit())

    def _lines_of(self, generation: int) -> Path:
        return self._folder / f"{self._name}-{generation}.jsonl"

    def _set_aside(self, error: Exception) -> None:
        aside = self._path.with_suffix(".aside")
        with suppress(OSError):  # a folder that cannot be written is said when the next state is
            self._path.replace(aside)
        log.warning("the state of the checks could not be read; they start afresh", kept=str(aside), reason=str(error))

    def _tell(self, error: OSError) -> None:
        if not self._told:
            log.warning("the state of the checks could not be written", reason=str(error))
        self._told = True
