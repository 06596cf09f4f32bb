"""What asks for archive runs: ranges of one tenant, once a night, once an hour for what changed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import dagster as dg
from hypothesis import given
from hypothesis import strategies as st

from sensors import late_data as late
from sensors.archive_runs import MOST_DAYS, stretches
from sensors.late_data import late_data, stale_receipts
from sensors.tenants import known_tenants
from tests.dagster.conftest import NOW, add_readings
from wellos_dagster.definitions import defs
from wellos_dagster.defs.tiering.schedules import nightly_archive
from wellos_dagster.resources import Warm

if TYPE_CHECKING:
    import pytest

    from wellos.storage.warm import PgConnection

DAY = timedelta(days=1)
TODAY = datetime(2026, 3, 10, tzinfo=UTC)
DAYS = st.integers(0, 80).map(lambda k: date(2026, 1, 1) + k * DAY)


@given(st.sets(st.tuples(st.sampled_from(["acme", "beta"]), DAYS)), st.integers(1, 40))
def test_stretches_cover_exactly_what_is_wanted(wanted: set[tuple[str, date]], most: int) -> None:
    found = list(stretches(wanted, most=most))
    covered = [(one.tenant, one.first + k * DAY) for one in found for k in range(one.days)]
    assert sorted(covered) == sorted(wanted)
    assert all(1 <= one.days <= most for one in found)
    for one, following in pairwise(found):
        if one.tenant == following.tenant and one.days < most:
            assert following.first > one.last + DAY, "as few as they can be"


def tick(
    sensor: dg.SensorDefinition, instance: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorExecutionData:
    with dg.build_sensor_context(instance=instance, cursor=cursor, definitions=defs) as context:
        return sensor.evaluate_tick(context)


def receipt(db: PgConnection, day: date, slug: str = "acme") -> None:
    db.execute("INSERT INTO reading_days (day) VALUES (%s) ON CONFLICT DO NOTHING", [day])
    db.execute(
        "INSERT INTO archive_manifest (tenant_id, day, store, state, rows, checksum_a, checksum_b, connections, bytes, "
        "location, snapshot, cluster, watermark, started_at, verified_at, duration_s) "
        "SELECT tenant_id, %s, 'parquet', 'verified', 1, 0, 0, '{}', 1, 'x', pg_current_snapshot(), "
        "database_cluster(), now(), now(), now(), 1 FROM tenants WHERE slug = %s",
        [day, slug],
    )


def test_every_tenant_of_the_registry_gets_its_partition(field: PgConnection, instance: dg.DagsterInstance) -> None:
    field.execute("INSERT INTO tenants (slug, name, retired_at) VALUES ('beta', 'Beta', now())")
    (request,) = tick(known_tenants, instance).dynamic_partitions_requests or []
    assert isinstance(request, dg.AddDynamicPartitionsRequest)
    assert (request.partitions_def_name, list(request.partition_keys)) == ("tenants", ["acme", "beta"])
    instance.add_dynamic_partitions("tenants", ["acme", "beta"])
    assert not tick(known_tenants, instance).dynamic_partitions_requests


def test_a_night_asks_for_what_is_due_by_the_platforms_clock(
    field: PgConnection, instance_on_disk: dg.DagsterInstance
) -> None:
    add_readings(field, TODAY - 6 * DAY, NOW)
    receipt(field, (TODAY - 5 * DAY).date())

    def night() -> object:
        at = datetime(2026, 11, 21, 2, tzinfo=UTC)
        return nightly_archive(
            dg.build_schedule_context(instance=instance_on_disk, scheduled_execution_time=at), warm=Warm()
        )

    assert isinstance(night(), dg.SkipReason), "the tenant has no partition yet"
    instance_on_disk.add_dynamic_partitions("tenants", ["acme"])
    requests = night()
    assert isinstance(requests, list)
    spans = [
        (one.tags["dagster/asset_partition_range_start"], one.tags["dagster/asset_partition_range_end"])
        for one in requests
    ]
    # today is the 10th; a day is due when it has been over for two
    assert spans == [("2026-03-04|acme", "2026-03-04|acme"), ("2026-03-06|acme", "2026-03-07|acme")]
    assert len({one.run_key for one in requests}) == 2
    assert len(list(stretches(("acme", date(2026, 1, 1) + k * DAY) for k in range(2 * MOST_DAYS)))) == 2


def test_a_day_that_changed_is_archived_again_at_most_hourly(
    field: PgConnection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.add_dynamic_partitions("tenants", ["acme"])
    day = (TODAY - 5 * DAY).date()
    add_readings(field, TODAY - 5 * DAY, TODAY - 4 * DAY)
    receipt(field, day)
    assert "no receipt is stale" in (tick(stale_receipts, instance).skip_message or "")
    field.execute("SELECT note_readings_changed(ARRAY[%s])", [day])
    first = tick(stale_receipts, instance)
    (request,) = first.run_requests or []
    assert request.tags["dagster/asset_partition_range_start"] == f"{day}|acme"
    again = tick(stale_receipts, instance, first.cursor)
    assert "asked for within the hour" in (again.skip_message or "")
    monkeypatch.setattr(late, "EVERY_S", 0)
    (repeated,) = tick(stale_receipts, instance, again.cursor).run_requests or []
    assert repeated.tags == request.tags


def test_readings_for_a_dropped_day_are_archived_once_an_hour(
    field: PgConnection, instance: dg.DagsterInstance
) -> None:
    day = (TODAY - 5 * DAY).date()
    assert not tick(late_data, instance).run_requests
    field.execute("INSERT INTO reading_days (day, dropped_at) VALUES (%s, now())", [day])
    assert not tick(late_data, instance).run_requests
    add_readings(field, TODAY - 5 * DAY, TODAY - 5 * DAY + timedelta(minutes=1))
    field.execute("SELECT note_readings_changed(ARRAY[%s])", [day])
    (request,) = tick(late_data, instance).run_requests or []
    assert (request.run_key or "").startswith(f"{datetime.now(UTC):%Y-%m-%dT}")
