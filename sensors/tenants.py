"""Fills the dynamic partition `tenants` from the registry, so that a new tenant is archived from its first night on."""

import dagster as dg

from wellos.settings import load_settings
from wellos.storage import warm
from wellos.storage.sql import query

__all__ = ["TENANTS", "known_tenants"]

TENANTS = dg.DynamicPartitionsDefinition(name="tenants")
"""Slugs. One that is retired stays: its readings are archived."""


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Gives every tenant of the registry its partition.",
)
def known_tenants(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Compare the registry with the partitions that Dagster knows."""
    with warm.connect(load_settings(), autocommit=True) as conn:
        slugs = [row[0] for row in conn.execute(query("tenant_slugs"))]
    known = set(context.instance.get_dynamic_partitions("tenants"))
    fresh = [slug for slug in slugs if slug not in known]
    if not fresh:
        return dg.SensorResult(skip_reason="every tenant has its partition")
    return dg.SensorResult(
        dynamic_partitions_requests=[TENANTS.build_add_request(fresh)],
        skip_reason=f"new: {', '.join(fresh)}",
    )
