"""Whatever is written, corrected, deleted and refreshed in whatever order, the aggregates equal a recomputation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from wellos.settings import load_settings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from wellos.storage.warm import PgConnection

LEVELS = {"readings_1min": "1m", "readings_5min": "5m", "readings_1hour": "1h", "readings_1day": "1d"}
TAGS = 3
SPAN_S = 3 * 86400
_example = count()

# quarters below 1000: their sums and squares are exact, so that frames are compared without a tolerance
_values = st.integers(-4000, 4000).map(lambda quarter: quarter / 4)
_seconds = st.integers(0, SPAN_S - 1)
_ranges = st.tuples(_seconds, st.sampled_from([60, 600, 7200, 86400]))
_rows = st.lists(st.tuples(_seconds, st.integers(0, TAGS - 1), _values, st.integers(0, 2)), min_size=1, max_size=60)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), _rows),
        st.tuples(st.just("correct"), st.tuples(_ranges, _values, st.integers(0, 2))),
        st.tuples(st.just("delete"), _ranges),
        st.tuples(st.just("refresh"), st.tuples(st.sampled_from([*LEVELS]), _ranges)),
        st.tuples(st.just("refresh all"), st.none()),
    ),
    min_size=1,
    max_size=12,
)


def _apply(db: PgConnection, start: datetime, tag: int, step: str, detail: Any) -> None:  # noqa: ANN401 - see _steps
    def window(pair: tuple[int, int]) -> tuple[datetime, datetime]:
        return start + timedelta(seconds=pair[0]), start + timedelta(seconds=pair[0] + pair[1])

    tags = (tag, tag + TAGS)
    rows = "time >= %s AND time < %s AND tag_id >= %s AND tag_id < %s"
    match step:
        case "insert":
            readings = [(start + timedelta(seconds=at), tag + nth, *rest) for at, nth, *rest in detail]
            merge = "INSERT INTO readings VALUES (%s, %s, %s, %s, 0) ON CONFLICT (tag_id, time) DO UPDATE"
            with db.cursor() as cursor:
                cursor.executemany(f"{merge} SET value = excluded.value, quality = excluded.quality", readings)
        case "correct":
            correct = f"UPDATE readings SET value = %s, quality = %s WHERE {rows}"
            db.execute(correct, (detail[1], detail[2], *window(detail[0]), *tags))
        case "delete":
            db.execute(f"DELETE FROM readings WHERE {rows}", (*window(detail), *tags))
        case "refresh":
            db.execute("CALL refresh_aggregate(%s, %s, %s)", (detail[0], *window(detail[1])))
        case "refresh all":
            db.execute("CALL refresh_aggregates()")


def _stored(db: PgConnection, relation: str, tag: int) -> pl.DataFrame:
    cursor = db.execute(f"SELECT * FROM {relation} WHERE tag_id >= %s AND tag_id < %s ORDER BY 1, 2", (tag, tag + TAGS))
    assert cursor.description is not None
    names = [column.name for column in cursor.description]
    return pl.DataFrame(cursor.fetchall(), schema=names, orient="row", infer_schema_length=None)


def _recomputed(readings: pl.DataFrame, width: str) -> pl.DataFrame:
    good = pl.col("value").filter(pl.col("quality") == 2)
    return (
        readings.sort("time")
        .group_by(pl.col("time").dt.truncate(width).alias("bucket"), "tag_id")
        .agg(
            n=pl.len(),
            n_good=(pl.col("quality") == 2).sum(),
            n_uncertain=(pl.col("quality") == 1).sum(),
            n_bad=(pl.col("quality") == 0).sum(),
            sum=good.sum(),
            sum_sq=(good * good).sum(),
            min=good.min(),
            max=good.max(),
            first=good.first(),
            last=good.last(),
        )
        .with_columns(pl.when(pl.col("n_good") > 0).then(pl.col("sum", "sum_sq")))
        .sort("bucket", "tag_id")
    )


@given(steps=_steps)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_aggregates_equal_a_recomputation(module_database_url: str, steps: list[tuple[str, Any]]) -> None:
    number = next(_example)
    # tags of its own, at the end of all that was: what is new is beyond the watermark, the rest below it
    start, tag = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=number), 1 + number * TAGS
    with connect(load_settings(database_url=module_database_url), autocommit=True) as db:
        for step, detail in steps:
            _apply(db, start, tag, step, detail)
        db.execute("CALL refresh_aggregates()")
        readings = _stored(db, "readings", tag)
        stored = {relation: _stored(db, relation, tag) for relation in LEVELS}
    for relation, width in LEVELS.items():
        if readings.is_empty():
            assert stored[relation].is_empty()
        else:
            assert_frame_equal(stored[relation], _recomputed(readings, width), check_dtypes=False, check_exact=True)
