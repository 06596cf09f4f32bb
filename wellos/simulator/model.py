"""What a simulated field is made of: instruments, wells, and the faults that befall them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = ["Fault", "FaultKind", "LiftType", "SimTag", "SimWell", "WireProtocol"]

LiftType: TypeAlias = Literal["rod_pump", "esp", "gas_lift", "flowing"]
WireProtocol: TypeAlias = Literal["opcua", "modbus", "mqtt", "sparkplug"]
FaultKind: TypeAlias = Literal[
    "stuck_sensor", "spike", "dropout", "frozen_connection", "bad_status", "unit_slip", "clock_skew"
]


@dataclass(frozen=True, slots=True)
class SimTag:
    """One instrument: what it measures, its range, and how often it is looked at or speaks."""

    name: str
    unit: str
    quantity: str
    low: float
    high: float
    interval_s: float
    """Expected time between readings (poll), or the longest silence (rbe)."""
    deadband: float
    resolution: float
    mode: Literal["poll", "rbe"]
    rollover: float | None
    """A totaliser counts from 0 up to, but not including, this."""
    scan_s: int
    """How often the device looks at its instrument; equals `interval_s` for a polled tag."""


@dataclass(frozen=True, slots=True)
class SimWell:
    """One well: who owns it, how it is lifted, where it stands, and over what it is read."""

    name: str
    tenant: str
    lift_type: LiftType
    route: str
    timezone: str
    contract_hour: int
    api_number: str
    protocol: WireProtocol
    connection: str
    """Name of its connection, such as `opcua-1`; the wells of one connection freeze together."""
    tags: tuple[SimTag, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One planted fault: what happens to which tags of a well between two moments of its device's sending."""

    fault_id: str
    kind: FaultKind
    well: int
    tags: tuple[int, ...]
    start_us: int
    """First moment at which it shows."""
    end_us: int
    """First moment at which it does not."""
    parameters: dict[str, float | str] = field(default_factory=dict)
