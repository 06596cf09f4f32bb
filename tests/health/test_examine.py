"""Health of the platform from real servers: what is up, what is down, and that nothing can make it wait."""

from __future__ import annotations

import json
import socket
import time
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import redis
from click.testing import CliRunner

from wellos.cli.health import health
from wellos.clock import WallClock
from wellos.health import parts
from wellos.health.database import findings
from wellos.health.examine import examine
from wellos.health.report import Cache, Health, Part, Runs
from wellos.settings import load_settings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection


@pytest.fixture
def settings(database_url: str, redis_url: str, mqtt_url: str, tmp_path: Path) -> Settings:
    return load_settings(database_url=database_url, redis_url=redis_url, mqtt_url=mqtt_url, data_dir=tmp_path)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def beat(db: PgConnection, *, age_s: float = 1) -> None:
    now = WallClock().now() - timedelta(seconds=age_s)
    db.execute(
        "INSERT INTO ingest_instances (spool_id, hostname, pid, started_at, heartbeat_at) "
        "VALUES (%s, 'here', 7, %s, %s)",
        [uuid4(), now, now],
    )


def states(found: Health) -> dict[str, str]:
    return {part.name: part.state for part in found.parts}


def test_parts_that_answer_are_up_and_what_is_not_set_is_not_asked(db: PgConnection, settings: Settings) -> None:
    beat(db)
    found = examine(settings)
    assert states(found) == {
        "database": "up",
        "redis": "up",
        "broker": "up",
        "dagster": "unset",
        "code location": "unset",
        "daemon": "unset",
        "ingest": "up",
        "cold store": "up",
        "disk": found.parts[-1].state,
    }
    assert found.up
    assert found.runs is None
    assert found.cache is None
    details = {part.name: part.detail for part in found.parts}
    assert "PostgreSQL" in details["database"]
    assert "1 alive" in details["ingest"]


def test_without_a_living_ingest_the_platform_is_down(db: PgConnection, settings: Settings) -> None:
    assert states(examine(settings))["ingest"] == "down"
    beat(db, age_s=300)
    found = examine(settings)
    assert states(found)["ingest"] == "down"
    assert "here:7" in found.remarks[0]
    beat(db)
    found = examine(settings)
    assert (states(found)["ingest"], found.up) == ("warning", True)


def test_a_server_that_never_answers_costs_no_more_than_the_deadline(silent_port: int, tmp_path: Path) -> None:
    silent = load_settings(
        database_url=f"postgresql://u:s3cret@127.0.0.1:{silent_port}/db",
        redis_url=f"redis://:s3cret@127.0.0.1:{silent_port}/0",
        mqtt_url=f"mqtt://u:s3cret@127.0.0.1:{silent_port}",
        dagster_url=f"http://127.0.0.1:{silent_port}",
        data_dir=tmp_path,
    )
    begun = time.monotonic()
    found = examine(silent, deadline_s=0.5)
    assert time.monotonic() - begun < 30, "a guard: nothing hangs"
    down = {name for name, state in states(found).items() if state == "down"}
    assert down >= {"database", "redis", "broker", "dagster", "code location", "daemon", "ingest"}
    assert "no answer within 0.5 s" in found.parts[0].detail
    assert "s3cret" not in json.dumps(found.as_dict())


def test_the_hit_rate_of_the_cache_is_read_from_redis(db: PgConnection, settings: Settings, redis_url: str) -> None:
    assert parts.cache(settings) is None
    with redis.Redis.from_url(redis_url) as client:
        client.hset(parts.CACHE_STATISTICS, mapping={"hits": 9, "misses": 1})
    beat(db)
    found = examine(settings).cache
    assert found == Cache(9, 1)
    assert found.hit_rate == 0.9


def test_the_command_leaves_with_1_when_a_part_is_down(
    db: PgConnection, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(
        "WELLOS_DATABASE_URL", str(settings.database_url.get_secret_value() if settings.database_url else "")
    )
    monkeypatch.setenv("WELLOS_DATA_DIR", str(tmp_path))
    found = CliRunner().invoke(health, [])
    assert found.exit_code == 1, found.output
    assert "ingest" in found.output
    assert "DOWN" in found.output
    beat(db)
    found = CliRunner().invoke(health, ["--json"])
    assert found.exit_code == 0, found.output
    said = json.loads(found.stdout)
    assert said["up"] is True
    assert {part["name"] for part in said["parts"]} == set(parts.PARTS)
    assert said["slow_queries"]["from"]


def test_an_archive_that_cannot_be_written_is_down(tmp_path: Path) -> None:
    occupied = tmp_path / "cold"
    occupied.write_text("a file")
    found = parts.ask("cold store", load_settings(data_dir=tmp_path))
    assert found.state == "down"
    assert parts.ask("cold store", load_settings(data_dir=tmp_path / "other")).state == "up"


def test_bigquery_is_asked_where_it_is_the_archive(bigquery_settings: Settings) -> None:
    found = parts.ask("cold store", bigquery_settings)
    assert (found.state, str(bigquery_settings.bigquery_project) in found.detail) == ("up", True)


def test_what_runs_long_is_told_where_nobody_keeps_count(db: PgConnection, settings: Settings) -> None:
    found = findings(db)
    assert found.slow_from.startswith(("pg_stat_activity", "pg_stat_statements"))
    with connect(settings, autocommit=True) as other:
        assert other.execute("SELECT 1").fetchone() == (1,)
        assert [one for one in findings(db).slow if "SELECT 1" in one.query] == [], "it is done"


@pytest.mark.parametrize(("runs", "remark"), [(Runs(9, 1), ""), (Runs(0, 0), ""), (Runs(1, 1), "1 of 2 runs failed")])
def test_runs_that_fail_often_are_remarked(runs: Runs, remark: str) -> None:
    found = Health([Part("database", "up", "")], runs, None)
    assert found.up
    assert remark in "; ".join(found.remarks)
    assert bool(remark) == bool(found.remarks)


def test_a_part_that_is_not_set_does_not_count() -> None:
    assert Health([Part("redis", "unset", "")], None, None).up
    assert not Health([Part("redis", "down", "")], None, None).up
    assert Health([Part("disk", "warning", "9 %")], None, None).remarks == ["disk: 9 %"]
