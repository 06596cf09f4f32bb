"""Files in the drop folder: found once written to the end, imported as partitions, again when they change."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from sensors.imports import FOLDER, IMPORT_FILES, new_imports
from wellos_dagster.definitions import defs

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.storage.warm import PgConnection


def drop(data_dir: Path, text: str, *, name: str = "acme/past.csv", settled: bool = True) -> Path:
    path = data_dir / FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if settled:
        os.utime(path, (1_700_000_000 + len(text), 1_700_000_000 + len(text)))
    return path


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    result = new_imports(context)
    assert isinstance(result, dg.SensorResult)
    for request in result.dynamic_partitions_requests or ():
        instance.add_dynamic_partitions("import_files", list(request.partition_keys))
    return result


@pytest.mark.usefixtures("field")
def test_a_file_is_asked_for_once_it_is_whole_and_again_when_it_changes(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        path = drop(tmp_path, "time,well,tag,value\n", settled=False)
        drop(tmp_path, "no readings", name="acme/past.csv.map.yaml")
        result = tick(instance)
        assert not result.run_requests
        os.utime(path, (1_700_000_000, 1_700_000_000))
        result = tick(instance, result.cursor)
        assert [request.partition_key for request in result.run_requests or ()] == ["acme/past.csv"]
        assert instance.get_dynamic_partitions("import_files") == ["acme/past.csv"]
        assert not tick(instance, result.cursor).run_requests
        drop(tmp_path, "time,well,tag,value\n\n")
        assert tick(instance, result.cursor).run_requests


def test_the_asset_imports_its_file_and_says_what_became_of_it(field: PgConnection, tmp_path: Path) -> None:
    drop(tmp_path, "zeit,well,tag,value\n2025-06-01 00:00,W-1,oil_rate,1\n2025-06-01 00:01,W-1,oil_rate,x\n")
    drop(tmp_path, "time: {column: zeit, zone: UTC}\n", name="acme/past.csv.map.yaml")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(IMPORT_FILES.name), ["acme/past.csv", "acme/gone.csv"])
        job = defs.resolve_implicit_global_asset_job_def()
        chosen = [dg.AssetKey("historian_imports")]
        result = job.execute_in_process(asset_selection=chosen, partition_key="acme/past.csv", instance=instance)
        (event,) = result.get_asset_materialization_events()
        metadata = event.step_materialization_data.materialization.metadata
        assert (metadata["stored"].value, metadata["refused"].value, metadata["quarantined"].value) == (1, 1, 1)
        assert "the value is no number" in str(metadata["no_readings"].value)
        gone = job.execute_in_process(
            asset_selection=chosen, partition_key="acme/gone.csv", instance=instance, raise_on_error=False
        )
        assert not gone.success
    assert field.execute("SELECT count(*) FROM readings").fetchone() == (1,)
