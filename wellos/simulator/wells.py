"""The roster of a simulated field: names, lift types, zones, routes, and how each well is read."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from wellos.errors import ConfigurationError, Problem
from wellos.simulator import noise
from wellos.simulator.instruments import furnish
from wellos.simulator.model import SimTag, SimWell

if TYPE_CHECKING:
    from wellos.simulator.behaviour import WellBehaviour
    from wellos.simulator.instruments import Instrument
    from wellos.simulator.model import LiftType, WireProtocol

__all__ = ["HEARTBEAT_S", "MOST_TAGS", "MOST_WELLS", "TENANT", "RosterWell", "roster"]

TENANT = "permian"
MOST_WELLS, MOST_TAGS = 500, 50
HEARTBEAT_S = 300
"""Longest silence of an instrument that reports by exception; a multiple of every scan."""

_WELLS_A_CONNECTION = 50
_PATTERN: tuple[tuple[WireProtocol, LiftType], ...] = (
    ("opcua", "rod_pump"),
    ("opcua", "esp"),
    ("opcua", "gas_lift"),
    ("opcua", "flowing"),
    ("modbus", "rod_pump"),
    ("modbus", "esp"),
    ("modbus", "rod_pump"),
    ("modbus", "gas_lift"),
    ("mqtt", "rod_pump"),
    ("mqtt", "flowing"),
    ("sparkplug", "esp"),
    ("sparkplug", "rod_pump"),
)
_ROUTES = (("Midland North", "America/Chicago", "42-329"), ("Reeves South", "America/Chicago", "42-389"),
           ("Lea West", "America/Denver", "30-025"))  # fmt: skip

RosterWell = tuple[SimWell, "WellBehaviour", tuple["Instrument", ...]]
"""What the platform sees of a well, how it behaves, and its instruments in the order of its tags."""


def roster(seed: int, wells: int, tags: int | None) -> tuple[RosterWell, ...]:
    """Return the field's wells; `tags` a well, or what its lift type has when None."""
    problems = [
        Problem(f"{name} must be from 1 to {most}", f"Ask for at most {most}.", field=name, value=value)
        for name, value, most in (("wells", wells, MOST_WELLS), ("tags", tags, MOST_TAGS))
        if value is not None and not 1 <= value <= most
    ]
    if problems:
        raise ConfigurationError(problems)
    seen: dict[str, int] = {}
    return tuple(_well(seed, number, tags, seen) for number in range(wells))


def _well(seed: int, number: int, tags: int | None, seen: dict[str, int]) -> RosterWell:
    protocol, lift = _PATTERN[number % len(_PATTERN)]
    ordinal = seen[protocol] = seen.get(protocol, -1) + 1
    name = f"PB-{number + 1:03d}"
    behaviour, instruments = furnish(lift, seed, noise.key(seed, name))
    fitted = tuple(islice(instruments, _usual(lift) if tags is None else tags))
    route, zone, county = _ROUTES[number % len(_ROUTES)]
    by_exception = protocol in {"opcua", "sparkplug"}
    well = SimWell(
        name=name,
        tenant=TENANT,
        lift_type=lift,
        route=route,
        timezone=zone,
        contract_hour=6,
        api_number=f"{county}-{40001 + 17 * number}",
        protocol=protocol,
        connection=f"{protocol}-{ordinal // _WELLS_A_CONNECTION + 1}",
        tags=tuple(_tag(instrument, by_exception) for instrument in fitted),
    )
    return well, behaviour, fitted


def _usual(lift: LiftType) -> int:
    return {"rod_pump": 16, "esp": 17, "gas_lift": 14, "flowing": 14}[lift]


def _tag(instrument: Instrument, by_exception: bool) -> SimTag:
    return SimTag(
        name=instrument.name,
        unit=instrument.unit,
        quantity=instrument.quantity,
        low=0.0,
        high=instrument.high,
        interval_s=HEARTBEAT_S if by_exception else instrument.scan_s,
        deadband=instrument.deadband if by_exception else 0.0,
        resolution=instrument.resolution,
        mode="rbe" if by_exception else "poll",
        rollover=instrument.rollover,
        scan_s=instrument.scan_s,
    )
