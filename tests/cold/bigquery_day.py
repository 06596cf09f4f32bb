"""A day of readings and a store with little patience, for the tests of BigQuery."""

from __future__ import annotations

from contextlib import closing
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from wellos.readings import pack
from wellos.storage.cold.bigquery import BigQueryStore
from wellos.storage.cold.bigquery_jobs import Patience
from wellos.storage.cold.bigquery_ranges import micros

if TYPE_CHECKING:
    from wellos.readings import Readings
    from wellos.settings import Settings

DAY = date(2026, 3, 1)
TENANT = "acme"
QUICK = Patience(call_s=20, retry_s=20, first_pause_s=0.01, job_s=30, upload_retries=2)


def readings_of(day: date = DAY, tags: int = 3, a_tag: int = 200, seed: int = 1) -> Readings:
    """Readings by tag and time, of every quality, with the values that arithmetic likes least."""
    random = np.random.default_rng(seed)
    rows = tags * a_tag
    value = random.normal(size=rows) * 10.0 ** random.integers(-300, 300, rows)
    value[:6] = [np.nan, np.inf, -np.inf, 5e-324, 1.7976931348623157e308, -0.0]
    time = np.tile(micros(day) + np.arange(a_tag) * 1_000_003, tags)
    status = random.integers(0, 1 << 32, rows, dtype=np.uint32)
    return pack(time, value, np.repeat(np.arange(1, tags + 1), a_tag), random.integers(0, 3, rows), status)


def store_of(settings: Settings, patience: Patience = QUICK) -> closing[BigQueryStore]:
    """A store that is closed when the block is left."""
    return closing(BigQueryStore.open(settings, patience))
