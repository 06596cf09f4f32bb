"""What the tiers hold, counted on a real database and Redis, and the command that says it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import redis
from click.testing import CliRunner

from tests.seed import add_readings, add_tags, at
from wellos import aggregates
from wellos.cli.tiers import tiers
from wellos.clock import WallClock
from wellos.settings import load_settings
from wellos.storage.warm import engine
from wellos.tiers.coverage import gaps
from wellos.tiers.hot import rebuild
from wellos.tiers.inventory import SHARED, take_stock

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

DAY = timedelta(days=1)


def fill(db: PgConnection, day: date, tag: int, count: int) -> None:
    db.execute("SELECT ensure_readings_partitions(ARRAY[%s])", [day])
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    add_readings(db, [(start + timedelta(seconds=7 * k), tag, float(k), 2) for k in range(count)])


def receipt(db: PgConnection, day: date, slug: str, rows: int, size: int, *, dropped: bool = False) -> None:
    """Book a verified receipt, as archiving does, and the drop of the day."""
    db.execute("INSERT INTO reading_days (day) VALUES (%s) ON CONFLICT DO NOTHING", [day])
    db.execute(
        "INSERT INTO archive_manifest (tenant_id, day, store, state, rows, checksum_a, checksum_b, connections, bytes, "
        "location, snapshot, cluster, watermark, started_at, verified_at, duration_s) "
        "SELECT tenant_id, %s, 'parquet', 'verified', %s, 0, 0, '{}', %s, 'x', pg_current_snapshot(), "
        "database_cluster(), now(), now(), now(), 1 FROM tenants WHERE slug = %s",
        [day, rows, size, slug],
    )
    if dropped:
        db.execute("DELETE FROM readings WHERE (time AT TIME ZONE 'UTC')::date = %s", [day])
        db.execute("UPDATE reading_days SET dropped_at = now() WHERE day = %s", [day])


@pytest.fixture
def two(db: PgConnection) -> tuple[int, int]:
    (acme,) = add_tags(db, slug="acme")
    (beta,) = add_tags(db, slug="beta")
    return acme, beta


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return load_settings(database_url=database_url, data_dir=tmp_path)


def test_each_tier_says_what_it_holds_of_each_tenant(
    db: PgConnection, settings: Settings, two: tuple[int, int]
) -> None:
    first, second = date(2026, 3, 1), date(2026, 3, 2)
    fill(db, first, two[0], 900)
    fill(db, second, two[0], 300)
    fill(db, second, two[1], 100)
    aggregates.refresh_stale(db)
    receipt(db, first, "acme", 900, 1800, dropped=True)
    receipt(db, first, "beta", 0, 90)
    receipt(db, second, "beta", 100, 250)
    found = {(item.tier, item.tenant): item for item in take_stock(db, settings).holdings}
    assert found["warm", "acme"].rows == 300, "the day that was dropped is not in the warm tier"
    assert found["warm", "beta"].rows == 100
    assert found["warm", "acme"].bytes == pytest.approx(3 * found["warm", "beta"].bytes, abs=3)
    assert (found["warm", "acme"].oldest, found["warm", "acme"].newest) == (
        at("2026-03-02 00:00"),
        at("2026-03-03 00:00"),
    )
    assert (found["cold", "acme"].rows, found["cold", "acme"].bytes) == (900, 1800)
    assert found["cold", "acme"].ratio == 13
    assert found["cold", "beta"].rows == 100
    assert found["cold", "beta"].oldest == at("2026-03-02 00:00"), "an empty day holds nothing"
    assert found["aggregates", SHARED].bytes > 0
    assert found["cold", "acme"].monthly_cost == pytest.approx(1800 / (1 << 30) * settings.price_cold_gib_month)


def test_what_comes_for_a_dropped_day_is_in_the_warm_tier(
    db: PgConnection, settings: Settings, two: tuple[int, int]
) -> None:
    day = date(2026, 3, 1)
    fill(db, day, two[0], 900)
    aggregates.refresh_stale(db)
    receipt(db, day, "acme", 900, 1800, dropped=True)
    fill(db, day, two[0], 5)
    stock = take_stock(db, settings)
    assert [(item.tenant, item.rows) for item in stock.warm] == [("acme", 5)]
    assert stock.total("cold") == (900, 1800)


def test_the_hot_tier_is_counted_by_redis_itself(
    db: PgConnection, settings: Settings, two: tuple[int, int], redis_url: str
) -> None:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    db.execute("SELECT ensure_readings_partitions(ARRAY[%s::date, %s::date])", [start, start + DAY])
    add_readings(db, [(start + timedelta(seconds=k), tag, 1.5, 2) for k in range(60) for tag in two])
    with redis.Redis.from_url(redis_url) as client:
        rebuild(client, db, settings, WallClock())
        stock = take_stock(db, settings, client)
    found = {item.tenant: item for item in stock.holdings if item.tier == "hot"}
    assert {tenant: item.rows for tenant, item in found.items()} == {"acme": 60, "beta": 60}
    assert (found["acme"].oldest, found["acme"].newest) == (start, start + timedelta(hours=1))
    assert found["acme"].bytes == found["beta"].bytes > 0
    assert stock.remarks == ()


def test_an_empty_database_holds_nothing(db: PgConnection, settings: Settings) -> None:
    stock = take_stock(db, settings)
    assert stock.total("warm")[0] == stock.total("cold")[0] == 0
    assert "Redis" in stock.remarks[0]


def test_the_command_tells_and_draws(
    db: PgConnection, settings: Settings, two: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert settings.database_url is not None
    monkeypatch.setenv("WELLOS_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("WELLOS_DATA_DIR", str(tmp_path))
    yesterday = (WallClock().now() - DAY).date()
    fill(db, yesterday, two[0], 500)
    aggregates.refresh_stale(db)
    picture = tmp_path / "tiers.png"
    found = CliRunner().invoke(tiers, ["--plot", str(picture)])
    assert found.exit_code == 0, found.output
    assert "warm" in found.output
    assert "with nothing archived" in found.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    said = json.loads(CliRunner().invoke(tiers, ["--json"]).stdout)
    assert said["growth"] == {"rows_per_day": 500.0, "days": 1}
    assert [item["rows"] for item in said["holdings"] if item["tier"] == "warm" and item["tenant"] == "acme"] == [500]
    assert len(said["months"]) == 13
    refused = CliRunner().invoke(tiers, ["--plot", str(tmp_path / "none" / "tiers.png")])
    assert "--plot" in str(refused.exception)


def test_a_day_that_is_in_no_tier_is_found(db: PgConnection, two: tuple[int, int]) -> None:
    days = [date(2026, 3, day) for day in range(1, 6)]
    for day in days:
        fill(db, day, two[0], 50)
        fill(db, day, two[1], 10)
    aggregates.refresh_stale(db)
    now = at("2026-03-05 12:00")
    assert gaps(db, "parquet", now) == []
    receipt(db, days[0], "acme", 50, 100)
    receipt(db, days[0], "beta", 10, 20, dropped=True)
    assert gaps(db, "parquet", now) == []
    assert [gap.tenant for gap in gaps(db, "bigquery", now)] == ["acme", "beta"], "the receipts are of another store"

    receipt(db, days[1], "acme", 49, 100)
    receipt(db, days[1], "beta", 10, 20, dropped=True)
    receipt(db, days[2], "acme", 50, 100, dropped=True)
    drop_behind_our_back(db, days[3])
    found = {(gap.tenant, gap.day.day): gap.reason for gap in gaps(db, "parquet", now)}
    assert set(found) == {("acme", 2), ("beta", 3), ("acme", 4), ("beta", 4)}
    assert "50 readings, its receipt 49" in found["acme", 2]
    assert "no receipt is in force" in found["beta", 3]
    assert "although the day was not dropped" in found["acme", 4]


def drop_behind_our_back(db: PgConnection, day: date) -> None:
    """Drop the chunk or partition of a day, as a retention policy would."""
    if engine(db) == "timescale":
        db.execute("SELECT drop_chunks('readings', older_than => %s::date + 1, newer_than => %s::date)", [day, day])
    else:
        db.execute(f"DROP TABLE readings_{day:%Y%m%d}")
