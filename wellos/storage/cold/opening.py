"""Opens the cold store that the settings name."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from wellos.errors import ConfigurationError, Problem
from wellos.storage.cold.parquet_marker import Marker
from wellos.storage.cold.register import Register

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore

__all__ = ["marker", "open_cold"]


def open_cold(settings: Settings) -> ColdStore:
    """Return BigQuery when a project is set, else the Parquet files. Nothing is made: the first to archive does.

    ConfigurationError names the setting when that cannot be.
    """
    if settings.bigquery_project is not None:
        from wellos.storage.cold.bigquery import BigQueryStore  # noqa: PLC0415 - Google's client takes a second

        return BigQueryStore.open(settings)
    from wellos.storage.cold.parquet import ParquetStore  # noqa: PLC0415 - pyarrow, which few commands need

    mark = marker(settings)
    return ParquetStore(mark.folder, mark)


def marker(settings: Settings) -> Marker:
    """Return the marker of the folder that the settings name; ConfigurationError when a file is in the way."""
    folder = settings.cold_dir or settings.data_dir / "cold"
    setting = "WELLOS_COLD_DIR" if settings.cold_dir else "WELLOS_DATA_DIR"
    _refuse_a_file(folder, setting)
    # Without a database there are no receipts to compare a folder with.
    register = None if settings.database_url is None else Register(settings, "parquet")
    return Marker(folder, register, setting)


def _refuse_a_file(folder: Path, setting: str) -> None:
    there = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), None)
    if there is not None and os.path.isfile(there):  # noqa: PTH113 - Path.is_file raises where a mount went stale
        reason = f"the archive's folder cannot be made: {there}: {os.strerror(errno.ENOTDIR)}"
        remedy = "Name a folder that this account may write."
        raise ConfigurationError([Problem(reason, remedy, field=setting, value=str(folder))])
