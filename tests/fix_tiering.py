"""A platform of three days of readings whose days can be archived, dropped and brought back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.tiering import Platform
from wellos.storage.cold.opening import open_cold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection


@pytest.fixture
def platform(db: PgConnection, database_settings: Settings) -> Iterator[Platform]:
    """Three days of readings of two tenants in the warm tier, with their aggregates, and an empty Parquet store."""
    store = open_cold(database_settings)
    made = Platform(db, database_settings, store)
    yield made
    made.sink.close()
    store.close()
