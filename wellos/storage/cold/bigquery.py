"""The cold store in BigQuery: a dataset a tenant, a table of day partitions, each replaced whole by one load job.

Reading and proving go through query jobs under a limit of bytes; nothing is ever appended or changed in place.
"""

from __future__ import annotations

import errno
import uuid
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

import numpy as np
from google.api_core.exceptions import NotFound
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import bigquery

from wellos.errors import ConfigurationError, Problem
from wellos.readings import empty
from wellos.storage.cold import (
    Checksum,
    ColdRead,
    ColdRetryError,
    Copy,
    DamagedCopyError,
    Inventory,
    StoreName,
)
from wellos.storage.cold.bigquery_checksum import Prover
from wellos.storage.cold.bigquery_errors import RefusedError, speaking
from wellos.storage.cold.bigquery_jobs import Jobs, Patience
from wellos.storage.cold.bigquery_ranges import (
    Parameter,
    days_without,
    integer,
    limits,
    limits_of_day,
    micros,
    partition_id,
    runs,
    tag_ranges,
    text,
)
from wellos.storage.cold.bigquery_rows import file_sha256, unpack_pages, write_empty_file, write_file
from wellos.storage.cold.bigquery_tables import EMPTY_DAYS, FIELDS, QUARANTINE, READINGS, Tables
from wellos.storage.cold.register import Register
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from wellos.readings import Readings
    from wellos.settings import Settings

__all__ = ["BigQueryStore"]

_ROWS_OF_A_QUERY = 1 << 20
"""Of reading a whole day: what BigQuery sorts in one go, whatever the day's size."""


