"""One module a protocol, registered in one literal map."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from streaming.delivery import Adapter

__all__ = ["ADAPTERS", "adapter_class"]

ADAPTERS = {
    "opcua": "streaming.adapters.opcua:OpcUaAdapter",
    "modbus": "streaming.adapters.modbus:ModbusAdapter",
    "mqtt": "streaming.adapters.mqtt:MqttAdapter",
}


def adapter_class(protocol: str) -> type[Adapter]:
    """Import the adapter of a protocol; KeyError for one that is not in the map."""
    module, _, name = ADAPTERS[protocol].partition(":")
    return cast("type[Adapter]", getattr(import_module(module), name))
