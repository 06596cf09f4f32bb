"""What comes in: two external assets that ingest reports, and the health of ingest itself."""

from datetime import timedelta

import dagster as dg

from wellos.ingest_status import connection_states, gaps, instances, quarantined
from wellos_dagster.partitions import DAILY
from wellos_dagster.resources import PlatformClock, Warm
from wellos_dagster.specs import DATA_TEAM, OPERATIONS_TEAM, columns, seconds, table_metadata
from wellos_dagster.tables import records

__all__ = ["field_entries", "ingest_health", "readings"]

readings = dg.AssetSpec(
    "readings",
    deps=["registry"],
    description=(
        "Every reading of every tag, as it came: source time, value, quality and the protocol's own status. "
        "Stored by the ingest process, which reports each closed hour here; Dagster never writes it."
    ),
    group_name="ingest",
    owners=[DATA_TEAM],
    kinds={"postgres", "numpy"},
    partitions_def=DAILY,
    freshness_policy=dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=3), warn_window=timedelta(hours=1, minutes=30)
    ),
    metadata=table_metadata(
        "readings",
        columns(
            time="timestamp with time zone: source time, UTC",
            tag_id="integer: the registry's tag",
            value="double precision: engineering units; NaN where there is none",
            quality="smallint: 0 BAD, 1 UNCERTAIN, 2 GOOD",
            status="integer: the protocol's own status code, as it came",
        ),
    ),
)

field_entries = dg.AssetSpec(
    "field_entries",
    deps=["registry"],
    description=(
        "What pumpers write down at the well: production, inspection, maintenance; every revision is kept. "
        "Stored by whatever takes them in, the simulated pumpers themselves among it; the ingest process reports each "
        "closed hour here. Dagster never writes it."
    ),
    group_name="ingest",
    owners=[DATA_TEAM],
    kinds={"postgres"},
    partitions_def=DAILY,
    metadata=table_metadata(
        "field_entries",
        columns(
            entry_id="uuid: made on the device",
            revision="integer: 1, then one more for every correction",
            tenant_id="uuid: the tenant",
            well_id="integer: the well",
            entry_type="text: production, inspection or maintenance",
            volume_kind="text: what period the volumes are for",
            gauged_at="timestamp with time zone: when it was read off",
            entered_at="timestamp with time zone: when it was typed in",
            received_at="timestamp with time zone: when it reached us",
            data="jsonb: volumes, pressures, temperature, run time",
            notes="text: what the pumper remarked",
            created_by="text: the pumper",
            device_id="text: the device",
        ),
    ),
)


@dg.asset(
    deps=[readings, field_entries],
    group_name="ingest",
    owners=[OPERATIONS_TEAM],
    kinds={"postgres"},
    freshness_policy=dg.FreshnessPolicy.time_window(
        fail_window=timedelta(minutes=30), warn_window=timedelta(minutes=15)
    ),
    automation_condition=dg.AutomationCondition.missing().newly_true().with_label("first start"),
    metadata=table_metadata(
        "ingest_connections",
        columns(
            connection_id="integer: the connection",
            spool_id="uuid: the ingest instance that holds it",
            state="text: what it is doing",
            since="timestamp with time zone: since when",
            last_reading_at="timestamp with time zone: when its last reading came",
            error="text: what went wrong last",
            loss_window="text: what is lost when the source or we stop",
            readings_total="bigint: readings ever received over it",
            readings_per_s="double precision: readings a second, lately",
            updated_at="timestamp with time zone: when this was written",
        ),
    ),
)
def ingest_health(warm: Warm, clock: PlatformClock) -> dg.MaterializeResult[None]:
    """Ingest as it stands: instances, connections, what waits in spools, gaps and quarantine of the last 24 hours."""
    now = clock.now()
    since = now - timedelta(hours=24)
    with warm.connect() as conn:
        running = instances(conn)
        connections = connection_states(conn)
        missing = gaps(conn, since)
        refused = quarantined(conn, since)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(connections),
            "instances": len(running),
            "connections": sum(connection.enabled for connection in connections),
            "readings_per_s": round(sum(connection.readings_per_s or 0.0 for connection in connections), 1),
            "spool_rows": sum(instance.spool_rows for instance in running),
            "spool_bytes": sum(instance.spool_bytes for instance in running),
            **({"lag_s": seconds(max(instance.lag_s(now) for instance in running))} if running else {}),
            "gaps_24h": sum(gap.gaps for gap in missing),
            "gap_seconds_24h": seconds(sum(gap.seconds for gap in missing)),
            "quarantined": sum(item.items for item in refused),
            "quarantined_24h": sum(item.recent for item in refused),
            "observed_at": dg.MetadataValue.timestamp(now),
            "instance_table": records(running),
            "connection_table": records(connections),
            "gap_table": records(missing),
            "quarantine_table": records(refused),
        }
    )
