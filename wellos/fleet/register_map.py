"""Reads a device's register map (CSV, JSON or Parquet) and writes the fleet fragment that polls it.

One row a register, in either of two vocabularies, told apart by their columns:

* ours: `name`, `table`, `register` (with `.bit`), `type`, and where wanted `order`, `scale`, `offset`, `unit`,
  `quantity`, `low`, `high`, `interval_s`, `device`: the words of docs/fleet.md;
* that of building gateways: `name`, `address` (from 0), `fnCode` (`F1`..`F4`), `format` (`32BIT_FLOAT_1234`,
  `16BIT_INT_HI_FIRST`, `8BIT_UINT`, `1BIT`, `ASCII`), and where there `multiplier`, `size`, `uom`, `scale`, `device`.
"""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import ValidationError

from wellos.errors import ConfigurationError, Problem
from wellos.fleet.model import TagEntry
from wellos.protocols.modbus import parse_address
from wellos.validation import did_you_mean, problems_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from wellos.protocols.modbus import ModbusAddress

__all__ = ["RegisterMap", "read_register_map"]

_MAX_BYTES = 64 << 20
_MAX_REGISTERS = 65_536
_MAX_PROBLEMS = 50
_OURS = ("name", "table", "register", "type")
_GATEWAY = ("name", "address", "fnCode", "format")
_TABLES = {"1": "coil", "2": "discrete", "3": "holding", "4": "input"}
_FORMAT = re.compile(r"(8|16|32|64)BIT_(INT|UINT|FLOAT)(?:_(HI_FIRST|LO_FIRST|[1-8]+))?")
_TYPES = {"INT": "int", "UINT": "uint", "FLOAT": "float"}
_ORDERS: dict[str | None, str] = {
    **dict.fromkeys((None, "", "HI_FIRST", "1234", "12345678"), "ABCD"),
    **dict.fromkeys(("2143", "21436587"), "BADC"),
    **dict.fromkeys(("3412", "78563412"), "CDAB"),
    **dict.fromkeys(("LO_FIRST", "4321", "87654321"), "DCBA"),
}
_UNITS = {
    ("VOLTAGE_V", "NONE"): "V",
    ("CURRENT_A", "NONE"): "A",
    ("POWER_ACTIVE_P", "NONE"): "W",
    ("POWER_ACTIVE_P", "KILO"): "kW",
    ("POWER_REACTIVE_Q", "KILO"): "kvar",
    ("POWER_APPARENT_S", "KILO"): "kVA",
    ("ENERGY_ACTIVE_P", "KILO"): "kWh",
    ("FREQUENCY_HZ", "NONE"): "Hz",
    ("TEMPERATURE_C", "NONE"): "degC",
    ("PRESSURE_BAR", "NONE"): "bar",
    ("VOLUME_LITERS", "NONE"): "L",
    ("TIME_HOUR", "NONE"): "h",
    ("RPM", "NONE"): "rpm",
    ("PERCENT", "NONE"): "%",
}
"""What a unit of measure and its prefix are in the fleet file. Any other is left out, and so is the quantity: whether a
physical limit applies is for the person who knows the installation to say."""

_Row = dict[str, Any]


