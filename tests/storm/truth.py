"""What the storm's sources send: every reading follows from its number, so that each stored one can be judged alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["BLOCK", "TAGS", "Plan", "Source", "fleet", "values_at"]

TAGS, BLOCK = 50, 25
"""Tags of a connection, and of one MQTT message."""
_STEP = 64
"""Value of tag j at tick k is 64 k + j: a value names the tag and the moment it belongs to."""
_WRAP = 1 << 24

Kind = Literal["mqtt", "modbus", "opcua"]


@dataclass(frozen=True, slots=True)
class Source:
    """One connection: its name, its protocol, and the microseconds between two ticks."""

    name: str
    kind: Kind
    period_us: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All sources, and the moment of tick 0 (microseconds, a whole second)."""

    sources: tuple[Source, ...]
    start_us: int

    @classmethod
    def of(cls, rate: int, start_us: int) -> Plan:
        """Split `rate` readings a second: a tenth over Modbus, a twentieth over OPC UA, the rest over MQTT."""
        polled, subscribed = max(1, rate // 10 // TAGS), max(1, rate // 20 // TAGS)
        messages = max(4, (rate - (polled + subscribed) * TAGS) // BLOCK)
        streams = max(1, min(8, messages // 10))
        sources = [Source(f"mqtt-{n}", "mqtt", 1_000_000 * streams // messages) for n in range(streams)]
        sources += [Source(f"modbus-{n}", "modbus", 1_000_000) for n in range(polled)]
        sources += [Source(f"opcua-{n}", "opcua", 1_000_000) for n in range(subscribed)]
        return cls(tuple(sources), start_us)

    def of_kind(self, kind: Kind) -> Iterator[Source]:
        """Return the sources of one protocol."""
        return (source for source in self.sources if source.kind == kind)


def values_at(ticks: NDArray[np.int64], tag: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """Return the values of tag `tag` (from 0) at these ticks."""
    return ((ticks * _STEP + tag) % _WRAP).astype(np.float64)


def fleet(plan: Plan, broker: str, modbus_ports: dict[str, int], opcua_urls: dict[str, str]) -> str:
    """Return the fleet file that reads all sources."""
    lines = ["version: 1", "tenants:", "  - slug: storm", "    name: Storm", "    wells:"]
    lines += [f"      - {{name: {source.name}, lift_type: flowing}}" for source in plan.sources]
    lines.append("    connections:")
    for source in plan.sources:
        config = {
            "mqtt": f'{{url: "{broker}"}}',
            "modbus": f"{{host: 127.0.0.1, port: {modbus_ports.get(source.name)}, timeout_s: 2}}",
            "opcua": f'{{url: "{opcua_urls.get(source.name)}", watchdog_s: 10, anonymous: true, '
            'security_mode: "None"}',
        }[source.kind]
        lines += [f"      - name: {source.name}", f"        protocol: {source.kind}", f"        config: {config}"]
        lines.append("        tags:")
        lines += [
            f'          - {{name: t{tag}, well: {source.name}, address: "{_address(source, tag)}", interval_s: 1}}'
            for tag in range(TAGS)
        ]
    return "\n".join(lines) + "\n"


def _address(source: Source, tag: int) -> str:
    if source.kind == "mqtt":
        return f"storm/{source.name}/{tag // BLOCK}#/t{tag}"
    if source.kind == "modbus":
        return f"1:holding:{2 * tag}:uint32"
    return f"nsu=urn:wellos:field;s={source.name}.t{tag}"
