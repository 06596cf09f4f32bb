"""Every setting of the platform, typed, from the environment (`WELLOS_...`), then `.env`, then its default."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from wellos.clock import Clock, parse_clock
from wellos.embedded.state import read_addresses
from wellos.errors import ConfigurationError, Problem
from wellos.validation import did_you_mean, problems_of

__all__ = ["Settings", "load_settings", "origins"]

_PREFIX = "WELLOS_"
_ENV_FILE = ".env"
_TEST_ONLY = {"WELLOS_TEST_BIGQUERY_PROJECT", "WELLOS_TEST_DATABASE_URL", "WELLOS_NODE_MODULES"}


def _clock(text: str) -> str:
    try:
        parse_clock(text)
    except ConfigurationError as error:
        (problem,) = error.problems
        raise ValueError(f"{problem.message} | {problem.remedy}") from error
    return text


def _check_address(text: str, schemes: tuple[str, ...], example: str) -> None:
    try:
        parts = urlsplit(text)
        scheme, host = parts.scheme, parts.hostname
        # libpq takes several hosts with ports, and sockets: it reads the rest of such an address itself.
        port = None if scheme.startswith("postgres") else parts.port
    except ValueError:
        message = "is not an address, or has a port that is not a number up to 65535"
        raise ValueError(f"{message} | Write {example}, special characters in a password percent-encoded") from None
    if scheme not in schemes:
        raise ValueError(f"must begin with {' or '.join(f'{name}://' for name in schemes)} | Write {example}")
    if not scheme.startswith("postgres") and (not host or port == 0):
        raise ValueError(f"needs a host, and a port above 0 if any | Write {example}")


def _secret(*schemes: str, example: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        _check_address(value.get_secret_value(), schemes, example)
        return value

    return AfterValidator(check)


def _http(text: str) -> str:
    _check_address(text, ("http", "https"), "http://host:3000")
    return text


_Postgres = Annotated[SecretStr, _secret("postgresql", "postgres", example="postgresql://user:password@host:5432/db")]
_Redis = Annotated[SecretStr, _secret("redis", "rediss", example="redis://:password@host:6379/0")]
_Mqtt = Annotated[SecretStr, _secret("mqtt", "mqtts", example="mqtt://user:password@host:1883")]


class Settings(BaseSettings):
    """All settings; the name in the environment is `WELLOS_` and the field's name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_file=_ENV_FILE, extra="ignore", frozen=True, env_ignore_empty=True
    )

    data_dir: Path = Field(Path(".wellos"), description="Folder of everything the embedded stack and the spool keep.")
    clock: Annotated[str, AfterValidator(_clock)] = Field(
        "wall", description="Platform time: `wall`, or `START@ANCHOR*SPEED` (see `wellos.clock`)."
    )
    host: str = Field("127.0.0.1", description="Address that every server we start listens on.")

    database_url: _Postgres | None = Field(
        None, description="PostgreSQL or TimescaleDB, `postgresql://user:password@host:port/db`; unset: embedded."
    )
    dagster_database_url: _Postgres | None = Field(
        None, description="Dagster's own database; unset: `<database>_dagster` on the server of `WELLOS_DATABASE_URL`."
    )
    redis_url: _Redis | None = Field(None, description="Redis, `redis://:password@host:port/0`; unset: embedded.")
    mqtt_url: _Mqtt | None = Field(
        None, description="MQTT broker, `mqtt://user:password@host:port` or `mqtts://`; unset: embedded."
    )
    dagster_url: Annotated[str, AfterValidator(_http)] | None = Field(
        None, description="Dagster webserver, `http://host:port`; unset: embedded."
    )
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
        0, ge=0, le=65535, description="Port of ingest's /metrics, /livez, /readyz, or the next that is free; 0: any."
    )

    max_connections: int | None = Field(
        None, ge=1, description="Most connections that one ingest instance claims; unset: its fair share."
    )
    lease_s: float = Field(
        10, ge=1, le=600, description="Seconds without renewal after which another ingest instance takes over."
    )
    spool_quota_bytes: int = Field(8 << 30, ge=1 << 20, description="Most bytes the spool may hold on disk.")
    spool_keep_bytes: int = Field(
        1 << 30,
        ge=0,
        description="Most bytes of stored segments kept in case the database falls back; part of the quota.",
    )
    spool_keep_s: float = Field(
        3600, ge=0, description="How long a stored segment is kept in case the database falls back."
    )
    spool_segment_bytes: int = Field(64 << 20, ge=1 << 16, description="Size at which a spool segment is closed.")
    sink_batch_rows: int = Field(20_000, ge=1, description="Most readings in one COPY transaction.")
    future_tolerance_s: float = Field(60, ge=0, description="A source time further ahead than this is quarantined.")
    duplicate_window_s: float = Field(
        60, ge=0, description="How long ingest remembers a tag's readings to drop repeats."
    )
    late_after_s: float = Field(600, ge=0, description="A reading received this long after its source time is late.")

    roc_span_pct: float = Field(20, gt=0, description="Percent of its span that a pressure may change in a minute.")
    roc_temperature_f: float = Field(10, gt=0, description="Degrees Fahrenheit a temperature may change in a minute.")
    stuck_after_s: float = Field(1800, ge=60, description="A polled tag without a change for this long is stuck.")
    z_limit: float = Field(4, gt=0, description="Standard deviations from its last 24 h at which a tag is unusual.")
    skew_warn_s: float = Field(60, gt=0, description="A connection's clock may be off by this; 5 times it is an error.")

    hot_hours: int = Field(24, ge=1, description="Hours of readings kept in Redis.")
    compress_after_days: int = Field(7, ge=1, description="Age at which TimescaleDB compresses a chunk of readings.")
    raw_days: int = Field(
        90, ge=1, description="Age at which a day of readings may leave the warm tier, once archived."
    )
    aggregate_days: int = Field(730, ge=1, description="Age up to which aggregates are kept.")
    refresh_1min_s: int = Field(60, ge=10, description="How often `readings_1min` is refreshed in the background.")
    refresh_5min_s: int = Field(300, ge=10, description="The same of `readings_5min`.")
    refresh_1hour_s: int = Field(900, ge=10, description="The same of `readings_1hour` and `telemetry_hourly`.")
    refresh_1day_s: int = Field(3600, ge=10, description="The same of `readings_1day` and `telemetry_daily`.")

    archive_after_days: int = Field(
        2, ge=1, description="A day is archived when it has been over for so long; late data archives it again."
    )
    restore_keep_days: int = Field(7, ge=0, description="How long a restored day stays in the warm tier at least.")
    cold_dir: Path | None = Field(
        None, description="Folder of the Parquet archive; unset: `cold` in the data folder. Not used with BigQuery."
    )
    bigquery_project: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$",
        description="Google Cloud project of the archive, with Google's own credentials; unset: Parquet files.",
    )
    bigquery_location: str = Field("US", min_length=2, description="Location of datasets that are created.")
    bigquery_dataset_prefix: str = Field(
        "wellos_", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,60}$", description="A tenant's dataset is this and its slug."
    )
    bigquery_endpoint: Annotated[str, AfterValidator(_http)] | None = Field(
        None, description="Another address of the BigQuery API, `http://host:port`; unset: Google's."
    )
    bigquery_max_bytes_billed: int = Field(
        10 << 30, ge=10 << 20, description="Most bytes that one query may bill; more is refused before it runs."
    )

    cache_s: int = Field(300, ge=0, description="How long results of closed days stay in the cache; 0: no cache.")
    cache_manual_s: int = Field(3600, ge=0, description="The same of what pumpers wrote down.")
    query_max_rows: int = Field(
        1_000_000, ge=1, description="Most rows of one answer; a range that would give more is refused."
    )

    price_currency: str = Field("USD", min_length=1, max_length=8, description="Currency of the prices.")
    price_hot_gib_month: float = Field(8.0, ge=0, description="A GiB-month of Redis memory.")
    price_warm_gib_month: float = Field(0.15, ge=0, description="A GiB-month of the database's disk.")
    price_cold_gib_month: float = Field(0.02, ge=0, description="A GiB-month of the archive.")

    partitions_start: date = Field(
        date(2025, 1, 1),
        description="First daily partition in Dagster; older days are refreshed, but have no partition.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="`auto`: console on a terminal and for `wellos up`, else JSON."
    )

    def make_clock(self) -> Clock:
        """Return the platform's clock."""
        return parse_clock(self.clock)


