"""The figures of `wellos status`: an ingest that lives is seen at every speed, and a dead one is not taken for it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.seed import add_tags
from wellos.cli.status import status
from wellos.clock import ScaledClock, WallClock
from wellos.embedded.figures import gather
from wellos.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

SPOOL = "00000000-0000-0000-0000-000000000001"
HOUR_US = 3_600_000_000


def beating(db: PgConnection, settings: Settings, *, seconds_ago: float) -> None:
    """Leave a heartbeat as of `seconds_ago` of platform time."""
    moment = settings.make_clock().now() - timedelta(seconds=seconds_ago)
    add_tags(db, 3)
    db.execute(
        "INSERT INTO ingest_instances (spool_id, hostname, pid, started_at, heartbeat_at, oldest_spooled_time, "
        "spool_rows) VALUES (%s, 'here', 1, %s, %s, %s, 7)",
        [SPOOL, moment, moment, moment - timedelta(seconds=2)],
    )
    db.execute(
        "INSERT INTO ingest_connections (connection_id, spool_id, state, since, loss_window, readings_per_s, "
        "updated_at) SELECT connection_id, %s, 'connected', %s, '', 2.5, %s FROM scada_connections",
        [SPOOL, moment, moment],
    )
    db.commit()


def at_speed(url: str, speed: float) -> Settings:
    if speed == 1:
        return load_settings(database_url=url)
    now = WallClock().micros()
    return load_settings(database_url=url, clock=str(ScaledClock(now - 100 * HOUR_US, now, speed)))


@pytest.mark.parametrize("speed", [1, 600])
def test_an_ingest_that_lives_is_seen_at_every_speed(db: PgConnection, database_url: str, speed: float) -> None:
    settings = at_speed(database_url, speed)
    beating(db, settings, seconds_ago=5 * speed)
    found = gather(settings)
    assert found["error"] == ""
    assert found["ingest"]["instances"] == 1
    assert found["ingest"]["readings_per_s"] == 2.5
    assert found["ingest"]["spool_rows"] == 7
    assert found["ingest"]["lag_s"] >= 2
    assert [(one["state"], one["readings_per_s"]) for one in found["connections"]] == [("connected", 2.5)]


@pytest.mark.parametrize("speed", [1, 600])
def test_what_a_dead_ingest_said_last_is_not_repeated(db: PgConnection, database_url: str, speed: float) -> None:
    settings = at_speed(database_url, speed)
    beating(db, settings, seconds_ago=120 * speed)
    found = gather(settings)
    assert found["ingest"] is None
    assert [(one["state"], one["readings_per_s"]) for one in found["connections"]] == [("unknown", None)]


def test_a_clock_that_has_caught_up_runs_at_the_machines_pace(db: PgConnection, database_url: str) -> None:
    now = WallClock().micros()
    caught_up = load_settings(database_url=database_url, clock=str(ScaledClock(now - HOUR_US, now - HOUR_US, 600)))
    beating(db, caught_up, seconds_ago=120)
    assert gather(caught_up)["ingest"] is None


def test_each_connection_names_the_instance_that_reads_it(db: PgConnection, database_url: str) -> None:
    settings = at_speed(database_url, 1)
    beating(db, settings, seconds_ago=1)
    db.execute(
        "INSERT INTO ingest_leases (connection_id, spool_id, term, claimed_at, expires_at) "
        "SELECT connection_id, %s, 4, now(), now() + interval '1 hour' FROM scada_connections",
        [SPOOL],
    )
    found = gather(settings)
    owner = found["connections"][0]["owner"]
    assert (owner["spool_id"], owner["hostname"], owner["pid"], owner["term"]) == (SPOOL, "here", 1, 4)
    assert (found["connections"][0]["state"], found["ingest"]["unclaimed"]) == ("connected", 0)
    db.execute("UPDATE ingest_leases SET expires_at = now() - interval '1 s'")
    found = gather(settings)
    assert found["connections"][0]["owner"] is None
    assert (found["connections"][0]["state"], found["ingest"]["unclaimed"]) == ("unclaimed", 1)


def test_status_without_a_platform_asks_the_database(
    db: PgConnection, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WELLOS_DATABASE_URL", database_url)
    monkeypatch.setenv("WELLOS_DATA_DIR", str(tmp_path))
    beating(db, at_speed(database_url, 1), seconds_ago=1)
    done = CliRunner().invoke(status, [])
    assert done.exit_code == 0, done.output
    assert "acme/plc" in done.output
    db.execute("UPDATE ingest_instances SET stopped_at = now()")
    done = CliRunner().invoke(status, ["--json"])
    assert done.exit_code == 1
    assert json.loads(done.output)["figures"]["ingest"] is None
