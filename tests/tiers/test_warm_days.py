"""What the warm tier says of its days, on either engine."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.seed import add_readings, add_tags, at
from wellos.tiers.warm import WarmDay, totals, unused_indexes, warm_days

if TYPE_CHECKING:
    from wellos.storage.warm import Engine, PgConnection


def fill(db: PgConnection, day: str, minutes: int = 600) -> None:
    tags = [row[0] for row in db.execute("SELECT tag_id FROM tags ORDER BY 1")] or add_tags(db, 3)
    db.execute("SELECT ensure_readings_partitions(ARRAY[%s::date])", [day])
    start = at(f"{day} 00:00")
    add_readings(db, [(start + timedelta(minutes=k), tag, float(k % 7), 2) for k in range(minutes) for tag in tags])


def test_each_day_is_one_row_with_its_size(db: PgConnection) -> None:
    fill(db, "2026-03-01")
    fill(db, "2026-03-02", minutes=60)
    db.execute("ANALYZE readings")
    found = {item.day: item for item in warm_days(db) if item.day is not None}
    assert list(found) == [date(2026, 3, 1), date(2026, 3, 2)]
    assert found[date(2026, 3, 1)].rows == 1800
    assert found[date(2026, 3, 2)].rows == 180
    assert found[date(2026, 3, 1)].bytes > found[date(2026, 3, 1)].index_bytes > 0
    assert not found[date(2026, 3, 1)].compressed
    total = totals(list(found.values()))
    assert (total.days, total.rows, total.compressed_days, total.ratio) == (2, 1980, 0, None)


def test_a_compressed_day_says_how_far(db: PgConnection, database_engine: Engine) -> None:
    if database_engine == "plain":
        pytest.skip("plain PostgreSQL does not compress")
    fill(db, "2026-03-01", minutes=1440)
    fill(db, "2026-03-02", minutes=60)
    db.execute("SELECT compress_chunk(c) FROM show_chunks('readings', older_than => '2026-03-02'::timestamptz) AS c")
    first, second = warm_days(db)
    assert (first.compressed, second.compressed) == (True, False)
    assert first.rows == 3 * 1440
    assert first.ratio is not None
    assert first.ratio > 3
    assert second.ratio is None
    assert totals([first, second]).ratio == first.ratio


def test_rows_that_were_deleted_are_dead_until_vacuumed(db: PgConnection) -> None:
    fill(db, "2026-03-01")
    db.execute("DELETE FROM readings WHERE time < '2026-03-01 01:00Z'")
    db.execute("SELECT pg_stat_force_next_flush()")
    (day,) = [item for item in warm_days(db) if item.day is not None]
    assert (day.rows, day.dead_rows) == (1620, 180)


def test_rows_of_a_day_without_partition_are_shown(db: PgConnection, database_engine: Engine) -> None:
    if database_engine == "timescale":
        pytest.skip("TimescaleDB makes the chunk with the row")
    (tag,) = add_tags(db)
    add_readings(db, [(at("2026-03-01 00:00"), tag, 1.0, 2)])
    db.execute("ANALYZE readings")
    (item,) = warm_days(db)
    assert (item.day, item.rows) == (None, 1)
    assert totals([item]).days == 0


def test_an_index_that_is_used_is_not_called_unused(db: PgConnection) -> None:
    fill(db, "2026-03-01")
    unused = {(item.relation, item.index) for item in unused_indexes(db, least_bytes=1)}
    assert ("readings", "readings_time_idx") in unused
    assert "readings_tag_id_time_idx" not in {index for _, index in unused}, "unique: a constraint"
    assert not unused_indexes(db, least_bytes=1 << 40)


def test_the_ratio_is_over_compressed_days_alone() -> None:
    def day(bytes_: int, before: int | None, after: int | None) -> WarmDay:
        return WarmDay(date(2026, 3, 1), "x", 10, 0, bytes_, 1, before is not None, before, after)

    assert totals([day(10, 100, 10), day(500, None, None), day(30, 300, 30)]).ratio == 10
    assert totals([day(0, 100, 0)]).ratio is None
    assert totals([]).ratio is None
