"""What a replay serves: which recordings of which well, over which protocol, and the fleet file that reads them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from wellos.protocols.modbus import ModbusAddress
from wellos.quality import from_opcua
from wellos.readings import pack
from wellos.simulator.addresses import NAMESPACE, Register
from wellos.simulator.recordings import COLUMNS, read_recording

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wellos.protocols.modbus import Order
    from wellos.readings import Readings
    from wellos.simulator.fleet_document import Addresses
    from wellos.simulator.recordings import Block, Recording

__all__ = ["NODE", "NO_DATA", "TENANT", "Reader", "ReplayWell", "Transport", "mirror", "plan", "replay_document"]

Transport: TypeAlias = Literal["opcua", "mqtt", "sparkplug"]

TENANT = "petrobras"
NODE = "edge-1"
NO_DATA = 0x809B0000
"""BadNoData: the OPC UA status of a row that has no value."""

# Readings a second that each protocol's server and client take, relative to each other: shares the rows out fairly.
_PACE: dict[Transport, float] = {"opcua": 1.0, "mqtt": 3.0, "sparkplug": 6.0}
_LIMITS = {"pressure": (0.0, 1e8), "temperature": (-50.0, 250.0), "rate": (0.0, 100.0)}
_ORDERS: tuple[Order, ...] = ("ABCD", "CDAB", "BADC", "DCBA")


@dataclass(frozen=True, slots=True)
class ReplayWell:
    """One recorded well: its tags, its recordings in order, how many rows are served of each, and over what."""

    name: str
    tags: tuple[str, ...]
    recordings: tuple[Recording, ...]
    served: tuple[int, ...]
    transport: Transport

    @property
    def rows(self) -> int:
        """Rows served."""
        return sum(self.served)


def plan(recordings: Iterable[Recording], limit_rows: int | None = None) -> tuple[ReplayWell, ...]:
    """Group recordings by well, keep at most `limit_rows` rows of each, and share the wells out over the protocols."""
    by_well: dict[str, list[Recording]] = {}
    for recording in recordings:
        by_well.setdefault(recording.well, []).append(recording)
    cut = {name: _cut(mine, limit_rows) for name, mine in by_well.items()}
    load = dict.fromkeys(_PACE, 0)
    wells = []
    largest_first = sorted(cut, key=lambda name: -sum(rows for _, rows in cut[name]))
    for left, name in zip(range(len(cut), 0, -1), largest_first, strict=True):
        mine, served = zip(*cut[name], strict=True)
        rows = sum(served)
        # The last wells go to the protocols that have none yet.
        empty = [one for one, share in load.items() if not share]
        least = min(_PACE, key=lambda one: (load[one] + rows) / _PACE[one])
        transport = empty[0] if left <= len(empty) else least
        load[transport] += rows
        present = {column for recording in mine for column in recording.columns}
        wells.append(
            ReplayWell(name, tuple(column for column in COLUMNS if column in present), mine, served, transport)
        )
    return tuple(sorted(wells, key=lambda well: well.name))


def _cut(recordings: Sequence[Recording], limit: int | None) -> list[tuple[Recording, int]]:
    left = sum(recording.rows for recording in recordings) if limit is None else limit
    kept = []
    for recording in recordings:
        rows = min(recording.rows, left)
        left -= rows
        if rows:
            kept.append((recording, rows))
    return kept


class Reader:
    """The rows of a replayed well as readings, from any row on."""

    def __init__(self, well: ReplayWell, zone: str) -> None:
        """Nothing is read yet."""
        self.well = well
        self.played = 0
        """Rows handed on to a sender, counted up to the furthest."""
        self._zone = zone
        self._ends = np.array(list(accumulate(well.served)))
        self._block = lru_cache(maxsize=2)(self._read)

    def _read(self, number: int) -> Block:
        return read_recording(self.well.recordings[number], self._zone)

    def rows(self, first: int, most: int) -> tuple[Readings, int]:
        """Return the readings of rows from `first` on, row by row, and how many rows these are.

        At most `most`, and none beyond the recording that `first` lies in. `tag_id` is the position in `well.tags`. A
        row of the file without a time is counted, and has no readings.
        """
        number = int(np.searchsorted(self._ends, first, side="right"))
        start = int(self._ends[number]) - self.well.served[number]
        end = min(first + most, int(self._ends[number]))
        block = self._block(number)
        return self._readings(block, first - start, end - start), end - first

    def _readings(self, block: Block, first: int, end: int) -> Readings:
        times, values = block.times[first:end], block.values[first:end]
        positions = np.array([self.well.tags.index(column) for column in block.columns])
        status = np.where(np.isnan(values.ravel()), NO_DATA, 0)
        tags = np.tile(positions, len(times))
        return pack(np.repeat(times, len(positions)), values.ravel(), tags, from_opcua(status), status)

    def initial(self) -> Readings:
        """Return the first reading of each tag: what a server shows before the replay begins."""
        firsts = []
        for at, tag in enumerate(self.well.tags):
            number = next(number for number, recording in enumerate(self.well.recordings) if tag in recording.columns)
            readings = self._readings(self._block(number), 0, 1)
            firsts.append(readings[readings["tag_id"] == at])
        return np.concatenate(firsts)


def mirror(well: ReplayWell) -> tuple[str, tuple[Register, ...]]:
    """Return the name and the registers of the Modbus device that repeats a well's current values."""
    registers = tuple(
        Register(ModbusAddress(1, "input", 4 * at, "float64", _ORDERS[at % len(_ORDERS)]))
        for at in range(len(well.tags))
    )
    return f"{well.name}-MODBUS", registers


