"""Opens the cold store that the settings name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wellos.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore

__all__ = ["open_cold"]


def open_cold(settings: Settings) -> ColdStore:
    """Return BigQuery when a project is set, else the Parquet files, their folder made where it was missing.

    ConfigurationError names the setting when that cannot be.
    """
    if settings.bigquery_project is not None:
        from wellos.storage.cold.bigquery import BigQueryStore  # noqa: PLC0415 - Google's client takes a second

        return BigQueryStore.open(settings)
    from wellos.storage.cold.parquet import ParquetStore  # noqa: PLC0415 - pyarrow, which few commands need

    folder = settings.cold_dir or settings.data_dir / "cold"
    setting = "WELLOS_COLD_DIR" if settings.cold_dir else "WELLOS_DATA_DIR"
    _make_folder(folder, setting)
    return ParquetStore(folder)


def _make_folder(folder: Path, setting: str) -> None:
    remedy = "Name a folder that this account may write."
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"the archive's folder cannot be made: {error.strerror}"
        raise ConfigurationError([Problem(reason, remedy, field=setting, value=str(folder))]) from None
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigurationError(
            [Problem("the archive's folder may not be written", remedy, field=setting, value=str(folder))]
        )
