"""Archiving, dropping and archiving anew through Dagster, on a real database and Parquet files."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from tests.dagster.conftest import NOW, add_readings, rows
from wellos import aggregates
from wellos.settings import load_settings
from wellos_dagster.definitions import defs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wellos.storage.warm import PgConnection

DAY = timedelta(days=1)
TODAY = datetime(2026, 3, 10, tzinfo=UTC)
FIRST = date(2026, 3, 5)


@pytest.fixture
def days(field: PgConnection, instance: dg.DagsterInstance) -> PgConnection:
    """Three days of readings of four tags, with their aggregates."""
    instance.add_dynamic_partitions("tenants", ["acme"])
    add_readings(field, TODAY - 5 * DAY, TODAY - 2 * DAY)
    aggregates.refresh_stale(field)
    return field


def run(
    instance: dg.DagsterInstance, job: str, first: date | None = None, last: date | None = None
) -> dg.ExecuteInProcessResult:
    tags = {}
    if first:
        tags["dagster/asset_partition_range_start"] = f"{first}|acme"
        tags["dagster/asset_partition_range_end"] = f"{last or first}|acme"
    return defs.resolve_job_def(job).execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def told(result: dg.ExecuteInProcessResult, asset: str) -> Mapping[str | None, Mapping[str, Any]]:
    """Metadata of each partition."""
    return {
        event.partition: {
            name: rows(value) if isinstance(value, dg.TableMetadataValue) else value.value
            for name, value in event.metadata.items()
        }
        for event in result.asset_materializations_for_node(asset)
    }


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


def copies() -> list[Path]:
    return sorted((load_settings().data_dir / "cold").rglob("*.parquet"))


def test_a_range_is_archived_with_a_receipt_for_each_day(days: PgConnection, instance: dg.DagsterInstance) -> None:
    result = run(instance, "archive", FIRST, FIRST + 2 * DAY)
    assert result.success
    found = told(result, "cold_archive")
    assert sorted(map(str, found)) == ["2026-03-05|acme", "2026-03-06|acme", "2026-03-07|acme"]
    for metadata in found.values():
        assert metadata["rows"] == metadata["dagster/partition_row_count"] == 4 * 1440
        assert metadata["outcome"] == "archived"
        assert metadata["bytes_per_reading"] < 12
        assert ":" in metadata["checksum"]
        assert metadata["partitions_in_run"] == 3
        assert metadata["location"]
    assert days.execute("SELECT count(*) FROM archive_receipts WHERE NOT stale").fetchone() == (3,)
    known = instance.get_materialized_partitions(dg.AssetKey("cold_archive"))
    assert known == set(found)
    again = told(run(instance, "archive", FIRST, FIRST + 2 * DAY), "cold_archive")
    assert {metadata["outcome"] for metadata in again.values()} == {"unchanged"}


def test_a_day_that_fails_fails_the_run_and_the_others_are_kept(
    days: PgConnection, instance: dg.DagsterInstance
) -> None:
    assert run(instance, "archive", FIRST, FIRST).success
    (copy,) = copies()
    second = copy.parent.parent / copy.parent.name.replace("2026-03-05", "2026-03-06")
    second.write_text("a file where a folder should be")
    result = run(instance, "archive", FIRST, FIRST + 2 * DAY)
    assert not result.success
    (failure,) = [event for event in result.all_node_events if event.event_type_value == "STEP_FAILURE"]
    assert "2026-03-06" in str(failure.step_failure_data.error)
    known = instance.get_materialized_partitions(dg.AssetKey("cold_archive"))
    assert known == {"2026-03-05|acme", "2026-03-07|acme"}
    assert days.execute("SELECT array_agg(day ORDER BY day) FROM archive_receipts").fetchone() == (
        [FIRST, FIRST + 2 * DAY],
    )
    second.unlink()
    assert run(instance, "archive", FIRST, FIRST + 2 * DAY).success


def test_what_is_due_and_not_archived_is_told(days: PgConnection, instance: dg.DagsterInstance) -> None:
    found = checks(run(instance, "cold_report"))
    assert (found["verified"].passed, found["verified"].severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "acme 2026-03-05 is not archived" in (found["verified"].description or "")
    assert found["copy_is_sound"].passed
    assert run(instance, "archive", FIRST, FIRST + 2 * DAY).success
    result = run(instance, "cold_report")
    assert checks(result)["verified"].passed
    metadata = told(result, "cold_tier")[None]
    assert (metadata["copies"], metadata["readings"], metadata["due"]) == (3, 3 * 4 * 1440, 0)
    assert {row["day"] for row in metadata["newest_copies"]} == {"2026-03-05", "2026-03-06", "2026-03-07"}

    days.execute("UPDATE readings SET value = value + 1 WHERE quality = 2 AND time < %s", [TODAY - 4 * DAY])
    days.execute("SELECT note_readings_changed(ARRAY[%s])", [FIRST])
    found = checks(run(instance, "cold_report"))
    assert (found["verified"].passed, found["verified"].severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "changed since" in (found["verified"].description or "")
    assert run(instance, "archive", FIRST, FIRST).success
    assert checks(run(instance, "cold_report"))["verified"].passed


def test_a_copy_that_is_damaged_is_found(days: PgConnection, instance: dg.DagsterInstance) -> None:
    assert days.closed is False
    assert run(instance, "archive", FIRST, FIRST + 2 * DAY).success
    assert checks(run(instance, "cold_report"))["copy_is_sound"].passed
    copy = copies()[1]
    raw = bytearray(copy.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    copy.write_bytes(raw)
    found = checks(run(instance, "cold_report"))["copy_is_sound"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "acme 2026-03-06" in (found.description or "")
    assert "wellos archive --verify" in (found.description or "")


def test_tiers_that_differ_behind_everybodys_back_are_found(days: PgConnection, instance: dg.DagsterInstance) -> None:
    assert run(instance, "archive", FIRST, FIRST + 2 * DAY).success
    assert checks(run(instance, "tier_report"))["tiers_agree"].passed
    days.execute("UPDATE readings SET value = 7 WHERE tag_id = 1 AND time = %s", [TODAY - 5 * DAY + timedelta(hours=3)])
    found = checks(run(instance, "tier_report"))["tiers_agree"]
    assert (found.passed, found.metadata["differing"].value) == (False, 1)
    days.execute("SELECT note_readings_changed(ARRAY[%s])", [FIRST])
    assert checks(run(instance, "tier_report"))["tiers_agree"].passed, "its receipt is stale, it is archived again"


def test_days_past_retention_leave_and_late_readings_are_archived_with_them(
    days: PgConnection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WELLOS_RAW_DAYS", "2")  # the 5th and 6th are past it, on the 10th the 7th is too
    assert run(instance, "archive", FIRST, FIRST + DAY).success
    result = run(instance, "drop_days")
    assert result.success
    metadata = told(result, "dropped_days")[None]
    outcomes = {row["day"]: row["outcome"] for row in metadata["day_table"]}
    assert outcomes == {"2026-03-05": "dropped", "2026-03-06": "dropped", "2026-03-07": "kept"}
    assert "has no verified copy" in metadata["first_reason"]
    assert metadata["rows_dropped"] == 2 * 4 * 1440
    assert metadata["bytes_freed"] > 0
    assert days.execute("SELECT count(*) FROM readings").fetchone() == (4 * 1440,)
    found = checks(run(instance, "tier_report"))
    assert found["no_day_is_missing"].passed, found["no_day_is_missing"].description

    add_readings(days, TODAY - 5 * DAY + timedelta(seconds=30), TODAY - 5 * DAY + timedelta(minutes=2))
    days.execute("SELECT note_readings_changed(ARRAY[%s])", [FIRST])
    assert checks(run(instance, "tier_report"))["tiers_agree"].metadata["overlay_days"].value == 1
    result = run(instance, "rearchive")
    assert result.success
    metadata = told(result, "rearchived_days")[None]
    assert [(row["day"], row["outcome"]) for row in metadata["day_table"]] == [("2026-03-05", "dropped")]
    assert metadata["rows_dropped"] == 4 * (1440 + 2)
    found = checks(run(instance, "tier_report"))
    assert found["no_day_is_missing"].passed, found["no_day_is_missing"].description
    assert found["tiers_agree"].metadata["overlay_days"].value == 0


def test_a_day_that_should_have_left_is_told_with_what_stands_against_it(
    days: PgConnection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert days.closed is False
    assert checks(run(instance, "drop_days"))["nothing_is_overdue"].passed
    monkeypatch.setenv("WELLOS_RAW_DAYS", "1")
    monkeypatch.setenv("WELLOS_CLOCK", "2026-03-12T00:00:00Z@2026-03-12T00:00:00Z*1e-12")
    found = checks(run(instance, "drop_days"))["nothing_is_overdue"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "2026-03-05: tenant acme has no verified copy" in (found.description or "")
    assert datetime(2026, 3, 12, tzinfo=UTC) > NOW


def test_a_new_installation_has_nothing_overdue(days: PgConnection, instance: dg.DagsterInstance) -> None:
    watched = [(TODAY - back * DAY).date() for back in range(1, 150)]
    days.execute("CALL watch_days(%s::date[])", [watched])
    result = run(instance, "drop_days")
    assert checks(result)["nothing_is_overdue"].passed
    assert told(result, "dropped_days")[None]["dagster/row_count"] == 0


def test_a_day_that_fails_fails_the_run_when_the_others_are_done(
    days: PgConnection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WELLOS_RAW_DAYS", "2")
    assert run(instance, "archive", FIRST, FIRST + DAY).success
    assert run(instance, "drop_days").success
    for back in (5, 4):
        add_readings(days, TODAY - back * DAY + timedelta(seconds=30), TODAY - back * DAY + timedelta(minutes=2))
    days.execute("SELECT note_readings_changed(ARRAY[%s, %s])", [FIRST, FIRST + DAY])
    first = copies()[0]
    raw = bytearray(first.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    first.write_bytes(raw)
    result = run(instance, "rearchive")
    assert not result.success
    (failure,) = [event for event in result.all_node_events if event.event_type_value == "STEP_FAILURE"]
    assert "2026-03-05: " in str(failure.step_failure_data.error)
    assert "2026-03-06" not in str(failure.step_failure_data.error)
    assert days.execute("SELECT rows FROM archive_receipts WHERE day = %s", [FIRST + DAY]).fetchone() == (4 * 1442,)


def test_days_before_the_first_partition_are_archived_too(field: PgConnection, instance: dg.DagsterInstance) -> None:
    old = datetime(2014, 1, 24, tzinfo=UTC)
    for later in (0, 2):
        add_readings(field, old + later * DAY, old + later * DAY + timedelta(hours=2))
    add_readings(field, TODAY - 5 * DAY, TODAY - 4 * DAY)
    result = run(instance, "archive_older_days")
    assert result.success
    metadata = told(result, "older_days")[None]
    assert (metadata["archived"], metadata["left"], metadata["readings"]) == (3, 0, 2 * 4 * 120)
    found = field.execute("SELECT day, rows FROM archive_receipts ORDER BY day").fetchall()
    assert found == [((old + later * DAY).date(), rows) for later, rows in enumerate((480, 0, 480))], (
        "the empty day too"
    )
