"""The checksum in BigQuery's SQL: equal to the one in NumPy, tested before it is believed, else done without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from structlog.testing import capture_logs

from tests.cold.bigquery_day import DAY, TENANT, readings_of, store_of
from wellos.storage.cold import Checksum, ColdError, DamagedCopyError
from wellos.storage.cold import bigquery_checksum as proving
from wellos.storage.cold.checksum import SELF_TEST, SELF_TEST_READINGS, checksum
from wellos.storage.sql import query

if TYPE_CHECKING:
    from tests.bigquery_double import Double
    from wellos.settings import Settings


def test_any_bit_pattern_adds_up_as_in_numpy(bigquery_settings: Settings) -> None:
    readings = readings_of(a_tag=10_000)
    bits = np.random.default_rng(5).integers(0, 1 << 64, readings.size, dtype=np.uint64)
    readings["value"] = bits.view(np.float64)
    powers = 2.0 ** np.arange(-1074.0, 1024)
    edges = np.concatenate([powers, np.nextafter(powers, 0), np.nextafter(powers, np.inf), -powers])
    readings["value"][: edges.size] = edges
    with store_of(bigquery_settings) as store, capture_logs() as logs:
        store.write(TENANT, DAY, [readings], "k")
        assert store.checksum(TENANT, DAY) == checksum(readings)
    assert logs == []


def test_the_test_vector_adds_up() -> None:
    assert checksum(SELF_TEST_READINGS) == SELF_TEST


def test_a_single_altered_bit_shows(bigquery: Double, bigquery_settings: Settings) -> None:
    bigquery.plan("corrupt", "arch-")
    with store_of(bigquery_settings) as store:
        assert store.write(TENANT, DAY, [readings_of()], "k").rows == 600
        found = store.checksum(TENANT, DAY)
    assert found.rows == 600
    assert found != checksum(readings_of())


def test_an_empty_day_adds_up_to_nothing_and_a_missing_one_is_damage(bigquery_settings: Settings) -> None:
    with store_of(bigquery_settings) as store:
        with pytest.raises(DamagedCopyError):
            store.checksum(TENANT, DAY)
        store.write(TENANT, DAY, [], "k")
        assert store.checksum(TENANT, DAY) == Checksum()
        store.quarantine(TENANT, DAY)
        with pytest.raises(DamagedCopyError):
            store.checksum(TENANT, DAY)


def test_where_the_arithmetic_is_not_exact_the_partition_is_read_back(
    bigquery_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "query", lambda name: TEXTS.get(name, name))
    monkeypatch.setattr(proving, "PAGE_ROWS", 70)
    with store_of(bigquery_settings) as store, capture_logs() as logs:
        store.write(TENANT, DAY, [readings_of()], "k")
        assert store.checksum(TENANT, DAY) == checksum(readings_of())
        assert store.checksum(TENANT, DAY) == checksum(readings_of())
    assert [entry["event"] for entry in logs] == ["bigquery adds up inexactly: copies are read back to be proven"]


def test_so_it_is_where_the_query_cannot_be_computed(bigquery: Double, bigquery_settings: Settings) -> None:
    with store_of(bigquery_settings) as store, capture_logs() as logs:
        store.write(TENANT, DAY, [readings_of()], "k")
        bigquery.plan("job_error", "read-", reason="invalidQuery")
        assert store.checksum(TENANT, DAY) == checksum(readings_of())
    assert len(logs) == 1


def test_a_test_that_is_refused_proves_nothing_either_way(bigquery: Double, bigquery_settings: Settings) -> None:
    with store_of(bigquery_settings) as store, capture_logs() as logs:
        store.write(TENANT, DAY, [readings_of()], "k")
        bigquery.plan("job_error", "read-", reason="accessDenied")
        with pytest.raises(ColdError, match=r"roles/bigquery\.user"):
            store.checksum(TENANT, DAY)
        assert store.checksum(TENANT, DAY) == checksum(readings_of())
    assert logs == []


# An engine that is a little off: the constant of one lane is another.
TEXTS = {
    "bigquery_checksum": query("bigquery_checksum").replace("828169629", "828169628"),
    "bigquery_day": query("bigquery_day"),
}
