"""The first daily partition of an embedded stack: where its history begins, decided at its first start and kept."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from wellos.clock import from_micros
from wellos.embedded.simulation import DEFAULT_HISTORY
from wellos.files import replace_file

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from wellos.settings import Settings

__all__ = ["first_partition"]


def first_partition(
    folder: Path, settings: Settings, now: datetime, *, history: timedelta | None = None, replay: Path | None = None
) -> date:
    """Return the setting `WELLOS_PARTITIONS_START` of this start.

    `history` is what the user wished for, if anything, `replay` a folder of recordings: they begin with the oldest.

    A partition that can never be filled makes all the others look unfinished, so those before the history of an
    embedded database are left out. A database of the user's own may hold years: for it, the setting stands.
    """
    if "partitions_start" in settings.model_fields_set or settings.database_url is not None:
        return settings.partitions_start
    path = folder / "partitions_start"
    if path.exists():
        return date.fromisoformat(path.read_text().strip())
    begin = now - max(history or timedelta(), DEFAULT_HISTORY)
    if replay is not None:
        begin = min(begin, _oldest(replay))
    chosen = begin.date()
    replace_file(path, f"{chosen}\n")
    return chosen


def _oldest(folder: Path) -> datetime:
    """Start of the oldest recording, less a day: its time is local to a zone not known here."""
    from wellos.simulator.recordings import find_recordings  # noqa: PLC0415 - Polars, for a first replay alone

    starts = [recording.start_us for recording in find_recordings(folder) if recording.start_us > 0]
    return from_micros(min(starts)) - timedelta(days=1)
