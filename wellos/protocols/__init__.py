"""Industrial protocols: what the fleet file says of each, shared by the simulator, the fleet tools and ingest."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from wellos.protocols import modbus, mqtt, opcua
from wellos.protocols.modbus import ModbusAddress, ModbusConfig
from wellos.protocols.mqtt import MqttAddress, MqttConfig, SparkplugAddress
from wellos.protocols.opcua import OpcUaAddress, OpcUaConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from wellos.protocols.config import ProtocolConfig

__all__ = ["CONFIGS", "Address", "address_parser"]

Address = OpcUaAddress | ModbusAddress | MqttAddress | SparkplugAddress

CONFIGS: dict[str, type[ProtocolConfig]] = {"opcua": OpcUaConfig, "modbus": ModbusConfig, "mqtt": MqttConfig}


def address_parser(config: ProtocolConfig) -> Callable[[str], Address]:
    """Return the parser of the addresses of a connection; it raises ConfigurationError."""
    if isinstance(config, MqttConfig):
        return partial(mqtt.parse_address, payload=config.payload)
    return modbus.parse_address if isinstance(config, ModbusConfig) else opcua.parse_address
