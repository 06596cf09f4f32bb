"""Faults 30 and 31 at BigQuery: cut off, down, slow, lying. What passes is tried again, what does not is told."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from google.cloud.bigquery import client as google_client
from structlog.testing import capture_logs

from tests.cold.bigquery_day import DAY, QUICK, TENANT, readings_of, store_of
from wellos.storage.cold import ColdError, ColdRetryError, DamagedCopyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bigquery_double import Double
    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.cold.bigquery import BigQueryStore

pytestmark = pytest.mark.fault


def write(store: BigQueryStore, key: str = "k") -> str | None:
    return store.write(TENANT, DAY, [readings_of()], key).job_id


def read(store: BigQueryStore) -> bytes:
    return np.concatenate(list(store.read_day(TENANT, DAY))).tobytes()


PATHS = ["POST .*/datasets$", "POST .*/tables$", "GET .*/jobs$", "POST .*/jobs$", "GET .*/queries/"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        *((path, "backendError") for path in PATHS),
        *((PATHS[3], reason) for reason in ("rateLimitExceeded", "badGateway")),
    ],
)
def test_what_passes_is_tried_again(bigquery: Double, bigquery_settings: Settings, path: str, reason: str) -> None:
    bigquery.plan("refuse", path.replace("/jobs$", "/projects/[^/]*/jobs$"), count=2, reason=reason, status=403)
    with store_of(bigquery_settings) as store:
        write(store)
        assert read(store) == readings_of().tobytes()
    assert bigquery.hits == 2


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("accessDenied", "roles/bigquery.user"),
        ("quotaExceeded", "quota of the project is used up"),
        ("billingNotEnabled", "Enable billing"),
    ],
)
def test_what_does_not_pass_is_told_at_once(
    bigquery: Double, bigquery_settings: Settings, reason: str, remedy: str
) -> None:
    bigquery.plan("refuse", "POST .*/datasets$", count=9, reason=reason, status=403)
    with store_of(bigquery_settings) as store, pytest.raises(ColdError, match=remedy) as caught:
        write(store)
    assert not isinstance(caught.value, ColdRetryError)
    assert bigquery.hits == 1


@pytest.mark.parametrize("reason", ["backendError", "jobRateLimitExceeded"])
def test_a_job_that_fails_in_passing_is_done_again_under_the_next_id(
    bigquery: Double, bigquery_settings: Settings, reason: str
) -> None:
    bigquery.plan("job_error", "arch-", count=2, reason=reason)
    with store_of(bigquery_settings) as store:
        with capture_logs() as logs:
            assert write(store) == f"arch-{TENANT}-readings-20260301-k-3"
        assert [(entry["log_level"], entry["attempt"]) for entry in logs] == [("warning", 1), ("warning", 2)]
        bigquery.plan("job_error", "read-", reason=reason)
        assert read(store) == readings_of().tobytes()
    assert bigquery.hits == 3


def test_a_job_that_fails_for_good_leaves_the_partition_as_it_was(
    bigquery: Double, bigquery_settings: Settings
) -> None:
    with store_of(bigquery_settings) as store:
        write(store)
        bigquery.plan("job_error", "arch-", reason="invalid")
        with pytest.raises(ColdError, match="planned: invalid"):
            store.write(TENANT, DAY, [readings_of(seed=2)], "k2")
        assert read(store) == readings_of().tobytes()
        # The failed job's id is spent: the same key again gets the next one.
        assert write(store, "k2") == f"arch-{TENANT}-readings-20260301-k2-2"


@pytest.mark.parametrize("path", ["PUT /upload", "POST .*/datasets$", "POST .*/tables$", "projects/[^/]*/jobs$"])
def test_a_reply_lost_after_the_work_was_done(bigquery: Double, bigquery_settings: Settings, path: str) -> None:
    bigquery.plan("lose_reply", path)
    with store_of(bigquery_settings) as store:
        assert write(store) == f"arch-{TENANT}-readings-20260301-k-1"
        assert read(store) == readings_of().tobytes()
        assert store.quarantine(TENANT, DAY) is not None
    assert bigquery.hits == 1


def test_lost_replies_to_queries_and_deletions(bigquery: Double, bigquery_settings: Settings) -> None:
    with store_of(bigquery_settings) as store:
        write(store)
        for path in ("POST .*/jobs$", "GET .*/queries/", "GET .*/jobs/", "DELETE .*readings"):
            bigquery.plan("lose_reply", path)
        assert read(store) == readings_of().tobytes()
        assert store.quarantine(TENANT, DAY) is not None
        assert store.quarantine(TENANT, DAY) is None
    assert bigquery.hits == 4


def test_a_job_whose_every_reply_is_lost_is_looked_up(bigquery: Double, bigquery_settings: Settings) -> None:
    bigquery.plan("lose_reply", "PUT /upload", count=2)
    with store_of(bigquery_settings, replace(QUICK, upload_retries=1)) as store:
        assert write(store) == f"arch-{TENANT}-readings-20260301-k-1"
        assert read(store) == readings_of().tobytes()
    assert bigquery.hits == 2


def test_an_answer_that_comes_too_late_changes_nothing(bigquery: Double, bigquery_settings: Settings) -> None:
    bigquery.plan("hang", "PUT /upload", seconds=1)
    with store_of(bigquery_settings, replace(QUICK, call_s=0.3, upload_retries=0)) as store:
        assert write(store) == f"arch-{TENANT}-readings-20260301-k-2"
        bigquery.plan("slow", "read-", seconds=1.2)
        assert read(store) == readings_of().tobytes()
        assert write(store) == f"arch-{TENANT}-readings-20260301-k-3"


def test_an_upload_in_many_parts_survives_a_lost_one(
    bigquery: Double, bigquery_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(google_client, "_DEFAULT_CHUNKSIZE", 256 * 1024)
    readings = readings_of(a_tag=12_000)
    bigquery.plan("lose_reply", "PUT /upload", skip=1)
    with store_of(bigquery_settings) as store:
        assert store.write(TENANT, DAY, [readings], "k").rows == readings.size
        assert read(store) == readings.tobytes()
    assert bigquery.hits == 1


def test_a_slow_job_is_waited_for(bigquery: Double, bigquery_settings: Settings) -> None:
    bigquery.plan("slow", "arch-", seconds=0.3)
    bigquery.plan("slow", "read-", seconds=0.3)
    with store_of(bigquery_settings) as store:
        write(store)
        assert read(store) == readings_of().tobytes()
    assert bigquery.hits == 2


def test_a_job_that_never_ends_is_cancelled(bigquery: Double, bigquery_settings: Settings) -> None:
    bigquery.plan("slow", "arch-", seconds=3600)
    with store_of(bigquery_settings, replace(QUICK, job_s=0.3)) as store:
        with pytest.raises(ColdRetryError, match="cancelled"):
            write(store)
        with pytest.raises(DamagedCopyError):
            read(store)
    with store_of(bigquery_settings) as store:
        assert write(store) == f"arch-{TENANT}-readings-20260301-k-2"


def test_the_load_of_a_process_that_died_cannot_replace_a_later_copy(
    bigquery: Double, bigquery_settings: Settings
) -> None:
    bigquery.plan("slow", "arch-.*-old-", seconds=0.8)
    bigquery.plan("refuse", "POST .*/cancel$", count=1000)
    with (
        store_of(bigquery_settings, replace(QUICK, job_s=0.1, retry_s=0.05)) as dying,
        pytest.raises(ColdRetryError),
    ):
        dying.write(TENANT, DAY, [readings_of(seed=2)], "old")
    assert bigquery.hits > 1
    bigquery.clear()
    with store_of(bigquery_settings) as store:
        write(store, "new")
        bigquery.plan("slow", "read-", seconds=1)
        assert read(store) == readings_of().tobytes()


def test_a_wrong_count_is_told_as_it_is(bigquery: Double, bigquery_settings: Settings) -> None:
    bigquery.plan("wrong_count", "arch-")
    with store_of(bigquery_settings) as store:
        assert store.write(TENANT, DAY, [readings_of()], "k").rows == 599
        assert store.checksum(TENANT, DAY).rows == 599


@pytest.mark.parametrize("kind", ["refuse", "hang"])
def test_a_store_that_is_down_costs_the_patience_and_no_more(
    bigquery: Double, bigquery_settings: Settings, kind: str
) -> None:
    bigquery.plan(kind, "", count=1000, seconds=1)
    patience = replace(QUICK, call_s=0.1, retry_s=0.3, upload_retries=0)
    with store_of(bigquery_settings, patience) as store, pytest.raises(ColdRetryError, match="can be tried again"):
        write(store)
    assert bigquery.hits > 1


def test_a_store_that_goes_down_between_steps(bigquery: Double, bigquery_settings: Settings) -> None:
    patience = replace(QUICK, retry_s=0.1, upload_retries=0)
    with store_of(bigquery_settings, patience) as store:
        for step in range(40):
            bigquery.clear()
            bigquery.plan("refuse", "", skip=step, count=1000)
            try:
                write(store)
            except ColdRetryError:
                continue
            break
        bigquery.clear()
        assert step > 3
        assert read(store) == readings_of().tobytes()


def test_no_room_for_the_temporary_file_is_told_with_its_remedy(bigquery_settings: Settings) -> None:
    def full() -> Iterator[Readings]:
        yield readings_of()
        raise OSError(errno.ENOSPC, "No space left on device")

    with store_of(bigquery_settings) as store, pytest.raises(ColdRetryError, match="TMPDIR"):
        store.write(TENANT, DAY, full(), "k")


def test_nobody_listens(bigquery_settings: Settings) -> None:
    settings = bigquery_settings.model_copy(update={"bigquery_endpoint": "http://127.0.0.1:9"})
    with (
        store_of(settings, replace(QUICK, retry_s=0.2)) as store,
        pytest.raises(ColdRetryError, match="Connection refused"),
    ):
        write(store)


@pytest.mark.parametrize("kind", ["none", "refused", "lost"])
def test_the_temporary_file_is_always_removed(
    bigquery: Double, bigquery_settings: Settings, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if kind == "refused":
        bigquery.plan("refuse", "/upload", count=100, reason="accessDenied", status=403)
    elif kind == "lost":
        bigquery.plan("lose_reply", "PUT /upload")
    with store_of(bigquery_settings) as store:
        if kind == "refused":
            with pytest.raises(ColdError):
                write(store)
        else:
            write(store)
    assert list(tmp_path.iterdir()) == []
