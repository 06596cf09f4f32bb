"""Assets on a real database: what they refresh, and what they tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from tests.dagster.conftest import NOW, add_readings, rows
from wellos import aggregates
from wellos.aggregates import WIDTHS
from wellos_dagster.definitions import defs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from wellos.storage.warm import PgConnection

DAY = timedelta(days=1)
TODAY = datetime(2026, 3, 10, tzinfo=UTC)


def metadata_of(result: dg.ExecuteInProcessResult, asset: str, partition: str | None = None) -> Mapping[str, Any]:
    found = [
        event
        for event in result.asset_materializations_for_node(asset)
        if partition is None or event.partition == partition
    ]
    assert len(found) == 1
    return {
        name: rows(value) if isinstance(value, dg.TableMetadataValue) else value.value
        for name, value in found[0].metadata.items()
    }


def run_range(instance: dg.DagsterInstance, first: datetime, last: datetime) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("daily_aggregates").execute_in_process(
        instance=instance,
        tags={
            "dagster/asset_partition_range_start": f"{first:%Y-%m-%d}",
            "dagster/asset_partition_range_end": f"{last:%Y-%m-%d}",
        },
    )


def test_a_day_of_the_aggregates_says_what_it_holds(field: PgConnection, instance: dg.DagsterInstance) -> None:
    add_readings(field, TODAY - DAY, TODAY + timedelta(hours=1))
    result = defs.resolve_job_def("daily_aggregates").execute_in_process(
        instance=instance, partition_key=f"{TODAY - DAY:%Y-%m-%d}"
    )
    assert result.success
    for relation, buckets in {
        "readings_1min": 1440,
        "readings_5min": 288,
        "readings_1hour": 24,
        "readings_1day": 1,
        "telemetry_hourly": 24,
        "telemetry_daily": 1,
    }.items():
        found = metadata_of(result, relation)
        # four tags, two of which are a metric, one in each well
        times = 2 if relation.startswith("telemetry") else 4
        assert found["rows"] == times * 1440
        assert found["buckets"] == found["dagster/partition_row_count"] == times * buckets
        assert found["buckets_refreshed"] == times * buckets
        assert found["bad"] == times * 28
        assert found["uncertain"] == times * 58
        assert found["good"] == times * (1440 - 28 - 58)
        assert found["behind_s"] > 0
        assert found["lag"].startswith("![lag of the last runs](data:image/png;base64,iVBOR")
        assert found["days_in_run"] == 1
        assert found["lag_s"] == NOW.timestamp() - found["watermark"]
        assert found["readings_per_hour"].startswith("![readings per hour of 2026-03-09](data:image/png;base64,iVBOR")
        assert len(found["readings_per_hour"]) < 60_000
    checks = {(one.asset_key.to_user_string(), one.check_name): one for one in result.get_asset_check_evaluations()}
    assert len(checks) == 4 * len(WIDTHS)
    assert all(
        check.passed for (_, name), check in checks.items() if name in {"equals_raw", "no_bucket_beyond_watermark"}
    )
    assert checks["readings_1min", "equals_raw"].metadata["buckets"].value == 4 * 4 * 60
    assert checks["readings_1day", "equals_raw"].metadata["readings"].value == 3 * 1440


def test_a_range_of_days_is_one_run_with_metadata_for_each(field: PgConnection, instance: dg.DagsterInstance) -> None:
    add_readings(field, TODAY - 4 * DAY, TODAY - 3 * DAY)
    add_readings(field, TODAY - 2 * DAY, TODAY - 2 * DAY + timedelta(hours=6))
    result = run_range(instance, TODAY - 4 * DAY, TODAY - 2 * DAY)
    assert result.success
    assert metadata_of(result, "readings_1hour", "2026-03-06")["rows"] == 4 * 1440
    assert "rows" not in metadata_of(result, "readings_1hour", "2026-03-07")
    assert metadata_of(result, "readings_1hour", "2026-03-08")["rows"] == 4 * 360
    assert metadata_of(result, "readings_1hour", "2026-03-08")["days_in_run"] == 3
    known = instance.get_materialized_partitions(dg.AssetKey("readings_1day"))
    assert known == {"2026-03-06", "2026-03-07", "2026-03-08"}


def test_the_refresh_check_refreshes_whatever_is_stale(field: PgConnection, instance: dg.DagsterInstance) -> None:
    old = datetime(2014, 1, 24, tzinfo=UTC)
    add_readings(field, old, old + timedelta(hours=2))
    add_readings(field, TODAY, NOW)
    job = defs.resolve_job_def("refresh_check")
    assert job.execute_in_process(instance=instance).success
    assert all(aggregates.lag_s(field, status, NOW) == 0 for status in aggregates.statuses(field).values())

    field.execute(
        "UPDATE readings SET value = value + 1000 WHERE quality = 2 AND time < %s", [old + timedelta(minutes=30)]
    )
    result = job.execute_in_process(instance=instance)
    assert metadata_of(result, "aggregate_status")["refreshed"] == 0, "nothing is due yet"
    field.execute("UPDATE aggregate_levels SET refreshed_at = refreshed_at - '1 hour'::interval")
    result = job.execute_in_process(instance=instance)
    found = metadata_of(result, "aggregate_status")
    assert found["refreshed"] == len(WIDTHS)
    assert found["stale_ranges_before"] > 0
    assert found["stale_ranges_after"] == 0
    assert [row["relation"] for row in found["state"]] == list(WIDTHS)
    assert {"registry", "ingest_health", "aggregate_status"} == {
        event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key
    }
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    # no ingest runs in this test, and the background jobs of a test's database are stopped
    assert {check.check_name for check in failed} - {"policy_job"} == {"ingest_lag"}


def test_the_registry_says_how_much_it_holds_and_how_connections_fare(
    field: PgConnection, instance: dg.DagsterInstance
) -> None:
    field.execute("UPDATE tags SET retired_at = now() WHERE name = 'pressure'")
    field.execute(
        "INSERT INTO ingest_connections (connection_id, spool_id, state, since, loss_window, readings_total, "
        "updated_at) SELECT connection_id, gen_random_uuid(), 'connected', %(now)s, 'none', 7, %(now)s "
        "FROM scada_connections",
        {"now": NOW},
    )
    found = metadata_of(defs.resolve_job_def("refresh_check").execute_in_process(instance=instance), "registry")
    counts = {name: found[name] for name in ("tenants", "wells", "connections", "tags", "tags_retired")}
    assert counts == {"tenants": 1, "wells": 2, "connections": 1, "tags": 2, "tags_retired": 2}
    (row,) = found["state"]
    assert row["connection"] == "plc"
    assert row["state"] == "connected"
    assert row["tags"] == 2


def test_ingest_health_knows_no_lag_where_no_ingest_is(field: PgConnection, instance: dg.DagsterInstance) -> None:
    assert field.execute("SELECT count(*) FROM ingest_instances").fetchone() == (0,)
    found = metadata_of(defs.resolve_job_def("refresh_check").execute_in_process(instance=instance), "ingest_health")
    assert found["instances"] == 0
    assert "lag_s" not in found


def test_ingest_health_adds_up_instances_gaps_and_quarantine(field: PgConnection, instance: dg.DagsterInstance) -> None:
    field.execute(
        """
        INSERT INTO ingest_instances
            (spool_id, hostname, pid, started_at, heartbeat_at, oldest_spooled_time, spool_rows, spool_bytes)
        VALUES (gen_random_uuid(), 'here', 1, %(now)s, %(now)s, %(now)s - interval '42 s', 9, 900);
        """,
        {"now": NOW},
    )
    field.execute(
        "INSERT INTO ingest_gaps (spool_id, seq, connection_id, started_at, ended_at, reason) "
        "SELECT gen_random_uuid(), 1, connection_id, %(now)s - age * interval '1 hour', "
        "%(now)s - age * interval '1 hour' + interval '90 s', 'disconnected' "
        "FROM scada_connections, unnest(ARRAY[2, 3]) AS age",
        {"now": NOW},
    )
    field.execute(
        "INSERT INTO quarantine (spool_id, seq, ordinal, connection_id, reason, detail, source, original, received_at) "
        "SELECT gen_random_uuid(), 1, k, 1, 'unknown_tag', '', '', '', %s - k * interval '20 hours' "
        "FROM generate_series(1, 3) AS k",
        [NOW],
    )
    found = metadata_of(defs.resolve_job_def("refresh_check").execute_in_process(instance=instance), "ingest_health")
    assert found["instances"] == 1
    assert found["lag_s"] == pytest.approx(42)
    assert found["spool_rows"] == 9
    assert found["gaps_24h"] == 2
    assert found["gap_seconds_24h"] == 180
    assert found["quarantined"] == 3
    assert found["quarantined_24h"] == 1
