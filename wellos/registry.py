"""Tenants, wells, connections and tags, as the ingest process and the queries see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["Connection", "Mode", "Protocol", "Tag"]

Protocol = Literal["opcua", "modbus", "mqtt"]
Mode = Literal["poll", "rbe"]
LiftType = Literal["flowing", "rod_pump", "esp", "gas_lift", "plunger"]


@dataclass(frozen=True, slots=True)
class Tag:
    """One measured quantity of one well, and where a connection finds it.

    `value = raw * scale + offset`. `low` and `high` are the instrument's range in `unit`; a reading outside is BAD.
    `interval_s` is the expected time between readings (poll) or the longest silence (report by exception).
    """

    tag_id: int
    tenant_id: UUID
    well: str
    name: str
    address: str
    unit: str | None = None
    quantity: str | None = None
    """Kind of measurement (`pressure`, `temperature`, `rate`, `fraction`, `current`, `total`, ...): physical limits."""
    scale: float = 1.0
    offset: float = 0.0
    deadband: float = 0.0
    low: float | None = None
    high: float | None = None
    interval_s: float = 15.0
    mode: Mode = "poll"
    sentinels: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Connection:
    """One device, server or broker subscription, and the tags that come over it."""

    connection_id: int
    tenant_id: UUID
    tenant: str
    name: str
    protocol: Protocol
    config: dict[str, Any] = field(repr=False)
    """Validated by the protocol's model in `wellos.protocols`; hidden in `repr` as it may hold a password."""
    tags: tuple[Tag, ...] = ()
    enabled: bool = True
