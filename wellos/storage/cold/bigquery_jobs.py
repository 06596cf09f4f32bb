"""Jobs of BigQuery: each runs under an id of ours, so that a lost reply is looked up instead of done again.

A failed job's id can never be used again, hence the number of the attempt at the end of every id.
"""

from __future__ import annotations

import itertools
import random
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from google.api_core.exceptions import Conflict, NotFound
from google.api_core.retry import Retry
from google.cloud import bigquery

from wellos.storage.cold import ColdError, ColdRetryError
from wellos.storage.cold.bigquery_errors import SPOKEN, job_error, passes, speaking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from google.cloud.bigquery import Client
    from google.cloud.bigquery.table import RowIterator

    from wellos.storage.cold.bigquery_ranges import Parameter

__all__ = ["PAGE_ROWS", "Jobs", "Patience"]

_log = structlog.get_logger(__name__)
_Job = TypeVar("_Job", bigquery.LoadJob, bigquery.CopyJob, bigquery.QueryJob)
_CONNECT_S = 10.0
_LONGEST_POLL_S = 5.0

PAGE_ROWS = 50_000
"""Rows asked for at a time; BigQuery sends fewer when they would be too many bytes."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what, seconds."""

    call_s: float = 60
    """One request."""
    retry_s: float = 120
    """One request with its repetitions."""
    first_pause_s: float = 0.5
    """Before the first repetition; it doubles from there."""
    job_s: float = 1800
    """One piece of work, all its attempts together; a job that takes longer is cancelled."""
    upload_retries: int = 5
    """Of one part of an upload; the client waits 1, 2, 4 ... seconds between them."""


