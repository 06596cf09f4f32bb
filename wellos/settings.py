"""Every setting of the platform, typed, from the environment (`WELLOS_...`), then `.env`, then its default."""

from __future__ import annotations

import difflib
import os
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from wellos.clock import Clock, parse_clock
from wellos.embedded.state import read_addresses
from wellos.errors import ConfigurationError, Problem

__all__ = ["Settings", "load_settings"]

_PREFIX = "WELLOS_"
_TEST_ONLY = {"WELLOS_TEST_DATABASE_URL"}


class Settings(BaseSettings):
    """All settings; the name in the environment is `WELLOS_` and the field's name in capitals."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_file=".env", extra="ignore", frozen=True)

    data_dir: Path = Field(Path(".wellos"), description="Folder of everything the embedded stack and the spool keep.")
    clock: str = Field("wall", description="Platform time: `wall`, or `START@ANCHOR*SPEED` (see `wellos.clock`).")
    host: str = Field("127.0.0.1", description="Address that every server we start listens on.")

    database_url: SecretStr | None = Field(
        None, description="PostgreSQL or TimescaleDB, `postgresql://user:password@host:port/db`; unset: embedded."
    )
    dagster_database_url: SecretStr | None = Field(
        None, description="Dagster's own database; unset: `<database>_dagster` on the server of `WELLOS_DATABASE_URL`."
    )
    redis_url: SecretStr | None = Field(None, description="Redis, `redis://:password@host:port/0`; unset: embedded.")
    mqtt_url: SecretStr | None = Field(
        None, description="MQTT broker, `mqtt://user:password@host:port` or `mqtts://`; unset: embedded."
    )
    dagster_url: str | None = Field(None, description="Dagster webserver, `http://host:port`; unset: embedded.")
    fleet_file: Path | None = Field(None, description="Fleet file applied at start; unset: the simulator's.")

    postgres_port: int = Field(0, ge=0, le=65535, description="Port of the embedded PostgreSQL; 0: a free one.")
    redis_port: int = Field(0, ge=0, le=65535, description="Port of the embedded Redis; 0: a free one.")
    redis_maxmemory: str | None = Field(
        None, pattern=r"^\d+(kb|mb|gb)?$", description="Most memory of the embedded Redis, e.g. `2gb`; unset: no limit."
    )
    mqtt_port: int = Field(0, ge=0, le=65535, description="Port of the embedded MQTT broker; 0: a free one.")
    opcua_port: int = Field(0, ge=0, le=65535, description="Port of the simulated OPC UA server; 0: a free one.")
    modbus_port: int = Field(0, ge=0, le=65535, description="Port of the simulated Modbus server; 0: a free one.")
    dagster_port: int = Field(
        0, ge=0, le=65535, description="Port of the Dagster UI; 0: 3000 if free, else a free one."
    )
    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of ingest's /metrics, /livez, /readyz; 0: a free one."
    )

    spool_quota_bytes: int = Field(8 << 30, ge=1 << 20, description="Most bytes the spool may hold on disk.")
    spool_segment_bytes: int = Field(64 << 20, ge=1 << 16, description="Size at which a spool segment is closed.")
    sink_batch_rows: int = Field(20_000, ge=1, description="Most readings in one COPY transaction.")
    future_tolerance_s: float = Field(60, ge=0, description="A source time further ahead than this is quarantined.")
    duplicate_window_s: float = Field(
        60, ge=0, description="How long ingest remembers a tag's readings to drop repeats."
    )
    late_after_s: float = Field(600, ge=0, description="A reading received this long after its source time is late.")

    hot_hours: int = Field(24, ge=1, description="Hours of readings kept in Redis.")
    compress_after_days: int = Field(7, ge=1, description="Age at which TimescaleDB compresses a chunk of readings.")
    raw_days: int = Field(90, ge=1, description="Age up to which readings stay in the warm tier.")
    aggregate_days: int = Field(730, ge=1, description="Age up to which aggregates are kept.")

    partitions_start: date = Field(
        date(2025, 1, 1),
        description="First daily partition in Dagster; older days are refreshed, but have no partition.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="`auto`: console on a terminal, else JSON."
    )

    def make_clock(self) -> Clock:
        """Return the platform's clock."""
        return parse_clock(self.clock)


def load_settings(**overrides: object) -> Settings:
    """Read all settings; every unknown or wrong one is reported at once in a ConfigurationError.

    Where a platform runs on the data folder, whatever is set nowhere else, such as the addresses of its servers, is
    what that platform has chosen: `wellos` in another terminal finds it.
    """
    problems = _unknown_names()
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
        running = read_addresses(settings.data_dir)
        chosen = {name: value for name, value in running.items() if name not in settings.model_fields_set}
        if chosen:
            settings = Settings(**chosen, **overrides)  # type: ignore[arg-type]
        settings.make_clock()
    except ValidationError as error:
        for item in error.errors():
            name = _PREFIX + str(item["loc"][0]).upper()
            secret = name.endswith("_URL")
            value = None if secret else item["input"]
            problems.append(
                Problem(item["msg"], f"See `wellos settings` for what {name} takes.", field=name, value=value)
            )
    except ConfigurationError as error:
        problems.extend(error.problems)
    if problems:
        raise ConfigurationError(problems)
    return settings


def _unknown_names() -> list[Problem]:
    known = {_PREFIX + name.upper() for name in Settings.model_fields} | _TEST_ONLY
    problems = []
    for name in sorted(os.environ):
        if name.startswith(_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            remedy = f"Did you mean {near[0]}?" if near else "Unset it; `wellos settings` lists the known ones."
            problems.append(Problem("no such setting", remedy, field=name))
    return problems
