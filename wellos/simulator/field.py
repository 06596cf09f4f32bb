"""The simulated oil field: what every device sends in any span of time, as a pure function of the seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["SimTag", "SimWell"]

LiftType = Literal["rod_pump", "esp", "gas_lift", "flowing"]
WireProtocol = Literal["opcua", "modbus", "mqtt", "sparkplug"]


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
    scan_s: float
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
    """Name of its connection, such as `opcua-1`; wells of one connection freeze together."""
    tags: tuple[SimTag, ...]
