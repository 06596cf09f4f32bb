"""The queries of `benchmarks query`: on an aggregate, on the readings, and on a copy of the aggregate's rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
from psycopg import ClientCursor, sql

from wellos.telemetry import METRICS, STATISTICS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Any

    from benchmarks.query_load import Span
    from wellos.storage.warm import PgConnection

__all__ = ["Query", "WrongAnswerError", "catalog", "compare", "copy_of"]

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)

_STATISTICS = """
    count(*) AS n, count(*) FILTER (WHERE r.quality = 2) AS n_good,
    avg(r.value) FILTER (WHERE r.quality = 2) AS avg,
    min(r.value) FILTER (WHERE r.quality = 2) AS min,
    max(r.value) FILTER (WHERE r.quality = 2) AS max,
    stddev(r.value) FILTER (WHERE r.quality = 2) AS stddev
"""
_RAW_OF_TAGS = """
SELECT {bucket} AS bucket, r.tag_id, {statistics} FROM readings r
WHERE {chosen} r.time >= %(since)s AND r.time < %(until)s GROUP BY 1, 2 ORDER BY 1, 2
"""
_RAW_OF_WELLS = """
SELECT m.bucket, m.well_id, sum(m.n)::bigint AS n, sum(m.n_good)::bigint AS n_good, {columns}
FROM (
    SELECT {bucket} AS bucket, t.well_id, t.telemetry_metric AS metric, {statistics},
           percentile_cont(0.5) WITHIN GROUP (ORDER BY r.value) FILTER (WHERE r.quality = 2) AS median
    FROM readings r JOIN tags t USING (tag_id)
    WHERE t.telemetry_metric IS NOT NULL AND {chosen} r.time >= %(since)s AND r.time < %(until)s
    GROUP BY 1, 2, 3
) m GROUP BY 1, 2 ORDER BY 1, 2
"""
_AGGREGATE = """
SELECT bucket, {key}, {columns} FROM {relation}
WHERE {chosen} bucket >= %(since)s AND bucket < %(until)s ORDER BY bucket, {key}
"""


class WrongAnswerError(Exception):
    """Two ways to the same answer differ."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question of a dashboard."""

    name: str
    relation: str
    key: str
    """`well_id` or `tag_id`."""
    width: timedelta
    since: datetime
    until: datetime
    one: bool = True
    """Of one well or tag; else of all."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What is asked for beside the bucket and the key."""
        if self.key == "tag_id":
            return ("n", "n_good", "avg", "min", "max", "stddev")
        return ("n", "n_good", *(f"{metric}_{statistic}" for metric in METRICS for statistic in STATISTICS))

    def on_aggregate(self, relation: str | None = None) -> sql.Composed:
        """Return the statement on its relation, or on another with the same columns."""
        return sql.SQL(_AGGREGATE).format(
            key=sql.Identifier(self.key),
            columns=sql.SQL(", ").join(map(sql.Identifier, self.columns)),
            relation=sql.Identifier(relation or self.relation),
            chosen=self._chosen(sql.Identifier(self.key)),
        )

    def on_readings(self, engine: str) -> sql.Composed:
        """Return the statement that makes the same rows from readings, in the way that is quickest on this engine."""
        bucket = sql.SQL(
            "time_bucket({}, r.time)" if engine == "timescale" else "date_bin({}, r.time, '2000-01-01 00:00+00')"
        )
        parts = {"bucket": bucket.format(sql.Literal(self.width)), "statistics": sql.SQL(_STATISTICS)}
        if self.key == "tag_id":
            return sql.SQL(_RAW_OF_TAGS).format(**parts, chosen=self._chosen(sql.Identifier("r", self.key)))
        each = sql.SQL("max(m.{}) FILTER (WHERE m.metric = {}) AS {}")
        columns = [
            each.format(sql.Identifier(statistic), sql.Literal(metric), sql.Identifier(f"{metric}_{statistic}"))
            for metric in METRICS
            for statistic in STATISTICS
        ]
        return sql.SQL(_RAW_OF_WELLS).format(
            **parts, columns=sql.SQL(", ").join(columns), chosen=self._chosen(sql.Identifier("t", self.key))
        )

    def parameters(self, chosen: int) -> dict[str, Any]:
        """Return the parameters for a well or tag; every one is the same for a query of all."""
        return {"since": self.since, "until": self.until, "chosen": chosen}

    def _chosen(self, key: sql.Identifier) -> sql.Composable:
        return sql.SQL("{} = %(chosen)s AND").format(key) if self.one else sql.SQL("")


