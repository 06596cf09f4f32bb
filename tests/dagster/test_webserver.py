"""The processes of `wellos up`: what GraphQL says of them, a run launched through it, and what ingest reports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

from tests.dagster.servers import REPOSITORY, wait_for
from wellos_dagster.definitions import defs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.dagster.servers import Webserver

ASSETS = """
{ assetNodes { assetKey { path } groupName isExecutable partitionStats { numMaterialized numFailed }
    assetChecksOrError { ... on AssetChecks { checks {
        name executionForLatestMaterialization { status evaluation { success severity } } } } } } }
"""
MATERIALIZATION = """
query($a: AssetKeyInput!, $p: [String!]) { assetNodeOrError(assetKey: $a) { ... on AssetNode {
    assetMaterializations(partitions: $p, limit: 1) { runId partition metadataEntries { label
        ... on IntMetadataEntry { intValue } ... on MarkdownMetadataEntry { mdStr } } } } } }
"""
AUTOMATION = """
query($r: RepositorySelector!) {
  schedulesOrError(repositorySelector: $r) {
    ... on Schedules { results {
        name state: scheduleState { status ticks(limit: 50) { status error { message } } } } } }
  sensorsOrError(repositorySelector: $r) {
    ... on Sensors { results {
        name state: sensorState { status ticks(limit: 50) { status error { message } } } } } } }
"""


def assets_of(webserver: Webserver) -> Mapping[str, Any]:
    return {node["assetKey"]["path"][0]: node for node in webserver.query(ASSETS)["assetNodes"]}


def metadata_of(webserver: Webserver, asset: str, partition: str) -> Mapping[str, Any]:
    found = webserver.query(MATERIALIZATION, a={"path": [asset]}, p=[partition])["assetNodeOrError"]
    (event,) = found["assetMaterializations"]
    return {entry["label"]: entry.get("intValue") or entry.get("mdStr") for entry in event["metadataEntries"]}


def test_the_graph_is_served(webserver: Webserver) -> None:
    assets = assets_of(webserver)
    assert set(assets) == {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()}
    assert set(assets) > {"registry", "readings", "field_entries", "readings_1day"}
    assert not assets["readings"]["isExecutable"]
    checks = {check["name"] for check in assets["readings"]["assetChecksOrError"]["checks"]}
    assert checks == {"newest_reading", "ingest_lag", "accounting"}


def automation_of(webserver: Webserver) -> Mapping[str, Any]:
    found = webserver.query(AUTOMATION, r=REPOSITORY)
    both = [*found["schedulesOrError"]["results"], *found["sensorsOrError"]["results"]]
    return {one["name"]: one["state"] for one in both}


def test_what_should_run_runs(webserver: Webserver) -> None:
    repository = defs.get_repository_def()
    defined = {one.name for one in repository.schedule_defs} | {one.name for one in repository.sensor_defs}
    assert defined > {"refresh_check", "hourly_audit", "automation", "new_days"}
    found = {name: state["status"] for name, state in automation_of(webserver).items()}
    assert found == dict.fromkeys(defined, "RUNNING")


def test_a_day_before_the_first_partition_may_be_reported(webserver: Webserver) -> None:
    """Ingest of old recordings reports their days: they show nowhere, and stop nothing (the last test looks)."""
    report = {"partition": "2014-01-24", "metadata": {"rows": 1}}
    answer = httpx.post(f"{webserver.url}/report_asset_materialization/readings", json=report, timeout=90)
    assert answer.status_code == httpx.codes.OK
    assert set(assets_of(webserver)) >= {"readings", "readings_1min"}


def test_a_run_launched_by_hand_succeeds_with_its_check(webserver: Webserver) -> None:
    today = datetime.now(UTC).date()
    assert webserver.run("readings_1hour", today, check="equals_raw") == "SUCCESS"
    found = metadata_of(webserver, "readings_1hour", today.isoformat())
    assert found["rows"]
    assert found["readings_per_hour"].startswith("![readings per hour")
    checks = {check["name"]: check for check in assets_of(webserver)["readings_1hour"]["assetChecksOrError"]["checks"]}
    assert checks["equals_raw"]["executionForLatestMaterialization"]["status"] == "SUCCEEDED"


def test_closed_days_fill_by_themselves(webserver: Webserver) -> None:
    """Nobody launches anything: the sensor asks for the aggregates, then reports the readings of the same days."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)

    def filled() -> int:
        return int(assets_of(webserver)["readings"]["partitionStats"]["numMaterialized"])

    # the fourth day of the three is not a whole one, yet it holds readings and is over
    wait_for(lambda: filled() >= 3, 240, filled)
    assets = assets_of(webserver)
    for relation in ("readings_1min", "readings_5min", "readings_1hour", "readings_1day"):
        assert assets[relation]["partitionStats"]["numMaterialized"] >= 3
        assert assets[relation]["partitionStats"]["numFailed"] == 0
    assert metadata_of(webserver, "readings_1day", yesterday.isoformat())["rows"] == 4 * 1440
    assert metadata_of(webserver, "readings", yesterday.isoformat())["rows"] == 4 * 1440


def test_ingest_reports_an_hour_over_http(webserver: Webserver) -> None:
    day = datetime.now(UTC).date().isoformat()
    report = {"partition": day, "metadata": {"rows": 12_345}}
    answer = httpx.post(f"{webserver.url}/report_asset_materialization/field_entries", json=report, timeout=90)
    assert answer.status_code == httpx.codes.OK
    assert metadata_of(webserver, "field_entries", day)["rows"] == 12_345
    check = {"check_name": "newest_entry", "passed": True, "metadata": {"wells": 2}}
    answer = httpx.post(f"{webserver.url}/report_asset_check/field_entries", json=check, timeout=90)
    assert answer.status_code == httpx.codes.OK
    (reported,) = assets_of(webserver)["field_entries"]["assetChecksOrError"]["checks"]
    assert reported["executionForLatestMaterialization"]["evaluation"]["success"]


def test_no_tick_failed(webserver: Webserver) -> None:
    for name, state in automation_of(webserver).items():
        assert not [tick["error"] for tick in state["ticks"] if tick["status"] == "FAILURE"], name
