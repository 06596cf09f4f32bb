"""What stands against dropping a day: each reason alone, with its names and its remedy, and nothing without one."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from tests.seed import add_readings, add_tags, at
from wellos.archive.obstacles import droppable, obstacles
from wellos.forget import forget
from wellos.storage.changes import note_readings_changed

if TYPE_CHECKING:
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

DAY = date(2026, 8, 1)
NOW = at("2026-11-21 00:00")

_RECEIPT = """
INSERT INTO archive_manifest (tenant_id, day, store, state, rows, checksum_a, checksum_b, connections, bytes, location,
                              snapshot, cluster, watermark, started_at, verified_at, duration_s)
SELECT tenant_id, %(day)s, %(store)s, 'verified', 0, 0, 0, '{}', 0, '', pg_current_snapshot(), database_cluster(),
       now(), now(), now(), 0
FROM tenants WHERE slug = %(tenant)s
"""


def _receipt(db: PgConnection, tenant: str, day: date = DAY, store: str = "parquet") -> None:
    db.execute("CALL watch_days(%s)", ([day],))
    db.execute(_RECEIPT, {"tenant": tenant, "day": day, "store": store})


@pytest.fixture
def tags(db: PgConnection) -> list[int]:
    """A day of readings of two tenants, with receipts and right aggregates: nothing stands against dropping it."""
    found = [*add_tags(db), *add_tags(db, slug="other")]
    moments = [at("2026-08-01 12:00") + timedelta(hours=hour) for hour in range(49)]
    add_readings(db, [(moment, tag, 1.0, 2) for moment in moments for tag in found])
    db.execute("CALL refresh_aggregates()")
    _receipt(db, "acme")
    _receipt(db, "other")
    return found


def _found(db: PgConnection, settings: Settings, now: datetime = NOW) -> list[str]:
    found = obstacles(db, "parquet", DAY, now, settings)
    assert droppable(db, "parquet", now, settings) == ([] if found else [DAY])
    return found


def _instance(db: PgConnection, **columns: object) -> UUID:
    spool_id = uuid4()
    values: dict[str, object] = {
        "heartbeat_at": NOW,
        "oldest_spooled_time": None,
        "spool_rows": 0,
        "stopped_at": None,
    } | columns
    db.execute(
        "INSERT INTO ingest_instances (spool_id, hostname, pid, started_at, heartbeat_at, oldest_spooled_time, "
        "spool_rows, stopped_at) VALUES (%(id)s, 'rig', 7, now(), %(heartbeat_at)s, %(oldest_spooled_time)s, "
        "%(spool_rows)s, %(stopped_at)s)",
        values | {"id": spool_id},
    )
    return spool_id


def test_a_proven_day_may_go(db: PgConnection, tags: list[int], database_settings: Settings) -> None:
    assert tags
    assert _found(db, database_settings) == []


def test_a_young_day_stays(db: PgConnection, tags: list[int], database_settings: Settings) -> None:
    assert tags
    [reason] = _found(db, database_settings, at("2026-10-30 23:59"))
    assert reason == "it is younger than WELLOS_RAW_DAYS=90 days: it may go from 2026-10-31 on"
    assert _found(db, database_settings, at("2026-10-31 00:00")) == []


def test_a_restored_day_stays_as_long_as_it_was_asked_for(
    db: PgConnection, tags: list[int], database_settings: Settings
) -> None:
    assert tags
    db.execute("UPDATE reading_days SET restored_at = %s, keep_until = %s", (NOW, NOW + timedelta(days=1)))
    assert _found(db, database_settings) == ["it was restored and is kept until 2026-11-22 00:00:00 UTC"]
    assert _found(db, database_settings, NOW + timedelta(days=1)) == []


def test_a_dropped_day_is_not_dropped_again(db: PgConnection, tags: list[int], database_settings: Settings) -> None:
    assert tags
    db.execute("UPDATE reading_days SET dropped_at = %s", (NOW,))
    assert _found(db, database_settings) == ["it was dropped already, at 2026-11-21 00:00:00 UTC"]


def test_every_tenant_that_owns_tags_needs_a_receipt(
    db: PgConnection, tags: list[int], database_settings: Settings
) -> None:
    db.execute("INSERT INTO tenants (slug, name) VALUES ('empty', 'owns no tag')")
    assert _found(db, database_settings) == []
    (retired,) = add_tags(db, slug="third")
    db.execute("UPDATE tags SET retired_at = now() WHERE tag_id = %s", (retired,))
    [reason] = _found(db, database_settings)
    assert reason.startswith("tenant third has no verified copy of it in parquet")
    assert "wellos archive --tenant third --from 2026-08-01 --to 2026-08-01" in reason
    _receipt(db, "third", store="bigquery")  # another store proves nothing for this one
    assert len(_found(db, database_settings)) == 1
    db.execute("UPDATE archive_manifest SET store = 'parquet' WHERE store = 'bigquery'")
    assert _found(db, database_settings) == []
    db.execute(
        "UPDATE archive_manifest SET state = 'quarantined' WHERE tenant_id = (SELECT tenant_id FROM tags WHERE "
        "tag_id = %s)",
        (tags[0],),
    )
    assert ["acme" in reason for reason in _found(db, database_settings)] == [True]


def test_a_change_after_the_receipt_keeps_the_day(
    db: PgConnection, tags: list[int], database_settings: Settings
) -> None:
    with db.transaction():
        add_readings(db, [(at("2026-08-01 12:01"), tags[0], 1.0, 2)])
        note_readings_changed(db.cursor(), [DAY])
    db.execute("CALL refresh_aggregates()")
    found = _found(db, database_settings)
    assert [reason.split(" since")[0] for reason in found] == [
        "readings of tenant acme may have changed",
        "readings of tenant other may have changed",
    ]


def test_a_database_put_into_another_cluster_has_no_fresh_receipts(
    db: PgConnection, tags: list[int], database_settings: Settings
) -> None:
    assert tags
    db.execute("UPDATE archive_manifest SET cluster = 'another'")
    assert len(_found(db, database_settings)) == 2


@pytest.mark.parametrize("xid", [4, 900_000_000, 1 << 62])
@pytest.mark.parametrize("cluster", [None, "another"])
def test_a_change_from_another_cluster_is_older_than_every_receipt_from_here(
    db: PgConnection, tags: list[int], database_settings: Settings, xid: int, cluster: str | None
) -> None:
    """None: it came along before changes bore a cluster; then its number gives it away, or does no harm."""
    note_readings_changed(db.cursor(), [DAY])
    db.execute("UPDATE reading_changes SET xid = %s::text::xid8", (xid,))
    if cluster:  # then it came after every receipt that is here already, whatever the number
        db.execute("UPDATE reading_changes SET cluster = %s", (cluster,))
        assert len(_found(db, database_settings)) == 2
    db.execute("UPDATE archive_manifest SET state = 'replaced'")
    _receipt(db, "acme")
    _receipt(db, "other")
    assert tags
    assert _found(db, database_settings) == []
    known = db.execute("SELECT c::text FROM reading_changes AS c").fetchall()
    _receipt(db, "acme", store="bigquery")
    assert db.execute("SELECT c::text FROM reading_changes AS c").fetchall() == known, "it is taken over once"
    note_readings_changed(db.cursor(), [DAY])
    assert len(_found(db, database_settings)) == 2


def test_aggregates_come_first(db: PgConnection, tags: list[int], database_settings: Settings) -> None:
    add_readings(db, [(at("2026-08-01 12:02"), tags[0], 1.0, 2)])  # nobody noted it: the receipts do not know
    [reason] = _found(db, database_settings)
    assert reason.startswith("readings_1min")
    assert "CALL refresh_aggregates()" in reason
    db.execute("CALL refresh_aggregates()")
    assert _found(db, database_settings) == []


def test_aggregates_that_were_never_made_keep_the_day(db: PgConnection, database_settings: Settings) -> None:
    (tag,) = add_tags(db)
    add_readings(db, [(at("2026-08-01 12:00"), tag, 1.0, 2)])
    _receipt(db, "acme")
    [reason] = _found(db, database_settings)
    assert "readings_1day" in reason


def test_a_silent_instance_keeps_every_day(db: PgConnection, tags: list[int], database_settings: Settings) -> None:
    assert tags
    spool_id = _instance(db, heartbeat_at=NOW - timedelta(seconds=59))
    assert _found(db, database_settings) == []
    [reason] = _found(db, database_settings, NOW + timedelta(seconds=2))
    assert f"spool {spool_id} (process 7 on rig) has been silent since 2026-11-20 23:59:01" in reason
    forget(db, spool_id, NOW)
    assert _found(db, database_settings, NOW + timedelta(seconds=2)) == []


def test_an_instance_that_is_behind_keeps_every_day(
    db: PgConnection, tags: list[int], database_settings: Settings
) -> None:
    assert tags
    _instance(db, oldest_spooled_time=NOW - timedelta(seconds=601), spool_rows=5)
    [reason] = _found(db, database_settings)
    assert "601 s behind" in reason


def test_readings_of_the_day_in_a_spool_keep_it(db: PgConnection, tags: list[int], database_settings: Settings) -> None:
    assert tags
    _instance(db, oldest_spooled_time=at("2026-08-01 23:59"), spool_rows=5)
    [reason] = _found(db, database_settings)
    assert "holds readings from 2026-08-01 23:59:00 UTC on in its spool" in reason
    db.execute("UPDATE ingest_instances SET oldest_spooled_time = '2026-07-01'")  # and older ones
    assert len(_found(db, database_settings)) == 1


def test_a_stopped_instance_with_readings_keeps_the_day_until_it_is_forgotten(
    db: PgConnection, tags: list[int], database_settings: Settings
) -> None:
    assert tags
    before = at("2026-09-01 00:00")
    _instance(db, stopped_at=before, heartbeat_at=before)
    _instance(db, stopped_at=before, heartbeat_at=before, spool_rows=3, oldest_spooled_time=at("2026-08-02 00:00"))
    assert _found(db, database_settings) == []
    spool_id = _instance(db, stopped_at=before, heartbeat_at=before, spool_rows=3, oldest_spooled_time=at("2026-08-01"))
    [reason] = _found(db, database_settings)
    assert f"spool {spool_id} (process 7 on rig) stopped with 3 readings in its spool" in reason
    assert f"wellos ingest --forget {spool_id}" in reason
    assert forget(db, spool_id, NOW).rows == 3
    assert _found(db, database_settings) == []


def test_readings_of_unknown_tags_keep_the_day(db: PgConnection, tags: list[int], database_settings: Settings) -> None:
    add_readings(db, [(at("2026-08-01 13:00"), tags[-1] + 7, 1.0, 2)])
    db.execute("CALL refresh_aggregates()")
    [reason] = _found(db, database_settings)
    assert f"tags that the registry does not know ({tags[-1] + 7})" in reason
