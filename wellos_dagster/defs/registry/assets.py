"""The registry as an asset: what is configured, and how each connection fares."""

import dagster as dg

from wellos.ingest_status import connection_states, registry_counts
from wellos_dagster.resources import PlatformClock, Warm
from wellos_dagster.specs import OPERATIONS_TEAM, columns, table_metadata
from wellos_dagster.tables import records

__all__ = ["registry"]

_COLUMNS = columns(
    tag_id="integer: the tag",
    tenant_id="uuid: the tenant it belongs to",
    well_id="integer: the well it is measured at",
    connection_id="integer: the connection it comes over",
    name="text: its name",
    address="text: where the connection finds it",
    unit="text: engineering unit",
    quantity="text: kind of measurement",
    metric="text: what it measures of its well; null: what its name says; none: nothing, whatever its name",
    telemetry_metric="text: the metric that it counts for in the telemetry relations; null: for none",
    scale="double precision: value = raw * scale + offset",
    offset="double precision: value = raw * scale + offset",
    deadband="double precision: least change that is reported",
    resolution="double precision: step of the instrument",
    low="double precision: lower end of the instrument's range",
    high="double precision: upper end of the instrument's range",
    interval_s="double precision: expected time between readings",
    mode="text: poll, or rbe (report by exception)",
    sentinels="double precision[]: values that mean no value",
    created_at="timestamp with time zone: when it was added",
    retired_at="timestamp with time zone: when it was retired; null while it is live",
)


@dg.asset(
    group_name="registry",
    owners=[OPERATIONS_TEAM],
    kinds={"postgres", "yaml"},
    metadata=table_metadata("tags", _COLUMNS),
    automation_condition=dg.AutomationCondition.missing().newly_true().with_label("first start"),
)
def registry(warm: Warm, clock: PlatformClock) -> dg.MaterializeResult[None]:
    """Tenants, wells, connections and tags, as the fleet file last said, and the state of every connection."""
    now = clock.now()
    with warm.connect() as conn:
        counts = registry_counts(conn)
        connections = connection_states(conn)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": counts.tags,
            "tenants": counts.tenants,
            "wells": counts.wells,
            "connections": counts.connections,
            "connections_disabled": counts.connections_disabled,
            "tags": counts.tags,
            "tags_retired": counts.tags_retired,
            "observed_at": dg.MetadataValue.timestamp(now),
            "state": records(connections, drop=("loss_window",)),
        }
    )
