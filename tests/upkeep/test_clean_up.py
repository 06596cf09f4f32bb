"""The clean-up removes what nobody needs, and nothing else."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import psycopg
import pytest
import redis

from tests.dagster.servers import dagster_environment
from tests.seed import add_tags
from wellos.clock import WallClock
from wellos.settings import load_settings
from wellos.spool_format import CURSOR_SLOT, encode_cursor
from wellos.upkeep import dagster as dagster_upkeep
from wellos.upkeep.platform import clean_cache, clean_changes, stale_segments

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.storage.cold import StoreName
    from wellos.storage.warm import PgConnection

DAY = date(2026, 3, 1)
SETTINGS = load_settings(cache_s=300)


def change(db: PgConnection, *, days_ago: float = 30) -> int:
    """Note a change of the day in a transaction of its own."""
    db.execute("INSERT INTO reading_days (day) VALUES (%s) ON CONFLICT DO NOTHING", [DAY])
    moment = WallClock().now() - timedelta(days=days_ago)
    row = db.execute(
        "INSERT INTO reading_changes (day, noted_at) VALUES (%s, %s) RETURNING change_id", [DAY, moment]
    ).fetchone()
    assert row is not None
    return int(row[0])


def receipt(db: PgConnection, slug: str, *, state: str = "verified", store: StoreName = "parquet") -> None:
    """Book an attempt whose snapshot is of now."""
    db.execute("INSERT INTO reading_days (day) VALUES (%s) ON CONFLICT DO NOTHING", [DAY])
    db.execute(
        "INSERT INTO archive_manifest (tenant_id, day, store, state, rows, checksum_a, checksum_b, connections, bytes, "
        "location, snapshot, cluster, watermark, started_at, verified_at, duration_s) "
        "SELECT tenant_id, %s, %s, %s, 0, 0, 0, '{}', 0, 'x', pg_current_snapshot(), database_cluster(), now(), now(), "
        "now(), 1 FROM tenants WHERE slug = %s",
        [DAY, store, state, slug],
    )


def changes(db: PgConnection) -> list[int]:
    return [row[0] for row in db.execute("SELECT change_id FROM reading_changes ORDER BY 1")]


def stale(db: PgConnection) -> list[bool]:
    return [row[0] for row in db.execute("SELECT stale FROM archive_receipts ORDER BY tenant")]


@pytest.fixture
def two(db: PgConnection) -> PgConnection:
    add_tags(db, slug="acme")
    add_tags(db, slug="beta")
    return db


def test_changes_that_every_copy_has_seen_go_but_the_newest(two: PgConnection) -> None:
    seen = [change(two) for _ in range(3)]
    receipt(two, "acme")
    receipt(two, "beta")
    assert clean_changes(two, SETTINGS) == 2
    assert changes(two) == seen[-1:]
    assert stale(two) == [False, False]


def test_a_change_that_one_copy_has_not_seen_stays(two: PgConnection) -> None:
    old = [change(two) for _ in range(2)]
    receipt(two, "acme")
    late = [change(two) for _ in range(2)]
    receipt(two, "beta")
    newest = change(two)
    assert stale(two) == [True, True]
    assert clean_changes(two, SETTINGS) == len(old)
    assert changes(two) == [*late, newest]
    assert stale(two) == [True, True]


def test_changes_from_another_cluster_stay_until_a_copy_has_seen_them(two: PgConnection) -> None:
    old = [change(two) for _ in range(3)]
    receipt(two, "acme")
    two.execute("UPDATE reading_changes SET xid = '4', cluster = 'another'")
    assert clean_changes(two, SETTINGS) == 0
    two.execute("UPDATE reading_changes SET xid = '900000000'")
    two.execute("UPDATE archive_manifest SET state = 'replaced'")
    two.execute("CALL watch_days(%s)", ([DAY],))
    receipt(two, "acme")
    assert clean_changes(two, SETTINGS) == 2
    assert changes(two) == old[-1:]
    assert stale(two) == [False]


@pytest.mark.parametrize("state", ["quarantined", "writing"])
def test_a_copy_that_may_come_back_into_force_counts(two: PgConnection, state: str) -> None:
    receipt(two, "acme", state=state)
    kept = [change(two), change(two)]
    receipt(two, "beta")
    assert clean_changes(two, SETTINGS) == 0
    assert changes(two) == kept


def test_young_changes_and_days_without_a_copy_stay(two: PgConnection) -> None:
    kept = [change(two), change(two)]
    assert clean_changes(two, SETTINGS) == 0
    assert changes(two) == kept
    two.execute("DELETE FROM reading_changes")
    kept = [change(two, days_ago=1), change(two, days_ago=1)]
    receipt(two, "acme")
    assert clean_changes(two, SETTINGS) == 0
    assert changes(two) == kept
    assert clean_changes(two, load_settings(cache_s=0, cache_manual_s=0)) == 0


def test_keys_of_the_cache_without_an_end_go(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("wellos:cache:part:a", "x", ex=300)
        client.set("wellos:cache:part:b", "x")
        client.hset("wellos:cache:stats", mapping={"hits": 1})
        client.set("other", "x")
        found = clean_cache(client)
        assert (found.keys, found.removed) == (1, 1)
        left = {str(key, "utf-8") for key in client.scan_iter()}
    assert left == {"wellos:cache:part:a", "wellos:cache:stats", "other"}


def test_segments_that_ingest_left_behind_are_counted_and_kept(tmp_path: Path) -> None:
    assert stale_segments(tmp_path / "spool", SETTINGS).count == 0
    folder = tmp_path / "spool"
    folder.mkdir()
    for number, first in enumerate((1, 11, 21), 1):
        (folder / f"{number:08}-{first}.seg").write_bytes(b"x" * 10)
    week_ago = WallClock().now().timestamp() - 7 * 86_400
    for path in folder.iterdir():
        os.utime(path, (week_ago, week_ago))
    assert stale_segments(folder, SETTINGS).count == 0, "nothing is stored"
    (folder / "cursor").write_bytes(encode_cursor(1, 15).ljust(2 * CURSOR_SLOT, b"\0"))
    found = stale_segments(folder, SETTINGS)
    assert (found.count, found.bytes) == (1, 10)
    assert len(list(folder.glob("*.seg"))) == 3


@pytest.fixture
def instance(empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    for name, value in dagster_environment(tmp_path, empty_database_url).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


@dg.asset
def logged() -> dg.MaterializeResult[None]:
    dg.get_dagster_logger().info("a line that nobody needs in a year")
    return dg.MaterializeResult(metadata={"rows": 3})


@dg.asset_check(asset=logged)
def sound() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def test_old_log_lines_of_runs_go_and_what_became_of_assets_stays(
    instance: dg.DagsterInstance, empty_database_url: str
) -> None:
    result = dg.materialize([logged, sound], instance=instance)
    assert result.success
    key = dg.AssetKey("logged")
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        now = datetime.now(UTC)
        nothing = dagster_upkeep.clean(conn, now)
        assert (nothing.events, nothing.ticks) == (0, 0)
        later = now + timedelta(days=dagster_upkeep.EVENT_DAYS + 1)
        found = dagster_upkeep.clean(conn, later)
        assert found.events > 5
        assert found.events_left == nothing.events_left - found.events
        assert dagster_upkeep.clean(conn, later).events == 0
    assert instance.get_latest_materialization_event(key) is not None
    assert instance.get_runs_count() == 1
    kinds = {entry.dagster_event_type for entry in instance.all_logs(result.run_id)}
    assert kinds >= {
        dg.DagsterEventType.RUN_START,
        dg.DagsterEventType.RUN_SUCCESS,
        dg.DagsterEventType.STEP_SUCCESS,
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    }
    assert None not in kinds, "the line that was logged"
    assert dg.DagsterEventType.ENGINE_EVENT not in kinds
    history = instance.event_log_storage.get_asset_check_execution_history(sound.check_key, limit=5)
    assert [row.evaluation.passed for row in history if row.evaluation] == [True]


def test_old_ticks_go_but_the_newest_of_each(instance: dg.DagsterInstance, empty_database_url: str) -> None:
    assert instance.is_persistent
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        now = datetime(2026, 3, 1)  # noqa: DTZ001 - as Dagster keeps it
        for name in ("one", "two"):
            for age in (100, 50, 40):
                conn.execute(
                    "INSERT INTO job_ticks (job_origin_id, selector_id, status, type, timestamp, tick_body) "
                    "VALUES (%s, %s, 'SKIPPED', 'SENSOR', %s, '')",
                    [name, name, now - timedelta(days=age)],
                )
        conn.execute("UPDATE job_ticks SET status = 'STARTED' WHERE selector_id = 'two' AND timestamp < '2025-12-01'")
        found = dagster_upkeep.clean(conn, datetime(2026, 3, 1, tzinfo=UTC))
        assert (found.ticks, found.ticks_left) == (3, 3)
