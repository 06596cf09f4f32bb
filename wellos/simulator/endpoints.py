"""What the live field and the replay share: the options asked for, addresses as ingest reaches them, the fleet file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from wellos.embedded.server import reach
from wellos.errors import ConfigurationError, Problem
from wellos.files import replace_file
from wellos.simulator.fleet_document import Addresses

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from pydantic import SecretStr

    from wellos.settings import Settings
    from wellos.simulator.modbus_server import ModbusServer
    from wellos.simulator.opcua_server import OpcUaServer

__all__ = ["Options", "addresses_of", "broker_of", "described", "write_fleet"]


@dataclass(frozen=True, slots=True)
class Options:
    """What `wellos simulate` was asked for."""

    wells: int = 12
    tags: int | None = None
    seed: int = 1
    speed: float | None = None
    history: timedelta | None = None
    replay: Path | None = None
    zone: str = "America/Sao_Paulo"
    instances: str = "*"
    limit_rows: int | None = None
    fleet_out: Path | None = None
    truth: Path | None = None
    ready_file: Path | None = None


def broker_of(settings: Settings) -> SecretStr:
    """Return the broker's address; ConfigurationError if there is none."""
    if settings.mqtt_url is None:
        remedy = "Set it to mqtt://host:port, or start the embedded one with `wellos up`."
        raise ConfigurationError([Problem("no broker is set and none is running", remedy, field="WELLOS_MQTT_URL")])
    return settings.mqtt_url


def addresses_of(settings: Settings, opcua: OpcUaServer, modbus: ModbusServer, broker: SecretStr) -> Addresses:
    """Return where ingest reaches the servers; credentials of the broker as references to the environment."""
    host = reach(settings.host)
    parts = urlsplit(broker.get_secret_value())
    credentials = {"user": "${MQTT_USER}", "password": "${MQTT_PASSWORD}"} if parts.username else {}
    port = f":{parts.port}" if parts.port else ""
    url = f"{parts.scheme}://{parts.hostname}{port}"
    return Addresses(opcua.url.replace(settings.host, host, 1), host, modbus.port, url, credentials)


def write_fleet(path: Path, document: dict[str, Any]) -> None:
    """Write the fleet file, replacing it as a whole."""
    replace_file(path, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def described(addresses: Addresses, fleet_file: Path | None) -> dict[str, Any]:
    """Return the addresses as the ready file says them."""
    return {
        "opcua": addresses.opcua_url,
        "modbus": f"{addresses.modbus_host}:{addresses.modbus_port}",
        "mqtt": addresses.mqtt_url,
        "fleet_file": None if fleet_file is None else str(fleet_file.resolve()),
    }
