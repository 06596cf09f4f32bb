"""The entries of a fleet file, each a frozen value with its defaults; their descriptions document the file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from wellos.registry import LiftType, Mode, Protocol  # noqa: TC001 - pydantic reads them at run time
from wellos.telemetry import Metric  # noqa: TC001 - the same
from wellos.validation import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ConnectionEntry",
    "Entry",
    "Fleet",
    "FleetConnection",
    "FleetTenant",
    "TagEntry",
    "TenantEntry",
    "WellEntry",
    "written",
]

_API_DIGITS = (10, 12, 14)


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _zone(text: str) -> str:
    if text not in _zones():
        raise ValueError(f"is not an IANA time zone | {did_you_mean(text, sorted(_zones()))}")
    return text


def _plain(text: str) -> str:
    if text != text.strip() or not text.isprintable():
        raise ValueError("has spaces around it, or characters that cannot be seen | Remove them")
    return text


def _slug(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", text):
        raise ValueError("must be a-z, 0-9 and _, begin with a letter, at most 31 | E.g. permian_west")
    return text


def _scale(number: float) -> float:
    if number == 0:
        raise ValueError("must not be 0, which would make every value the same | Leave it out for 1")
    return number


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain)]


class Entry(BaseModel):
    """One mapping of the fleet file: types are strict, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TenantEntry(Entry):
    """An operating company: its wells and data are seen by nobody else."""

    slug: Annotated[str, AfterValidator(_slug)] = Field(
        description="Short name used in keys and channels; never changes."
    )
    name: Name = Field(description="Full name.")


class WellEntry(Entry):
    """One well."""

    name: Name = Field(description="Name in the field, unique in the tenant; another name is another well.")
    api_number: Name | None = Field(None, description="API well number (10, 12 or 14 digits) or another identifier.")
    lift_type: LiftType = Field(description="How it is lifted.")
    route: Name | None = Field(None, description="The pumper's route.")
    timezone: Annotated[str, AfterValidator(_zone)] = Field("UTC", description="IANA time zone of the well.")
    contract_hour: int = Field(6, ge=0, le=23, description="Local hour at which the production day begins.")


class ConnectionEntry(Entry):
    """One device, server or broker subscription."""

    name: Name = Field(description="Name, unique in the tenant.")
    protocol: Protocol = Field(description="What it speaks; decides the fields of `config` and the form of addresses.")
    enabled: bool = Field(default=True, description="Whether ingest reads it.")
    config: dict[str, Any] = Field(description="Settings of the protocol.", repr=False)


class TagEntry(Entry):
    """One measured quantity of one well. `value = raw * scale + offset`."""

    name: Name = Field(description="Name, unique in the well.")
    well: str = Field(description="Name of a well of the same tenant.")
    address: str = Field(
        "",
        description="Where the connection finds it; the form depends on the protocol. Required, but for an MQTT "
        "connection with `topics`.",
    )
    unit: str | None = Field(None, description="Unit of the value after scale and offset.")
    quantity: str | None = Field(None, description="Kind of measurement; sets the physical limits.")
    metric: Metric | None = Field(
        None,
        description="What it measures of its well, for `telemetry_hourly` and the like, once a well; unset: what its "
        "name says; `none`: nothing, whatever its name.",
    )
    scale: Annotated[float, AfterValidator(_scale)] = Field(1.0, description="Factor on the raw value.")
    offset: float = Field(0.0, description="Added after the factor.")
    deadband: float = Field(0.0, ge=0, description="Least change that the device reports.")
    resolution: float | None = Field(None, gt=0, description="Least step of the instrument.")
    low: float | None = Field(None, description="Lower end of the instrument's range; a reading below is BAD.")
    high: float | None = Field(None, description="Upper end of the instrument's range; a reading above is BAD.")
    interval_s: float = Field(
        15.0, gt=0, le=31 * 86_400, description="Seconds between readings (`poll`), or the longest silence (`rbe`)."
    )
    mode: Mode = Field("poll", description="`poll`: regular; `rbe`: report by exception.")
    sentinels: Annotated[tuple[float, ...], Field(strict=False)] = Field(
        (), description="Values by which the device says that it has none, such as -9999: stored as BAD."
    )


@dataclass(frozen=True, slots=True)
class FleetConnection:
    """A connection and its tags."""

    entry: ConnectionEntry
    tags: tuple[TagEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetTenant:
    """A tenant, its wells and its connections."""

    entry: TenantEntry
    wells: tuple[WellEntry, ...] = ()
    connections: tuple[FleetConnection, ...] = ()


@dataclass(frozen=True, slots=True)
class Fleet:
    """A checked fleet file."""

    tenants: tuple[FleetTenant, ...] = field(default=())

    def counts(self) -> Mapping[Literal["tenants", "wells", "connections", "tags"], int]:
        """How many of each it holds."""
        connections = [item for tenant in self.tenants for item in tenant.connections]
        return {
            "tenants": len(self.tenants),
            "wells": sum(len(tenant.wells) for tenant in self.tenants),
            "connections": len(connections),
            "tags": sum(len(item.tags) for item in connections),
        }


def written(entry: Entry) -> dict[str, Any]:
    """Return the fields worth writing down: the required ones, and those that differ from their defaults."""
    values = {name: getattr(entry, name) for name in type(entry).model_fields}
    fields = type(entry).model_fields
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if fields[name].is_required() or value != fields[name].default
    }


def api_number_remark(text: str) -> str | None:
    """Return what looks wrong with an API well number; None for another identifier or a good one."""
    digits = text.replace("-", "")
    if not digits.isdigit() or len(digits) in _API_DIGITS:
        return None
    return f"has {len(digits)} digits; an API well number has 10, 12 or 14"
