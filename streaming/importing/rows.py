"""Makes packed readings of a piece's rows; what is no reading is kept whole, with its row and the reason."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from streaming.delivery import Rejected
from streaming.importing.source import ROW
from wellos.quality import Quality
from wellos.readings import Flag, empty, pack

if TYPE_CHECKING:
    from collections.abc import Mapping as MappingType
    from typing import Any

    from numpy.typing import NDArray

    from streaming.importing.layout import Layout, Names, Target
    from streaming.importing.mapping import Mapping
    from streaming.importing.source import Piece
    from wellos.readings import Readings

__all__ = ["Converted", "Converter"]

_NAIVE_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_AWARE_FORMATS = ("%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z")
_EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1000, "epoch_us": 1}
_UTC = pl.Datetime("us", "UTC")
_TEXT_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of a piece: rows of known names are readings or rejected, those of unknown ones are only counted."""

    readings: Readings
    connection: NDArray[np.int64]
    """Of each reading."""
    rejected: tuple[tuple[int, Rejected], ...]
    """(connection, what was refused); 0: its name says no connection."""
    unnamed: int
    without_zone: int
    """Rows whose time says no zone, while none is given."""


class Converter:
    """Turns pieces into readings by one layout."""

    def __init__(self, layout: Layout, mapping: Mapping, names: Names, zone: str | None, source: str) -> None:
        """`zone`: of times that say none; `source`: what the file is called in quarantine."""
        self._layout, self._mapping, self._names = layout, mapping, names
        self._zone, self._source = zone or mapping.time.zone, source
        self._found: dict[tuple[str, str], int] = {}
        self._targets: list[Target] = []

    def convert(self, piece: Piece) -> Converted:
        """Return the readings of a piece, in the order of its rows."""
        frame = self._rows(piece.frame)
        target, scale, offset = self._resolve(frame)
        named = target >= 0
        value, quality = frame["_value"].to_numpy(), frame["_quality"].to_numpy()
        usable = named & (frame["_why"] == "").to_numpy()
        tag_ids = np.array([item.tag_id for item in self._targets] or [0], np.int64)
        connections = np.array([item.connection_id for item in self._targets] or [0], np.int64)
        rows = np.flatnonzero(usable)
        readings = empty()
        if len(rows):
            micros = frame["_time"].dt.epoch("us").to_numpy()[rows].astype(np.int64)
            converted = value[rows] * scale[rows] + offset[rows]
            readings = pack(micros, converted, tag_ids[target[rows]], quality[rows], 0, int(Flag.HISTORICAL))
        wrong = np.flatnonzero(named & ~usable)
        refused = [(int(connections[target[at]]), frame.row(int(at), named=True)) for at in wrong]
        rejected = [(connection, self._rejected(row)) for connection, row in refused]
        for line in piece.broken:
            text = line.text.encode()[:_TEXT_BYTES]
            rejected.append((0, Rejected("malformed", line.detail, f"{self._source}:{line.row}", text)))
        return Converted(
            readings,
            connections[target[rows]],
            tuple(rejected),
            int((~named).sum()),
            int((frame["_why"] == "no zone").sum()),
        )

    def _rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """One row a reading, with _key, _tag, _time, _value, _quality and why it is none (`_why`)."""
        layout = self._layout
        if not frame.height:
            empties = dict.fromkeys(("_key", "_tag", "_why"), pl.String)
            return pl.DataFrame(
                schema={ROW: pl.Int64, **empties, "_time": _UTC, "_value": pl.Float64, "_quality": pl.UInt8}
            )
        if layout.value is None:
            index = [name for name in (ROW, layout.time, layout.well) if name is not None]
            cells = frame.select(*index, *(pl.col(name).cast(pl.String) for name in layout.wide))
            frame = cells.unpivot(index=index, variable_name="tag", value_name="value").filter(
                pl.col("value").is_not_null() & (pl.col("value").str.strip_chars() != "")
            )
        value, tag = layout.value or "value", layout.tag or "tag"
        well = pl.lit(layout.one_well) if layout.one_well else pl.col(layout.well) if layout.well else None
        name = pl.col(tag).cast(pl.String).str.strip_chars().fill_null("")
        key = (
            name
            if well is None
            else pl.concat_str(well.cast(pl.String).str.strip_chars().fill_null(""), pl.lit("."), name)
        )
        number, missing = self._value(frame.schema[value], value)
        grade = self._quality(frame.schema)
        return (
            frame.with_columns(
                _key=key, _tag=name, **self._time(frame.schema[layout.time]), _value=number, _grade=grade
            )
            .with_columns(
                _quality=pl.when(missing).then(int(Quality.BAD)).otherwise(pl.col("_grade")).cast(pl.UInt8),
                _why=pl.when(pl.col("_zoneless"))
                .then(pl.lit("no zone"))
                .when(pl.col("_time").is_null())
                .then(pl.lit("the time cannot be read, or is one that the clocks skipped or went through twice"))
                .when(pl.col("_value").is_null() & ~missing)
                .then(pl.lit("the value is no number"))
                .when(pl.col("_grade").is_null())
                .then(pl.lit("the quality is none of the words for one"))
                .otherwise(pl.lit("")),
            )
            .with_columns(pl.col("_value").fill_null(float("nan")), pl.col("_quality").fill_null(0))
        )

    def _time(self, kind: pl.DataType) -> MappingType[str, pl.Expr]:
        column, given = pl.col(self._layout.time), self._mapping.time.format
        nowhere = pl.lit(value=False)
        if isinstance(kind, pl.Datetime):
            if kind.time_zone is not None:
                return {"_time": column.dt.convert_time_zone("UTC").dt.cast_time_unit("us"), "_zoneless": nowhere}
            return self._local(column.dt.cast_time_unit("us"))
        if given in _EPOCHS:
            micros = column.cast(pl.Float64, strict=False) * _EPOCHS[given]
            if kind.is_integer() or isinstance(kind, pl.String):  # whole numbers stay exact beyond 2^53
                micros = pl.coalesce(
                    column.cast(pl.Int64, strict=False) * _EPOCHS[given], micros.round().cast(pl.Int64, strict=False)
                )
            else:
                micros = micros.round().cast(pl.Int64, strict=False)
            return {"_time": pl.from_epoch(micros, "us").dt.replace_time_zone("UTC"), "_zoneless": nowhere}
        text = column.cast(pl.String).str.strip_chars()
        if given is not None and "%z" in given:
            return {"_time": text.str.strptime(_UTC, given, strict=False), "_zoneless": nowhere}
        if given is not None:
            return self._local(text.str.strptime(pl.Datetime("us"), given, strict=False))
        iso = text.str.replace(r"[Tt]", " ").str.replace(r"\s*[Zz]$", "+00:00")
        aware = pl.coalesce([iso.str.strptime(_UTC, form, strict=False) for form in _AWARE_FORMATS])
        naive = pl.coalesce([iso.str.strptime(pl.Datetime("us"), form, strict=False) for form in _NAIVE_FORMATS])
        local = self._local(naive)
        return {"_time": pl.coalesce([aware, local["_time"]]), "_zoneless": aware.is_null() & local["_zoneless"]}

    def _local(self, naive: pl.Expr) -> MappingType[str, pl.Expr]:
        if self._zone is None:
            return {"_time": naive.dt.replace_time_zone("UTC"), "_zoneless": naive.is_not_null()}
        choice = self._mapping.time.ambiguous
        moment = naive.dt.replace_time_zone(
            self._zone, ambiguous="null" if choice == "refuse" else choice, non_existent="null"
        )
        return {"_time": moment.dt.convert_time_zone("UTC"), "_zoneless": pl.lit(value=False)}

    def _value(self, kind: pl.DataType, column: str) -> tuple[pl.Expr, pl.Expr]:
        """Return the number (null: none) and whether that is because the file says there is no value."""
        if kind.is_numeric():
            return pl.col(column).cast(pl.Float64), pl.col(column).is_null()
        text = pl.col(column).cast(pl.String).str.strip_chars()
        missing = text.is_null() | text.str.to_lowercase().is_in(
            [word.casefold() for word in self._mapping.value.missing]
        )
        if self._mapping.value.decimal == ",":
            text = text.str.replace(",", ".", literal=True)
        return pl.when(missing).then(None).otherwise(text.cast(pl.Float64, strict=False)), missing

    def _quality(self, schema: pl.Schema) -> pl.Expr:
        column = self._layout.quality
        if column is None:
            return pl.lit(int(Quality.GOOD))
        text = pl.col(column).cast(pl.String).str.strip_chars().str.to_lowercase().fill_null("")
        words = self._mapping.quality
        if schema[column].is_float():
            text = text.str.replace(r"\.0$", "")
        lists = ((words.good, Quality.GOOD), (words.uncertain, Quality.UNCERTAIN), (words.bad, Quality.BAD))
        grades = {word.casefold(): int(meant) for some, meant in reversed(lists) for word in some}
        return text.replace_strict({"": int(Quality.GOOD), **grades}, default=None, return_dtype=pl.Int64)

    def _resolve(self, frame: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Return for each row the index of its target (-1: none), and the scale and offset of its unit."""
        if not frame.height:
            return np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
        distinct = frame.select("_key", "_tag").unique(maintain_order=True)
        places = [self._place(key, tag) for key, tag in distinct.iter_rows()]
        place = distinct.with_columns(_place=pl.Series(places, dtype=pl.Int64))
        target = frame.join(place, on=["_key", "_tag"], how="left", maintain_order="left")["_place"].to_numpy()
        scales = np.array([item.scale for item in self._targets] or [1.0])
        offsets = np.array([item.offset for item in self._targets] or [0.0])
        return target, scales[target], offsets[target]

    def _place(self, key: str, tag: str) -> int:
        if (key, tag) not in self._found:
            target = self._names.find(key, tag)
            self._found[key, tag] = -1 if target is None else len(self._targets)
            if target is not None:
                self._targets.append(target)
        return self._found[key, tag]

    def _rejected(self, row: MappingType[str, Any]) -> Rejected:
        kept = {name: value for name, value in row.items() if not name.startswith("_") and name != ROW}
        original = json.dumps(kept, default=str, ensure_ascii=False).encode()[:_TEXT_BYTES]
        return Rejected("malformed", str(row["_why"]), f"{self._source}:{row[ROW]}", original)
