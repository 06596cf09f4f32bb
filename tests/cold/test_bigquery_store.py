"""What the BigQuery store does of its own: layout, loads, reading in parts, expiry, schema, credentials."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as google

from tests.cold.bigquery_day import DAY, TENANT, readings_of, store_of
from wellos.errors import ConfigurationError
from wellos.settings import Settings, load_settings
from wellos.storage.cold import ColdError, ColdRetryError, DamagedCopyError
from wellos.storage.cold import bigquery_ranges as ranges
from wellos.storage.cold.bigquery import BigQueryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def client(bigquery_settings: Settings) -> Iterator[google.Client]:
    """Google's client, to look behind the store's back."""
    found = google.Client(
        bigquery_settings.bigquery_project,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": bigquery_settings.bigquery_endpoint},
    )
    yield found
    found.close()  # type: ignore[no-untyped-call]


def test_dataset_and_table_are_made_as_promised(bigquery_settings: Settings, client: google.Client) -> None:
    settings = bigquery_settings.model_copy(update={"bigquery_location": "europe-west1"})
    with store_of(settings) as store:
        copy = store.write(TENANT, DAY, [readings_of()], "k")
    dataset = client.get_dataset(f"wellos_{TENANT}")
    assert dataset.location == "europe-west1"
    assert dataset.labels == {"application": "wellos", "tenant": TENANT}
    assert dataset.default_table_expiration_ms is None
    table = client.get_table(f"wellos_{TENANT}.readings")
    assert (table.time_partitioning.type_, table.time_partitioning.field) == ("DAY", "time")
    assert table.clustering_fields == ["tag_id", "time"]
    assert table.require_partition_filter is True
    assert [field.mode for field in table.schema] == ["REQUIRED", "REQUIRED", "NULLABLE", "NULLABLE", "NULLABLE"]
    assert copy.location == f"{settings.bigquery_project}.wellos_{TENANT}.readings$20260301"
    assert (copy.rows, copy.job_id) == (600, f"arch-{TENANT}-readings-20260301-k-1")


def test_a_day_comes_back_bit_by_bit_in_bounded_pieces(
    bigquery_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_ROWS_OF_A_QUERY", 250)
    monkeypatch.setattr("wellos.storage.cold.bigquery_jobs.PAGE_ROWS", 90)
    readings = readings_of()
    with store_of(bigquery_settings) as store:
        store.write(TENANT, DAY, np.array_split(readings, 7), "k")
        pieces = list(store.read_day(TENANT, DAY))
    assert len(pieces) == 9
    assert np.concatenate(pieces).tobytes() == readings.tobytes()


def test_the_same_key_again_is_the_same_copy_under_the_next_id(bigquery_settings: Settings) -> None:
    with store_of(bigquery_settings) as store:
        first = store.write(TENANT, DAY, [readings_of()], "k")
        second = store.write(TENANT, DAY, [readings_of()], "k")
        assert (second.rows, second.file_sha256) == (first.rows, first.file_sha256)
        assert second.job_id == f"arch-{TENANT}-readings-20260301-k-2"
        assert [item.rows for item in store.inventory(TENANT)] == [600]


def test_a_day_of_many_row_groups(bigquery_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wellos.storage.cold.bigquery_rows._ROW_GROUP", 130)
    readings = readings_of()
    with store_of(bigquery_settings) as store:
        assert store.write(TENANT, DAY, np.array_split(readings, 3), "k").rows == 600
        assert np.concatenate(list(store.read_day(TENANT, DAY))).tobytes() == readings.tobytes()


def test_a_day_that_is_replaced_while_it_is_read_is_told(
    bigquery_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_ROWS_OF_A_QUERY", 250)
    with store_of(bigquery_settings) as store:
        store.write(TENANT, DAY, [readings_of()], "k1")
        pieces = store.read_day(TENANT, DAY)
        next(pieces)
        store.write(TENANT, DAY, [readings_of(a_tag=100)], "k2")
        with pytest.raises(ColdRetryError, match="changed while it was read: 400 of 600 rows"):
            list(pieces)


def test_a_dataset_without_its_table_has_no_copies(bigquery_settings: Settings, client: google.Client) -> None:
    client.create_dataset(f"wellos_{TENANT}")
    with store_of(bigquery_settings) as store:
        assert store.inventory(TENANT) == []
        for use in (store.checksum, lambda tenant, day: list(store.read_day(tenant, day))):
            with pytest.raises(DamagedCopyError, match="no copy of acme 2026-03-01"):
                use(TENANT, DAY)


def test_an_empty_day_is_a_copy_and_stops_being_one(bigquery_settings: Settings) -> None:
    with store_of(bigquery_settings) as store:
        store.write(TENANT, DAY, [readings_of()], "k1")
        copy = store.write(TENANT, DAY, [], "k2")
        assert (copy.rows, copy.bytes) == (0, 0)
        assert list(store.read_day(TENANT, DAY)) == []
        assert [(item.day, item.rows) for item in store.inventory(TENANT)] == [(DAY, 0)]
        store.write(TENANT, DAY, [readings_of()], "k3")
        assert [(item.day, item.rows) for item in store.inventory(TENANT)] == [(DAY, 600)]
        store.quarantine(TENANT, DAY)
        with pytest.raises(DamagedCopyError, match="no copy of acme 2026-03-01"):
            list(store.read_day(TENANT, DAY))


def test_reading_scans_the_days_asked_for_and_no_others(bigquery_settings: Settings) -> None:
    days = [DAY + timedelta(days=index) for index in range(4)]
    with store_of(bigquery_settings) as store:
        for day in days:
            store.write(TENANT, day, [readings_of(day)], "k")
        wanted = [days[0], days[2], days[3]]
        found = store.read(TENANT, [3, 1], ranges.micros(DAY), ranges.micros(DAY + timedelta(days=9)), wanted)
    expected = np.concatenate([readings_of(day) for day in wanted])
    expected = expected[expected["tag_id"] != 2]
    expected = expected[np.lexsort((expected["time"], expected["tag_id"]))]
    assert found.readings.tobytes() == expected.tobytes()
    assert found.bytes_scanned == 3 * 600 * 5 * 8


def test_what_was_put_aside_can_be_looked_at(bigquery_settings: Settings, client: google.Client) -> None:
    with store_of(bigquery_settings) as store:
        assert store.quarantine(TENANT, DAY) is None
        store.write(TENANT, DAY, [readings_of()], "k")
        place = store.quarantine(TENANT, DAY)
        assert place is not None
        assert client.get_table(place).num_rows == 600
        assert store.quarantine(TENANT, DAY) is None
        assert store.inventory(TENANT) == []


def test_many_writers_make_one_dataset(bigquery_settings: Settings) -> None:
    start = threading.Barrier(4)

    def write(index: int) -> int:
        with store_of(bigquery_settings) as store:
            start.wait()
            day = DAY + timedelta(days=index)
            return store.write(TENANT, day, [readings_of(day)], "k").rows

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, range(4))) == [600] * 4
    with store_of(bigquery_settings) as store:
        assert len(store.inventory(TENANT)) == 4


def test_columns_of_a_newer_version_are_added(bigquery_settings: Settings, client: google.Client) -> None:
    table = table_with(client, ["time", "tag_id", "value"])
    client.create_table(table)
    with store_of(bigquery_settings) as store:
        store.write(TENANT, DAY, [readings_of()], "k")
        found = np.concatenate(list(store.read_day(TENANT, DAY)))
    assert found.tobytes() == readings_of().tobytes()
    assert [field.name for field in client.get_table(table.reference).schema][-2:] == ["quality", "status"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("expires", "expire"),
        ("unpartitioned", "not partitioned by day"),
        ("type", "column value is STRING, not FLOAT"),
    ],
)
def test_a_table_that_would_lose_or_alter_readings_is_refused(
    bigquery_settings: Settings, client: google.Client, change: str, message: str
) -> None:
    table = table_with(client, ["time", "tag_id", "value"], {"value": "STRING"} if change == "type" else {})
    if change == "unpartitioned":
        table.time_partitioning = None
    elif change == "expires":
        table.time_partitioning.expiration_ms = 1000
    client.create_table(table)
    with store_of(bigquery_settings) as store, pytest.raises(ColdError, match=message):
        store.write(TENANT, DAY, [readings_of()], "k")


def test_a_dataset_that_forgets_is_refused(bigquery_settings: Settings, client: google.Client) -> None:
    dataset = google.Dataset(f"{client.project}.wellos_{TENANT}")
    dataset.default_partition_expiration_ms = 60 * 86_400_000
    client.create_dataset(dataset)
    with store_of(bigquery_settings) as store, pytest.raises(ColdError, match="bq update --default_table_expiration 0"):
        store.write(TENANT, DAY, [readings_of()], "k")


def test_rows_of_another_day_are_refused(bigquery_settings: Settings) -> None:
    with store_of(bigquery_settings) as store, pytest.raises(ColdError, match="different partitions"):
        store.write(TENANT, DAY, [readings_of(DAY + timedelta(days=1))], "k")


def test_a_query_that_would_bill_too_much_is_not_run(bigquery_settings: Settings) -> None:
    settings = bigquery_settings.model_copy(update={"bigquery_max_bytes_billed": 1000})
    with store_of(settings) as store:
        store.write(TENANT, DAY, [readings_of()], "k")
        with pytest.raises(ColdError, match="raise WELLOS_BIGQUERY_MAX_BYTES_BILLED"):
            store.read(TENANT, [1], ranges.micros(DAY), ranges.micros(DAY) + 1, [DAY])


@pytest.mark.parametrize("slug", ["Acme", "a-b", "a.b", "", "a`b", "1a"])
def test_a_tenant_is_a_slug(bigquery_settings: Settings, slug: str) -> None:
    with store_of(bigquery_settings) as store, pytest.raises(ColdError, match="not the slug of a tenant"):
        store.inventory(slug)


def test_without_credentials_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "no.json"))
    with pytest.raises(ConfigurationError, match="GOOGLE_APPLICATION_CREDENTIALS") as caught:
        BigQueryStore.open(load_settings(bigquery_project="wellos-nowhere"))
    assert caught.value.exit_status == 2


def test_without_a_project_the_setting_is_named() -> None:
    with pytest.raises(ConfigurationError, match="WELLOS_BIGQUERY_PROJECT"):
        BigQueryStore.open(load_settings(bigquery_project=None))


def test_real_credentials_go_only_where_it_is_encrypted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "no.json"))
    endpoint = "https://bigquery.restricted.example"
    with pytest.raises(ConfigurationError):
        BigQueryStore.open(load_settings(bigquery_project="wellos-nowhere", bigquery_endpoint=endpoint))


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([], []),
        ([1], [(1, 1)]),
        ([1, 2, 4, 6, 7, 8], [(1, 2), (4, 4), (6, 8)]),
    ],
)
def test_neighbouring_days_are_one_query(days: list[int], expected: list[tuple[int, int]]) -> None:
    found = ranges.runs([date(2026, 1, day) for day in days])
    assert [(first.day, last.day) for first, last in found] == expected


def table_with(client: google.Client, columns: list[str], types: dict[str, str] | None = None) -> google.Table:
    """A table as some older version, or somebody else, may have left it."""
    kinds = {"time": "TIMESTAMP", "tag_id": "INTEGER", "value": "FLOAT"} | (types or {})
    dataset = client.create_dataset(f"wellos_{TENANT}", exists_ok=True)
    required = {"time", "tag_id"}
    schema = [
        google.SchemaField(name, kinds[name], mode="REQUIRED" if name in required else "NULLABLE") for name in columns
    ]
    table = google.Table(dataset.table("readings"), schema=schema)
    table.time_partitioning = google.TimePartitioning(type_="DAY", field="time")
    table.require_partition_filter = True
    return table