class BigQueryStore:
    """A cold store in one Google Cloud project."""

    name: StoreName = "bigquery"

    def __init__(
        self,
        client: bigquery.Client,
        register: Register,
        *,
        prefix: str,
        location: str,
        max_bytes_billed: int,
        patience: Patience,
    ) -> None:
        self._register = register
        self._client = client
        self._jobs = Jobs(client, patience, max_bytes_billed)
        self._tables = Tables(self._jobs, prefix, location)
        self._prover = Prover(self._jobs)

    @classmethod
    def open(cls, settings: Settings, patience: Patience | None = None) -> BigQueryStore:
        """Return the store that the settings name. Nothing is asked of BigQuery yet.

        ConfigurationError when there are no credentials.
        """
        if settings.bigquery_project is None:
            problem = Problem("is not set", "Name the Google Cloud project.", field="WELLOS_BIGQUERY_PROJECT")
            raise ConfigurationError([problem])
        return cls(
            _client(settings.bigquery_project, settings.bigquery_endpoint),
            Register(settings, "bigquery"),
            prefix=settings.bigquery_dataset_prefix,
            location=settings.bigquery_location,
            max_bytes_billed=settings.bigquery_max_bytes_billed,
            patience=patience or Patience(),
        )

    def ready(self, *, writing: bool) -> None:  # noqa: ARG002 - BigQuery tells of missing rights when it is written to
        """Look for the dataset of the first tenant who has receipts; see `ColdStore.ready`."""
        for tenant in self._register.tenants()[:1]:
            self._tables.check(tenant, [tenant])

    def write(self, tenant: str, day: date, pieces: Iterable[Readings], key: str) -> Copy:
        """Replace the day's partition by one load job; see `ColdStore.write`."""
        if self._tables.location(tenant) is None:
            self._tables.check(tenant, self._register.tenants())
        location = self._tables.ensure(tenant, READINGS)
        stem = f"arch-{tenant}-{READINGS}-{partition_id(day)}-"
        # What an earlier process started would replace our copy after it has been proven.
        self._jobs.stop_unfinished(stem, location, f"looking for earlier loads of {tenant} {day}")
        name = self._tables.name(tenant, READINGS, day)
        with NamedTemporaryFile(prefix="wellos-", suffix=".parquet") as file:
            try:
                rows = write_file(file, pieces)  # type: ignore[arg-type]  # a wrapper of a binary file
            except OSError as error:
                if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                    raise
                raise ColdRetryError(
                    f"{file.name}: {error}. Make room there, or name another folder by TMPDIR"
                ) from error
            if not rows:
                return self._write_empty(tenant, day, f"{stem}{key}")
            file.flush()
            job = self._jobs.upload(file.name, name, _load_config(), f"{stem}{key}", location)
            sha256 = file_sha256(file.name)
        if self._has_empty_days(tenant):
            self._tables.delete_partition(tenant, EMPTY_DAYS, day)
        # What BigQuery says it stored: whoever handed the readings over compares.
        return Copy(name, int(job.output_rows or 0), int(job.output_bytes or 0), sha256, job.job_id)

    def _write_empty(self, tenant: str, day: date, stem: str) -> Copy:
        # A partition without rows is no partition: that the day was archived is a row elsewhere, written first.
        location = self._tables.ensure(tenant, EMPTY_DAYS)
        name = self._tables.name(tenant, EMPTY_DAYS, day)
        config = _load_config(EMPTY_DAYS)
        with NamedTemporaryFile(prefix="wellos-", suffix=".parquet") as file:
            write_empty_file(file, micros(day))  # type: ignore[arg-type]  # a wrapper of a binary file
            file.flush()
            job = self._jobs.upload(file.name, name, config, stem, location)
            sha256 = file_sha256(file.name)
        self._tables.delete_partition(tenant, READINGS, day)
        return Copy(self._tables.name(tenant, READINGS, day), 0, 0, sha256, job.job_id)

    def checksum(self, tenant: str, day: date) -> Checksum:
        """Count and add up the partition by a query, or here where the engine's arithmetic is not exact."""
        location = self._location(tenant, day)
        with self._damage_if_gone(tenant, day):
            found = self._prover.checksum(self._tables.name(tenant, READINGS), day, location)
        if not found.rows:
            self._refuse_missing(tenant, [day])
        return found

    def read(self, tenant: str, tag_ids: Sequence[int], since_us: int, until_us: int, days: Sequence[date]) -> ColdRead:
        """Read tags of some days; see `ColdStore.read`."""
        pieces: list[Readings] = []
        scanned = 0
        wanted = sorted(set(days))
        for first, last in runs(wanted):
            since, until = max(since_us, micros(first)), min(until_us, micros(last + timedelta(days=1)))
            if since >= until or not tag_ids:
                continue
            parameters = [*limits(since, until), bigquery.ArrayQueryParameter("tags", "INT64", list(tag_ids))]
            found, size = self._fetch(tenant, "bigquery_readings", parameters, first)
            pieces += found
            scanned += size
        readings = np.concatenate(pieces) if pieces else empty()
        self._refuse_missing(tenant, days_without(readings, wanted))
        # Runs of days are each sorted: together they are not.
        return ColdRead(readings[np.lexsort((readings["time"], readings["tag_id"]))], scanned)

    def read_day(self, tenant: str, day: date) -> Iterator[Readings]:
        """Yield a whole copy, a range of tags a query; see `ColdStore.read_day`."""
        tags, counts = self._tags(tenant, day)
        if not tags.size:
            self._refuse_missing(tenant, [day])
        expected, rows = int(counts.sum()), 0
        for first, last in tag_ranges(tags, counts):
            parameters = [*limits_of_day(day), integer("first", first), integer("last", last)]
            job = self._query(tenant, "bigquery_readings_of_day", parameters, day)
            with speaking(f"reading {tenant} {day}"):
                for piece in unpack_pages(self._jobs.rows(job).pages):
                    rows += piece.size
                    yield piece
        if rows != expected:
            raise ColdRetryError(
                f"BigQuery: {tenant} {day} changed while it was read: {rows} of {expected} rows. Read it again"
            )

    def _tags(self, tenant: str, day: date) -> tuple[np.ndarray, np.ndarray]:
        job = self._query(tenant, "bigquery_tags_of_day", limits_of_day(day), day)
        with speaking(f"reading the tags of {tenant} {day}"):
            rows = [(row["tag_id"], row["n"]) for row in self._jobs.rows(job)]
        tags, counts = np.array(rows, dtype=np.int64).reshape(-1, 2).T
        return tags, counts

    def quarantine(self, tenant: str, day: date) -> str | None:
        """Move a copy to a table of its own, `readings_quarantine_...`; see `ColdStore.quarantine`."""
        if self._tables.location(tenant) is None:
            self._tables.check(tenant, self._register.tenants())
            return None
        if self._missing(tenant, [day]):
            return None
        aside = f"{QUARANTINE}{partition_id(day)}_{uuid.uuid4().hex[:8]}"
        location = self._tables.ensure(tenant, aside)
        source, target = self._tables.name(tenant, READINGS, day), self._tables.name(tenant, aside, day)
        stem = f"quar-{tenant}-{aside}-"
        self._jobs.copy(source, target, f"{stem}copy", location)
        # One that was tried again may still run, and would put an emptied partition over what was put aside.
        self._jobs.stop_unfinished(stem, location, f"looking for copies of {tenant} {day}")
        if self._has_empty_days(tenant):
            self._tables.delete_partition(tenant, EMPTY_DAYS, day)
        self._tables.delete_partition(tenant, READINGS, day)
        return self._tables.name(tenant, aside)

    def inventory(self, tenant: str) -> Sequence[Inventory]:
        """Return the partitions, by BigQuery's own books (logical bytes)."""
        if self._tables.location(tenant) is None:
            return []
        held = self._partitions(tenant, date(1, 1, 1), date(9999, 12, 31))
        return [Inventory(tenant, day, *held[day]) for day in sorted(held)]

    def close(self) -> None:
        """Let connections go."""
        self._client.close()  # type: ignore[no-untyped-call]  # the client's own gap

    def _location(self, tenant: str, day: date) -> str:
        location = self._tables.location(tenant)
        if location is None:
            self._tables.check(tenant, self._register.tenants())
            raise DamagedCopyError(
                f"BigQuery: there is no copy of {tenant} {day}: {self._tables.name(tenant, READINGS)}"
            )
        return location

    @contextmanager
    def _damage_if_gone(self, tenant: str, day: date) -> Iterator[None]:
        """Take a table that is not found for a copy that is not there, unless the whole dataset is gone."""
        try:
            yield
        except RefusedError as error:
            if error.reason != "notFound":
                raise
            self._tables.check(tenant, self._register.tenants())
            raise DamagedCopyError(f"there is no copy of {tenant} {day}. {error}") from error

    def _query(self, tenant: str, name: str, parameters: Sequence[Parameter], day: date) -> bigquery.QueryJob:
        sql = query(name).replace("{readings}", self._tables.name(tenant, READINGS))
        with self._damage_if_gone(tenant, day):
            return self._jobs.query(sql, parameters, self._location(tenant, day), f"reading {tenant} {day}")

    def _fetch(self, tenant: str, name: str, parameters: Sequence[Parameter], day: date) -> tuple[list[Readings], int]:
        job = self._query(tenant, name, parameters, day)
        with speaking(f"reading {tenant} {day}"):
            pages = list(unpack_pages(self._jobs.rows(job).pages))
        return pages, int(job.total_bytes_processed or 0)

    def _refuse_missing(self, tenant: str, days: Sequence[date]) -> None:
        missing = self._missing(tenant, days)
        if missing:
            shown = ", ".join(str(day) for day in missing[:5])
            raise DamagedCopyError(
                f"BigQuery: there is no copy of {tenant} {shown} in {self._tables.name(tenant, READINGS)}"
            )

    def _missing(self, tenant: str, days: Sequence[date]) -> list[date]:
        if not days:
            return []
        self._location(tenant, days[0])
        held = self._partitions(tenant, min(days), max(days))
        return [day for day in days if day not in held]

    def _has_empty_days(self, tenant: str) -> bool:
        """Tell whether the tenant has a table of empty days; most never do."""
        name = self._tables.name(tenant, EMPTY_DAYS)
        with speaking(f"looking at {name}"):
            try:
                self._client.get_table(name, retry=self._jobs.retry, timeout=self._jobs.call_s)
            except NotFound:
                return False
        return True

    def _partitions(self, tenant: str, first: date, last: date) -> dict[date, tuple[int, int]]:
        """Return rows and bytes by day; a day archived without readings has none of either."""
        project, dataset, _ = self._tables.name(tenant, READINGS).split(".")
        sql = query("bigquery_partitions").replace("{project}", project).replace("{dataset}", dataset)
        bounds = [text("first", partition_id(first)), text("last", partition_id(last))]
        doing = f"taking stock of {tenant}"
        job = self._jobs.query(sql, bounds, self._location(tenant, first), doing, cached=False)
        held: dict[date, tuple[int, int]] = {}
        with speaking(doing):
            for row in self._jobs.rows(job):
                if not row["total_rows"]:
                    continue
                day = datetime.strptime(row["partition_id"], "%Y%m%d").replace(tzinfo=UTC).date()
                if row["table_name"] == READINGS:
                    held[day] = (row["total_rows"], row["total_logical_bytes"])
                else:
                    held.setdefault(day, (0, 0))
        return held


def _client(project: str, endpoint: str | None) -> bigquery.Client:
    options = {"api_endpoint": endpoint} if endpoint else None
    # What is not encrypted is a double on this machine: real credentials never go there.
    anonymous = endpoint is not None and endpoint.startswith("http://")
    try:
        credentials = AnonymousCredentials() if anonymous else None  # type: ignore[no-untyped-call]
        return bigquery.Client(project, credentials=credentials, client_options=options)
    except DefaultCredentialsError as error:
        problem = Problem(
            f"there are no Google credentials: {error}",
            "Run `gcloud auth application-default login`, or name a key file in GOOGLE_APPLICATION_CREDENTIALS.",
            field="WELLOS_BIGQUERY_PROJECT",
            value=project,
        )
        raise ConfigurationError([problem]) from None


def _load_config(table: str = READINGS) -> bigquery.LoadJobConfig:
    return bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        schema=FIELDS if table == READINGS else FIELDS[:1],
        write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
        create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
        labels={"application": "wellos"},
    )
