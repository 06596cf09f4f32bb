"""What else writes or looks at a dropped day: quarantine, the aggregates, the audit of the spool's content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from streaming.delivery import Rejected
from streaming.extras import Extras, encode_extras
from tests.tiering import DAY, NOW, day_of
from wellos.archive.late import overlay_days, rearchive
from wellos.audit_content import compare_frames
from wellos.clock import to_micros
from wellos.quarantine_retry import retry
from wellos.readings import empty, pack
from wellos.spool_format import Frame, Header
from wellos.storage.merge import begin_merge

if TYPE_CHECKING:
    from tests.tiering import Platform
    from wellos.readings import Readings

HOUR_US = 3_600_000_000


def _by_hour(readings: Readings) -> pl.DataFrame:
    """Count and add up GOOD values by tag and hour."""
    names = ("time", "tag_id", "value", "quality")
    frame = pl.DataFrame({name: readings[name].copy() for name in names}).with_columns(
        hour=pl.col("time") // HOUR_US, good=pl.col("quality") == 2
    )
    return (
        frame.group_by("tag_id", "hour")
        .agg(
            n=pl.len().cast(pl.Int64),
            sum=pl.col("value").filter("good").sum(),
            max=pl.col("value").filter("good").max(),
        )
        .sort("tag_id", "hour")
    )


def _stored_by_hour(platform: Platform) -> pl.DataFrame:
    rows = platform.db.execute(
        "SELECT tag_id, extract(epoch FROM bucket)::bigint / 3600, n, coalesce(sum, 0), max FROM readings_1hour "
        "ORDER BY 1, 2"
    ).fetchall()
    schema = {"tag_id": pl.Int32, "hour": pl.Int64, "n": pl.Int64, "sum": pl.Float64, "max": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_aggregates_are_those_of_the_truth_once_it_is_archived_anew(platform: Platform) -> None:
    platform.leave()
    before = _by_hour(platform.truth)
    assert _stored_by_hour(platform).equals(before)
    for minute, value, quality in ((0, 70.0, 2), (1, 80.0, 2), (20, 3.0, 0), (1439, 90.0, 1)):
        platform.late(minute, value, quality)
    platform.refresh()
    assert _stored_by_hour(platform).equals(before)
    rearchive(platform.settings, platform.store, DAY, clock=platform.clock)
    assert not _by_hour(platform.truth).equals(before)
    assert _stored_by_hour(platform).equals(_by_hour(platform.truth))
    platform.refresh()
    assert _stored_by_hour(platform).equals(_by_hour(platform.truth))


def test_quarantine_is_retried_into_a_dropped_day(platform: Platform) -> None:
    reading = pack([day_of(DAY) + 60_000_000], 4.0, platform.tags[0], 2, 7)
    rejected = Rejected("future", "why", f"tag {platform.tags[0]}", reading.tobytes())
    (connection,) = platform.db.execute(
        "SELECT connection_id FROM tags WHERE tag_id = %s", (platform.tags[0],)
    ).fetchone() or (0,)
    platform.sent += 1
    header = Header(1, 0, 0, platform.sent, connection, 1, to_micros(NOW), 1, 1, 0, 0, 0, 0)
    platform.sink.commit([Frame(header, empty(), encode_extras(Extras((rejected,))))])
    platform.leave()
    ids = [number for (number,) in platform.db.execute("SELECT quarantine_id FROM quarantine")]
    assert [one.outcome for one in retry(platform.db, ids, "steward", to_micros(NOW))] == ["stored"]
    assert overlay_days(platform.db) == [DAY]
    assert platform.problems() == []
    rearchive(platform.settings, platform.store, DAY, clock=platform.clock)
    assert platform.problems() == []
    assert overlay_days(platform.db) == []


def test_readings_of_dropped_days_are_not_called_missing(platform: Platform) -> None:
    """The spool keeps frames whose readings have left the warm tier since."""
    late = pack([day_of(DAY) + 60_000_000, day_of(DAY) + 3 * 86_400_000_000], 4.0, platform.tags[0], 2, 7)
    platform.write(late)
    platform.refresh()
    rows = platform.db.execute("SELECT connection_id, received_at FROM ingest_ledger ORDER BY seq DESC LIMIT 1")
    connection, received = rows.fetchone() or (0, NOW)
    frame = Frame(Header(1, 0, 0, platform.sent, connection, 1, to_micros(received), 2, 0, 0, 0, 2, 0), late, b"")

    def found() -> tuple[int, int, list[str]]:
        with platform.db.transaction(), platform.db.cursor() as cursor:
            begin_merge(cursor)
            return compare_frames(cursor, platform.spool_id, [frame])

    assert found() == (2, 0, [])
    platform.leave()
    assert found() == (1, 1, [])
    platform.db.execute("DELETE FROM readings WHERE time >= '2026-08-04'")
    assert found()[:2] == (1, 1)
    assert "is not stored as it was received" in found()[2][0]
