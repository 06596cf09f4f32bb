"""The BigQuery double: one a session, and a project of its own for each test that asks."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.bigquery_double import Double, running_double
from wellos.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def bigquery_server() -> Iterator[Double]:
    """The session's double."""
    with running_double() as double:
        yield double


@pytest.fixture
def bigquery(bigquery_server: Double) -> Iterator[Double]:
    """The double without any fault planned, before and after."""
    bigquery_server.clear()
    yield bigquery_server
    bigquery_server.clear()


@pytest.fixture
def bigquery_settings(bigquery: Double) -> Settings:
    """Settings that name a project in which there is nothing yet."""
    project = f"test-{uuid.uuid4().hex[:12]}"
    return load_settings(bigquery_project=project, bigquery_endpoint=bigquery.address)
