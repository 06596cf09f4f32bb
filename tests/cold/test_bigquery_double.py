"""What the double has to refuse as the service does, or the tests of the store would prove nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.api_core.exceptions import BadRequest, Conflict
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as google_bigquery

from tests.cold.bigquery_day import DAY, TENANT, readings_of, store_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bigquery_double import Double
    from wellos.settings import Settings


@pytest.fixture
def client(bigquery_settings: Settings) -> Iterator[google_bigquery.Client]:
    """Google's client on a project that has one archived day."""
    with store_of(bigquery_settings) as store:
        store.write(TENANT, DAY, [readings_of()], "k")
    found = google_bigquery.Client(
        bigquery_settings.bigquery_project,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": bigquery_settings.bigquery_endpoint},
    )
    yield found
    found.close()  # type: ignore[no-untyped-call]


def rows(client: google_bigquery.Client, where: str) -> int:
    ((found,),) = client.query(f"SELECT COUNT(*) FROM wellos_{TENANT}.readings {where}").result()
    return int(found)


@pytest.mark.parametrize("where", ["", "WHERE tag_id = 1", "WHERE tag_id = 1 OR time >= TIMESTAMP_MICROS(0)"])
def test_a_query_without_a_filter_on_partitions(client: google_bigquery.Client, where: str) -> None:
    with pytest.raises(BadRequest, match="without a filter"):
        rows(client, where)
    assert rows(client, "WHERE time >= TIMESTAMP_MICROS(0)") == 600


def test_a_job_id_is_used_once(client: google_bigquery.Client) -> None:
    client.query("SELECT 1", job_id="mine", job_retry=None).result(job_retry=None)
    with pytest.raises(Conflict):
        client.query("SELECT 1", job_id="mine", job_retry=None)


def test_an_endpoint_that_is_not_modelled(client: google_bigquery.Client) -> None:
    with pytest.raises(BadRequest, match="not modelled"):
        list(client.list_routines(f"wellos_{TENANT}"))


def test_a_fault_that_does_not_exist(bigquery: Double) -> None:
    with pytest.raises(Exception, match="HTTP Error 400"):
        bigquery.plan("refuse", no_such_thing=1)
