"""Readings that come by file: one partition a file of the drop folder."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import dagster as dg

from sensors.imports import FOLDER, IMPORT_FILES
from wellos.settings import load_settings
from wellos_dagster.specs import DATA_TEAM, columns, table_metadata

__all__ = ["historian_imports"]

_REFUSED = 2
"""Exit status of an import that a person has to put right first."""

with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # `backfill_policy` is in beta, and there is nothing else

    @dg.asset(
        deps=["registry"],
        group_name="ingest",
        owners=[DATA_TEAM],
        kinds={"postgres", "polars"},
        partitions_def=IMPORT_FILES,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
        retry_policy=dg.RetryPolicy(max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL),
        pool="imports",
        metadata=table_metadata(
            "readings",
            columns(
                time="timestamp with time zone: source time, UTC",
                tag_id="integer: the registry's tag",
                value="double precision: engineering units; NaN where there is none",
                quality="smallint: 0 BAD, 1 UNCERTAIN, 2 GOOD",
                status="integer: 0, as files carry no code of a protocol",
            ),
        ),
    )
    def historian_imports(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        """A file of the drop folder, brought in as `wellos readings import` does: again is harmless.

        `NAME.map.yaml` beside the file NAME is its mapping, else `mapping.yaml` in its folder.
        """
        tenant, _, name = context.partition_key.partition("/")
        path = Path(load_settings().data_dir) / FOLDER / tenant / name
        if not path.is_file():
            raise dg.Failure(f"{path} is not there any more", allow_retries=False)
        mappings = (path.with_name(f"{name}.map.yaml"), path.with_name("mapping.yaml"))
        mapping = next((["--mapping", str(item)] for item in mappings if item.is_file()), [])
        # The checks and the sink are the ingest's, which this code location does not import.
        command = [sys.executable, "-m", "streaming.importing", str(path), "--tenant", tenant, "--json", *mapping]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if not result.stdout.strip():
            said = result.stderr.strip()[-4000:] or f"exit status {result.returncode}"
            raise dg.Failure(said, allow_retries=result.returncode != _REFUSED)
        told = json.loads(result.stdout)
        found, stored = told["examined"], told["imported"]
        first = ("first", "last", "rows", "refused", "left_out")
        return dg.MaterializeResult(
            metadata={
                "dagster/partition_row_count": stored["stored"],
                **{name: found[name] for name in first if found[name] is not None},
                **{name: value for name, value in stored.items() if name != "spool_id"},
                "ledger_id": stored["spool_id"],
                "no_readings": dg.MetadataValue.md(_list(found["examples"])),
            }
        )


def _list(examples: list[dict[str, str]]) -> str:
    return "\n".join(f"* `{item['source']}`: {item['reason']}" for item in examples) or "every row is a reading"