def catalog(span: Span) -> tuple[Query, ...]:
    """Return the queries over the newest 30 days (or the hours of one) and, where there is more, over all of it."""
    month = min(30, span.days)
    midnight = span.day(0)
    hour = span.ended_at - (span.ended_at - midnight) % _HOUR + _HOUR
    hours, days = (hour - timedelta(days=month), hour), (span.day(month), midnight + _DAY)
    found = [
        Query(f"well hourly {month} d", "telemetry_hourly", "well_id", _HOUR, *hours),
        Query("all wells hourly 24 h", "telemetry_hourly", "well_id", _HOUR, hour - _DAY, hour, one=False),
        Query(f"well daily {month} d", "telemetry_daily", "well_id", _DAY, *days),
        Query(f"all wells daily {month} d", "telemetry_daily", "well_id", _DAY, *days, one=False),
        Query(f"tag hourly {month} d", "scada_readings_1hour", "tag_id", _HOUR, *hours),
        Query(f"tag daily {month} d", "scada_readings_1day", "tag_id", _DAY, *days),
    ]
    if span.days > month:
        whole = (span.day(span.days), midnight + _DAY)
        found += [
            Query(f"well daily {span.days} d", "telemetry_daily", "well_id", _DAY, *whole),
            Query(f"tag daily {span.days} d", "scada_readings_1day", "tag_id", _DAY, *whole),
        ]
    return tuple(found)


def copy_of(query: Query, db: PgConnection, number: int) -> str:
    """Make a plain table of what the query asks for, of all wells or tags, under a primary key that serves it."""
    name = f"benchmark_copy_{number}"
    everything = replace(query, one=False)
    statement = sql.SQL("CREATE TABLE {} AS {}").format(sql.Identifier(name), everything.on_aggregate())
    key = [sql.Identifier(query.key), sql.Identifier("bucket")]
    keyed = sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(
        sql.Identifier(name), sql.SQL(", ").join(key if query.one else key[::-1])
    )
    db.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))
    ClientCursor(db).execute(statement, query.parameters(0))
    db.execute(keyed)
    db.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(name)))
    return name


def compare(query: Query, known: Sequence[tuple[Any, ...]], told: Sequence[tuple[Any, ...]]) -> int:
    """Return how many rows two answers have, which are equal: counts exactly, the rest to rounding.

    The median of a day in progress may be missing in `told`. Raises WrongAnswerError.
    """
    if not known:
        raise WrongAnswerError(f"{query.name}: no rows")
    if [row[:4] for row in known] != [row[:4] for row in told]:
        raise WrongAnswerError(
            f"{query.name}: buckets or counts differ: {len(known)} rows from readings, {len(told)} told"
        )
    names = query.columns[2:]
    truth, found = (np.array([row[4:] for row in rows], np.float64) for rows in (known, told))
    unknown = np.isnan(found)
    if unknown.any():
        last = np.array([row[0] + query.width >= query.until for row in told])
        allowed = last[:, np.newaxis] & np.array([name.endswith("_median") for name in names])
        if query.width != _DAY or (unknown & ~allowed).any():
            raise WrongAnswerError(f"{query.name}: a statistic is missing")
    for place, name in enumerate(names):
        seen = ~unknown[:, place]
        if not np.allclose(found[seen, place], truth[seen, place], rtol=1e-6 if "stddev" in name else 1e-9, atol=1e-9):
            raise WrongAnswerError(f"{query.name}: {name} differs")
    return len(known)
