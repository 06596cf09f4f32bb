"""The relations and procedures that everything above SQL relies on have one shape on both engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wellos import telemetry

if TYPE_CHECKING:
    from wellos.storage.warm import PgConnection

AGGREGATE = (
    "bucket timestamptz, tag_id int4, n int8, n_good int8, n_uncertain int8, n_bad int8, sum float8, sum_sq float8, "
    "min float8, max float8, first float8, last float8"
)
NAMED_AGGREGATE = (
    "bucket timestamptz, tenant_id uuid, well_id int4, connection_id int4, tag_id int4, well_name text, tag_name text, "
    "unit text, n int8, n_good int8, n_uncertain int8, n_bad int8, avg float8, stddev float8, min float8, max float8, "
    "first float8, last float8, sum float8, sum_sq float8, source_protocol text"
)
WIDTHS = ("1min", "5min", "1hour", "1day", "1week", "1month")
TELEMETRY = "bucket timestamptz, tenant_id uuid, well_id int4, n int8, n_good int8, n_uncertain int8, n_bad int8, "
RELATIONS = {
    "readings": "time timestamptz, tag_id int4, value float8, quality int2, status int4",
    "scada_readings": (
        "time timestamptz, tenant_id uuid, well_id int4, connection_id int4, tag_id int4, well_name text, "
        "tag_name text, unit text, value float8, quality text, status_code int8, source_protocol text"
    ),
    "aggregate_status": (
        "relation text, watermark timestamptz, materialised_to timestamptz, refreshed_at timestamptz, "
        "pending_invalidations int8"
    ),
    "field_entries_current": (
        "entry_id uuid, revision int4, tenant_id uuid, well_id int4, entry_type text, volume_kind text, "
        "gauged_at timestamptz, entered_at timestamptz, received_at timestamptz, data jsonb, notes text, "
        "created_by text, device_id text"
    ),
    "quality_episodes": (
        "event_id int8, tenant_id uuid, tenant text, well_name text, connection_name text, tag_name text, unit text, "
        "check_name text, severity text, state text, started_at timestamptz, ended_at timestamptz, evidence jsonb, "
        "updated_at timestamptz"
    ),
    **{f"readings_{width}": AGGREGATE for width in WIDTHS},
    **{
        f"telemetry_{width}": TELEMETRY + ", ".join(f"{name} float8" for name in telemetry.columns())
        for width in ("hourly", "daily", "weekly", "monthly")
    },
    "storage_policies_in_force": "policy text, relation text, setting interval, by text",
    "storage_jobs": (
        "job_id int4, job text, relation text, scheduled bool, status text, last_success timestamptz, "
        "next_start timestamptz, runs int8, failures int8, consecutive_failures int4, last_error text, "
        "last_error_at timestamptz"
    ),
    **{f"scada_readings_{width}": NAMED_AGGREGATE for width in WIDTHS},
}
COLUMNS = """
SELECT string_agg(a.attname || ' ' || t.typname, ', ' ORDER BY a.attnum)
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""
ROUTINES = {
    "refresh_aggregate": (
        "p",
        "IN relation text, IN since timestamp with time zone, IN until timestamp with time zone",
    ),
    "refresh_aggregates": ("p", ""),
    "ensure_readings_partitions": ("f", "days date[] DEFAULT NULL::date[]"),
    "refresh_due_aggregates": ("p", ""),
    "set_storage_policies": ("f", "compress_after interval, keep_aggregates interval, refresh_every jsonb"),
    "drop_old_aggregates": ("f", "keep interval, moment timestamp with time zone DEFAULT now()"),
    "aggregate_beyond_watermark": ("f", "relation text"),
    "aggregate_table": ("f", "relation text"),
}


@pytest.mark.parametrize("relation", RELATIONS)
def test_columns(db: PgConnection, relation: str) -> None:
    assert db.execute(COLUMNS, (relation,)).fetchone() == (RELATIONS[relation],)


def test_the_metrics_are_those_of_the_library(db: PgConnection) -> None:
    assert db.execute("SELECT telemetry_metrics()").fetchone() == (list(telemetry.METRICS),)


@pytest.mark.parametrize("routine", ROUTINES)
def test_routines(db: PgConnection, routine: str) -> None:
    found = "SELECT prokind::text, pg_get_function_arguments(oid) FROM pg_proc WHERE proname = %s"
    assert db.execute(found, (routine,)).fetchall() == [ROUTINES[routine]]


def test_no_index_asks_for_work_behind_a_writers_back(db: PgConnection) -> None:
    found = db.execute("SELECT indexdef FROM pg_indexes WHERE indexdef LIKE '%%USING brin%%'").fetchall()
    assert found
    assert not [definition for (definition,) in found if "autosummarize" in definition]


def test_the_only_index_by_tag_is_unique(db: PgConnection) -> None:
    found = db.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'readings' AND indexdef LIKE '%%tag_id%%'")
    assert [("UNIQUE" in row[0], row[0].endswith('(tag_id, "time" DESC)')) for row in found] == [(True, True)]
