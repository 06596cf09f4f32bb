"""The BigQuery store against the real service, where a project and Google's credentials are given.

It makes and removes a dataset of its own in the project that `WELLOS_TEST_BIGQUERY_PROJECT` names, and reads a few
megabytes: a fraction of a cent.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import google.auth
import numpy as np
import pytest
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import bigquery as google_bigquery

from tests.cold.bigquery_day import DAY, TENANT, readings_of
from wellos.settings import Settings, load_settings
from wellos.storage.cold import DamagedCopyError
from wellos.storage.cold.bigquery import BigQueryStore
from wellos.storage.cold.bigquery_ranges import micros
from wellos.storage.cold.checksum import checksum

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def live_settings() -> Iterator[Settings]:
    """Settings of the real service, with a dataset that is removed afterwards."""
    project = os.environ.get("WELLOS_TEST_BIGQUERY_PROJECT")
    if not project:
        pytest.skip("WELLOS_TEST_BIGQUERY_PROJECT does not name a Google Cloud project")
    try:
        google.auth.default()
    except DefaultCredentialsError as error:
        pytest.skip(f"there are no Google credentials: {error}")
    prefix = f"wellos_test_{uuid.uuid4().hex[:8]}_"
    yield load_settings(bigquery_project=project, bigquery_dataset_prefix=prefix, bigquery_endpoint=None)
    client = google_bigquery.Client(project)
    client.delete_dataset(f"{prefix}{TENANT}", delete_contents=True, not_found_ok=True)
    client.close()  # type: ignore[no-untyped-call]


@pytest.mark.timeout(600)
def test_the_service_does_what_the_double_does(live_settings: Settings) -> None:
    readings = readings_of(a_tag=2000)
    store = BigQueryStore.open(live_settings)
    try:
        for key in ("k1", "k1", "k2"):
            assert store.write(TENANT, DAY, np.array_split(readings, 5), key).rows == readings.size
        assert store.checksum(TENANT, DAY) == checksum(readings)
        assert np.concatenate(list(store.read_day(TENANT, DAY))).tobytes() == readings.tobytes()
        found = store.read(TENANT, [2], micros(DAY), micros(DAY) + 10_000_000, [DAY])
        assert set(found.readings["tag_id"].tolist()) == {2}
        assert [(item.day, item.rows) for item in store.inventory(TENANT)] == [(DAY, readings.size)]
        assert store.quarantine(TENANT, DAY) is not None
        with pytest.raises(DamagedCopyError):
            store.checksum(TENANT, DAY)
        store.write(TENANT, DAY, [], "k3")
        assert store.checksum(TENANT, DAY).rows == 0
    finally:
        store.close()
