"""Finds files of readings in the drop folder, `imports/TENANT/` in the data folder, and asks for their import."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from wellos.clock import WallClock
from wellos.settings import load_settings

__all__ = ["FOLDER", "IMPORT_FILES", "files_in", "new_imports"]

FOLDER = "imports"
IMPORT_FILES = dg.DynamicPartitionsDefinition(name="import_files")
"""One partition a file: TENANT/NAME."""
SETTLED_S = 60
"""A file that changed less than this ago may still be written."""
_SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".txt", ".parquet")


def files_in(data_dir: Path) -> Iterator[tuple[str, Path]]:
    """Yield (TENANT/NAME, path) of every file of readings in the drop folder, by name."""
    for path in sorted((data_dir / FOLDER).glob("*/*")):
        if path.is_file() and path.name.lower().endswith(_SUFFIXES) and not path.name.startswith("."):
            yield f"{path.parent.name}/{path.name}", path


@dg.sensor(
    target=dg.AssetSelection.assets("historian_imports"),
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for the import of every new or changed file in the drop folder, once it is written to the end.",
)
def new_imports(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """One run a file; the same name with another content is imported again."""
    settings = load_settings()
    known: dict[str, list[int]] = json.loads(context.cursor or "{}")
    now_us = WallClock().micros()
    wanted, seen = [], {}
    for key, path in files_in(Path(settings.data_dir)):
        stat = path.stat()
        mark = [stat.st_mtime_ns, stat.st_size]
        if known.get(key) == mark:
            seen[key] = mark
        elif now_us - stat.st_mtime_ns // 1000 >= SETTLED_S * 1_000_000:
            seen[key] = mark
            wanted.append(dg.RunRequest(run_key=f"{key} {mark[0]} {mark[1]}", partition_key=key))
    keys = [str(request.partition_key) for request in wanted]
    return dg.SensorResult(
        run_requests=wanted or None,
        skip_reason=None if wanted else "no new file in the drop folder",
        cursor=json.dumps(seen),
        dynamic_partitions_requests=[IMPORT_FILES.build_add_request(keys)] if keys else None,
    )
