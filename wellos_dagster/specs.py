"""What every asset must tell its reader, in one place: owner, table, columns."""

from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DATA_TEAM", "OPERATIONS_TEAM", "columns", "seconds", "table_metadata"]

DATA_TEAM = "team:data-engineering"
OPERATIONS_TEAM = "team:operations"


def columns(**described: str) -> dg.TableSchema:
    """Make a column schema from `name="type: what it is"`."""
    found = []
    for name, text in described.items():
        kind, _, description = text.partition(": ")
        found.append(dg.TableColumn(name, kind, description=description or None))
    return dg.TableSchema(found)


def table_metadata(table: str, schema: dg.TableSchema) -> "Mapping[str, Any]":
    """Return the metadata under which Dagster shows a table's name and columns."""
    return {"dagster/table_name": f"public.{table}", "dagster/column_schema": schema}


def seconds(value: float) -> dg.FloatMetadataValue:
    """A duration in seconds, rounded to the millisecond, as a number that the Plots tab draws."""
    return dg.MetadataValue.float(round(float(value), 3))
