"""Whatever is written, corrected, deleted, compressed, dropped and refreshed, the aggregates equal a recomputation."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.seed import add_tags
from wellos import telemetry
from wellos.settings import load_settings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from wellos.storage.warm import Engine, PgConnection

LEVELS = {"readings_1min": "1m", "readings_5min": "5m", "readings_1hour": "1h", "readings_1day": "1d"}
TELEMETRY = {"telemetry_hourly": "1h", "telemetry_daily": "1d"}
NAMES = ("oil_rate", "tubing_pressure", "spare")
METRICS = (None, "none", "gas_rate", "temperature")
COUNTS = {"n_good": 2, "n_uncertain": 1, "n_bad": 0}
DAYS = 3
SPAN_S = DAYS * 86400
_example = count()

# quarters below 1000: their sums and squares are exact, so that frames are compared without a tolerance
_values = st.integers(-4000, 4000).map(lambda quarter: quarter / 4)
_seconds = st.integers(0, SPAN_S - 1)
_ranges = st.tuples(_seconds, st.sampled_from([60, 600, 7200, 86400]))
_nth = st.integers(0, len(NAMES) - 1)
_rows = st.lists(st.tuples(_seconds, _nth, _values, st.integers(0, 2)), min_size=1, max_size=60)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), _rows),
        st.tuples(st.just("correct"), st.tuples(_ranges, _values, st.integers(0, 2))),
        st.tuples(st.just("delete"), _ranges),
        st.tuples(st.just("refresh"), st.tuples(st.sampled_from([*LEVELS, *TELEMETRY]), _ranges)),
        st.tuples(st.just("refresh all"), st.none()),
        st.tuples(st.just("metric"), st.tuples(_nth, st.sampled_from(METRICS))),
        st.tuples(st.just("compress"), st.none()),
        st.tuples(st.just("drop day"), st.integers(0, DAYS - 1)),
    ),
    min_size=1,
    max_size=12,
)


class _Field:
    """Three tags of a well of their own, and what the aggregates are to say of them."""

    def __init__(self, db: PgConnection, engine: Engine, number: int) -> None:
        self.db, self.engine = db, engine
        # at the end of all that was: what is new is beyond the watermark, the rest below it
        self.start = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=number)
        self.tags = add_tags(db, slug=f"t{number}", names=NAMES)
        self.dropped: dict[date, pl.DataFrame] = {}

    def apply(self, step: str, detail: Any) -> None:  # noqa: ANN401 - see _steps
        rows = "time >= %s AND time < %s AND tag_id = ANY (%s)"
        match step:
            case "insert":
                readings = [(self.start + timedelta(seconds=at), self.tags[nth], *rest) for at, nth, *rest in detail]
                merge = "INSERT INTO readings VALUES (%s, %s, %s, %s, 0) ON CONFLICT (tag_id, time) DO UPDATE"
                with self.db.cursor() as cursor:
                    cursor.executemany(f"{merge} SET value = excluded.value, quality = excluded.quality", readings)
            case "correct":
                correct = f"UPDATE readings SET value = %s, quality = %s WHERE {rows}"
                self.db.execute(correct, (detail[1], detail[2], *self.window(detail[0]), self.tags))
            case "delete":
                self.db.execute(f"DELETE FROM readings WHERE {rows}", (*self.window(detail), self.tags))
            case "refresh":
                self.db.execute("CALL refresh_aggregate(%s, %s, %s)", (detail[0], *self.window(detail[1])))
            case "refresh all":
                self.db.execute("CALL refresh_aggregates()")
            case "metric":
                nth, metric = detail
                taken = "SELECT FROM tags WHERE telemetry_metric = %s AND tag_id = ANY (%s)"
                if metric in (None, "none") or not self.db.execute(taken, (metric, self.tags)).fetchall():
                    self.db.execute("UPDATE tags SET metric = %s WHERE tag_id = %s", (metric, self.tags[nth]))
            case "compress" if self.engine == "timescale":
                self.db.execute("SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks('readings') c")
            case "drop day":
                self.drop(self.start.date() + timedelta(days=detail))

    def window(self, pair: tuple[int, int]) -> tuple[datetime, datetime]:
        return self.start + timedelta(seconds=pair[0]), self.start + timedelta(seconds=pair[0] + pair[1])

    def drop(self, day: date) -> None:
        """From now on what comes for the day lies beside its aggregates; it is long over, and refreshed before."""
        if day in self.dropped:
            return
        # to the last minute of a later day: TimescaleDB takes a watermark no further than there are buckets
        end = SPAN_S + 86400 * (1 + len(self.dropped))
        self.apply("insert", [(second, nth, 1.0, 2) for second in (end - 60, end + 60) for nth in range(len(NAMES))])
        self.db.execute("CALL refresh_aggregates()")
        self.dropped[day] = self.readings().filter(pl.col("time").dt.date() == day)
        self.db.execute("INSERT INTO reading_days (day, dropped_at) VALUES (%s, now())", (day,))

    def restore(self) -> None:
        self.db.execute("DELETE FROM reading_days")

    def readings(self) -> pl.DataFrame:
        """What is in the table, with the metrics that count now."""
        return self.stored(
            "(SELECT r.*, well_id, telemetry_metric AS metric FROM readings r JOIN tags USING (tag_id))", "tag_id, time"
        )

    def counted(self) -> pl.DataFrame:
        """What the aggregates are to be made of."""
        warm = self.readings().filter(~pl.col("time").dt.date().is_in([*self.dropped]))
        return pl.concat([warm, *self.dropped.values()], how="vertical_relaxed")

    def stored(self, relation: str, order: str = "bucket, tag_id") -> pl.DataFrame:
        return self.query(f"SELECT * FROM {relation} s WHERE tag_id = ANY (%s) ORDER BY {order}", self.tags)

    def telemetry(self, relation: str) -> pl.DataFrame:
        wells = "SELECT well_id FROM tags WHERE tag_id = ANY (%s)"
        columns = ", ".join(["bucket", "well_id", "n", *COUNTS, *telemetry.columns()])
        return self.query(f"SELECT {columns} FROM {relation} WHERE well_id IN ({wells}) ORDER BY bucket", self.tags)

    def query(self, text: str, tags: list[int]) -> pl.DataFrame:
        cursor = self.db.execute(text, (tags,))
        assert cursor.description is not None
        kinds: dict[int, Any] = {
            20: pl.Int64,
            21: pl.Int16,
            23: pl.Int32,
            701: pl.Float64,
            1184: pl.Datetime("us", "UTC"),
        }
        schema = {column.name: kinds.get(column.type_code, pl.String) for column in cursor.description}
        return pl.DataFrame(cursor.fetchall(), schema=schema, orient="row")


def _counts() -> dict[str, pl.Expr]:
    return {"n": pl.len()} | {name: (pl.col("quality") == code).sum() for name, code in COUNTS.items()}


def _recomputed(readings: pl.DataFrame, width: str) -> pl.DataFrame:
    good = pl.col("value").filter(pl.col("quality") == 2)
    return (
        readings.sort("time")
        .group_by(pl.col("time").dt.truncate(width).alias("bucket"), "tag_id")
        .agg(
            **_counts(),
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


def _recomputed_telemetry(readings: pl.DataFrame, width: str, median_before: datetime | None) -> pl.DataFrame:
    statistics: dict[str, pl.Expr] = {}
    for metric in telemetry.METRICS:
        good = pl.col("value").filter((pl.col("quality") == 2) & (pl.col("metric") == metric))
        statistics |= {
            f"{metric}_avg": good.mean(),
            f"{metric}_min": good.min(),
            f"{metric}_max": good.max(),
            f"{metric}_median": good.median(),
            f"{metric}_stddev": good.std(),
        }
    stored = pl.lit(value=False) if median_before is None else pl.col("bucket") < median_before
    return (
        readings.filter(pl.col("metric").is_not_null())
        .group_by(pl.col("time").dt.truncate(width).alias("bucket"), "well_id")
        .agg(**_counts(), **statistics)
        .with_columns(pl.when(stored).then(pl.col("^.*_median$")))
        .sort("bucket")
    )


@given(steps=_steps)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_aggregates_equal_a_recomputation(
    module_database_url: str, database_engine: Engine, steps: list[tuple[str, Any]]
) -> None:
    with connect(load_settings(database_url=module_database_url), autocommit=True) as db:
        field = _Field(db, database_engine, next(_example))
        try:
            for step, detail in steps:
                field.apply(step, detail)
            db.execute("CALL refresh_aggregates()")
            readings = field.counted()
            stored = {relation: field.stored(relation) for relation in LEVELS}
            wells = {relation: field.telemetry(relation) for relation in TELEMETRY}
            watermark = "SELECT watermark FROM aggregate_status WHERE relation = 'telemetry_daily'"
            ((daily,),) = db.execute(watermark).fetchall()
        finally:
            field.restore()
    for relation, width in LEVELS.items():
        assert_frame_equal(stored[relation], _recomputed(readings, width), check_dtypes=False, check_exact=True)
    far = datetime(9999, 1, 1, tzinfo=UTC)
    for (relation, width), before in zip(TELEMETRY.items(), (far, daily), strict=True):
        expected = _recomputed_telemetry(readings, width, before)
        assert_frame_equal(wells[relation], expected, check_dtypes=False, rel_tol=1e-9, abs_tol=1e-6)