class RegisterMap:
    """The rows of one device."""

    def __init__(self, file: str, rows: Sequence[_Row], *, gateway: bool) -> None:
        """Keep the rows, each with its number in the file under `#`."""
        self._file, self._rows, self._gateway = file, rows, gateway

    def tags(self, well: str, unit: int, interval_s: float, *, strings: bool) -> tuple[TagEntry, ...]:
        """Return a tag for every row, of a well and a Modbus unit; ConfigurationError lists every row that is wrong.

        Strings are left out unless asked for: only text that is a number becomes a reading.
        """
        problems: list[Problem] = []
        found: list[tuple[_Row, ModbusAddress]] = []
        whole_bytes = self._sizes_are_bytes()
        for row in self._rows:
            try:
                text = (
                    _gateway_address(row, unit, whole_bytes=whole_bytes) if self._gateway else _our_address(row, unit)
                )
                address = parse_address(text)
            except ConfigurationError as error:
                problems += [self._placed(row, problem) for problem in error.problems]
                continue
            if strings or address.type != "string":
                found.append((row, address))
        names = Counter(_text(row, "name") for row, _ in found)
        tags = []
        for row, address in found:
            try:
                tags.append(self._tag(row, address, well, interval_s, repeated=names[_text(row, "name")] > 1))
            except ValidationError as error:
                problems += [self._placed(row, problem) for _, problem in problems_of(error, TagEntry)]
            except ConfigurationError as error:
                problems += [self._placed(row, problem) for problem in error.problems]
        if problems:
            raise ConfigurationError(problems[:_MAX_PROBLEMS])
        return tuple(tags)

    def _tag(self, row: _Row, address: ModbusAddress, well: str, interval_s: float, *, repeated: bool) -> TagEntry:
        name = _text(row, "name")
        fields: dict[str, Any] = {
            "name": f"{name}_{address.register}" if repeated else name,
            "well": well,
            "address": str(address),
            "interval_s": interval_s,
        }
        if self._gateway:
            fields["scale"] = _number(row, "multiplier", 1.0)
            fields["unit"] = _UNITS.get((_text(row, "uom"), _text(row, "scale") or "NONE"))
        else:
            fields |= {key: _text(row, key) or None for key in ("unit", "quantity")}
            numbers = ("scale", "offset", "low", "high", "interval_s")
            fields |= {key: _number(row, key, 0.0) for key in numbers if row.get(key) is not None}
        return TagEntry.model_validate(fields)

    def _sizes_are_bytes(self) -> bool:
        """Some maps give a register's size in bytes, others in registers: told by the formats whose size is known."""
        return any(
            (form := _FORMAT.fullmatch(_text(row, "format"))) is not None
            and int(form[1]) > 8  # noqa: PLR2004 - a byte takes one of either
            and _text(row, "size") == str(int(form[1]) // 8)
            for row in self._rows
        )

    def _placed(self, row: _Row, problem: Problem) -> Problem:
        field = ".".join(filter(None, (_text(row, "name"), problem.field)))
        return replace(problem, file=self._file, line=row["#"], field=field)


def read_register_map(path: Path, device: str | None = None) -> RegisterMap:
    """Read the map at `path`, of one of its devices if it has several; ConfigurationError says what is wrong."""
    file = str(path)
    readers: Mapping[str, Callable[[bytes], pl.DataFrame]] = {
        ".csv": lambda content: pl.read_csv(content, infer_schema=False, truncate_ragged_lines=False),
        ".json": lambda content: pl.read_json(content, infer_schema_length=None),
        ".parquet": lambda content: pl.read_parquet(io.BytesIO(content)),
    }
    read = readers.get(path.suffix.lower())
    if read is None:
        raise _stop(file, "is no register map by its name", f"Give a file that ends in {', '.join(readers)}.")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _stop(file, f"is larger than {_MAX_BYTES >> 20} MiB", "Split it by device.")
        frame = read(path.read_bytes())
    except OSError as error:
        raise _stop(file, f"cannot be read: {error.strerror or error}", "Give the path of a register map.") from error
    except (pl.exceptions.PolarsError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise _stop(file, f"is not a table: {reason}", "Write one row a register.") from error
    if frame.height > _MAX_REGISTERS:
        raise _stop(file, f"has more than {_MAX_REGISTERS:,} rows", "Split it by device.")
    gateway = "fnCode" in frame.columns or "format" in frame.columns
    missing = [name for name in (_GATEWAY if gateway else _OURS) if name not in frame.columns]
    if missing:
        raise _stop(file, f"has no column {' and no '.join(missing)}", f"It has: {', '.join(frame.columns)}.")
    rows = [{"#": number, **row} for number, row in enumerate(frame.iter_rows(named=True), start=2)]
    return RegisterMap(file, _of_device(file, rows, device), gateway=gateway)


def _of_device(file: str, rows: list[_Row], device: str | None) -> list[_Row]:
    devices = sorted({_text(row, "device") for row in rows} - {""})
    if device is not None and device not in devices:
        raise _stop(file, f"has no device {device}", did_you_mean(device, devices))
    if device is None and len(devices) > 1:
        raise _stop(file, f"has {len(devices)} devices", f"Choose one with --device: {', '.join(devices)}.")
    chosen = [row for row in rows if device is None or _text(row, "device") == device]
    if not chosen:
        raise _stop(file, "has no registers", "Write one row a register.")
    return chosen


def _our_address(row: _Row, unit: int) -> str:
    order = _text(row, "order")
    return ":".join(
        [str(unit), *(_text(row, key) for key in ("table", "register", "type")), *([order] if order else [])]
    )


def _gateway_address(row: _Row, unit: int, *, whole_bytes: bool) -> str:
    code, word = _text(row, "fnCode"), _text(row, "format")
    table = _TABLES.get(code[1:2]) if code[:1] == "F" else None
    if table is None:
        raise _refused("is no function code of a read", "Write F1, F2, F3 or F4.", code)
    where = f"{unit}:{table}:{_text(row, 'address')}"
    if table in ("coil", "discrete") or word == "1BIT":
        return f"{where}:bool"
    if word == "ASCII":
        size = _number(row, "size", 0.0)
        return f"{where}:string{int(size if whole_bytes else 2 * size)}"
    found = _FORMAT.fullmatch(word)
    kind = f"{_TYPES[found[2]]}{found[1]}" if found else ""
    if found is None or found[3] not in _ORDERS or kind in ("float8", "float16"):
        raise _refused("is not a known format", "E.g. 32BIT_FLOAT_1234, 16BIT_UINT_HI_FIRST, ASCII.", word)
    order = _ORDERS[found[3]]
    return f"{where}:{kind}" if order == "ABCD" else f"{where}:{kind}:{order}"


def _text(row: _Row, key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _number(row: _Row, key: str, default: float) -> float:
    value = row.get(key)
    if value is None or value == "":
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise _refused(f"{key} is not a number", "Write it with a decimal point.", value)
    return number


def _refused(message: str, remedy: str, value: object) -> ConfigurationError:
    return ConfigurationError([Problem(message, remedy, value=value)])


def _stop(file: str, message: str, remedy: str) -> ConfigurationError:
    return ConfigurationError([Problem(message, remedy, file=file)])
