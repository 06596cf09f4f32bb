"""The graph as it loads: a snapshot to read in a diff, and what every asset, check, schedule and sensor must have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from wellos.aggregates import WIDTHS
from wellos_dagster.definitions import defs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wellos.storage.warm import PgConnection

SNAPSHOT = Path(__file__).with_name("graph.json")
"""To renew it: `python -m pytest tests/dagster/test_graph.py --renew-graph`, and read the diff."""


@pytest.fixture(scope="module")
def graph() -> Mapping[str, Any]:
    repository = defs.get_repository_def()
    assets = {
        key.to_user_string(): {
            "group": node.group_name,
            "deps": sorted(dep.to_user_string() for dep in node.parent_keys),
            "kinds": sorted(node.kinds),
            "owners": sorted(node.owners),
            "executable": node.is_executable,
            "partitions": type(node.partitions_def).__name__ if node.partitions_def else None,
            "checks": sorted(check.name for check in node.check_keys),
            "automation": node.automation_condition.get_label() if node.automation_condition else None,
            "freshness": node.freshness_policy is not None,
            "pools": sorted(node.pools or ()),
        }
        for key, node in ((node.key, node) for node in repository.asset_graph.asset_nodes)
    }
    return {
        "assets": dict(sorted(assets.items())),
        "jobs": sorted(job.name for job in repository.get_all_jobs()),
        "schedules": {
            one.name: {"cron": one.cron_schedule, "zone": one.execution_timezone, "status": one.default_status.value}
            for one in sorted(repository.schedule_defs, key=lambda one: one.name)
        },
        "sensors": {
            one.name: {
                "type": one.sensor_type.value,
                "every_s": one.minimum_interval_seconds,
                "status": one.default_status.value,
            }
            for one in sorted(repository.sensor_defs, key=lambda one: one.name)
        },
    }


def test_the_code_location_loads() -> None:
    dg.Definitions.validate_loadable(defs)


def test_the_graph_is_the_one_last_reviewed(graph: Mapping[str, Any], *, renew_graph: bool) -> None:
    text = json.dumps(graph, indent=1, sort_keys=True) + "\n"
    if renew_graph:
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert json.loads(SNAPSHOT.read_text(encoding="utf-8")) == json.loads(text)


def test_every_asset_tells_its_reader_what_it_is() -> None:
    for spec in defs.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        assert spec.group_name not in {None, "default"}, name
        assert spec.owners, name
        assert spec.kinds, name
        assert spec.description, name
        assert len(spec.description) > 40, name
        assert spec.metadata.get("dagster/table_name") or spec.metadata["dagster/uri"], name
        assert spec.metadata["dagster/column_schema"].columns, name


def test_every_partitioned_asset_that_runs_says_how_it_is_backfilled() -> None:
    for node in defs.resolve_asset_graph().asset_nodes:
        if node.is_executable and node.partitions_def is not None:
            assert node.backfill_policy is not None, node.key


def test_every_check_says_what_it_checks() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.asset_check_keys:
        description = graph.get_check_spec(key).description
        assert description, key
        assert len(description) > 40, key


def test_what_should_run_is_running() -> None:
    repository = defs.get_repository_def()
    for schedule in repository.schedule_defs:
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING, schedule.name
    for sensor in repository.sensor_defs:
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING, sensor.name


def test_assets_that_refresh_share_one_pool() -> None:
    graph = defs.resolve_asset_graph()
    refreshing = {*WIDTHS, "aggregate_status", "clean_up"}
    assert {node.key.to_user_string() for node in graph.asset_nodes if node.pools == {"aggregates"}} == refreshing


def test_no_asset_goes_through_an_io_manager() -> None:
    """An asset without `-> MaterializeResult` would pickle its None, and fail over a range of partitions."""
    for asset in defs.assets or ():
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable:
            of_checks = {spec.get_python_identifier() for spec in asset.check_specs}
            for output in asset.node_def.output_defs:
                assert output.dagster_type.is_nothing or output.name in of_checks, asset.keys


def test_the_columns_that_assets_show_are_those_of_the_database(db: PgConnection) -> None:
    for spec in defs.resolve_all_asset_specs():
        if "dagster/table_name" not in spec.metadata:  # a report, whose columns are those of a table in its metadata
            continue
        schema, _, table = spec.metadata["dagster/table_name"].partition(".")
        rows = db.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = format('%%I.%%I', %s::text, %s::text)::regclass AND attnum > 0 AND NOT attisdropped",
            [schema, table],
        ).fetchall()
        shown = [(column.name, column.type) for column in spec.metadata["dagster/column_schema"].columns]
        assert sorted(shown) == sorted(rows), table
