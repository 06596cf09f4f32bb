"""The repository's own dagster.yaml on a real PostgreSQL: it keeps events, and nothing leaves the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
import pytest

from tests.dagster.servers import dagster_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def configured(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    for name, value in dagster_environment(tmp_path, empty_database_url).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def test_events_are_kept(configured: dg.DagsterInstance) -> None:
    """SQLAlchemy 2.1 would choose psycopg 3 for `postgresql://`, with which every write of an event fails."""
    configured.report_runless_asset_event(dg.AssetMaterialization("readings", partition="2026-03-09"))
    assert configured.get_materialized_partitions(dg.AssetKey("readings")) == {"2026-03-09"}


def test_nothing_is_sent_to_anybody(configured: dg.DagsterInstance) -> None:
    assert configured.telemetry_enabled is False
    assert configured.nux_enabled is False


def test_a_refresh_holds_its_pool_alone_and_lost_workers_are_tried_again(configured: dg.DagsterInstance) -> None:
    concurrency = configured.get_concurrency_config()
    assert concurrency.pool_config.default_pool_limit == 1
    assert configured.run_retries_enabled
    assert configured.run_monitoring_enabled
    assert configured.get_settings("run_retries")["retry_on_asset_or_op_failure"] is False
