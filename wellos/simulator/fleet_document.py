"""The fleet file of a simulated field: what its owner would write to have it read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wellos.simulator.addresses import NAMESPACE, mqtt_topic, node_id, register_map, sparkplug_node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wellos.simulator.addresses import Register
    from wellos.simulator.field import Field
    from wellos.simulator.model import SimTag, SimWell, WireProtocol

__all__ = ["Addresses", "fleet_document"]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the simulator's servers listen, as ingest reaches them."""

    opcua_url: str
    modbus_host: str
    modbus_port: int
    mqtt_url: str
    """Without user or password."""
    mqtt_credentials: Mapping[str, str] = field(default_factory=dict)
    """`user` and `password` as the fleet file writes them, such as `${NAME}`."""


def fleet_document(field: Field, addresses: Addresses) -> dict[str, Any]:
    """Return the fleet file as plain data, ready for YAML."""
    tenants = dict.fromkeys(well.tenant for well in field.wells)
    return {"version": 1, "tenants": [_tenant(field, addresses, tenant) for tenant in tenants]}


def _tenant(field: Field, addresses: Addresses, tenant: str) -> dict[str, Any]:
    wells = [well for well in field.wells if well.tenant == tenant]
    names = dict.fromkeys((well.connection, well.protocol) for well in wells)
    return {
        "slug": tenant,
        "name": f"{tenant.title()} Operating",
        "wells": [_well(well) for well in wells],
        "connections": [
            {
                "name": name,
                "protocol": "mqtt" if protocol == "sparkplug" else protocol,
                "config": _config(protocol, addresses),
                "tags": list(_tags(field, name)),
            }
            for name, protocol in names
        ],
    }


def _well(well: SimWell) -> dict[str, Any]:
    names = ("name", "api_number", "lift_type", "route", "timezone", "contract_hour")
    return {name: getattr(well, name) for name in names}


def _config(protocol: WireProtocol, addresses: Addresses) -> dict[str, Any]:
    if protocol == "opcua":
        return {"url": addresses.opcua_url, "anonymous": True, "security_mode": "None"}
    if protocol == "modbus":
        return {"host": addresses.modbus_host, "port": addresses.modbus_port}
    payload = "sparkplug" if protocol == "sparkplug" else "plain"
    return {"url": addresses.mqtt_url, "payload": payload, **addresses.mqtt_credentials}


def _tags(field: Field, connection: str) -> Iterator[dict[str, Any]]:
    registers = register_map(field)
    for number, well in enumerate(field.wells):
        if well.connection == connection:
            yield from (
                _tag(well, tag, registers[number][at] if number in registers else None)
                for at, tag in enumerate(well.tags)
            )


def _tag(well: SimWell, tag: SimTag, register: Register | None) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tag.name, "well": well.name, "address": _address(well, tag, register)}
    same = ("unit", "quantity", "deadband", "resolution", "low", "high", "interval_s", "mode")
    written |= {name: getattr(tag, name) for name in same}
    if register is not None:
        written |= {"scale": register.scale, "offset": register.offset}
        if register.sentinel is not None:
            written["sentinels"] = [register.sentinel]
    return written


def _address(well: SimWell, tag: SimTag, register: Register | None) -> str:
    if register is not None:
        return str(register.address)
    if well.protocol == "opcua":
        return f"nsu={NAMESPACE};s={node_id(well, tag)}"
    if well.protocol == "sparkplug":
        return f"{well.tenant}/{sparkplug_node(well)}/{well.name}:{tag.name}"
    return f"{mqtt_topic(well)}#/values/{tag.name}"
