"""The ground truth of a simulated field: one JSON object a line for every planted fault, to score detectors against.

| member | meaning |
|---|---|
| `id` | unique; the same in every run of the seed |
| `kind` | see below |
| `tenant`, `well`, `connection` | where |
| `tags` | names of the tags concerned; empty for entries |
| `start`, `end` | RFC 3339 UTC: first moment of sending at which it shows, first at which it does not; for entries both are the gauge-off |
| `entry_id` | entries only; null when the entry is missing |
| `parameters` | by kind |

| kind | what is planted | parameters |
|---|---|---|
| `stuck_sensor` | the value at `start` is repeated | |
| `spike` | one scan is off by `size`, up or else down | `size` |
| `dropout` | nothing is sent | |
| `frozen_connection` | every tag of every well of the connection repeats its value at `start`, with new times | `connection` |
| `bad_status` | OPC UA `status`; a bad one comes without a value | `status` |
| `unit_slip` | value * `factor` + `offset`: the number of another unit under the old name | `shown_as`, `factor`, `offset` |
| `clock_skew` | source times lie `skew_s` before the time of sending | `skew_s` |
| `entry_missing` | no gauge-off; the next entry covers both periods | |
| `entry_late` | received long after | `received_after_h` |
| `entry_revised` | revision 1 is wrong, revision 2 right | field: `written`, `right` |
| `entry_typo`, `entry_swapped`, `entry_unit_slip`, `entry_copied` | never corrected | field: `written`, `right` |

The plan is drawn before, and without regard to, any detector or tolerance.
"""  # noqa: E501 - tables

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, get_args

from wellos.clock import from_micros
from wellos.simulator.entries import EntryFaultKind, FieldEntries
from wellos.simulator.model import FaultKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.simulator.entries import EntryFault
    from wellos.simulator.field import Field
    from wellos.simulator.model import Fault

__all__ = ["SCHEMA", "ground_truth", "write_truth"]

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "One planted fault",
    "type": "object",
    "required": ["id", "kind", "tenant", "well", "connection", "tags", "start", "end", "parameters"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string"},
        "kind": {"enum": [*get_args(FaultKind), *get_args(EntryFaultKind)]},
        "tenant": {"type": "string"},
        "well": {"type": "string"},
        "connection": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "start": {"type": "string", "format": "date-time"},
        "end": {"type": "string", "format": "date-time"},
        "entry_id": {"type": ["string", "null"], "format": "uuid"},
        "parameters": {"type": "object"},
    },
}
"""JSON schema of a line."""


def ground_truth(field: Field, start_us: int, end_us: int) -> Iterator[dict[str, Any]]:
    """Yield every fault that shows in [start, end): those of devices, then those of entries."""
    for fault in field.faults(start_us, end_us):
        yield _of_device(field, fault)
    for mistake in FieldEntries(field).faults(start_us, end_us):
        yield _of_entry(field, mistake)


def write_truth(path: Path, field: Field, start_us: int, end_us: int) -> int:
    """Write the ground truth of [start, end), replacing the file as a whole; return the number of lines."""
    lines = [json.dumps(line) + "\n" for line in ground_truth(field, start_us, end_us)]
    fresh = path.with_name(path.name + ".new")
    fresh.write_text("".join(lines), encoding="utf-8")
    os.replace(fresh, path)  # noqa: PTH105 - a reader sees the old file or the new one, never half of one
    return len(lines)


def _place(field: Field, number: int) -> dict[str, Any]:
    well = field.wells[number]
    return {"tenant": well.tenant, "well": well.name, "connection": well.connection}


def _moment(time_us: int) -> str:
    return from_micros(time_us).isoformat().replace("+00:00", "Z")


def _of_device(field: Field, fault: Fault) -> dict[str, Any]:
    tags = field.wells[fault.well].tags
    return {
        "id": fault.fault_id,
        "kind": fault.kind,
        **_place(field, fault.well),
        "tags": [tags[number].name for number in fault.tags],
        "start": _moment(fault.start_us),
        "end": _moment(fault.end_us),
        "parameters": fault.parameters,
    }


def _of_entry(field: Field, mistake: EntryFault) -> dict[str, Any]:
    gauged = _moment(mistake.gauged_us)
    return {
        "id": f"{from_micros(mistake.gauged_us):%Y%m%dT%H%MZ}-{field.wells[mistake.well].name}-{mistake.kind}",
        "kind": mistake.kind,
        **_place(field, mistake.well),
        "tags": [],
        "start": gauged,
        "end": gauged,
        "entry_id": str(mistake.entry_id) if mistake.entry_id else None,
        "parameters": mistake.parameters,
    }
