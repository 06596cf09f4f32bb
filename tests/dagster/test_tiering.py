"""The tiers in the asset graph, on a real database and Redis: what the assets tell, and when the checks fail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import redis

from tests.dagster.conftest import NOW, add_readings, rows
from wellos import aggregates
from wellos.clock import to_micros
from wellos.readings import pack
from wellos.storage import hot
from wellos.storage.hot_records import encode_segments
from wellos_dagster.definitions import defs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.storage.warm import PgConnection

TODAY = datetime(2026, 3, 10, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def client(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    monkeypatch.setenv("WELLOS_REDIS_URL", redis_url)
    with redis.Redis.from_url(redis_url) as made:
        yield made


def materialise(instance: dg.DagsterInstance, job: str, asset: str) -> tuple[dict[str, Any], dg.ExecuteInProcessResult]:
    result = defs.resolve_job_def(job).execute_in_process(instance=instance)
    assert result.success
    (event,) = result.asset_materializations_for_node(asset)
    found = {
        name: rows(value) if isinstance(value, dg.TableMetadataValue) else value.value
        for name, value in event.metadata.items()
    }
    return found, result


def test_the_hot_tier_is_brought_back_and_equals_the_warm(
    field: PgConnection, instance: dg.DagsterInstance, client: redis.Redis
) -> None:
    add_readings(field, NOW - DAY, NOW)
    found, result = materialise(instance, "hot_refresh", "hot_tier")
    (check,) = result.get_asset_check_evaluations()
    # from 12:00 of the day before to 11:00: what has not been over for two minutes is ingest's, and there is none here
    assert found["rebuilt_hours"] == found["hours"] == 23
    assert found["rebuilt_rows"] == found["dagster/row_count"] == 4 * 23 * 60
    assert [row["rows"] for row in found["hour_table"]] == [240] * 23
    assert found["bytes"] > 0
    assert check.metadata["only_warm"].value == 0
    assert check.passed, check.description

    client.delete(hot.hour_key(0, to_micros(NOW - timedelta(hours=5)) // hot.HOUR_US))
    found, _ = materialise(instance, "hot_refresh", "hot_tier")
    assert (found["rebuilt_hours"], found["missing_hours"]) == (1, 1)


def test_without_redis_the_hot_tier_says_so(field: PgConnection, instance: dg.DagsterInstance) -> None:
    assert field.closed is False
    found, result = materialise(instance, "hot_refresh", "hot_tier")
    assert found["available"] is False
    assert "WELLOS_REDIS_URL" in found["reason"]
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_a_reading_that_is_in_redis_alone_fails_the_check(
    field: PgConnection, instance: dg.DagsterInstance, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wellos_dagster.defs.tiering.hot_tier._PAUSE_S", 0.01)
    add_readings(field, NOW - DAY, NOW)
    hours = [to_micros(NOW) // hot.HOUR_US - back for back in range(1, 24)]
    for hour in hours:
        for group, number, segment in encode_segments(pack([hour * hot.HOUR_US + 7], 1e6, 1, 2)):
            client.append(hot.open_key(group, number), segment)
    _, result = materialise(instance, "hot_refresh", "hot_tier")
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check.metadata["only_hot"].value == 4
    assert rows(check.metadata["examples"])[0]["hot"] == 1e6


def test_the_warm_tier_lists_its_days(field: PgConnection, instance: dg.DagsterInstance) -> None:
    add_readings(field, TODAY - 2 * DAY, NOW)
    field.execute("ANALYZE readings")
    found, _ = materialise(instance, "tier_report", "warm_tier")
    assert found["days"] == 3
    assert found["dagster/row_count"] == 4 * (2 * 1440 + 12 * 60 + 1)
    days = [row["day"] for row in found["day_table"] if row["day"]]
    assert days == ["2026-03-10", "2026-03-09", "2026-03-08"]
    assert found["bytes_per_reading"] > 30


def test_platform_health_names_what_is_down(
    field: PgConnection, instance: dg.DagsterInstance, client: redis.Redis
) -> None:
    assert client.ping()
    found, result = materialise(instance, "platform_health_check", "platform_health")
    checks = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert (checks["every_part_is_up"].passed, checks["every_part_is_up"].severity) == (
        False,
        dg.AssetCheckSeverity.ERROR,
    )
    assert "ingest is down" in (checks["every_part_is_up"].description or "")
    states = {row["name"]: row["state"] for row in found["part_table"]}
    assert (states["database"], states["redis"], states["dagster"]) == ("up", "up", "unset")
    assert checks["runs_succeed"].passed
    assert found["runs_failed_24h"] == 0

    for number in range(3):
        status = dg.DagsterRunStatus.FAILURE if number else dg.DagsterRunStatus.SUCCESS
        instance.add_run(dg.DagsterRun(job_name="some", status=status))
    found, result = materialise(instance, "platform_health_check", "platform_health")
    checks = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert (found["runs_succeeded_24h"], found["runs_failed_24h"]) == (2, 2), "the first run of this test is one"
    assert not checks["runs_succeed"].passed
    assert field.closed is False


def test_the_inventory_tells_what_the_tiers_cost(
    field: PgConnection, instance: dg.DagsterInstance, client: redis.Redis
) -> None:
    assert client.ping()
    add_readings(field, TODAY - 3 * DAY, TODAY)
    aggregates.refresh_stale(field)
    found, result = materialise(instance, "tier_report", "tier_inventory")
    assert found["warm_rows"] == 4 * 3 * 1440
    assert found["readings_per_day"] == 4 * 1440
    assert found["cold_rows"] == 0
    assert found["assumed"] == "hot, cold"
    assert found["cost_month"] > 0
    assert found["forecast"].startswith("![monthly cost of the tiers](data:image/png;base64,iVBOR")
    assert len(found["forecast"]) < 80_000
    assert {(row["tier"], row["tenant"]) for row in found["holding_table"]} >= {
        ("warm", "acme"),
        ("aggregates", "(all)"),
    }
    (check,) = [one for one in result.get_asset_check_evaluations() if one.check_name == "no_day_is_missing"]
    assert check.passed, check.description


def test_the_clean_up_counts_what_it_removed(
    field: PgConnection, instance: dg.DagsterInstance, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DAGSTER_PG_HOST", "DAGSTER_PG_DB"):
        monkeypatch.delenv(name, raising=False)
    client.set("wellos:cache:part:x", "y")
    field.execute("UPDATE tags SET retired_at = %s WHERE tag_id = 1", [NOW - 3 * DAY])
    client.set(hot.latest_key("acme", 0), b"\0" * 26 + pack([1], 1.0, 1, 2).tobytes())
    found, _ = materialise(instance, "clean_up_with_age", "clean_up")
    assert found["cache_keys_removed"] == 1
    assert found["redis_latest_of_retired_tags_removed"] == 1
    assert found["reading_changes_removed"] == 0
    assert "left alone" in found["remarks"]
    assert {row["what"] for row in found["removed"]} >= {"reading_changes", "cache_keys"}
