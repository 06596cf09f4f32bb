"""Fixtures of the code location's tests: a small field in a database of its own, and a clock that stands still."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from tests.dagster.servers import Webserver, dagster_servers
from tests.fix_db import fresh_database
from wellos.settings import load_settings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from wellos.storage.warm import PgConnection

NOW = datetime(2026, 3, 10, 12, 0, 30, tzinfo=UTC)
FIELD = """
INSERT INTO tenants (slug, name) VALUES ('acme', 'Acme');
INSERT INTO wells (tenant_id, name, lift_type)
SELECT tenant_id, well, 'esp' FROM tenants, unnest(ARRAY['W-1', 'W-2']) AS well;
INSERT INTO scada_connections (tenant_id, name, protocol, config) SELECT tenant_id, 'plc', 'modbus', '{}' FROM tenants;
INSERT INTO tags (tenant_id, well_id, connection_id, name, address, interval_s)
SELECT tenant_id, well_id, connection_id, tag, tag, 60
FROM wells JOIN scada_connections USING (tenant_id), unnest(ARRAY['oil_rate', 'pressure']) AS tag
ORDER BY well_id, tag;
"""
READINGS = """
INSERT INTO readings (time, tag_id, value, quality)
SELECT time, tag_id,
       CASE WHEN i %% 50 = 0 THEN 'NaN' ELSE 100 * tag_id + 10 * sin(i / 7.0) - 0.1 * i END,
       CASE WHEN i %% 50 = 0 THEN 0 WHEN i %% 20 = 0 THEN 1 ELSE 2 END
FROM tags,
     (SELECT time, row_number() OVER () AS i
      FROM generate_series(%s::timestamptz, %s::timestamptz - '1 us'::interval, '1 minute') AS time) AS clock
"""


@pytest.fixture
def renew_graph(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--renew-graph", default=False))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-graph", action="store_true", help="write the asset graph that the snapshot test compares")


@pytest.fixture
def field(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[PgConnection]:
    """Two wells of two tags each; the settings name their database, and the platform's clock stands at NOW."""
    monkeypatch.setenv("WELLOS_DATABASE_URL", database_url)
    monkeypatch.setenv("WELLOS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("WELLOS_CLOCK", f"{NOW:%Y-%m-%dT%H:%M:%SZ}@{NOW:%Y-%m-%dT%H:%M:%SZ}*1e-12")
    with connect(load_settings(), autocommit=True) as connection:
        connection.execute(FIELD)
        yield connection


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance in memory."""
    with dg.DagsterInstance.ephemeral(settings={"telemetry": {"enabled": False}}) as instance:
        yield instance


@pytest.fixture
def instance_on_disk() -> Iterator[dg.DagsterInstance]:
    """An instance that a schedule can refer to."""
    with dg.DagsterInstance.local_temp(overrides={"telemetry": {"enabled": False}}) as instance:
        yield instance


@pytest.fixture(scope="session")
def webserver(
    database_server: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Webserver]:
    """The Dagster processes of `wellos up` over a field with three days of readings up to this minute."""
    folder = tmp_path_factory.mktemp("dagster")
    with (
        fresh_database(database_server, template_database) as url,
        fresh_database(database_server) as dagster_url,
        connect(load_settings(database_url=url), autocommit=True) as connection,
    ):
        connection.execute(FIELD)
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        add_readings(connection, now - timedelta(days=3), now)
        with dagster_servers(folder, database_url=url, dagster_database_url=dagster_url) as server:
            yield server


def rows(value: dg.MetadataValue[Any]) -> list[Mapping[str, Any]]:
    """The rows of a table in metadata."""
    assert isinstance(value, dg.TableMetadataValue)
    return [record.data for record in value.records]


def add_readings(db: PgConnection, start: datetime, end: datetime) -> None:
    """One reading a minute of every tag: every fiftieth BAD without a value, other twentieths UNCERTAIN."""
    db.execute(
        "SELECT ensure_readings_partitions(array_agg(day::date)) "
        "FROM generate_series(%s::date, %s::date, '1 day') AS day",
        [start, end],
    )
    db.execute(READINGS, [start, end])


def spoil(db: PgConnection, relation: str) -> None:
    """Make every stored bucket of an aggregate wrong, behind the back of what tracks changes."""
    ((table,),) = db.execute("SELECT aggregate_table(%s)::text", [relation]).fetchall()
    db.execute(f"UPDATE {table} SET n_good = n_good + 1")
