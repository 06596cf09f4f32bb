"""Rows of the library as the tables that Dagster shows in metadata."""

from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl
    from _typeshed import DataclassInstance

__all__ = ["frame_records", "records"]

MOST_ROWS = 200
"""Metadata is kept for ever with its event: a table in it is a glance, not an export."""


def records(
    rows: "Iterable[DataclassInstance]", *, drop: tuple[str, ...] = (), most: int = MOST_ROWS
) -> dg.MetadataValue:
    """Make a table of the first `most` dataclass rows; or a sentence when there are none."""
    table = [
        dg.TableRecord({f.name: _cell(getattr(row, f.name)) for f in fields(row) if f.name not in drop})
        for _, row in zip(range(most), rows, strict=False)
    ]
    return dg.MetadataValue.table(table) if table else dg.MetadataValue.text("none")


def frame_records(frame: "pl.DataFrame", *, most: int = 20) -> dg.MetadataValue:
    """Make a table of the first `most` rows of a frame; or a sentence when there are none."""
    table = [dg.TableRecord({name: _cell(value) for name, value in row.items()}) for row in frame.head(most).to_dicts()]
    return dg.MetadataValue.table(table) if table else dg.MetadataValue.text("none")


def _cell(value: object) -> str | int | float | bool | None:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if value is None or isinstance(value, (str, int, bool)):
        return value
    if isinstance(value, float):
        return round(value, 3) if value == value and abs(value) != float("inf") else None  # noqa: PLR0124 - NaN
    return str(value)
