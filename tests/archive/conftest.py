"""The cold stores that archiving is tried with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wellos.settings import load_settings
from wellos.storage.cold.opening import open_cold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore


@pytest.fixture
def archive_settings(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Settings:
    """Settings of this test's database and a cold store: Parquet in its folder, or as asked for the BigQuery double."""
    if getattr(request, "param", "parquet") == "parquet":
        return load_settings(database_url=database_url, data_dir=tmp_path)
    bigquery: Settings = request.getfixturevalue("bigquery_settings")
    return bigquery.model_copy(
        update=load_settings(database_url=database_url, data_dir=tmp_path).model_dump(
            include={"database_url", "data_dir"}
        )
    )


@pytest.fixture
def cold(archive_settings: Settings) -> Iterator[ColdStore]:
    """The cold store of this test's settings."""
    store = open_cold(archive_settings)
    yield store
    store.close()