@dataclass(frozen=True, slots=True)
class _Written:
    """Where a name of ours is set: in the environment, or on a line of a file."""

    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        return "environment" if self.file is None else f"{self.file}:{self.line}"


def load_settings(**overrides: object) -> Settings:
    """Read all settings; every unknown or wrong one is reported at once in a ConfigurationError.

    Where a platform runs on the data folder, whatever is set nowhere else, such as the addresses of its servers, is
    what that platform has chosen: `wellos` in another terminal finds it. An empty value counts as unset.
    """
    written, problems = _written()
    problems += _unknown(written)
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
        running = read_addresses(settings.data_dir)
        chosen = {name: value for name, value in running.items() if name not in settings.model_fields_set}
        if chosen:
            settings = Settings(**chosen, **overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        problems += [_placed(str(place[0]), problem, written) for place, problem in problems_of(error, Settings)]
    if problems:
        # Outside the handler: pydantic's own text, which repeats what was written, is not chained.
        raise ConfigurationError(problems)
    return settings


def origins(settings: Settings) -> dict[str, str]:
    """Return for each field where its value comes from: environment, FILE:LINE, running platform, default."""
    written, _ = _written()
    chosen = read_addresses(settings.data_dir)
    found = {}
    for field in Settings.model_fields:
        name = _PREFIX + field.upper()
        if name in written:
            found[field] = str(written[name])
        else:
            found[field] = "running platform" if field in chosen else "default"
    return found


def _written() -> tuple[dict[str, _Written], list[Problem]]:
    """Return where each name of ours is set (the environment wins), and the lines of `.env` that cannot be read."""
    written: dict[str, _Written] = {}
    problems: list[Problem] = []
    path = Path(_ENV_FILE)
    if path.is_file():
        with path.open(encoding="utf-8") as stream:
            for binding in parse_stream(stream):
                line = binding.original.line + len(binding.original.string) - len(binding.original.string.lstrip("\n"))
                if binding.error:
                    problems.append(Problem("is not NAME=value", "Correct the line.", file=_ENV_FILE, line=line))
                elif binding.key is not None and binding.value and _ours(binding.key):
                    written[binding.key.upper()] = _Written(_ENV_FILE, line)
    written.update({name.upper(): _Written() for name, value in os.environ.items() if value and _ours(name)})
    return written, problems


def _ours(name: str) -> bool:
    return name.upper().startswith(_PREFIX)


def _unknown(written: dict[str, _Written]) -> list[Problem]:
    known = [_PREFIX + name.upper() for name in Settings.model_fields]
    return [
        Problem("no such setting", did_you_mean(name, known), file=place.file, line=place.line, field=name)
        for name, place in sorted(written.items())
        if name not in known and name not in _TEST_ONLY
    ]


def _placed(field: str, problem: Problem, written: dict[str, _Written]) -> Problem:
    name = _PREFIX + field.upper()
    place = written.get(name, _Written())
    return replace(problem, file=place.file, line=place.line, field=name)