def replay_document(
    wells: Sequence[ReplayWell], mirrored: ReplayWell, zone: str, addresses: Addresses, mqtt_version: int
) -> dict[str, Any]:
    """Return the fleet file that reads a replay, as plain data."""
    name, registers = mirror(mirrored)
    names = [*(well.name for well in wells), name]
    broker = {"url": addresses.mqtt_url, "version": mqtt_version, **addresses.mqtt_credentials}
    configs: dict[Transport, dict[str, Any]] = {
        # The player waits for acknowledgements; what it has under way must fit the server's queue of each node.
        "opcua": {
            "url": addresses.opcua_url,
            "anonymous": True,
            "security_mode": "None",
            "publishing_interval_ms": 100.0,
            "queue_size": 10_000,
        },
        "mqtt": {**broker, "payload": "plain"},
        "sparkplug": {**broker, "payload": "sparkplug"},
    }
    connections = [
        _connection(f"{transport}-replay", transport.replace("sparkplug", "mqtt"), configs[transport], tags)
        for transport in _PACE
        if (tags := [_tag(well.name, tag, _address(well, tag)) for well in _of(wells, transport) for tag in well.tags])
    ]
    modbus = {"host": addresses.modbus_host, "port": addresses.modbus_port}
    polled = [_tag(name, tag, str(one.address)) for tag, one in zip(mirrored.tags, registers, strict=True)]
    connections.append(_connection("modbus-replay", "modbus", modbus, polled))
    described = [
        {"name": each, "lift_type": "gas_lift", "route": "3W", "timezone": zone, "contract_hour": 6} for each in names
    ]
    tenant = {"slug": TENANT, "name": "Petrobras 3W recordings", "wells": described, "connections": connections}
    return {"version": 1, "tenants": [tenant]}


def _of(wells: Sequence[ReplayWell], transport: Transport) -> list[ReplayWell]:
    return [well for well in wells if well.transport == transport]


def _connection(name: str, protocol: str, config: dict[str, Any], tags: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "protocol": protocol, "config": config, "tags": tags}


def _tag(well: str, tag: str, address: str) -> dict[str, Any]:
    unit, quantity = COLUMNS[tag]
    low, high = _LIMITS[quantity]
    return {
        "name": tag,
        "well": well,
        "address": address,
        "unit": unit,
        "quantity": quantity,
        "low": low,
        "high": high,
        "interval_s": 1.0,
        "mode": "poll",
    }


def _address(well: ReplayWell, tag: str) -> str:
    if well.transport == "opcua":
        return f"nsu={NAMESPACE};s={well.name}.{tag}"
    if well.transport == "sparkplug":
        return f"{TENANT}/{NODE}/{well.name}:{tag}"
    return f"wellos/{TENANT}/{well.name}#/values/{tag}"