class Jobs:
    """Runs loads, copies and queries to their end, within deadlines."""

    def __init__(self, client: Client, patience: Patience, max_bytes_billed: int) -> None:
        self.client, self.patience = client, patience
        self._max_bytes_billed = max_bytes_billed
        self.retry = self._retry(passes)
        self._retry_unseen = self._retry(
            lambda error: isinstance(error, NotFound) or passes(error), min(10.0, patience.retry_s)
        )

    def _retry(self, predicate: Callable[[BaseException], bool], within_s: float | None = None) -> Retry:
        patience = self.patience
        return Retry(
            predicate=predicate,
            initial=patience.first_pause_s,
            maximum=max(patience.first_pause_s, 10.0),
            multiplier=2.0,
            timeout=within_s or patience.retry_s,
        )

    @property
    def call_s(self) -> float:
        """Seconds that one request may take."""
        return self.patience.call_s

    def query(
        self,
        sql: str,
        parameters: Sequence[Parameter],
        location: str,
        doing: str,
        *,
        cached: bool = True,
    ) -> bigquery.QueryJob:
        """Run a query under the limit of bytes to its end."""
        config = bigquery.QueryJobConfig(
            query_parameters=parameters,
            maximum_bytes_billed=self._max_bytes_billed,
            use_query_cache=cached,
            labels={"application": "wellos"},
        )

        def start(job_id: str) -> bigquery.QueryJob:
            return self.client.query(
                sql,
                job_config=config,
                job_id=job_id,
                location=location,
                retry=self.retry,
                timeout=self.call_s,
                job_retry=None,
            )

        return self.run(start, f"read-{uuid.uuid4().hex}", location, doing)

    def rows(self, job: bigquery.QueryJob) -> RowIterator:
        """Return the rows of a query that is done; pages are fetched as they are taken."""
        rows: RowIterator = job.result(page_size=PAGE_ROWS, retry=self.retry, timeout=self.call_s, job_retry=None)
        return rows

    def upload(
        self, path: str, table: str, config: bigquery.LoadJobConfig, stem: str, location: str
    ) -> bigquery.LoadJob:
        """Load a file into a table or a partition, by a resumable upload."""

        def start(job_id: str) -> bigquery.LoadJob:
            with open(path, "rb") as file:  # noqa: PTH123 - a path as the system has it
                # Without a size the client always takes the resumable way.
                return self.client.load_table_from_file(
                    file,
                    table,
                    job_id=job_id,
                    job_config=config,
                    location=location,
                    num_retries=self.patience.upload_retries,
                    timeout=(min(_CONNECT_S, self.call_s), self.call_s),
                )

        return self.run(start, stem, location, f"loading {table}", reused=True)

    def copy(self, source: str, target: str, stem: str, location: str) -> bigquery.CopyJob:
        """Copy a partition over another."""
        config = bigquery.CopyJobConfig(
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
        )

        def start(job_id: str) -> bigquery.CopyJob:
            return self.client.copy_table(
                source,
                target,
                job_id=job_id,
                job_config=config,
                location=location,
                retry=self.retry,
                timeout=self.call_s,
            )

        return self.run(start, stem, location, f"copying {source} to {target}")

    def run(self, start: Callable[[str], _Job], stem: str, location: str, doing: str, *, reused: bool = False) -> _Job:
        """Start a job and see it through; what fails in passing is tried again under the next id.

        `reused`: earlier calls may have used ids of this stem; theirs are passed over.
        """
        began = time.monotonic()
        until = began + self.patience.job_s
        pause = self.patience.first_pause_s
        attempt = self._first_free(stem, location) if reused else 1
        while True:
            try:
                with speaking(doing):
                    job = self._finish(self._start(start, f"{stem}-{attempt}", location), until, doing)
                if job.error_result is None:
                    return job
                failure, last = job_error(doing, job.error_result), until
            except ColdRetryError as error:
                # No answer, or a refusal of the call: the client has tried again already.
                failure, last = error, min(until, began + self.patience.retry_s)
            if not isinstance(failure, ColdRetryError) or time.monotonic() + pause > last:
                raise failure
            _log.warning("bigquery work is tried again", doing=doing, attempt=attempt, error=str(failure))
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause, attempt = min(2 * pause, 60.0), attempt + 1

    def _first_free(self, stem: str, location: str) -> int:
        for attempt in itertools.count(1):
            try:
                with speaking(f"looking for job {stem}-{attempt}"):
                    self._known(f"{stem}-{attempt}", location)
            except ColdError as error:
                if isinstance(error.__cause__, NotFound):
                    return attempt
                raise
        raise AssertionError

    def _known(self, job_id: str, location: str, retry: Retry | None = None) -> Any:  # noqa: ANN401 - a job of any kind
        return self.client.get_job(job_id, location=location, retry=retry or self.retry, timeout=self.call_s)

    def _start(self, start: Callable[[str], _Job], job_id: str, location: str) -> _Job:
        try:
            return start(job_id)
        except Conflict:
            # The reply to our own request was lost, and the client asked again. A job just made may not be seen yet.
            job: _Job = self._known(job_id, location, self._retry_unseen)
            return job
        except SPOKEN as error:
            if not passes(error):
                raise
            try:
                job = self._known(job_id, location)
            except NotFound:
                raise error from None
            return job

    def _finish(self, job: _Job, until: float, doing: str) -> _Job:
        pause = min(0.1, self.patience.first_pause_s)
        while not job.done(retry=self.retry, timeout=self.call_s):
            if time.monotonic() > until:
                job.cancel(retry=self.retry, timeout=self.call_s)
                raise ColdRetryError(
                    f"BigQuery: {doing}: not done in {self.patience.job_s:g} s; job {job.job_id} cancelled"
                )
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_POLL_S)
        return job

    def stop_unfinished(self, prefix: str, location: str, doing: str) -> None:
        """Cancel jobs of an earlier process under such an id, and wait until none can write any more."""
        until = time.monotonic() + self.patience.job_s
        with speaking(doing):
            for job in self._unfinished(prefix):
                job.cancel(retry=self.retry, timeout=self.call_s)
                self._finish(self._known(job.job_id, location), until, doing)

    def _unfinished(self, prefix: str) -> Iterable[Any]:
        for state in ("pending", "running"):
            jobs = self.client.list_jobs(state_filter=state, retry=self.retry, timeout=self.call_s)
            yield from [job for job in jobs if job.job_id.startswith(prefix)]
