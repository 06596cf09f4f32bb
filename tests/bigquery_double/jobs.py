"""Jobs: an id is used once, a slow one does its work when its time has come, and a failed one stays failed."""

from __future__ import annotations

import io
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bigquery_double.faults import OF_JOBS, Faults
from tests.bigquery_double.refusals import Json, Refusal
from tests.bigquery_double.statements import Statement, cells, schema_of

if TYPE_CHECKING:
    from tests.bigquery_double.catalogue import Catalogue


@dataclass
class Job:
    """A job: what was asked for, until when it runs, and what came of it."""

    project: str
    job_id: str
    resource: Json
    media: bytes
    due: float
    faults: list[Any]
    created_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    done: bool = False
    error: Refusal | None = None
    statistics: Json = field(default_factory=dict)
    result: pa.Table | None = None

    @property
    def configuration(self) -> Json:
        configuration: Json = self.resource["configuration"]
        return configuration

    def describe(self) -> Json:
        status: Json = {"state": "DONE" if self.done else "RUNNING"}
        if self.error:
            status |= {"errorResult": self.error.entry(), "errors": [self.error.entry()]}
        times = {"creationTime": str(self.created_ms), "startTime": str(self.created_ms)}
        return {
            "kind": "bigquery#job",
            "id": f"{self.project}:US.{self.job_id}",
            "jobReference": {"location": "US", **self.resource["jobReference"]},
            "configuration": self.configuration,
            "status": status,
            "statistics": {**times, **self.statistics},
        }


class Jobs:
    """All jobs, by project and id."""

    def __init__(self, catalogue: Catalogue, faults: Faults) -> None:
        self._catalogue, self._faults = catalogue, faults
        self._jobs: dict[tuple[str, str], Job] = {}

    def insert(self, project: str, resource: Json, media: bytes = b"") -> Job:
        job_id = resource["jobReference"].get("jobId") or str(uuid.uuid4())
        if (project, job_id) in self._jobs:
            raise Refusal("duplicate", f"Already Exists: Job {project}:US.{job_id}")
        resource["jobReference"]["jobId"] = job_id
        faults = self._faults.take(OF_JOBS, f"{project} {job_id}")
        wait = sum(fault.seconds for fault in faults if fault.kind == "slow")
        job = Job(project, job_id, resource, media, time.monotonic() + wait, faults)
        self._jobs[project, job_id] = job
        self.settle()
        return job

    def get(self, project: str, job_id: str) -> Job:
        found = self._jobs.get((project, job_id))
        if found is None:
            raise Refusal("notFound", f"Not found: Job {project}:{job_id}")
        return found

    def listed(self, project: str, state: str | None) -> list[Json]:
        jobs = [job for job in self._jobs.values() if job.project == project]
        shown = [job.describe() for job in jobs if state is None or ("done" if job.done else "running") == state]
        return [{**resource, "state": resource["status"]["state"]} for resource in shown]

    def cancel(self, project: str, job_id: str) -> Job:
        job = self.get(project, job_id)
        if not job.done:
            job.done, job.error = True, Refusal("stopped", "Job execution was cancelled: User requested cancellation")
        return job

    def settle(self) -> None:
        """Do the work of the jobs whose time has come; called before every request is answered."""
        for job in list(self._jobs.values()):
            if not job.done and job.due <= time.monotonic():
                self._run(job)

    def _run(self, job: Job) -> None:
        job.done = True
        try:
            for fault in job.faults:
                if fault.kind == "job_error":
                    raise Refusal(fault.reason, f"planned: {fault.reason}")
            if "query" in job.configuration:
                self._query(job)
            elif "load" in job.configuration:
                self._load(job)
            else:
                self._copy(job)
        except Refusal as refusal:
            job.error = refusal
        except duckdb.Error as error:
            job.error = Refusal("invalidQuery", str(error))
        job.media = b""

    def _query(self, job: Job) -> None:
        statement = Statement(self._catalogue, job.project, job.configuration["query"])
        job.result = statement.run()
        job.configuration["query"]["destinationTable"] = {
            "projectId": job.project,
            "datasetId": "_anonymous",
            "tableId": "anon" + uuid.uuid4().hex,
        }
        read = str(statement.bytes)
        job.statistics = {
            "totalBytesProcessed": read,
            "query": {"totalBytesProcessed": read, "totalBytesBilled": read, "statementType": "SELECT"},
        }

    def _load(self, job: Job) -> None:
        load = job.configuration["load"]
        if load["sourceFormat"] != "PARQUET" or load["writeDisposition"] != "WRITE_TRUNCATE":
            raise Refusal("invalid", "only Parquet files that replace a partition are modelled")
        try:
            rows = pq.read_table(io.BytesIO(job.media))
        except pa.ArrowInvalid as error:
            raise Refusal("invalid", f"Error while reading data, error message: {error}") from error
        rows = self._spoilt(job, plain(rows))
        target = load["destinationTable"]
        stored = self._catalogue.replace(target["projectId"], target["datasetId"], target["tableId"], rows)
        size = str(8 * rows.num_columns * stored)
        job.statistics = {"load": {"outputRows": str(stored), "outputBytes": size, "inputFiles": "1"}}

    def _spoilt(self, job: Job, rows: pa.Table) -> pa.Table:
        for fault in job.faults:
            if fault.kind == "wrong_count":
                rows = rows.slice(0, rows.num_rows - 1)
            elif fault.kind == "corrupt":
                values = rows["value"].to_numpy().copy()
                values[-1] = np.nextafter(values[-1], np.inf)
                rows = rows.set_column(rows.column_names.index("value"), "value", pa.array(values))
        return rows

    def _copy(self, job: Job) -> None:
        copy = job.configuration["copy"]
        (source,), target = copy["sourceTables"], copy["destinationTable"]
        if copy["writeDisposition"] != "WRITE_TRUNCATE":
            raise Refusal("invalid", "only copies that replace a partition are modelled")
        table = self._catalogue.table(source["projectId"], source["datasetId"], source["tableId"])
        rows = self._catalogue.content(table, source["tableId"].partition("$")[2])
        self._catalogue.replace(target["projectId"], target["datasetId"], target["tableId"], rows)

    def results(self, project: str, job_id: str, most: int | None, start: int) -> Json:
        """Answer `getQueryResults`; a `rows` key where none are asked for would be the end to the client."""
        job = self.get(project, job_id)
        answer: Json = {"jobReference": job.describe()["jobReference"], "jobComplete": job.done}
        if job.error:
            raise job.error
        if job.result is not None:
            total = job.result.num_rows
            answer |= {"schema": schema_of(job.result), "totalRows": str(total)}
            if most != 0:
                answer |= page(job.result, most, start)
        return answer


def page(table: pa.Table, most: int | None, start: int) -> Json:
    """Return one page of rows and the token of the next, if any."""
    end = min(table.num_rows, start + min(most or 50_000, 50_000))
    answer: Json = {"rows": cells(table.slice(start, end - start))}
    return answer | ({"pageToken": str(end)} if end < table.num_rows else {})


def plain(rows: pa.Table) -> pa.Table:
    """Take the zone off the times: they are UTC here as in BigQuery."""
    for index, column in enumerate(rows.schema):
        if pa.types.is_timestamp(column.type):
            rows = rows.set_column(index, column.name, rows[column.name].cast(pa.timestamp("us")))
    return rows
