"""Datasets and tables of the archive: made when missing, checked, and widened when our schema has grown."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from google.api_core.exceptions import NotFound
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from wellos.storage.cold import ColdError, NotTheArchiveError
from wellos.storage.cold.bigquery_errors import speaking
from wellos.storage.cold.bigquery_ranges import partition_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from wellos.storage.cold.bigquery_jobs import Jobs

__all__ = ["EMPTY_DAYS", "FIELDS", "QUARANTINE", "READINGS", "Tables"]

READINGS = "readings"
EMPTY_DAYS = "readings_empty_days"
QUARANTINE = "readings_quarantine_"
"""Each copy that is put aside has a table of its own: what it was is to be looked at, then deleted by hand."""

FIELDS = (
    SchemaField("time", "TIMESTAMP", mode="REQUIRED", description="Source time, UTC"),
    SchemaField("tag_id", "INTEGER", mode="REQUIRED", description="The registry's tag"),
    SchemaField("value", "FLOAT", description="Engineering units; NaN where there is none"),
    SchemaField("quality", "INTEGER", description="0 BAD, 1 UNCERTAIN, 2 GOOD"),
    SchemaField("status", "INTEGER", description="The protocol's own status code, 32 bits, signed"),
)
_ALONE = (
    SchemaField("time", "TIMESTAMP", mode="REQUIRED", description="Start of a UTC day archived without readings"),
)
_SLUG = re.compile(r"[a-z][a-z0-9_]{0,30}")
_LABELS = {"application": "wellos"}


class Tables:
    """The tables of every tenant's dataset, `{prefix}{tenant}`."""

    def __init__(self, jobs: Jobs, prefix: str, location: str) -> None:
        self._jobs, self._client = jobs, jobs.client
        self._prefix, self._location = prefix, location
        self._locations: dict[str, str] = {}
        self._ready: set[str] = set()
        self._lock = threading.Lock()

    def name(self, tenant: str, table: str, day: date | None = None) -> str:
        """Return `project.dataset.table`, with the partition of a day if one is given."""
        partition = f"${partition_id(day)}" if day else ""
        return f"{self._dataset(tenant)}.{table}{partition}"

    def _dataset(self, tenant: str) -> str:
        if not _SLUG.fullmatch(tenant):
            raise ColdError(f"{tenant!r} is not the slug of a tenant: [a-z][a-z0-9_]{{0,30}}")
        return f"{self._client.project}.{self._prefix}{tenant}"

    def location(self, tenant: str, *, again: bool = False) -> str | None:
        """Return where the tenant's dataset is, None when there is none; `again` looks even if it was there before."""
        dataset = self._dataset(tenant)
        with self._lock:
            if again:
                self._locations.pop(dataset, None)
            if dataset not in self._locations:
                with speaking(f"looking at dataset {dataset}"):
                    try:
                        found = self._client.get_dataset(dataset, retry=self._jobs.retry, timeout=self._jobs.call_s)
                    except NotFound:
                        return None
                self._locations[dataset] = found.location
            return self._locations[dataset]

    def check(self, tenant: str, proven: Sequence[str]) -> None:
        """Raise NotTheArchiveError when the dataset is not there of a tenant of whom copies were proven.

        Of one without, when that of another is not there: then project or prefix are wrong, and nothing is to be made.
        """
        for one in [tenant] if tenant in proven else proven[:1]:
            if self.location(one, again=True) is None:
                raise NotTheArchiveError(
                    f"BigQuery: there is no dataset {self._dataset(one)}, and the database has receipts of it. "
                    "Name the right project in WELLOS_BIGQUERY_PROJECT and prefix in WELLOS_BIGQUERY_DATASET_PREFIX; "
                    "a dataset that was deleted can be undeleted for seven days. Nothing was changed"
                )

    def ensure(self, tenant: str, table: str) -> str:
        """Make the dataset and the table where they are missing, and check them; return the dataset's location.

        ColdError when the table would forget what is archived, or does not fit.
        """
        name = self.name(tenant, table)
        with self._lock:
            if name not in self._ready:
                with speaking(f"preparing table {name}"):
                    self._ensure_dataset(tenant)
                    self._ensure_table(name, _ALONE if table == EMPTY_DAYS else FIELDS)
                self._ready.add(name)
            return self._locations[self._dataset(tenant)]

    def _ensure_dataset(self, tenant: str) -> None:
        wanted = bigquery.Dataset(self._dataset(tenant))
        wanted.location = self._location
        wanted.description = f"Archive of tenant {tenant}"
        wanted.labels = {**_LABELS, "tenant": tenant}
        try:
            found = self._client.get_dataset(wanted.reference, retry=self._jobs.retry, timeout=self._jobs.call_s)
        except NotFound:
            # Another process may be doing the same.
            found = self._client.create_dataset(
                wanted, exists_ok=True, retry=self._jobs.retry, timeout=self._jobs.call_s
            )
        for setting in ("default_table_expiration_ms", "default_partition_expiration_ms"):
            if getattr(found, setting) is not None:
                raise ColdError(
                    f"dataset {wanted.dataset_id}: {setting} is set: BigQuery would delete what is archived. "
                    f"Unset it: bq update --default_table_expiration 0 --default_partition_expiration 0 "
                    f"{wanted.project}:{wanted.dataset_id}"
                )
        self._locations[self._dataset(tenant)] = found.location

    def _ensure_table(self, name: str, fields: tuple[SchemaField, ...]) -> None:
        try:
            table = self._client.get_table(name, retry=self._jobs.retry, timeout=self._jobs.call_s)
        except NotFound:
            table = self._create_table(name, fields)
        partitioning = table.time_partitioning
        if partitioning is None or (partitioning.type_, partitioning.field) != ("DAY", "time"):
            raise ColdError(f"table {name} is not partitioned by day of `time`. Move it away; it is made anew")
        if table.expires is not None or partitioning.expiration_ms is not None:
            raise ColdError(
                f"table {name} or its partitions expire: BigQuery would delete what is archived. "
                f"Unset it: bq update --expiration 0 --time_partitioning_expiration 0 {name}"
            )
        self._widen(table, fields)

    def _create_table(self, name: str, fields: tuple[SchemaField, ...]) -> bigquery.Table:
        wanted = bigquery.Table(name, schema=fields)
        wanted.time_partitioning = bigquery.TimePartitioning(type_=bigquery.TimePartitioningType.DAY, field="time")
        if len(fields) > 1:
            wanted.clustering_fields = ["tag_id", "time"]
        wanted.require_partition_filter = True
        wanted.labels = _LABELS
        return self._client.create_table(wanted, exists_ok=True, retry=self._jobs.retry, timeout=self._jobs.call_s)

    def _widen(self, table: bigquery.Table, fields: tuple[SchemaField, ...]) -> None:
        """Add the columns that a table of an older version has not got."""
        has = {field.name: field for field in table.schema}
        for field in fields:
            if field.name in has and has[field.name].field_type not in _same_types(field.field_type):
                kind = has[field.name].field_type
                raise ColdError(
                    f"table {table.reference}: column {field.name} is {kind}, not {field.field_type}. "
                    "Move the table away"
                )
        missing = [field for field in fields if field.name not in has]
        if missing:
            table.schema = [*table.schema, *missing]
            self._client.update_table(table, ["schema"], retry=self._jobs.retry, timeout=self._jobs.call_s)

    def delete_partition(self, tenant: str, table: str, day: date) -> None:
        """Delete the partition of a day, if there is one."""
        name = self.name(tenant, table, day)
        with speaking(f"deleting {name}"):
            self._client.delete_table(name, not_found_ok=True, retry=self._jobs.retry, timeout=self._jobs.call_s)


def _same_types(name: str) -> set[str]:
    """Return the names of one type: its legacy one and its standard one."""
    pairs: list[set[str]] = [{"INTEGER", "INT64"}, {"FLOAT", "FLOAT64"}]
    return next((pair for pair in pairs if name in pair), {name})
